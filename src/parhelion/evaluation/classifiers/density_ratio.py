"""Density ratios p_ref / p_gen from classifier scores: calibration, what the ratios say of both samples, and errors.

A classifier D trained on equal weights of both samples estimates D / (1 - D) = p_ref / p_gen =: w, the weight that
would turn generated rows into reference rows (Das, Favaro, Heimel, Krause, Plehn & Shih, arXiv:2305.16774). Trained
classifiers are too sure of themselves, so their log-odds s are calibrated on rows they have not seen: log w = a + b s
by logistic regression (Platt 1999). Where nothing differs b is 0 within its error, and so is the spread of log w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from parhelion.errors import DataError
from parhelion.weights import require_positive_total

FloatArray = npt.NDArray[np.float64]

QUANTITIES = ("spread", "ess_loss", "tail_generated", "tail_reference", "generated_mean", "reference_mean")

_LARGEST_LOGIT = 30.0
_LARGEST_LOG = 23.0
_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """Line log w = intercept + slope x log-odds, fitted to rows of both samples.

    Attributes
    ----------
    parameters
        Intercept and slope, shape (2,).
    reference, generated
        Influence of each row on both, shapes (n, 2) and (m, 2).
    """

    parameters: FloatArray
    reference: FloatArray
    generated: FloatArray


def log_odds(score: npt.ArrayLike) -> FloatArray:
    """log(D / (1 - D)) of scores in [0, 1], inside +-30."""
    p = np.asarray(score, dtype=np.float64)
    with np.errstate(divide="ignore"):
        found: FloatArray = np.clip(np.log(p) - np.log1p(-p), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    return found


def calibrate(
    reference: npt.ArrayLike, generated: npt.ArrayLike, reference_weight: npt.ArrayLike, generated_weight: npt.ArrayLike
) -> Calibration:
    """Fit the line that turns log-odds into log density ratios, by Newton's method.

    Solves sum_i w_i (y_i - p_i) (1, s_i) = 0 with p = 1 / (1 + e^-(a + b s)), where each sample has total weight 1;
    with signed weights these are the same equations in expectation. Where the log-odds separate the samples completely
    no line is the steepest, and the labels y are Platt's: (N + 1) / (N + 2) and 1 / (M + 2) in place of 1 and 0, for
    effective numbers N and M of rows. What one row in the wrong place would change is then added to the influence of
    the first row of each sample.

    Parameters
    ----------
    reference, generated
        Log-odds of held-out rows, shapes (n,) and (m,).
    reference_weight, generated_weight
        Signed weights with positive sums.

    Raises
    ------
    DataError
        The weights of a sample have no positive sum, or there is no solution: they cancel, or a few rows alone keep the
        samples from being separate.
    """
    s, t = (np.asarray(x, dtype=np.float64) for x in (reference, generated))
    for side, given in (("reference", reference_weight), ("generated", generated_weight)):
        require_positive_total(given, source=f"density ratio: {side} rows")
    w, v = (np.asarray(x, dtype=np.float64) / np.sum(x) for x in (reference_weight, generated_weight))
    x = np.concatenate([s, t])
    centre, scale = float(np.mean(x)), float(np.std(x))
    if not scale > 1e-12 * (1.0 + abs(centre)):
        zero = np.zeros(2)
        return Calibration(zero, np.zeros((len(s), 2)), np.zeros((len(t), 2)))
    design = np.column_stack([np.ones(len(x)), (x - centre) / scale])
    weight = np.concatenate([w, v])
    # No line is the steepest where the samples do not meet.
    separate = np.min(s) >= np.max(t) or np.min(t) >= np.max(s)
    doubt = [1.0 / (1.0 / float(u @ u) + 2.0) if separate else 0.0 for u in (w, v)]
    # Second derivatives fall with the number of rows there.
    found = _line(design, weight, np.repeat([1.0 - doubt[0], doubt[1]], [len(s), len(t)]), 1e-24 if separate else 1e-12)
    if found is None:
        msg = (
            f"density ratio: the log-odds of {len(s)} reference and {len(t)} generated rows cannot be calibrated; a "
            "few rows alone keep the samples from being separate, or the weights cancel: use more rows, or fewer trees"
        )
        raise DataError(msg)
    beta, residual, inverse = found
    # From the centred and scaled log-odds to the log-odds themselves.
    back = np.array([[1.0, -centre / scale], [0.0, 1.0 / scale]])
    terms = design * residual[:, None]
    ours, theirs = terms[: len(s)], terms[len(s) :]
    # The sums of weights are measured too, which centres the influences of each sample.
    ours, theirs = w[:, None] * (ours - w @ ours), v[:, None] * (theirs - v @ theirs)
    ours[0] -= doubt[0] * (w @ design[: len(s)])
    theirs[0] += doubt[1] * (v @ design[len(s) :])
    return Calibration(back @ beta, ours @ inverse @ back.T, theirs @ inverse @ back.T)


def _line(
    design: FloatArray, weight: FloatArray, label: FloatArray, least: float
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Parameters, the rows' residuals and the inverse of the second derivatives; None if Newton's method finds none.

    `least` is the smallest determinant of the second derivatives that counts.
    """
    beta = np.zeros(2)
    for _ in range(_STEPS):
        share = expit(design @ beta)
        residual = label - share
        hessian = design.T @ (design * (weight * share * (1 - share))[:, None])
        if not np.linalg.det(hessian) > least:
            break
        inverse = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
        step = inverse @ (design.T @ (weight * residual))
        step *= min(1.0, 2.0 / float(np.max(np.abs(step)) + 1e-300))
        beta = beta + step
        if np.max(np.abs(step)) < 1e-10:
            return beta, residual, inverse
    return None


