"""Confidence intervals of shares and of ratios of counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

FloatArray = npt.NDArray[np.float64]


def binomial_interval(
    successes: npt.ArrayLike, trials: npt.ArrayLike, level: float = 0.6827
) -> tuple[FloatArray, FloatArray]:
    """Central interval of a binomial probability (Clopper & Pearson, Biometrika 26 (1934) 404).

    Parameters
    ----------
    successes, trials
        Any shape; effective numbers of rows need not be integers, and the interval is approximate then.
    level
        Confidence level.

    Returns
    -------
    tuple of ndarray
        Lower and upper ends, 0 to 1.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    tail = 0.5 * (1.0 - level)
    inside_low, inside_high = k > 0, k < n
    low = beta.ppf(tail, np.where(inside_low, k, 1.0), np.where(inside_low, n - k + 1, 1.0))
    high = beta.ppf(1 - tail, np.where(inside_high, k + 1, 1.0), np.where(inside_high, n - k, 1.0))
    return np.where(inside_low, low, 0.0), np.where(inside_high, high, 1.0)


def ratio_interval(
    generated: npt.ArrayLike, reference: npt.ArrayLike, scale: npt.ArrayLike = 1.0, level: float = 0.6827
) -> tuple[FloatArray, FloatArray]:
    """Interval of the ratio of two Poisson means given their counts: given the sum, one of them is binomial.

    Parameters
    ----------
    generated, reference
        Counts, same shape.
    scale
        Rows of the reference over rows of the generated sample, so that equal probabilities give ratio 1.
    level
        Confidence level.

    Returns
    -------
    tuple of ndarray
        Lower and upper ends; the upper is infinite where the reference has no count.
    """
    k, other = np.asarray(generated, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    low, high = binomial_interval(k, k + other, level)
    upper = np.divide(high, 1 - high, out=np.full(np.shape(high), np.inf), where=high < 1)
    factor = np.asarray(scale, dtype=np.float64)
    return factor * low / (1 - low), factor * upper
