"""Elementwise transforms with few parameters."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from parhelion.errors import DataError
from parhelion.transforms.base import BoolArray, FloatArray, Transform


class Affine(Transform):
    """Shift and scale each column to weighted mean 0 and standard deviation 1."""

    kind: ClassVar[str] = "affine"
    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def fit(self, x: FloatArray, weight: FloatArray, active: BoolArray | None = None) -> None:
        """Take weighted mean and standard deviation of each column's active entries.

        Where signed weights give a variance that is not positive, the unweighted one is taken.
        """
        for j in range(self.width):
            keep = slice(None) if active is None else active[:, j]
            values, w = x[keep, j], weight[keep]
            if not len(values):
                continue
            if not np.sum(w) > 0:
                w = np.ones_like(w)
            mean = np.average(values, weights=w)
            variance = np.average((values - mean) ** 2, weights=w)
            # A constant column's variance is rounding, not spread.
            rounding = (1e-7 * np.abs(values).max()) ** 2
            if not variance > rounding:
                mean, variance = values.mean(), values.var()
            self.mean[j] = float(mean)
            self.scale[j] = float(np.sqrt(variance)) if variance > rounding else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Standardise (n, width)."""
        return (x - self.mean) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Undo the standardisation."""
        return y * self.scale + self.mean

    def log_det(self, x: Tensor) -> Tensor:
        """Minus the logarithm of the scale."""
        return -torch.log(self.scale).expand_as(x)


class Symlog(Transform):
    """sign(x) log(1 + |x| / linear): linear near 0, logarithmic in both tails."""

    kind: ClassVar[str] = "symlog"

    def __init__(self, width: int, *, linear: float = 1.0) -> None:
        super().__init__(width)
        if not linear > 0:
            msg = f"symlog: linear is {linear}, expected a positive number in the column's unit"
            raise DataError(msg)
        self.linear = linear

    @property
    def options(self) -> dict[str, Any]:
        """Scale of the linear region."""
        return {"linear": self.linear}

    def fit(self, x: FloatArray, weight: FloatArray, active: BoolArray | None = None) -> None:
        """Nothing to learn."""

    def forward(self, x: Tensor) -> Tensor:
        """Compress both tails."""
        return torch.sign(x) * torch.log1p(torch.abs(x) / self.linear)

    def inverse(self, y: Tensor) -> Tensor:
        """Expand both tails."""
        return torch.sign(y) * torch.expm1(torch.abs(y)) * self.linear

    def log_det(self, x: Tensor) -> Tensor:
        """-log(linear + |x|)."""
        return -torch.log(self.linear + torch.abs(x))


class Logit(Transform):
    """Logit of a quantity bounded by `low` and `high`, so that no response leaves the bounds."""

    kind: ClassVar[str] = "logit"

    def __init__(self, width: int, *, low: float = 0.0, high: float = 1.0, margin: float = 1e-6) -> None:
        super().__init__(width)
        if not high > low:
            msg = f"logit: bounds are {low} and {high}, expected low < high"
            raise DataError(msg)
        self.low, self.high, self.margin = low, high, margin

    @property
    def options(self) -> dict[str, Any]:
        """Bounds in the column's unit, and the relative margin at which values on a bound are kept off it."""
        return {"low": self.low, "high": self.high, "margin": self.margin}

    def fit(self, x: FloatArray, weight: FloatArray, active: BoolArray | None = None) -> None:
        """Check the bounds.

        Raises
        ------
        DataError
            An active entry is out of bounds.
        """
        bad = (x < self.low) | (x > self.high)
        if active is not None:
            bad &= active
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            msg = (
                f"logit: row {row}, response column {column}: {x[row, column]:g} is outside the declared bounds "
                f"{self.low:g} to {self.high:g}; widen them in the study"
            )
            raise DataError(msg)

    def _unit(self, x: Tensor) -> Tensor:
        return ((x - self.low) / (self.high - self.low)).clamp(self.margin, 1 - self.margin)

    def forward(self, x: Tensor) -> Tensor:
        """Bounded to unbounded."""
        return torch.logit(self._unit(x))

    def inverse(self, y: Tensor) -> Tensor:
        """Unbounded to bounded; rounding does not pass a bound."""
        return (torch.sigmoid(y) * (self.high - self.low) + self.low).clamp(self.low, self.high)

    def log_det(self, x: Tensor) -> Tensor:
        """-log(u (1 - u) (high - low))."""
        y = torch.logit(self._unit(x))
        return -(logsigmoid(y) + logsigmoid(-y)) - float(np.log(self.high - self.low))
