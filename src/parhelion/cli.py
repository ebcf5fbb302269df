"""The command line."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from parhelion.commands.generating import assemble, generate
from parhelion.commands.judging import validate
from parhelion.commands.packaging import export, verify
from parhelion.commands.shared import (
    Json,
    Overwrite,
    Quiet,
    Tree,
    read_sample,
    require_new,
    require_suffix,
    show,
    speaker,
)
from parhelion.commands.simulating import simulate
from parhelion.errors import ConfigError, ParhelionError, WriteError

if TYPE_CHECKING:
    pass

INTERRUPTED = 130
BUG = 70


class _Commands(TyperGroup):
    """A user's mistake is one sentence and exit code 2, never a traceback; exit code 1 is a verdict, nothing else."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with _terminable():
                return super().invoke(ctx)
        except ParhelionError as error:
            typer.echo(f"parhelion: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            text = (
                "interrupted; every file is whole or absent: run again (generate goes on, run, fit and simulate with "
                "--resume)"
            )
            typer.echo(f"parhelion: {text}", err=True)
            raise typer.Exit(INTERRUPTED) from error
        except Exception as error:
            # Typer's main shows its own exceptions, and a reader that went away is nobody's mistake.
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort | BrokenPipeError):
                raise
            traceback.print_exc()
            typer.echo(
                "parhelion: this is an error of parhelion itself; please report it with the text above", err=True
            )
            raise typer.Exit(BUG) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, with which batch systems end jobs, clean up as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread, where handlers are not allowed
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


