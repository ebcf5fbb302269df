"""Signed weights made non-negative without moving weight far, and thinning of weighted rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_FIRST_CELL = 8
_QUERY = 1 << 22


def positive_weights(position: FloatArray, weight: FloatArray, group: IntArray) -> FloatArray:
    """Cell resampling (Andersen and Maier, arXiv:2109.07851, section 2): non-negative weights for the same density.

    Each row of negative weight, the most negative first, is the seed of a cell that grows by the seed's nearest rows
    until its sum of weights is not negative. The rows of a cell then share its sum in proportion to their absolute
    weights. Sums over any region larger than the cells stay as they were, and the total weight of a group stays exact;
    a group whose total is negative gets no weight.

    Parameters
    ----------
    position
        Conditions and responses on comparable scales, shape (n, m): the space in which rows are near or far.
    weight
        Signed weights, shape (n,).
    group
        Shape (n,): cells stay within a group (category, pattern).

    Returns
    -------
    ndarray
        Weights, shape (n,), not negative.
    """
    out = np.array(weight, dtype=np.float64)
    for g in np.unique(group[weight < 0]):
        rows = np.flatnonzero(group == g)
        out[rows] = _group_weights(position[rows], out[rows])
    return out


def _group_weights(position: FloatArray, weight: FloatArray) -> FloatArray:
    if not weight.sum() > 0:
        return np.zeros_like(weight)
    w = weight.copy()
    seeds = np.flatnonzero(w < 0)
    seeds = seeds[np.argsort(w[seeds], kind="stable")]
    tree = cKDTree(position)
    size = min(_FIRST_CELL, len(w))
    while len(seeds):
        step = max(1, _QUERY // size)
        failed = [_fill_cells(tree, w, seeds[start : start + step], size) for start in range(0, len(seeds), step)]
        seeds = np.concatenate(failed)
        if size == len(w):
            break
        size = min(4 * size, len(w))
    # What is left below 0 is the rounding of sums.
    return np.maximum(w, 0.0)


def _fill_cells(tree: cKDTree, w: FloatArray, seeds: IntArray, size: int) -> IntArray:
    """Make weights `w` positive in place in cells of at most `size` rows; return the seeds that need larger ones."""
    failed: list[int] = []
    for seed, near in zip(seeds.tolist(), tree.query(tree.data[seeds], k=np.arange(1, size + 1))[1], strict=True):
        if w[seed] >= 0:
            continue
        # Rows at the very position of the seed may come before it.
        cell = np.concatenate([[seed], near[near != seed]])[:size]
        running = np.cumsum(w[cell])
        enough = np.flatnonzero(running >= 0)
        if not len(enough):
            failed.append(seed)
            continue
        cell = cell[: enough[0] + 1]
        absolute = np.abs(w[cell])
        w[cell] = absolute * (running[enough[0]] / absolute.sum())
    return np.array(failed, dtype=np.int64)


def threshold_sample(weight: FloatArray, rows: int | None, *, seed: int) -> tuple[IntArray, FloatArray]:
    """Keep about `rows` weighted rows so that every weighted sum keeps its expectation.

    Row i is kept with probability min(1, w_i / t) and then has weight max(w_i, t), with t such that `rows` are
    expected (Duffield, Lund, Thorup, J. ACM 54 (2007) 32); one uniform number places all draws (systematic sampling).

    Parameters
    ----------
    weight
        Non-negative weights, shape (n,).
    rows
        How many to keep; none: all rows of positive weight.
    seed
        Seed of the draw.

    Returns
    -------
    tuple of ndarray
        Rows kept, ascending, and their weights.
    """
    positive = np.flatnonzero(weight > 0)
    if rows is None or rows >= len(positive):
        return positive, weight[positive]
    w = weight[positive]
    descending = np.sort(w)[::-1]
    # With the h heaviest rows certain, the others share rows - h places.
    rest = np.cumsum(descending[::-1])[::-1][:rows]
    levels = rest / (rows - np.arange(rows))
    t = float(levels[np.flatnonzero(descending[:rows] <= levels * (1 + 1e-12))[0]])
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(w))
    place = generator.uniform() + np.concatenate([[0.0], np.cumsum(np.minimum(1.0, w[order] / t))])
    kept = np.sort(order[np.diff(np.floor(place)) > 0])
    return positive[kept], np.maximum(w[kept], t)
