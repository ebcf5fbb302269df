"""What a mass shape is: a density on a window with an exact integral, and where a fit may start.

A shape gives an unnormalised density and its integral in closed form; `Shape.pdf` and `Shape.cdf` follow from these,
so every shape is normalised on its window to rounding error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Window = tuple[float, float]
Role = Literal["signal", "background"]


@dataclass(frozen=True)
class Start:
    """Start value and limits of one parameter."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Hint:
    """What a look at the mass histogram tells before the fit.

    Attributes
    ----------
    window
        Lower and upper end, unit of mass.
    position
        Highest excess over a straight line between the edges, unit of mass.
    width
        Standard deviation of a Gaussian with the half-maximum width of that excess, unit of mass.
    left, right
        Rows per bin near the two ends of the window.
    """

    window: Window
    position: float
    width: float
    left: float
    right: float

    @property
    def span(self) -> float:
        """Length of the window, unit of mass."""
        return self.window[1] - self.window[0]


class Shape(ABC):
    """One component of a mass spectrum."""

    name: ClassVar[str]
    role: ClassVar[Role]

    @property
    @abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Parameter names, in the order that the methods take them."""

    @abstractmethod
    def density(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """Density up to a constant at masses x, shape (n,)."""

    @abstractmethod
    def integral(self, x: FloatArray, window: Window, values: Sequence[float]) -> FloatArray:
        """Integral of `density` from the lower end of the window to x, shape (n,)."""

    @abstractmethod
    def start(self, hint: Hint) -> dict[str, Start]:
        """Start value and limits of each parameter, from a look at the data."""

    def pdf(self, x: npt.ArrayLike, window: Window, values: Sequence[float]) -> FloatArray:
        """Probability density on the window.

        Parameters
        ----------
        x
            Masses inside the window, shape (n,), unit of mass.
        window
            Lower and upper end, unit of mass.
        values
            Parameter values in the order of `parameters`.

        Returns
        -------
        ndarray
            Shape (n,), 1 / unit of mass; integrates to 1 over the window.
        """
        mass = np.asarray(x, dtype=np.float64)
        norm = self.integral(np.asarray([window[1]]), window, values)[0]
        return np.asarray(self.density(mass, window, values) / norm)

    def cdf(self, x: npt.ArrayLike, window: Window, values: Sequence[float]) -> FloatArray:
        """Distribution function on the window, shape (n,): 0 at its lower end, 1 at its upper end."""
        mass = np.asarray(x, dtype=np.float64)
        norm = self.integral(np.asarray([window[1]]), window, values)[0]
        return np.asarray(self.integral(mass, window, values) / norm)

    def to_dict(self) -> dict[str, Any]:
        """Name and options, for JSON and study files."""
        return {"shape": self.name, **asdict(self)}  # type: ignore[call-overload]
