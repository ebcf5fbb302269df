"""Weighted quantile transform to a standard normal."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from parhelion.transforms.base import BoolArray, FloatArray, Transform

# Where the inverse ends, in distances between the outermost points.
_FAR = 10.0


def monotone_distribution(values: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Support points and distribution function of signed-weighted values.

    With signed weights the cumulative sum is not monotone; the closest monotone function in the least-squares sense
    weighted by sum |w| (isotonic regression) stands for it.

    Parameters
    ----------
    values
        Shape (n,).
    weight
        Signed weights, shape (n,), with positive sum.

    Returns
    -------
    tuple of ndarray
        Sorted distinct values and the distribution function there (middle of each step), both in (0, 1) order.
    """
    order = np.argsort(values, kind="stable")
    x, w = values[order], weight[order]
    support, start = np.unique(x, return_index=True)
    steps = np.add.reduceat(w, start)
    middle = (np.cumsum(steps) - 0.5 * steps) / np.sum(steps)
    if (steps < 0).any():
        from sklearn.isotonic import isotonic_regression

        middle = isotonic_regression(middle, sample_weight=np.add.reduceat(np.abs(w), start) + 1e-12)
    return support, np.clip(middle, 0.0, 1.0)


class Quantile(Transform):
    """Map each column to a standard normal through its weighted quantiles (rank-Gauss).

    A piecewise-linear, strictly increasing map through `knots` points placed at equal steps of the *normal* variable,
    so that the tails are resolved as well as the core; beyond the outermost points it goes on linearly. The inverse
    ends ten times as far beyond them as they lie apart: a network that errs gives a far number there, and no infinite
    one.
    """

    kind: ClassVar[str] = "quantile"
    x_knots: Tensor
    y_knots: Tensor

    def __init__(self, width: int, *, knots: int = 256, reach: float = 4.0) -> None:
        super().__init__(width)
        self.knots, self.reach = knots, reach
        line = torch.linspace(-reach, reach, knots).repeat(width, 1)
        self.register_buffer("x_knots", line.clone())
        self.register_buffer("y_knots", line.clone())

    @property
    def options(self) -> dict[str, Any]:
        """Number of points and the normal variable's reach."""
        return {"knots": self.knots, "reach": self.reach}

    def fit(self, x: FloatArray, weight: FloatArray, active: BoolArray | None = None) -> None:
        """Place the points at weighted quantiles of each column's active entries."""
        target = np.linspace(-self.reach, self.reach, self.knots)
        for j in range(self.width):
            keep = slice(None) if active is None else active[:, j]
            values, w = x[keep, j], weight[keep]
            if not len(values):
                continue
            if not np.sum(w) > 0:
                w = np.ones_like(w)
            support, probability = monotone_distribution(values, w)
            edge = 0.5 / len(values)
            normal = np.maximum.accumulate(ndtri(np.clip(probability, 0.25 * edge, 1 - 0.25 * edge)))
            strictly = np.concatenate([[True], np.diff(normal) > 1e-9])
            # The outermost points are those that the sample can still resolve.
            first, last = max(normal[0], -self.reach), min(normal[-1], self.reach)
            if strictly.sum() < 2 or not last - first > 1e-3:
                mean = float(np.average(values, weights=w))
                self.x_knots[j] = torch.as_tensor(mean + target * max(1.0, abs(mean)))
                self.y_knots[j] = torch.as_tensor(target)
                continue
            y = np.linspace(first, last, self.knots)
            points = np.interp(y, normal[strictly], support[strictly])
            self.x_knots[j] = torch.as_tensor(_increasing(points))
            self.y_knots[j] = torch.as_tensor(y)

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Least and largest number that the inverse gives, shape (width,) each."""
        first, last = self.x_knots[:, 0], self.x_knots[:, -1]
        far = _FAR * (last - first)
        return first - far, last + far

    def forward(self, x: Tensor) -> Tensor:
        """Physical to normal, shape (n, width)."""
        return _interpolate(x, self.x_knots, self.y_knots)[0]

    def inverse(self, y: Tensor) -> Tensor:
        """Normal to physical, shape (n, width)."""
        # The points are at equal steps of y: no search, and nothing that an exported graph lacks.
        first = self.y_knots[:, 0]
        place = (y - first) * ((self.knots - 1) / (self.y_knots[:, -1] - first))
        index = torch.floor(place).long().clamp(0, self.knots - 2)
        table = index + (self.knots - 1) * torch.arange(self.width, device=y.device)
        start, end = self.x_knots[:, :-1], self.x_knots[:, 1:]
        x = start.flatten()[table] + (end - start).flatten()[table] * (place - index)
        return torch.maximum(torch.minimum(x, self.ends[1]), self.ends[0])

    def log_det(self, x: Tensor) -> Tensor:
        """Logarithm of the local slope."""
        return torch.log(_interpolate(x, self.x_knots, self.y_knots)[1])


def _increasing(points: FloatArray) -> FloatArray:
    """Make points strictly increasing in float32 by the smallest steps that do."""
    span = max(float(points[-1] - points[0]), 1e-12)
    step = 1e-6 * max(span, 1e-3 * float(np.abs(points).max()))
    out = np.maximum.accumulate(points) + step * np.arange(len(points)) / len(points)
    smallest = 2e-7 * max(float(np.abs(out).max()), 1e-6)
    steps = smallest * np.arange(len(out))
    increasing: FloatArray = np.maximum.accumulate(out - steps) + steps
    return increasing


def _interpolate(x: Tensor, grid: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Piecewise-linear map and its slope, each (n, width), through (width, knots) points."""
    last = grid.shape[1] - 2
    index = torch.searchsorted(grid, x.T.contiguous(), right=True).sub(1).clamp(0, last)
    x0, x1 = grid.gather(1, index), grid.gather(1, index + 1)
    y0, y1 = values.gather(1, index), values.gather(1, index + 1)
    slope = (y1 - y0) / (x1 - x0)
    return (y0 + slope * (x.T - x0)).T, slope.T
