"""Transforms after each other, and the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from parhelion.errors import ConfigError
from parhelion.transforms.base import BoolArray, FloatArray, Transform
from parhelion.transforms.elementwise import Affine, Logit, Symlog
from parhelion.transforms.quantile import Quantile
from parhelion.transforms.voxels import Voxels

TRANSFORMS: dict[str, type[Transform]] = {t.kind: t for t in (Affine, Symlog, Logit, Quantile, Voxels)}


def build_transform(spec: str | Mapping[str, Any], width: int) -> Transform:
    """Make a transform from its name, or from ``{"kind": name, **options}``.

    Raises
    ------
    ConfigError
        The name or an option is unknown.
    """
    options = {"kind": spec} if isinstance(spec, str) else dict(spec)
    kind = options.pop("kind", None)
    if kind not in TRANSFORMS:
        msg = f"transform {kind!r} is unknown; there are {', '.join(sorted(TRANSFORMS))}"
        raise ConfigError(msg)
    try:
        return TRANSFORMS[kind](width, **options)
    except TypeError as error:
        msg = f"transform {kind}: {str(error).split('.')[-1]}"
        raise ConfigError(msg) from error


class Chain(Transform):
    """Transforms applied in order."""

    kind: ClassVar[str] = "chain"

    def __init__(self, width: int, *, steps: Sequence[str | Mapping[str, Any]]) -> None:
        super().__init__(width)
        self.specs = [s if isinstance(s, str) else dict(s) for s in steps]
        self.steps = nn.ModuleList(build_transform(s, width) for s in self.specs)

    @property
    def options(self) -> dict[str, Any]:
        """The steps."""
        return {"steps": self.specs}

    def each(self) -> list[Transform]:
        """The steps, in order."""
        return [step for step in self.steps if isinstance(step, Transform)]

    def fit(self, x: FloatArray, weight: FloatArray, active: BoolArray | None = None) -> None:
        """Fit each step on what the earlier ones give."""
        for step in self.each():
            step.fit(x, weight, active)
            with torch.no_grad():
                x = step(torch.as_tensor(x, dtype=torch.float32)).numpy().astype(np.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all steps."""
        for step in self.each():
            x = step(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        """Undo all steps in reverse order."""
        for step in reversed(self.each()):
            y = step.inverse(y)
        return y

    def log_det(self, x: Tensor) -> Tensor:
        """Sum of the steps' contributions."""
        total = torch.zeros_like(x)
        for step in self.each():
            total = total + step.log_det(x)
            x = step(x)
        return total