app = typer.Typer(
    cls=_Commands,
    help="Fast, judged, deployable copies of particle-physics simulations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from parhelion import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fast, judged, deployable copies of particle-physics simulations."""


@app.command("list")
def list_studies(quiet: Quiet = False, as_json: Json = False) -> None:
    """List studies, surrogates, metrics, simulators."""
    from parhelion.config import shipped_studies
    from parhelion.evaluation import METRICS
    from parhelion.simulators import SIMULATORS
    from parhelion.surrogates import SURROGATES
    from parhelion.yamlfile import read_yaml

    studies = {name: str(read_yaml(path).data.get("title", "")) for name, path in shipped_studies().items()}
    families, metrics = sorted(k for k in SURROGATES if k != "student"), sorted(METRICS)
    simulators = sorted(SIMULATORS)
    if as_json:
        show({"studies": studies, "surrogates": families, "metrics": metrics, "simulators": simulators})
        return
    say = speaker(quiet, False)
    say("studies (parhelion run NAME):")
    for name, title in studies.items():
        say(f"  {name:16s} {title}")
    say(f"surrogates: {', '.join(families)}")
    say(f"metrics:    {', '.join(metrics)}")
    say(f"simulators: {', '.join(simulators)}")


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="Name of a study, or a study file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/NAME if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    figures: Annotated[bool, typer.Option("--figures", help="Write the report's figures as PNG and PDF too.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study: sample, training, judgement, report. Exit code 1 if it fails, 3 if the sample cannot tell."""
    from parhelion.study import Study

    say = speaker(quiet, as_json)
    done = Study.load(study).run(out, resume=resume, figures=figures, say=say, show_progress=not quiet)
    if as_json:
        show(done.to_dict())
    for name, judgement in (("surrogate", done.surrogate), ("student", done.student)):
        if judgement is None:
            continue
        for outcome in judgement.verdict.outcomes:
            say(f"{name}: {outcome.sentence}")
        say(f"{name}: {judgement.verdict.status.upper()}")
    say(f"report: {done.report}")
    if not done.passed:
        raise typer.Exit(done.exit_code)


app.add_typer(simulate, name="simulate")


@app.command()
def splot(
    files: Annotated[list[str], typer.Argument(help="Sample files with a mass field.")],
    study: Annotated[str, typer.Option(help="Study whose data.splot section gives the mass models.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output with sWeights as weight.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fit mass spectra and write the rows with the sWeights of the signal."""
    from parhelion import io
    from parhelion.config import load_study
    from parhelion.provenance import versions
    from parhelion.sources import fit_masses, layout_of
    from parhelion.splot import apply_fits

    require_new(out, overwrite)
    say = speaker(quiet, as_json)
    loaded = load_study(study)
    section = loaded.config.data.splot
    if section is None:
        msg = f"{study}: has no data.splot section; add one with the mass models"
        raise ConfigError(msg)
    layout = layout_of(str(io.expand(files)[0]), loaded)
    fits = fit_masses(section, lambda: io.iterate(files, layout), say)
    chunks = io.iterate(files, layout)
    weighted = (apply_fits(chunk, fits.by_code, mass=section.mass, by=section.by) for chunk in chunks)
    made = {"files": files, "fits": fits.to_dict(), "versions": versions()}
    rows = io.write(weighted, out, provenance=made, overwrite=overwrite)
    say(f"{out}: {rows:,} rows with sWeights")
    if as_json:
        show({"file": str(out), "rows": rows, "fits": fits.to_dict()})


@app.command("fit")
def fit_command(
    study: Annotated[str, typer.Argument(help="Study whose surrogate and training sections are used.")],
    sample: Annotated[str, typer.Argument(help="Training sample.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Surrogate file (.safetensors).")],
    validation: Annotated[str | None, typer.Option(help="Validation sample; a share of the rows if not given.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Surrogate to begin with: a file, or the name of one in the package (ecal).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a surrogate on a sample file."""
    from contextlib import nullcontext

    from parhelion.config import load_study
    from parhelion.provenance import made_by
    from parhelion.sources import hold_out
    from parhelion.surrogates import SURROGATES
    from parhelion.training import fit
    from parhelion.training.progress import quiet as no_progress
    from parhelion.training.progress import terminal_progress

    require_suffix(out, "--out", ".safetensors")
    folder = out.with_suffix(".training")
    if not resume:
        require_new(out, overwrite)
        if folder.exists() and not overwrite:
            msg = f"{folder}: holds an earlier training; go on with --resume, or replace it with --overwrite"
            raise WriteError(msg)
    loaded = load_study(study)
    say = speaker(quiet, as_json)
    rows = read_sample(sample, loaded)
    train, held = hold_out(rows, loaded) if validation is None else (rows, read_sample(validation, loaded))
    say(f"training sample: {train.weights}")
    training = loaded.config.training
    if start is not None:
        training = training.model_copy(update={"start": start})
    surrogate = SURROGATES[loaded.family](train.schema, loaded.surrogate)
    surrogate.provenance = made_by(loaded.name, loaded.config.seed, train)
    with nullcontext(no_progress) if quiet else terminal_progress() as progress:
        result = fit(
            surrogate,
            train,
            config=training,
            validation=held,
            run_dir=folder,
            resume=resume,
            progress=progress,
        )
    surrogate.save(out)
    say(f"{out}: {result.steps:,} steps")
    if as_json:
        show({"file": str(out), "steps": result.steps, "validation": result.validation})


app.command()(generate)
app.command()(assemble)
app.command()(validate)
app.command()(export)
app.command()(verify)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A sample file, a surrogate file or a package.")],
    tree: Tree = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show what a file holds."""
    from parhelion.inspection import describe_file

    found = describe_file(path, tree)
    if as_json:
        show(found.data)
    else:
        speaker(quiet, False)(found.text)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="A file with your data: ROOT, HDF5, Parquet, npz or CSV.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Study file to write.")] = Path("study.yaml"),
    study: Annotated[
        str | None, typer.Option("--study", help="Take this study, with your data in the place of its own.")
    ] = None,
    tree: Tree = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a commented study file from the columns of your data, or one of the studies for your data."""
    from parhelion.adapted import adapted_study
    from parhelion.files import atomic_path
    from parhelion.template import study_template

    require_suffix(out, "--out", ".yaml", ".yml")
    require_new(out, overwrite)
    text = study_template(path, tree, out) if study is None else adapted_study(study, path, tree, out)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    edit = "edit the lines marked CHOOSE, then: " if "CHOOSE:" in text else "ready for "
    speaker(quiet, as_json)(f"{out}: {edit}parhelion run {out}")
    if as_json:
        show({"file": str(out)})


def main() -> None:
    """Entry point."""
    app()
