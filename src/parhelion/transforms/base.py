"""The contract of every transform."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Transform(nn.Module, ABC):
    """Invertible, column-wise map of (n, width) arrays.

    All that a fitted transform knows is in its buffers; `options` and `width` rebuild it before its state is loaded.
    """

    kind: ClassVar[str]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @property
    def options(self) -> dict[str, Any]:
        """Constructor arguments other than `width`."""
        return {}

    @abstractmethod
    def fit(self, x: FloatArray, weight: FloatArray, active: BoolArray | None = None) -> None:
        """Learn from rows of shape (n, width) with signed weights (n,).

        Where `active` (n, width) is false, the entry carries no information and is left out.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Physical to network space, shape (n, width)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """Network space to physical, shape (n, width)."""

    @abstractmethod
    def log_det(self, x: Tensor) -> Tensor:
        """Log |dy/dx| of each entry, shape (n, width); the row's is its sum over active entries."""
