"""Tails: how far out the generated distribution follows the reference, and where the test sample ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import ndtr

from parhelion.errors import ConfigError
from parhelion.evaluation.distributions.exceedances import Exceedances, Tail
from parhelion.evaluation.distributions.tail_fits import Estimate, Method, Shape, fit_shape, hill_index, pareto_index
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import NAN, MetricResult, Quantity
from parhelion.evaluation.samples.binning import scalar, weighted_quantile
from parhelion.evaluation.samples.categories import parts_of
from parhelion.evaluation.samples.comparison import Influence, compare
from parhelion.evaluation.statistics.shares import shape_quantity
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]
Side = Literal["upper", "lower"]

NAME = "tails"
_CURVE_POINTS = 32
_CURVE_FROM = 0.1
_NUDGE = 1e-9
# Above an index of 1/2 moments have no finite variance.
_HEAVY = 0.35


@dataclass(frozen=True)
class TailOptions:
    """Options of `tails`.

    Attributes
    ----------
    fields
        Scalar response or extra fields, no categories; all scalar responses if empty.
    by
        Category condition: the tails of each of its values as well. None for inclusive results only.
    sides
        ``upper``, ``lower`` or both.
    levels
        Thresholds are these quantiles of the reference, counted from the other end for a lower tail.
    tail_share, tail_rows
        Chi2, index and fits use the outermost `tail_share` of the reference's weight, or more until its effective
        number of rows is `tail_rows` (at most half of all).
    bins
        Bins of the tail, of equal share in the reference. They are joined until each can expect an effective number of
        rows of 25 in both samples.
    min_rows
        A threshold is usable where the reference has this effective number of rows beyond it.
    """

    fields: tuple[str, ...] = ()
    by: str | None = None
    sides: tuple[Side, ...] = ("upper", "lower")
    levels: tuple[float, ...] = (0.99, 0.999, 0.9999)
    tail_share: float = 0.01
    tail_rows: float = 200.0
    bins: int = 10
    min_rows: float = 25.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.sides or len(set(self.sides)) != len(self.sides) or not set(self.sides) <= {"upper", "lower"}:
            msg = f"metric {NAME}: sides {list(self.sides)}, expected upper, lower or both"
            raise ConfigError(msg)
        if not self.levels or not all(0.5 <= level < 1 for level in self.levels):
            msg = f"metric {NAME}: levels {list(self.levels)}, expected at least one number from 0.5 to below 1"
            raise ConfigError(msg)
        if not (0 < self.tail_share <= 0.5 and self.tail_rows > 0 and self.bins >= 2 and self.min_rows >= 1):
            msg = (
                f"metric {NAME}: tail_share {self.tail_share:g}, tail_rows {self.tail_rows:g}, bins {self.bins}, "
                f"min_rows {self.min_rows:g}; expected 0 to 0.5, above 0, at least 2, and at least 1"
            )
            raise ConfigError(msg)


def tails(
    reference: Sample, generated: Sample, options: TailOptions, *, seed: int, train: Sample | None = None
) -> list[MetricResult]:
    """Compare the tails of each field.

    Exceedance ratios p_gen(x > t) / p_ref(x > t) at thresholds t, chi2 of the tail's shape and yield in bins, and the
    indices of the tail (generalised Pareto distribution and Hill). Errors come from the influence of each row, summed
    within groups, with signed weights and pairs accounted for; intervals of ratios of positive weights are those of
    the conditional binomial (Clopper-Pearson). Nothing is said beyond the last threshold with enough reference rows:
    there a test has no power.

    Null of chi2/ndf: 1 with spread sqrt(2 / ndf). Under the null a difference is normal with mean 0 and its own error;
    null, null error and p-value of `ratio` and `index` are those of its absolute value.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `TailOptions`.
    seed
        Not used: nothing here is random.
    train
        Rows that the surrogate learned from. If given, its outermost value is a threshold too: beyond it the
        surrogate extrapolates.

    Returns
    -------
    list of MetricResult
        One a field and side, and one a category if `by` is given. Quantities: `chi2_ndf` (main; share of each bin of
        the tail), `ratio` (|ln ratio| at the highest usable threshold, the lowest one if none is usable; half a row is
        added on either side so that it is finite), `index` (|xi_gen - xi_ref|). Details: ``field``, ``unit``, ``side``,
        ``category``; ``thresholds``: ``at``, ``level`` (None for the training sample's last event), ``usable``,
        ``resolution`` (error of ln ratio in the null) and the entries of ``curve``; ``curve``: ``at``, ``reference``
        and ``generated`` with ``share``, ``low``, ``high``, ``effective``, and ``ratio``, ``ratio_low``,
        ``ratio_high`` (None where the reference has no weight); ``tail_from``, ``tail_rows``, ``edges``, ``chi2``,
        ``ndf``; ``pareto`` and ``hill`` with ``reference``, ``generated`` (value, error, method); ``fits`` by shape
        with parameter, error, chi2, ndf, p_value of both samples; ``counted`` (whether intervals
        are binomial); ``last_usable_share``, the least exceedance that the reference can test; ``reasons``, why a
        quantity could not be computed.

    Raises
    ------
    ConfigError
        An option names an unknown field, a field that is no number, or a `by` that is no category.
    DataError
        A category has no rows in a sample.
    """
    whole = compare(reference, generated)
    names = options.fields or tuple(f.name for f in reference.schema.response if not f.shape and f.kind != "category")
    for name in names:
        if scalar(reference, name, NAME)[0].kind == "category":
            msg = f"metric {NAME}: field {name} is a category, which has no tail; leave it out"
            raise ConfigError(msg)
    results = []
    for label, part in parts_of(whole, options.by, NAME):
        known = train
        if train is not None and options.by is not None and label is not None:
            code = scalar(part.reference, options.by, NAME)[1][0]
            known = train.take(scalar(train, options.by, NAME)[1] == code)
        for name in names:
            field, ours = scalar(part.reference, name, NAME)
            theirs = scalar(part.generated, name, NAME)[1]
            trained = scalar(known, name, NAME)[1] if known is not None and len(known) else None
            for side in options.sides:
                sign = 1.0 if side == "upper" else -1.0
                tail = Tail(part, sign * ours, sign * theirs, None if trained is None else sign * trained, sign)
                results.append(_one_tail(tail, options, field, side, label))
    return results


def _one_tail(tail: Tail, options: TailOptions, field: Field, side: Side, label: str | None) -> MetricResult:
    w, _ = tail.weights
    effective = tail.comparison.reference.weights.effective
    share = float(np.clip(max(options.tail_share, options.tail_rows / max(effective, 1.0)), 0.0, 0.5))
    survival = share * (1 - np.arange(options.bins) / options.bins)
    quantiles = _quantiles(tail.ours, w, np.concatenate([1 - survival, options.levels]))
    edges, levels = np.unique(quantiles[: options.bins]), quantiles[options.bins :]
    last = np.array([]) if tail.trained is None else np.array([np.max(tail.trained)])
    curve = _curve_thresholds(tail)
    exceedances = Exceedances(tail, np.unique(np.concatenate([edges, levels, last, curve])))

    marks = np.concatenate([levels, last])
    thresholds = exceedances.describe(marks)
    usable = np.array(thresholds["reference"]["effective"]) >= options.min_rows
    spread = exceedances.log_ratio(marks)[2]
    chi2, inner = exceedances.chi2(edges)
    start = float(edges[0])
    indices, index = _indices(tail, start)
    reasons = {} if np.isfinite(index.value) else {"index": _why_no_index(tail, start)}
    on = f"{field.name}, {side} tail" + ("" if label is None else f", {label}")
    return MetricResult(
        name=NAME,
        on=on,
        main="chi2_ndf",
        quantities={
            "chi2_ndf": shape_quantity(chi2),
            "ratio": _ratio_quantity(exceedances, marks, usable),
            "index": index,
        },
        details={
            **tail.comparison.describe(),
            "field": field.name,
            "unit": field.unit,
            "side": side,
            "category": label,
            "thresholds": {
                **thresholds,
                "level": [*options.levels, *(None for _ in last)],
                "usable": usable,
                "resolution": spread,
            },
            "curve": exceedances.describe(curve),
            "min_rows": options.min_rows,
            "counted": exceedances.counting,
            "last_usable_share": options.min_rows / max(effective, 1.0),
            "tail_from": tail.sign * start,
            "tail_rows": exceedances.describe(np.array([start]))["reference"]["effective"][0],
            "edges": tail.sign * inner,
            "chi2": chi2.value,
            "ndf": chi2.ndf,
            **indices,
            "reasons": reasons,
            "fits": _fits(tail, start, inner),
            "caption": _caption(field, side, label, options.min_rows, effective),
        },
        fields=(field.name,),
    )


def _caption(field: Field, side: Side, label: str | None, rows: float, effective: float) -> str:
    which = f"{side.capitalize()} tail of {field.title}" + ("" if label is None else f" for {label}")
    return (
        f"{which}. The reference can test exceedances down to a probability of about {rows / max(effective, 1.0):.1g} "
        f"({rows:g} effective rows); rarer ones are shown but not judged."
    )


def _quantiles(values: FloatArray, weight: FloatArray, q: FloatArray) -> FloatArray:
    """Weighted quantiles that rounding of a sum of weights does not move by a row."""
    return weighted_quantile(values, weight, q - _NUDGE)


def _curve_thresholds(tail: Tail) -> FloatArray:
    """Thresholds at exceedances of both samples together that fall from 0.1 to a few rows in equal factors."""
    w, v = tail.weights
    pooled = np.concatenate([tail.ours, tail.theirs])
    weight = np.concatenate([w / np.sum(w), v / np.sum(v)])
    least = 2.0 / len(pooled)
    survival = np.geomspace(max(_CURVE_FROM, least), least, _CURVE_POINTS)
    return np.unique(_quantiles(pooled, weight, 1 - survival))


def _ratio_quantity(exceedances: Exceedances, thresholds: FloatArray, usable: npt.NDArray[np.bool_]) -> Quantity:
    chosen = np.max(thresholds[usable]) if usable.any() else np.min(thresholds)
    value, error, spread, pull = (v[0] for v in exceedances.log_ratio(np.array([chosen])))
    return absolute_normal(abs(value), error, spread, abs(pull))


def absolute_normal(value: float, error: float, spread: float, pull: float) -> Quantity:
    """Quantity for the absolute value of a difference that is normal in the null, with mean 0.

    Parameters
    ----------
    value
        Absolute value measured.
    error
        Standard error of the difference.
    spread
        Standard error of the difference in the null.
    pull
        Absolute difference over its standard error, for the p-value.
    """
    return Quantity(
        value=float(value),
        error=float(error),
        null=float(spread * np.sqrt(2 / np.pi)),
        null_error=float(spread * np.sqrt(1 - 2 / np.pi)),
        p_value=float(2 * ndtr(-pull)),
    )


def _indices(tail: Tail, start: float) -> tuple[dict[str, Any], Quantity]:
    """Indices of both samples beyond `start`, and the difference of the generalised Pareto ones."""
    found: dict[str, dict[str, Any]] = {"pareto": {}, "hill": {}}
    pareto: list[Estimate] = []
    columns: list[sparse.csr_matrix] = []
    method: Method = "moments"
    for side, values, weight, group in tail.sides():
        rows = np.flatnonzero(values > start)
        if side == "reference" and pareto_index(values[rows] - start, weight[rows]).value > _HEAVY:
            method = "likelihood"
        pareto.append(pareto_index(values[rows] - start, weight[rows], method))
        for name, estimate in (("pareto", pareto[-1]), ("hill", hill_index(values[rows], start, weight[rows]))):
            found[name][side] = {
                "value": estimate.value,
                "error": estimate.error(group[rows]) if np.isfinite(estimate.value) else NAN,
                "method": estimate.method,
            }
        place = np.full(len(rows), len(columns))
        columns.append(sparse.csr_matrix((pareto[-1].influence, (rows, place)), shape=(len(values), 2)))
    ours, theirs = (estimate.value for estimate in pareto)
    if not np.isfinite(ours) or not np.isfinite(theirs):
        nothing = not (tail.ours > start).any() and not (tail.theirs > start).any()
        return found, Quantity(0.0, 0.0, 0.0, 0.0, 1.0) if nothing else Quantity(NAN)
    error = float(Influence(tail.comparison, columns[0], columns[1], np.ones((2, 1))).error()[0])
    difference = abs(theirs - ours) if error > 0 else 0.0
    return found, absolute_normal(difference, error, error, difference / error if error > 0 else 0.0)


def _why_no_index(tail: Tail, start: float) -> str:
    """Say which tail has no index."""
    for side, values, weight, _ in tail.sides():
        rows = values > start
        if np.isfinite(pareto_index(values[rows] - start, weight[rows]).value):
            continue
        what = f"the {int(rows.sum())} {side} rows beyond {tail.sign * start:.4g}"
        remedy = "use more rows or a larger tail_share"
        if rows.any() and not weight[rows].sum() > 0:
            return f"the weights of {what} sum to {weight[rows].sum():.3g}, which leaves no tail; {remedy}"
        if rows.any() and not weight[rows] @ (values[rows] - start) > 0:
            return f"by their signed weights {what} lie below it on average; {remedy}"
        return f"{what} are too few, or too nearly equal, for an index; {remedy}"
    return "the indices could not be compared"


def _fits(tail: Tail, start: float, inner: FloatArray) -> dict[str, Any]:
    """An exponential and a power law fitted to the tail of each sample."""
    shapes: tuple[Shape, ...] = ("exponential", "power law")
    found: dict[str, dict[str, Any]] = {shape: {} for shape in shapes}
    for side, values, weight, group in tail.sides():
        rows = values > start
        for shape in shapes:
            fit = fit_shape(shape, values[rows], start, inner, weight[rows], group[rows])
            found[shape][side] = {
                "parameter": fit.parameter,
                "error": fit.error,
                "chi2": fit.chi2.value,
                "ndf": fit.chi2.ndf,
                "p_value": fit.p_value,
            }
    return found


METRIC = Metric(NAME, TailOptions, tails, ("chi2_ndf", "ratio", "index"), "tails", uses_train=True)
