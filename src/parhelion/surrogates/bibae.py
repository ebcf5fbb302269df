"""Autoencoder of showers with a bounded information bottleneck and a post-processor: BIB-AE."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from parhelion.networks.bottleneck import CoordinateCritic, Decoder, Encoder, PostProcessor, ShowerCritic
from parhelion.networks.conv import Cut
from parhelion.networks.mixture import NormalMixture
from parhelion.sample import Sample
from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig
from parhelion.surrogates.cascade.splitter import uniform
from parhelion.surrogates.codec import CodecConfig
from parhelion.surrogates.image_gan import set_cut
from parhelion.surrogates.objectives.base import norm
from parhelion.surrogates.objectives.bottleneck import discrepancy, divergence, sorted_discrepancy
from parhelion.surrogates.objectives.images import image_shape

# Rows of the training sample that give the unit of energy.
_UNIT_ROWS = 10_000


class BibAeConfig(SurrogateConfig):
    """Options of a BIB-AE; the weights are the paper's.

    Attributes
    ----------
    latent, noise
        Latent numbers that the encoder gives, and normal numbers that the decoder takes beside them.
    encoder_channels, critic_channels
        Convolutions of stride 2.
    decoder_channels
        Of the small image that the decoder's dense layer gives, and after each doubling.
    width, critic_width, latent_critic_width
        Dense layers of encoder and decoder, of the critic, of the latent critic.
    post_width, post_depth
        Post-processor.
    components
        Normal distributions in the mixture that the latent numbers follow.
    critic_steps
        Steps of both critics before each of the autoencoder.
    adversarial_steps
        Steps of the first stage, in which autoencoder and critics learn. In the second they rest, and post-processor
        and latent mixture learn.
    adversarial_weight, latent_critic_weight, divergence_weight, discrepancy_weight
        Terms of the autoencoder's loss.
    penalty_weight
        Gradient penalty of both critics.
    sorted_weight
        Sorted-Kernel-MMD in the post-processor's loss, beside the mean squared change.
    sorted_top
        Cells of a shower that it compares, the hottest.
    """

    codec: CodecConfig = Field(
        default_factory=lambda: CodecConfig(
            response=[{"kind": "voxels", "linear": 1e-3, "top": 10.0}], threshold=1e-4, knots=0
        )
    )
    latent: int = Field(24, ge=1)
    noise: int = Field(104, ge=0)
    encoder_channels: tuple[int, ...] = Field((8, 16, 32, 64), min_length=1)
    decoder_channels: tuple[int, ...] = Field((64, 32, 16, 8), min_length=2)
    critic_channels: tuple[int, ...] = Field((16, 32, 64), min_length=1)
    width: int = Field(256, ge=1)
    critic_width: int = Field(128, ge=1)
    latent_critic_width: int = Field(50, ge=1)
    post_width: int = Field(128, ge=1)
    post_depth: int = Field(6, ge=1)
    components: int = Field(8, ge=1)
    critic_steps: int = Field(5, ge=1)
    adversarial_steps: int = Field(100_000, ge=1)
    adversarial_weight: float = Field(1.0, gt=0)
    latent_critic_weight: float = Field(100.0, ge=0)
    divergence_weight: float = Field(0.05, ge=0)
    discrepancy_weight: float = Field(100.0, ge=0)
    penalty_weight: float = Field(10.0, ge=0)
    sorted_weight: float = Field(5.0, ge=0)
    sorted_top: int = Field(2000, ge=1)


class BibAe(Surrogate):
    """Autoencoder whose critics see the shower, its difference from the original, and each latent number.

    Voloshynovskiy et al., arXiv:1912.00830; Buhmann et al. ("Getting high"), arXiv:2005.05334. No norm of the
    difference of cells is in the loss, since it blurs. A post-processor then changes the energies of single cells so
    that their spectrum is right.

    New showers start from a mixture of normal distributions that was fitted to the encoded training sample, given the
    condition (the remedy of arXiv:2102.12491, with a mixture in place of a kernel density: no row of the training
    sample is in the model). The same networks, of one to three axes, serve calorimeters in two and three dimensions.
    """

    kind: ClassVar[str] = "bibae"
    Config = BibAeConfig
    config: BibAeConfig
    images: ClassVar[bool] = True

    unit: Tensor

    def build(self, features: int, width: int) -> None:
        """Make the networks.

        Raises
        ------
        ConfigError
            The response is not one image.
        """
        c, shape = self.config, image_shape(self.codec)
        self.encoder = Encoder(shape, features, c.encoder_channels, c.width, c.latent)
        self.decoder = Decoder(shape, c.latent + c.noise + features, c.decoder_channels, c.width)
        self.critic = ShowerCritic(shape, features, c.critic_channels, c.critic_width)
        self.latent_critic = CoordinateCritic(c.latent_critic_width)
        self.post = PostProcessor(features, c.post_width, c.post_depth)
        self.density = NormalMixture(features, c.latent, c.components)
        self.cut = Cut(width)
        self.register_buffer("unit", torch.ones(()))

    def prepare(self, sample: Sample, *, seed: int) -> None:
        """Fit the codec, build the networks, and take threshold and unit of energy."""
        super().prepare(sample, seed=seed)
        set_cut(self.cut, self, sample)
        some = self.encode(sample.take(slice(0, _UNIT_ROWS))).response
        with torch.no_grad():
            self.unit.copy_(self.codec.transform.inverse(some).sum(dim=1).mean())

    # ----------------------------------------------------------------- training
    def players(self) -> dict[str, list[nn.Parameter]]:
        """Both critics, the autoencoder, the post-processor and the density of the latent numbers."""
        return {
            "critic": list(self.critic.parameters()),
            "latent_critic": list(self.latent_critic.parameters()),
            "autoencoder": [*self.encoder.parameters(), *self.decoder.parameters()],
            "post": list(self.post.parameters()),
            "density": list(self.density.parameters()),
        }

    def turns(self, step: int) -> tuple[str, ...]:
        """Critics and autoencoder first; when these are done, post-processor and density."""
        if step < self.config.adversarial_steps:
            return (*("critic", "latent_critic") * self.config.critic_steps, "autoencoder")
        return ("density", "post")

    def averaged(self) -> list[nn.Parameter]:
        """All that sampling uses."""
        return [*self.decoder.parameters(), *self.post.parameters(), *self.density.parameters()]

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Loss of one player on a batch, per event, in full precision."""
        with torch.autocast(batch.response.device.type, enabled=False):
            if player == "critic":
                return self._critic_loss(batch, draws)
            if player == "latent_critic":
                return self._latent_critic_loss(batch, draws)
            if player == "autoencoder":
                return self._autoencoder_loss(batch, draws)
            if player == "post":
                return self._post_loss(batch, draws)
            if player == "density":
                with torch.no_grad():
                    z, _, _ = self._encoded(batch, draws)
                return Loss(-self.density.log_prob(z, batch.condition))
        return super().loss(player, batch, draws)

    def _encoded(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Latent numbers drawn for each row, with mean and logarithm of the variance."""
        mean, log_variance = self.encoder(batch.response, batch.condition)
        return mean + torch.exp(0.5 * log_variance) * draws.normal(len(batch), self.config.latent), mean, log_variance

    def _decoded(self, z: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        out: Tensor = self.cut(self.decoder(torch.cat([z, noise, condition], dim=1)))
        return out

    def _reconstructed(self, batch: Batch, draws: Draws) -> Tensor:
        z, _, _ = self._encoded(batch, draws)
        return self._decoded(z, draws.normal(len(batch), self.config.noise), batch.condition)

    def _score(self, both: Tensor, condition: Tensor) -> Tensor:
        """Scores (n,) of showers and differences side by side, (n, 2 cells)."""
        x, difference = both.chunk(2, dim=1)
        out: Tensor = self.critic(x, self.codec.transform.inverse(x) / self.unit, difference, condition)
        return out

    # A slope needs gradients even where the caller, a validation, records none.
    @torch.enable_grad()
    def _critic_loss(self, batch: Batch, draws: Draws) -> Loss:
        real = batch.response
        with torch.no_grad():
            fake = self._reconstructed(batch, draws)
        both = torch.cat([torch.cat([real, fake]), torch.cat([torch.zeros_like(real), fake - real])], dim=1)
        share = draws.uniform(len(batch), 1)
        at = torch.lerp(both[len(batch) :], both[: len(batch)], share).requires_grad_()
        condition = batch.condition
        right, wrong = self._score(both, condition.repeat(2, 1)).chunk(2)
        slope = self._score(at, condition)
        penalty, size = self._slope(slope, at)
        return Loss(wrong - right, penalty, {"slope": size})

    @torch.enable_grad()
    def _latent_critic_loss(self, batch: Batch, draws: Draws) -> Loss:
        with torch.no_grad():
            z, _, _ = self._encoded(batch, draws)
        normal = draws.normal(len(batch), self.config.latent)
        at = torch.lerp(z, normal, draws.uniform(len(batch), 1)).requires_grad_()
        # One network says something of each number: its slope is that of the sum.
        penalty, size = self._slope(self.config.latent * self.latent_critic(at), at, each=True)
        return Loss(self.latent_critic(z) - self.latent_critic(normal), penalty, {"latent_slope": size})

    def _slope(self, score: Tensor, at: Tensor, *, each: bool = False) -> tuple[Tensor, Tensor]:
        """Two-sided gradient penalty (arXiv:1704.00028, equation 3), and the mean slope, of rows or of each number."""
        (gradient,) = torch.autograd.grad(score.sum(), at, create_graph=True)
        size = norm(gradient.reshape(-1, 1) if each else gradient)
        return self.config.penalty_weight * (size - 1.0).square().mean(), size.detach().mean()

    def _autoencoder_loss(self, batch: Batch, draws: Draws) -> Loss:
        c = self.config
        z, mean, log_variance = self._encoded(batch, draws)
        fake = self._decoded(z, draws.normal(len(batch), c.noise), batch.condition)
        judged = -self._score(torch.cat([fake, fake - batch.response], dim=1), batch.condition)
        latent = -self.latent_critic(z)
        prior = divergence(mean, log_variance)
        off = discrepancy(z, draws.normal(len(batch), c.latent), batch.weight)
        events = c.adversarial_weight * judged + c.latent_critic_weight * latent + c.divergence_weight * prior
        logs = {"divergence": prior.detach().mean(), "discrepancy": off.detach()}
        return Loss(events, c.discrepancy_weight * off, logs)

    def _post_loss(self, batch: Batch, draws: Draws) -> Loss:
        with torch.no_grad():
            before = self._reconstructed(batch, draws)
        after = self._finished(before, batch.condition)
        change = (after - before).square().mean(dim=1)
        spectrum = sorted_discrepancy(batch.response, after, top=self.config.sorted_top)
        return Loss(change + self.config.sorted_weight * spectrum, logs={"spectrum": spectrum.detach().mean()})

    def _finished(self, x: Tensor, condition: Tensor) -> Tensor:
        out: Tensor = self.cut(self.post(x, condition))
        return out

    # ----------------------------------------------------------------- sampling
    @property
    def noise_features(self) -> int:
        """One number for the mixture's component, the latent numbers, the decoder's noise."""
        return 1 + self.config.latent + self.config.noise

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Latent numbers from their density, decoder, post-processor."""
        latent = self.config.latent
        z = self.density.draw(condition, uniform(noise[:, 0]), noise[:, 1 : 1 + latent])
        return self._finished(self._decoded(z, noise[:, 1 + latent :], condition), condition)
