"""Distances between one-dimensional weighted distributions; pure functions of arrays, signed weights everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    """
    values, steps = signed_steps(x, y, x_weight, y_weight)
    return float(np.sum(np.abs(np.cumsum(steps[:-1])) * np.diff(values)))


def signed_steps(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Merged sorted values and the steps of the cumulative distribution of x minus that of y, shape (n + m,) each."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    w = np.ones(len(x)) if x_weight is None else np.asarray(x_weight, dtype=np.float64)
    v = np.ones(len(y)) if y_weight is None else np.asarray(y_weight, dtype=np.float64)
    values = np.concatenate([x, y])
    steps = np.concatenate([w / np.sum(w), -v / np.sum(v)])
    order = np.argsort(values, kind="stable")
    return values[order], steps[order]


@dataclass(frozen=True)
class Chi2:
    """A chi2 and its number of degrees of freedom."""

    value: float
    ndf: int


def shape_chi2(difference: npt.ArrayLike, covariance: npt.ArrayLike) -> Chi2:
    """Chi2 of a difference of shapes with its full covariance, d^T C^+ d, ndf the rank of C.

    Shapes sum to 1, so C is singular by construction; entries that cannot vary lower the rank too.

    Parameters
    ----------
    difference
        Shape (B,).
    covariance
        Shape (B, B), in the squared unit of `difference`.
    """
    d, c = np.asarray(difference, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    scale = np.sqrt(np.diag(c))
    alive = scale > 0
    if not alive.any():
        return Chi2(0.0, 0)
    # In units of the errors the rank does not depend on how unequal the bins are.
    scaled = d[alive] / scale[alive]
    values, vectors = np.linalg.eigh(c[np.ix_(alive, alive)] / np.outer(scale[alive], scale[alive]))
    keep = values > 1e-9 * values[-1]
    return Chi2(float(np.sum((vectors[:, keep].T @ scaled) ** 2 / values[keep])), int(keep.sum()))


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
