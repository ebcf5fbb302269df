"""Model uncertainty of binned predictions from an ensemble of surrogates.

A surrogate's prediction differs from the truth by the statistics of the generated rows and by the model: its training
sample was finite and its training random. Members trained on bootstrapped training samples, each with a seed of its
own, vary by both parts of the latter; members that differ by the seed alone vary by the second part, and the difference
is the part of the finite training sample. The total covariance is that of the statistics plus that of the model.

The rows that a member generates fluctuate too, and that is no model uncertainty. Members therefore predict on two
disjoint halves of the conditions: the covariance over members between a bin in one half and a bin in the other has no
contribution from generation, since the halves share none.

A covariance from few members is itself uncertain, which makes large chi2 more frequent than the chi2 distribution says
(Hotelling 1931 for a covariance that is wholly estimated; Hartlap, Simon & Schneider 2007 for the bias of its inverse).
Here a part of the covariance is estimated with shrinkage and a part is known, so the null is drawn: ensembles of as
many members, with the measured covariance as the truth, each judged in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from parhelion.errors import ConfigError, ShapeError
from parhelion.evaluation.results.null import safe_ratio, tail_probability
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.comparison import Comparison
from parhelion.evaluation.statistics.one_dimensional import Chi2, merge_bins, shape_chi2
from parhelion.evaluation.statistics.shares import difference_of_shares, joint_influence, shape_quantity, shares
from parhelion.sample import Field

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "ensemble"
QUANTITIES = ("chi2_ndf", "model_share", "coverage")
LEAST_MEMBERS = 5
"""Fewer members say too little of a covariance: a chi2 with theirs does not hold its level."""

_DRAWS = 4000
_NULL_DRAWS = 400
_TAIL_DRAWS = 40


@dataclass(frozen=True)
class ModelCovariance:
    """What an ensemble says of the uncertainty of one surrogate's bins.

    Attributes
    ----------
    mean
        Mean prediction of the members, shape (B,).
    total
        Covariance of one surrogate's prediction by training sample and seed, shape (B, B), positive semidefinite.
    seed_part, data_part
        Its part by the seed and by the finite training sample; None without members that vary by the seed alone.
    generation
        Covariance of one half's shares by the generation of the members' rows, shape (B, B).
    trace, trace_error
        Sum of the variances as measured and its standard error: unbiased, so below 0 where the model varies less than
        can be seen.
    members
        Number of members behind `total`.
    """

    mean: FloatArray
    total: FloatArray
    seed_part: FloatArray | None
    data_part: FloatArray | None
    generation: FloatArray
    trace: float
    trace_error: float
    members: int


def binned_covariance(
    predictions: npt.ArrayLike, seed_predictions: npt.ArrayLike | None = None, *, shrink: bool = True
) -> ModelCovariance:
    """Covariance of a binned prediction over the members of an ensemble.

    Few members give a covariance of low rank with large errors off its diagonal. It is drawn to its diagonal by the
    share that minimises the expected squared error (Schafer & Strimmer 2005, target D: the sum of the variances of the
    off-diagonal entries over the sum of their squares).

    Parameters
    ----------
    predictions
        Bins of the members trained on bootstrapped samples, shape (M, 2, B) with the two halves of the conditions, or
        (M, B); the latter's covariance contains the statistics of generation.
    seed_predictions
        Bins of members that differ by the seed alone, same shape but for the number of members.
    shrink
        Whether to shrink off-diagonal entries.

    Raises
    ------
    ShapeError
        The shape is another.
    ConfigError
        There are fewer than two members.
    """
    whole = _three_axes(predictions)
    covariance, error = _covariance(whole, shrink)
    seed_part = data_part = None
    if seed_predictions is not None:
        seed_part = _covariance(_three_axes(seed_predictions), shrink)[0]
        data_part = _positive(covariance - seed_part)
        seed_part = _positive(seed_part)
    return ModelCovariance(
        mean=whole.mean(axis=(0, 1)),
        total=_positive(covariance),
        seed_part=seed_part,
        data_part=data_part,
        generation=_generation(whole, shrink),
        trace=float(np.trace(covariance)),
        trace_error=error,
        members=len(whole),
    )


def _three_axes(predictions: npt.ArrayLike) -> FloatArray:
    p = np.asarray(predictions, dtype=np.float64)
    if p.ndim == 2:
        p = np.stack([p, p], axis=1)
    if p.ndim != 3 or p.shape[1] != 2:
        msg = f"predictions have shape {p.shape}, expected (members, bins) or (members, 2, bins)"
        raise ShapeError(msg)
    if len(p) < 2:
        msg = f"an ensemble of {len(p)} members has no spread; train at least 2"
        raise ConfigError(msg)
    return p


def _covariance(p: FloatArray, shrink: bool) -> tuple[FloatArray, float]:
    """Covariance between halves, shape (B, B), and the standard error of its trace."""
    members = len(p)
    first, second = (p[:, h] - p[:, h].mean(axis=0) for h in (0, 1))
    products = 0.5 * (first[:, :, None] * second[:, None, :] + second[:, :, None] * first[:, None, :])
    centre = products.mean(axis=0)
    covariance = centre * members / (members - 1)
    # Unbiased variance of an entry (Schafer & Strimmer 2005, appendix A).
    variance = members / (members - 1) ** 3 * np.sum((products - centre) ** 2, axis=0)
    traces = np.einsum("mb,mb->m", first, second)
    error = float(np.sqrt(members / (members - 1) ** 3 * np.sum((traces - traces.mean()) ** 2)))
    if shrink:
        off = ~np.eye(len(covariance), dtype=bool)
        size = float(np.sum(covariance[off] ** 2))
        share = min(1.0, float(np.sum(variance[off])) / size) if size > 0 else 0.0
        covariance = np.where(off, (1 - share) * covariance, covariance)
    return covariance, error


def _generation(p: FloatArray, shrink: bool) -> FloatArray:
    """Covariance of generation in one half: what the two halves of a member do not share."""
    apart = (p[:, 0] - p[:, 1]) / np.sqrt(2.0)
    return _positive(_covariance(np.stack([apart, apart], axis=1), shrink)[0])


def null_of_members(
    model: ModelCovariance, statistical: FloatArray, rng: np.random.Generator, *, draws: int = _NULL_DRAWS
) -> FloatArray:
    """Draws of chi2 where nothing differs, with the model's covariance from as many members, shape (draws,).

    Parameters
    ----------
    model
        What the members said, taken for the truth.
    statistical
        Covariance of the difference by the statistics of the two samples, shape (B, B).
    rng
        Source of the draws.
    draws
        Their number.
    """
    roots = [_root(matrix) for matrix in (statistical + model.total, model.total, model.generation)]
    count = len(statistical)
    found = np.empty(draws)
    for k in range(draws):
        difference = roots[0] @ rng.normal(size=count)
        members = (rng.normal(size=(model.members, count)) @ roots[1].T)[:, None]
        members = members + rng.normal(size=(model.members, 2, count)) @ roots[2].T
        found[k] = shape_chi2(difference, statistical + _positive(_covariance(members, shrink=True)[0])).value
    return found


def _root(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    found: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))
    return found


def _chi2_quantity(chi2: Chi2, null: FloatArray) -> Quantity:
    """Chi2/ndf with null and p-value from draws, beyond the outermost ones with a power law.

    A power law is the tail of Hotelling's distribution, and heavier than any other that can occur here.
    """
    plain = shape_quantity(chi2)
    if chi2.ndf == 0:
        return plain
    p_value = tail_probability(chi2.value, null)
    outer = np.sort(null)[-_TAIL_DRAWS:]
    if chi2.value > outer[_TAIL_DRAWS // 2]:
        index = float(np.mean(np.log(outer[1:] / outer[0])))
        p_value = len(outer) / len(null) * float((chi2.value / outer[0]) ** (-1 / index))
    mean, spread = float(np.mean(null)) / chi2.ndf, float(np.std(null, ddof=1)) / chi2.ndf
    return Quantity(plain.value, max(plain.error, spread), mean, spread, p_value)


def _positive(matrix: FloatArray) -> FloatArray:
    """Nearest positive semidefinite matrix: negative eigenvalues set to 0."""
    values, vectors = np.linalg.eigh(matrix)
    found: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return found


def covered_share(difference: npt.ArrayLike, covariance: npt.ArrayLike) -> float:
    """Share of bins whose difference is within one standard error; bins that cannot vary are left out.

    Parameters
    ----------
    difference, covariance
        Shapes (B,) and (B, B).
    """
    return float(_covered(np.asarray(difference, dtype=np.float64), np.asarray(covariance, dtype=np.float64)))


def _covered(difference: FloatArray, covariance: FloatArray) -> FloatArray:
    """See `covered_share`; differences of shape (..., B) give shares of shape (...)."""
    error = np.sqrt(np.diag(covariance))
    alive = error > 0
    if not alive.any():
        return np.ones(difference.shape[:-1])
    return np.asarray(np.mean(np.abs(difference[..., alive]) <= error[alive], axis=-1), dtype=np.float64)


def ensemble_result(
    comparison: Comparison,
    field: Field,
    edges: FloatArray,
    predictions: FloatArray,
    seed_predictions: FloatArray | None = None,
    *,
    by: str | None = None,
    label: str | None = None,
    min_effective: float = 10.0,
    seed: int = 0,
) -> MetricResult:
    """Compare one field's distribution with statistical and model uncertainty.

    Neighbouring bins are joined until each has `min_effective` effective rows. The statistical covariance is that of
    the difference of the two samples, paired rows included (see `comparison`); the model's is `binned_covariance`. The
    null of chi2/ndf is drawn with the uncertainty of a covariance from few members (`null_of_members`), that of
    `coverage` is its mean and spread over draws from the total covariance.

    Parameters
    ----------
    comparison
        Reference and generated sample.
    field, edges
        Scalar field, and the edges of B bins; under- and overflow come on top.
    predictions, seed_predictions
        Shares of the members, shape (M, 2, B + 2), underflow first, overflow last (see `binned_covariance`).
    by, label
        Category field and value that the samples were restricted to.
    min_effective
        See above.
    seed
        Seed of the draws.

    Returns
    -------
    MetricResult
        Quantities: `chi2_ndf` (main), of the difference to the reference with the total covariance; `model_share`, the
        model's share of the total variance, summed over bins; `coverage`, share of bins in which the reference is
        within one total standard error (p-value: probability of less). Details: ``field``, ``unit``, ``category``,
        ``edges`` (B + 1), ``members``, ``seed_members``, and per joined bin ``reference``, ``generated``, ``mean``
        (of the members), ``statistical_error``, ``model_error``, ``seed_error``, ``pull``; ``bins`` (joined bin of each
        bin, B + 2), ``chi2``, ``ndf``, ``chi2_statistical`` (without the model), ``covariance`` of the model and
        ``statistical_covariance``, both between joined bins.
    """
    reference, generated = comparison.reference, comparison.generated
    cells = tuple(
        np.searchsorted(edges, np.asarray(s.columns[field.name], dtype=np.float64), side="right")
        for s in (reference, generated)
    )
    count = len(edges) + 1
    (p, _, p_size), (q, _, q_size) = (
        shares(cell, count, s.weight) for cell, s in zip(cells, (reference, generated), strict=True)
    )
    statistics = joint_influence(comparison, (cells[0], cells[1]), count).mapped(difference_of_shares(p, q))
    merged = merge_bins(np.column_stack([p_size, q_size]), min_effective)
    join = np.equal.outer(np.arange(merged.max() + 1), merged).astype(np.float64)
    model = binned_covariance(predictions @ join.T, None if seed_predictions is None else seed_predictions @ join.T)
    difference = join @ (q - p)
    statistical = join @ statistics.covariance() @ join.T
    total = statistical + model.total
    chi2, alone = shape_chi2(difference, total), shape_chi2(difference, statistical)
    rng = np.random.default_rng(seed)
    null = null_of_members(model, statistical, rng)
    where = field.name if label is None else f"{field.name}, {by} = {label}"
    seeds = 0 if seed_predictions is None else len(seed_predictions)
    return MetricResult(
        name=NAME,
        on=where,
        main="chi2_ndf",
        quantities={
            "chi2_ndf": _chi2_quantity(chi2, null),
            "model_share": _model_share(model, statistical),
            "coverage": _coverage(difference, total, rng),
        },
        details={
            **comparison.describe(),
            "field": field.name,
            "unit": field.unit,
            "category": label,
            "edges": edges,
            "bins": merged,
            "members": model.members,
            "seed_members": seeds,
            "reference": join @ p,
            "generated": join @ q,
            "mean": model.mean,
            "statistical_error": np.sqrt(np.diag(statistical)),
            "model_error": np.sqrt(np.diag(model.total)),
            "seed_error": None if model.seed_part is None else np.sqrt(np.diag(model.seed_part)),
            "pull": safe_ratio(difference, np.sqrt(np.diag(total))),
            "chi2": chi2.value,
            "ndf": chi2.ndf,
            "chi2_statistical": alone.value,
            "covariance": model.total,
            "statistical_covariance": statistical,
            "caption": (
                f"Distribution of {field.title}{f' for {by} = {label}' if label else ''} with the model uncertainty of "
                f"{model.members} members trained on bootstrapped samples."
            ),
        },
        fields=(field.name,),
    )


def _model_share(model: ModelCovariance, statistical: FloatArray) -> Quantity:
    """Share of the model in the total variance; without model uncertainty it scatters around 0."""
    known = float(np.trace(statistical))
    if not known > 0:
        return Quantity(0.0, 0.0, 0.0, 0.0, 1.0)
    total = max(model.trace, 0.0) + known
    value = model.trace / total
    spread = model.trace_error * known / total**2
    p_value = float(student.sf(value / spread, model.members - 1)) if spread > 0 else 1.0
    return Quantity(value, spread, 0.0, spread, p_value)


def _coverage(difference: FloatArray, total: FloatArray, rng: np.random.Generator) -> Quantity:
    value = covered_share(difference, total)
    null = _covered(rng.normal(size=(_DRAWS, len(total))) @ _root(total).T, total)
    spread = float(np.std(null, ddof=1))
    # Too small a share is what is wrong.
    return Quantity(value, spread, float(np.mean(null)), spread, tail_probability(-value, -null))
