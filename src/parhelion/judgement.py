"""Judging two files, of any generator, with or without a study."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parhelion import io
from parhelion.config import LoadedStudy
from parhelion.ensemble_members import judge_with_members, require_members
from parhelion.ensembles import validate_ensemble
from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import METRICS, MetricResult, Requirement, Verdict, judge
from parhelion.evaluation.model.ensemble import NAME as ENSEMBLE
from parhelion.evaluation.model.ensemble import QUANTITIES as ENSEMBLE_QUANTITIES
from parhelion.io import ColumnInfo, FieldSource, Layout
from parhelion.io.community import layout_of_format
from parhelion.observables import build, observed, require_scale
from parhelion.observed import evaluate_observed
from parhelion.sample import Field, Sample, Schema
from parhelion.sources import Say, inside_domain, layout_of

_MOST_CATEGORIES = 50
_WIDEST = 40
_BOUND = re.compile(r"\s*(?P<metric>\w+)(\.(?P<quantity>\w+))?\s*(?P<sign><=|>=)\s*(?P<number>\S+)\s*")


@dataclass(frozen=True)
class Roles:
    """What the columns of files without a study are.

    Attributes
    ----------
    condition, response
        Names of columns. Without responses, every other column with numbers that both files have is one.
    category
        Columns, in either role, whose numbers are labels.
    weight, event_id, group
        Columns with signed weights, unique ids, and what ties rows together.
    selection, tree
        Rows to keep, and the tree or group if there are several.
    format
        Name of a community's format (``calochallenge-2``) that says what the columns are instead.
    """

    condition: tuple[str, ...] = ()
    response: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    weight: str | None = None
    event_id: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    selection: str | None = None
    tree: str | None = None
    format: str | None = None


@dataclass(frozen=True)
class EnsembleOptions:
    """Members whose spread is the model's uncertainty.

    Attributes
    ----------
    members
        Files or patterns of files (see `ensemble_members`), or one number: so many are trained as the study says, on
        bootstrapped replicas of the training sample.
    folder
        Where trained members are kept, and found when the command is repeated.
    seed_members
        Train so many more that differ by the seed alone.
    by
        Category condition: compare each of its values as well.
    """

    members: tuple[str, ...]
    folder: Path
    seed_members: int = 0
    by: str | None = None

    @property
    def count(self) -> int | None:
        """Number of members to train; None where they are files."""
        return int(self.members[0]) if len(self.members) == 1 and self.members[0].isdigit() else None


@dataclass(frozen=True)
class FileJudgement:
    """What was compared, what the metrics found, and the verdict."""

    reference: Sample
    generated: Sample
    results: tuple[MetricResult, ...]
    verdict: Verdict


def judge_files(
    reference: str,
    generated: str,
    *,
    study: LoadedStudy | None = None,
    roles: Roles | None = None,
    train: str | None = None,
    requirements: Sequence[Requirement] = (),
    observables: Sequence[tuple[str, Any]] = (),
    ensemble: EnsembleOptions | None = None,
    seed: int,
    max_rows: int | None = None,
    say: Say,
) -> FileJudgement:
    """Judge a generated file against a reference file.

    Parameters
    ----------
    reference, generated, train
        Files, or patterns of files; `train` holds what the generator learned from, if that is known.
    study
        Its fields, metrics and requirements; without one, `roles`, `default_metrics` and `requirements` are used.
    roles
        What the columns are. Files that declare their fields need none.
    requirements
        Bounds beside those of the study.
    observables
        Sets of observables by kind with their options, beside those of the study.
    ensemble
        Members of an ensemble: all rows are compared with their spread as model uncertainty too.
    seed
        Seed of members, bootstraps, nulls and folds.
    max_rows
        Compare about so many rows of each file.
    say
        Hears what is worth knowing.

    Raises
    ------
    ConfigError
        Roles name what does not exist or contradict each other, or a requirement is on nothing.
    DataError
        The files cannot be read or compared.
    """
    if ensemble is None and any(r.metric == ENSEMBLE for r in requirements):
        msg = "a requirement on the ensemble needs its members: give --ensemble"
        raise ConfigError(msg)
    if ensemble is not None:
        _check_ensemble(ensemble, study, train)
    paths = [reference, generated, *([train] if train is not None else [])]
    shared = _layouts(paths, roles or Roles(), say) if study is None else []
    layouts = shared or [layout_of(path, study) for path in paths if study is not None]
    ours, theirs, *rest = (io.read(path, layout) for path, layout in zip(paths, layouts, strict=True))
    if study is None:
        ours, theirs, *rest = _with_categories([ours, theirs, *rest], (roles or Roles()).category)
    ours, theirs = inside_domain(ours, theirs, say)
    sets = build([*(study.observables if study is not None else ()), *observables], ours.schema)
    require_scale(ours, sets)
    fields = observed(ours.schema, sets)
    metrics = study.metrics if study is not None else default_metrics(fields, train=train is not None)
    metrics = _with_required(metrics, requirements)
    known = rest[0] if rest else None
    uncertain: list[MetricResult] = []
    if ensemble is not None:

        def read(path: str) -> Sample:
            return io.read(path, layouts[1] if study is None else layout_of(path, study))

        uncertain = _with_members(ensemble, study, ours, theirs, known, read, seed, say)
    results = evaluate_observed(ours, theirs, metrics, sets, seed=seed, train=known, max_rows=max_rows)
    results = [*results, *uncertain]
    seen = study.config.loss_fields if study is not None else ()
    bounds = [*(study.requirements if study is not None else ()), *requirements]
    return FileJudgement(ours, theirs, tuple(results), judge(results, bounds, seen=seen))


def _check_ensemble(options: EnsembleOptions, study: LoadedStudy | None, train: str | None) -> None:
    """Find out before the work, not after it."""
    if options.count is None:
        if options.seed_members:
            msg = (
                "--seed-members trains members, but --ensemble names files; give it a number, or leave that option out"
            )
            raise ConfigError(msg)
        require_members(len(io.expand(options.members)))
        return
    require_members(options.count, options.seed_members)
    if study is None or train is None:
        missing = "a study, which says how" if study is None else "--train with the training sample"
        msg = f"--ensemble {options.count} trains members, which needs {missing}; give it, or name files of members"
        raise ConfigError(msg)


def _with_members(
    options: EnsembleOptions,
    study: LoadedStudy | None,
    ours: Sample,
    theirs: Sample,
    train: Sample | None,
    read: Callable[[str], Sample],
    seed: int,
    say: Say,
) -> list[MetricResult]:
    """Train the members or take files as such, and judge with their spread."""
    if options.count is None or study is None or train is None:
        members = io.expand(options.members)
        return judge_with_members(ours, theirs, members, seed=seed, by=options.by, read=read)
    return validate_ensemble(
        study,
        train,
        ours,
        theirs,
        members=options.count,
        seed_members=options.seed_members,
        folder=options.folder,
        by=options.by,
        seed=seed,
        say=say,
    )


def default_metrics(schema: Schema, *, train: bool) -> tuple[tuple[str, Any], ...]:
    """Metrics that need no declaration and fit the fields, in the order of the report.

    Parameters
    ----------
    schema
        Fields of the samples.
    train
        Whether the rows that the generator learned from are known.
    """
    scalars = [f for f in schema.response if not f.shape and f.kind != "category"]
    numbers = [f for f in schema.condition if not f.shape and f.kind != "category"]
    width = schema.response_width + schema.condition_width
    chosen = ["classifier", "classifier_weights"]
    if scalars:
        chosen = ["usable_size", *chosen, "histograms", "tails"]
        chosen += ["correlation"] if len(scalars) + len(numbers) > 1 else []
    chosen += [name for name in ("frechet", "kernel_distance", "sliced", "prdc") if width <= _WIDEST]
    found: list[tuple[str, Any]] = [(name, METRICS[name].options()) for name in chosen]
    if scalars and numbers:
        found += [("differential", METRICS["differential"].options(x=f.name)) for f in numbers[:3]]
    if train:
        found.append(("memorisation", METRICS["memorisation"].options()))
    return tuple(found)


def parse_requirement(text: str) -> Requirement:
    """Read a bound such as ``classifier<=0.52`` or ``usable_size.usable>=1e6``.

    Raises
    ------
    ConfigError
        It is not METRIC<=NUMBER, METRIC>=NUMBER or METRIC.QUANTITY with these.
    """
    found = _BOUND.fullmatch(text)
    bound = _number(found["number"]) if found else math.nan
    if found is not None and math.isfinite(bound):
        metric, quantity, upper = found["metric"], found["quantity"], found["sign"] == "<="
        _require_quantity(text, metric, quantity)
        return Requirement(metric, quantity=quantity, max=bound if upper else None, min=None if upper else bound)
    msg = f"requirement {text!r}: expected METRIC<=NUMBER, as in classifier<=0.52, or METRIC.QUANTITY>=NUMBER"
    raise ConfigError(msg)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _require_quantity(text: str, metric: str, quantity: str | None) -> None:
    known = {name: m.quantities for name, m in METRICS.items()} | {ENSEMBLE: ENSEMBLE_QUANTITIES}
    if metric not in known:
        msg = f"requirement {text!r}: {metric!r} is no metric; choose one of {', '.join(sorted(known))}"
        raise ConfigError(msg)
    if quantity and quantity not in known[metric]:
        msg = f"requirement {text!r}: {metric} has no quantity {quantity}; choose one of {', '.join(known[metric])}"
        raise ConfigError(msg)


def _with_required(
    metrics: Sequence[tuple[str, Any]], requirements: Sequence[Requirement]
) -> tuple[tuple[str, Any], ...]:
    """The metrics, and those that only a requirement names, with their defaults."""
    present = {ENSEMBLE, *(name for name, _ in metrics)}
    extra = []
    for name in dict.fromkeys(r.metric for r in requirements if r.metric not in present):
        try:
            extra.append((name, METRICS[name].options()))
        except TypeError:
            msg = f"requirement on {name}: this metric has options without defaults; give a study that sets them"
            raise ConfigError(msg) from None
    return (*metrics, *extra)


def _layouts(paths: Sequence[str], roles: Roles, say: Say) -> list[Layout | None]:
    """One layout for all files: as the reference declares its fields, or from the roles."""
    given = bool(roles.condition or roles.response or roles.category)
    if roles.format is not None:
        return _of_format(paths, roles.format, roles, given)
    declared = [None if given else io.stored_layout(io.expand(path)[0], tree=roles.tree) for path in paths]
    first = declared[0]
    if first is None:
        return [_from_roles(paths, roles, say)] * len(paths)
    changes: dict[str, Any] = {
        key: getattr(roles, key) for key in ("weight", "event_id", "group") if getattr(roles, key)
    }
    chosen = [
        layout if layout is not None else _borrowed(first, path, roles.tree)
        for layout, path in zip(declared, paths, strict=True)
    ]
    return [replace(layout, selection=roles.selection, **changes) for layout in chosen]


def _of_format(paths: Sequence[str], name: str, roles: Roles, given: bool) -> list[Layout | None]:
    """Layouts of files in a community's format; files that declare their fields keep their own."""
    if given or roles.weight or roles.event_id or roles.group:
        msg = f"the format {name} says what the columns are; leave out the options that say it too"
        raise ConfigError(msg)
    own = [io.stored_layout(io.expand(path)[0], tree=roles.tree) for path in paths]
    chosen = [layout if layout is not None else layout_of_format(name) for layout in own]
    return [replace(layout, selection=roles.selection, tree=roles.tree) for layout in chosen]


