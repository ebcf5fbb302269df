"""Cells of equal true probability: quantiles, nested in several dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def unit_cells(unit: npt.ArrayLike, splits: Sequence[int]) -> IntArray:
    """Cells of equal true probability from coordinates in which true events are uniform and independent.

    Parameters
    ----------
    unit
        Coordinates in the unit cube, shape (n, d): cumulative probabilities in one dimension, a Rosenblatt transform
        in several.
    splits
        Equal parts of each coordinate, d numbers; there are their product of cells.

    Returns
    -------
    ndarray
        Number of the cell of each event, shape (n,).
    """
    u = np.asarray(unit, dtype=np.float64)
    require_splits(u, splits)
    cell = np.zeros(len(u), dtype=np.int64)
    for column, parts in zip(u.T, splits, strict=True):
        cell = cell * parts + np.clip((column * parts).astype(np.int64), 0, parts - 1)
    return cell


@dataclass(frozen=True)
class NestedQuantiles:
    """Cells of equal probability found from a large holdout: quantiles of the first coordinate, then, within each,
    quantiles of the second, and so on.

    Attributes
    ----------
    splits
        Parts of each coordinate.
    edges
        For each coordinate the inner edges, shape (cells before it, parts - 1).
    """

    splits: tuple[int, ...]
    edges: tuple[FloatArray, ...]

    @classmethod
    def of(cls, holdout: npt.ArrayLike, splits: Sequence[int]) -> NestedQuantiles:
        """Find the edges.

        Parameters
        ----------
        holdout
            True events, shape (n, d); 100 times as many as there are to judge, or more.
        splits
            Parts of each coordinate, d numbers.

        Raises
        ------
        DataError
            A cell would hold fewer than two events of the holdout.
        """
        points = np.asarray(holdout, dtype=np.float64)
        require_splits(points, splits)
        if len(points) < 2 * int(np.prod(splits)):
            msg = (
                f"quantiles: {len(points)} events of the holdout for {int(np.prod(splits))} cells, expected two a cell "
                "at least; use fewer cells or a larger holdout"
            )
            raise DataError(msg)
        cell, edges = np.zeros(len(points), dtype=np.int64), []
        before = 1
        for column, parts in zip(points.T, splits, strict=True):
            inner = np.empty((before, parts - 1))
            for number in range(before):
                inner[number] = np.quantile(column[cell == number], np.arange(1, parts) / parts)
            edges.append(inner)
            cell = cell * parts + _place(column, cell, inner)
            before *= parts
        return cls(tuple(splits), tuple(edges))

    def cell(self, points: npt.ArrayLike) -> IntArray:
        """Number of the cell of each event (n, d), shape (n,)."""
        x = np.asarray(points, dtype=np.float64)
        require_splits(x, self.splits)
        cell = np.zeros(len(x), dtype=np.int64)
        for column, parts, inner in zip(x.T, self.splits, self.edges, strict=True):
            cell = cell * parts + _place(column, cell, inner)
        return cell


def _place(column: FloatArray, cell: IntArray, inner: FloatArray) -> IntArray:
    found: IntArray = np.sum(column[:, None] > inner[cell], axis=1, dtype=np.int64)
    return found


def require_splits(points: FloatArray, splits: Sequence[int]) -> None:
    """Refuse points (n, d) that do not go with d numbers of parts.

    Raises
    ------
    DataError
        The shapes differ, or a number of parts is below 1.
    """
    if points.ndim != 2 or points.shape[1] != len(splits) or min(splits, default=0) < 1:
        msg = f"quantiles: splits {list(splits)} and points of shape {points.shape}, expected (n, {len(splits)})"
        raise DataError(msg)
