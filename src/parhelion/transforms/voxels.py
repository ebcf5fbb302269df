"""Energies of cells on a logarithmic scale that is the same for all cells."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from parhelion.errors import DataError
from parhelion.transforms.base import BoolArray, FloatArray, Transform


class Voxels(Transform):
    """log(1 + x / linear) / log(1 + top / linear): 0 for an empty cell, 1 at `top`.

    All cells share one fixed scale, so that a cell that is almost always empty is not blown up. Its inverse gives no
    negative energy: what a network puts below 0 is an empty cell.

    Parameters
    ----------
    width
        Number of cells.
    linear
        Energy up to which the scale is nearly linear, in the cells' unit.
    top
        Energy that becomes 1, in the cells' unit; larger ones become larger numbers.

    Raises
    ------
    DataError
        An energy is not positive.
    """

    kind: ClassVar[str] = "voxels"

    def __init__(self, width: int, *, linear: float = 1e-4, top: float = 10.0) -> None:
        super().__init__(width)
        for name, value in (("linear", linear), ("top", top)):
            if not value > 0:
                msg = f"voxels: {name} is {value}, expected a positive energy in the cells' unit"
                raise DataError(msg)
        self.linear, self.top = linear, top
        self.scale = math.log1p(top / linear)

    @property
    def options(self) -> dict[str, Any]:
        """Energies that fix the scale."""
        return {"linear": self.linear, "top": self.top}

    def fit(self, x: FloatArray, weight: FloatArray, active: BoolArray | None = None) -> None:
        """Nothing to learn."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale energies (n, width), not negative ones."""
        return torch.log1p(x.clamp(min=0.0) / self.linear) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Undo the scale; 0 for what is below 0."""
        return self.linear * torch.expm1(y.clamp(min=0.0) * self.scale)

    def log_det(self, x: Tensor) -> Tensor:
        """Logarithm of the slope."""
        return -torch.log((x.clamp(min=0.0) + self.linear) * self.scale)
