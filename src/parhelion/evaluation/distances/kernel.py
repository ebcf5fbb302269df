"""Kernel distance (squared maximum mean discrepancy) with the quartic kernel of the kernel physics distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.distances.blocks import (
    Blocks,
    Contrasts,
    SignNull,
    blocks_of,
    blocks_of_rows,
    draws_histogram,
)
from parhelion.evaluation.distances.calochallenge import (
    Mode,
    biased_quantity,
    calochallenge_kpd,
    require_equal,
    scaling_of,
)
from parhelion.evaluation.distances.quartic_kernel import BlockTensors, dense_sums, fits_tensors, quartic
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.comparison import Comparison
from parhelion.evaluation.samples.features import Scaling
from parhelion.evaluation.samples.vectors import checked_pair, told_by, vectors_of
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "kernel_distance"

_MOST_PAIRS: Final = 20_000_000
# Standard error of a median of batches from the spread of one, for normal batches: sqrt(pi / 2).
_MEDIAN: Final = 1.2533141373155003
_BATCHES: Final = 10


@dataclass(frozen=True)
class KernelDistanceOptions:
    """Options of `kernel_distance`.

    Attributes
    ----------
    fields
        Fields that make the vector; all responses if empty.
    conditions
        Whether the conditions are features too, so that the response's dependence on them counts.
    scaling
        Unit of each feature, see `choose_features`: ``standard`` if none is chosen, and ``max``, as published, in the
        mode ``calochallenge``. It decides what the kernel looks at.
    mode
        ``unbiased``: all rows. ``calochallenge``: the published estimator with its bias, for comparison with published
        numbers.
    blocks
        Blocks of the jackknife and of the null.
    replicas
        Draws of the null.
    dense_rows
        With more than 40 features the sums of monomials do not fit into memory and the kernel is summed over pairs of
        rows; about this many rows of each sample are used then, chosen at random by group.
    batch_size
        Rows in a batch of the mode ``calochallenge``.
    """

    fields: tuple[str, ...] = ()
    conditions: bool = True
    scaling: Scaling | None = None
    mode: Mode = "unbiased"
    blocks: int = 50
    replicas: int = 1000
    dense_rows: int = 5_000
    batch_size: int = 10_000

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.blocks < 4 or self.replicas < 20 or self.dense_rows < 100 or self.batch_size < 2:
            msg = (
                f"metric {NAME}: blocks {self.blocks}, replicas {self.replicas}, dense_rows {self.dense_rows}, "
                f"batch_size {self.batch_size}; expected at least 4, 20, 100 and 2"
            )
            raise ConfigError(msg)
        scaling_of(self.mode, self.scaling, NAME)

    @property
    def unit(self) -> Scaling:
        """The scaling in use."""
        return scaling_of(self.mode, self.scaling, NAME)


@dataclass(frozen=True)
class KernelEstimate:
    """Kernel distance of two samples.

    Attributes
    ----------
    kpd
        Squared maximum mean discrepancy without the bias of finite samples, with error, null and p-value. It can be
        negative.
    plain
        The same with the pairs of equal rows, bias included.
    bias
        Expectation of `plain` in the null.
    draws
        `kpd` in the null, shape (replicas,).
    by_block
        True if groups were too large to leave out their pairs of rows, and pairs of rows of one block were left out.
    """

    kpd: Quantity
    plain: float
    bias: float
    draws: FloatArray
    by_block: bool


def kernel_distance(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
    *,
    paired: bool = False,
    blocks: int = 50,
    replicas: int = 1000,
    seed: int = 0,
) -> KernelEstimate:
    """Squared maximum mean discrepancy with the kernel (x . y / d + 1)^4 (Gretton et al. 2012, JMLR 13; the kernel is
    that of Kansal et al., arXiv:2211.10295).

    Parameters
    ----------
    x, y
        Features, shapes (n, d) and (m, d), without units. The cost is O(n d^4 / 4) up to d = 40, O((n + m)^2 d) above.
    x_weight, y_weight
        Signed weights with positive sums, shapes (n,) and (m,); ones if not given.
    paired
        Row i of x and row i of y belong together (same condition) and are not independent.
    blocks, replicas
        Blocks of the jackknife and of the null, and draws of the null.
    seed
        Seed of the blocks and of the null.

    Returns
    -------
    KernelEstimate
        For independent rows of weight 1 the value is the U-statistic, the mean over pairs of different rows.

    Raises
    ------
    DataError
        Arrays do not fit together, have values that are not finite, fewer than 4 rows, or no positive sum of weights.
    """
    ours, theirs, w, v = checked_pair(x, y, x_weight, y_weight)
    dealt = blocks_of_rows(len(ours), len(theirs), paired=paired, count=blocks, seed=seed)
    first = np.arange(len(ours))
    second = first if paired else len(ours) + np.arange(len(theirs))
    return estimate_kernel(ours, theirs, w, v, first, second, dealt, replicas, seed)


def estimate_kernel(
    x: FloatArray,
    y: FloatArray,
    x_weight: FloatArray,
    y_weight: FloatArray,
    x_group: IntArray,
    y_group: IntArray,
    blocks: Blocks,
    replicas: int,
    seed: int,
) -> KernelEstimate:
    """Distance, error and null of rows in groups.

    The squared distance of the mean vectors has the bias sum_g |u_g|^2, u_g the influence of group g on their
    difference. It is subtracted, with the factor that makes it the U-statistic for unit weights: 1 / (1 - W_2 / W^2)
    for each sample. Leaving out pairs of equal rows instead would not do for signed weights that depend on x,
    because the rows' variance goes as sum w^2, which is distributed unlike sum w.

    Parameters
    ----------
    x, y, x_weight, y_weight
        Rows and weights, shapes (n, d), (m, d), (n,), (m,).
    x_group, y_group
        Groups as 0, 1, ...; shared by paired samples, disjoint otherwise.
    blocks
        Blocks of whole groups.
    replicas, seed
        Draws of the null, and their seed.

    Raises
    ------
    DataError
        The weights have no positive sum, even without one of the blocks, or an effective size of one group.
    """
    count = blocks.count
    groups = int(max(x_group.max(), y_group.max())) + 1
    p, q = (np.bincount(g, w, groups) / np.sum(w) for g, w in ((x_group, x_weight), (y_group, y_weight)))
    x_own, y_own = (w / np.sum(w) * s[g] for w, s, g in ((x_weight, p, x_group), (y_weight, q, y_group)))
    weights, gram = _gram((x, x_weight, x_own, blocks.reference), (y, y_weight, y_own, blocks.generated), count)
    contrasts = Contrasts(weights[0], weights[1], blocks.paired)
    inner = gram[: 2 * count, : 2 * count]
    plain = float(contrasts.difference @ inner @ contrasts.difference)
    error = contrasts.jackknife_error(inner)
    null = SignNull(contrasts.units @ inner @ contrasts.units.T)
    draws = null.draws(replicas, np.random.default_rng([seed, 1]))

    # Rows of the Gram matrix: K blocks of x, K of y, then the sums of w_g a_g of either sample.
    ends = np.zeros((2, 2 * count + 2))
    ends[0, :count], ends[1, count:-2] = -contrasts.difference[:count], contrasts.difference[count:]
    own = np.eye(2 * count + 2)[-2:]
    if blocks.paired:
        joined = np.concatenate([x, y]), np.concatenate([-x_weight / x_weight.sum(), y_weight / y_weight.sum()])
        pairs = _pairs(*joined, np.concatenate([x_group, y_group]))
        parts = [(pairs, own[1] - own[0], ends[1] - ends[0], float(p @ q))]
    else:
        parts = [
            (_pairs(x, x_weight / x_weight.sum(), x_group), own[0], ends[0], float(p @ p)),
            (_pairs(y, y_weight / y_weight.sum(), y_group), own[1], ends[1], float(q @ q)),
        ]
    scatters = [_scatter(pairs, s, mean, share, gram) for pairs, s, mean, share in parts if pairs is not None]
    by_block = len(scatters) < len(parts)
    bias = null.bias if by_block else sum(scatters)
    rounding = 1e-13 * float(np.einsum("si,ij,sj->", ends, gram, ends))
    return KernelEstimate(null.quantity(plain - bias, error, draws, rounding), plain, bias, draws, by_block)


def _gram(
    x: tuple[FloatArray, FloatArray, FloatArray, IntArray],
    y: tuple[FloatArray, FloatArray, FloatArray, IntArray],
    count: int,
) -> tuple[list[FloatArray], FloatArray]:
    """Sums of weights by block, (K,) each, and scalar products of the block sums and own sums, (2K + 2, 2K + 2)."""
    width = x[0].shape[1]
    if fits_tensors(width):
        weights, sums, owns = [], [], []
        for rows, weight, own, block in (x, y):
            tensors = BlockTensors(count, width)
            tensors.add(rows, block, None if np.all(weight == 1.0) else weight)
            weights.append(tensors.weight)
            sums.append(tensors.sums)
            ratio = float(np.sum(own) / np.sum(weight))
            proportional = bool(np.all(np.abs(own - ratio * weight) <= 1e-12 * np.abs(own).max()))
            owns.append(ratio * tensors.sums.sum(axis=0) if proportional else tensors.kernel.sum(rows, own))
        stacked = np.concatenate([*sums, owns])
        return weights, stacked @ stacked.T
    rows = np.concatenate([x[0], y[0]])
    columns = np.zeros((len(rows), 2 * count + 2))
    n = len(x[0])
    weights = []
    for side, part, (_, weight, own, block) in ((0, slice(0, n), x), (1, slice(n, None), y)):
        columns[part][np.arange(len(weight)), side * count + block] = weight
        columns[part, 2 * count + side] = own
        weights.append(np.bincount(block, weight, count).astype(np.float64))
    return weights, dense_sums(rows, columns)


def _pairs(rows: FloatArray, coefficient: FloatArray, group: IntArray) -> float | None:
    """Sum of c_i c_j k(x_i, x_j) over pairs of rows of one group, equal rows included; None if there are too many."""
    sizes = np.bincount(group)
    if np.sum(sizes.astype(np.float64) ** 2) > _MOST_PAIRS + len(rows):
        return None
    total = float(np.sum(coefficient**2 * quartic(rows, rows)))
    if sizes.max() == 1:
        return total
    order = np.argsort(group, kind="stable")
    group, rows, coefficient = group[order], rows[order], coefficient[order]
    for step in range(1, int(sizes.max())):
        same = np.flatnonzero(group[step:] == group[:-step])
        kernel = quartic(rows[same], rows[same + step])
        total += 2 * float(np.sum(coefficient[same] * coefficient[same + step] * kernel))
    return total


def _scatter(pairs: float, own: FloatArray, mean: FloatArray, share: float, gram: FloatArray) -> float:
    """Sum over groups of the squared influence."""
    if share >= 1:
        msg = (
            f"the weights of a sample have an effective size of {1 / share:.2g} groups, expected several; compare more"
        )
        raise DataError(msg)
    return float((pairs - 2 * own @ gram @ mean + share * mean @ gram @ mean) / (1 - share))


def kernel_metric(
    reference: Sample, generated: Sample, options: KernelDistanceOptions, *, seed: int
) -> list[MetricResult]:
    """Kernel distance of vectors of features, see `kernel_distance` and `estimate_kernel`.

    The features are scaled by the reference. With paired samples the common part of the fluctuations cancels in value,
    error and null. In the mode ``calochallenge`` value and error are those of `calochallenge_kpd`; their null has the
    bias that the estimator keeps and its noise.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `KernelDistanceOptions`.
    seed
        Seed of the blocks and of the null. The mode ``calochallenge`` draws its batches with the published seeds.

    Returns
    -------
    list of MetricResult
        One result. Quantity: `kpd`. Details: ``features`` (names), ``scaling``, ``mode``, ``plain`` (bias included),
        ``bias`` (of plain, in the null), ``thinned`` (whether only some rows were used, see ``dense_rows``), ``null``
        (histogram of draws: ``edges``, ``density``).

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        A sample has fewer than 4 groups; or, in the mode ``calochallenge``, too few rows or unequal weights.
    """
    whole = vectors_of(reference, generated, NAME, options.fields, options.conditions, options.unit)
    names = whole.features.names
    rng = np.random.default_rng([seed, 0])
    used = whole
    if not fits_tensors(len(names)):
        used = replace(whole, comparison=_thinned(whole.comparison, options.dense_rows, rng))
    comparison = used.comparison
    with told_by(NAME):
        blocks = blocks_of(comparison, options.blocks, rng)
        groups = comparison.reference_group, comparison.generated_group
        found = estimate_kernel(*used.rows, *used.weights, *groups, blocks, options.replicas, seed)
        quantity, shown = found.kpd, found.draws
        if options.mode == "calochallenge":
            require_equal(*whole.weights)
            value, spread = calochallenge_kpd(*whole.rows, batches=_BATCHES, batch_size=options.batch_size)
            # The bias and the fluctuations of the samples fall as the number of rows.
            shown = (found.draws + found.bias) * len(comparison.reference) / len(whole.comparison.reference)
            quantity = biased_quantity(value, spread, _MEDIAN * spread / np.sqrt(_BATCHES), shown, seed)
    details: dict[str, Any] = {
        **comparison.describe(),
        "features": list(names),
        "scaling": options.unit,
        "mode": options.mode,
        "plain": found.plain,
        "bias": found.bias,
        "thinned": comparison is not whole.comparison,
        "null": draws_histogram(shown),
        "caption": f"Kernel distance of {len(names)} features ({options.unit} scaling).",
    }
    on = ", ".join(options.fields) or "all responses"
    return [MetricResult(NAME, on, "kpd", {"kpd": quantity}, details, fields=options.fields)]


def _thinned(comparison: Comparison, rows: int, rng: np.random.Generator) -> Comparison:
    """About so many rows of each sample, whole groups."""
    most = max(len(comparison.reference_group), len(comparison.generated_group))
    if most <= rows:
        return comparison
    chance = rng.random(comparison.groups)
    shares = [rows / len(group) for group in (comparison.reference_group, comparison.generated_group)]
    return comparison.select(
        chance[comparison.reference_group] < shares[0], chance[comparison.generated_group] < shares[1]
    )


METRIC = Metric(NAME, KernelDistanceOptions, kernel_metric, ("kpd",), "distances")
