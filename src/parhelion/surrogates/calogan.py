"""Adversarial network of showers in layers of different cells: CaloGAN."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from parhelion.errors import ConfigError
from parhelion.networks.conv import Cut
from parhelion.networks.layered import LayeredCritic, LayeredGenerator
from parhelion.sample import Sample
from parhelion.surrogates.adversarial import Adversarial, AdversarialConfig
from parhelion.surrogates.base import Batch, Draws
from parhelion.surrogates.codec import CodecConfig
from parhelion.surrogates.image_gan import ImageObjective, set_cut
from parhelion.surrogates.objectives import AnyPenalty, AuxiliaryConfig, Judged, NoPenalty
from parhelion.surrogates.objectives.adversarial import JensenShannon
from parhelion.surrogates.objectives.images import IncidentEnergy, incident_energy

# Showers, or up to twice as many, whose average energies give the layers' units.
_MEASURED = 2000


class CaloGanConfig(AdversarialConfig):
    """Options of CaloGAN; the defaults are the paper's.

    Attributes
    ----------
    incident
        Condition with the incident energy, in the cells' unit. It may be left out where it is the only one.
    unit
        Incident energy by which the noise is multiplied by 1.
    latent
        Normal numbers that the generator takes.
    seeds, channels
        Channels in each layer's stream of the generator, see `LayerStream`.
    critic_channels
        Of the critic's convolution and locally connected layers.
    minibatch
        Whether the critic compares the rows of a batch.
    generator_steps
        Generator steps after the critic's.
    energy_weight
        Of the distance between total and incident energy in the generator's loss; 0: none.
    """

    codec: CodecConfig = Field(default_factory=lambda: CodecConfig(response=[], threshold=1e-4, knots=0))
    objective: ImageObjective = JensenShannon()
    penalty: AnyPenalty | None = NoPenalty()
    critic_steps: int = Field(1, ge=1)
    incident: str | None = None
    unit: float = Field(100.0, gt=0)
    latent: int = Field(1024, ge=1)
    seeds: int = Field(36, ge=1)
    channels: tuple[int, int] = (16, 6)
    critic_channels: tuple[int, int, int, int] = (64, 16, 8, 8)
    minibatch: bool = True
    generator_steps: int = Field(2, ge=1)
    energy_weight: float = Field(0.05, ge=0)

    @property
    def terms(self) -> tuple[AuxiliaryConfig, ...]:
        """The distance of the energies."""
        return (IncidentEnergy(weight=self.energy_weight, incident=self.incident),) if self.energy_weight else ()


class CaloGan(Adversarial):
    """GAN of showers in layers of different cells (Paganini, de Oliveira, Nachman, arXiv:1705.02355, arXiv:1712.10321).

    Each layer has a stream of locally connected layers, and may take over what the layer before has. The noise, times
    the incident energy, is all that a generator sees. The critic also sees how many cells are hit, the layers'
    energies, how far their sum is from the incident energy, and how like each other the rows of a batch are.

    Unlike the paper's networks these have no batch normalisation, since then a row would depend on the others. Instead
    each layer has units of its own, taken from the training sample: a layer with a thousandth of the energy would
    otherwise start with much of it, and a critic hardly see what is wrong there. Network space is physical, cells
    below the threshold are exactly 0.
    """

    kind: ClassVar[str] = "calogan"
    Config = CaloGanConfig
    config: CaloGanConfig
    images: ClassVar[bool] = True

    def build(self, features: int, width: int) -> None:
        """Make the networks, and the cut.

        Raises
        ------
        ConfigError
            A response is no layer of rows and columns, the incident energy is not the only condition, or the
            response is transformed.
        """
        shapes = [f.shape for f in self.schema.response]
        if any(len(shape) != 2 for shape in shapes):
            msg = f"calogan: expected responses that are layers of shape (rows, columns), got shapes {shapes}"
            raise ConfigError(msg)
        if self.config.codec.response or self.config.codec.threshold is None:
            msg = "calogan works on energies: give codec.threshold and leave codec.response empty (response: [])"
            raise ConfigError(msg)
        self.shapes = [(shape[0], shape[1]) for shape in shapes]
        self.incident = incident_energy(self.codec, self.config.incident)
        super().build(features, width)
        self.cut = Cut(width)

    def make_generator(self, features: int, width: int) -> nn.Module:
        """Streams of locally connected layers."""
        c = self.config
        return LayeredGenerator(c.latent, self.shapes, c.seeds, c.channels)

    def make_critic(self, features: int, width: int) -> nn.Module:
        """Locally connected layers, energies, and comparison of rows."""
        c = self.config
        return LayeredCritic(
            self.shapes, c.critic_channels, minibatch=c.minibatch, threshold=self.config.codec.threshold or 0.0
        )

    def prepare(self, sample: Sample, *, seed: int) -> None:
        """Fit the codec, build the networks, take the threshold to network space, and give layers their units."""
        super().prepare(sample, seed=seed)
        set_cut(self.cut, self, sample)
        self._set_units(sample.take(slice(None, None, max(1, len(sample) // _MEASURED))), seed)

    @torch.no_grad()
    def _set_units(self, sample: Sample, seed: int) -> None:
        """Let generator and critic start from the layers' own energies, as averaged over showers."""
        generator, critic = self.generator, self.critic
        assert isinstance(generator, LayeredGenerator)
        assert isinstance(critic, LayeredCritic)
        batch = self.encode(sample)
        made = self.generate(batch.condition, Draws(seed).normal(len(batch), self.noise_features))
        sizes = [math.prod(shape) for shape in self.shapes]
        pairs = zip(torch.split(batch.response, sizes, dim=1), torch.split(made, sizes, dim=1), strict=True)
        for i, (real, first) in enumerate(pairs):
            energy, start = (batch.weight * real.sum(dim=1)).sum() / batch.weight.sum(), first.sum(dim=1).mean()
            if energy > 0 and start > 0:
                generator.unit[i] = energy / start
                critic.energy_unit[i] = energy
                critic.cell_unit[i] = (real**2).sum().div((real > 0).sum()).sqrt()

    def turns(self, step: int) -> tuple[str, ...]:
        """The critic's steps, then the generator's."""
        return (*super().turns(step), *("generator",) * (self.config.generator_steps - 1))

    def _judge(self, x: Tensor, batch: Batch, active: Tensor) -> list[Judged]:
        # Rows meet in the critic: real and generated ones must not.
        incident = self.incident(batch.condition)
        return [Judged(*self.critic(part * active, incident, batch.weight)) for part in torch.split(x, len(batch))]

    # ----------------------------------------------------------------- sampling
    @property
    def noise_features(self) -> int:
        """The generator's latent numbers."""
        return self.config.latent

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """One pass of the generator."""
        out: Tensor = self.cut(self.generator(noise * (self.incident(condition) / self.config.unit)[:, None]))
        return out
