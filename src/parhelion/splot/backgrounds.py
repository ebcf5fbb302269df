"""Background shapes: smooth over the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from parhelion.errors import ConfigError
from parhelion.splot.shape import FloatArray, Hint, Role, Shape, Start, Window


@dataclass(frozen=True)
class Exponential(Shape):
    """Exponential falling by exp(-slope) from the lower to the upper end of the window; the slope may be negative."""

    name: ClassVar[str] = "exponential"
    role: ClassVar[Role] = "background"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Slope, a pure number: fall over the length of the window."""
        return ("slope",)

    def density(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.density`."""
        return np.exp(-values[0] / (window[1] - window[0]) * (x - window[0]))

    def integral(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.integral`."""
        rate = values[0] / (window[1] - window[0])
        if abs(values[0]) < 1e-9:
            return x - window[0]
        return -np.expm1(-rate * (x - window[0])) / rate

    def start(self, hint: Hint) -> dict[str, Start]:
        """See `Shape.start`."""
        slope = math.log(max(hint.left, 0.5) / max(hint.right, 0.5))
        return {"slope": Start(min(max(slope, -8.0), 8.0), -30.0, 30.0)}


@dataclass(frozen=True)
class Chebyshev(Shape):
    """Polynomial 1 + sum of c_k T_k(u), with u from -1 to 1 over the window; `degree` 1 is a straight line.

    The fit refuses a result that is negative anywhere in the window.
    """

    degree: int = 1
    name: ClassVar[str] = "chebyshev"
    role: ClassVar[Role] = "background"

    def __post_init__(self) -> None:
        """Check the option."""
        if isinstance(self.degree, bool) or not isinstance(self.degree, int) or not 0 <= self.degree <= 6:
            msg = f"mass shape chebyshev: degree {self.degree!r}, expected an integer from 0 to 6"
            raise ConfigError(msg)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Coefficients c1, c2, ... of the Chebyshev polynomials, relative to the constant."""
        return tuple(f"c{k}" for k in range(1, self.degree + 1))

    def density(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.density`."""
        u = 2 * (x - window[0]) / (window[1] - window[0]) - 1
        return np.asarray(np.polynomial.chebyshev.chebval(u, [1.0, *values]), dtype=np.float64)

    def integral(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """See `Shape.integral`."""
        span = window[1] - window[0]
        primitive = np.polynomial.chebyshev.chebint([1.0, *values], lbnd=-1)
        u = 2 * (x - window[0]) / span - 1
        return np.asarray(np.polynomial.chebyshev.chebval(u, primitive), dtype=np.float64) * span / 2

    def start(self, hint: Hint) -> dict[str, Start]:
        """See `Shape.start`."""
        starts = {name: Start(0.0, -1.5, 1.5) for name in self.parameters}
        if starts:
            tilt = (hint.right - hint.left) / max(hint.right + hint.left, 1.0)
            # Within (-1, 1) a straight line is positive on the whole window.
            starts["c1"] = Start(min(max(tilt, -0.9), 0.9), *((-1.0, 1.0) if self.degree == 1 else (-2.0, 2.0)))
        return starts
