"""Numbers as ramps: what lets a network follow sharp features of an input."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ramps(nn.Module):
    """Each number beside `knots` clipped ramps over [-reach, reach], (n, d) -> (n, d, 1 + knots).

    A piecewise-linear encoding (Gorishniy et al., arXiv:2203.05556, section 3.2) with equal steps, for numbers that are
    about standard normal.
    """

    low: Tensor

    def __init__(self, knots: int, *, reach: float = 3.0) -> None:
        super().__init__()
        self.step = 2.0 * reach / max(knots, 1)
        self.register_buffer("low", torch.arange(knots) * self.step - reach)

    def forward(self, x: Tensor) -> Tensor:
        """Encode (n, d)."""
        ramps = ((x[:, :, None] - self.low) / self.step).clamp(0.0, 1.0)
        return torch.cat([x[:, :, None], ramps], dim=2)
