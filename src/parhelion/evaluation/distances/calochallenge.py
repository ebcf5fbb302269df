"""The published estimators of the Frechet and kernel physics distances, for comparison with published numbers.

Both draw batches with replacement (Kansal et al., arXiv:2211.10295, and the evaluation of the CaloChallenge,
arXiv:2410.21611). The bias of finite samples therefore stays: as the batches grow, the value tends to the distance
of the two finite samples at hand, which for the Frechet distance and unit covariance is c (1/n + 1/m) above the true
one, c = d + d (d + 1) / 4. The modes ``unbiased`` of `frechet` and `kernel_distance` do not have it.
"""

from __future__ import annotations

import warnings
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeWarning, curve_fit

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.distances.moments import gaussian_frechet
from parhelion.evaluation.distances.quartic_kernel import Quartic, dense_sums, fits_tensors, quartic
from parhelion.evaluation.results.null import against_null
from parhelion.evaluation.results.result import Quantity
from parhelion.evaluation.samples.features import Scaling
from parhelion.evaluation.samples.vectors import checked_pair

FloatArray = npt.NDArray[np.float64]
Mode = Literal["unbiased", "calochallenge"]

CALOCHALLENGE_SEED: Final = 42
_SEED_STEP: Final = 1000
_PERCENTILES: Final = (16.275, 83.725)


def calochallenge_fpd(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    min_samples: int = 20_000,
    max_samples: int = 50_000,
    points: int = 10,
    batches: int = 20,
    seed: int = CALOCHALLENGE_SEED,
) -> tuple[float, float]:
    """Frechet physics distance as published: batches with replacement, extrapolated to infinite size.

    Batch sizes are equally spaced in 1/N; for each the distance is averaged over batches, and a line a + b / N with
    a, b >= 0 is fitted without weights. One generator serves all batches, rows of x drawn before those of y.

    Parameters
    ----------
    x, y
        Reference and generated features, shapes (n, d) and (m, d), already scaled; as published each is divided by
        the largest absolute value in the reference.
    min_samples, max_samples
        Smallest and largest batch, rows.
    points, batches
        Number of batch sizes, and of batches a size.
    seed
        Seed of the batches.

    Returns
    -------
    tuple
        Intercept a, and its standard error by the fit.

    Raises
    ------
    ConfigError
        Batches of fewer than 2 rows.
    DataError
        The arrays do not fit together, or a sample has fewer rows than the largest batch.
    """
    _require_pairs("min_samples", min_samples)
    ours, theirs, _, _ = checked_pair(x, y, None, None)
    _require_rows("max_samples", max_samples, len(ours), len(theirs))
    # The order of operations fixes the rounding down, and with it the published sizes.
    sizes = (1 / np.linspace(1.0 / min_samples, 1.0 / max_samples, points)).astype("int32")
    rng = np.random.default_rng(seed)
    means = []
    for size in sizes:
        distances = []
        for _ in range(batches):
            first = _moments(ours[rng.choice(len(ours), size=size)])
            second = _moments(theirs[rng.choice(len(theirs), size=size)])
            distances.append(_frechet(first, second))
        means.append(np.mean(distances))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        fitted, covariance = curve_fit(_line, 1 / sizes, means, bounds=([0, 0], [np.inf, np.inf]))
    error = float(np.sqrt(covariance[0, 0]))
    return float(fitted[0]), error if np.isfinite(error) else float(np.std(means))


def _line(x: FloatArray, intercept: float, slope: float) -> FloatArray:
    return intercept + slope * x


def _moments(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


def _frechet(first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]) -> float:
    return float(gaussian_frechet(*first, *second))


