"""Networks of the autoencoder of showers with a bounded information bottleneck, for images of one to three axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from parhelion.networks.conv import Downsampling, Upsampling, scale_convolutions

_SLOPE = 0.2
# Width of each of the critic's streams, and of what the post-processor is told of a shower (arXiv:2005.05334).
_STREAM = 64
_TOLD = 64
# The decoder's last layer starts small: most cells are empty.
_START = 0.1
_LOG_VARIANCE = 8.0


def _dense(*sizes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.LeakyReLU(_SLOPE)]
    return layers


class Encoder(nn.Module):
    """Mean and logarithm of the variance (n, latent) each of a shower (n, cells) under a condition (n, features)."""

    def __init__(self, shape: Sequence[int], features: int, channels: Sequence[int], width: int, latent: int) -> None:
        super().__init__()
        self.body = Downsampling(shape, channels, slope=_SLOPE)
        self.dense = nn.Sequential(*_dense(self.body.features + features, width), nn.Linear(width, 2 * latent))
        scale_convolutions(self, _SLOPE)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Encode."""
        mean, log_variance = self.dense(torch.cat([self.body(x), condition], dim=1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE)


class Decoder(nn.Module):
    """Showers (n, cells) of latent numbers, noise and condition, (n, inputs) together."""

    def __init__(self, shape: Sequence[int], inputs: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*_dense(inputs, width))
        self.image = Upsampling(width, shape, channels, slope=_SLOPE)
        scale_convolutions(self, _SLOPE)
        last = self.image.layers[-1]
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.mul_(_START)

    def forward(self, z: Tensor) -> Tensor:
        """Decode."""
        out: Tensor = self.image(self.dense(z))
        return out


class ShowerCritic(nn.Module):
    """Score (n,) of a shower and its difference from the one it reconstructs, under a condition.

    Four streams: the shower in network space, its energies, the difference, the condition.

    Parameters
    ----------
    shape
        Shape of the image.
    features
        Width of the condition.
    channels
        Convolutions of both image streams.
    width
        Of three hidden layers behind the streams.
    """

    def __init__(self, shape: Sequence[int], features: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.images = nn.ModuleList()
        for _ in range(2):
            body = Downsampling(shape, channels, slope=_SLOPE)
            self.images.append(nn.Sequential(body, nn.Linear(body.features, _STREAM)))
        self.difference = nn.Linear(math.prod(shape), _STREAM)
        self.condition = nn.Linear(features, _STREAM)
        # A difference of scores does not see a constant.
        self.last = nn.Sequential(
            nn.LeakyReLU(_SLOPE), *_dense(4 * _STREAM, width, width, width), nn.Linear(width, 1, bias=False)
        )
        scale_convolutions(self, _SLOPE)

    def forward(self, x: Tensor, energy: Tensor, difference: Tensor, condition: Tensor) -> Tensor:
        """Score rows of cells (n, cells), three times, and conditions (n, features)."""
        streams = [image(part) for image, part in zip(self.images, (x, energy), strict=True)]
        out: Tensor = self.last(torch.cat([*streams, self.difference(difference), self.condition(condition)], dim=1))
        return out[:, 0]


class CoordinateCritic(nn.Module):
    """Score (n,) of latent numbers (n, latent): the mean of what one network says of each (arXiv:2005.05334)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_dense(1, width, 2 * width, width), nn.Linear(width, 1, bias=False))
        scale_convolutions(self, _SLOPE)

    def forward(self, z: Tensor) -> Tensor:
        """Score."""
        out: Tensor = self.layers(z.reshape(-1, 1))
        return out.reshape(-1, z.shape[1]).mean(dim=1)


class PostProcessor(nn.Module):
    """Changes the energy of each cell by itself, given the shower's condition and sum, (n, cells) -> (n, cells).

    It is a dense network shared by all cells (convolutions of size 1), and starts as the identity.

    Parameters
    ----------
    features
        Width of the condition.
    width, depth
        Hidden layers.
    """

    def __init__(self, features: int, width: int, depth: int) -> None:
        super().__init__()
        self.told = nn.Sequential(*_dense(features + 1, _TOLD, _TOLD), nn.Linear(_TOLD, width))
        self.cell = nn.Linear(1, width, bias=False)
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [nn.LayerNorm(width), nn.LeakyReLU(_SLOPE), nn.Linear(width, width)]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(width), nn.LeakyReLU(_SLOPE))
        self.last = nn.Linear(width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Change cells."""
        told = self.told(torch.cat([condition, x.sum(dim=1, keepdim=True)], dim=1))
        change: Tensor = self.last(self.layers(self.cell(x[:, :, None]) + told[:, None]))
        return x + change[:, :, 0]
