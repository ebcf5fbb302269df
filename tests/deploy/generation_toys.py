"""Models whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from parhelion.noise import normal
from parhelion.sample import Field, Schema


class Linear:
    """Answers with slope * (sum of conditions) + noise, one number; its domain is 0 to 10 in every condition."""

    provenance: dict[str, Any] = {}  # noqa: RUF012
    noise_width = 1

    def __init__(self, conditions: tuple[Field, ...], response: str, slope: float = 1.0, gate: float | None = None):
        kind = "continuous" if gate is None else "integer"
        self.schema = Schema(conditions, (Field(response, kind=kind),))
        self.slope, self.gate = slope, gate
        self.asked = 0

    def noise(self, seed, event_id, stage=0):
        return normal(seed, event_id, 1, stage=stage)

    def respond(self, condition, noise):
        self.asked += len(condition)
        value = self.slope * condition.sum(axis=1, keepdims=True) + noise
        return (value if self.gate is None else value > self.gate).astype(np.float32)

    def outside(self, condition):
        return (condition < 0) | (condition > 10)

    def clamp(self, condition):
        return np.clip(condition, 0, 10)

    def allowed(self, column):
        return "0 to 10"
