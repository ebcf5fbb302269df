"""Penalties of a critic's slope, and how their coefficients change in time.

A penalty shapes the critic as a function of the response; it does not estimate an expectation over the sample. It is
therefore not weighted: a negative weight would reward steep slopes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from parhelion.surrogates.objectives.base import PenaltyKind, norm

Where = Literal["nowhere", "between", "real", "both"]


def gradient_penalty(gradient: Tensor, *, one_sided: bool) -> Tensor:
    """(||grad|| - 1)^2, or max(||grad|| - 1, 0)^2 where one-sided, of gradients (b, d), shape (b,).

    arXiv:1704.00028, equation 3 and section 4 for the one-sided form.
    """
    excess = norm(gradient) - 1.0
    return (excess.clamp(min=0.0) if one_sided else excess).square()


def r1(gradient: Tensor) -> Tensor:
    """||grad D(x)||^2 / 2 of gradients (b, d) at real events, shape (b,) (arXiv:1801.04406, equation 9).

    The factor 1/2 is the paper's; its public code leaves it out, so that its coefficient 10 is 20 here.
    """
    return 0.5 * gradient.square().sum(dim=1)


def logit_gradient(score: Tensor, gradient: Tensor, *, real: bool) -> Tensor:
    """(1 - D)^2 ||grad s||^2 / 2 at real events, D^2 ||grad s||^2 / 2 at fakes (arXiv:1705.09367, Omega_JS).

    Scores (b,) are the logits s of D, gradients (b, d) are those of s; result (b,). The factor 1/2 is the paper's.
    """
    factor = torch.sigmoid(-score if real else score)
    return 0.5 * factor.square() * gradient.square().sum(dim=1)


class Constant(BaseModel):
    """Factor 1 at every step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["constant"] = "constant"

    def factor(self, step: Tensor) -> Tensor:
        """Factor at a generator step."""
        return torch.ones_like(step, dtype=torch.float32)


class Arctan(BaseModel):
    """Factor (2 / pi) arctan(t / steps): from 0 to 1, 1/2 at t = steps.

    The public code of arXiv:1905.11825 uses it with steps = 10,000 and coefficient 20.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["arctan"] = "arctan"
    steps: float = Field(10_000.0, gt=0)

    def factor(self, step: Tensor) -> Tensor:
        """Factor at a generator step."""
        return torch.arctan(step.to(torch.float32) / self.steps) * (2.0 / math.pi)


class Decay(BaseModel):
    """Factor final^(t / steps), `final` from then on: annealing as in arXiv:1705.09367, section 4.

    Attributes
    ----------
    steps
        Generator steps until the factor is `final`.
    final
        Last factor.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["decay"] = "decay"
    steps: float = Field(gt=0)
    final: float = Field(0.1, gt=0, le=1)

    def factor(self, step: Tensor) -> Tensor:
        """Factor at a generator step."""
        return self.final ** (step.to(torch.float32) / self.steps).clamp(max=1.0)


Schedule = Annotated[Constant | Arctan | Decay, Field(discriminator="kind")]


class Penalty(BaseModel, ABC):
    """Penalty of the slope of the critic: coefficient * factor(step) * mean of `events`.

    Attributes
    ----------
    coefficient
        Strength.
    schedule
        How the strength changes with the generator's steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: ClassVar[Where]
    """Where the slope is taken: at points between a real and a generated event, at real events, or at both."""

    coefficient: float = Field(10.0, ge=0)
    schedule: Schedule = Constant()

    def strength(self, step: Tensor) -> Tensor:
        """Coefficient at a generator step (a scalar tensor)."""
        return self.coefficient * self.schedule.factor(step)

    @abstractmethod
    def events(self, score: Tensor, gradient: Tensor) -> Tensor:
        """Penalty at each point, shape (n,), from the slope function's values (n,) and gradients (n, d).

        At both kinds of points, the first half of the rows is real.
        """


class NoPenalty(BaseModel):
    """The critic is free, or bounded in another way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["none"] = "none"


class Gradient(Penalty):
    """Gradient penalty at random points between real and generated events (arXiv:1704.00028).

    Attributes
    ----------
    one_sided
        Only slopes above 1 count.
    """

    where: ClassVar[Where] = "between"

    kind: Literal["gradient"] = "gradient"
    one_sided: bool = False

    def events(self, score: Tensor, gradient: Tensor) -> Tensor:
        """Squared excess of the slope over 1."""
        return gradient_penalty(gradient, one_sided=self.one_sided)


class R1(Penalty):
    """Zero-centred penalty at real events (arXiv:1801.04406), (coefficient / 2) ||grad D||^2."""

    where: ClassVar[Where] = "real"

    kind: Literal["r1"] = "r1"
    coefficient: float = Field(1.0, ge=0)

    def events(self, score: Tensor, gradient: Tensor) -> Tensor:
        """Half the squared slope."""
        return r1(gradient)


class LogitGradient(Penalty):
    """Penalty of the logit's slope, weighted by the critic's error (arXiv:1705.09367); the paper anneals it."""

    where: ClassVar[Where] = "both"

    kind: Literal["logit_gradient"] = "logit_gradient"
    coefficient: float = Field(0.1, ge=0)

    def events(self, score: Tensor, gradient: Tensor) -> Tensor:
        """Sum of the terms of the real and of the generated event of each row, shape (n / 2,)."""
        (real, fake), (real_gradient, fake_gradient) = score.chunk(2), gradient.chunk(2)
        return logit_gradient(real, real_gradient, real=True) + logit_gradient(fake, fake_gradient, real=False)


PENALTIES: dict[PenaltyKind, type[NoPenalty | Penalty]] = {
    "none": NoPenalty,
    "gradient": Gradient,
    "r1": R1,
    "logit_gradient": LogitGradient,
}
