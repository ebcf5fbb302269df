"""Distances between the distributions of one number in two samples, class by class, with their joint null.

The numeric core of `sigma`, on arrays; signed weights everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, ShapeError
from parhelion.evaluation.bootstrap import random_signs

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Distance = Literal["energy", "w1"]

# What cancels in a difference of shares leaves rounding of this size.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ClassDistances:
    """Distances between two samples in each of C classes.

    Attributes
    ----------
    distance
        Shape (C,), in standard deviations of the reference in the class.
    scale
        These standard deviations, shape (C,), in the unit of the field.
    null
        Draws of the distances from the null, shape (replicas, C); a draw uses the same random signs for all classes,
        so that the null of their maximum is its maximum.
    draws
        Distances of the measured difference plus each draw of the null, shape (replicas, C): their spread is the
        error.
    """

    distance: FloatArray
    scale: FloatArray
    null: FloatArray
    draws: FloatArray

    @property
    def error(self) -> FloatArray:
        """Standard errors of the distances, shape (C,)."""
        found: FloatArray = np.std(self.draws, axis=0, ddof=1)
        return found


def class_distances(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_class: npt.ArrayLike,
    y_class: npt.ArrayLike,
    *,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
    x_group: npt.ArrayLike | None = None,
    y_group: npt.ArrayLike | None = None,
    distance: Distance = "energy",
    replicas: int = 100,
    seed: int = 0,
) -> ClassDistances:
    """Distances between reference and generated values in each class, with draws of their null.

    In a class with cumulative distributions F and G (of signed, normalised weights) and the standard deviation s of
    the reference, the distance is 2 int (F - G)^2 dt / s (energy distance; Szekely & Rizzo 2013) or
    int |F - G| dt / s (Wasserstein). Both are those of the empirical distributions, and so not 0 for samples of one
    law; the null tells how much. Where a class of the reference is constant, s is that of the whole reference, or 1.

    Parameters
    ----------
    x, y
        Reference and generated values, shapes (n,) and (m,).
    x_class, y_class
        Class 0 to C - 1 of each row; each class has rows and a positive sum of weights in both samples. A negative
        class leaves a row out.
    x_weight, y_weight
        Signed weights; ones if not given.
    x_group, y_group
        Non-negative integers. Rows of one group, of both samples, get one random sign; each row is its own group
        if not given.
    distance, replicas, seed
        Kind of distance, number of draws of the null, and their seed.

    Raises
    ------
    DataError
        A class has no positive sum of weights in one sample.
    ShapeError
        Arrays of one sample differ in length.
    """
    first = _rows(x, x_class, x_weight, x_group, "reference", 0)
    offset = int(first[3].max(initial=-1)) + 1 if y_group is None else 0
    second = _rows(y, y_class, y_weight, y_group, "generated", offset)
    classes = int(max(first[1].max(initial=-1), second[1].max(initial=-1))) + 1
    totals = [np.bincount(side[1], side[2], classes) for side in (first, second)]
    for side, total in zip(("reference", "generated"), totals, strict=True):
        if classes == 0 or not np.all(total > 0):
            lacking = int(np.argmin(total)) if classes else 0
            msg = f"class distances: class {lacking} has no positive sum of weights among the {side} rows; leave it out"
            raise DataError(msg)
    scale = _spreads(first[0], first[1], first[2], classes)
    steps = np.concatenate([first[2] / totals[0][first[1]], -second[2] / totals[1][second[1]]])
    paths = _Paths(
        np.concatenate([first[0], second[0]]),
        np.concatenate([first[1], second[1]]),
        steps,
        len(first[0]),
        np.concatenate([first[3], second[3]]),
    )
    rng = np.random.default_rng(seed)
    null, draws = np.empty((replicas, classes)), np.empty((replicas, classes))
    done = 0
    for signs in random_signs(paths.groups, replicas, rng):
        for column in signs.T:
            path = paths.signed(column)
            null[done] = paths.area(path, distance)
            draws[done] = paths.area(paths.measured + path, distance)
            done += 1
    return ClassDistances(paths.area(paths.measured, distance) / scale, scale, null / scale, draws / scale)


class _Paths:
    """Differences of cumulative distributions in all classes at once, sorted by class and value."""

    def __init__(
        self, values: FloatArray, label: IntArray, steps: FloatArray, first_rows: int, group: IntArray
    ) -> None:
        order = np.lexsort((values, label))
        self._steps, label, values = steps[order], label[order], values[order]
        _, self._group = np.unique(group[order], return_inverse=True)
        self.groups = int(self._group.max()) + 1
        self._starts = np.flatnonzero(np.r_[True, np.diff(label) > 0])
        self._counts = np.diff(np.r_[self._starts, len(label)])
        self._ours = order < first_rows
        gaps = np.diff(values, append=values[-1])
        gaps[self._starts[1:] - 1] = 0.0
        self._gaps = gaps
        # Cumulative distributions of the reference, and of the generated rows with a minus sign.
        own = np.where(self._ours, self._steps, 0.0)
        self._levels = self._within(own), self._within(self._steps - own)
        self.measured = _settle(self._within(self._steps))

    def signed(self, signs: FloatArray) -> FloatArray:
        """Path of the null for one random sign a group; what would change a class's total weight is taken out."""
        change = self._steps * signs[self._group]
        own = np.add.reduceat(np.where(self._ours, change, 0.0), self._starts)
        both = np.add.reduceat(change, self._starts)
        path = self._within(change)
        path -= np.repeat(own, self._counts) * self._levels[0]
        # The generated rows' levels end at -1.
        path += np.repeat(both - own, self._counts) * self._levels[1]
        return _settle(path)

    def area(self, path: FloatArray, distance: Distance) -> FloatArray:
        """Distance in each class, in the unit of the values."""
        height = 2.0 * path**2 if distance == "energy" else np.abs(path)
        found: FloatArray = np.add.reduceat(height * self._gaps, self._starts)
        return found

    def _within(self, steps: FloatArray) -> FloatArray:
        total = np.cumsum(steps)
        before = np.r_[0.0, total[self._starts[1:] - 1]]
        found: FloatArray = total - np.repeat(before, self._counts)
        return found


