"""Scores of rows that the classifier has not seen: features, folds by group, training, AUC with its covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from parhelion.errors import DataError
from parhelion.evaluation.classifiers.learners import Learner, LearnerSettings, Model, train
from parhelion.evaluation.samples.binning import scalar
from parhelion.evaluation.samples.comparison import Comparison
from parhelion.evaluation.statistics.auc import placements
from parhelion.evaluation.statistics.regressed_weights import regressed_weight
from parhelion.sample import Field, Sample, flatten
from parhelion.weights import scale_to_unit_mean

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MAX_CATEGORIES = 200


@dataclass(frozen=True)
class Choice:
    """Which features a classifier sees besides the responses.

    Attributes
    ----------
    conditions
        Whether it sees the conditions.
    extra
        Names of scalar extra fields.
    differences
        Pairs of scalar fields whose difference is a feature.
    """

    conditions: bool = True
    extra: tuple[str, ...] = ()
    differences: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Which learners are trained, and how.

    Attributes
    ----------
    learners
        Their names.
    categorical
        Which features are categories, shape (d,).
    settings
        See `LearnerSettings`.
    folds
        Number of folds, as in the rows.
    """

    learners: tuple[Learner, ...]
    categorical: BoolArray
    settings: LearnerSettings
    folds: int


