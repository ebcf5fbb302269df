"""Distances between one-dimensional weighted distributions; pure functions of arrays, signed weights everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.weights import summarise

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def separation_power(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Separation power 1/2 sum (p - q)^2 / (p + q) (Diefenbacher et al., arXiv:2009.03796, eq. 15).

    Parameters
    ----------
    p, q
        Shares of the bins, shape (B,), under- and overflow included so that no lost row is invisible. Bins with
        p + q <= 0, which signed weights can make, are left out.

    Returns
    -------
    float
        0 for equal, 1 for disjoint distributions of positive weights.
    """
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    total = p + q
    terms = np.divide((p - q) ** 2, total, out=np.zeros_like(total), where=total > 0)
    return 0.5 * float(np.sum(terms))


def wasserstein(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
) -> float:
    """First Wasserstein distance, the area between the cumulative distributions, in the unit of x.

    With signed weights it is no cost of transport but still the Kantorovich-Rubinstein norm: the largest difference of
    means of a function with slope at most 1.

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
    values, steps = signed_steps(x, y, x_weight, y_weight)
    return float(np.sum(np.abs(np.cumsum(steps[:-1])) * np.diff(values)))


def kolmogorov_smirnov(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
) -> float:
    """Largest distance between the cumulative distributions, no unit.

    Read after the last of equal values. It is at most 1 for positive weights; signed ones can exceed it.

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
    values, steps = signed_steps(x, y, x_weight, y_weight)
    ends = np.append(np.diff(values) > 0, True)
    return float(np.max(np.abs(np.cumsum(steps)[ends])))


def cramer(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
) -> float:
    """Cramer distance, the integral of the squared difference of cumulative distributions, in the unit of x.

    Half the energy distance. This is the plain integral over the samples at hand, which finite statistics biases
    upwards; `cumulative.energy` has the bias subtracted.

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
    values, steps = signed_steps(x, y, x_weight, y_weight)
    return float(np.sum(np.cumsum(steps[:-1]) ** 2 * np.diff(values)))


def signed_steps(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Merged sorted values and the steps of the cumulative distribution of x minus that of y, shape (n + m,) each."""
    first, w = checked_rows(x, x_weight, "x")
    second, v = checked_rows(y, y_weight, "y")
    values = np.concatenate([first, second])
    steps = np.concatenate([w / np.sum(w), -v / np.sum(v)])
    order = np.argsort(values, kind="stable")
    return values[order], steps[order]


