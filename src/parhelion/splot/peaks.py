"""Signal shapes: peaks with and without power-law tails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.special import ndtr

from parhelion.errors import ConfigError
from parhelion.splot.shape import FloatArray, Hint, Role, Shape, Start, Window

_SQRT_2PI = math.sqrt(2 * math.pi)
# Stands for "no tail on this side": exp(-alpha^2 / 2) is exactly zero, and all arithmetic stays finite.
_NO_TAIL = 1e3


def _peak_start(hint: Hint) -> dict[str, Start]:
    return {
        "mean": Start(hint.position, *hint.window),
        "width": Start(hint.width, 1e-3 * hint.span, 0.25 * hint.span),
    }


@dataclass(frozen=True)
class Gaussian(Shape):
    """Gaussian with parameters mean and width (standard deviation)."""

    name: ClassVar[str] = "gaussian"
    role: ClassVar[Role] = "signal"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Mean and width, unit of mass."""
        return ("mean", "width")

    def density(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.density`."""
        mean, width = values
        return _normal(x, mean, width)

    def integral(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.integral`."""
        mean, width = values
        return _normal_integral(x, window, mean, width)

    def start(self, hint: Hint) -> dict[str, Start]:
        """See `Shape.start`."""
        return _peak_start(hint)


@dataclass(frozen=True)
class DoubleGaussian(Shape):
    """Two Gaussians with a common mean.

    The wide one is `ratio` > 1 times wider than the narrow one of `width`, so that the two cannot change places;
    `fraction` is the share of the narrow one.
    """

    name: ClassVar[str] = "double_gaussian"
    role: ClassVar[Role] = "signal"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Mean and width in the unit of mass; ratio and fraction are pure numbers."""
        return ("mean", "width", "ratio", "fraction")

    def density(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.density`."""
        mean, width, ratio, fraction = values
        return fraction * _normal(x, mean, width) + (1 - fraction) * _normal(x, mean, width * ratio)

    def integral(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.integral`."""
        mean, width, ratio, fraction = values
        narrow = _normal_integral(x, window, mean, width)
        return fraction * narrow + (1 - fraction) * _normal_integral(x, window, mean, width * ratio)

    def start(self, hint: Hint) -> dict[str, Start]:
        """See `Shape.start`."""
        return {**_peak_start(hint), "ratio": Start(2.0, 1.1, 4.0), "fraction": Start(0.7, 0.2, 1.0)}


@dataclass(frozen=True)
class CrystalBall(Shape):
    """Gaussian core with a power-law tail on one side.

    The tail starts alpha widths from the mean and falls with power n (J. E. Gaiser, SLAC-R-255, 1982, appendix F;
    T. Skwarnicki, DESY F31-86-02, 1986, appendix E).

    Attributes
    ----------
    tail
        ``low`` (energy loss, bremsstrahlung) or ``high``.
    """

    tail: Literal["low", "high"] = "low"
    name: ClassVar[str] = "crystal_ball"
    role: ClassVar[Role] = "signal"

    def __post_init__(self) -> None:
        """Check the option."""
        if self.tail not in ("low", "high"):
            msg = f"mass shape crystal_ball: tail {self.tail!r}, expected low or high"
            raise ConfigError(msg)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Mean and width in the unit of mass; alpha in widths; n is a pure number."""
        return ("mean", "width", "alpha", "n")

    def _tails(self, alpha: float, n: float) -> tuple[float, float, float, float]:
        return (alpha, n, _NO_TAIL, 2.0) if self.tail == "low" else (_NO_TAIL, 2.0, alpha, n)

    def density(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.density`."""
        mean, width, alpha, n = values
        return _tailed(x, mean, width, self._tails(alpha, n))

    def integral(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.integral`."""
        mean, width, alpha, n = values
        return _tailed_integral(x, window, mean, width, self._tails(alpha, n))

    def start(self, hint: Hint) -> dict[str, Start]:
        """See `Shape.start`."""
        return {**_peak_start(hint), "alpha": Start(1.5, 0.1, 4.0), "n": Start(3.0, 1.05, 60.0)}


@dataclass(frozen=True)
class DoubleCrystalBall(Shape):
    """Gaussian core with a power-law tail on each side (see `CrystalBall`)."""

    name: ClassVar[str] = "double_crystal_ball"
    role: ClassVar[Role] = "signal"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Mean and width in the unit of mass; alphas in widths; powers are pure numbers."""
        return ("mean", "width", "alpha_low", "n_low", "alpha_high", "n_high")

    def density(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.density`."""
        mean, width, a_low, n_low, a_high, n_high = values
        return _tailed(x, mean, width, (a_low, n_low, a_high, n_high))

    def integral(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.integral`."""
        mean, width, a_low, n_low, a_high, n_high = values
        return _tailed_integral(x, window, mean, width, (a_low, n_low, a_high, n_high))

    def start(self, hint: Hint) -> dict[str, Start]:
        """See `Shape.start`."""
        return {
            **_peak_start(hint),
            "alpha_low": Start(1.5, 0.1, 4.0),
            "n_low": Start(3.0, 1.05, 60.0),
            "alpha_high": Start(1.8, 0.1, 4.0),
            "n_high": Start(3.0, 1.05, 60.0),
        }


def _normal(x: FloatArray, mean: float, width: float) -> FloatArray:
    t = (x - mean) / width
    return np.exp(-0.5 * t * t) / (_SQRT_2PI * width)


def _normal_integral(x: FloatArray, window: Window, mean: float, width: float) -> FloatArray:
    return np.asarray(ndtr((x - mean) / width) - ndtr((window[0] - mean) / width))


def _tailed(x: FloatArray, mean: float, width: float, tails: tuple[float, float, float, float]) -> FloatArray:
    a_low, n_low, a_high, n_high = tails
    t = (x - mean) / width
    out = np.exp(-0.5 * t * t)
    for depth, alpha, n in ((-t, a_low, n_low), (t, a_high, n_high)):
        beyond = depth > alpha
        if beyond.any():
            power = (1 + alpha / n * (depth[beyond] - alpha)) ** -n
            out[beyond] = math.exp(-0.5 * alpha * alpha) * power
    return out


def _half_integral(depth: FloatArray, alpha: float, n: float) -> FloatArray:
    """Integral of one half of the tailed shape from infinitely far out to `depth` >= 0 widths from its mean."""
    tail = math.exp(-0.5 * alpha * alpha) * n / (alpha * (n - 1))
    core = tail + _SQRT_2PI * (ndtr(-np.minimum(depth, alpha)) - ndtr(-alpha))
    beyond = (1 + alpha / n * np.maximum(depth - alpha, 0.0)) ** (1 - n)
    return np.where(depth > alpha, tail * beyond, core)


def _tailed_integral(
    x: FloatArray, window: Window, mean: float, width: float, tails: tuple[float, float, float, float]
) -> FloatArray:
    a_low, n_low, a_high, n_high = tails

    def from_far(t: FloatArray) -> FloatArray:
        zero = np.zeros(1)
        below = _half_integral(np.maximum(-t, 0.0), a_low, n_low)
        above = _half_integral(zero, a_high, n_high) - _half_integral(np.maximum(t, 0.0), a_high, n_high)
        return below + above

    low = from_far(np.asarray([(window[0] - mean) / width]))
    return width * (from_far((x - mean) / width) - low)
