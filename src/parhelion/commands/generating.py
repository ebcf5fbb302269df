"""The commands that use what was trained: `generate` and `assemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from parhelion.commands.shared import Json, Overwrite, Quiet, Seed, Tree, show, speaker
from parhelion.errors import ConfigError

Workers = Annotated[int | None, typer.Option("--workers", "-j", min=1, help="Processes; all cores if not given.")]
DaskOption = Annotated[
    str | None, typer.Option("--dask", help="Dask scheduler: tcp://HOST:PORT, its file (.json), local or local:N.")
]


def generate(
    model: Annotated[
        str, typer.Argument(help="Package or surrogate file; one a species: FIELD:VALUE=FILE,VALUE=FILE.")
    ],
    files: Annotated[list[str], typer.Argument(help="Files with the condition columns.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output; the suffix says the format.")],
    seed: Seed = 1,
    outside: Annotated[str, typer.Option(help="Rows outside the trained domain: refuse, clamp or flag.")] = "refuse",
    then: Annotated[
        list[str] | None, typer.Option(help="Model that answers next; its conditions may be responses; repeatable.")
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option(help="LABEL=FILE: variation of the last model, in columns NAME_LABEL.")
    ] = None,
    keep: Annotated[str | None, typer.Option(help="Rows of the output to keep, such as 'accepted == 1'.")] = None,
    oversample: Annotated[int, typer.Option(min=1, help="Responses an input row.")] = 1,
    selection: Annotated[str | None, typer.Option(help="Rows to generate for, in the input's columns.")] = None,
    event_id: Annotated[
        list[str] | None, typer.Option(help="Column with unique ids (or several, each with --event-id); row: number.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Other column to leave out; all: every one.")] = None,
    tree: Tree = None,
    workers: Workers = None,
    dask: DaskOption = None,
    compress: Annotated[bool, typer.Option(help="Compress the output; writing takes longer.")] = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Generate a response for each row of the files. Killed, the same command goes on where it stopped."""
    from contextlib import nullcontext

    from parhelion import io
    from parhelion.deploy import OutsidePolicy, generate_files
    from parhelion.progress import bar

    if outside not in get_args(OutsidePolicy):
        msg = f"--outside {outside}: expected refuse, clamp or flag"
        raise ConfigError(msg)
    say = speaker(quiet, as_json)
    total = 0 if quiet else sum(max(c.rows for c in io.columns(path, tree=tree)) for path in io.expand(files))
    with nullcontext() if quiet else bar("generating", total) as progress:
        done = generate_files(
            model,
            files,
            out,
            seed=seed,
            outside=outside,  # type: ignore[arg-type]
            then=then or (),
            members=_members(member or ()),
            keep=keep,
            oversample=oversample,
            selection=selection,
            event_id=event_id or (),
            drop=drop or (),
            tree=tree,
            workers=workers,
            dask=dask,
            overwrite=overwrite,
            compress=compress,
            progress=progress,
            say=say,
        )
    counts = done.counts
    for name, beyond in counts.outside.items():
        where = "the trained domain" if len(counts.outside) == 1 else f"the trained domain of {name}"
        what = {"clamp": " and were clamped to it (column outside_domain)", "flag": " (column outside_domain)"}
        say(f"{beyond:,} of {counts.rows:,} rows lie outside {where}{what.get(outside, '')}")
    say(f"{out}: {counts.made:,} rows; record: {done.record_file}")
    if as_json:
        result = {"file": str(out), "rows": counts.made, "seed": seed, "outside": counts.beyond}
        show({**result, "record": str(done.record_file), "content_sha256": done.record["content_sha256"]})


def assemble(
    model: Annotated[
        str, typer.Argument(help="Package or surrogate of one particle; one a species: FIELD:VALUE=FILE,VALUE=FILE.")
    ],
    files: Annotated[list[str], typer.Argument(help="Files with one row a particle, those of an event together.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output; the suffix says the format.")],
    cells: Annotated[str, typer.Option(help="Cells of the detector in x and y, such as 384x312.")],
    pitch: Annotated[float, typer.Option(help="Width of a cell, in the unit of the positions.")],
    event: Annotated[str, typer.Option(help="Column with the event's number.")],
    corner: Annotated[str | None, typer.Option(help="Lowest x,y of the detector; centred on 0 if not given.")] = None,
    particle: Annotated[
        str | None, typer.Option(help="Column with a number unique in its event; the position if not given.")
    ] = None,
    x: Annotated[str, typer.Option(help="Column with the particle's x.")] = "x",
    y: Annotated[str, typer.Option(help="Column with the particle's y.")] = "y",
    image: Annotated[str | None, typer.Option(help="Response that is the image, if there are several.")] = None,
    sparse: Annotated[
        float | None, typer.Option(help="Write cells above this energy, a row each, not whole images.")
    ] = None,
    seed: Seed = 1,
    outside: Annotated[str, typer.Option(help="Particles outside the domain: refuse, clamp or flag.")] = "refuse",
    tree: Tree = None,
    compress: Annotated[bool, typer.Option(help="Compress the output; writing takes longer.")] = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add up the responses to all particles of each event on the cells of a whole detector."""
    from parhelion.deploy import OutsidePolicy
    from parhelion.deploy.assemble import Grid, assemble_files

    if outside not in get_args(OutsidePolicy):
        msg = f"--outside {outside}: expected refuse, clamp or flag"
        raise ConfigError(msg)
    shape = _pair(cells, "x", int, "--cells")
    low = None if corner is None else _pair(corner, ",", float, "--corner")
    done = assemble_files(
        model, files, out, Grid((int(shape[0]), int(shape[1])), pitch, low),
        event=event, particle=particle, x=x, y=y, image=image, seed=seed,
        outside=outside,  # type: ignore[arg-type]
        sparse=sparse, tree=tree, overwrite=overwrite, compress=compress,
    )  # fmt: skip
    say = speaker(quiet, as_json)
    say(f"{done.counts.beyond:,} of {done.particles:,} particles lie outside the trained domain")
    share = done.lost / done.response if done.response else 0.0
    say(f"{done.placed:,.6g} of {done.response:,.6g} lie on the detector, {share:.2%} fell off its edge")
    say(f"{out}: {done.events:,} events of {done.particles:,} particles")
    if as_json:
        result = {"file": str(out), "events": done.events, "particles": done.particles, "seed": seed}
        energy = {"response": done.response, "placed": done.placed, "lost": done.lost}
        show({**result, **energy, "outside": done.counts.beyond})


def _pair(text: str, separator: str, kind: type[int] | type[float], option: str) -> tuple[float, float]:
    try:
        first, second = (kind(part) for part in text.split(separator))
    except ValueError:
        msg = f"{option} {text}: expected two numbers, as {kind(3)}{separator}{kind(4)}"
        raise ConfigError(msg) from None
    return first, second


def _members(given: list[str] | tuple[()]) -> dict[str, str]:
    members: dict[str, str] = {}
    for text in given:
        label, _, path = text.partition("=")
        if not label or not path or label in members:
            msg = f"--member {text}: expected LABEL=FILE, each label once"
            raise ConfigError(msg)
        members[label] = path
    return members
