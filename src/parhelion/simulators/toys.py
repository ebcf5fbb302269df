"""Toy simulators whose truth is known exactly: amplification (camel, ring, shell) and tails (log-normal, Pareto).

Each toy maps the unit cube to its space and back. Mapped to the unit cube, true events are uniform with independent
coordinates (Rosenblatt, Ann. Math. Stat. 23 (1952) 470), so cells of the cube are quantiles of equal true probability
in any dimension. Random numbers are keyed by (seed, event id): an event is the same in every sample that holds it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import betainc, betaincinv, gammaln, ndtr, ndtri

from parhelion import noise
from parhelion.errors import ConfigError, ShapeError
from parhelion.sample import Field, Sample, Schema

FloatArray = npt.NDArray[np.float64]

CONSTANT: Final = Field("one")
_BISECTIONS: Final = 80
_GRID: Final = 1 << 15
_NORMALISATION: Final = math.sqrt(2.0 * math.pi)


class Toy(Protocol):
    """A distribution in `dimension` numbers without unit."""

    @property
    def dimension(self) -> int:
        """Numbers in one event."""
        ...

    def density(self, points: npt.ArrayLike) -> FloatArray:
        """Probability density, shape (n,), at points (n, d)."""
        ...

    def to_unit(self, points: npt.ArrayLike) -> FloatArray:
        """Points of the unit cube, shape (n, d), for points (n, d); uniform for true events."""
        ...

    def from_unit(self, unit: npt.ArrayLike) -> FloatArray:
        """Undo `to_unit`: events, shape (n, d), from uniform numbers (n, d) in (0, 1)."""
        ...


@dataclass(frozen=True)
class Camel:
    """Two normal distributions in one dimension, the camel back of arXiv:2008.06545, section 2.

    Attributes
    ----------
    centre
        The humps lie at plus and minus this.
    width
        Standard deviation of each.
    share
        Probability of the upper hump.
    """

    centre: float = 4.0
    width: float = 1.0
    share: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges."""
        if not (self.centre >= 0 and self.width > 0 and 0 < self.share < 1):
            msg = (
                f"camel: centre {self.centre:g}, width {self.width:g}, share {self.share:g}; expected at least 0, "
                "above 0, and between 0 and 1"
            )
            raise ConfigError(msg)

    @property
    def dimension(self) -> int:
        """One."""
        return 1

    def density(self, points: npt.ArrayLike) -> FloatArray:
        """Probability density, shape (n,), at points (n, 1)."""
        low, high = self._standardised(_matrix(points, 1)[:, 0])
        humps = (1 - self.share) * np.exp(-0.5 * low**2) + self.share * np.exp(-0.5 * high**2)
        found: FloatArray = humps / (_NORMALISATION * self.width)
        return found

    def cdf(self, values: npt.ArrayLike) -> FloatArray:
        """Cumulative probability of values, same shape."""
        low, high = self._standardised(np.asarray(values, dtype=np.float64))
        found: FloatArray = (1 - self.share) * ndtr(low) + self.share * ndtr(high)
        return found

    def quantile(self, probability: npt.ArrayLike) -> FloatArray:
        """Inverse of `cdf` by bisection, exact to rounding, same shape as the probabilities in (0, 1)."""
        p = np.asarray(probability, dtype=np.float64)
        reach = self.centre + self.width * (2.0 - ndtri(np.finfo(np.float64).tiny))
        low, high = np.full(p.shape, -reach), np.full(p.shape, reach)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        found: FloatArray = 0.5 * (low + high)
        return found

    def to_unit(self, points: npt.ArrayLike) -> FloatArray:
        """Cumulative probability of points (n, 1), same shape."""
        return self.cdf(_matrix(points, 1))

    def from_unit(self, unit: npt.ArrayLike) -> FloatArray:
        """Quantiles, shape (n, 1), of uniform numbers (n, 1)."""
        return self.quantile(_matrix(unit, 1))

    def _standardised(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return (x + self.centre) / self.width, (x - self.centre) / self.width


@dataclass(frozen=True)
class Shell:
    """Normal radius and uniform direction in d dimensions: ring and spherical shell of arXiv:2008.06545, sections 3, 4.

    Coordinates of the unit cube: cumulative probability of the radius, then of each hyperspherical angle, the azimuth
    last.

    Attributes
    ----------
    dimension
        2 for the ring.
    radius, width
        Mean and standard deviation of the normal distribution of the radius, which is cut off below 0.
    """

    dimension: int = 2
    radius: float = 4.0
    width: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.dimension < 2 or not (self.radius >= 0 and self.width > 0):
            msg = (
                f"shell: dimension {self.dimension}, radius {self.radius:g}, width {self.width:g}; expected at least "
                "2, at least 0, and above 0"
            )
            raise ConfigError(msg)

    def density(self, points: npt.ArrayLike) -> FloatArray:
        """Probability density, shape (n,), at points (n, d)."""
        x, d = _matrix(points, self.dimension), self.dimension
        r = np.linalg.norm(x, axis=1)
        z = (r - self.radius) / self.width
        radial = np.exp(-0.5 * z**2) / (_NORMALISATION * self.width * (1 - self._lost))
        # Area of the sphere of radius r: 2 pi^(d/2) / Gamma(d/2) r^(d-1).
        log_area = math.log(2.0) + 0.5 * d * math.log(math.pi) - gammaln(0.5 * d) + (d - 1) * np.log(r)
        found: FloatArray = radial * np.exp(-log_area)
        return found

    def to_unit(self, points: npt.ArrayLike) -> FloatArray:
        """Points of the unit cube, shape (n, d), for points (n, d)."""
        x, d = _matrix(points, self.dimension), self.dimension
        unit = np.empty_like(x)
        # Length of what is left of each vector from each entry on.
        rest = np.sqrt(np.cumsum(x[:, ::-1] ** 2, axis=1))[:, ::-1]
        unit[:, 0] = (ndtr((rest[:, 0] - self.radius) / self.width) - self._lost) / (1 - self._lost)
        for k in range(d - 2):
            cosine = x[:, k] / np.maximum(rest[:, k], np.finfo(np.float64).tiny)
            half = 0.5 * (d - 1 - k)
            unit[:, k + 1] = betainc(half, half, np.clip(0.5 * (1 - cosine), 0.0, 1.0))
        unit[:, d - 1] = (np.arctan2(x[:, d - 1], x[:, d - 2]) / (2 * math.pi)) % 1.0
        return unit

    def from_unit(self, unit: npt.ArrayLike) -> FloatArray:
        """Events, shape (n, d), from uniform numbers (n, d)."""
        u, d = _matrix(unit, self.dimension), self.dimension
        x = np.empty_like(u)
        rest = self.radius + self.width * ndtri(self._lost + (1 - self._lost) * u[:, 0])
        for k in range(d - 2):
            half = 0.5 * (d - 1 - k)
            cosine = 1 - 2 * betaincinv(half, half, u[:, k + 1])
            x[:, k] = rest * cosine
            rest = rest * np.sqrt(np.maximum(1 - cosine**2, 0.0))
        angle = 2 * math.pi * u[:, d - 1]
        x[:, d - 2], x[:, d - 1] = rest * np.cos(angle), rest * np.sin(angle)
        return x

    @property
    def _lost(self) -> float:
        """Probability that the uncut normal distribution has below radius 0."""
        return float(ndtr(-self.radius / self.width))


@dataclass(frozen=True)
class LogNormalTerms:
    """Independent, equal log-normal terms; their sum is the observable whose tail is asked for.

    A log-normal distribution has all moments but a tail heavier than any exponential.

    Attributes
    ----------
    dimension
        Number of terms.
    mu, sigma
        Mean and standard deviation of the logarithm of each term.
    """

    dimension: int = 4
    mu: float = 0.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.dimension < 1 or not self.sigma > 0:
            msg = f"log-normal terms: dimension {self.dimension}, sigma {self.sigma:g}; expected at least 1, above 0"
            raise ConfigError(msg)

    def density(self, points: npt.ArrayLike) -> FloatArray:
        """Joint density of the terms, shape (n,), at points (n, d); 0 where a term is not positive."""
        x = _matrix(points, self.dimension)
        inside = (x > 0).all(axis=1)
        log_x = np.log(np.where(x > 0, x, 1.0))
        z = (log_x - self.mu) / self.sigma
        terms = np.exp(-0.5 * z**2 - log_x) / (_NORMALISATION * self.sigma)
        return np.where(inside, np.prod(terms, axis=1), 0.0)

    def term_cdf(self, values: npt.ArrayLike) -> FloatArray:
        """Cumulative probability of one term, same shape as the values."""
        x = np.asarray(values, dtype=np.float64)
        z = (np.log(np.where(x > 0, x, 1.0)) - self.mu) / self.sigma
        return np.where(x > 0, ndtr(z), 0.0)

    def to_unit(self, points: npt.ArrayLike) -> FloatArray:
        """Cumulative probability of each term, same shape as the points (n, d)."""
        return self.term_cdf(_matrix(points, self.dimension))

    def from_unit(self, unit: npt.ArrayLike) -> FloatArray:
        """Events, shape (n, d), from uniform numbers (n, d)."""
        u = _matrix(unit, self.dimension)
        found: FloatArray = np.exp(self.mu + self.sigma * ndtri(u))
        return found

    @property
    def mean(self) -> float:
        """Expectation of the sum."""
        return self.dimension * math.exp(self.mu + 0.5 * self.sigma**2)

    @property
    def variance(self) -> float:
        """Variance of the sum."""
        return self.dimension * math.expm1(self.sigma**2) * math.exp(2 * self.mu + self.sigma**2)

    def exceedance(self, thresholds: npt.ArrayLike) -> FloatArray:
        """Probability that the sum exceeds each threshold.

        One term: exact. More: the terms, rounded to a grid of 2^15 steps up to the largest threshold, are convolved
        by fast Fourier transform. What lies above the largest threshold cannot come back below it, so the cut is no
        approximation. The error is below 1e-14 + 1e-4 of the probability where the largest threshold is at most 1000
        medians of a term (compared with integration for two terms).

        Parameters
        ----------
        thresholds
            Positive numbers, shape (k,).

        Returns
        -------
        ndarray
            Shape (k,).
        """
        t = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
        if self.dimension == 1:
            return 1.0 - self.term_cdf(t)
        step = float(t.max()) / _GRID
        edges = (np.arange(_GRID + 2) - 0.5) * step
        mass = np.diff(self.term_cdf(edges))
        length = next_fast_len(self.dimension * len(mass), real=True)
        total = irfft(rfft(mass, length) ** self.dimension, length)[: len(mass)]
        cumulative = np.cumsum(total)
        # The cumulative sum at grid point k is the probability up to the middle of the next cell.
        return np.interp(t, (np.arange(len(mass)) + 0.5) * step, 1.0 - cumulative)


@dataclass(frozen=True)
class Pareto:
    """Pure power law: P(x > t) = (minimum / t)^exponent for t above the minimum.

    The moments of order `exponent` and above do not exist.
    """

    exponent: float = 3.0
    minimum: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if not (self.exponent > 0 and self.minimum > 0):
            msg = f"Pareto: exponent {self.exponent:g}, minimum {self.minimum:g}; expected above 0"
            raise ConfigError(msg)

    @property
    def dimension(self) -> int:
        """One."""
        return 1

    def density(self, points: npt.ArrayLike) -> FloatArray:
        """Probability density, shape (n,), at points (n, 1)."""
        values = _matrix(points, 1)[:, 0]
        x = np.maximum(values, self.minimum)
        found: FloatArray = self.exponent / x * (self.minimum / x) ** self.exponent
        return np.where(values >= self.minimum, found, 0.0)

    def exceedance(self, thresholds: npt.ArrayLike) -> FloatArray:
        """Probability of exceeding each threshold, shape (k,)."""
        t = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
        found: FloatArray = (self.minimum / np.maximum(t, self.minimum)) ** self.exponent
        return found

    def quantile(self, probability: npt.ArrayLike) -> FloatArray:
        """Inverse of the cumulative distribution, same shape as the probabilities in (0, 1)."""
        p = np.asarray(probability, dtype=np.float64)
        found: FloatArray = self.minimum * (1 - p) ** (-1 / self.exponent)
        return found

    def to_unit(self, points: npt.ArrayLike) -> FloatArray:
        """Cumulative probability of points (n, 1), same shape."""
        x = _matrix(points, 1)
        return 1.0 - self.exceedance(x[:, 0])[:, None]

    def from_unit(self, unit: npt.ArrayLike) -> FloatArray:
        """Quantiles, shape (n, 1), of uniform numbers (n, 1)."""
        return self.quantile(_matrix(unit, 1))


def draw(toy: Toy, rows: int, seed: int, *, first_id: int = 0) -> FloatArray:
    """True events, shape (rows, d), with random numbers keyed by (seed, event id).

    Raises
    ------
    ConfigError
        `rows` is below 1.
    """
    if rows < 1:
        msg = f"toy: rows {rows}, expected at least 1"
        raise ConfigError(msg)
    return toy.from_unit(noise.uniform(seed, np.arange(first_id, first_id + rows), toy.dimension))


def sample_schema(dimension: int) -> Schema:
    """Fields of a toy's sample: the condition ``one``, always 1, and responses ``x`` or ``x0``, ``x1``, ...

    Some families of surrogates want at least one condition; a constant one carries no information.
    """
    names = ("x",) if dimension == 1 else tuple(f"x{i}" for i in range(dimension))
    return Schema(condition=(CONSTANT,), response=tuple(Field(name) for name in names))


def as_sample(points: npt.ArrayLike, *, first_id: int = 0, source: str = "toy") -> Sample:
    """Events (n, d) as a sample of `sample_schema`, weight 1, event ids from `first_id` on."""
    x = np.asarray(points, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    schema = sample_schema(x.shape[1])
    columns = {"one": np.ones(len(x)), **{f.name: x[:, i] for i, f in enumerate(schema.response)}}
    return Sample(schema, columns, event_id=np.arange(first_id, first_id + len(x)), source=source)


def simulate(toy: Toy, rows: int, seed: int, *, first_id: int = 0) -> Sample:
    """Simulate a sample of true events (see `draw`, `sample_schema`)."""
    return as_sample(draw(toy, rows, seed, first_id=first_id), first_id=first_id, source=type(toy).__name__.lower())


def _matrix(points: npt.ArrayLike, dimension: int) -> FloatArray:
    x = np.asarray(points, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != dimension:
        msg = f"toy: expected shape (n, {dimension}), got {x.shape}"
        raise ShapeError(msg)
    return x
