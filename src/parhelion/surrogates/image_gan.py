"""Adversarial network of images: transposed convolutions against convolutions, as in the LHCb calorimeter GAN."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor, nn

from parhelion.networks.conv import Cut, Downsampling, Upsampling, scale_convolutions
from parhelion.sample import Sample
from parhelion.surrogates.adversarial import Adversarial, AdversarialConfig
from parhelion.surrogates.base import Surrogate
from parhelion.surrogates.codec import CodecConfig
from parhelion.surrogates.objectives import AuxiliaryConfig, Judged
from parhelion.surrogates.objectives.adversarial import JensenShannon, LeastSquares, Wasserstein, WassersteinClipping
from parhelion.surrogates.objectives.cramer import Cramer
from parhelion.surrogates.objectives.images import AnyImageAuxiliary, image_shape

_SLOPE = 0.2
# The last layer starts small, so that the first images are nearly empty, as most cells are.
_START = 0.1
# Largest answer in units of the largest of the training sample, in network space; rows encoded at a time to find it.
_CEILING = 1.3
_CHUNK = 1000


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


# All but the energy-based one, whose critic is an autoencoder.
ImageObjective = Annotated[
    JensenShannon | LeastSquares | WassersteinClipping | Wasserstein | Cramer,
    Field(discriminator="kind"),
    BeforeValidator(_by_name),
]


class ConvGeneratorConfig(BaseModel):
    """Options of a generator of images.

    Attributes
    ----------
    latent
        Normal numbers that it takes.
    channels
        Channels of the small image that the dense layer gives, and after each transposed convolution.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    latent: int = Field(128, ge=1)
    channels: tuple[int, ...] = Field((256, 64, 32, 16), min_length=2)


class ConvCriticConfig(BaseModel):
    """Options of a critic of images.

    Attributes
    ----------
    channels
        Channels after each convolution of stride 2.
    width
        Of two hidden layers that see the condition too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    width: int = Field(256, ge=1)


class ConvCritic(nn.Module):
    """Score, or embedding, of an image under a condition: convolutions, then dense layers that see the condition too.

    Its rows are independent, as a gradient penalty asks (arXiv:1704.00028, section 4): there is no batch normalisation.
    """

    def __init__(self, shape: tuple[int, ...], features: int, outputs: int, config: ConvCriticConfig) -> None:
        super().__init__()
        self.body = Downsampling(shape, config.channels, slope=_SLOPE)
        self.hidden = nn.Sequential(
            nn.Linear(self.body.features + features, config.width),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(config.width, config.width),
            nn.LeakyReLU(_SLOPE),
        )
        # A difference of scores does not see a constant; where one counts, the hidden layers' biases make it.
        self.last = nn.Linear(config.width, outputs, bias=False)
        self.embeds = outputs > 1
        scale_convolutions(self, _SLOPE)

    def forward(self, x: Tensor, condition: Tensor, active: Tensor) -> Judged:
        """Judge (n, cells) images; the code is the embedding, or the last hidden layer of a score."""
        code = self.hidden(torch.cat([self.body(x * active), condition], dim=1))
        value = self.last(code)
        return Judged(value, value if self.embeds else code)


class ImageGanConfig(AdversarialConfig):
    """Options of an adversarial network of images.

    Attributes
    ----------
    generator, critic
        Networks.
    auxiliary
        Terms of the generator's loss beside the objective. Those that learn do so first, in a stage of their own.
    """

    codec: CodecConfig = Field(
        default_factory=lambda: CodecConfig(
            response=[{"kind": "voxels", "linear": 1e-3, "top": 10.0}],
            threshold=1e-4,
            knots=0,
            directions=[("px", "py", "pz")],
        )
    )
    objective: ImageObjective = Wasserstein()
    generator: ConvGeneratorConfig = ConvGeneratorConfig()
    critic: ConvCriticConfig = ConvCriticConfig()
    auxiliary: tuple[AnyImageAuxiliary, ...] = ()

    @property
    def terms(self) -> tuple[AuxiliaryConfig, ...]:
        """The auxiliary terms."""
        return self.auxiliary


class ImageGan(Adversarial):
    """Conditional Wasserstein GAN of calorimeter images (Chekalina et al., arXiv:1812.01319).

    Noise and condition become a small image of many channels, which transposed convolutions bring to its size. What is
    below the codec's threshold is exactly 0, in training as in sampling. With the term `image_regressor` training has
    two stages, as in the paper: the regressor learns from real images while all else rests; then it is frozen.
    """

    kind: ClassVar[str] = "image_gan"
    Config = ImageGanConfig
    config: ImageGanConfig
    images: ClassVar[bool] = True

    def build(self, features: int, width: int) -> None:
        """Make the networks, and the cut."""
        super().build(features, width)
        self.cut = Cut(width)

    def make_generator(self, features: int, width: int) -> nn.Module:
        """Dense layer and transposed convolutions."""
        g = self.config.generator
        generator = Upsampling(g.latent + features, image_shape(self.codec), g.channels, slope=_SLOPE)
        scale_convolutions(generator, _SLOPE)
        last = generator.layers[-1]
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.mul_(_START)
        return generator

    def make_critic(self, features: int, width: int) -> nn.Module:
        """Convolutional critic with the objective's number of outputs."""
        objective = self.config.objective
        outputs = objective.embedding if isinstance(objective, Cramer) else 1
        return ConvCritic(image_shape(self.codec), features, outputs, self.config.critic)

    def prepare(self, sample: Sample, *, seed: int) -> None:
        """Fit the codec, build the networks, and take the threshold to network space."""
        super().prepare(sample, seed=seed)
        set_cut(self.cut, self, sample)

    def turns(self, step: int) -> tuple[str, ...]:
        """The regressor alone while it learns, then critic and generator."""
        turns = super().turns(step)
        return ("auxiliary",) if "auxiliary" in turns else turns

    # ----------------------------------------------------------------- sampling
    @property
    def noise_features(self) -> int:
        """The generator's latent numbers."""
        return self.config.generator.latent

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """One pass of the generator."""
        out: Tensor = self.cut(self.generator(torch.cat([noise, condition], dim=1)))
        return out


@torch.no_grad()
def set_cut(cut: Cut, surrogate: Surrogate, sample: Sample) -> None:
    """Give a cut the threshold of a surrogate's codec, and a ceiling well above the training sample's hottest cell.

    The ceiling keeps logarithmic scales finite where a network is asked outside its domain.
    """
    energy, transform = surrogate.codec.config.threshold, surrogate.codec.transform
    if energy is not None:
        # A cell at the threshold must survive rounding.
        cut.threshold.copy_(transform(torch.full((1, len(cut.threshold)), energy))[0] * (1 - 1e-6))
    starts = range(0, len(sample), _CHUNK)
    largest = [surrogate.encode(sample.take(slice(i, i + _CHUNK))).response.max() for i in starts]
    cut.ceiling.copy_(_CEILING * torch.stack(largest).max())
