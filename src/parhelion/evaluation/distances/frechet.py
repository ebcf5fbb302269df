"""Frechet distance between the Gaussians with the samples' means and covariances (the Frechet physics distance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError
from parhelion.evaluation.distances.blocks import (
    Blocks,
    Contrasts,
    SignNull,
    blocks_of,
    blocks_of_rows,
    draws_histogram,
    jackknife,
)
from parhelion.evaluation.distances.calochallenge import (
    Mode,
    biased_quantity,
    calochallenge_fpd,
    require_equal,
    scaling_of,
)
from parhelion.evaluation.distances.moments import BlockMoments, gaussian_frechet
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.features import Scaling
from parhelion.evaluation.samples.vectors import checked_pair, told_by, vectors_of
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]

NAME = "frechet"


@dataclass(frozen=True)
class FrechetOptions:
    """Options of `frechet`.

    Attributes
    ----------
    fields
        Fields that make the vector; all responses if empty.
    conditions
        Whether the conditions are features too, so that the response's dependence on them counts.
    scaling
        Unit of each feature, see `choose_features`: ``standard`` if none is chosen, and ``max``, as published, in the
        mode ``calochallenge``.
    mode
        ``unbiased``: all rows, bias removed. ``calochallenge``: the published estimator with its bias, for comparison
        with published numbers.
    blocks
        Blocks of the jackknife.
    replicas
        Draws of the null.
    min_samples, max_samples
        Smallest and largest batch of the mode ``calochallenge``, rows.
    """

    fields: tuple[str, ...] = ()
    conditions: bool = True
    scaling: Scaling | None = None
    mode: Mode = "unbiased"
    blocks: int = 50
    replicas: int = 1000
    min_samples: int = 10_000
    max_samples: int = 50_000

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.blocks < 4 or self.replicas < 20:
            msg = f"metric {NAME}: blocks {self.blocks}, replicas {self.replicas}; expected at least 4 and 20"
            raise ConfigError(msg)
        if not 2 <= self.min_samples < self.max_samples:
            msg = (
                f"metric {NAME}: min_samples {self.min_samples}, max_samples {self.max_samples}; expected at least 2, "
                "and the second larger than the first"
            )
            raise ConfigError(msg)
        scaling_of(self.mode, self.scaling, NAME)

    @property
    def unit(self) -> Scaling:
        """The scaling in use."""
        return scaling_of(self.mode, self.scaling, NAME)


@dataclass(frozen=True)
class FrechetEstimate:
    """Frechet distance of two samples.

    Attributes
    ----------
    fpd
        The distance squared without the bias of finite samples, with error, null and p-value.
    plain
        The same of the samples' own means and covariances, bias included.
    bias
        Expectation of `plain` in the null.
    clipped
        Share of the covariances' traces (in absolute value) that was negative and taken for 0; signed weights do that.
    shift, shift_error
        Part of each feature's mean, (mu_y - mu_x)^2, bias removed, shape (d,).
    width, width_error
        Part of each feature's standard deviation, (sigma_y - sigma_x)^2, bias removed, shape (d,). What is left of the
        distance stands in the correlations.
    draws
        `fpd` in the null, shape (replicas,).
    """

    fpd: Quantity
    plain: float
    bias: float
    clipped: float
    shift: FloatArray
    shift_error: FloatArray
    width: FloatArray
    width_error: FloatArray
    draws: FloatArray


def frechet_distance(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
    *,
    paired: bool = False,
    blocks: int = 50,
    replicas: int = 1000,
    seed: int = 0,
) -> FrechetEstimate:
    """Frechet physics distance of two samples (Kansal et al., arXiv:2211.10295), without the bias of finite samples.

    Parameters
    ----------
    x, y
        Features, shapes (n, d) and (m, d), in units that make them comparable: a feature counts by its square.
    x_weight, y_weight
        Signed weights with positive sums, shapes (n,) and (m,); ones if not given.
    paired
        Row i of x and row i of y belong together (same condition) and are not independent.
    blocks, replicas
        Blocks of the jackknife, and draws of the null.
    seed
        Seed of the blocks and of the null.

    Returns
    -------
    FrechetEstimate
        See there and `estimate_frechet`.

    Raises
    ------
    DataError
        Arrays do not fit together, have values that are not finite, fewer than 4 rows, or no positive sum of weights.
    """
    ours, theirs, w, v = checked_pair(x, y, x_weight, y_weight)
    dealt = blocks_of_rows(len(ours), len(theirs), paired=paired, count=blocks, seed=seed)
    return estimate_frechet(*block_moments(ours, theirs, w, v, dealt), dealt.paired, replicas, seed)


def block_moments(
    x: FloatArray, y: FloatArray, x_weight: FloatArray, y_weight: FloatArray, blocks: Blocks
) -> tuple[BlockMoments, BlockMoments]:
    """Moments of both samples by block, relative to the mean of x."""
    centre = x_weight @ x / np.sum(x_weight)
    found = []
    for rows, weight, block in ((x, x_weight, blocks.reference), (y, y_weight, blocks.generated)):
        sums = BlockMoments(blocks.count, x.shape[1])
        sums.add(rows - centre, block, None if np.all(weight == 1.0) else weight)
        found.append(sums)
    return found[0], found[1]


def estimate_frechet(x: BlockMoments, y: BlockMoments, paired: bool, replicas: int, seed: int) -> FrechetEstimate:
    """Distance, error and null from moments by block.

    The delete-block jackknife removes the bias of order 1/n, which for unit covariance is (d + d (d + 1) / 4)
    (1/n + 1/m). In the null the distance is, to the same order, the quadratic form |d mu|^2 + 1/2 sum_ij D_ij^2 /
    (l_i + l_j), with D the difference of covariances in the eigenbasis of their mean and l its eigenvalues; its null is
    drawn by signs on blocks (see `blocks`).

    Parameters
    ----------
    x, y
        Filled accumulators with equal numbers of blocks and features.
    paired
        Whether equal blocks hold the same groups.
    replicas, seed
        Draws of the null, and their seed.

    Raises
    ------
    DataError
        The weights have no positive sum, even without one of the blocks.
    """
    contrasts = Contrasts(x.weight, y.weight, paired)
    count = len(x.weight)
    ours, theirs = slice(0, count), slice(count, None)
    (mu, cov), (nu, dov) = x.moments(-contrasts.difference[ours]), y.moments(contrasts.difference[theirs])
    deleted = (*x.moments(-contrasts.deleted[:, ours]), *y.moments(contrasts.deleted[:, theirs]))
    whole = (mu, cov, nu, dov)
    plain = float(gaussian_frechet(*whole))
    value, error = jackknife(plain, gaussian_frechet(*deleted))
    null = SignNull(_null_gram(x, y, whole, contrasts))
    draws = null.draws(replicas, np.random.default_rng([seed, 1]))
    shift, width = (jackknife(part(*whole), part(*deleted)) for part in (_shift, _width))
    spectra = np.concatenate([np.linalg.eigvalsh(c) for c in (cov, dov)])
    size = float(np.abs(spectra).sum())
    negative = float(-spectra[spectra < 0].sum())
    return FrechetEstimate(
        null.quantity(float(value), float(error), draws, 1e-13 * count * size),
        plain,
        null.bias,
        negative / size if negative > 1e-12 * size else 0.0,
        *shift,
        *width,
        draws,
    )


def _shift(mu: FloatArray, _cov: FloatArray, nu: FloatArray, _dov: FloatArray) -> FloatArray:
    return (nu - mu) ** 2


def _width(_mu: FloatArray, cov: FloatArray, _nu: FloatArray, dov: FloatArray) -> FloatArray:
    ours, theirs = (np.sqrt(np.maximum(np.diagonal(c, axis1=-2, axis2=-1), 0.0)) for c in (cov, dov))
    found: FloatArray = (theirs - ours) ** 2
    return found


def _null_gram(
    x: BlockMoments, y: BlockMoments, whole: tuple[FloatArray, FloatArray, FloatArray, FloatArray], contrasts: Contrasts
) -> FloatArray:
    """Scalar products of the units' influences on the quadratic form that the distance is near zero."""
    mu, cov, nu, dov = whole
    values, vectors = np.linalg.eigh(0.5 * (cov + dov))
    first = np.concatenate([x.first - np.outer(x.weight, mu), y.first - np.outer(y.weight, nu)])
    second = np.concatenate([x.centred(mu), y.centred(nu)])
    rotated = (vectors.T @ second @ vectors).reshape(len(first), -1)
    shifts, changes = contrasts.units @ first, contrasts.units @ rotated
    sums = np.maximum(values, 0.0)[:, None] + np.maximum(values, 0.0)
    # The exact distance grows at most as |D|; without this bound a direction with hardly any spread would count as D^2.
    floor = np.maximum(sums.ravel(), np.sqrt(np.sum(changes**2, axis=0)))
    used = floor > 1e-14 * max(float(values[-1]), 0.0)
    scaled = changes[:, used] / np.sqrt(2.0 * floor[used])
    found: FloatArray = shifts @ shifts.T + scaled @ scaled.T
    return found


