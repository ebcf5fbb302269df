"""Distances between the distributions of one number in two samples, class by class, with their joint null.

The numeric core of `sigma`, on arrays; signed weights everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, ShapeError
from parhelion.evaluation.samples.bootstrap import random_signs
from parhelion.evaluation.statistics.cumulative import CdfDifference

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
        A class has no positive sum of weights in one sample, or values or weights are not finite.
    ShapeError
        Arrays of one sample differ in length.
    """
    given = -1 if y_group is None else int(np.max(np.asarray(y_group), initial=-1))
    first = _rows(x, x_class, x_weight, x_group, "reference", given + 1)
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
    _, group = np.unique(np.concatenate([first[3], second[3]]), return_inverse=True)
    curves = CdfDifference(
        first[0],
        second[0],
        first[2],
        second[2],
        x_group=group[: len(first[0])],
        y_group=group[len(first[0]) :],
        x_cell=first[1],
        y_cell=second[1],
    )

    def area(path: FloatArray) -> FloatArray:
        w1, _, square = curves.read(path)
        return 2.0 * square if distance == "energy" else w1

    measured = _settle(curves.path.copy())
    null, draws = np.empty((replicas, classes)), np.empty((replicas, classes))
    blocks = random_signs(curves.groups, replicas, np.random.default_rng(seed))
    for index, path in enumerate(curves.draws(column for signs in blocks for column in signs.T)):
        _settle(path)
        draws[index] = area(measured + path)
        null[index] = area(path)
    return ClassDistances(area(measured) / scale, scale, null / scale, draws / scale)


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
    w = np.ones(v.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    g = np.arange(v.size) + offset if group is None else np.asarray(group, dtype=np.int64)
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
