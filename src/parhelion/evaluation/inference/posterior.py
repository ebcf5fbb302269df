"""Calibration of a surrogate that samples posteriors, as unfolding does.

The reference holds true parameters theta* drawn from the prior with the data x that they made; the generated sample
holds L draws of theta for each of these x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.inference.calibration import contraction, ellipsoid_ranks, ranks, tarp, tarp_reference
from parhelion.evaluation.inference.uniformity import Coverage, Uniformity, coverage, uniformity
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.comparison import compare
from parhelion.evaluation.statistics.shares import shape_quantity
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "posterior"

_FEWEST_DRAWS = 10
_LEVELS = np.arange(1, 20) / 20
_TARP_BINS = 50
# Below this a posterior has hardly learned from the data.
_SHARP = 0.05


@dataclass(frozen=True)
class PosteriorOptions:
    """Options of `posterior`.

    Attributes
    ----------
    fields
        Responses or extra fields that are the parameters; all responses if empty. Vectors are taken entry by entry.
    bins
        Bins of the rank histogram.
    replicas
        Draws of the null.
    """

    fields: tuple[str, ...] = ()
    bins: int = 20
    replicas: int = 500

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.bins < 2 or self.replicas < 20:
            msg = f"metric {NAME}: bins {self.bins}, replicas {self.replicas}; expected at least 2 and 20"
            raise ConfigError(msg)


@dataclass(frozen=True)
class _Ranks:
    """Ranks of one parameter (or of all together) that calibration makes uniform, and which of them lie inside."""

    name: str
    unit: str
    rank: FloatArray
    tarp: FloatArray
    # Credible regions: inside at a level if this is not above it.
    depth: FloatArray
    contraction: float
    contraction_error: float


def posterior(reference: Sample, generated: Sample, options: PosteriorOptions, *, seed: int) -> list[MetricResult]:
    """Simulation-based calibration, coverage and TARP of posterior draws.

    A reference row and the generated rows of the same group are one truth and its draws; draws of one row must be
    independent and of equal weight. See `calibration` for the three tests and `uniformity` for errors and nulls. The
    null is exact calibration: all ranks uniform.

    Parameters
    ----------
    reference
        One row a group: true parameters, their conditions x, signed weights.
    generated
        At least 10 rows for each group of the reference. Where rows have more draws than others, the first ones count.
    options
        See `PosteriorOptions`.
    seed
        Seed of reference points, tied ranks and null.

    Returns
    -------
    list of MetricResult
        One a parameter, with ranks of its value and central intervals, and one of all together if there are several,
        with ranks of the Mahalanobis distance and ellipsoids. Quantities: `rank_chi2_ndf` (main); `coverage_68` and
        `coverage_95`, |coverage - level| at 0.68 and 0.95; `tarp`, largest |ECP - alpha|; `contraction`, 1 - posterior
        over prior variance, without p-value: it is no fault. Details: ``parameter``, ``unit``, ``draws`` (L), ``ranks``
        with ``share``, ``error``, ``expected_error`` (B), ``chi2``, ``ndf``, ``curve``, ``curve_error``, ``band``
        (B - 1; cumulative share minus expectation, and the 95 % band of it all), ``band_p_value``; ``coverage`` with
        ``level``, ``share``, ``error``, ``low``, ``high`` at 19 levels, and ``at_68``, ``at_95`` (signed coverage);
        ``tarp`` with ``alpha``, ``difference``, ``error``, ``band``, ``band_p_value``, and ``atc``, the area between
        curve and diagonal above alpha = 1/2 (below 0: too narrow or biased; above 0: too wide); ``sharp`` (bool).

    Raises
    ------
    ConfigError
        An option names an unknown field, or a parameter is a category.
    DataError
        A group is not one row of the reference, or has fewer than 10 draws, or draws of different weight.
    """
    described = compare(reference, generated).describe()
    parameters = _parameters(reference, generated, options)
    order = _draws_of_rows(reference, generated)
    truth = _values(reference, parameters)
    draws = _values(generated, parameters)[order]
    weight = reference.weight
    shrunk, shrunk_error = contraction(truth, draws, weight=weight)
    value_rank = ranks(truth, draws, seed=seed)
    points = tarp_reference(truth, reference.condition, weight=weight, seed=seed)
    named = [(name, field) for field in parameters for name in _names(field)]
    results = []
    for i, (name, field) in enumerate(named):
        one = slice(i, i + 1)
        near = tarp(truth[:, one], draws[:, :, one], points[:, one], seed=seed + 1)
        u = value_rank[:, i]
        found = _Ranks(name, field.unit, u, near, np.abs(2.0 * u - 1.0), float(shrunk[i]), float(shrunk_error[i]))
        results.append(_one_result(found, described, weight, draws.shape[1], options, seed, (field.name,)))
    if len(named) > 1:
        spread = np.std(truth, axis=0)
        near = tarp(truth, draws, points, scale=np.where(spread > 0, spread, 1.0), seed=seed + 1)
        u = ellipsoid_ranks(truth, draws, seed=seed + 2)
        mean, mean_error = float(np.mean(shrunk)), float(np.sqrt(np.sum(shrunk_error**2)) / len(named))
        together = _Ranks("all parameters", "", u, near, u, mean, mean_error)
        used = tuple(field.name for field in parameters)
        results.append(_one_result(together, described, weight, draws.shape[1], options, seed, used))
    return results


def _one_result(
    found: _Ranks,
    described: dict[str, Any],
    weight: FloatArray,
    draws: int,
    options: PosteriorOptions,
    seed: int,
    fields: tuple[str, ...],
) -> MetricResult:
    flat = uniformity(found.rank, bins=options.bins, weight=weight, replicas=options.replicas, seed=seed)
    near = uniformity(found.tarp, bins=_TARP_BINS, weight=weight, replicas=options.replicas, seed=seed + 1)
    levels = [coverage(found.depth <= level, float(level), weight=weight) for level in _LEVELS]
    at_68, at_95 = (coverage(found.depth <= level, level, weight=weight) for level in (0.68, 0.95))
    sharp = found.contraction > max(_SHARP, 2.0 * found.contraction_error)
    regions = "ellipsoids" if found.name == "all parameters" else "central intervals"
    caption = (
        f"Calibration of {draws} posterior draws a row for {found.name}: {regions} of 68 % hold "
        f"{100 * at_68.share:.1f} % of the truths, those of 95 % hold {100 * at_95.share:.1f} %."
    )
    if not sharp:
        caption += (
            f" The draws are hardly narrower than the truths' own spread (contraction {found.contraction:.2f}), "
            "so calibration says little: draws of the prior pass it."
        )
    return MetricResult(
        name=NAME,
        on=found.name,
        main="rank_chi2_ndf",
        quantities={
            "rank_chi2_ndf": shape_quantity(flat.chi2),
            "coverage_68": _distance(at_68),
            "coverage_95": _distance(at_95),
            "tarp": against_null(near.deviation, near.deviation_error, near.null),
            "contraction": Quantity(found.contraction, found.contraction_error, 0.0, found.contraction_error),
        },
        details={
            **described,
            "null_kind": "uniform",
            "parameter": found.name,
            "unit": found.unit,
            "draws": draws,
            "ranks": {
                "share": flat.share,
                "error": flat.share_error,
                "expected_error": flat.expected_error,
                "chi2": flat.chi2.value,
                "ndf": flat.chi2.ndf,
                "curve": flat.curve,
                "curve_error": flat.curve_error,
                "band": flat.band,
                "band_p_value": flat.band_p_value,
            },
            "coverage": {
                "regions": regions,
                "level": _LEVELS,
                "share": [c.share for c in levels],
                "error": [c.error for c in levels],
                "low": [c.low for c in levels],
                "high": [c.high for c in levels],
                "at_68": at_68.share,
                "at_95": at_95.share,
            },
            "tarp": {
                "alpha": np.arange(1, _TARP_BINS) / _TARP_BINS,
                "difference": near.curve,
                "error": near.curve_error,
                "band": near.band,
                "band_p_value": near.band_p_value,
                "atc": _area_above_half(near),
            },
            "sharp": sharp,
            "caption": caption,
        },
        fields=fields,
    )


def _distance(found: Coverage) -> Quantity:
    """Distance of a coverage from its level; the null is the distance of a normal number from its mean."""
    return Quantity(
        value=abs(found.share - found.level),
        error=found.error if found.error > 0 else found.null_error,
        null=found.null_error * float(np.sqrt(2.0 / np.pi)),
        null_error=found.null_error * float(np.sqrt(1.0 - 2.0 / np.pi)),
        p_value=found.p_value,
    )


def _area_above_half(near: Uniformity) -> float:
    curve = np.r_[near.curve, 0.0][_TARP_BINS // 2 - 1 :]
    return float(np.sum(0.5 * (curve[1:] + curve[:-1])) / _TARP_BINS)


def _parameters(reference: Sample, generated: Sample, options: PosteriorOptions) -> tuple[Field, ...]:
    fields = (*reference.schema.response, *reference.schema.extra)
    known = {f.name: f for f in fields if f.name in generated.columns}
    for name in options.fields:
        if name not in known:
            msg = f"metric {NAME}: no response or extra field {name}; there are {', '.join(known) or 'none'}"
            raise ConfigError(msg)
    chosen = tuple(known[name] for name in options.fields) or reference.schema.response
    for field in chosen:
        if field.kind == "category":
            msg = f"metric {NAME}: {field.name} is a category and has no rank; name the parameters in `fields`"
            raise ConfigError(msg)
    if not chosen:
        msg = f"metric {NAME}: the samples have no responses; name the parameters in `fields`"
        raise ConfigError(msg)
    return chosen


def _names(field: Field) -> list[str]:
    return [field.name] if field.width == 1 else [f"{field.name}[{i}]" for i in range(field.width)]


def _values(sample: Sample, parameters: tuple[Field, ...]) -> FloatArray:
    parts = [sample.columns[f.name].astype(np.float64).reshape(len(sample), f.width) for f in parameters]
    return np.concatenate(parts, axis=1)


def _draws_of_rows(reference: Sample, generated: Sample) -> IntArray:
    """Rows of the generated sample that are draws of each reference row, shape (n, L)."""
    known, first, count = np.unique(reference.group, return_index=True, return_counts=True)
    if np.any(count > 1):
        worst = int(np.argmax(count))
        msg = (
            f"metric {NAME}: {reference.source}: group {known[worst]} has {count[worst]} rows, expected one row a "
            "group, so that generated rows of that group are its draws"
        )
        raise DataError(msg)
    place = np.minimum(np.searchsorted(known, generated.group), len(known) - 1)
    foreign = known[place] != generated.group
    if foreign.any():
        row = int(np.argmax(foreign))
        msg = (
            f"metric {NAME}: {generated.source}, row {row}: group {generated.group[row]} is no group of "
            f"{reference.source}; give the draws of a row that row's group ({int(foreign.sum())} such rows)"
        )
        raise DataError(msg)
    draws = np.bincount(place, minlength=len(known))
    if draws.min() < _FEWEST_DRAWS:
        fewest = int(np.argmin(draws))
        msg = (
            f"metric {NAME}: {generated.source}: group {known[fewest]} has {draws[fewest]} draws, expected at least "
            f"{_FEWEST_DRAWS} for each row of the reference; generate several responses a row, with its group"
        )
        raise DataError(msg)
    order = np.argsort(place, kind="stable")
    starts = np.r_[0, np.cumsum(draws)[:-1]]
    found = order[starts[:, None] + np.arange(int(draws.min()))]
    weight = generated.weight[found]
    if not np.allclose(weight, weight[:, :1], rtol=1e-5):
        msg = (
            f"metric {NAME}: {generated.source}: draws of one group have different weights, expected equal ones; "
            "resample the draws by weight"
        )
        raise DataError(msg)
    by_row: IntArray = np.empty_like(found)
    by_row[first] = found
    return by_row


METRIC = Metric(NAME, PosteriorOptions, posterior, ("rank_chi2_ndf", "coverage_68", "coverage_95", "tarp"), "posterior")
