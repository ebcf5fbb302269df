"""Conditional flow matching, and its distillation into a one-pass student."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from parhelion.networks import Activation, ResidualMLP, TimeEmbedding
from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig

Solver = Literal["euler", "midpoint", "heun", "rk4"]


class MatchingConfig(SurrogateConfig):
    """Options of conditional flow matching.

    Attributes
    ----------
    width, blocks, activation
        Residual velocity network.
    frequencies
        Pairs of sines and cosines that embed the time.
    solver, solver_steps
        Fixed-step solver for sampling; deterministic and exportable.
    """

    width: int = Field(192, ge=1)
    blocks: int = Field(3, ge=1)
    activation: Activation = "silu"
    frequencies: int = Field(8, ge=1)
    solver: Solver = "midpoint"
    solver_steps: int = Field(12, ge=1)


class Matching(Surrogate):
    """Flow matching with the linear path x_t = (1 - t) z + t x (Lipman et al., arXiv:2210.02747, section 4).

    The velocity v(x_t, t, c) is regressed on x - z with z standard normal and t uniform. Noise and event are paired
    independently, which conditional models need. A signed weight multiplies the squared error of its event: the
    minimum is the weighted conditional expectation, so negative weights subtract.

    Inactive entries are filled with normal noise: they flow by themselves and are overwritten by the pattern.
    """

    kind: ClassVar[str] = "matching"
    Config = MatchingConfig
    config: MatchingConfig

    def build(self, features: int, width: int) -> None:
        """Make the velocity network."""
        c = self.config
        self.width = width
        self.time = TimeEmbedding(c.frequencies)
        self.velocity_network = ResidualMLP(
            width + features + 2 * c.frequencies, width, width=c.width, blocks=c.blocks, activation=c.activation
        )

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player."""
        return {"velocity": list(self.velocity_network.parameters())}

    def averaged(self) -> list[nn.Parameter]:
        """The velocity network's parameters."""
        return list(self.velocity_network.parameters())

    def velocity(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """dx/dt at x (n, d), times t (n, 1), encoded conditions (n, features)."""
        out: Tensor = self.velocity_network(torch.cat([x, condition, self.time(t)], dim=1))
        return out

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Squared error of the velocity, mean over entries, per event."""
        b, d = batch.response.shape
        z = draws.normal(b, d)
        x = torch.where(batch.active, batch.response, draws.normal(b, d))
        t = draws.uniform(b, 1)
        error = self.velocity((1 - t) * z + t * x, t, batch.condition) - (x - z)
        return Loss((error**2).mean(dim=1))

    @property
    def noise_features(self) -> int:
        """As wide as the response."""
        return self.schema.response_width

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Solve the flow from noise at t = 0 to t = 1."""
        steps = self.config.solver_steps
        x, h = noise, 1.0 / steps
        for k in range(steps):
            x = self._advance(x, k * h, h, condition)
        return x

    def _advance(self, x: Tensor, t: float, h: float, condition: Tensor) -> Tensor:
        def v(x: Tensor, t: float) -> Tensor:
            return self.velocity(x, torch.full((len(x), 1), t, device=x.device), condition)

        k1 = v(x, t)
        if self.config.solver == "euler":
            return x + h * k1
        if self.config.solver == "midpoint":
            return x + h * v(x + 0.5 * h * k1, t + 0.5 * h)
        if self.config.solver == "heun":
            return x + 0.5 * h * (k1 + v(x + h * k1, t + h))
        k2 = v(x + 0.5 * h * k1, t + 0.5 * h)
        k3 = v(x + 0.5 * h * k2, t + 0.5 * h)
        k4 = v(x + h * k3, t + h)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
