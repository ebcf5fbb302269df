"""The command that simulates, with one command below it for each simulator."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

from parhelion.commands.shared import Json, Overwrite, Quiet, Seed, require_new, show, speaker

_COMMON: dict[str, Any] = {
    "n": (Annotated[int, typer.Option("-n", min=1, help="Rows to simulate.")], inspect.Parameter.empty),
    "out": (
        Annotated[Path, typer.Option("--out", "-o", help="Output; the suffix says the format.")],
        inspect.Parameter.empty,
    ),
    "seed": (Seed, 1),
    "processes": (
        Annotated[int | None, typer.Option(min=1, help="Cores to use; all if not given.")],
        None,
    ),
    "dask": (
        Annotated[
            str | None, typer.Option(help="Dask scheduler: tcp://HOST:PORT, its file (.json), local or local:N.")
        ],
        None,
    ),
    "resume": (Annotated[bool, typer.Option("--resume", help="Go on with an interrupted simulation.")], False),
    "overwrite": (Overwrite, False),
    "quiet": (Quiet, False),
    "as_json": (Json, False),
}


class _Simulators(TyperGroup):
    """Commands that stand in the registry of simulators; it is not read before one is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all simulators."""
        from parhelion.simulators import SIMULATORS

        return sorted(SIMULATORS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Command of one simulator."""
        return _command(cmd_name)


simulate = typer.Typer(cls=_Simulators, help="Simulate a reference sample.", no_args_is_help=True)


@simulate.callback()
def _group() -> None:
    """Simulate a reference sample: `parhelion simulate SIMULATOR --help` shows its options."""


def _command(kind: str) -> Any:
    from parhelion.simulators import find

    simulator = find(kind)
    fields = simulator.Config.model_fields

    def run(**values: Any) -> None:
        common = {name: values.pop(name) for name in _COMMON}
        _run(kind, {name: value for name, value in values.items() if value is not None}, **common)

    own = {name: (_annotation(name, field), None) for name, field in fields.items()}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in (own | _COMMON).items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = (simulator.__doc__ or "").strip().split("\n\n")[0]
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(kind)(run)
    return typer.main.get_command(app)


def _annotation(name: str, field: FieldInfo) -> Any:
    """An option's type on the command line: text that the simulator's own config reads, or a switch."""
    option = f"--{name.replace('_', '-')}"
    text = field.description or ""
    if field.annotation is bool:
        return Annotated[bool | None, typer.Option(option, help=text, show_default=False)]
    default = field.default
    if get_origin(field.annotation) in (tuple, list):
        shown = ", ".join(map(str, default))
        return Annotated[list[str] | None, typer.Option(option, help=f"{text} [default: {shown}; repeatable]")]
    default_text = "" if default is None else f" [default: {default}]"
    return Annotated[str | None, typer.Option(option, help=f"{text}{default_text}")]


def _run(
    kind: str,
    options: dict[str, Any],
    *,
    n: int,
    out: Path,
    seed: int,
    processes: int | None,
    dask: str | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from parhelion import io
    from parhelion.executors import open_executor
    from parhelion.io.formats import writer_for
    from parhelion.progress import bar
    from parhelion.simulators import find
    from parhelion.simulators.base import checked_options
    from parhelion.simulators.running import simulate_to_file

    made = find(kind)
    simulator = made(checked_options(made, options, "--"))
    require_new(out, overwrite)
    writer_for(out)
    with (
        open_executor(workers=processes, dask=dask) if dask else nullcontext() as executor,
        nullcontext() if quiet else bar("simulating", n) as progress,
    ):
        rows = simulate_to_file(
            simulator,
            n,
            out,
            seed=seed,
            processes=processes,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            executor=executor,
        )
    speaker(quiet, as_json)(f"{out}: {rows:,} rows")
    if as_json:
        show({"file": str(out), "rows": rows, **io.provenance(out)})
