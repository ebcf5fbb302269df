"""Auxiliary terms that a generator minimises beside its adversarial objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from parhelion.networks import MLP
from parhelion.surrogates.codec import Codec
from parhelion.surrogates.objectives.base import NetworkConfig, scale_for_depth
from parhelion.surrogates.objectives.energy_based import pulling_away


@dataclass(frozen=True)
class Scene:
    """What a term may look at, b rows in network space.

    Attributes
    ----------
    real, fake
        Real and generated responses under the same conditions, shape (b, d), 0 where not active.
    condition
        Encoded conditions, shape (b, features).
    active
        Shape (b, d), 1 where an entry is free.
    code
        The critic's code of the generated events, shape (b, m).
    other
        Second, independent generated responses, shape (b, d), where a term needs them.
    """

    real: Tensor
    fake: Tensor
    condition: Tensor
    active: Tensor
    code: Tensor
    other: Tensor | None = None


class AuxiliaryTerm(nn.Module, ABC):
    """A term of the generator's loss; it may own parameters that learn from real events first, then stay frozen."""

    weighted: ClassVar[bool] = True
    """True where the term estimates an expectation over the sample, which signed weights multiply."""

    fakes: ClassVar[int] = 1
    """Independent generated events that a row needs."""

    learning_steps: int = 0
    """Generator steps during which the term's own parameters learn; it speaks to the generator afterwards."""

    def fit(self, real: Tensor, condition: Tensor, weight: Tensor) -> None:
        """Take scales from real responses (b, d), conditions (b, features) and weights (b,) before training."""

    @abstractmethod
    def events(self, scene: Scene) -> Tensor:
        """Term of each event, shape (b,)."""

    def learning_events(self, real: Tensor, condition: Tensor) -> Tensor:
        """What the term's own parameters minimise on real responses (b, d) and conditions (b, features), (b,)."""
        return real.new_zeros(len(real))


class AuxiliaryConfig(BaseModel, ABC):
    """Options that every term has.

    Attributes
    ----------
    kind
        Name of the term.
    weight
        Factor of the term in the generator's loss.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    weight: float = Field(1.0, gt=0)

    @property
    def compared(self) -> tuple[str, ...]:
        """Observables that the term compares: no test of the surrogate any more."""
        return ()

    @abstractmethod
    def make(self, width: int, features: int, codec: Codec | None = None) -> AuxiliaryTerm:
        """Term for responses (b, width) and encoded conditions (b, features); `codec` gives physical units."""


class PullingAwayTerm(AuxiliaryTerm):
    """Keeps the codes of generated events apart (see `pulling_away`).

    It shapes the generator and estimates nothing, so it is not weighted: a negative weight would draw codes together.
    The partners of a row are those of the same process.
    """

    weighted: ClassVar[bool] = False

    def events(self, scene: Scene) -> Tensor:
        """Mean squared cosine with the other rows."""
        return pulling_away(scene.code)


class PullingAway(AuxiliaryConfig):
    """Pulling-away term on the critic's codes (arXiv:1609.03126, section 2.4; the paper's weight is 0.1)."""

    kind: Literal["pulling_away"] = "pulling_away"
    weight: float = Field(0.1, gt=0)

    def make(self, width: int, features: int, codec: Codec | None = None) -> AuxiliaryTerm:
        """Make the term."""
        return PullingAwayTerm()


class RegressorTerm(AuxiliaryTerm):
    """Huber distance between the condition and what a regressor, learned on real events, reads off the fake."""

    def __init__(self, width: int, features: int, network: NetworkConfig, learning_steps: int) -> None:
        super().__init__()
        self.learning_steps = learning_steps
        self.regressor = MLP(width, features, width=network.width, depth=network.depth, activation=network.activation)
        scale_for_depth(self)

    def events(self, scene: Scene) -> Tensor:
        """Distance at the generated event."""
        return self.learning_events(scene.fake, scene.condition)

    def learning_events(self, real: Tensor, condition: Tensor) -> Tensor:
        """Distance at the real event."""
        out: Tensor = huber_loss(self.regressor(real), condition, reduction="none").mean(dim=1)
        return out


class Regressor(AuxiliaryConfig):
    """Frozen regressor of the condition, as in the calorimeter GAN of arXiv:1812.01319.

    The regressor learns from real events during the first `learning_steps` generator steps, in which the term is
    silent, and is frozen then. The term helps a generator to heed its condition, but it is biased: it prefers the
    events from which the condition is read best, so keep its weight small.

    Attributes
    ----------
    network
        Dense regressor from the response to the encoded condition.
    learning_steps
        Generator steps during which it learns.
    """

    kind: Literal["regressor"] = "regressor"
    network: NetworkConfig = NetworkConfig(depth=3)
    learning_steps: int = Field(2_000, ge=1)

    def make(self, width: int, features: int, codec: Codec | None = None) -> AuxiliaryTerm:
        """Make the term."""
        return RegressorTerm(width, features, self.network, self.learning_steps)


AUXILIARY: dict[str, type[AuxiliaryConfig]] = {"pulling_away": PullingAway, "regressor": Regressor}


def voice(term: AuxiliaryTerm, step: Tensor) -> Tensor:
    """1 where a term speaks to the generator at a step, 0 while it learns (a scalar tensor)."""
    return (step >= term.learning_steps).to(torch.float32)