def _borrowed(layout: Layout, path: str, tree: str | None) -> Layout:
    """Layout of the reference for a file of another program, which need not have weights, ids and extra fields."""
    names = {c.name for c in io.columns(io.expand(path)[0], tree=tree)}
    return replace(
        layout,
        extra=tuple(source for source in layout.extra if names.issuperset(source.columns)),
        weight=layout.weight if layout.weight in names else None,
        event_id=layout.event_id if names.issuperset(layout.event_id) else (),
        group=layout.group if names.issuperset(layout.group) else (),
        tree=tree,
    )


def _from_roles(paths: Sequence[str], roles: Roles, say: Say) -> Layout:
    infos = [{c.name: c for c in io.columns(io.expand(path)[0], tree=roles.tree)} for path in paths]
    taken = {*roles.event_id, *roles.group, *([roles.weight] if roles.weight else [])}
    for name in (*roles.condition, *roles.response, *roles.category):
        for path, columns in zip(paths, infos, strict=True):
            if name not in columns:
                msg = f"{path}: there is no column {name}; the columns are {', '.join(columns)}"
                raise DataError(msg)
    common = [
        name
        for name, info in infos[0].items()
        if name not in taken and all(name in c and _usable(info, c[name]) for c in infos)
    ]
    condition = roles.condition
    response = roles.response or tuple(name for name in common if name not in condition)
    if not response:
        for name, info in infos[0].items():
            theirs = infos[1].get(name)
            if name not in (*condition, *taken) and theirs is not None and theirs.shape != info.shape:
                msg = f"{paths[1]}: column {name}: a row has shape {theirs.shape}, in {paths[0]} {info.shape}"
                raise DataError(msg)
        msg = (
            f"{paths[1]}: no column with numbers in common with {paths[0]} ({', '.join(infos[0])}); "
            "name the responses with --response"
        )
        raise DataError(msg)
    if not roles.response:
        known = dict.fromkeys(name for info in infos for name in info)
        rest = [name for name in known if name not in {*taken, *condition, *response, *roles.category}]
        if rest:
            say(f"left out, as not all files have them as numbers of one shape: {', '.join(rest)}")

    def sources(names: Sequence[str]) -> tuple[FieldSource, ...]:
        found = [(name, infos[0][name]) for name in names]
        return tuple(FieldSource(Field(n, info.unit or "", info.shape or (), _kind(n, roles))) for n, info in found)

    return Layout(
        condition=sources(condition),
        response=sources(response),
        weight=roles.weight,
        event_id=roles.event_id,
        group=roles.group,
        selection=roles.selection,
        tree=roles.tree,
    )


