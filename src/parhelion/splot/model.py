"""What is fitted: a window, a signal shape and a background shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError
from parhelion.splot.backgrounds import Exponential
from parhelion.splot.shape import Hint, Shape, Start, Window
from parhelion.splot.shapes import shape_from

FloatArray = npt.NDArray[np.float64]
_KEYS = ("window", "signal", "background", "start", "fixed")


@dataclass(frozen=True)
class MassModel:
    """Signal and background shapes on a mass window.

    Attributes
    ----------
    window
        Lower and upper end, unit of mass; rows outside are left out.
    signal, background
        Mass shapes.
    start
        Start values of parameters, by name, where those taken from the data do not do.
    fixed
        Parameters held at a value, by name (the power of a tail that the data cannot determine).

    Raises
    ------
    ConfigError
        The window is empty, a shape does not fit its role, or a parameter name is unknown.
    """

    window: Window
    signal: Shape
    background: Shape = field(default_factory=Exponential)
    start: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        low, high = self.window
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            msg = f"mass model: window {low:g} to {high:g}, expected a lower end below an upper end"
            raise ConfigError(msg)
        shape_from(self.signal, "signal")
        shape_from(self.background, "background")
        for key in (*self.start, *self.fixed):
            if key not in self.parameters:
                msg = f"mass model: no parameter {key}; there are {', '.join(self.parameters)}"
                raise ConfigError(msg)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the shape parameters, signal first."""
        return self.signal.parameters + self.background.parameters

    def densities(self, mass: npt.ArrayLike, values: Mapping[str, float]) -> FloatArray:
        """Signal and background densities on the window.

        Parameters
        ----------
        mass
            Masses inside the window, shape (n,).
        values
            All shape parameters by name.

        Returns
        -------
        ndarray
            Shape (n, 2), 1 / unit of mass: signal, background.
        """
        x = np.asarray(mass, dtype=np.float64)
        return np.stack(
            [s.pdf(x, self.window, [values[p] for p in s.parameters]) for s in (self.signal, self.background)],
            axis=1,
        )

    def expected(self, edges: npt.ArrayLike, values: Mapping[str, float]) -> FloatArray:
        """Share of signal and of background in each bin, shape (bins, 2), for bin edges of shape (bins + 1,)."""
        x = np.asarray(edges, dtype=np.float64)
        return np.stack(
            [np.diff(s.cdf(x, self.window, [values[p] for p in s.parameters])) for s in (self.signal, self.background)],
            axis=1,
        )

    def starts(self, hint: Hint) -> dict[str, Start]:
        """Start values and limits of the shape parameters, from a look at the data."""
        starts = {**self.signal.start(hint), **self.background.start(hint)}
        for key, value in {**self.start, **self.fixed}.items():
            old = starts[key]
            starts[key] = replace(old, value=value, lower=min(old.lower, value), upper=max(old.upper, value))
        return starts

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON and study files; `from_dict` undoes it."""
        return {
            "window": list(self.window),
            "signal": self.signal.to_dict(),
            "background": self.background.to_dict(),
            "start": dict(self.start),
            "fixed": dict(self.fixed),
        }

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> MassModel:
        """Build from a plain mapping with the keys window, signal, background, start, fixed.

        A shape is given by its name (``gaussian``) or with options (``{shape: chebyshev, degree: 2}``).

        Raises
        ------
        ConfigError
            A key, a shape or an option is unknown or missing, or a value is not a number.
        """
        unknown = [key for key in spec if key not in _KEYS]
        if unknown:
            msg = f"mass model: unknown key {unknown[0]}; the keys are {', '.join(_KEYS)}"
            raise ConfigError(msg)
        window = spec.get("window")
        try:
            low, high = (float(v) for v in window)  # type: ignore[union-attr]
        except (TypeError, ValueError):
            msg = f"mass model: window {window!r}, expected two numbers in the unit of the mass"
            raise ConfigError(msg) from None
        return cls(
            window=(low, high),
            signal=shape_from(spec.get("signal", "double_gaussian"), "signal"),
            background=shape_from(spec.get("background", "exponential"), "background"),
            start=_numbers(spec.get("start"), "start"),
            fixed=_numbers(spec.get("fixed"), "fixed"),
        )


def _numbers(values: object, key: str) -> dict[str, float]:
    try:
        return {str(k): float(v) for k, v in dict(values or {}).items()}  # type: ignore[call-overload]
    except (TypeError, ValueError):
        msg = f"mass model: {key} {values!r}, expected parameter names with numbers"
        raise ConfigError(msg) from None


def look(counts: FloatArray, window: Window) -> Hint:
    """Find the peak above a straight line between the two ends of the window.

    Parameters
    ----------
    counts
        Histogram of the window in equal bins, shape (bins,).
    window
        Lower and upper end, unit of mass.
    """
    bins = len(counts)
    size = (window[1] - window[0]) / bins
    edge = max(1, bins // 12)
    left, right = float(np.mean(counts[:edge])), float(np.mean(counts[-edge:]))
    # A running mean over a few bins keeps single-bin fluctuations from looking like a peak.
    kernel = np.ones(max(1, bins // 50))
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")
    excess = smooth - np.linspace(left, right, bins)
    top = int(np.argmax(excess))
    above = excess > 0.5 * excess[top]
    # Only bins joined to the peak count.
    below_left = np.flatnonzero(~above[:top])
    below_right = np.flatnonzero(~above[top:])
    first = int(below_left[-1]) + 1 if len(below_left) else 0
    last = top + int(below_right[0]) if len(below_right) else bins
    width = max(1.0, last - first) * size / (2 * math.sqrt(2 * math.log(2)))
    return Hint(window, window[0] + (top + 0.5) * size, min(width, 0.2 * (window[1] - window[0])), left, right)
