"""One-dimensional comparisons within bins of a condition, which agreement of the whole can hide."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import gamma

from parhelion.errors import ConfigError
from parhelion.evaluation.distributions.condition_bins import ConditionBins, bin_rows, condition_edges
from parhelion.evaluation.distributions.histograms import HistogramOptions, histogram_edges
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.binning import scalar, weighted_quantile
from parhelion.evaluation.samples.categories import parts_of
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.evaluation.statistics.cumulative import CdfDifference, CdfDistances
from parhelion.evaluation.statistics.multiple_testing import benjamini_hochberg, holm
from parhelion.evaluation.statistics.one_dimensional import merge_bins, one_row, pooled_rows, shape_chi2, whitening
from parhelion.evaluation.statistics.shares import shape_quantity, shares
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Distance = Literal["chi2", "w1", "ks", "energy"]

NAME = "differential"

# Smallest p-value that is told apart from 0.
_SMALLEST = 1e-300
_MIN_CELL = 10.0


@dataclass(frozen=True)
class DifferentialOptions:
    """Options of `differential`.

    Attributes
    ----------
    x
        Scalar condition field to make bins of; the first one that is no category if empty. A category has one bin a
        value.
    fields
        Scalar response or extra fields; all scalar responses if empty.
    by
        Category condition: one result a field for each of its values as well.
    edges
        Edges of the bins in the unit of `x`; `bins` bins of equal weight in the reference if empty.
    bins
        Number of bins if no edges are given.
    response_bins
        Bins of the response within each bin of the condition for the chi2, of equal weight in both samples together.
    min_rows
        Neighbouring bins are joined until each has this effective number of rows in both samples; bins of a category
        that have fewer are left out.
    distance
        Which comparison the p-values of the bins, and with them `worst`, are of.
    level
        A bin is called rejected where its adjusted p-value is below.
    replicas
        Draws of the null.
    """

    x: str = ""
    fields: tuple[str, ...] = ()
    by: str | None = None
    edges: tuple[float, ...] = ()
    bins: int = 8
    response_bins: int = 10
    min_rows: float = 100.0
    distance: Distance = "chi2"
    level: float = 0.05
    replicas: int = 100

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.bins < 1 or self.response_bins < 2 or self.min_rows < 2 or self.replicas < 20:
            msg = (
                f"metric {NAME}: bins {self.bins}, response_bins {self.response_bins}, min_rows {self.min_rows:g}, "
                f"replicas {self.replicas}; expected at least 1, 2, 2 and 20"
            )
            raise ConfigError(msg)
        if not 0 < self.level < 1:
            msg = f"metric {NAME}: level {self.level:g}, expected a number between 0 and 1"
            raise ConfigError(msg)


def differential(
    reference: Sample, generated: Sample, options: DifferentialOptions, *, seed: int
) -> list[MetricResult]:
    """Distributions of each field within bins of a condition.

    Shapes are compared within each bin: the chi2 of the shares of the bin's own weight, with their full covariance
    over all bins together, and the distances of `cumulative`. The p-value of a bin is that of the chi2 distribution,
    or, for another `distance`, that of a gamma distribution with the mean and the variance of the null draws. Holm
    (1979) adjusts the p-values for the chance of any false rejection, Benjamini & Hochberg (1995) for the expected
    share of false ones. The nulls of `worst`, `w1` and `ks` are random exchange or random halves (see `comparison`),
    the same signs in all bins, so they account for how many bins were looked at and how they depend on each other.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `DifferentialOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One a field, and one a field and category if `by` is given. Quantities: `chi2_ndf` (main; chi2 over all bins
        together, null 1), `worst` (-log10 of the smallest p-value of a bin after Sidak's adjustment,
        1 - (1 - p)^k: like Holm's smallest one, but without its cut at 1; null about 0.43), `w1` (mean over the bins,
        in the field's unit), `ks` (largest over the bins).
        Details: ``field``, ``unit``, ``category``, ``x``, ``x_unit``, ``distance``, ``level``, ``labels``, ``low``,
        ``high`` (k bins), ``effective`` with ``reference`` and ``generated`` for all rows, ``bin_effective``
        (k, 2), ``joined``, ``left_out``, ``unused`` (shares of weight: reference, generated), per bin ``chi2``,
        ``ndf``, ``w1``, ``w1_null``, ``w1_null_error``, ``ks``, ``energy``, ``p``, ``p_holm``, ``p_bh``; ``rejected``
        with ``holm`` and ``bh`` (numbers of bins); ``reference`` and ``generated`` with ``quantiles`` (k, 3: 0.16,
        0.5, 0.84).

    Raises
    ------
    ConfigError
        An option names an unknown field, one that is not scalar, an `x` that is no condition, or a `by` that is no
        category.
    DataError
        A category has no rows, or no bin has enough of them.
    """
    whole = compare(reference, generated)
    x = _condition(reference, options.x)
    edges = condition_edges(whole, x, options.edges, options.bins, NAME)
    names = options.fields or tuple(f.name for f in reference.schema.response if not f.shape)
    fields = [scalar(reference, name, NAME)[0] for name in names]
    rng = np.random.default_rng(seed)
    results = []
    for label, part in parts_of(whole, options.by, NAME):
        slices = bin_rows(part, x, edges, options.min_rows, NAME)
        results += [_one_field(part, slices, options, x, field, label, rng) for field in fields]
    return results


def _condition(sample: Sample, name: str) -> Field:
    conditions = {f.name: f for f in sample.schema.condition if not f.shape}
    if not name:
        ordered = [f for f in conditions.values() if f.kind != "category"] or list(conditions.values())
        if not ordered:
            msg = f"metric {NAME}: there is no scalar condition to make bins of; histograms compares without any"
            raise ConfigError(msg)
        return ordered[0]
    if name not in conditions:
        msg = f"metric {NAME}: x {name} is no scalar condition; there are {', '.join(conditions) or 'none'}"
        raise ConfigError(msg)
    return conditions[name]


def _one_field(
    comparison: Comparison,
    slices: ConditionBins,
    options: DifferentialOptions,
    x: Field,
    field: Field,
    label: str | None,
    rng: np.random.Generator,
) -> MetricResult:
    ours, theirs = (scalar(sample, field.name, NAME)[1] for sample in (comparison.reference, comparison.generated))
    shapes = _Shapes(comparison, slices, field, ours, theirs, options.response_bins)
    chi2, ndf = shapes.chi2(shapes.difference)[0], shapes.ndf
    draws = shapes.influence.null(options.replicas, rng)

    inside = slices.ours >= 0, slices.theirs >= 0
    w, v = comparison.reference.weight[inside[0]], comparison.generated.weight[inside[1]]
    curves = CdfDifference(
        ours[inside[0]],
        theirs[inside[1]],
        w,
        v,
        x_group=comparison.reference_group[inside[0]],
        y_group=comparison.generated_group[inside[1]],
        x_cell=slices.ours[inside[0]],
        y_cell=slices.theirs[inside[1]],
    )
    found = curves.measured()
    null, near, _ = curves.null(options.replicas, rng)
    if options.distance == "chi2":
        p, null_p, near_p = (
            np.where(ndf > 0, chi2_distribution.sf(shapes.chi2(d), np.maximum(ndf, 1)), 1.0)
            for d in (shapes.difference, draws, shapes.difference + draws)
        )
        p = p[0]
    else:
        p, null_p, near_p = _gamma_p(options.distance, found, null, near, curves.bias)
    p_holm, p_bh = holm(p), benjamini_hochberg(p)
    quantiles = [
        np.array([weighted_quantile(y[cell == b], s.weight[cell == b], [0.16, 0.5, 0.84]) for b in range(len(p))])
        for y, cell, s in (
            (ours, slices.ours, comparison.reference),
            (theirs, slices.theirs, comparison.generated),
        )
    ]
    where = f"{field.name} in bins of {x.name}"
    return MetricResult(
        name=NAME,
        on=where if label is None else f"{where}, {options.by} = {label}",
        main="chi2_ndf",
        quantities={
            "chi2_ndf": shape_quantity(shapes.total),
            "worst": _against(_worst(p), _worst(near_p), _worst(null_p)),
            "w1": _against(
                np.mean(found.w1), np.mean(near.w1, axis=1), np.mean(null.w1, axis=1), unit=field.unit, limit=0.0
            ),
            "ks": _against(np.max(found.ks), np.max(near.ks, axis=1), np.max(null.ks, axis=1), limit=0.0),
        },
        details={
            **comparison.describe(),
            "field": field.name,
            "unit": field.unit,
            "category": label,
            "x": x.name,
            "x_unit": x.unit,
            "x_is_category": x.kind == "category",
            "distance": options.distance,
            "level": options.level,
            "labels": slices.labels,
            "low": slices.low,
            "high": slices.high,
            "bin_effective": slices.effective,
            "joined": slices.joined,
            "left_out": slices.left_out,
            "unused": slices.unused,
            "chi2": chi2,
            "ndf": ndf,
            "w1": found.w1,
            "w1_null": np.mean(null.w1, axis=0),
            "w1_null_error": np.std(null.w1, axis=0, ddof=1),
            "ks": found.ks,
            "energy": found.energy,
            "p": p,
            "p_holm": p_holm,
            "p_bh": p_bh,
            "rejected": {"holm": int(np.sum(p_holm < options.level)), "bh": int(np.sum(p_bh < options.level))},
            "reference": {"quantiles": quantiles[0]},
            "generated": {"quantiles": quantiles[1]},
            "caption": _caption(options, slices, x, field, label, p_holm),
        },
        fields=(field.name,),
    )


def _against(value: Any, near: FloatArray, null: FloatArray, *, unit: str = "", limit: float | None = None) -> Quantity:
    return against_null(float(value), float(np.std(near, ddof=1)), null, unit=unit, limit=limit)


class _Shapes:
    """Shares of the response's bins within each bin of the condition, and their differences."""

    def __init__(
        self,
        comparison: Comparison,
        slices: ConditionBins,
        field: Field,
        ours: FloatArray,
        theirs: FloatArray,
        bins: int,
    ) -> None:
        samples = comparison.reference, comparison.generated
        cells = np.full(len(ours), -1), np.full(len(theirs), -1)
        parts: list[list[FloatArray]] = [[], []]
        bounds = [0]
        least: list[float] = []
        binning = HistogramOptions(bins=bins, binning="quantile", range_quantile=0.0)
        for b in range(len(slices.labels)):
            rows = slices.ours == b, slices.theirs == b
            weights = [sample.weight[r] for sample, r in zip(samples, rows, strict=True)]
            values = [y[r] for y, r in zip((ours, theirs), rows, strict=True)]
            # Edges of one sample would fit its fluctuations, which signed weights make large, and not the other's.
            pooled = np.concatenate([w / np.sum(w) for w in weights])
            edges = histogram_edges(np.concatenate(values), pooled, field, binning)
            found = [np.searchsorted(edges, y, side="right") for y in values]
            effective = [shares(c, len(edges) + 1, w)[2] for c, w in zip(found, weights, strict=True)]
            merged = merge_bins(pooled_rows(np.column_stack(effective)), _MIN_CELL)
            least.append(one_row(*weights))
            count = int(merged.max()) + 1
            for side in (0, 1):
                label = merged[found[side]]
                cells[side][rows[side]] = bounds[-1] + label
                parts[side].append(shares(label, count, weights[side])[0])
            bounds.append(bounds[-1] + count)
        p, q = (np.concatenate(part) for part in parts)
        self.difference = q - p
        self.influence = _influence(comparison, slices, cells, (p, q), np.diff(bounds))
        covariance = self.influence.covariance()
        blocks = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        self._maps = [
            (block, whitening(covariance[block, block], self.difference[block], variance))
            for block, variance in zip(blocks, least, strict=True)
        ]
        self.ndf = np.array([a.shape[1] for _, a in self._maps])
        self.total = shape_chi2(self.difference, covariance, max(least))

    def chi2(self, difference: FloatArray) -> FloatArray:
        """Chi2 of each bin of the condition, shape (replicas, k), of differences of shape (replicas, cells)."""
        d = np.atleast_2d(difference)
        return np.column_stack([np.sum((d[:, block] @ a) ** 2, axis=1) for block, a in self._maps])


def _influence(
    comparison: Comparison,
    slices: ConditionBins,
    cells: tuple[IntArray, IntArray],
    found: tuple[FloatArray, FloatArray],
    sizes: IntArray,
) -> Influence:
    """Influence of the rows on the differences of shares within bins, centred by the linear map at its end.

    The centres are those of `exchanged_shares`.
    """
    k, count = len(sizes), int(sizes.sum())
    owner = np.repeat(np.arange(k), sizes)
    matrices = []
    samples = comparison.reference, comparison.generated
    for side, (sample, cell, part) in enumerate(zip(samples, cells, (slices.ours, slices.theirs), strict=True)):
        rows = np.flatnonzero(cell >= 0)
        total = np.bincount(part[rows], sample.weight[rows], k)
        relative = sample.weight[rows] / total[part[rows]]
        columns = np.concatenate([side * count + cell[rows], 2 * count + side * k + part[rows]])
        entries = np.concatenate([relative, relative]), (np.concatenate([rows, rows]), columns)
        matrices.append(sparse.csr_matrix(entries, shape=(len(sample), 2 * (count + k))))
    one = np.eye(count)
    centres = [0.5 * (found[0] + found[1])] * 2 if comparison.paired else found
    centre = [np.where(owner == np.arange(k)[:, None], -share, 0.0) for share in centres]
    return Influence(comparison, matrices[0], matrices[1], transform=np.concatenate([one, one, *centre]))


def _gamma_p(
    distance: Distance, found: CdfDistances, null: CdfDistances, near: CdfDistances, bias: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """P-values of measured, null and near distances in each bin: gamma distribution with the null's two moments."""
    values = [np.asarray(getattr(d, distance)) for d in (found, null, near)]
    if distance == "energy":
        # With its bias it is an integral of squares, and positive.
        values = [np.maximum(v + bias, 0.0) for v in values]
    mean, variance = np.mean(values[1], axis=0), np.var(values[1], axis=0, ddof=1)
    varies = variance > 0
    mean, variance = np.where(varies, mean, 1.0), np.where(varies, variance, 1.0)
    measured, drawn, close = (
        np.where(varies, gamma.sf(v, mean**2 / variance, scale=variance / mean), 1.0) for v in values
    )
    return measured, drawn, close


def _worst(p: FloatArray) -> Any:
    """-log10 of the smallest p-value of the last axis after Sidak's adjustment."""
    smallest = np.clip(np.min(p, axis=-1), _SMALLEST, 1 - 1e-16)
    return np.abs(np.log10(-np.expm1(p.shape[-1] * np.log1p(-smallest))))


def _caption(
    options: DifferentialOptions, slices: ConditionBins, x: Field, field: Field, label: str | None, p_holm: FloatArray
) -> str:
    rejected = int(np.sum(p_holm < options.level))
    text = f"{field.title} within bins of {x.title}"
    text += f" for {options.by} = {label}" if label else ""
    text += f": {rejected} of {len(p_holm)} bins differ at a joint level of {100 * options.level:g} %."
    if slices.joined or slices.left_out:
        text += f" {slices.joined} bins were joined to a neighbour and {slices.left_out} left out for lack of rows."
    if max(map(abs, slices.unused)) > 1e-12:
        lost, gone = (100 * share for share in slices.unused)
        text += f" Outside of the bins lie {lost:.3g} % of the reference's weight, {gone:.3g} % of the generated's."
    return text


METRIC = Metric(NAME, DifferentialOptions, differential, ("chi2_ndf", "worst", "w1", "ks"), "distributions")