def _settle(path: FloatArray) -> FloatArray:
    path[np.abs(path) < _ROUNDING] = 0.0
    return path


def _rows(
    values: npt.ArrayLike,
    label: npt.ArrayLike,
    weight: npt.ArrayLike | None,
    group: npt.ArrayLike | None,
    side: str,
    offset: int,
) -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
    v, c = np.asarray(values, dtype=np.float64), np.asarray(label, dtype=np.int64)
    w = np.ones(len(v)) if weight is None else np.asarray(weight, dtype=np.float64)
    g = np.arange(len(v)) + offset if group is None else np.asarray(group, dtype=np.int64)
    if v.ndim != 1 or not v.shape == c.shape == w.shape == g.shape:
        shapes = ", ".join(str(array.shape) for array in (v, c, w, g))
        msg = f"class distances: {side} values, classes, weights, groups have shapes {shapes}; expected (n,) for all"
        raise ShapeError(msg)
    keep = c >= 0
    return v[keep], c[keep], w[keep], g[keep]


def _spreads(values: FloatArray, label: IntArray, weight: FloatArray, classes: int) -> FloatArray:
    whole = _variances(values, np.zeros_like(label), weight, 1)[0]
    found = _variances(values, label, weight, classes)
    return np.sqrt(np.where(found > 0, found, whole if whole > 0 else 1.0))


def _variances(values: FloatArray, label: IntArray, weight: FloatArray, classes: int) -> FloatArray:
    total = np.bincount(label, weight, classes)
    mean = np.bincount(label, weight * values, classes) / total
    variance: FloatArray = np.bincount(label, weight * (values - mean[label]) ** 2, classes) / total
    # Below this share of its own size a spread is rounding.
    variance[variance <= 1e-24 * np.max(np.abs(values)) ** 2] = 0.0
    return variance
