"""The Cramer objective: energy distance between embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from parhelion.errors import ShapeError
from parhelion.surrogates.objectives.base import DenseCritic, Judged, NetworkConfig, Objective, PenaltyKind, norm


def cramer_generator(real: Tensor, fake: Tensor, other: Tensor) -> Tensor:
    """||h(x) - h(g)|| + ||h(x) - h(g')|| - ||h(g) - h(g')|| (arXiv:1705.10743, algorithm 1, L_g).

    Embeddings (b, k) of a real event and of two independent fakes under the same condition; losses (b,). The mean
    estimates, without bias, the energy distance up to the real events' own spread E||h(x) - h(x')||, which the
    generator cannot change.
    """
    return norm(real - fake) + norm(real - other) - norm(fake - other)


def cramer_function(point: Tensor, reference: Tensor) -> Tensor:
    """Critic f(a) = ||h(a) - h(g')|| - ||h(a)|| of embeddings (b, k), shape (b,) (arXiv:1705.10743, algorithm 1)."""
    return norm(point - reference) - norm(point)


def cramer_surrogate(real: Tensor, fake: Tensor, reference: Tensor) -> Tensor:
    """f(x) - f(g), which the critic maximises, of embeddings (b, k) (arXiv:1705.10743, algorithm 1, L_surrogate).

    It needs one real event a row: h = 0 stands for the second one. That biases the critic's objective
    (arXiv:1801.01401), not the generator's. As the generator's loss it would be wrong:
    its mean over fakes is least where half of the embeddings follow the real events and half sit at 0.
    """
    return cramer_function(real, reference) - cramer_function(fake, reference)


class Cramer(Objective):
    """Cramer GAN (arXiv:1705.10743), the objective of the RICH fast simulation (arXiv:1905.11825).

    Attributes
    ----------
    embedding
        Numbers in the critic's embedding h.
    """

    fakes: ClassVar[int] = 2
    compares_real: ClassVar[bool] = True
    penalties: ClassVar[tuple[PenaltyKind, ...]] = ("gradient",)

    kind: Literal["cramer"] = "cramer"
    embedding: int = Field(256, ge=2)

    def make_critic(self, width: int, features: int, network: NetworkConfig) -> nn.Module:
        """Critic that embeds an event."""
        return DenseCritic(width, features, self.embedding, network)

    def slope(self, point: Judged, fakes: Sequence[Judged]) -> Tensor:
        """The critic function at the point, with the second fake as reference."""
        return cramer_function(point.value, fakes[1].value)

    def critic_events(self, real: Judged, fakes: Sequence[Judged]) -> Tensor:
        """Minus the surrogate."""
        return -cramer_surrogate(real.value, fakes[0].value, fakes[1].value)

    def generator_events(self, real: Judged | None, fakes: Sequence[Judged]) -> Tensor:
        """Energy distance between embeddings."""
        if real is None:
            msg = "the Cramer generator loss compares with the real events: give them"
            raise ShapeError(msg)
        return cramer_generator(real.value, fakes[0].value, fakes[1].value)
