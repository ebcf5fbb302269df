"""One-dimensional distributions of the responses: a chi2, the separation power, and distances without bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null, safe_ratio
from parhelion.evaluation.results.result import NAN, MetricResult, Quantity
from parhelion.evaluation.samples.binning import scalar, weighted_quantile
from parhelion.evaluation.samples.categories import parts_of
from parhelion.evaluation.samples.comparison import Comparison, compare
from parhelion.evaluation.statistics.cumulative import CdfDifference
from parhelion.evaluation.statistics.one_dimensional import (
    Chi2,
    merge_bins,
    one_row,
    pooled_rows,
    separation_power,
    shape_chi2,
)
from parhelion.evaluation.statistics.shares import (
    difference_of_shares,
    exchanged_shares,
    joint_influence,
    ratio_of_shares,
    shape_quantity,
    shares,
)
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]

NAME = "histograms"

# How far beyond the range of all else an atom may lie to be shown in it, in units of the range.
_REACH = 0.5


@dataclass(frozen=True)
class HistogramOptions:
    """Options of `histograms`.

    Attributes
    ----------
    fields
        Scalar response or extra fields; all scalar responses if empty.
    by
        Category condition: one result for each of its values as well. None for inclusive results only.
    bins
        Number of bins between the lower and upper edge; under- and overflow come on top.
    binning
        "uniform": equal widths. "quantile": equal weights in the reference. A value that many rows share (an atom,
        which holds a bin's weight) gets a bin of its own in the latter; in the former it is left outside of the edges
        if it lies far from all else (-999 for "not measured").
    range_quantile
        The edges leave out this share of the reference's weight at either end.
    min_effective
        Neighbouring bins are joined for the chi2 until each would have this effective number of rows in both samples
        if these had equal shapes.
    replicas
        Draws of the null for separation power and the distances without bins.
    """

    fields: tuple[str, ...] = ()
    by: str | None = None
    bins: int = 50
    binning: Literal["uniform", "quantile"] = "uniform"
    range_quantile: float = 0.001
    min_effective: float = 10.0
    replicas: int = 50

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.bins < 2 or self.replicas < 20 or not 0 <= self.range_quantile < 0.5:
            msg = (
                f"metric {NAME}: bins {self.bins}, replicas {self.replicas}, range_quantile "
                f"{self.range_quantile:g}; expected at least 2, at least 20, and 0 to 0.5"
            )
            raise ConfigError(msg)


def histograms(reference: Sample, generated: Sample, options: HistogramOptions, *, seed: int) -> list[MetricResult]:
    """Weighted distributions of each field.

    The chi2 compares shapes (shares of the total weight) with the full covariance of weighted, normalised bins, paired
    rows included (``Cov = sum_g u_g u_g^T``, see `comparison`; for independent unit weights it is the multinomial
    covariance; for pairs that of random exchange); ndf is its rank. It uses bins joined to `min_effective` rows.
    Samples without a common bin differ in a direction in which neither varies; it gets the variance of one effective
    row. Null of chi2/ndf: 1 with spread sqrt(2 / ndf), p-value from the chi2 distribution.

    The other quantities have their null from random exchange of the two responses (paired) or random halves of each
    sample (not paired), see `comparison`; finite samples alone make all of them but `energy` positive. `separation`
    counts under- and overflow as bins, and with negative weights it uses the joined bins of the chi2. `w1`, `ks` and
    `energy` use no bins and no range, so no row is lost to them (see `cumulative`). Their errors are the spread over
    the measured difference plus null draws; that of `energy` is the first two orders of its expansion.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `HistogramOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One a field, and one a field and category if `by` is given. Quantities: `chi2_ndf` (main), `separation`,
        `w1` (Wasserstein distance in the field's unit), `w1_scaled` (in standard deviations of the reference), `ks`
        (Kolmogorov-Smirnov distance), `energy` (energy distance 2 int (F - G)^2 dt in the field's unit, twice the
        Cramer distance; without bias, 0 on average in the null).
        Details: ``field``, ``unit``, ``category`` (label or None), ``edges`` (B + 1), ``reference`` and ``generated``
        with ``share``, ``error`` (B), ``underflow``, ``underflow_error``, ``overflow``, ``overflow_error`` (shares of
        the total weight, together 1), ``outside`` (shares below and above the edges together: ``reference``,
        ``generated``, ``difference`` and its ``error``), ``ratio``, ``ratio_error``, ``pull`` (B; None where
        undefined), ``chi2``, ``ndf``, ``merged_bins``.

    Raises
    ------
    ConfigError
        An option names an unknown field, a field that is not scalar, or a `by` that is no category.
    DataError
        A category has no rows in a sample.
    """
    whole = compare(reference, generated)
    names = options.fields or tuple(f.name for f in reference.schema.response if not f.shape)
    rng = np.random.default_rng(seed)
    results = []
    for label, part in parts_of(whole, options.by, NAME):
        for name in names:
            field, _ = scalar(reference, name, NAME)
            results.append(_one_field(part, options, field, options.by, label, rng))
    return results


def _one_field(
    comparison: Comparison,
    options: HistogramOptions,
    field: Field,
    by: str | None,
    label: str | None,
    rng: np.random.Generator,
) -> MetricResult:
    ours, theirs = (scalar(sample, field.name, NAME)[1] for sample in (comparison.reference, comparison.generated))
    w, v = comparison.reference.weight, comparison.generated.weight
    edges = histogram_edges(ours, w, field, options)
    cells = (np.searchsorted(edges, ours, side="right"), np.searchsorted(edges, theirs, side="right"))
    count = len(edges) + 1
    (p, p_error, p_effective), (q, q_error, q_effective) = (
        shares(cell, count, weight) for cell, weight in zip(cells, (w, v), strict=True)
    )

    joint = joint_influence(comparison, cells, count)
    fine = joint.mapped(difference_of_shares(p, q))
    covariance = fine.covariance()
    assumed = joint.mapped(exchanged_shares(comparison, p, q)).covariance()
    merged = merge_bins(pooled_rows(np.column_stack([p_effective, q_effective])), options.min_effective)
    join = np.equal.outer(np.arange(merged.max() + 1), merged).astype(np.float64)
    # A single bin holds everything, and its variance is rounding.
    chi2 = shape_chi2(join @ (q - p), join @ assumed @ join.T, one_row(w, v)) if len(join) > 1 else Chi2(0.0, 0)

    null = fine.null(options.replicas, rng)
    a, b = p, q
    if np.min(w) < 0 or np.min(v) < 0:
        # Weights that cancel can leave a bin next to nothing to divide by; joined bins have enough of it.
        a, b, null = join @ p, join @ q, null @ join.T
    centre = 0.5 * (a + b)
    null_separation = np.array([separation_power(centre - d / 2, centre + d / 2) for d in null])
    draws = [separation_power(a - d / 2, b + d / 2) for d in null]
    error = np.sqrt(np.diag(covariance))
    ends = np.zeros(count)
    ends[[0, -1]] = 1.0
    lost, gone = float(ends @ p), float(ends @ q)
    ratio_error = joint.mapped(ratio_of_shares(p, q)).error()
    inner = slice(1, -1)
    return MetricResult(
        name=NAME,
        on=field.name if label is None else f"{field.name}, {by} = {label}",
        main="chi2_ndf",
        quantities={
            "chi2_ndf": shape_quantity(chi2),
            "separation": against_null(
                separation_power(a, b), float(np.std(draws, ddof=1)), null_separation, limit=0.0
            ),
            **_without_bins(comparison, ours, theirs, field.unit, options.replicas, rng),
        },
        details={
            **comparison.describe(),
            "field": field.name,
            "unit": field.unit,
            "category": label,
            "edges": edges,
            "reference": _histogram(p, p_error),
            "generated": _histogram(q, q_error),
            "outside": {
                "reference": lost,
                "generated": gone,
                "difference": gone - lost,
                "error": max(float(ends @ covariance @ ends), 0.0) ** 0.5,
            },
            "ratio": np.where(p > 0, safe_ratio(q, p), np.nan)[inner],
            "ratio_error": np.where(p > 0, ratio_error, np.nan)[inner],
            "pull": np.where(error > 0, safe_ratio(q - p, error), np.nan)[inner],
            "chi2": chi2.value,
            "ndf": chi2.ndf,
            "merged_bins": int(merged.max()) + 1,
            "caption": (
                f"Distribution of {field.title}{f' for {by} = {label}' if label else ''}. Outside of the edges lie "
                f"{100 * lost:.3g} % of the reference's weight and {100 * gone:.3g} % of the generated sample's."
            ),
        },
        fields=(field.name,),
    )


def histogram_edges(values: FloatArray, weight: FloatArray, field: Field, options: HistogramOptions) -> FloatArray:
    """Edges of the bins between under- and overflow, shape (at most `bins` + 1,), in the field's unit.

    They depend on the reference alone. Integers and categories get edges between the integers.
    """
    q = options.range_quantile
    found = weighted_quantile(values, weight, np.linspace(q, 1 - q, options.bins + 1))
    low, high = found[0], found[-1]
    if field.kind != "continuous":
        step = max(1.0, np.ceil((high - low + 1) / options.bins))
        return np.arange(np.floor(low) - 0.5, high + step, step)
    if high <= low:
        # Any other value is outside, where it is seen; single precision of the same value is not.
        half = 1e-6 * (abs(low) or 1.0)
        return np.array([low - half, low + half])
    repeated = np.unique(found[:-1][np.diff(found) == 0])
    atoms = repeated[_are_atoms(repeated, values, weight, (1 - 2 * q) / options.bins)]
    if options.binning == "quantile":
        inner = found[(found < high) | np.isin(found, atoms)]
        return np.unique(np.concatenate([inner, np.nextafter(atoms, np.inf), [np.nextafter(high, np.inf)]]))
    rest = ~np.isin(values, atoms)
    if len(atoms) and np.sum(weight[rest]) > 0:
        inner_low, inner_high = weighted_quantile(values[rest], weight[rest], [q, 1 - q])
        reach = _REACH * (inner_high - inner_low)
        near = atoms[(atoms >= inner_low - reach) & (atoms <= inner_high + reach)]
        if reach > 0:
            low, high = min(near.min(initial=inner_low), inner_low), max(near.max(initial=inner_high), inner_high)
    edges = np.linspace(low, high, options.bins + 1)
    edges[-1] = np.nextafter(high, np.inf)
    return edges


def _are_atoms(candidates: FloatArray, values: FloatArray, weight: FloatArray, step: float) -> npt.NDArray[np.bool_]:
    """Whether each value occurs in several rows that hold a bin's share of the weight.

    Quantiles of signed weights coincide where the cumulative distribution falls back, with no row repeated.
    """
    if not len(candidates):
        return np.zeros(0, dtype=np.bool_)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    running = np.concatenate([[0.0], np.cumsum(weight[order])]) / np.sum(weight)
    first, last = (np.searchsorted(ordered, candidates, side=side) for side in ("left", "right"))
    # The range of signed cumulative weights is not quite 1: half a bin is enough to be one.
    return (last - first > 1) & (running[last] - running[first] >= 0.5 * step)


def _without_bins(
    comparison: Comparison,
    ours: FloatArray,
    theirs: FloatArray,
    unit: str,
    replicas: int,
    rng: np.random.Generator,
) -> dict[str, Quantity]:
    w, v = comparison.reference.weight, comparison.generated.weight
    difference = CdfDifference(
        ours, theirs, w, v, x_group=comparison.reference_group, y_group=comparison.generated_group
    )
    found = difference.measured()
    null, near, energy_error = difference.null(replicas, rng)
    w1, w1_error = float(found.w1[0]), float(np.std(near.w1, ddof=1))
    spread = _spread(ours, w)
    energy = (
        against_null(found.energy[0], energy_error[0], null.energy[:, 0], unit=unit)
        if np.isfinite(found.energy[0])
        else Quantity(NAN, unit=unit)
    )
    # Where nothing spreads and nothing differs, 0 is 0 in any unit.
    spread = 1.0 if not np.isfinite(spread) and w1 == 0 else spread
    scaled = against_null(w1 / spread, w1_error / spread, null.w1[:, 0] / spread, limit=0.0)
    return {
        "w1": against_null(w1, w1_error, null.w1[:, 0], unit=unit, limit=0.0),
        "w1_scaled": scaled if np.isfinite(spread) else Quantity(NAN),
        "ks": against_null(float(found.ks[0]), float(np.std(near.ks, ddof=1)), null.ks[:, 0], limit=0.0),
        "energy": energy,
    }


def _spread(values: FloatArray, weight: FloatArray) -> float:
    mean = np.average(values, weights=weight)
    variance = float(np.average((values - mean) ** 2, weights=weight))
    # Below this share of its own size a spread is rounding.
    return float(np.sqrt(variance)) if variance > 1e-24 * np.max(np.abs(values)) ** 2 else NAN


def _histogram(share: FloatArray, error: FloatArray) -> dict[str, object]:
    return {
        "share": share[1:-1],
        "error": error[1:-1],
        "underflow": share[0],
        "underflow_error": error[0],
        "overflow": share[-1],
        "overflow_error": error[-1],
    }


METRIC = Metric(
    NAME,
    HistogramOptions,
    histograms,
    ("chi2_ndf", "separation", "w1", "w1_scaled", "ks", "energy"),
    "distributions",
)