def calochallenge_kpd(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    batches: int = 10,
    batch_size: int = 5_000,
    seed: int = CALOCHALLENGE_SEED,
) -> tuple[float, float]:
    """Kernel physics distance as published: median over batches, drawn with replacement.

    Each batch has a generator of its own with seed ``seed + 1000 i``, rows of x drawn before those of y, and gives the
    unbiased estimate of MMD^2 with the kernel (x . y / d + 1)^4.

    Parameters
    ----------
    x, y
        Reference and generated features, shapes (n, d) and (m, d), already scaled; as published each is divided by
        the largest absolute value in the reference.
    batches, batch_size
        Number of batches, and rows in each.
    seed
        Seed of the batches.

    Returns
    -------
    tuple
        Median, and half the distance of the percentiles 16.275 and 83.725: the spread of one batch, no standard error
        of the median.

    Raises
    ------
    ConfigError
        Batches of fewer than 2 rows.
    DataError
        The arrays do not fit together, or a sample has fewer rows than a batch.
    """
    _require_pairs("batch_size", batch_size)
    ours, theirs, _, _ = checked_pair(x, y, None, None)
    _require_rows("batch_size", batch_size, len(ours), len(theirs))
    found = []
    for index in range(batches):
        rng = np.random.default_rng(seed + _SEED_STEP * index)
        first = ours[rng.choice(len(ours), size=batch_size)]
        second = theirs[rng.choice(len(theirs), size=batch_size)]
        found.append(_mmd(first, second))
    low, high = np.percentile(found, _PERCENTILES)
    return float(np.median(found)), float(high - low) / 2


def _mmd(x: FloatArray, y: FloatArray) -> float:
    """Unbiased MMD^2 of equally many rows."""
    n, width = x.shape
    if fits_tensors(width):
        kernel = Quartic(width)
        a, b = kernel.sum(x), kernel.sum(y)
        xx, yy, xy = a @ a, b @ b, a @ b
    else:
        (xx, xy), (_, yy) = dense_sums(np.concatenate([x, y]), np.repeat(np.eye(2), n, axis=0))
    own = sum(float(np.sum(quartic(z, z))) for z in (x, y))
    return float((xx + yy - own) / (n * (n - 1)) - 2 * xy / n**2)


def scaling_of(mode: Mode, scaling: Scaling | None, metric: str) -> Scaling:
    """Scaling of the features: the chosen one; if none is, ``standard``, and ``max`` in the mode ``calochallenge``.

    Raises
    ------
    ConfigError
        The mode ``calochallenge`` with another scaling than the published one.
    """
    if mode != "calochallenge":
        return scaling or "standard"
    if scaling not in (None, "max"):
        msg = f"metric {metric}: scaling {scaling} with mode calochallenge, expected max, as published"
        raise ConfigError(msg)
    return "max"


def require_equal(*weights: FloatArray) -> None:
    """Refuse weights where the published estimator has none.

    Raises
    ------
    DataError
        The weights of a sample are not all equal.
    """
    if any(np.ptp(w) > 1e-9 * np.abs(w).max() for w in weights):
        msg = "the weights differ, and the published estimator takes none; use mode: unbiased, samples without weights"
        raise DataError(msg)


def biased_quantity(value: float, error: float, noise: float, biased_null: FloatArray, seed: int) -> Quantity:
    """Quantity of a published estimator.

    Parameters
    ----------
    value, error
        As published.
    noise
        Standard error of the value from the choice of batches.
    biased_null
        Draws of the distance of two finite samples in the null, shape (replicas,).
    seed
        Seed of the noise that is added to the draws.
    """
    rng = np.random.default_rng([seed, 2])
    draws = np.maximum(biased_null, 0.0) + noise * rng.normal(size=len(biased_null))
    return against_null(value, error, draws, limit=0.0)


def _require_pairs(option: str, rows: int) -> None:
    if rows < 2:
        msg = f"{option} {rows}, expected at least 2: one row has no covariance and no pairs"
        raise ConfigError(msg)


def _require_rows(option: str, needed: int, n: int, m: int) -> None:
    if min(n, m) < needed:
        msg = (
            f"the published estimator draws batches of up to {needed:,} rows, and a sample has {min(n, m):,}; give "
            f"more rows, lower {option}, or use mode: unbiased"
        )
        raise DataError(msg)
