"""Dense networks: plain, residual, and the embedding of a flow's time."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["relu", "leaky_relu", "silu", "elu", "tanh"]


def make_activation(name: Activation) -> nn.Module:
    """Activation layer by name (leaky slope 0.05, as the RICH Cramer GAN of arXiv:1905.11825 uses)."""
    layers: dict[str, nn.Module] = {
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(0.05),
        "silu": nn.SiLU(),
        "elu": nn.ELU(),
        "tanh": nn.Tanh(),
    }
    return layers[name]


class MLP(nn.Sequential):
    """Dense network, (n, inputs) -> (n, outputs), with `depth` hidden layers of `width` units."""

    def __init__(self, inputs: int, outputs: int, *, width: int, depth: int, activation: Activation = "silu") -> None:
        sizes = [inputs] + [width] * depth
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), make_activation(activation)]
        super().__init__(*layers, nn.Linear(sizes[-1], outputs))


class ResidualMLP(nn.Module):
    """Pre-activation residual network, (n, inputs) -> (n, outputs).

    `blocks` blocks of two layers of `width` units. The last layer of each block and of the network starts at
    zero, so that the network starts as a constant and every block as the identity.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int, blocks: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                make_activation(activation),
                nn.Linear(width, width),
                make_activation(activation),
                nn.Linear(width, width),
            )
            for _ in range(blocks)
        )
        self.last = nn.Sequential(make_activation(activation), nn.Linear(width, outputs))
        for module in (*(block[-1] for block in self.blocks), self.last[-1]):  # type: ignore[index]
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs) to (n, outputs)."""
        # Under autocast the inner products are in low precision; the running sum and the answer keep every digit.
        h = self.first(x).to(x.dtype)
        for block in self.blocks:
            h = h + block(h)
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.last(h)
        return out


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time in [0, 1], (n, 1) -> (n, 2 * frequencies)."""

    frequency: Tensor

    def __init__(self, frequencies: int = 8) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.exp(torch.linspace(0.0, 4.0, frequencies)) * (math.pi / 4))

    def forward(self, t: Tensor) -> Tensor:
        """Embed times of shape (n, 1)."""
        angle = t * self.frequency
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)
