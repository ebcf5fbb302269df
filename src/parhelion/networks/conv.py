"""Convolutions of images of one, two or three dimensions, and the exact zeros that images of energy have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_LAYERS: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


def convolution(
    dimensions: int, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
) -> nn.Module:
    """Convolution of images with `dimensions` axes, (n, inputs, *shape) -> (n, outputs, *shape)."""
    return _LAYERS[dimensions][0](inputs, outputs, size, stride=stride, padding=padding)


def transposed(dimensions: int, inputs: int, outputs: int, size: int, *, stride: int, padding: int = 0) -> nn.Module:
    """Transposed convolution that makes each axis `stride` times as long (size - 2 padding must be the stride)."""
    return _LAYERS[dimensions][1](inputs, outputs, size, stride=stride, padding=padding)


def cropped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The middle of images (n, c, *larger) that has a shape, (n, c, *shape)."""
    for axis, size in enumerate(shape, start=2):
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x


class Downsampling(nn.Module):
    """Images (n, cells) to features (n, features): convolutions of stride 2 that halve each axis, then flat.

    Parameters
    ----------
    shape
        Shape of an image, one to three axes.
    channels
        Channels after each convolution.
    slope
        Of the leaky rectifier after each.
    inputs
        Images side by side in a row, each of `shape`.
    """

    def __init__(self, shape: Sequence[int], channels: Sequence[int], *, slope: float = 0.2, inputs: int = 1) -> None:
        super().__init__()
        self.shape, self.inputs = tuple(shape), inputs
        layers: list[nn.Module] = []
        size = self.shape
        for a, b in pairwise([inputs, *channels]):
            layers += [convolution(len(size), a, b, 3, stride=2, padding=1), nn.LeakyReLU(slope)]
            size = tuple((s + 1) // 2 for s in size)
        self.layers = nn.Sequential(*layers)
        self.features = channels[-1] * math.prod(size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs * cells) to (n, features)."""
        out: Tensor = self.layers(x.reshape(-1, self.inputs, *self.shape))
        return out.reshape(-1, self.features)


class Upsampling(nn.Module):
    """Vectors (n, inputs) to images (n, cells): a dense layer to a small image, transposed convolutions that double it.

    For the 30 x 30 cells of arXiv:1812.01319 and four numbers of channels the small image is 4 x 4; what exceeds the
    shape is cut off all around.

    Parameters
    ----------
    inputs
        Width of the vectors.
    shape
        Shape of an image, one to three axes.
    channels
        Channels of the small image and after each doubling.
    slope
        Of the leaky rectifier between the layers.
    """

    def __init__(self, inputs: int, shape: Sequence[int], channels: Sequence[int], *, slope: float = 0.2) -> None:
        super().__init__()
        self.shape, dimensions = tuple(shape), len(shape)
        factor = 2 ** (len(channels) - 1)
        self.start = (channels[0], *(-(-s // factor) for s in shape))
        self.first = nn.Linear(inputs, math.prod(self.start))
        layers: list[nn.Module] = [nn.LeakyReLU(slope)]
        for a, b in pairwise(channels):
            layers += [transposed(dimensions, a, b, 4, stride=2, padding=1), nn.LeakyReLU(slope)]
        self.layers = nn.Sequential(*layers, convolution(dimensions, channels[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs) to (n, cells)."""
        out: Tensor = self.layers(self.first(x).reshape(-1, *self.start))
        return cropped(out, self.shape).flatten(1)


class Cut(nn.Module):
    """Numbers below a threshold, one a column, become exactly 0, (n, d) -> (n, d); those above a ceiling become it.

    What training sees is what sampling gives: real images have exact zeros, and a critic finds any image that has none.
    The gradient is that of a leaky rectifier instead, so that an empty cell can still learn to have energy. It ends at
    minus the ceiling: a critic pays no heed to cells that are always empty, and its gradient there would drive what is
    cut to ever larger negative numbers.
    """

    threshold: Tensor
    ceiling: Tensor

    def __init__(self, width: int, *, slope: float = 0.1) -> None:
        super().__init__()
        self.slope = slope
        self.register_buffer("threshold", torch.zeros(width))
        self.register_buffer("ceiling", torch.tensor(torch.finfo(torch.float32).max))

    def forward(self, x: Tensor) -> Tensor:
        """Cut (n, d)."""
        kept = torch.where((x >= self.threshold) & (x > 0), torch.minimum(x, self.ceiling), torch.zeros_like(x))
        if not torch.is_grad_enabled() or not x.requires_grad:
            return kept
        leaky = nn.functional.leaky_relu(torch.maximum(x, -self.ceiling), self.slope)
        # Added so that the value is `kept` to the last bit.
        return kept.detach() + (leaky - leaky.detach())


def scale_convolutions(module: nn.Module, slope: float) -> None:
    """Draw all weights so that layers with leaky rectifiers keep the size of their input (arXiv:1502.01852)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=slope)
        elif isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            # Of a stride s only one in s weights along each axis reaches a cell.
            fan = layer.in_channels * math.prod(k / s for k, s in zip(layer.kernel_size, layer.stride, strict=True))
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / (1.0 + slope**2) / fan))
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
