"""Estimates of parameters on weighted samples, with what each row does to them; scores learned from a reference.

An estimate that is the mean of a function psi of a row, or smooth in such means, has a variance V per event; the error
of an analysis of n events is sqrt(V / n), and 1 / V is the information of one event on the parameter. For a
maximum-likelihood fit psi = s / I with the score s = d log p(x | theta) / d theta and its Fisher information I, and
V = 1 / I; for any other estimating function s it is psi = s / H with H = d E[s] / d theta (Godambe 1960; van der Vaart,
Asymptotic Statistics, 1998, section 5.3). Pure functions of arrays; weights are signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.evaluation.samples.binning import weighted_quantile
from parhelion.weights import require_positive_total, summarise

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# A variance below this share of the largest square is rounding.
_ROUNDING = 1e-24
_GRID_PER_BANDWIDTH = 8
_LEAST_DENSITY = 1e-4


@dataclass(frozen=True)
class Estimate:
    """A parameter measured on one sample.

    Attributes
    ----------
    value
        The estimate, in the parameter's unit.
    variance
        Variance V that one event of weight 1 contributes, in the squared unit.
    influence, variance_influence
        First-order change of `value` and `variance` by each row, shape (n,); their sums are 0. Rows without weight
        have none.
    """

    value: float
    variance: float
    influence: FloatArray
    variance_influence: FloatArray


def mean_estimate(
    values: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    stratum: npt.ArrayLike | None = None,
    shares: npt.ArrayLike | None = None,
) -> Estimate:
    """Weighted mean of a function of the row.

    Parameters
    ----------
    values
        The function psi of each row, shape (n,), in the parameter's unit.
    weight
        Signed weights, shape (n,); 0 leaves a row out.
    stratum, shares
        Class of each row as 0, 1, ..., shape (n,), and the share of each class, shape (k,), where the shares are known
        rather than measured. Shares of the sample if not given.

    Returns
    -------
    Estimate
        V is the variance of psi.

    Raises
    ------
    DataError
        A sum of weights is not positive, or signed weights make the variance negative.
    """
    x, w = np.asarray(values, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    code = np.zeros(len(x), dtype=np.int64) if stratum is None else np.asarray(stratum, dtype=np.int64)
    known = np.ones(1) if shares is None else np.asarray(shares, dtype=np.float64)
    totals = np.bincount(code, w, len(known))
    for total in totals:
        require_positive_total([total])
    relative = w * (known / totals)[code]
    value = float(relative @ x)
    squares = (x - value) ** 2
    variance = _positive_variance(float(relative @ squares), x[w != 0])

    def centred(part: FloatArray) -> FloatArray:
        inner = np.bincount(code, relative * part, len(known)) / known
        found: FloatArray = relative * (part - inner[code])
        return found

    return Estimate(value, variance, centred(x), centred(squares))


def width_estimate(values: npt.ArrayLike, weight: npt.ArrayLike) -> Estimate:
    """Weighted standard deviation.

    Parameters
    ----------
    values
        Shape (n,); the fourth moment must exist, for the error of V the eighth.
    weight
        Signed weights, shape (n,); 0 leaves a row out.

    Returns
    -------
    Estimate
        V = (mu_4 - sigma^4) / (4 sigma^2), which is sigma^2 / 2 for a normal distribution.

    Raises
    ------
    DataError
        The sum of weights is not positive, or signed weights make a variance negative.
    """
    x, w = np.asarray(values, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    require_positive_total(w)
    relative = w / np.sum(w)
    d = x - relative @ x
    second = _positive_variance(float(relative @ d**2), x[w != 0])
    if second == 0.0:
        return Estimate(0.0, 0.0, np.zeros(len(x)), np.zeros(len(x)))
    third, fourth = float(relative @ d**3), float(relative @ d**4)
    variance = _positive_variance((fourth - second**2) / (4 * second), d[w != 0])
    of_second = relative * (d**2 - second)
    of_fourth = relative * (d**4 - fourth - 4 * third * d)
    of_variance = (of_fourth - 2 * second * of_second) / (4 * second) - variance / second * of_second
    return Estimate(float(np.sqrt(second)), variance, of_second / (2 * np.sqrt(second)), of_variance)


def _positive_variance(found: float, values: FloatArray) -> float:
    """Variance, 0 where it is rounding; refuse a negative one."""
    rounding = _ROUNDING * float(np.max(np.abs(values), initial=0.0)) ** 2
    if abs(found) <= rounding:
        return 0.0
    if found < 0:
        msg = (
            f"signed weights give a variance of {found:.4g}, expected a positive number; the rows are too few for "
            "these weights: take more, or leave the parameter out"
        )
        raise DataError(msg)
    return found


@dataclass(frozen=True)
class Slope:
    """Minus the slope of a log-density, tabulated.

    Attributes
    ----------
    grid, score
        Shape (g,): values, in the field's unit, and -d log p / dx there, in its inverse.
    """

    grid: FloatArray
    score: FloatArray

    def shift(self, x: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Score of a shift of the distribution at x, and its response to one, -d log p / dx and its slope.

        Beyond the ends of the grid the score stays what it is there.
        """
        x = np.asarray(x, dtype=np.float64)
        inside = (x >= self.grid[0]) & (x <= self.grid[-1])
        change = np.gradient(self.score, self.grid)
        return np.interp(x, self.grid, self.score), np.where(inside, np.interp(x, self.grid, change), 0.0)

    def scale(self, x: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Score of a scale factor on x, -1 - x d log p / dx, and its response to one."""
        x = np.asarray(x, dtype=np.float64)
        score, change = self.shift(x)
        held = np.clip(x, self.grid[0], self.grid[-1])
        inside = held == x
        return held * score - 1.0, np.where(inside, x * (score + x * change), 0.0)


def density_slope(values: npt.ArrayLike, weight: npt.ArrayLike, *, tail: float = 0.001) -> Slope:
    """Estimate the slope of a log-density by a Gaussian kernel on a grid.

    The bandwidth is the normal reference rule for a density's first derivative, (4 / 5)^(1/7) sigma n^(-1/7) with the
    robust sigma and the effective n (Chacon, Duong & Wand 2011). A score that is smoothed too much makes an estimate
    less precise, not biased. Values that many rows share (atoms) are smoothed like the rest.

    Parameters
    ----------
    values, weight
        Shape (n,); signed weights with a positive sum.
    tail
        Share of the weight beyond either end of the grid.

    Raises
    ------
    DataError
        The values do not spread: a shift of a constant has no finite information.
    """
    x, w = np.asarray(values, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    require_positive_total(w)
    low, first, last, high = weighted_quantile(x, w, [tail, 0.16, 0.84, 1 - tail])
    sigma = 0.5 * (last - first) or (high - low) / 6
    if not sigma > 0:
        msg = f"{100 * (1 - 2 * tail):.4g} % of the values are {low:.6g}; a shift or scale needs values that spread"
        raise DataError(msg)
    bandwidth = sigma * (0.8 / max(summarise(w).effective, 2.0)) ** (1 / 7)
    reach = 5 * bandwidth
    # A long tail makes the grid long, not fine.
    cells = int(np.clip((high - low + 2 * reach) / bandwidth * _GRID_PER_BANDWIDTH, 64, 20_000))
    edges = np.linspace(low - reach, high + reach, cells + 1)
    content = np.histogram(x, edges, weights=w)[0]
    step = edges[1] - edges[0]
    half = max(int(np.ceil(reach / step)), 1)
    u = np.arange(-half, half + 1) * step / bandwidth
    kernel = np.exp(-0.5 * u**2)
    density = _convolve(content, kernel)
    change = _convolve(content, -u / bandwidth * kernel)
    grid = 0.5 * (edges[1:] + edges[:-1])
    kept = (grid >= low) & (grid <= high)
    floor = _LEAST_DENSITY * float(density.max())
    return Slope(grid[kept], (-change / np.maximum(density, floor))[kept])


def _convolve(content: FloatArray, kernel: FloatArray) -> FloatArray:
    from scipy.signal import fftconvolve

    found: FloatArray = fftconvolve(content, kernel, mode="same")
    return found


def train_share(
    first: FloatArray,
    second: FloatArray,
    first_weight: FloatArray,
    second_weight: FloatArray,
    *,
    seed: int,
    trees: int = 60,
    min_leaf: int = 200,
) -> Callable[[FloatArray], FloatArray]:
    """Learn the share p_1 / (p_1 + p_2) of the first of two densities.

    Two sums of boosted trees regress the weight of either class, 0 for rows of the other, on the features; their
    ratio, cut at 0, is the share. A squared loss takes signed weights, which a log-likelihood does not (compare
    Borisyak & Kazeev, arXiv:1905.11719, section 3).

    Parameters
    ----------
    first, second
        Features, shapes (n, d) and (m, d).
    first_weight, second_weight
        Signed weights with positive sums.
    seed
        Seed of the trees.
    trees, min_leaf
        Number of trees, and least number of rows in a leaf.

    Returns
    -------
    callable
        Features (k, d) to shares (k,), inside 1e-4 to 1 - 1e-4.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    features = np.concatenate([first, second])
    size = len(first), len(second)
    models = []
    for k, weight in enumerate((first_weight, second_weight)):
        target = np.zeros(sum(size))
        target[size[0] * k : size[0] + size[1] * k] = weight * (sum(size) / np.sum(weight))
        model = HistGradientBoostingRegressor(
            max_iter=trees,
            learning_rate=0.1,
            # Leaves that hold no weight on average say nothing; small samples need small leaves all the same.
            min_samples_leaf=min(min_leaf, max(10, sum(size) // 20)),
            early_stopping=False,
            random_state=seed % 2**32,
        )
        models.append(model.fit(features, target))

    def share(x: FloatArray) -> FloatArray:
        if len(x) == 0:
            return np.empty(0)
        a, b = (np.maximum(np.asarray(model.predict(x), dtype=np.float64), 1e-12) for model in models)
        found: FloatArray = np.clip(a / (a + b), 1e-4, 1 - 1e-4)
        return found

    return share


def fraction_score(share: npt.ArrayLike, fraction: float) -> FloatArray:
    """Score of the fraction f of the first of two classes in their mixture, (p_1 - p_2) / (f p_1 + (1 - f) p_2).

    Its information is the mean of its square, whatever the share is (-ds/df = s^2).

    Parameters
    ----------
    share
        p_1 / (p_1 + p_2) of each row, shape (n,).
    fraction
        f, between 0 and 1.
    """
    t = np.asarray(share, dtype=np.float64)
    found: FloatArray = (2 * t - 1) / (fraction * t + (1 - fraction) * (1 - t))
    return found


def bias_from_ratio(
    score: npt.ArrayLike, ratio: npt.ArrayLike, weight: npt.ArrayLike, variance: float
) -> tuple[float, float]:
    """Bias of a parameter by a density ratio, I^-1 E_gen[(w - 1) s] with I^-1 the variance of one event.

    It equals I^-1 (E_ref[s] - E_gen[s]) for the exact ratio; for a learned one it is what the classifier has found of
    it. The error is that of the generated sample's mean alone: the training's is not in it.

    Parameters
    ----------
    score
        Score of each generated row, shape (m,), in inverse units of the parameter.
    ratio
        w = p_ref / p_gen of each generated row, shape (m,).
    weight
        Signed weights of the generated rows, shape (m,).
    variance
        V = 1 / I, in squared units of the parameter.

    Returns
    -------
    tuple
        Bias and its error, in the parameter's unit.
    """
    s, r, v = (np.asarray(a, dtype=np.float64) for a in (score, ratio, weight))
    relative = v / np.sum(v)
    terms = variance * (r - 1) * s
    value = float(relative @ terms)
    return value, float(np.sqrt(np.sum((relative * (terms - value)) ** 2)))
