"""Two samples along one direction: distances, and the cumulative distributions of blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.distances.blocks import Blocks, by_block

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]

_NODES: Final = 64
_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Slice:
    """One direction.

    Attributes
    ----------
    w1, energy, unbiased
        First Wasserstein distance; energy distance, of the samples as they are and without pairs of equal rows. The
        last is right for independent rows of equal weights only.
    sums, widths
        Sums of weights of each block (those of x first) up to each of B nodes, shape (2K, B), and the interval that
        each node stands for, shape (B,).
    """

    w1: float
    energy: float
    unbiased: float
    sums: FloatArray
    widths: FloatArray


class SortedSlices:
    """Equal weights, equally many rows: three sorts a direction."""

    def __init__(self, x_weight: FloatArray, y_weight: FloatArray, blocks: Blocks) -> None:
        n = len(x_weight)
        self._rank = 2.0 * np.arange(n) - n + 1
        self._joint = 2.0 * np.arange(2 * n) - 2 * n + 1
        self._parts = []
        for block, weight in ((blocks.reference, x_weight[0]), (blocks.generated, y_weight[0])):
            order, starts = by_block(block, blocks.count)
            self._parts.append((order, starts, float(weight)))

    def one(self, a: SingleArray, b: SingleArray) -> Slice:
        """Slice of projections of shapes (n,) and (n,)."""
        n = len(a)
        first, second, both = np.sort(a), np.sort(b), np.sort(np.concatenate([a, b]))
        w1 = float(np.mean(np.abs(first - second), dtype=np.float64))
        within = [2 * float(self._rank @ z.astype(np.float64)) for z in (first, second)]
        values = both.astype(np.float64)
        cross = 2 * float(self._joint @ values) - sum(within)
        at, widths = _nodes(values)
        nodes, sums = both[at], []
        for z, (order, starts, weight) in zip((a, b), self._parts, strict=True):
            dealt = z[order]
            for low, high in pairwise(starts):
                sums.append(weight * np.searchsorted(np.sort(dealt[low:high]), nodes, side="right"))
        return Slice(
            w1,
            max((cross - sum(within)) / n**2, 0.0),
            cross / n**2 - sum(within) / (n * (n - 1.0)),
            np.array(sums, dtype=np.float64),
            widths,
        )


class SteppedSlices:
    """Any weights: one sort with its order a direction, and the steps of the cumulative distributions."""

    def __init__(self, x_weight: FloatArray, y_weight: FloatArray, blocks: Blocks) -> None:
        self._weight = np.concatenate([x_weight, y_weight])
        self._step = np.concatenate([x_weight / np.sum(x_weight), -y_weight / np.sum(y_weight)])
        self._row = np.concatenate([blocks.reference, blocks.count + blocks.generated])
        self._count = 2 * blocks.count

    def one(self, a: FloatArray, b: FloatArray) -> Slice:
        """Slice of projections of shapes (n,) and (m,)."""
        values = np.concatenate([a, b])
        order = np.argsort(values)
        values = values[order]
        path = np.cumsum(self._step[order])[:-1]
        # What cancels exactly leaves rounding behind.
        path[np.abs(path) < 1e-12] = 0.0
        gaps = np.diff(values)
        at, widths = _nodes(values)
        # The last row that is not above the node, so that equal values stay together.
        last = np.searchsorted(values, values[at], side="right")
        cell = np.repeat(np.arange(len(at) + 1), np.diff(np.concatenate([[0], last, [len(values)]])))
        shape = (self._count, len(at) + 1)
        flat = np.bincount(self._row[order] * shape[1] + cell, self._weight[order], shape[0] * shape[1])
        energy = 2 * float(np.square(path) @ gaps)
        return Slice(
            float(np.abs(path) @ gaps),
            energy,
            energy,
            np.cumsum(flat.reshape(shape).astype(np.float64), axis=1)[:, :-1],
            widths,
        )


def _nodes(values: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Positions among the sorted values at which distributions are read, and the interval that each stands for."""
    count = min(_NODES, len(values))
    share = 0.5 * (1 - np.cos(np.pi * (np.arange(count) + 0.5) / count))
    at = np.minimum((share * len(values)).astype(np.intp), len(values) - 1)
    nodes = values[at]
    edges = np.concatenate([values[:1], 0.5 * (nodes[1:] + nodes[:-1]), values[-1:]])
    return at, np.diff(edges)


def projections(
    x: FloatArray, y: FloatArray, directions: FloatArray, kind: type[np.floating[Any]]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Projections of both samples, a few directions at once so that memory stays bounded."""
    ours, theirs = np.ascontiguousarray(x.T, dtype=kind), np.ascontiguousarray(y.T, dtype=kind)
    for start in range(0, len(directions), _AT_ONCE):
        some = directions[start : start + _AT_ONCE].astype(kind)
        yield from zip(some @ ours, some @ theirs, strict=True)
