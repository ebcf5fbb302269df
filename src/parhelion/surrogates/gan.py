"""Conditional generative adversarial networks with dense networks."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from parhelion.networks import MLP
from parhelion.surrogates.adversarial import Adversarial, AdversarialConfig, CriticWarmup
from parhelion.surrogates.objectives import AnyAuxiliary, AuxiliaryConfig, NetworkConfig
from parhelion.surrogates.objectives.base import scale_for_depth

__all__ = ["CriticWarmup", "Gan", "GanConfig", "GeneratorConfig"]


class GeneratorConfig(NetworkConfig):
    """Options of the generator.

    Attributes
    ----------
    latent
        Normal numbers that the generator takes.
    """

    latent: int = Field(64, ge=1)


class GanConfig(AdversarialConfig):
    """Options of a generative adversarial network with dense networks.

    Attributes
    ----------
    generator, critic
        Networks.
    auxiliary
        Terms of the generator's loss beside the objective.
    """

    generator: GeneratorConfig = GeneratorConfig()
    critic: NetworkConfig = NetworkConfig()
    auxiliary: tuple[AnyAuxiliary, ...] = ()

    @property
    def terms(self) -> tuple[AuxiliaryConfig, ...]:
        """The auxiliary terms."""
        return self.auxiliary


class Gan(Adversarial):
    """Dense conditional GAN of responses that are a few numbers; see `Adversarial`."""

    kind: ClassVar[str] = "gan"
    Config = GanConfig
    config: GanConfig

    def make_generator(self, features: int, width: int) -> nn.Module:
        """Dense generator."""
        g = self.config.generator
        generator = MLP(g.latent + features, width, width=g.width, depth=g.depth, activation=g.activation)
        scale_for_depth(generator)
        return generator

    def make_critic(self, features: int, width: int) -> nn.Module:
        """The objective's own critic."""
        return self.config.objective.make_critic(width, features, self.config.critic)

    # ----------------------------------------------------------------- sampling
    @property
    def noise_features(self) -> int:
        """The generator's latent numbers."""
        return self.config.generator.latent

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """One pass of the generator."""
        out: Tensor = self.generator(torch.cat([noise, condition], dim=1))
        return out
