"""The contract of every adversarial objective, and the critics that they need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from parhelion.networks import MLP, Activation, make_activation

PenaltyKind = Literal["none", "gradient", "r1", "logit_gradient"]

_TINY = 1e-12


def norm(x: Tensor) -> Tensor:
    """Euclidean length of each row, (b, k) -> (b,), with finite derivatives of all orders at 0 (it is 1e-6 there)."""
    return (x.square().sum(dim=1) + _TINY).sqrt()


class Judged(NamedTuple):
    """What a critic says of b events.

    Attributes
    ----------
    value
        Shape (b, k): a score or an energy (k = 1), or an embedding.
    code
        Shape (b, m): the critic's inner description of the event; for an embedding, the embedding itself.
    """

    value: Tensor
    code: Tensor


class NetworkConfig(BaseModel):
    """Options of a dense network.

    Attributes
    ----------
    width, depth
        `depth` hidden layers of `width` units.
    activation
        Activation after each hidden layer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(128, ge=1)
    depth: int = Field(5, ge=1)
    activation: Activation = "leaky_relu"


class Critic(Protocol):
    """Judges responses (b, d) under encoded conditions (b, features); `active` is (b, d), 1 where an entry is free."""

    def __call__(self, x: Tensor, condition: Tensor, active: Tensor) -> Judged:
        """Judge each row by itself."""
        ...


class DenseCritic(nn.Module):
    """Dense critic of [response, condition] with `outputs` numbers: a score (1) or an embedding.

    Inactive entries are seen as zeros in real and generated events alike, so they carry no information.
    """

    def __init__(self, width: int, features: int, outputs: int, network: NetworkConfig) -> None:
        super().__init__()
        self.hidden = MLP(
            width + features,
            network.width,
            width=network.width,
            depth=network.depth - 1,
            activation=network.activation,
        )
        self.activation = make_activation(network.activation)
        self.last = nn.Linear(network.width, outputs)
        self.embeds = outputs > 1
        scale_for_depth(self)

    def forward(self, x: Tensor, condition: Tensor, active: Tensor) -> Judged:
        """Judge (b, d) responses; the code is the embedding, or the last hidden layer of a score."""
        code = self.activation(self.hidden(torch.cat([x * active, condition], dim=1)))
        value = self.last(code)
        return Judged(value, value if self.embeds else code)


class AutoencoderCritic(nn.Module):
    """Energy D(x) = ||Dec(Enc(x)) - x|| of a conditional autoencoder (arXiv:1609.03126, section 2.3).

    Encoder and decoder are given the condition; the error counts over active entries only.
    """

    def __init__(self, width: int, features: int, code: int, network: NetworkConfig) -> None:
        super().__init__()
        shape = {"width": network.width, "depth": network.depth}
        self.encoder = MLP(width + features, code, **shape, activation=network.activation)
        self.decoder = MLP(code + features, width, **shape, activation=network.activation)
        scale_for_depth(self)

    def forward(self, x: Tensor, condition: Tensor, active: Tensor) -> Judged:
        """Energy (b, 1) and code (b, code) of (b, d) responses."""
        x = x * active
        code = self.encoder(torch.cat([x, condition], dim=1))
        error = (self.decoder(torch.cat([code, condition], dim=1)) - x) * active
        return Judged(norm(error)[:, None], code)


def scale_for_depth(module: nn.Module) -> None:
    """Draw the weights of all linear layers so that ten rectified layers keep the size of their input.

    He et al., arXiv:1502.01852, equation 10. With torch's default a plain network of 10 x 128 starts as a constant.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")


class Objective(BaseModel, ABC):
    """What critic and generator minimise: per-event losses, linear in whatever weight the loop multiplies them by.

    Real event and fakes of a row share its condition, so one signed weight w belongs to the whole row. The sum of
    w times the losses then estimates the objective under the signed density: events of negative weight take away
    what events of positive weight put in excess, for real and fakes alike. Bounds that hold for a density (a
    Jensen-Shannon loss is at least 0, a hinge is at most its margin) hold for that sum, not for a single row of
    negative weight; where negative weights prevail in a region of a finite sample, the critic can gain there without
    end, and a penalty of its slope is what stops it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fakes: ClassVar[int] = 1
    """Independent generated events that a row needs."""
    compares_real: ClassVar[bool] = False
    """True where the generator's loss depends on the real event."""
    penalties: ClassVar[tuple[PenaltyKind, ...]]
    """Kinds of penalty that make sense for this objective, the default first."""

    def make_critic(self, width: int, features: int, network: NetworkConfig) -> nn.Module:
        """Critic for responses (b, width) and encoded conditions (b, features); a score unless overridden."""
        return DenseCritic(width, features, 1, network)

    def project(self, critic: nn.Module) -> None:
        """Put the critic's parameters back where they are allowed, before each use."""

    def slope(self, point: Judged, fakes: Sequence[Judged]) -> Tensor:
        """Scalar function of the critic whose gradient a penalty bounds, shape (b,)."""
        return point.value[:, 0]

    @abstractmethod
    def critic_events(self, real: Judged, fakes: Sequence[Judged]) -> Tensor:
        """Critic's loss of each event, shape (b,)."""

    @abstractmethod
    def generator_events(self, real: Judged | None, fakes: Sequence[Judged]) -> Tensor:
        """Generator's loss of each event, shape (b,); `real` is given where `compares_real`."""
