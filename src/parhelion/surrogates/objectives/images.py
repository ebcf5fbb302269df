"""Auxiliary terms of generators of images: regressor, statistics of showers, energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from parhelion.errors import ConfigError
from parhelion.networks.conv import Downsampling, scale_convolutions
from parhelion.surrogates.codec import Codec
from parhelion.surrogates.objectives.auxiliary import AuxiliaryConfig, AuxiliaryTerm, Scene
from parhelion.surrogates.objectives.base import norm
from parhelion.surrogates.objectives.statistics import Plane, Statistic, energy_score, statistics

_SLOPE = 0.2


def image_shape(codec: Codec) -> tuple[int, ...]:
    """Shape of the one image that a codec's responses are.

    Raises
    ------
    ConfigError
        The response is not one field with one to three axes.
    """
    shapes = [f.shape for f in codec.schema.response]
    if len(shapes) != 1 or not 1 <= len(shapes[0]) <= 3:
        msg = f"expected one response field that is an image of one to three axes, got fields of shape {shapes}"
        raise ConfigError(msg)
    return shapes[0]


def _needed(codec: Codec | None, kind: str) -> Codec:
    if codec is None:
        msg = f"auxiliary term {kind} is for surrogates of images"
        raise ConfigError(msg)
    return codec


class ImageRegressorTerm(AuxiliaryTerm):
    """Huber distance between the condition and what a convolutional regressor, learned on real images, reads off."""

    def __init__(self, codec: Codec, features: int, channels: tuple[int, ...], width: int, learning_steps: int) -> None:
        super().__init__()
        self.learning_steps = learning_steps
        body = Downsampling(image_shape(codec), channels, slope=_SLOPE)
        self.regressor = nn.Sequential(
            body, nn.Linear(body.features, width), nn.LeakyReLU(_SLOPE), nn.Linear(width, features)
        )
        scale_convolutions(self, _SLOPE)

    def events(self, scene: Scene) -> Tensor:
        """Distance at the generated event."""
        return self.learning_events(scene.fake, scene.condition)

    def learning_events(self, real: Tensor, condition: Tensor) -> Tensor:
        """Distance at the real event."""
        out: Tensor = huber_loss(self.regressor(real), condition, reduction="none").mean(dim=1)
        return out


class ImageRegressor(AuxiliaryConfig):
    """Convolutional regressor of the condition, pre-trained on real images and then frozen (arXiv:1812.01319).

    Biased like its dense relative `regressor`: it prefers the images from which the condition is read best.

    Attributes
    ----------
    channels, width
        Convolutions of stride 2 and a hidden layer.
    learning_steps
        Steps of the pre-training.
    """

    kind: Literal["image_regressor"] = "image_regressor"
    channels: tuple[int, ...] = Field((16, 32, 64), min_length=1)
    width: int = Field(128, ge=1)
    learning_steps: int = Field(2_000, ge=1)

    def make(self, width: int, features: int, codec: Codec | None = None) -> AuxiliaryTerm:
        """Make the term."""
        chosen = _needed(codec, self.kind)
        return ImageRegressorTerm(chosen, features, self.channels, self.width, self.learning_steps)


class StatisticsTerm(AuxiliaryTerm):
    """Energy score of the inverse hyperbolic sine of statistics, each in units of its standard deviation from its mean.

    The score of a monotone function is as proper as the statistic's own. A statistic of the first, nearly empty images
    can be tens of standard deviations off and change with every cell: its gradient would drown that of a critic, whose
    slope is about 1. So the slope in each generated image is at most 1, whatever the value.
    """

    fakes: ClassVar[int] = 2
    centre: Tensor
    scale: Tensor

    def __init__(self, names: tuple[Statistic, ...], plane: Plane) -> None:
        super().__init__()
        self.names, self.plane = names, plane
        count = sum(5 if name == "sparsity" else 1 for name in names)
        self.register_buffer("centre", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))

    @torch.no_grad()
    def fit(self, real: Tensor, condition: Tensor, weight: Tensor) -> None:
        """Take means and standard deviations; unweighted, since they are units and nothing more."""
        found = statistics(self.names, self.plane, real, condition)
        self.centre.copy_(found.mean(dim=0))
        self.scale.copy_(found.std(dim=0).clamp(min=1e-6))

    def events(self, scene: Scene) -> Tensor:
        """Mean score over the numbers."""
        if scene.other is None:
            msg = "a statistics term compares two generated events: give both"
            raise ConfigError(msg)
        fakes = [x.detach().requires_grad_() for x in (scene.fake, scene.other)]
        with torch.enable_grad():
            parts = [self._of(x, scene.condition) for x in (scene.real, *fakes)]
            value = energy_score(*parts) / len(self.scale)
            slopes = torch.autograd.grad(value.sum(), fakes)
        out = value.detach()
        for x, slope in zip((scene.fake, scene.other), slopes, strict=True):
            bounded = slope / norm(slope).clamp(min=1.0)[:, None]
            # Nothing is added to the value, only the gradient.
            out = out + ((x - x.detach()) * bounded).sum(dim=1)
        return out

    def _of(self, x: Tensor, condition: Tensor) -> Tensor:
        return torch.asinh((statistics(self.names, self.plane, x, condition) - self.centre) / self.scale)


class Statistics(AuxiliaryConfig):
    """Statistics of showers that the loss enforces; those left out remain as the test of the surrogate.

    A study must name them as its `loss_fields`, so that a requirement on nothing else is refused.

    Attributes
    ----------
    names
        Names of observables of the set `ecal`.
    impact
        Conditions with the point of impact, along the image's axes.
    cell, depth
        As those of the set `ecal`, mm.
    """

    kind: Literal["statistics"] = "statistics"
    names: tuple[Statistic, ...] = Field(("width_along", "width_across"), min_length=1)
    impact: tuple[str, str] = ("x", "y")
    cell: float = Field(20.0, gt=0)
    depth: float = Field(120.0, ge=0)

    @property
    def compared(self) -> tuple[str, ...]:
        """The names."""
        return self.names

    def make(self, width: int, features: int, codec: Codec | None = None) -> AuxiliaryTerm:
        """Make the term."""
        plane = Plane(_needed(codec, self.kind), self.impact, self.cell, self.depth)
        return StatisticsTerm(self.names, plane)


def incident_energy(codec: Codec, name: str | None) -> Callable[[Tensor], Tensor]:
    """Function that gives incident energies (n,) in their unit for encoded conditions (n, features).

    Parameters
    ----------
    codec
        Describes the conditions.
    name
        Condition with the incident energy; None: there is only one.

    Raises
    ------
    ConfigError
        It is not the only condition.
    """
    names = [f.name for f in codec.schema.condition]
    if len(names) != 1 or codec.schema.condition_width != 1 or not codec.continuous or (name or names[0]) != names[0]:
        msg = f"expected the incident energy{f' {name}' if name else ''} as the only condition, got {', '.join(names)}"
        raise ConfigError(msg)

    def energy(condition: Tensor) -> Tensor:
        x = codec.kinematics(condition)[:, 0].to(torch.float32)
        return torch.where(codec.log_scale[0], torch.exp(x.clamp(max=30.0)), x)

    return energy


class IncidentEnergyTerm(AuxiliaryTerm):
    """Distance between the sum of all cells and the incident energy."""

    def __init__(self, codec: Codec, incident: str | None) -> None:
        super().__init__()
        self._inverse, self._incident = codec.transform.inverse, incident_energy(codec, incident)

    def events(self, scene: Scene) -> Tensor:
        """Distance at the generated event, in the cells' unit."""
        return (self._inverse(scene.fake).sum(dim=1) - self._incident(scene.condition)).abs()


class IncidentEnergy(AuxiliaryConfig):
    """Mean absolute distance of total and incident energy (arXiv:1712.10321, section 4; the paper's weight is 0.05).

    For calorimeters whose cells have all of the energy. It narrows the response, so keep its weight small.

    Attributes
    ----------
    incident
        Condition with the incident energy, in the cells' unit; None: there is only one.
    """

    kind: Literal["incident_energy"] = "incident_energy"
    weight: float = Field(0.05, gt=0)
    incident: str | None = None

    @property
    def compared(self) -> tuple[str, ...]:
        """The total."""
        return ("total", "response")

    def make(self, width: int, features: int, codec: Codec | None = None) -> AuxiliaryTerm:
        """Make the term."""
        return IncidentEnergyTerm(_needed(codec, self.kind), self.incident)


IMAGE_AUXILIARY: dict[str, type[AuxiliaryConfig]] = {
    "image_regressor": ImageRegressor,
    "statistics": Statistics,
    "incident_energy": IncidentEnergy,
}
AnyImageAuxiliary = Annotated[ImageRegressor | Statistics | IncidentEnergy, Field(discriminator="kind")]
