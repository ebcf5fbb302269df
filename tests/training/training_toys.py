"""Small surrogates with known answers, for the tests of training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import Batch, CodecConfig, Draws, Loss, Surrogate, SurrogateConfig

SCHEMA = Schema((Field("a"), Field("b")), (Field("x"), Field("y")))


def line_sample(rows: int = 600, seed: int = 0, negative: float = 0.2, *, first_id: int = 0) -> Sample:
    """x, y linear in a, b plus noise, with signed weights."""
    random = np.random.default_rng(seed)
    c = random.normal(size=(rows, 2))
    y = c @ np.array([[1.0, 0.5], [-0.3, 1.0]]) + 0.3 * random.normal(size=(rows, 2)) + 0.1
    weight = np.where(random.random(rows) < negative, -0.5, 1.2)
    columns = {"a": c[:, 0], "b": c[:, 1], "x": y[:, 0], "y": y[:, 1]}
    return Sample(SCHEMA, columns, weight=weight, event_id=np.arange(first_id, first_id + rows), source="lines.npz")


class Line(Surrogate):
    """Least squares: the response is linear in the condition."""

    kind = "line"
    hook: Callable[[int], None] | None = None

    def __init__(self, schema: Schema, config: SurrogateConfig | None = None) -> None:
        # Without ramps the answer is linear in the condition, so least squares has a closed form.
        super().__init__(schema, config or SurrogateConfig(codec=CodecConfig(knots=0)))

    def build(self, features: int, width: int) -> None:
        self.net = nn.Linear(features, width)

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"line": list(self.net.parameters())}

    def averaged(self) -> list[nn.Parameter]:
        return list(self.net.parameters())

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        error = (batch.response - self.net(batch.condition)) ** 2
        return Loss(error.sum(dim=1), logs={"bias": self.net.bias.sum()})

    def after_step(self, step: int) -> None:
        if self.hook is not None:
            self.hook(step)

    @property
    def noise_features(self) -> int:
        return self.schema.response_width

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        return self.net(condition) + 0.3 * noise


class Duel(Line):
    """Two players that use draws, a penalty and different numbers of turns, like an adversarial surrogate."""

    kind = "duel"

    def build(self, features: int, width: int) -> None:
        super().build(features, width)
        self.critic = nn.Sequential(nn.Linear(width + features, 8), nn.Tanh(), nn.Linear(8, 1))

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"critic": list(self.critic.parameters()), "generator": list(self.net.parameters())}

    def turns(self, step: int) -> tuple[str, ...]:
        return ("critic",) * (3 if step < 2 else 2) + ("generator",)

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        made = self.generate(batch.condition, draws.normal(len(batch), batch.response.shape[1]))
        score = self.critic(torch.cat([made, batch.condition], dim=1))[:, 0]
        if player == "generator":
            return Loss(-score)
        true = self.critic(torch.cat([batch.response, batch.condition], dim=1))[:, 0]
        return Loss(score - true, penalty=0.1 * (true**2).mean() + 0.1 * draws.uniform(len(batch), 1).mean())


def state_of(surrogate: Surrogate) -> dict[str, Tensor]:
    """Copy of the state."""
    return {k: v.clone() for k, v in surrogate.state_dict().items()}
