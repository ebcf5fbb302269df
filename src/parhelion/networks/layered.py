"""Generator and critic of showers in layers of different cells, as in CaloGAN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from parhelion.networks.locally_connected import InPainting, LocallyConnected
from parhelion.networks.minibatch import MinibatchDiscrimination

# Slope of leaky rectifiers: the one of the paper's framework.
_SLOPE = 0.3
# The last layer starts small, so that the first showers have less energy than real ones.
_START = 0.1
# Projections for minibatch discrimination of each kind of feature, and numbers in each (arXiv:1712.10321, section 4).
_KERNELS, _NUMBERS = 10, 10


class LayerStream(nn.Module):
    """Vectors (n, inputs) to a raw image of one layer (n, 1, rows, columns).

    A dense layer to an image with two more cells along each axis, a 2 x 2 convolution, two locally connected layers.

    Parameters
    ----------
    inputs
        Width of the vectors.
    shape
        Rows and columns of the layer.
    seeds
        Channels of the image that the dense layer gives.
    channels
        Those after the convolution and after the first locally connected layer.
    """

    def __init__(self, inputs: int, shape: tuple[int, int], seeds: int, channels: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = shape
        self.start = (seeds, rows + 2, columns + 2)
        self.first = nn.Linear(inputs, math.prod(self.start))
        self.convolution = nn.Conv2d(seeds, channels[0], 2)
        self.local = LocallyConnected(*channels, (rows + 2, columns + 2), kernel=(2, 2), slope=_SLOPE)
        self.last = LocallyConnected(channels[1], 1, (rows + 1, columns + 1), kernel=(2, 2), bias=False, slope=1.0)
        nn.init.kaiming_normal_(self.convolution.weight, a=_SLOPE)
        with torch.no_grad():
            self.last.weight.mul_(_START)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, inputs)."""
        x = self.first(z).reshape(-1, *self.start)
        # One more row and column behind, so that a 2 x 2 kernel keeps the size.
        x = leaky_relu(self.convolution(pad(x, (0, 1, 0, 1))), _SLOPE)
        out: Tensor = self.last(leaky_relu(self.local(x), _SLOPE))
        return out


class LayeredGenerator(nn.Module):
    """One stream a layer; from the second layer on a cell may take over what the layer before has (`InPainting`).

    Images come in units of their layers, `unit` (layers,): 1 until it is set.

    Parameters
    ----------
    inputs
        Width of the vectors.
    shapes
        Rows and columns of each layer, from the front; neighbours' must be multiples of each other.
    seeds, channels
        See `LayerStream`.
    """

    unit: Tensor

    def __init__(self, inputs: int, shapes: Sequence[tuple[int, int]], seeds: int, channels: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(len(shapes)))
        self.streams = nn.ModuleList(LayerStream(inputs, shape, seeds, channels) for shape in shapes)
        self.attention = nn.ModuleList(InPainting(shape) for shape in shapes[1:])

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, inputs) to the cells of all layers side by side, (n, cells)."""
        raw = [stream(z) for stream in self.streams]
        mixed = [raw[0]]
        for attention, before, image in zip(self.attention, raw, raw[1:], strict=False):
            mixed.append(attention(before, image))
        return torch.cat([image.flatten(1) * self.unit[i] for i, image in enumerate(mixed)], dim=1)


class LayerBody(nn.Module):
    """Features of one layer's image (n, 1, rows, columns): a convolution, then three locally connected layers."""

    def __init__(self, shape: tuple[int, int], channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, channels[0], 2)
        nn.init.kaiming_normal_(self.convolution.weight, a=_SLOPE)
        layers: list[nn.Module] = []
        size = shape
        for i, (kernel, stride) in enumerate((((3, 3), (1, 2)), ((2, 2), (1, 1)), ((2, 2), (1, 2)))):
            a, b = channels[i : i + 2]
            local = LocallyConnected(a, b, size, kernel=kernel, stride=stride, padding=(1, 1), slope=_SLOPE)
            layers += [local, nn.LeakyReLU(_SLOPE)]
            size = (local.shape[0], local.shape[1])
        self.layers = nn.Sequential(*layers)
        self.features = channels[-1] * math.prod(size)

    def forward(self, x: Tensor) -> Tensor:
        """Features of (n, 1, rows, columns)."""
        out: Tensor = self.layers(leaky_relu(self.convolution(pad(x, (0, 1, 0, 1))), _SLOPE))
        return out.flatten(1)


class LayeredCritic(nn.Module):
    """Features of a shower in layers under its incident energy, and how they compare with the other rows' of a batch.

    Of each layer what convolutions see, and the share of its cells that are hit; the layers' energies, their sum, how
    far that is from the incident energy, and whether it is further than `tolerance`. Minibatch discrimination of
    images, shares and energies stands beside them (arXiv:1712.10321, section 4); without it rows do not meet.

    It sees cells and energies in units of their layers, `cell_unit` and `energy_unit` (layers,): 1 and 10 until they
    are set. The paper's are 1 and 10 for all, behind which batch normalisation brings each layer to its own scale.

    Parameters
    ----------
    shapes
        Rows and columns of each layer, from the front.
    channels
        Of the convolution and the locally connected layers.
    minibatch
        Whether rows are compared.
    threshold
        Energy at which half of a cell counts as hit.
    tolerance
        In the unit of the cells, as all energies.
    """

    cell_unit: Tensor
    energy_unit: Tensor

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        channels: tuple[int, int, int, int],
        *,
        minibatch: bool,
        threshold: float,
        tolerance: float = 5.0,
    ) -> None:
        super().__init__()
        self.shapes, self.threshold, self.tolerance = tuple(shapes), threshold, tolerance
        self.bodies = nn.ModuleList(LayerBody(shape, channels) for shape in shapes)
        widths = [body.features for body in self.bodies if isinstance(body, LayerBody)]
        count = len(shapes)
        self.register_buffer("cell_unit", torch.ones(count))
        self.register_buffer("energy_unit", torch.full((count,), 10.0))
        compared = [sum(widths), count, count] if minibatch else []
        self.discriminations = nn.ModuleList(MinibatchDiscrimination(w, _KERNELS, _NUMBERS) for w in compared)
        self.features = sum(widths) + 2 * count + 3 + _KERNELS * len(compared)
        self.last = nn.Linear(self.features, 1)

    def forward(self, x: Tensor, incident: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (n, 1) and features (n, features) of cells (n, cells), incident energies (n,) and weights (n,)."""
        layers = torch.split(x, [math.prod(shape) for shape in self.shapes], dim=1)
        images = [
            body((layer / self.cell_unit[i]).reshape(-1, 1, *shape))
            for i, (body, layer, shape) in enumerate(zip(self.bodies, layers, self.shapes, strict=True))
        ]
        # Soft, so that a generator feels it; exactly 0 for an empty cell.
        hit = torch.stack([(layer / (layer + self.threshold)).mean(dim=1) for layer in layers], dim=1)
        energy = torch.stack([layer.sum(dim=1) for layer in layers], dim=1)
        total = energy.sum(dim=1)
        off = (total - incident).abs()
        seen = [torch.cat(images, dim=1), hit, energy / self.energy_unit]
        sums = torch.stack([total / 100.0, off, 10.0 * (off > self.tolerance).to(x.dtype)], dim=1)
        near = [compare(part, weight) for compare, part in zip(self.discriminations, seen, strict=False)]
        code = torch.cat([*seen, sums, *near], dim=1)
        return self.last(code), code
