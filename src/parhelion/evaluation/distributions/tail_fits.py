"""Indices and parametric shapes of a tail: pure functions of excesses and signed weights, each with its influence.

The influence of a row on an estimate is the estimate's first-order change when the row is left in, so that the sum over
rows of squared influences (summed within groups first) is the estimate's variance, whatever the signs of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import chi2 as chi2_distribution

from parhelion.errors import DataError
from parhelion.evaluation.statistics.one_dimensional import Chi2, shape_chi2

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Shape = Literal["exponential", "power law"]
Method = Literal["moments", "likelihood"]

# Below this index the likelihood has no regular maximum (Smith, Biometrika 72 (1985) 67).
_LEAST_INDEX: Final = -0.5
_NEARLY_ZERO: Final = 1e-4
_STEP: Final = 1e-4


@dataclass(frozen=True)
class Estimate:
    """An estimate from the rows of a tail.

    Attributes
    ----------
    value
        The number; NaN where the tail does not determine it.
    influence
        Influence of each row of the tail, shape (k,).
    method
        How it was found.
    """

    value: float
    influence: FloatArray
    method: str = ""

    def error(self, group: IntArray | None = None) -> float:
        """Standard error; rows with the same number in `group`, shape (k,), are not independent."""
        if group is None:
            return float(np.sqrt(np.sum(self.influence**2)))
        _, label = np.unique(group, return_inverse=True)
        return float(np.sqrt(np.sum(np.bincount(label, self.influence) ** 2)))


def hill_index(values: npt.ArrayLike, threshold: float, weight: npt.ArrayLike | None = None) -> Estimate:
    """Hill's index of a power-law tail, the mean of ln(x / t) above a threshold t (Hill, Ann. Stat. 3 (1975) 1163).

    With k rows of weight 1 its error is the index / sqrt(k) where the tail is a power law.

    Parameters
    ----------
    values
        Rows above the threshold, shape (k,), in any unit.
    threshold
        Positive, in the same unit; otherwise the index does not exist and the value is NaN.
    weight
        Signed weights, shape (k,); ones if not given.
    """
    x = np.asarray(values, dtype=np.float64)
    relative = _relative(x, weight)
    if threshold <= 0 or relative is None:
        return Estimate(np.nan, np.zeros(len(x)), "Hill")
    logs = np.log(x / threshold)
    value = float(relative @ logs)
    return Estimate(value, relative * (logs - value), "Hill")


def pareto_index(excess: npt.ArrayLike, weight: npt.ArrayLike | None = None, method: Method = "moments") -> Estimate:
    """Index xi of the generalised Pareto distribution of excesses above a threshold.

    P(excess > y) = (1 + xi y / sigma)^(-1/xi): an exponential for xi = 0, a power law for xi > 0, an end for xi < 0.

    Parameters
    ----------
    excess
        Values minus threshold of the rows above it, shape (k,), positive, in any unit.
    weight
        Signed weights, shape (k,); ones if not given.
    method
        ``moments``: from E[y] and E[y (1 - F(y))] (Hosking & Wallis, Technometrics 29 (1987) 339). They are means, so
        signed weights need nothing special, and with a few hundred rows the error is right; its variance is finite for
        xi < 1/2 only. ``likelihood``: maximum likelihood, profiled over xi / sigma (Grimshaw, Technometrics 35 (1993)
        185), with each row's logarithm multiplied by its weight and the error from the observed information. It is
        right for heavier tails too, but with 100 rows its error is too small by about 15 %. Where the weighted
        likelihood has no maximum above xi = -1/2, moments are used.

    Returns
    -------
    Estimate
        With the method that was used; NaN for fewer than five different excesses, or where the sum of weights is not
        positive.
    """
    y = np.asarray(excess, dtype=np.float64)
    relative = _relative(y, weight)
    if relative is None or len(np.unique(y)) < 5 or not relative @ y > 0:
        return Estimate(np.nan, np.zeros(len(y)), "too few rows")
    y = y / (relative @ y)
    found = _profile_maximum(y, relative) if method == "likelihood" else None
    if found is not None:
        xi, sigma = found
        information = -_score_slope(y, relative, xi, sigma)
        if np.all(np.isfinite(information)) and np.all(np.linalg.eigvalsh(information) > 1e-6):
            scores = _scores(y, xi, sigma)
            return Estimate(xi, relative * (scores @ np.linalg.inv(information)[0]), "likelihood")
    return _weighted_moments(y, relative)


def _relative(rows: FloatArray, weight: npt.ArrayLike | None) -> FloatArray | None:
    w = np.ones(len(rows)) if weight is None else np.asarray(weight, dtype=np.float64)
    total = float(np.sum(w))
    # A sum that is all cancellation determines nothing.
    return w / total if total > 1e-9 * float(np.sum(np.abs(w))) else None


def _profile_maximum(y: FloatArray, relative: FloatArray) -> tuple[float, float] | None:
    """Index and scale at the interior maximum of the profile likelihood in theta = xi / sigma, None without one."""
    end = 1.0 / float(np.max(y))

    def likelihood(theta: float) -> float:
        if abs(theta) < 1e-9:
            return -1.0 - float(np.log(relative @ y))
        xi = float(relative @ np.log1p(theta * y))
        if xi <= _LEAST_INDEX or xi / theta <= 0:
            return -np.inf
        return -float(np.log(xi / theta)) - xi

    grid = np.concatenate([-end * np.linspace(0.995, 0.05, 24), [0.0], np.geomspace(1e-2, 1e3, 40)])
    seen = np.array([likelihood(theta) for theta in grid])
    best = int(np.argmax(seen))
    if not np.isfinite(seen[best]) or best in (0, len(grid) - 1) or not np.isfinite(seen[best - 1]):
        return None
    found = minimize_scalar(
        lambda theta: -likelihood(theta),
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-7 * max(1.0, abs(grid[best]))},
    )
    theta = float(found.x)
    if abs(theta) < 1e-9:
        return 0.0, float(relative @ y)
    xi = float(relative @ np.log1p(theta * y))
    return xi, xi / theta


def _scores(y: FloatArray, xi: float, sigma: float) -> FloatArray:
    """Derivatives of the log density by (xi, sigma), shape (k, 2)."""
    z = y / sigma
    scale = (-1.0 + (1.0 + xi) * z / (1.0 + xi * z)) / sigma
    if abs(xi) < _NEARLY_ZERO:
        index = 0.5 * z**2 - z + xi * (z**2 - 2.0 / 3.0 * z**3)
    else:
        index = np.log1p(xi * z) / xi**2 - (1.0 + 1.0 / xi) * z / (1.0 + xi * z)
    return np.column_stack([index, scale])


def _score_slope(y: FloatArray, relative: FloatArray, xi: float, sigma: float) -> FloatArray:
    """Weighted mean of the second derivatives, shape (2, 2), by central differences."""
    slope = np.empty((2, 2))
    for column, (a, b) in enumerate(((_STEP, 0.0), (0.0, _STEP * sigma))):
        with np.errstate(invalid="ignore", divide="ignore"):
            up, down = relative @ _scores(y, xi + a, sigma + b), relative @ _scores(y, xi - a, sigma - b)
        slope[:, column] = (up - down) / (2 * (a + b))
    found: FloatArray = 0.5 * (slope + slope.T)
    return found


def _weighted_moments(y: FloatArray, relative: FloatArray) -> Estimate:
    """Index from E[y] and E[y (1 - F(y))]; the latter is half the mean smaller one of two rows."""
    order = np.argsort(y, kind="stable")
    x, w = y[order], relative[order]
    below, mass = np.cumsum(w * x), np.cumsum(w)
    smaller = below + x * (1.0 - mass)
    mean, half = float(relative @ y), 0.5 * float(w @ smaller)
    rest = mean - 2 * half
    if not abs(rest) > 1e-12 * abs(mean):
        return Estimate(np.nan, np.zeros(len(y)), "too few rows")
    influence = np.empty(len(y))
    influence[order] = w * (2 * half * (x - mean) - 2 * mean * (smaller - 2 * half)) / rest**2
    return Estimate(2.0 - mean / rest, influence, "moments")


@dataclass(frozen=True)
class ShapeFit:
    """A one-parameter shape fitted to a tail.

    Attributes
    ----------
    shape
        ``exponential``: P(x > t + y) = P(x > t) exp(-y / parameter); ``power law``: P(x > y) = P(x > t) (t / y)^(1 /
        parameter).
    parameter, error
        Mean excess in the unit of x, or Hill's index; NaN where the shape does not exist.
    chi2
        Chi2 of the shares of the bins given the tail, with the full covariance of shares minus fit.
    p_value
        Probability of a chi2 at least as large if the shape is right.
    """

    shape: Shape
    parameter: float
    error: float
    chi2: Chi2
    p_value: float


def fit_shape(
    shape: Shape,
    values: npt.ArrayLike,
    threshold: float,
    edges: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
) -> ShapeFit:
    """Fit an exponential or a power law above a threshold and test it on bins.

    The parameter is fitted to the unbinned rows. Its influence enters the covariance of shares minus fit, so the chi2
    has as many degrees of freedom as bins minus one (Rao & Robson, Commun. Stat. 3 (1974) 1139) and signed weights
    need nothing special.

    Parameters
    ----------
    shape
        Which one.
    values
        Rows above the threshold, shape (k,).
    threshold
        Where the tail begins, in the unit of the values; positive for a power law.
    edges
        Inner edges of the bins, shape (B - 1,), increasing, above the threshold.
    weight, group
        Signed weights and group of each row, shape (k,); ones and each row its own if not given.

    Raises
    ------
    DataError
        Values or edges do not lie above the threshold.
    """
    x, inner = np.asarray(values, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if (x <= threshold).any() or (inner <= threshold).any():
        msg = f"tail fit: values and edges must lie above the threshold {threshold:g}"
        raise DataError(msg)
    relative = _relative(x, weight)
    nothing = ShapeFit(shape, np.nan, np.nan, Chi2(np.nan, 0), np.nan)
    if relative is None or (shape == "power law" and threshold <= 0):
        return nothing
    depth = np.log(x / threshold) if shape == "power law" else x - threshold
    marks = np.log(inner / threshold) if shape == "power law" else inner - threshold
    parameter = float(relative @ depth)
    if not parameter > 0:
        return nothing
    own = relative * (depth - parameter)
    beyond = np.concatenate([[1.0], np.exp(-marks / parameter), [0.0]])
    slope = np.concatenate([[0.0], np.exp(-marks / parameter) * marks / parameter**2, [0.0]])
    cell = np.searchsorted(inner, x, side="left")
    share = np.bincount(cell, relative, len(inner) + 1)
    rows = relative[:, None] * (np.equal.outer(cell, np.arange(len(inner) + 1)) - share)
    rows -= np.outer(own, slope[:-1] - slope[1:])
    label = np.arange(len(x)) if group is None else np.unique(np.asarray(group), return_inverse=True)[1]
    summed = np.column_stack([np.bincount(label, column) for column in rows.T])
    chi2 = shape_chi2(share - (beyond[:-1] - beyond[1:]), summed.T @ summed)
    error = float(np.sqrt(np.sum(np.bincount(label, own) ** 2)))
    p_value = float(chi2_distribution.sf(chi2.value, chi2.ndf)) if chi2.ndf else np.nan
    return ShapeFit(shape, parameter, error, chi2, p_value)
