"""The command that judges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parhelion.commands.shared import Json, Quiet, Seed, Tree, require_suffix, show, speaker
from parhelion.errors import ConfigError

if TYPE_CHECKING:
    from parhelion.evaluation import MetricResult


def validate(
    study: Annotated[
        str | None, typer.Argument(help="Study whose fields, metrics and requirements judge; none: see the options.")
    ] = None,
    reference: Annotated[str, typer.Option(help="Reference sample.")] = "",
    generated: Annotated[str, typer.Option(help="Generated sample, of any generator.")] = "",
    train: Annotated[str | None, typer.Option(help="What the generator learned from, to look for copies.")] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Bound such as classifier<=0.52 or usable_size.usable>=1e6; repeatable.")
    ] = None,
    condition: Annotated[list[str] | None, typer.Option(help="Column known before generation; repeatable.")] = None,
    response: Annotated[
        list[str] | None, typer.Option(help="Column that was generated; all common ones if not given.")
    ] = None,
    category: Annotated[list[str] | None, typer.Option(help="Column whose numbers are labels; repeatable.")] = None,
    weight: Annotated[str | None, typer.Option(help="Column of signed weights.")] = None,
    event_id: Annotated[list[str] | None, typer.Option(help="Column of unique ids; several make one.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Column that ties rows together (run, event).")] = None,
    selection: Annotated[str | None, typer.Option(help="Rows to keep, in the file's columns.")] = None,
    tree: Tree = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="Format of the files: calochallenge-2, calogan, lhcb ...")
    ] = None,
    observables: Annotated[
        list[str] | None,
        typer.Option(help="Compare these instead of cells: ecal, calogan, calochallenge or cube; repeatable."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=2, help="Compare about so many rows of each file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
    seed: Seed = 1,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Judge a generated sample against a reference. Exit code 1 if the verdict is fail, 3 if the sample cannot tell."""
    for option, value in (("--reference", reference), ("--generated", generated)):
        if not value:
            msg = f"{option} is missing; give both --reference FILE and --generated FILE"
            raise ConfigError(msg)
    if report is not None:
        require_suffix(report, "--report", ".html", ".htm")
    from parhelion.config import load_study
    from parhelion.judgement import Roles, judge_files, parse_requirement
    from parhelion.report import ReportContent, SampleEntry, write_report
    from parhelion.report.showers import shower_pictures

    loaded = None if study is None else load_study(study)
    roles = Roles(
        condition=tuple(condition or ()),
        response=tuple(response or ()),
        category=tuple(category or ()),
        weight=weight,
        event_id=tuple(event_id or ()),
        group=tuple(group or ()),
        selection=selection,
        tree=tree,
        format=file_format,
    )
    if loaded is not None and roles != Roles():
        msg = f"the study {study} says what the columns are; leave out the options that say it too, or the study"
        raise ConfigError(msg)
    say = speaker(quiet, as_json)
    found = judge_files(
        reference,
        generated,
        study=loaded,
        roles=roles,
        train=train,
        requirements=[parse_requirement(text) for text in require or ()],
        observables=[(kind, None) for kind in observables or ()],
        seed=seed,
        max_rows=rows,
        say=say,
    )
    if report is not None:
        title = f"{Path(generated).name} against {Path(reference).name}" if loaded is None else loaded.config.title
        samples = [SampleEntry.of("reference", found.reference), SampleEntry.of("generated", found.generated)]
        content = ReportContent(
            title=title,
            verdict=found.verdict,
            results=found.results,
            samples=samples,
            showers=shower_pictures(found.reference, found.generated),
        )
        write_report(report, content)
        say(f"report: {report}")
    for outcome in found.verdict.outcomes:
        say(outcome.sentence)
    if found.verdict.outcomes:
        say(found.verdict.status.upper())
    else:
        for result in found.results:
            say(_line(result))
        say("no requirement was given: this is a measurement without a verdict (--require METRIC<=NUMBER)")
    if as_json:
        show({**found.verdict.to_dict(), **({} if loaded else {"results": [r.to_dict() for r in found.results]})})
    if not found.verdict.passed:
        raise typer.Exit(found.verdict.exit_code)


def _line(result: MetricResult) -> str:
    q = result.quantity()
    unit = f" {q.unit}" if q.unit else ""
    p = "" if q.p_value is None else f", p {q.p_value:.2g}"
    return (
        f"{result.name} ({result.on}): {result.main} {q.value:.4g} +- {q.error:.2g}{unit}, "
        f"null {q.null:.4g} +- {q.null_error:.2g}{p}"
    )