def _usable(ours: ColumnInfo, theirs: ColumnInfo) -> bool:
    return ours.numeric and theirs.numeric and ours.shape is not None and ours.shape == theirs.shape


def _kind(name: str, roles: Roles) -> Any:
    # The labels are known only once the files are read: until then a category is an integer.
    return "integer" if name in roles.category else "continuous"


def _with_categories(samples: Sequence[Sample], names: Sequence[str]) -> list[Sample]:
    """Turn the fields named as categories into such, with the values of all samples together."""
    if not names:
        return list(samples)
    schema = samples[0].schema
    changed = {name: _category(schema[name], samples) for name in names}
    new = Schema(
        *(tuple(changed.get(f.name, f) for f in role) for role in (schema.condition, schema.response, schema.extra))
    )
    return [
        Sample(new, s.columns, weight=s.weight, event_id=s.event_id, group=s.group, source=s.source) for s in samples
    ]


def _category(field: Field, samples: Sequence[Sample]) -> Field:
    values = np.unique(np.concatenate([np.unique(s[field.name]) for s in samples]))
    if field.shape or len(values) > _MOST_CATEGORIES:
        what = f"shape {field.shape}" if field.shape else f"{len(values)} values"
        msg = (
            f"--category {field.name}: {samples[0].source}: the column has {what}, expected one number a row and at "
            f"most {_MOST_CATEGORIES} different ones; leave it out of the categories"
        )
        raise ConfigError(msg)
    codes = tuple(float(v) for v in values)
    return Field(field.name, field.unit, (), "category", codes, tuple(f"{v:g}" for v in codes))
