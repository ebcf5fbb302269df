"""One-dimensional distributions of the responses, with a chi2, the separation power and the Wasserstein distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError
from parhelion.evaluation.binning import require_category, require_rows, scalar, weighted_quantile
from parhelion.evaluation.bootstrap import random_signs
from parhelion.evaluation.comparison import Comparison, compare
from parhelion.evaluation.distances import (
    merge_bins,
    separation_power,
    shape_chi2,
    signed_steps,
)
from parhelion.evaluation.null import against_null, safe_ratio
from parhelion.evaluation.result import NAN, MetricResult
from parhelion.evaluation.shares import (
    difference_of_shares,
    joint_influence,
    ratio_of_shares,
    shape_quantity,
    shares,
)
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]

NAME = "histograms"


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
        "uniform": equal widths. "quantile": equal weights in the reference; a value that many rows share (an
        atom) gets a bin of its own.
    range_quantile
        The edges leave out this share of the reference's weight at either end.
    min_effective
        Neighbouring bins are joined for the chi2 until each has this effective number of rows in both samples.
    replicas
        Draws of the null for separation power and Wasserstein distance.
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
    covariance); ndf is its rank. It uses bins joined to `min_effective` rows. Null of chi2/ndf: 1 with spread
    sqrt(2 / ndf), p-value from the chi2 distribution. Null of separation power and Wasserstein distance: random
    exchange of the two responses (paired) or random halves of each sample (not paired), see `comparison`. The errors of
    these two are the spread over the measured difference plus null draws.

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
        `w1` (Wasserstein distance in the field's unit), `w1_scaled` (in standard deviations of the reference).
        Details: ``field``, ``unit``, ``category`` (label or None), ``edges`` (B + 1), ``reference`` and ``generated``
        with ``share``, ``error`` (B), ``underflow``, ``underflow_error``, ``overflow``, ``overflow_error`` (shares of
        the total weight, together 1), ``ratio``, ``ratio_error``, ``pull`` (B; None where undefined), ``chi2``,
        ``ndf``, ``merged_bins``.

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
    for label, part in _parts(whole, options.by):
        for name in names:
            field, _ = scalar(reference, name, NAME)
            results.append(_one_field(part, options, field, options.by, label, rng))
    return results


def _parts(whole: Comparison, by: str | None) -> Iterator[tuple[str | None, Comparison]]:
    """The whole, then each category."""
    yield None, whole
    if by is None:
        return
    field, _ = scalar(whole.reference, by, NAME)
    require_category(field, NAME)
    for code in field.values:
        masks = [sample.columns[by] == code for sample in (whole.reference, whole.generated)]
        for mask in masks:
            require_rows(int(mask.sum()), NAME, f"{by} = {field.label_of(code)}")
        yield field.label_of(code), whole.select(*masks)


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
    merged = merge_bins(np.column_stack([p_effective, q_effective]), options.min_effective)
    join = np.equal.outer(np.arange(merged.max() + 1), merged).astype(np.float64)
    chi2 = shape_chi2(join @ (q - p), join @ covariance @ join.T)

    null = fine.null(options.replicas, rng)
    centre = 0.5 * (p + q)
    null_separation = np.array([separation_power(centre - d / 2, centre + d / 2) for d in null])
    draws = [separation_power(p - d / 2, q + d / 2) for d in null]
    unit, spread = field.unit, _spread(ours, w)
    w1, w1_error, w1_null = _wasserstein(comparison, ours, theirs, options.replicas, rng)
    error = np.sqrt(np.diag(covariance))
    ratio_error = joint.mapped(ratio_of_shares(p, q)).error()
    inner = slice(1, -1)
    return MetricResult(
        name=NAME,
        on=field.name if label is None else f"{field.name}, {by} = {label}",
        main="chi2_ndf",
        quantities={
            "chi2_ndf": shape_quantity(chi2),
            "separation": against_null(separation_power(p, q), float(np.std(draws, ddof=1)), null_separation),
            "w1": against_null(w1, w1_error, w1_null, unit=unit),
            "w1_scaled": against_null(w1 / spread, w1_error / spread, w1_null / spread),
        },
        details={
            **comparison.describe(),
            "field": field.name,
            "unit": unit,
            "category": label,
            "edges": edges,
            "reference": _histogram(p, p_error),
            "generated": _histogram(q, q_error),
            "ratio": np.where(p > 0, safe_ratio(q, p), np.nan)[inner],
            "ratio_error": np.where(p > 0, ratio_error, np.nan)[inner],
            "pull": np.where(error > 0, safe_ratio(q - p, error), np.nan)[inner],
            "chi2": chi2.value,
            "ndf": chi2.ndf,
            "merged_bins": int(merged.max()) + 1,
            "caption": f"Distribution of {field.title}" + (f" for {by} = {label}." if label else "."),
        },
    )


def histogram_edges(values: FloatArray, weight: FloatArray, field: Field, options: HistogramOptions) -> FloatArray:
    """Edges of the bins between under- and overflow, shape (at most `bins` + 1,), in the field's unit.

    They depend on the reference alone. Integers and categories get edges between the integers.
    """
    q = options.range_quantile
    low, high = weighted_quantile(values, weight, [q, 1 - q])
    if field.kind != "continuous":
        step = max(1.0, np.ceil((high - low + 1) / options.bins))
        return np.arange(np.floor(low) - 0.5, high + step, step)
    if high <= low:
        return np.array([low - 0.5, low + 0.5])
    if options.binning == "quantile":
        found = weighted_quantile(values, weight, np.linspace(q, 1 - q, options.bins + 1))
        atoms = np.unique(found[:-1][np.diff(found) == 0])
        return np.unique(np.concatenate([found, np.nextafter(atoms, np.inf), [np.nextafter(high, np.inf)]]))
    edges = np.linspace(low, high, options.bins + 1)
    edges[-1] = np.nextafter(high, np.inf)
    return edges


def _wasserstein(
    comparison: Comparison, ours: FloatArray, theirs: FloatArray, replicas: int, rng: np.random.Generator
) -> tuple[float, float, FloatArray]:
    """Distance, its error, and its draws in the null, shape (replicas,).

    The signs fall on the steps of the difference of cumulative distributions; the part that would change the total of
    either sample is taken out again.
    """
    pooled = np.concatenate([ours, theirs])
    order = np.argsort(pooled, kind="stable")
    values, steps = signed_steps(ours, theirs, comparison.reference.weight, comparison.generated.weight)
    group = np.concatenate([comparison.reference_group, comparison.generated_group])[order]
    first = order < len(ours)
    levels = np.cumsum(np.where(first, steps, 0.0)), -np.cumsum(np.where(first, 0.0, steps))
    gaps = np.diff(values, append=values[-1])
    measured = _settle(np.cumsum(steps))
    null, draws = np.empty(replicas), np.empty(replicas)
    done = 0
    for signs in random_signs(comparison.groups, replicas, rng):
        for column in signs.T:
            change = steps * column[group]
            own = float(np.sum(change[first]))
            path = np.cumsum(change)
            path = _settle(path - own * levels[0] - (path[-1] - own) * levels[1])
            null[done] = np.abs(path) @ gaps
            draws[done] = np.abs(measured + path) @ gaps
            done += 1
    return float(np.abs(measured) @ gaps), float(np.std(draws, ddof=1)), null


def _settle(path: FloatArray) -> FloatArray:
    """Remove rounding from sums of shares, which are 1 in all: what cancels is to be 0."""
    path[np.abs(path) < 1e-12] = 0.0
    return path


def _spread(values: FloatArray, weight: FloatArray) -> float:
    mean = np.average(values, weights=weight)
    variance = float(np.average((values - mean) ** 2, weights=weight))
    return float(np.sqrt(variance)) if variance > 0 else NAN


def _histogram(share: FloatArray, error: FloatArray) -> dict[str, object]:
    return {
        "share": share[1:-1],
        "error": error[1:-1],
        "underflow": share[0],
        "underflow_error": error[0],
        "overflow": share[-1],
        "overflow_error": error[-1],
    }