@dataclass(frozen=True)
class Columns:
    """What the columns of a feature matrix are.

    Attributes
    ----------
    names
        One name a column.
    categorical
        Which columns are categories, as 0, 1, 2, ..., shape (d,).
    labels
        Labels of the categories of each column; empty for numbers.
    units
        Units of the columns.
    fields
        Names of the responses and extra fields among them.
    """

    names: tuple[str, ...]
    categorical: BoolArray
    labels: tuple[tuple[str, ...], ...]
    units: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Rows of one class: features (n, d), signed weights with mean 1, groups and folds, shape (n,) each."""

    features: FloatArray
    weight: FloatArray
    group: IntArray
    fold: IntArray

    def take(self, rows: BoolArray) -> Rows:
        """Rows by mask, shape (n,)."""
        return Rows(self.features[rows], self.weight[rows], self.group[rows], self.fold[rows])


@dataclass(frozen=True)
class Scores:
    """Scores of all rows by models that have not seen their groups.

    Attributes
    ----------
    reference, generated
        Scores in (0, 1), shapes (n,) and (m,).
    first_model
        The model that scored fold 0.
    """

    reference: FloatArray
    generated: FloatArray
    first_model: Model


@dataclass(frozen=True)
class GroupedAuc:
    """AUC of cross-fitted scores.

    Attributes
    ----------
    auc
        Mean over folds.
    fold_auc, fold_error
        AUC of each fold and its clustered error, shape (folds,).
    influence
        Influence of each group on `auc`, shape (groups,).
    """

    auc: float
    fold_auc: FloatArray
    fold_error: FloatArray
    influence: FloatArray

    @property
    def error(self) -> float:
        """Standard error of `auc` (see `auc_covariance`)."""
        return float(np.sqrt(auc_covariance([self])[0, 0]))


def columns_of(sample: Sample, choice: Choice, metric: str) -> Columns:
    """Name the features: conditions, responses, extra fields, differences of scalar fields.

    Raises
    ------
    ConfigError
        A field does not exist, or is not a scalar where one is needed.
    """
    names: list[str] = []
    labels: list[tuple[str, ...]] = []
    units: list[str] = []
    extra = tuple(scalar(sample, name, metric)[0] for name in choice.extra)
    for field in (*_fields(sample, choice), *extra):
        parts = [field.name] if field.width == 1 else [f"{field.name}[{i}]" for i in range(field.width)]
        names += parts
        labels += [_labels(field)] * len(parts)
        units += [field.unit] * len(parts)
    for a, b in choice.differences:
        units.append(scalar(sample, a, metric)[0].unit)
        scalar(sample, b, metric)
        names.append(f"{a} - {b}")
        labels.append(())
    compared = tuple(f.name for f in sample.schema.response) + choice.extra if choice.extra else ()
    return Columns(tuple(names), np.array([bool(known) for known in labels]), tuple(labels), tuple(units), compared)


def rows_of(sample: Sample, choice: Choice, group: IntArray, fold_of_group: IntArray, metric: str) -> Rows:
    """Feature matrix of a sample in the order of `columns_of`, with weights of mean 1."""
    fields = _fields(sample, choice) + tuple(sample.schema[name] for name in choice.extra)
    columns = dict(sample.columns)
    for field in fields:
        if _labels(field):
            # The trees want categories as 0, 1, 2, ...
            codes = np.sort(np.asarray(field.values))
            columns[field.name] = np.searchsorted(codes, columns[field.name])
    parts = [flatten(columns, fields, len(sample))]
    parts += [(scalar(sample, a, metric)[1] - scalar(sample, b, metric)[1])[:, None] for a, b in choice.differences]
    weight = scale_to_unit_mean(sample.weight, source=sample.source)
    return Rows(np.concatenate(parts, axis=1), weight, group, fold_of_group[group])


def prepare(
    comparison: Comparison, choice: Choice, folds: int, metric: str, rng: np.random.Generator
) -> tuple[Columns, Rows, Rows]:
    """Features of both samples, in folds by group.

    Raises
    ------
    ConfigError
        A field does not exist, or is not a scalar where one is needed.
    DataError
        A fold has no positive sum of weights on one side.
    """
    columns = columns_of(comparison.reference, choice, metric)
    fold_of_group = rng.permutation(np.arange(comparison.groups, dtype=np.int64) % folds)
    ours = rows_of(comparison.reference, choice, comparison.reference_group, fold_of_group, metric)
    theirs = rows_of(comparison.generated, choice, comparison.generated_group, fold_of_group, metric)
    for sample, rows in ((comparison.reference, ours), (comparison.generated, theirs)):
        _require_folds(sample.source, rows, folds, metric)
    return columns, ours, theirs


def null_rows(comparison: Comparison, ours: Rows, theirs: Rows, rng: np.random.Generator) -> tuple[Rows, Rows, float]:
    """Two sets of rows that do not differ, and the factor from their error to that of the measured sizes.

    Paired samples exchange their features in half of the groups; else the reference is divided into halves.
    """
    heads = rng.integers(0, 2, size=comparison.groups).astype(bool)
    swap = heads[ours.group]
    if comparison.paired:
        chosen = swap[:, None]
        first = replace(ours, features=np.where(chosen, theirs.features, ours.features))
        second = replace(theirs, features=np.where(chosen, ours.features, theirs.features))
        return first, second, 1.0
    r, g = comparison.reference.weights.effective, comparison.generated.weights.effective
    return ours.take(swap), ours.take(~swap), float(np.sqrt((1 / r + 1 / g) * r / 4))


def cross_fit(ours: Rows, theirs: Rows, plan: Plan, *, seed: int) -> dict[Learner, Scores]:
    """Score every row by models trained on the folds that it is not in.

    Parameters
    ----------
    ours, theirs
        Reference rows (label 1) and generated rows (label 0).
    plan
        Which classifiers to train, and how.
    seed
        Seed of the training.
    """
    categorical, settings = plan.categorical, plan.settings
    scores = {name: (np.zeros(len(ours.weight)), np.zeros(len(theirs.weight))) for name in plan.learners}
    first: dict[Learner, Model] = {}
    for k in range(plan.folds):
        known = [rows.take(rows.fold != k) for rows in (ours, theirs)]
        # The mean of a few signed weights is mostly noise.
        leaf = max(settings.min_leaf, 100)
        weights = [
            regressed_weight(rows.features, rows.weight, categorical=categorical, min_leaf=leaf, seed=seed + k)
            for rows in known
        ]
        # Both classes weigh the same, so that a score of 1/2 means equal densities.
        weights = [w / max(float(np.sum(w)), 1e-300) * len(known[0].weight) for w in weights]
        label = np.repeat([1, 0], [len(rows.weight) for rows in known])
        for name in plan.learners:
            model = train(
                name,
                np.concatenate([rows.features for rows in known]),
                label,
                np.concatenate(weights),
                group=np.concatenate([rows.group for rows in known]),
                categorical=categorical,
                settings=settings,
                seed=seed + k,
            )
            for score, rows in zip(scores[name], (ours, theirs), strict=True):
                score[rows.fold == k] = model(rows.features[rows.fold == k])
            if k == 0:
                first[name] = model
    return {name: Scores(*scores[name], first[name]) for name in plan.learners}


def grouped_auc(scores: Scores, ours: Rows, theirs: Rows, folds: int) -> GroupedAuc:
    """AUC in each fold (reference positive) and their mean, with influences summed over groups."""
    groups = int(max(ours.group.max(), theirs.group.max())) + 1
    areas, errors, influence = np.empty(folds), np.empty(folds), np.zeros(groups)
    for k in range(folds):
        tests = [rows.fold == k for rows in (ours, theirs)]
        placed = placements(
            scores.reference[tests[0]], scores.generated[tests[1]], ours.weight[tests[0]], theirs.weight[tests[1]]
        )
        group = np.concatenate([ours.group[tests[0]], theirs.group[tests[1]]])
        sums = np.bincount(group, np.concatenate(placed.influence), groups)
        areas[k], errors[k] = placed.auc, float(np.sqrt(np.sum(sums**2)))
        influence += sums / folds
    return GroupedAuc(float(np.mean(areas)), areas, errors, influence)


def auc_covariance(tests: Sequence[GroupedAuc]) -> FloatArray:
    """Covariance of the AUCs of k learners on the same rows, shape (k, k).

    The sum over groups of products of influences, times 2: fold k tested by a model of fold l, and l by a model of k,
    meet the same chance differences (see `classifier`).
    """
    influence = np.stack([test.influence for test in tests])
    covariance: FloatArray = 2.0 * influence @ influence.T
    # What cancels exactly in every group leaves rounding behind, which must not pass for a variance.
    dead = np.diag(covariance) < 1e-24
    covariance[dead, :] = 0.0
    covariance[:, dead] = 0.0
    return covariance


def largest_of_normals(value: float, covariance: FloatArray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Probability that the largest of correlated normal variables of mean 0 is at least `value`; its mean and spread.

    Draws are made under the condition that one variable, chosen with the probability with which it alone reaches the
    value, does so; each then counts the inverse of how many do. The mean of that times the sum of the single
    probabilities is the probability of their union, whose relative error stays small however small it is (Adler,
    Blanchet & Liu 2012).

    Parameters
    ----------
    value
        Measured maximum.
    covariance
        Shape (k, k); a variance may be 0.
    rng
        Source of draws.
    """
    draws = 4000
    spread = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    z = rng.normal(size=(draws // 2, len(spread)))
    # Both signs of each draw: the means of the variables are exactly 0.
    normal = np.concatenate([z, -z]) @ root.T
    largest = normal.max(axis=1)
    mean, width = float(np.mean(largest)), float(np.std(largest, ddof=1))
    alive = np.flatnonzero(spread > 0)
    if value <= 0 or len(alive) == 0:
        return float(np.mean(largest >= value)), mean, width
    single = norm.sf(value / spread[alive])
    total = float(np.sum(single))
    if total == 0.0:
        return 0.0, mean, width
    chosen = alive[rng.choice(len(alive), size=draws, p=single / total)]
    reached = spread[chosen] * norm.isf(rng.random(draws) * norm.sf(value / spread[chosen]))
    rows = np.arange(draws)
    moved = normal + ((reached - normal[rows, chosen]) / spread[chosen] ** 2)[:, None] * covariance[chosen]
    moved[rows, chosen] = reached
    count = np.maximum(np.sum(moved[:, alive] >= value, axis=1), 1)
    return min(1.0, total * float(np.mean(1.0 / count))), mean, width


def _fields(sample: Sample, choice: Choice) -> tuple[Field, ...]:
    return (sample.schema.condition if choice.conditions else ()) + sample.schema.response


def _labels(field: Field) -> tuple[str, ...]:
    """Labels in the order of the codes; empty for numbers and for too many categories to be told apart."""
    if field.kind != "category" or len(field.values) > _MAX_CATEGORIES:
        return ()
    return tuple(field.label_of(code) for code in sorted(field.values))


def _require_folds(source: str, rows: Rows, folds: int, metric: str) -> None:
    content = np.bincount(rows.fold, rows.weight, folds)
    if not np.all(content > 0):
        msg = (
            f"metric {metric}: {source}: a fold of {folds} has sum of weights {content.min():.6g}, expected a positive "
            f"number; {len(rows.weight)} rows are too few for this test"
        )
        raise DataError(msg)
