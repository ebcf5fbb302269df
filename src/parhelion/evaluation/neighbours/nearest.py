"""Nearest neighbours in bounded memory, and the rows of equal weight that neighbourhoods need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from parhelion import noise
from parhelion.errors import DataError, ShapeError
from parhelion.evaluation.samples.vectors import Vectors
from parhelion.evaluation.statistics.regressed_weights import regressed_weight
from parhelion.weights import summarise

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# A k-d tree visits nearly every row in more dimensions than these, at a higher price than a matrix product.
_TREE_DIMENSIONS = 6
_BLOCK = 1 << 23
_FEW = 4
_LOST_WEIGHT = 1e-3
_EQUAL = 1e-5
_JITTER = 1e-5
# Smooth rather than sharp: the noise of the regression looks like a difference between two samples.
_REGRESSION_TREES, _REGRESSION_LEAF, _REGRESSION_LEAVES = 30, 100, 20
# Of the effective size: with more rows than this the regression's noise shows beside that of the rows.
_SIGNED_SHARE = 0.5


def nearest(
    queries: npt.ArrayLike, rows: npt.ArrayLike, k: int = 1, *, exclude_self: bool = False
) -> tuple[FloatArray, IntArray]:
    """Euclidean distances to the k nearest rows, in ascending order, and which they are.

    In up to 6 dimensions a k-d tree finds them. Above, they are looked for with matrix products of single precision
    in blocks, O(n m d) operations and 32 MiB of memory; k + 1 candidates are measured again in double precision, so
    that the distance to a copy is 0 and not the rounding of |x|^2. A neighbour may be missed for one whose squared
    distance is larger by at most about 1e-6 of the squared spread of the rows.

    Parameters
    ----------
    queries, rows
        Shapes (n, d) and (m, d), on comparable scales.
    k
        Number of neighbours; at most m (m - 1 with `exclude_self`).
    exclude_self
        Queries and rows are the same points, and none is its own neighbour.

    Returns
    -------
    tuple of ndarray
        Distances and indices into `rows`, shape (n, k) each.

    Raises
    ------
    ShapeError
        The arrays do not have the same number of columns, or none.
    DataError
        There are fewer than k neighbours to find.
    """
    q, x = _matrix(queries), _matrix(rows)
    if q.shape[1] != x.shape[1] or x.shape[1] == 0:
        msg = f"nearest: queries have shape {q.shape} and rows {x.shape}, expected (n, d) and (m, d) with d at least 1"
        raise ShapeError(msg)
    available = len(x) - exclude_self
    if not 1 <= k <= available:
        msg = f"nearest: {k} neighbours wanted among {available} rows; expected at least one and no more than there are"
        raise DataError(msg)
    wanted = k + exclude_self
    found = _by_tree(q, x, wanted) if x.shape[1] <= _TREE_DIMENSIONS else _by_blocks(q, x, wanted)
    if not exclude_self:
        return found
    distance, index = found
    # A row need not come first among rows at its own place, and may not even be listed.
    own = index == np.arange(len(q))[:, None]
    own[~own.any(axis=1), -1] = True
    return distance[~own].reshape(len(q), k), index[~own].reshape(len(q), k)


def squared_distances(queries: FloatArray, rows: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Squared Euclidean distances in blocks of queries: which rows of `queries`, and shape (block, m) for them.

    Double precision by |x|^2 + |y|^2 - 2 x.y, which leaves about 1e-15 of the largest |x|^2. The array is used again
    for the next block.
    """
    half = 0.5 * np.einsum("ij,ij->i", rows, rows)
    step = max(1, _BLOCK // (2 * max(len(rows), 1)))
    buffer = np.empty((min(step, len(queries)), len(rows)))
    for start in range(0, len(queries), step):
        part = slice(start, min(start + step, len(queries)))
        block = buffer[: part.stop - part.start]
        np.matmul(queries[part], -rows.T, out=block)
        block += half
        block *= 2.0
        block += np.einsum("ij,ij->i", queries[part], queries[part])[:, None]
        np.maximum(block, 0.0, out=block)
        yield part, block


@dataclass(frozen=True)
class EqualRows:
    """Rows of weight 1 that stand for two weighted samples, equally many of each.

    Attributes
    ----------
    reference, generated
        Features with a random jitter of 1e-5, shape (n, d) each: values that many rows share (zeros, equalities)
        become a small cloud in both samples, so that no two distances are equal.
    reference_group, generated_group
        Group of each row, shape (n,) each.
    """

    reference: FloatArray
    generated: FloatArray
    reference_group: IntArray
    generated_group: IntArray

    @property
    def pooled(self) -> FloatArray:
        """Rows of both, reference first, shape (2 n, d)."""
        return np.concatenate([self.reference, self.generated])

    @property
    def pooled_group(self) -> IntArray:
        """Groups of both, numbered from 0 without gaps, shape (2 n,)."""
        _, dense = np.unique(np.concatenate([self.reference_group, self.generated_group]), return_inverse=True)
        return dense.astype(np.int64)


class Thinning:
    """Thins two weighted samples to rows of equal weight, as they are and with their labels exchanged.

    Neighbourhoods and log-likelihoods know no negative rows. A row is kept with a probability in proportion to its
    weight; what exceeds the weight above which lies a thousandth of the total is cut. Where a sample has negative
    weights, the conditional mean of the weight given the features takes their place, regressed by boosted trees and
    cut at 0 (Borisyak & Kazeev, arXiv:1905.11719, section 3): density times conditional mean is the density that the
    signed weights stand for, as far as the trees resolve it; no more rows than half the effective size are kept
    then, so that the noise of the regression stays below that of the rows. Equal weights keep all rows.

    Parameters
    ----------
    vectors
        The samples, and what their rows are as vectors.
    metric
        Its name, for messages.
    rows
        Most rows of each sample, chosen by hash of the group.
    least
        Fewest rows that the metric can do with.
    seed
        Seed of the choice of rows.
    """

    def __init__(self, vectors: Vectors, metric: str, *, rows: int, least: int, seed: int) -> None:
        comparison = vectors.comparison
        self._paired = comparison.paired
        samples = (comparison.reference, comparison.generated)
        self._matrix = np.concatenate(vectors.rows)
        self._weight = np.concatenate([sample.weight / np.mean(sample.weight) for sample in samples])
        self._group = np.concatenate([comparison.reference_group, comparison.generated_group])
        self._label = np.arange(len(self._group)) < len(comparison.reference)
        keys = [sample.group for sample in samples]
        self._place = noise.uniform(seed, np.concatenate(keys), 1, stage=3)[:, 0]
        # Rows of one event share their number, so that pairs of positive weight stay together.
        events = [sample.event_id for sample in samples] if comparison.paired else [np.arange(len(self._group))]
        self._chance = noise.uniform(seed, np.concatenate(events), 1, stage=2)[:, 0]
        self._metric, self._rows, self._least = metric, rows, least

    @property
    def signed(self) -> bool:
        """Whether there are negative weights."""
        return bool(np.any(self._weight < 0))

    @property
    def thinned(self) -> bool:
        """Whether weights are not all equal, so that rows are dropped for their sake."""
        return any(_unequal(self._weight[part]) for part in (self._label, ~self._label))

    def rows(self, rng: np.random.Generator) -> EqualRows:
        """Rows of the two samples.

        Raises
        ------
        DataError
            Fewer rows than `least` are left.
        """
        return self._thin(self._label, rng)

    def null_rows(self, replicas: int, rng: np.random.Generator) -> Iterator[EqualRows]:
        """Yield rows of samples that do not differ: labels exchanged by group, weights regressed and rows thinned anew.

        Raises
        ------
        DataError
            Fewer rows than `least` are left.
        """
        for label in exchanges(self._label, self._group, self._paired, replicas, rng):
            yield self._thin(label, rng)

    def _thin(self, label: BoolArray, rng: np.random.Generator) -> EqualRows:
        chosen = []
        count = self._rows
        for part in (np.flatnonzero(label), np.flatnonzero(~label)):
            weight = self._weight[part]
            kept = part
            if len(part) and _unequal(weight):
                chance = _acceptance(self._matrix[part], weight, rng)
                kept = part[self._chance[part] < chance]
            if np.any(weight < 0):
                count = min(count, int(_SIGNED_SHARE * summarise(weight).effective))
            count = min(count, len(kept))
            chosen.append(kept[np.argsort(self._place[kept], kind="stable")])
        if count < self._least:
            msg = (
                f"metric {self._metric}: {count} rows of equal weight are left of {int(np.sum(label))} reference and "
                f"{int(np.sum(~label))} generated rows, expected at least {self._least}; give larger samples"
            )
            raise DataError(msg)
        first, second = (part[:count] for part in chosen)
        shape = (count, self._matrix.shape[1])
        return EqualRows(
            self._matrix[first] + _JITTER * rng.standard_normal(shape),
            self._matrix[second] + _JITTER * rng.standard_normal(shape),
            self._group[first],
            self._group[second],
        )


def exchanges(
    label: BoolArray, group: IntArray, paired: bool, replicas: int, rng: np.random.Generator
) -> Iterator[BoolArray]:
    """Yield labels of pooled rows, shape (N,), where the samples do not differ.

    Parameters
    ----------
    label
        Which rows are of the reference, shape (N,).
    group
        Group of each row, numbered from 0 without gaps, shape (N,).
    paired
        Exchange the two sides of each group at random; otherwise groups are dealt out anew, as many rows to the
        reference as it has, up to the size of a group.
    replicas, rng
        How many, and from what.
    """
    sizes, rows = np.bincount(group), int(np.sum(label))
    for _ in range(replicas):
        if paired:
            yield label ^ rng.integers(0, 2, size=len(sizes)).astype(bool)[group]
            continue
        order = rng.permutation(len(sizes))
        chosen = np.zeros(len(sizes), dtype=bool)
        chosen[order[np.cumsum(sizes[order]) <= rows]] = True
        yield chosen[group]


def group_error(influence: FloatArray, group: IntArray) -> float:
    """Standard error from the rows' influences, shape (n,), summed within groups first."""
    return float(np.sqrt(np.sum(np.bincount(group, influence) ** 2)))


def _unequal(weight: FloatArray) -> bool:
    return bool(np.ptp(weight) > _EQUAL * np.max(np.abs(weight)))


def _acceptance(matrix: FloatArray, weight: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Probability to keep each row, up to more than 1, shape (n,)."""
    if np.any(weight < 0):
        leaf = max(_REGRESSION_LEAF, len(weight) // _REGRESSION_LEAVES)
        seed = int(rng.integers(2**31))
        weight = regressed_weight(matrix, weight, trees=_REGRESSION_TREES, min_leaf=leaf, seed=seed)
    descending = np.sort(weight)[::-1]
    # Weight above each row's level, from the heaviest row down.
    above = np.cumsum(descending) - np.arange(1, len(weight) + 1) * descending
    level = descending[np.flatnonzero(above <= _LOST_WEIGHT * np.sum(weight))[-1]]
    return weight / level if level > 0 else np.zeros_like(weight)


def _matrix(values: npt.ArrayLike) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2:
        msg = f"nearest: expected rows of shape (n, d), got {found.shape}"
        raise ShapeError(msg)
    return found


def _by_tree(q: FloatArray, x: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
    distance, index = cKDTree(x).query(q, k=np.arange(1, k + 1))
    return distance, index


def _by_blocks(q: FloatArray, x: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
    n, m = len(q), len(x)
    candidates = min(k + 1, m)
    centre = np.mean(x, axis=0)
    queries, rows = (q - centre).astype(np.float32), (x - centre).astype(np.float32)
    half = 0.5 * np.einsum("ij,ij->i", rows, rows)
    step = max(1, _BLOCK // m)
    buffer = np.empty((min(step, n), m), dtype=np.float32)
    distance, index = np.empty((n, k)), np.empty((n, k), dtype=np.int64)
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        block = buffer[: part.stop - part.start]
        # The query's own |x|^2 changes no order.
        np.matmul(queries[part], rows.T, out=block)
        np.subtract(half, block, out=block)
        near = _smallest(block, candidates)
        exact = np.sqrt(np.sum((x[near] - q[part, None]) ** 2, axis=2))
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        distance[part] = np.take_along_axis(exact, order, axis=1)
        index[part] = np.take_along_axis(near, order, axis=1)
    return distance, index


def _smallest(block: npt.NDArray[np.float32], count: int) -> IntArray:
    """Indices of the smallest entries of each row, shape (rows, count); the block is written to."""
    if count > _FEW:
        return np.argpartition(block, count - 1, axis=1)[:, :count]
    found = np.empty((len(block), count), dtype=np.int64)
    row = np.arange(len(block))
    for j in range(count):
        found[:, j] = np.argmin(block, axis=1)
        block[row, found[:, j]] = np.inf
    return found
