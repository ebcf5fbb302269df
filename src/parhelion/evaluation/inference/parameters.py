"""Parameters that an analysis measures with a surrogate, and their estimates on a reference and a generated sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.inference.estimates import (
    Estimate,
    bias_from_ratio,
    density_slope,
    fraction_score,
    mean_estimate,
    train_share,
    width_estimate,
)
from parhelion.evaluation.results.null import safe_ratio
from parhelion.evaluation.samples.binning import category_code, require_category, require_rows, scalar
from parhelion.evaluation.samples.comparison import Comparison
from parhelion.sample import Field, Sample, flatten
from parhelion.weights import require_positive_total

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Kind = Literal["mean", "width", "fraction", "template", "shift", "scale", "score"]

NAME = "usable_size"
FOLDS = 2
# Relative error of the information of an event; four rows that pass a cut know it to this.
_LEAST_KNOWN = 0.5
_SCALED = ("shift", "scale")


@dataclass(frozen=True)
class Parameter:
    """A parameter that an analysis measures with the surrogate.

    Attributes
    ----------
    kind
        ``mean`` or ``width`` (standard deviation) of a field; ``fraction``: the share of rows with `field` above
        `threshold` (an efficiency, a misidentification); ``template``: the share of `signal` in a mixture with
        `background`, two categories, fitted to the distribution of `field`; ``shift``: the field is displaced by a
        constant; ``scale``: it is multiplied by a factor near 1; ``score``: `field` is the score d log p / d theta
        itself, computed for both samples.
    field
        Scalar response or extra field.
    threshold
        Of ``fraction``, in the field's unit.
    category, value
        Use only the rows with this value (label or code) of this category condition. A ``template`` needs the
        category, and takes no value.
    signal, background
        Of ``template``: values of the category.
    share
        Of ``template``: true share of signal.
    given
        Of ``template``: scalar fields (momentum) that the fit knows of each row beside the discriminant.
    name
        What to call it; made from the above if empty.
    """

    kind: Kind
    field: str
    threshold: float | None = None
    category: str | None = None
    value: str | None = None
    signal: str | None = None
    background: str | None = None
    share: float = 0.5
    given: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        """Check that the kind has what it needs."""
        if self.kind == "fraction" and self.threshold is None:
            msg = f"metric {NAME}: the fraction of {self.field} has no threshold; give it"
            raise ConfigError(msg)
        if self.kind == "template":
            if self.category is None or self.signal is None or self.background is None or self.value is not None:
                msg = f"metric {NAME}: the template on {self.field} needs category, signal and background, and no value"
                raise ConfigError(msg)
        elif (self.category is None) != (self.value is None):
            msg = f"metric {NAME}: {self.kind} of {self.field}: give category and value together, or neither"
            raise ConfigError(msg)
        if not 0 < self.share < 1:
            msg = f"metric {NAME}: share {self.share:g}, expected between 0 and 1"
            raise ConfigError(msg)

    @property
    def title(self) -> str:
        """Its name, unique where the parameters differ."""
        if self.name:
            return self.name
        if self.kind == "template":
            given = f" and {', '.join(self.given)}" if self.given else ""
            share = "" if self.share == 0.5 else f", {self.share:g} {self.signal}"
            return f"share of {self.signal} in {self.signal} and {self.background} by {self.field}{given}{share}"
        if self.kind == "fraction":
            who = f" of {self.value}" if self.value is not None else ""
            return f"share{who} with {self.field} > {self.threshold:g}"
        where = f", {self.category} = {self.value}" if self.value is not None else ""
        return f"{self.kind} of {self.field}{where}"


@dataclass(frozen=True)
class Measured:
    """A parameter on both samples.

    Attributes
    ----------
    parameter, unit
        What it is, and its unit.
    reference, generated
        Its estimates.
    score, weight
        Score of each generated row, shape (m,), in inverse units of the parameter, and its signed weight.
    """

    parameter: Parameter
    unit: str
    reference: Estimate
    generated: Estimate
    score: FloatArray
    weight: FloatArray

    @property
    def bias(self) -> float:
        """What an analysis with the surrogate as its model finds too much, in `unit`."""
        return self.reference.value - self.generated.value

    @property
    def event_error(self) -> float:
        """Statistical error of one event, in `unit`."""
        return float(np.sqrt(self.reference.variance))

    @property
    def beta(self) -> float:
        """Bias in errors of one event."""
        return self.bias / self.event_error


def default_parameters(sample: Sample, by: str | None) -> list[Parameter]:
    """Mean and width of every scalar response that is no category; with `by` for each of its values in turn as well."""
    fields = [f for f in sample.schema.response if not f.shape and f.kind != "category"]
    kinds: tuple[Kind, ...] = ("mean", "width")
    found = [Parameter(kind, f.name) for f in fields for kind in kinds]
    if by is None:
        return found
    category, _ = scalar(sample, by, NAME)
    require_category(category, NAME)
    labels = [category.label_of(code) for code in category.values if np.any(sample.columns[by] == code)]
    return found + [replace(p, category=by, value=label) for label in labels for p in found]


def measure(comparison: Comparison, parameter: Parameter, fold: IntArray, seed: int) -> Measured:
    """Estimate a parameter on both samples.

    Parameters
    ----------
    comparison
        The samples.
    parameter
        What to estimate.
    fold
        Half that each group belongs to, 0 or 1, shape (groups,): a score is learned on one and used on the other.
    seed
        Seed of trees.

    Raises
    ------
    ConfigError
        The parameter names an unknown field or category, a condition, or a field copied from the reference.
    DataError
        Events carry no information on it, or there are too few signed weights.
    """
    field = _require_field(comparison, parameter)
    try:
        if parameter.kind == "template":
            found = _template(comparison, parameter, fold, seed)
        else:
            found = _direct(comparison, parameter, fold)
    except DataError as error:
        msg = f"metric {NAME}: {parameter.title}: {error}"
        raise DataError(msg) from error
    variance = found.reference.variance
    _require_information(found.reference, parameter, comparison.reference.source)
    score = (found.psi - found.reference.value) / variance
    return Measured(parameter, _unit(field, parameter.kind), found.reference, found.generated, score, found.weight)


def _require_information(estimate: Estimate, parameter: Parameter, source: str) -> None:
    ways = "choose another threshold" if parameter.kind == "fraction" else "leave the parameter out"
    if not estimate.variance > 0:
        msg = (
            f"metric {NAME}: {parameter.title}: all rows of the reference ({source}) give the same value, so events "
            f"carry no information on it; {ways}"
        )
        raise DataError(msg)
    error = float(np.sqrt(np.sum(estimate.variance_influence**2))) / estimate.variance
    if error > _LEAST_KNOWN:
        msg = (
            f"metric {NAME}: {parameter.title}: the reference ({source}) knows the information of an event only to "
            f"{100 * error:.0f} %, expected {100 * _LEAST_KNOWN:g} % or better; take more rows, or {ways}"
        )
        raise DataError(msg)


@dataclass(frozen=True)
class _Found:
    """Estimates on both samples; psi and weight of each generated row."""

    reference: Estimate
    generated: Estimate
    psi: FloatArray
    weight: FloatArray


def _unit(field: Field, kind: Kind) -> str:
    if kind == "score":
        return f"1/({field.unit})" if field.unit else ""
    return field.unit if kind in ("mean", "width", "shift") else ""


def _require_field(comparison: Comparison, parameter: Parameter) -> Field:
    reference, generated = comparison.reference, comparison.generated
    field, x = scalar(reference, parameter.field, NAME)
    y = scalar(generated, parameter.field, NAME)[1]
    if field in reference.schema.condition:
        msg = f"metric {NAME}: {field.name} is a condition, which no surrogate makes; choose a response"
        raise ConfigError(msg)
    if field in reference.schema.extra and comparison.paired and np.array_equal(x, y):
        same = all(np.array_equal(reference[f.name], generated[f.name]) for f in reference.schema.response)
        if not same:
            msg = (
                f"metric {NAME}: {field.name} is the same in every row of both samples though their responses differ: "
                "it was copied with the conditions; compute it from the generated response as well"
            )
            raise ConfigError(msg)
    return field


def _selected(sample: Sample, parameter: Parameter) -> FloatArray:
    """Weights, 0 for rows of other categories."""
    if parameter.category is None or parameter.value is None:
        return sample.weight
    field = scalar(sample, parameter.category, NAME)[0]
    rows = sample.columns[field.name] == category_code(field, parameter.value, NAME)
    require_rows(int(rows.sum()), NAME, f"{field.name} = {parameter.value}")
    return np.where(rows, sample.weight, 0.0)


def _direct(comparison: Comparison, parameter: Parameter, fold: IntArray) -> _Found:
    x, y = (scalar(s, parameter.field, NAME)[1] for s in (comparison.reference, comparison.generated))
    w, v = (_selected(s, parameter) for s in (comparison.reference, comparison.generated))
    if parameter.kind == "width":
        ours = width_estimate(x, w)
        psi = ours.value + safe_ratio(
            (y - np.average(x, weights=w)) ** 2 - ours.value**2, 2 * np.full(len(y), ours.value)
        )
        return _Found(ours, width_estimate(y, v), psi, v)
    if parameter.kind in _SCALED:
        x, y = _learned(comparison, parameter.kind, (x, y), (w, v), fold)
    elif parameter.threshold is not None and parameter.kind == "fraction":
        x, y = (x > parameter.threshold).astype(np.float64), (y > parameter.threshold).astype(np.float64)
    elif parameter.kind == "score":
        # An exact score has d E[s] / d theta = Var(s).
        response = mean_estimate(x, w).variance
        x, y = (safe_ratio(a, np.full(len(a), response)) for a in (x, y))
    return _Found(mean_estimate(x, w), mean_estimate(y, v), y, v)


def _learned(
    comparison: Comparison,
    kind: str,
    values: tuple[FloatArray, FloatArray],
    weights: tuple[FloatArray, FloatArray],
    fold: IntArray,
) -> tuple[FloatArray, FloatArray]:
    """Psi of a shift or scale on both samples, by scores from the other half of the reference."""
    folds = fold[comparison.reference_group], fold[comparison.generated_group]
    scores, response = (np.empty(len(values[0])), np.empty(len(values[1]))), np.empty(len(values[0]))
    for k in range(FOLDS):
        slope = density_slope(values[0][folds[0] != k], weights[0][folds[0] != k])
        of = slope.shift if kind == "shift" else slope.scale
        centre = np.average(of(values[0][folds[0] != k])[0], weights=weights[0][folds[0] != k])
        for score, x, f in zip(scores, values, folds, strict=True):
            score[f == k] = of(x[f == k])[0] - centre
        response[folds[0] == k] = of(values[0][folds[0] == k])[1]
    mean = float(np.average(response, weights=weights[0]))
    if not mean > 0:
        msg = f"the distribution does not respond to a {kind} (mean slope of the score {mean:.3g}, expected above 0)"
        raise DataError(msg)
    return scores[0] / mean, scores[1] / mean


def _template(comparison: Comparison, parameter: Parameter, fold: IntArray, seed: int) -> _Found:
    sides = [_classes(sample, parameter) for sample in (comparison.reference, comparison.generated)]
    folds = fold[comparison.reference_group], fold[comparison.generated_group]
    code, weight, features = sides[0]
    scores = [np.zeros(len(side[0])) for side in sides]
    shares = np.array([parameter.share, 1 - parameter.share])
    for k in range(FOLDS):
        rows = [(folds[0] != k) & (code == c) for c in (0, 1)]
        for chosen, label in zip(rows, (parameter.signal, parameter.background), strict=True):
            require_positive_total(weight[chosen], source=f"half of the rows of {label}")
        share = train_share(*(features[r] for r in rows), *(weight[r] for r in rows), seed=seed + k)
        for score, side, part in zip(scores, sides, folds, strict=True):
            chosen = (part == k) & (side[0] >= 0)
            score[chosen] = fraction_score(share(side[2][chosen]), parameter.share)
    strata = [np.maximum(side[0], 0) for side in sides]
    information = mean_estimate(scores[0] ** 2, weight, stratum=strata[0], shares=shares).value
    psi = [safe_ratio(score, np.full(len(score), information)) for score in scores]
    ours, theirs = (
        mean_estimate(p, side[1], stratum=s, shares=shares) for p, side, s in zip(psi, sides, strata, strict=True)
    )
    balanced = sides[1][1] * (shares / np.bincount(strata[1], sides[1][1], 2))[strata[1]]
    return _Found(ours, theirs, psi[1], balanced)


def _classes(sample: Sample, parameter: Parameter) -> tuple[IntArray, FloatArray, FloatArray]:
    """Class of each row (0 signal, 1 background, -1 neither), weights (0 for neither), features (n, d)."""
    field, values = scalar(sample, str(parameter.category), NAME)
    code = np.full(len(sample), -1, dtype=np.int64)
    for number, wanted in enumerate((parameter.signal, parameter.background)):
        rows = values == category_code(field, str(wanted), NAME)
        require_rows(int(rows.sum()), NAME, f"{field.name} = {wanted}")
        code[rows] = number
    names = (parameter.field, *parameter.given)
    features = np.stack([scalar(sample, name, NAME)[1] for name in names], axis=1)
    return code, np.where(code >= 0, sample.weight, 0.0), features


def biases_by_ratio(
    comparison: Comparison, measured: list[Measured], fold: IntArray, seed: int
) -> list[tuple[float, float]]:
    """Bias of each parameter and its error by the density ratio of boosted trees (see `bias_from_ratio`).

    The trees see the scalar conditions and responses and the fields of the parameters, and are used on the half of the
    groups that they did not learn from.

    Raises
    ------
    DataError
        Half of a sample has no positive sum of weights.
    """
    reference, generated = comparison.reference, comparison.generated
    fields = tuple(f for f in (*reference.schema.condition, *reference.schema.response) if not f.shape)
    further = {m.parameter.field for m in measured} - {f.name for f in fields}
    fields += tuple(reference.schema[name] for name in sorted(further))
    ours, theirs = (flatten(s.columns, fields, len(s)) for s in (reference, generated))
    folds = fold[comparison.reference_group], fold[comparison.generated_group]
    ratio = np.ones(len(generated))
    for k in range(FOLDS):
        first, second, test = folds[0] != k, folds[1] != k, folds[1] == k
        for sample, rows in ((reference, first), (generated, second)):
            require_positive_total(sample.weight[rows], source=f"half of {sample.source}")
        learned = train_share(
            ours[first], theirs[second], reference.weight[first], generated.weight[second], seed=seed + k
        )
        share = learned(theirs[test])
        ratio[test] = share / (1 - share)
    return [bias_from_ratio(m.score, ratio, m.weight, m.reference.variance) for m in measured]
