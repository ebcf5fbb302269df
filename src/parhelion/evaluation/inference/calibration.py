"""Are draws from a posterior what they claim to be? Pure functions of truths and draws.

If theta* and the draws theta_1 ... theta_L are independent draws of one posterior p(theta | x), they are exchangeable:
the rank of any number computed from theta* among the same number computed from the draws is uniform. So

- simulation-based calibration ranks theta itself (Talts et al., arXiv:1804.06788),
- TARP ranks its distance to a reference point (Lemos et al., arXiv:2302.03026),
- the ellipsoid test ranks its Mahalanobis distance to the centre of all L + 1.

A rank r in 0 ... L becomes u = (r + v) / (L + 1) with v uniform in (0, 1), ties broken at random, so that u is uniform
in (0, 1) exactly, whatever L. Correlated draws (a Markov chain that was not thinned) are not exchangeable with theta*.

All of this passes for draws of the prior, which never looked at x (but TARP with reference points that depend on x does
not, see `tarp_reference`): look at the `contraction` too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from parhelion.errors import ShapeError

FloatArray = npt.NDArray[np.float64]

_CHUNK_NUMBERS = 1 << 22
# Reference points must not be made of the random numbers of a toy that happens to have the same seed.
_STREAM = 0x7A39


def ranks(theta: npt.ArrayLike, draws: npt.ArrayLike, *, seed: int = 0) -> FloatArray:
    """Rank of each true parameter among its draws (simulation-based calibration), as a number in (0, 1).

    Parameters
    ----------
    theta
        True parameters, shape (n, d).
    draws
        L draws for each row, shape (n, L, d).
    seed
        Seed of what breaks ties and fills the gaps between ranks.

    Returns
    -------
    ndarray
        Shape (n, d), uniform in (0, 1) for calibrated draws; near 0 where the draws are too large.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    """
    t, s = _checked(theta, draws)
    rng = np.random.default_rng([_STREAM, seed])
    found = np.empty(t.shape)
    for rows in _chunks(s):
        found[rows] = _randomised(t[rows][:, None, :], s[rows], rng)
    return found


def tarp_reference(
    theta: npt.ArrayLike, x: npt.ArrayLike | None = None, *, weight: npt.ArrayLike | None = None, seed: int = 0
) -> FloatArray:
    """Random reference points for TARP, in the space of the parameters.

    Half of the variance of a point is that of the best linear guess of the parameters from x, the other half is noise;
    both have the scale of the true parameters. Points that depend on x are what lets TARP see draws that do not
    (arXiv:2302.03026). The guess for one half of the rows is learned from the other half, so that no point knows its
    own truth.

    Parameters
    ----------
    theta
        True parameters, shape (n, d), for centre and scale.
    x
        What the posterior is conditioned on, shape (n, k); the points are noise alone if not given.
    weight
        Signed weights for centre and scale; ones if not given.
    seed
        Seed of halves and noise.

    Returns
    -------
    ndarray
        Shape (n, d).

    Raises
    ------
    ShapeError
        Parameters, data or weights do not fit.
    """
    t = np.asarray(theta, dtype=np.float64)
    known = np.empty((len(t), 0)) if x is None else np.asarray(x, dtype=np.float64)
    w = np.ones(len(t)) if weight is None else np.asarray(weight, dtype=np.float64)
    if t.ndim != 2 or known.ndim != 2 or len(known) != len(t) or w.shape != (len(t),):
        msg = (
            f"TARP: truths, data and weights have shapes {t.shape}, {known.shape} and {w.shape}, expected (n, d), "
            "(n, k) and (n,)"
        )
        raise ShapeError(msg)
    rng = np.random.default_rng([_STREAM, seed])
    points = rng.normal(size=t.shape)
    if known.shape[1] > 0 and len(t) > 1:
        points = np.sqrt(0.5) * (points + _guessed(t, known, rng))
    (centre, scale), _ = _standardised(t, w)
    return centre + scale * points


def tarp(
    theta: npt.ArrayLike,
    draws: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    scale: npt.ArrayLike = 1.0,
    seed: int = 0,
) -> FloatArray:
    """Share of the draws that are nearer to the reference point than the true parameter (arXiv:2302.03026).

    Parameters
    ----------
    theta, draws
        Shapes (n, d) and (n, L, d).
    reference
        Reference points, shape (n, d); see `tarp_reference`.
    scale
        Unit of each parameter in the distance, shape (d,).
    seed
        Seed of what breaks ties.

    Returns
    -------
    ndarray
        Shape (n,), uniform in (0, 1) for calibrated draws. The expected coverage probability at alpha is the share of
        the rows below alpha.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    """
    t, s = _checked(theta, draws)
    points = np.asarray(reference, dtype=np.float64)
    if points.shape != t.shape:
        msg = f"TARP: reference points have shape {points.shape}, expected {t.shape}"
        raise ShapeError(msg)
    unit = np.asarray(scale, dtype=np.float64)
    rng = np.random.default_rng([_STREAM, seed])
    found = np.empty(len(t))
    for rows in _chunks(s):
        own = np.sum(((t[rows] - points[rows]) / unit) ** 2, axis=-1)
        theirs = np.sum(((s[rows] - points[rows][:, None, :]) / unit) ** 2, axis=-1)
        found[rows] = _randomised(own[:, None], theirs, rng)
    return found


def ellipsoid_ranks(theta: npt.ArrayLike, draws: npt.ArrayLike, *, seed: int = 0) -> FloatArray:
    """Rank of the true parameter's Mahalanobis distance to the centre among those of the draws.

    Mean and covariance are those of truth and draws together, which keeps all L + 1 exchangeable. Credible regions of
    level alpha are the ellipsoids that hold a share alpha of them.

    Parameters
    ----------
    theta, draws
        Shapes (n, d) and (n, L, d).
    seed
        Seed of what breaks ties.

    Returns
    -------
    ndarray
        Shape (n,), uniform in (0, 1) for calibrated draws; near 1 where the draws are too narrow or biased.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    """
    t, s = _checked(theta, draws)
    rng = np.random.default_rng([_STREAM, seed])
    found = np.empty(len(t))
    for rows in _chunks(s):
        everything = np.concatenate([t[rows][:, None, :], s[rows]], axis=1)
        centred = everything - everything.mean(axis=1, keepdims=True)
        covariance = np.einsum("nli,nlj->nij", centred, centred) / everything.shape[1]
        inverse = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
        distance = np.einsum("nli,nij,nlj->nl", centred, inverse, centred, optimize=True)
        found[rows] = _randomised(distance[:, :1], distance[:, 1:], rng)
    return found


def contraction(
    theta: npt.ArrayLike, draws: npt.ArrayLike, *, weight: npt.ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """How much narrower the posterior is than the prior, 1 - mean posterior variance / variance of the truths.

    0 for draws from the prior, 1 for draws that know the truth; below 0 for draws wider than the prior.

    Parameters
    ----------
    theta, draws
        Shapes (n, d) and (n, L, d).
    weight
        Signed weights; ones if not given.

    Returns
    -------
    tuple of ndarray
        Contraction of each parameter and its standard error for independent rows, shapes (d,). 0 and 0 where the
        truths are constant.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    """
    t, s = _checked(theta, draws)
    w = np.ones(len(t)) if weight is None else np.asarray(weight, dtype=np.float64)
    w = w / np.sum(w)
    posterior = np.concatenate([np.var(s[rows], axis=1, ddof=1) for rows in _chunks(s)])
    squares = (t - w @ t) ** 2
    mean, prior = w @ posterior, w @ squares
    usable = prior > 0
    safe = np.where(usable, prior, 1.0)
    ratio = np.where(usable, mean / safe, 1.0)
    influence = w[:, None] * (posterior - mean - ratio * (squares - prior)) / safe
    return 1.0 - ratio, np.where(usable, np.sqrt(np.sum(influence**2, axis=0)), 0.0)


def _checked(theta: npt.ArrayLike, draws: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    t, s = np.asarray(theta, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if t.ndim != 2 or s.ndim != 3 or (s.shape[0], s.shape[2]) != t.shape or s.shape[1] < 2:
        msg = (
            f"calibration: truths have shape {t.shape} and draws {s.shape}, expected (n, d) and (n, L, d), L at least 2"
        )
        raise ShapeError(msg)
    return t, s


def _chunks(draws: FloatArray) -> Iterator[slice]:
    step = max(1, _CHUNK_NUMBERS // max(draws.shape[1] * draws.shape[2], 1))
    for start in range(0, len(draws), step):
        yield slice(start, start + step)


def _randomised(own: FloatArray, theirs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Rank of `own` along axis 1 of `theirs`, ties and gaps filled at random, in (0, 1)."""
    below = np.sum(theirs < own, axis=1)
    equal = np.sum(theirs == own, axis=1)
    fill = rng.random(below.shape) * (equal + 1)
    found: FloatArray = (below + fill) / (theirs.shape[1] + 1)
    return found


def _guessed(theta: FloatArray, x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Linear guess of the parameters from x, each half learned from the other; mean 0 and variance 1 in each half."""
    _, known = _standardised(x, np.ones(len(x)))
    known = np.column_stack([known, np.ones(len(x))])
    half = rng.permutation(len(x)) % 2 == 0
    found = np.empty(theta.shape)
    for chosen in (half, ~half):
        slope = np.linalg.lstsq(known[~chosen], theta[~chosen], rcond=None)[0]
        guess = known[chosen] @ slope
        _, found[chosen] = _standardised(guess, np.ones(len(guess)))
    return found


def _standardised(values: FloatArray, weight: FloatArray) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Centre and scale of each column, and the columns in these units; a constant column becomes 0."""
    relative = weight / np.sum(weight)
    centre = relative @ values
    variance = relative @ (values - centre) ** 2
    scale = np.sqrt(np.where(variance > 1e-24 * np.max(np.abs(values), axis=0) ** 2, variance, 1.0))
    return (centre, scale), (values - centre) / scale
