"""Weighted ranks against the uniform distribution, and coverages against their levels; signed weights everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import norm

from parhelion.errors import DataError, ShapeError
from parhelion.evaluation.samples.bootstrap import random_signs
from parhelion.evaluation.statistics.intervals import binomial_interval
from parhelion.evaluation.statistics.one_dimensional import Chi2, shape_chi2

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Uniformity:
    """Weighted ranks against the uniform distribution.

    Attributes
    ----------
    share, share_error
        Share of the weight in each of B equal bins of (0, 1), and its standard error, shape (B,).
    expected_error
        Standard error of a share if the ranks are uniform, shape (B,).
    chi2
        Of the shares against 1 / B, with their covariance.
    curve, curve_error
        Cumulative share at the inner edges k / B minus k / B, shape (B - 1,), and its standard error.
    band
        Half width of the band that holds a calibrated `curve` as a whole with probability 95 %, shape (B - 1,).
    deviation
        Largest |curve|.
    null
        Draws of `deviation` for uniform ranks, shape (replicas,).
    band_p_value
        Probability of a curve that leaves its band as far, in units of its point-wise spread.
    """

    share: FloatArray
    share_error: FloatArray
    expected_error: FloatArray
    chi2: Chi2
    curve: FloatArray
    curve_error: FloatArray
    band: FloatArray
    deviation: float
    null: FloatArray
    band_p_value: float

    @property
    def deviation_error(self) -> float:
        """Standard error of the deviation: that of the curve where it is largest."""
        return float(self.curve_error[np.argmax(np.abs(self.curve))])


def uniformity(
    u: npt.ArrayLike,
    *,
    bins: int = 20,
    weight: npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
    replicas: int = 500,
    seed: int = 0,
) -> Uniformity:
    """Test ranks for uniformity by histogram (chi2) and cumulative distribution.

    Null: each group's contribution, its weight times (share observed - share expected), gets a random sign; that keeps
    weights and dependence within groups. The covariance in the chi2 is that of the multinomial for rows of positive
    weight that are independent, and else the sum over groups of the products of these contributions, since background
    rows that signed weights cancel need not be calibrated. The band has the shape of the point-wise spread (Sailynoja,
    Buerkner & Vehtari, arXiv:2103.10522, treat equal weights exactly).

    Parameters
    ----------
    u
        Ranks in (0, 1), shape (n,).
    bins
        Number B of bins.
    weight
        Signed weights with a positive sum; ones if not given.
    group
        Non-negative integers, rows of one group are not independent; each row its own if not given.
    replicas, seed
        Number of draws of the null, and their seed.

    Raises
    ------
    DataError
        The weights have no positive sum.
    ShapeError
        The arrays differ in length.
    """
    values = np.asarray(u, dtype=np.float64)
    n = len(values)
    w, g = _relative("uniformity", n, weight, group)
    cell = np.minimum((values * bins).astype(np.int64), bins - 1)
    groups = int(g.max()) + 1
    # One column a bin, with the weight of the group's rows in it, and their sum.
    content = sparse.csr_matrix((w, (g, cell)), shape=(groups, bins))
    sums = np.bincount(g, w)
    expected = np.full(bins, 1.0 / bins)
    share: FloatArray = np.bincount(cell, w, bins).astype(np.float64)

    def centred(inner: FloatArray, cross: FloatArray, squares: float, at: FloatArray) -> FloatArray:
        found: FloatArray = inner - np.outer(at, cross) - np.outer(cross, at) + squares * np.outer(at, at)
        return found

    inner = (content.T @ content).toarray()
    cross, squares = np.asarray(content.T @ sums), float(np.sum(sums**2))
    observed = centred(inner, cross, squares, share)
    independent = groups == n and not np.any(w < 0)
    assumed = (
        squares * (np.diag(expected) - np.outer(expected, expected))
        if independent
        else centred(inner, cross, squares, expected)
    )
    rng = np.random.default_rng(seed)
    summed = np.tril(np.ones((bins, bins)))[:-1]
    columns = content.T.tocsr()
    null = np.concatenate(
        [(columns @ s - np.outer(expected, sums @ s)).T @ summed.T for s in random_signs(groups, replicas, rng)]
    )
    curve = summed @ (share - expected)
    spread = np.sqrt(np.maximum(np.einsum("kb,bc,kc->k", summed, assumed, summed), 1e-300))
    null_pull = np.max(np.abs(null) / spread, axis=1)
    pull = float(np.max(np.abs(curve) / spread))
    return Uniformity(
        share=share,
        share_error=np.sqrt(np.maximum(np.diag(observed), 0.0)),
        expected_error=np.sqrt(np.maximum(np.diag(assumed), 0.0)),
        chi2=shape_chi2(share - expected, assumed),
        curve=curve,
        curve_error=np.sqrt(np.maximum(np.einsum("kb,bc,kc->k", summed, observed, summed), 0.0)),
        band=np.quantile(null_pull, 0.95) * spread,
        deviation=float(np.max(np.abs(curve))),
        null=np.max(np.abs(null), axis=1),
        band_p_value=float((1 + np.sum(null_pull >= pull)) / (1 + replicas)),
    )


@dataclass(frozen=True)
class Coverage:
    """Share of truths inside credible regions of one level.

    Attributes
    ----------
    level
        Nominal coverage.
    share, error
        Weighted share, and its standard error.
    null_error
        Standard error that it has if it is nominal.
    low, high
        Clopper-Pearson interval of 68.27 % at the effective number of groups.
    p_value
        Two-sided, normal, for a coverage equal to the level.
    """

    level: float
    share: float
    error: float
    null_error: float
    low: float
    high: float
    p_value: float


def coverage(
    inside: npt.ArrayLike,
    level: float,
    *,
    weight: npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
) -> Coverage:
    """Coverage of credible regions with nominal coverage `level`.

    Parameters
    ----------
    inside
        Whether each row's region holds its truth, shape (n,).
    level
        Nominal coverage.
    weight, group
        As in `uniformity`.

    Raises
    ------
    DataError
        The weights have no positive sum.
    ShapeError
        The arrays differ in length.
    """
    hit = np.asarray(inside, dtype=np.float64)
    w, g = _relative("coverage", len(hit), weight, group)
    share = float(w @ hit)
    error, null_error = (float(np.sqrt(np.sum(np.bincount(g, w * (hit - at)) ** 2))) for at in (share, level))
    effective = 1.0 / float(np.sum(np.bincount(g, w) ** 2))
    low, high = (float(end) for end in binomial_interval(min(max(share, 0.0), 1.0) * effective, effective))
    p_value = float(2.0 * norm.sf(abs(share - level) / null_error))
    return Coverage(level, share, error, null_error, low, high, p_value)


def _relative(
    what: str, rows: int, weight: npt.ArrayLike | None, group: npt.ArrayLike | None
) -> tuple[FloatArray, IntArray]:
    """Weights as shares of their sum, and groups as 0, 1, 2, ..., shape (rows,) each."""
    w = np.ones(rows) if weight is None else np.asarray(weight, dtype=np.float64)
    g = np.arange(rows) if group is None else np.asarray(group)
    if w.shape != (rows,) or g.shape != (rows,):
        msg = f"{what}: weights and groups have shapes {w.shape} and {g.shape}, expected {(rows,)} for both"
        raise ShapeError(msg)
    total = float(np.sum(w))
    if rows == 0 or not total > 0:
        msg = f"{what}: {rows} rows with sum of weights {total:.6g}, expected a positive sum"
        raise DataError(msg)
    return w / total, g if group is None else np.unique(g, return_inverse=True)[1]
