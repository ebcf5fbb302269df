"""Rows of two samples as vectors of features with weights, checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.evaluation.samples.comparison import Comparison, compare
from parhelion.evaluation.samples.features import Features, Scaling, choose_features
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Vectors:
    """Two samples as vectors.

    Attributes
    ----------
    comparison
        The samples, aligned.
    features
        What the columns are.
    """

    comparison: Comparison
    features: Features

    @property
    def rows(self) -> tuple[FloatArray, FloatArray]:
        """Scaled features of reference and generated, shapes (n, d) and (m, d)."""
        return self.features.of(self.comparison.reference), self.features.of(self.comparison.generated)

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """Weights of reference and generated, shapes (n,) and (m,)."""
        return self.comparison.reference.weight, self.comparison.generated.weight


def vectors_of(
    reference: Sample, generated: Sample, metric: str, fields: tuple[str, ...], conditions: bool, scaling: Scaling
) -> Vectors:
    """Compare two samples as vectors, scaled by the reference; see `choose_features`.

    Raises
    ------
    ConfigError
        A field does not exist.
    DataError
        The samples do not fit together, or there are no features.
    """
    comparison = compare(reference, generated)
    features = choose_features(reference, metric, fields=fields, conditions=conditions, scaling=scaling)
    return Vectors(comparison, features)


@contextmanager
def told_by(metric: str) -> Iterator[None]:
    """Put the metric's name in front of what is wrong with the data."""
    try:
        yield
    except DataError as error:
        msg = f"metric {metric}: {error}"
        raise DataError(msg) from error


def checked_pair(
    x: npt.ArrayLike, y: npt.ArrayLike, x_weight: npt.ArrayLike | None, y_weight: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Rows and weights of two samples with equally many columns, as float arrays; weights are 1 if not given.

    Parameters
    ----------
    x, y
        Shapes (n, d) and (m, d).
    x_weight, y_weight
        Signed weights of positive sum, shapes (n,) and (m,).

    Returns
    -------
    tuple
        x, y and their weights.

    Raises
    ------
    DataError
        The rows are not of shape (n, d) or not finite, the weights do not fit or have no positive sum, or the numbers
        of columns differ.
    """
    ours, w = _checked_matrix(x, x_weight, "x")
    theirs, v = _checked_matrix(y, y_weight, "y")
    if ours.shape[1] != theirs.shape[1]:
        msg = f"x has {ours.shape[1]} columns and y has {theirs.shape[1]}, expected equal numbers"
        raise DataError(msg)
    return ours, theirs, w, v


def _checked_matrix(values: npt.ArrayLike, weight: npt.ArrayLike | None, name: str) -> tuple[FloatArray, FloatArray]:
    """Rows and weights as float arrays of shapes (n, d) and (n,)."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        msg = f"{name}: expected rows of shape (n, d), at least one of each, got shape {x.shape}"
        raise DataError(msg)
    w = np.ones(len(x)) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != x.shape[:1]:
        msg = f"{name}_weight: expected shape ({len(x)},), got {w.shape}"
        raise DataError(msg)
    if not (np.isfinite(x).all() and np.isfinite(w).all()):
        msg = f"{name}: values or weights are NaN or infinite; remove such rows first"
        raise DataError(msg)
    if not np.sum(w) > 0:
        msg = f"{name}_weight: the sum of weights is {np.sum(w):g}, expected a positive one"
        raise DataError(msg)
    return x, w
