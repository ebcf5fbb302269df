"""Difference of two cumulative distributions: Wasserstein, Kolmogorov-Smirnov and energy distance with their nulls.

All three are functions of the path D(t) = F(t) - G(t), so one sort and one set of random signs serve them:

- w1 = int |D| dt;
- ks = max |D|, read after the last of equal values;
- energy = 2 int D^2 dt less its expectation from finite samples (Szekely & Rizzo 2013, J. Stat. Plan. Inference 143).

Write D = sum_g h_g with h_g the influence of group g, each row centred by its own sample's distribution. A draw of the
null is sum_g s_g h_g with random signs (see `comparison`). Finite samples alone give 2 int D^2 the expectation
sum_g 2 int h_g^2, the diagonal, which is subtracted. For unit weights this is the U-statistic, the mean over pairs of
different rows. For weights that depend on x, as sWeights do, leaving out pairs of equal rows does not remove the bias:
the rows' variance follows sum w^2, which is distributed unlike sum w, and the diagonal of h_g accounts for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.results.result import NAN
from parhelion.evaluation.statistics.one_dimensional import checked_rows

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CdfDistances:
    """Distances in each of k cells; shapes (k,), or (replicas, k) for draws. Units: that of x, none for ks."""

    w1: FloatArray
    ks: FloatArray
    energy: FloatArray


class CdfDifference:
    """Difference of the cumulative distributions of x and y in each of some cells.

    Parameters
    ----------
    x, y
        Values, shapes (n,) and (m,).
    x_weight, y_weight
        Signed weights with a positive sum in each cell, same shapes; ones if not given.
    x_group, y_group
        Integers from 0: rows of one group are not independent, and a group in both samples pairs them. Each row is
        its own group if not given.
    x_cell, y_cell
        Cell of each row, 0 to cells - 1; each cell has rows of both. One cell if not given.

    Attributes
    ----------
    cells, groups
        Number of cells, and of groups in all.
    path
        D after each value, shape (n + m,), sorted by cell and value.

    Raises
    ------
    DataError
        An array has a wrong shape or values that are not finite, or weights have no positive sum.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        x_weight: npt.ArrayLike | None = None,
        y_weight: npt.ArrayLike | None = None,
        *,
        x_group: IntArray | None = None,
        y_group: IntArray | None = None,
        x_cell: IntArray | None = None,
        y_cell: IntArray | None = None,
    ) -> None:
        a, w = checked_rows(x, x_weight, "x")
        b, v = checked_rows(y, y_weight, "y")
        n, m = len(a), len(b)
        cell = np.zeros(n + m, np.int64) if x_cell is None or y_cell is None else np.concatenate([x_cell, y_cell])
        group = np.arange(n + m) if x_group is None or y_group is None else np.concatenate([x_group, y_group])
        self.cells, self.groups = int(cell.max()) + 1, int(group.max()) + 1
        totals = np.bincount(cell[:n], w, self.cells), np.bincount(cell[n:], v, self.cells)
        steps = np.concatenate([w / totals[0][cell[:n]], -v / totals[1][cell[n:]]])
        values = np.concatenate([a, b])
        order = np.lexsort((values, cell)) if self.cells > 1 else np.argsort(values, kind="stable")
        self._values, self._steps, self._cell, self._group = values[order], steps[order], cell[order], group[order]
        self._first = order < n
        self._starts = np.searchsorted(self._cell, np.arange(self.cells))
        last = np.append(np.diff(self._cell) > 0, True)
        ahead = np.append(self._values[1:], 0.0)
        self._gaps = np.where(last, 0.0, ahead - self._values)
        # Equal values are one step of the distribution: its height between them is not to be read.
        self._ends = np.flatnonzero(last | (self._gaps > 0))
        self._end_starts = np.searchsorted(self._ends, self._starts)
        ours = np.where(self._first, self._steps, 0.0)
        self._ours = self._running(ours)
        self._theirs = self._running(ours - self._steps)
        # Not the difference of the two, in which rounding of large sums would stay.
        self.path = self._running(self._steps)
        self._range = np.add.reduceat(self._gaps, self._starts)
        self._noise = 1e-13 * np.add.reduceat(np.abs(self._steps), self._starts)

    @property
    def bias(self) -> FloatArray:
        """What finite samples add to 2 int D^2 dt in each cell, shape (k,); NaN in a cell of a single group."""
        return self._diagonals[1]

    def measured(self) -> CdfDistances:
        """The distances, shape (k,) each; energy is NaN in a cell of a single group."""
        w1, ks, square = self.read(self.path.copy())
        # What cancels leaves rounding behind, which must not pass for a distance.
        w1, ks = (np.where(d > self._noise * r, d, 0.0) for d, r in ((w1, self._range), (ks, 1.0)))
        square = np.where(square > self._noise**2 * self._range, square, 0.0)
        return CdfDistances(w1, ks, 2 * square - self.bias)

    def null(self, replicas: int, rng: np.random.Generator) -> tuple[CdfDistances, CdfDistances, FloatArray]:
        """Draw from the null.

        Parameters
        ----------
        replicas
            Number of draws.
        rng
            Source of the signs.

        Returns
        -------
        tuple
            Draws in the null, shape (replicas, k); the distances of the measured path plus these draws, whose spread
            is a standard error of w1 and ks; and the standard error of the energy distance, shape (k,), with
            Var = Var_0 + max(Var_1 - 2 Var_0, 0): Var_0 that of the draws, Var_1 that of 4 int D dD dt, of which
            2 Var_0 is the noise of D itself.
        """
        null, near = np.empty((2, 3, replicas, self.cells))
        slope = np.empty((replicas, self.cells))
        weighted, product = 4 * self.path * self._gaps, np.empty_like(self.path)
        for index, path in enumerate(self.draws(self._signs(replicas, rng))):
            np.multiply(weighted, path, out=product)
            slope[index] = self._sum(product)
            np.add(self.path, path, out=product)
            near[:, index] = self.read(product)
            null[:, index] = self.read(path)
        diagonal, bias = self._diagonals
        scale = np.divide(bias, diagonal, out=np.ones(self.cells), where=diagonal > 0)
        null[2] = (2 * null[2] - diagonal) * scale
        near[2] = 2 * near[2] - diagonal - bias
        own, linear = np.var(null[2], axis=0, ddof=1), np.var(slope, axis=0, ddof=1)
        return CdfDistances(*null), CdfDistances(*near), np.sqrt(own + np.maximum(linear - 2 * own, 0.0))

    def _signs(self, replicas: int, rng: np.random.Generator) -> Iterator[FloatArray]:
        for _ in range(replicas):
            bits = np.unpackbits(np.frombuffer(rng.bytes(-(-self.groups // 8)), np.uint8), count=self.groups)
            yield 2.0 * bits.astype(np.float64) - 1.0

    def draws(self, signs: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Yield paths of the null, shape (n + m,), each in the same memory as the one before.

        Parameters
        ----------
        signs
            Random signs of the groups for each path, shape (groups,).
        """
        mine = self._first.astype(np.float64)
        # New memory for each step of each draw would take longer than the arithmetic.
        change, part, path = (np.empty_like(self._steps) for _ in range(3))
        for drawn in signs:
            np.take(drawn, self._group, out=change, mode="clip")
            change *= self._steps
            own = self._sum(np.multiply(change, mine, out=part))
            other = self._sum(change) - own
            # The part that would change the total of either sample is taken out again.
            np.cumsum(change, out=path)
            if self.cells > 1:
                path -= (np.cumsum(own + other) - own - other)[self._cell]
                own, other = own[self._cell], other[self._cell]
            path -= np.multiply(self._ours, own, out=part)
            path -= np.multiply(self._theirs, other, out=part)
            yield path

    def read(self, path: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """W1, ks and int D^2 dt of a path, shape (k,) each; the path is overwritten."""
        height = np.abs(path, out=path)
        if self.cells == 1:
            top = height.max() if len(self._ends) == len(height) else height[self._ends].max()
            area = height * self._gaps
            w1 = np.sum(area, keepdims=True)
            return w1, np.array([top]), np.sum(np.multiply(area, height, out=area), keepdims=True)
        tops = np.maximum.reduceat(height[self._ends], self._end_starts)
        area = height * self._gaps
        w1 = self._sum(area)
        area *= height
        return w1, tops, self._sum(area)

    def _sum(self, values: FloatArray) -> FloatArray:
        """Sums in each cell, shape (k,)."""
        return np.sum(values, keepdims=True) if self.cells == 1 else np.add.reduceat(values, self._starts)

    def _running(self, steps: FloatArray) -> FloatArray:
        """Cumulative sums within each cell."""
        total = np.cumsum(steps)
        if self.cells > 1:
            total -= (total - steps)[self._starts][self._cell]
        return total

    @cached_property
    def _diagonals(self) -> tuple[FloatArray, FloatArray]:
        """Sum over groups of 2 int h_g^2 in each cell, and the same with the correction for centring.

        With phi(a, b) the mean of |s - t| over two measures, 2 int h^2 = -phi(h, h) for a measure h of mass zero, and
        h_g = m_g - a_g F + b_g G, where m_g are the group's steps and a_g, b_g its share of either sample.
        """
        f, g, gaps, starts = self._ours, self._theirs, self._gaps, self._starts
        ff, fg, gg = (np.add.reduceat((p * (1 - q) + q * (1 - p)) * gaps, starts) for p, q in ((f, f), (f, g), (g, g)))
        pairs, key = np.unique(self._cell * self.groups + self._group, return_inverse=True)
        where, count = pairs // self.groups, len(pairs)
        rows = np.bincount(key, self._first, count), np.bincount(key, ~self._first, count)
        a = np.bincount(key, np.where(self._first, self._steps, 0.0), count)
        b = np.bincount(key, np.where(self._first, 0.0, -self._steps), count)
        with_f, with_g = (np.bincount(key, self._steps * self._distance_to(level), count) for level in (f, g))
        own = self._within(key, count) if count < len(key) else np.zeros(count)
        squares = -(own - 2 * a * with_f + 2 * b * with_g + a**2 * ff[where] - 2 * a * b * fg[where] + b**2 * gg[where])
        lost = [np.bincount(where, share**2, self.cells)[where] for share in (a, b)]
        alone = (rows[0] * lost[0] + rows[1] * lost[1]) / (rows[0] + rows[1])
        corrected = np.divide(squares, 1 - alone, out=np.full(count, NAN), where=alone < 1 - 1e-12)
        return (
            np.asarray(np.bincount(where, squares, self.cells), dtype=np.float64),
            np.asarray(np.bincount(where, corrected, self.cells), dtype=np.float64),
        )

    def _distance_to(self, level: FloatArray) -> FloatArray:
        """Mean distance of each value to the distribution with these levels, shape (n + m,)."""
        below, above = level * self._gaps, (1 - level) * self._gaps
        left, right = self._running(below) - below, self._running(above) - above
        return np.asarray(left - right + np.add.reduceat(above, self._starts)[self._cell], dtype=np.float64)

    def _within(self, key: IntArray, count: int) -> FloatArray:
        """phi(m_g, m_g) of each group, shape (count,): 2 sum over gaps of (mass below) (mass above)."""
        order = np.argsort(key, kind="stable")
        key, mass, values = key[order], self._steps[order], self._values[order]
        total = np.cumsum(mass)
        start = np.searchsorted(key, np.arange(count))
        below = total - (total - mass)[start][key]
        same = np.append(key[1:] == key[:-1], False)
        gap = np.where(same, np.append(values[1:], 0.0) - values, 0.0)
        above = np.bincount(key, mass, count)[key] - below
        return np.asarray(np.bincount(key, 2 * below * above * gap, count), dtype=np.float64)


def energy(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
) -> float:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| = 2 int (F - G)^2 dt of independent samples, without bias.

    In the unit of x; twice the Cramer distance, and the square of what scipy calls energy distance. The expectation
    that finite samples alone give it is subtracted (see the module's text), so equal distributions give 0 on average
    and single values below 0. For unit weights it is the U-statistic. NaN if a sample has a single row.

    Parameters
    ----------
    x, y
        Shapes (n,) and (m,).
    x_weight, y_weight
        Signed weights with positive sums, same shapes; ones if not given.

    Raises
    ------
    DataError
        An array has a wrong shape or values that are not finite, or weights have no positive sum.
    """
    if x_weight is not None or y_weight is not None or min(np.size(x), np.size(y)) < 2:
        return float(CdfDifference(x, y, x_weight, y_weight).measured().energy[0])
    a, b = (np.sort(checked_rows(values, None, name)[0]) for values, name in ((x, "x"), (y, "y")))
    # Differences do not depend on the origin, rounding does.
    centre = 0.5 * (a[len(a) // 2] + b[len(b) // 2])
    a, b = a - centre, b - centre
    n, m = len(a), len(b)
    # A stable sort merges two sorted parts in one pass.
    within, other, pooled = _pair_sum(a), _pair_sum(b), _pair_sum(np.sort(np.concatenate([a, b]), kind="stable"))
    return 2 * ((pooled - within - other) / (n * m) - within / (n * (n - 1)) - other / (m * (m - 1)))


def _pair_sum(ordered: FloatArray) -> float:
    """Sum of |x_i - x_j| over pairs of ascending values, shape (n,): sum_k (2 k - n + 1) x_k with k from 0."""
    return float((2.0 * np.arange(len(ordered)) - (len(ordered) - 1)) @ ordered)