def checked_rows(values: npt.ArrayLike, weight: npt.ArrayLike | None, name: str) -> tuple[FloatArray, FloatArray]:
    """Values and weights as float arrays of shape (n,); weights are 1 if not given.

    Raises
    ------
    DataError
        There are no values, they are not of shape (n,) or not finite, or the weights do not fit or have no positive
        sum.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.ones(x.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0:
        msg = f"{name}: expected values of shape (n,), at least one, got shape {x.shape}"
        raise DataError(msg)
    if w.shape != x.shape:
        msg = f"{name}_weight: expected shape {x.shape}, that of {name}, got {w.shape}"
        raise DataError(msg)
    if not (np.isfinite(x).all() and np.isfinite(w).all()):
        msg = f"{name}: values or weights are NaN or infinite; remove such rows first"
        raise DataError(msg)
    total = float(np.sum(w))
    if not total > 0:
        msg = f"{name}_weight: the sum of weights is {total:g}, expected a positive one"
        raise DataError(msg)
    return x, w


@dataclass(frozen=True)
class Chi2:
    """A chi2 and its number of degrees of freedom."""

    value: float
    ndf: int


def shape_chi2(difference: npt.ArrayLike, covariance: npt.ArrayLike, least: float = 0.0) -> Chi2:
    """Chi2 of a difference of shapes with its full covariance, d^T C^+ d, ndf the rank of C.

    Shapes sum to 1, so C is singular by construction; entries that cannot vary lower the rank too.

    Parameters
    ----------
    difference
        Shape (B,).
    covariance
        Shape (B, B), in the squared unit of `difference`.
    least
        See `whitening`; none by default.
    """
    d = np.asarray(difference, dtype=np.float64)
    whitened = d @ whitening(covariance, d, least)
    return Chi2(float(np.sum(whitened**2)), len(whitened))


def whitening(
    covariance: npt.ArrayLike, difference: npt.NDArray[np.floating] | None = None, least: float = 0.0
) -> FloatArray:
    """Map A such that the d @ A of a difference d of shapes have unit variances; their number is the rank.

    Parameters
    ----------
    covariance
        Shape (B, B).
    difference
        A measured difference, shape (B,). Samples without common bins differ in a direction in which neither varies,
        which the covariance alone would leave out.
    least
        Variance that such a direction gets, as of `one_row`; the direction is left out if 0.

    Returns
    -------
    ndarray
        Shape (B, rank); one column more if the difference leaves the range of the covariance.
    """
    c = np.asarray(covariance, dtype=np.float64)
    # Rounding may leave a variance of 0 a little below it.
    scale = np.sqrt(np.maximum(np.diag(c), 0.0))
    alive = np.flatnonzero(scale > 0)
    found = span = np.zeros((len(c), 0))
    if len(alive):
        # In units of the errors the rank does not depend on how unequal the bins are.
        values, vectors = np.linalg.eigh(c[np.ix_(alive, alive)] / np.outer(scale[alive], scale[alive]))
        keep = values > 1e-9 * values[-1]
        found, span = (np.zeros((len(c), int(keep.sum()))) for _ in range(2))
        found[alive] = vectors[:, keep] / np.sqrt(values[keep]) / scale[alive, None]
        span[alive] = vectors[:, keep] * scale[alive, None]
    if difference is None or least <= 0:
        return found
    # Rounding of the sum of shares is no direction either.
    basis = np.linalg.qr(np.column_stack([np.ones(len(c)), span]))[0]
    rest = difference - basis @ (basis.T @ difference)
    size = float(np.linalg.norm(rest))
    if size <= 1e-6 * float(np.linalg.norm(difference)) or size <= 1e-12:
        return found
    return np.column_stack([found, rest / size / np.sqrt(least)])


def effective_rows(content: npt.NDArray[np.floating], squares: npt.NDArray[np.floating]) -> FloatArray:
    """Effective number of rows in each bin, any shape; 0 where the sum of weights is not positive.

    Parameters
    ----------
    content, squares
        Sums of weights and of their squares, same shape.
    """
    found = np.zeros(np.shape(content))
    np.divide(np.maximum(content, 0.0) ** 2, squares, out=found, where=squares > 0)
    return found


def one_row(*weights: npt.NDArray[np.floating]) -> float:
    """Sum over samples, weights of shape (n,) each, of the squared share of one effective row; see `whitening`."""
    return float(sum(1.0 / max(summarise(weight).effective, 1.0) ** 2 for weight in weights))


def merge_bins(effective: npt.NDArray[np.floating], minimum: float) -> IntArray:
    """Join neighbouring bins until each holds enough.

    Parameters
    ----------
    effective
        Effective number of rows in each bin, shape (B, k), k samples. Bins with a negative sum of weights count 0.
    minimum
        Each joined bin needs this number in every sample.

    Returns
    -------
    ndarray
        New bin of each old bin, shape (B,). A remainder at the upper end joins the last full bin.
    """
    label = np.zeros(len(effective), dtype=np.int64)
    current, held = 0, np.zeros(effective.shape[1])
    for b, content in enumerate(effective):
        label[b] = current
        held = held + content
        if np.all(held >= minimum):
            current, held = current + 1, np.zeros(effective.shape[1])
    if current and np.any(held < minimum):
        label[label == current] = current - 1
    return label


def pooled_rows(effective: npt.NDArray[np.floating]) -> FloatArray:
    """Effective numbers of rows that two samples would have in each bin if their shares were equal, shape (B, 2).

    Bins joined by these stay apart where only one sample has rows, so that a difference of supports is seen.

    Parameters
    ----------
    effective
        Effective number of rows in each bin, shape (B, 2).
    """
    total = effective.sum(axis=0)
    if not np.all(total > 0):
        return np.asarray(effective, dtype=np.float64)
    return np.asarray(np.mean(effective / total, axis=1)[:, None] * total, dtype=np.float64)