def log_ratio(odds: FloatArray, parameters: FloatArray, *, falling: bool = False) -> FloatArray:
    """Natural logarithm of the density ratio by a calibration.

    Parameters
    ----------
    odds
        Log-odds, shape (n,).
    parameters
        Intercept and slope.
    falling
        Whether a falling line is followed; else it stands for no knowledge, log w = 0.
    """
    if not (falling or parameters[1] > 0):
        return np.zeros(len(odds))
    found: FloatArray = np.clip(parameters[0] + parameters[1] * odds, -_LARGEST_LOG, _LARGEST_LOG)
    return found


def ratio_terms(
    reference: FloatArray,
    generated: FloatArray,
    reference_weight: FloatArray,
    generated_weight: FloatArray,
    low: float,
    high: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What density ratios say of two samples, and the influence of each row.

    Parameters
    ----------
    reference, generated
        log w of the rows, shapes (n,) and (m,).
    reference_weight, generated_weight
        Signed weights with sum 1.
    low, high
        Ratios below and above which rows count as tails.

    Returns
    -------
    tuple of ndarray
        The six numbers of `QUANTITIES`: standard deviation of log10 w over the generated rows; 1 - E[w]^2 / E[w^2]
        over them, the share of their effective size that reweighting costs; share of generated rows with w < `low`;
        share of reference rows with w > `high`; mean of w over generated rows and of 1 / w over reference rows, both
        minus 1. Then the influences, shapes (n, 6) and (m, 6), for given ratios.
    """
    v, w = generated_weight, reference_weight
    log10 = generated / np.log(10.0)
    ratio, inverse = np.exp(generated), np.exp(-reference)
    centre = float(v @ log10)
    square = (log10 - centre) ** 2
    spread = float(np.sqrt(max(float(v @ square), 0.0)))
    first, second = float(v @ ratio), float(v @ ratio**2)
    below, above = (ratio < low).astype(np.float64), (reference > np.log(high)).astype(np.float64)
    share_below, share_above, inverse_mean = float(v @ below), float(w @ above), float(w @ inverse)
    share = first**2 / second if second > 0 else 1.0
    values = np.array([spread, 1.0 - share, share_below, share_above, first - 1.0, inverse_mean - 1.0])
    ours, theirs = np.zeros((len(w), 6)), np.zeros((len(v), 6))
    if spread > 0:
        theirs[:, 0] = v * (square - spread**2) / (2 * spread)
    if second > 0:
        theirs[:, 1] = -v * (2 * first * (ratio - first) / second - share * (ratio**2 - second) / second)
    theirs[:, 2] = v * (below - share_below)
    ours[:, 3] = w * (above - share_above)
    theirs[:, 4] = v * (ratio - first)
    ours[:, 5] = w * (inverse - inverse_mean)
    return values, ours, theirs
