"""The energy-based objective: an autoencoder whose reconstruction error is low for real events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from parhelion.surrogates.objectives.base import AutoencoderCritic, Judged, NetworkConfig, Objective, PenaltyKind


def energy_critic(real: Tensor, fake: Tensor, margin: float) -> Tensor:
    """D(x) + max(0, m - D(g)) of energies (b,) (arXiv:1609.03126, equation 1).

    Linear in the row's weight like every loss: a row of negative weight raises D(x) and, below the margin, lowers
    D(g). The hinge bounds what one row of positive weight gives; the sum over rows is what stays bounded.
    """
    return real + (margin - fake).clamp(min=0.0)


def energy_generator(fake: Tensor) -> Tensor:
    """D(g) of energies (b,) (arXiv:1609.03126, equation 2)."""
    return fake


def pulling_away(code: Tensor) -> Tensor:
    """Mean squared cosine between each code and those of the other rows, (b, k) -> (b,).

    Its mean over rows is the f_PT of arXiv:1609.03126, section 2.4. A batch of one row has no partner and gives 0.
    """
    unit = normalize(code, dim=1)
    # s_i (sum_j s_j s_j^T) s_i counts the row itself once: cost b k^2 in place of b^2 k.
    own = unit.square().sum(dim=1).square()
    return (((unit @ (unit.T @ unit)) * unit).sum(dim=1) - own) / max(len(code) - 1, 1)


class EnergyBased(Objective):
    """Energy-based GAN (arXiv:1609.03126); its pulling-away term is an auxiliary term of the generator.

    Attributes
    ----------
    margin
        Energy above which a generated event is pushed no further, in units of the network-space response.
    code
        Width of the autoencoder's code.
    """

    penalties: ClassVar[tuple[PenaltyKind, ...]] = ("none",)

    kind: Literal["energy_based"] = "energy_based"
    margin: float = Field(1.0, gt=0)
    code: int = Field(32, ge=1)

    def make_critic(self, width: int, features: int, network: NetworkConfig) -> nn.Module:
        """Conditional autoencoder."""
        return AutoencoderCritic(width, features, self.code, network)

    def critic_events(self, real: Judged, fakes: Sequence[Judged]) -> Tensor:
        """Energy of the real event and hinge of the generated one."""
        return energy_critic(real.value[:, 0], fakes[0].value[:, 0], self.margin)

    def generator_events(self, real: Judged | None, fakes: Sequence[Judged]) -> Tensor:
        """Energy of the generated event."""
        return energy_generator(fakes[0].value[:, 0])