def frechet(reference: Sample, generated: Sample, options: FrechetOptions, *, seed: int) -> list[MetricResult]:
    """Frechet physics distance of vectors of features, see `frechet_distance`.

    The features are scaled by the reference. With paired samples the common part of the fluctuations cancels in error
    and null. In the mode ``calochallenge`` value and error are those of `calochallenge_fpd`; their null has the bias
    that the estimator keeps and its noise.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `FrechetOptions`.
    seed
        Seed of the blocks and of the null. The mode ``calochallenge`` draws its batches with the published seed.

    Returns
    -------
    list of MetricResult
        One result. Quantity: `fpd`. Details: ``features`` (names, d), ``scaling``, ``mode``, ``plain`` (bias included),
        ``bias`` (of plain, in the null), ``clipped`` (share of negative variance removed), ``shift``, ``shift_error``,
        ``width``, ``width_error`` (parts of each feature, d), ``null`` (histogram of draws: ``edges``, ``density``).

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        A sample has fewer than 4 groups; or, in the mode ``calochallenge``, too few rows or unequal weights.
    """
    vectors = vectors_of(reference, generated, NAME, options.fields, options.conditions, options.unit)
    (x, y), (w, v), names = vectors.rows, vectors.weights, vectors.features.names
    with told_by(NAME):
        blocks = blocks_of(vectors.comparison, options.blocks, np.random.default_rng([seed, 0]))
        found = estimate_frechet(*block_moments(x, y, w, v, blocks), blocks.paired, options.replicas, seed)
        quantity, shown = found.fpd, found.draws
        if options.mode == "calochallenge":
            require_equal(w, v)
            value, error = calochallenge_fpd(x, y, min_samples=options.min_samples, max_samples=options.max_samples)
            shown = found.draws + found.bias
            quantity = biased_quantity(value, error, error, shown, seed)
    on = ", ".join(options.fields) or "all responses"
    details: dict[str, Any] = {
        **vectors.comparison.describe(),
        "features": list(names),
        "scaling": options.unit,
        "mode": options.mode,
        "plain": found.plain,
        "bias": found.bias,
        "clipped": found.clipped,
        "shift": found.shift,
        "shift_error": found.shift_error,
        "width": found.width,
        "width_error": found.width_error,
        "null": draws_histogram(shown),
        "caption": f"Frechet distance of {len(names)} features ({options.unit} scaling).",
    }
    return [MetricResult(NAME, on, "fpd", {"fpd": quantity}, details, fields=options.fields)]


METRIC = Metric(NAME, FrechetOptions, frechet, ("fpd",), "distances")
