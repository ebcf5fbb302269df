"""The commands that make and check packages."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parhelion.commands.shared import Json, Overwrite, Quiet, Seed, require_new, require_suffix, show, speaker
from parhelion.errors import ConfigError
from parhelion.progress import bar

if TYPE_CHECKING:
    from parhelion.deploy.runs import Exportable

FORMS = ("auto", "exact", "student")
FORMATS = {"onnx": ".onnx", "c": ".c"}


def export(
    source: Annotated[Path, typer.Argument(help="Folder of a run, or a surrogate file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Package to write.")] = Path("surrogate.onnx"),
    form: Annotated[
        str, typer.Option(help="Of a run: exact, student, or auto (the student if it met its requirements).")
    ] = "auto",
    format: Annotated[
        str, typer.Option("--format", help="onnx: a package; c: one C99 file, for dense networks and cascades.")
    ] = "onnx",
    name: Annotated[str | None, typer.Option(help="Name of the package; the run's or the file's if left out.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the surrogate, written into the package.")] = None,
    author: Annotated[str | None, typer.Option(help="Author, written into the package.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Random conditions to compare the graph with the surrogate at.")] = (
        100_000
    ),
    seed: Seed = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a surrogate as one self-describing file, after it has shown that it answers as the surrogate does."""
    for option, value, allowed in (("--form", form, FORMS), ("--format", format, tuple(FORMATS))):
        if value not in allowed:
            msg = f"{option} {value}: expected {', '.join(allowed)}"
            raise ConfigError(msg)
    require_suffix(out, "--out", FORMATS[format])
    require_new(out, overwrite)
    from parhelion.deploy.runs import exportable

    found = exportable(source, form, name=name, licence=licence, author=author)
    say = speaker(quiet, as_json)
    if format == "c":
        from parhelion.deploy.cfile import write_c

        write_c(found.surrogate, out, name=name)
        say(f"{out}: {_what(found)} as C99; compile it with -std=c99 -ffp-contract=off")
        if as_json:
            show({"file": str(out), "form": found.form, "kind": found.surrogate.kind})
        return
    from parhelion.deploy.exporting import export as write_package

    with nullcontext() if quiet or as_json else bar("comparing", rows) as progress:
        trial = write_package(found.surrogate, out, origin=found.origin, rows=rows, seed=seed, progress=progress)
    say(
        f"{out}: {_what(found)}; {trial.rows + trial.edge_rows:,} rows answered as by the surrogate "
        f"(largest difference {trial.largest:.1g} of the spread, {trial.beyond:.2g} of the rows beyond "
        f"{trial.RELATIVE:g}); " + ", ".join(f"{k}: p = {p:.2g}" for k, p in trial.p_values.items())
    )
    if as_json:
        show({"file": str(out), "form": found.form, "kind": found.surrogate.kind, "verification": trial.to_dict()})


def _what(found: Exportable) -> str:
    return f"{found.surrogate.kind} surrogate {found.origin.name} ({found.form} form)"


def verify(
    package: Annotated[Path, typer.Argument(help="A package.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check a package's checksum and manifest, and replay its golden block on this machine."""
    from parhelion.deploy.runtime import Package

    loaded = Package.load(package)
    found = loaded.verify()
    speaker(quiet, as_json)(
        f"{package}: {loaded.manifest['name']} is as exported; {found.rows} golden rows answered (largest difference "
        f"{found.largest:.1g} of the spread), noise the same to the bit"
    )
    if as_json:
        show({"file": str(package), "checksum": loaded.checksum, "rows": found.rows, "largest": found.largest})
