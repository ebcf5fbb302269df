"""Options and small things that all commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parhelion.errors import ConfigError, WriteError

if TYPE_CHECKING:
    from parhelion.config import LoadedStudy
    from parhelion.sample import Sample

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed; written into what is made.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Tree = Annotated[str | None, typer.Option(help="Tree (ROOT) or group (HDF5) of the input, if it has several.")]


def speaker(quiet: bool, as_json: bool) -> Callable[[str], None]:
    """What prints progress: nothing if quiet, to standard error if the result is JSON."""

    def say(text: str) -> None:
        if not quiet:
            typer.echo(text, err=as_json)

    return say


def show(result: dict[str, Any]) -> None:
    """Print a result as JSON."""
    typer.echo(json.dumps(result, indent=1))


def require_new(out: Path, overwrite: bool) -> None:
    """Find out before the work, not after it."""
    if out.is_dir():
        msg = f"{out}: is a folder; give --out the name of a file"
        raise WriteError(msg)
    if out.exists() and not overwrite:
        msg = f"{out}: exists already; choose another name with --out, or replace it with --overwrite"
        raise WriteError(msg)


def require_suffix(path: Path, option: str, *suffixes: str) -> None:
    """Refuse an output of another kind than the command writes."""
    if path.suffix.lower() not in suffixes:
        msg = f"{option} {path}: expected a name that ends in {' or '.join(suffixes)}"
        raise ConfigError(msg)


def read_sample(path: str, study: LoadedStudy) -> Sample:
    """Read a file with its own fields, or with those of the study."""
    from parhelion import io
    from parhelion.sources import layout_of

    return io.read(path, layout_of(path, study))
