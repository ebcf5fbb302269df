"""A chain of quantile functions in few operators: constants folded into the layers around them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parhelion.deploy.graph_condition import Discrete, Encoder
from parhelion.networks.quantiles import QuantileChain
from parhelion.surrogates.codec import Codec
from parhelion.surrogates.structure import FREE

# The sigmoid of it is 1 in single precision.
_FAR = 100.0


class FoldedChain(nn.Module):
    """`QuantileChain` on the parts of an encoded condition.

    Parameters
    ----------
    network
        Trained chain.
    codec, encoder, discrete
        Of the surrogate: what encodes conditions.
    density, offset
        Each entry of the answer is multiplied by and added to, shape (d,).
    """

    cases: Tensor
    columns: Tensor
    free: Tensor
    slope: Tensor
    start: Tensor
    rise: Tensor
    below: Tensor
    density: Tensor
    offset: Tensor

    def __init__(
        self,
        network: QuantileChain,
        codec: Codec,
        encoder: Encoder,
        discrete: Discrete,
        density: Tensor,
        offset: Tensor,
    ) -> None:
        super().__init__()
        self.network = network
        entries, steps, functions = len(network.sequence), network.steps, network.functions.out_features
        trunk, first = network.trunk, network.first
        self.register_buffer("cases", encoder.cases @ trunk.weight.T)
        self.register_buffer("columns", encoder.columns @ trunk.weight.T)
        free = (codec.pattern.table == FREE)[discrete.codes][:, network.sequence].to(torch.float32)
        self.register_buffer("free", free)
        # An entry's first layer takes the trunk and the earlier entries side by side; centres and zooms stay apart.
        self.first = nn.ModuleList()
        for place in range(entries):
            own = slice(place * network.width, (place + 1) * network.width)
            seen = _weight(network.known[place - 1]) if place else first.weight.new_zeros(network.width, 0)
            self.first.append(_layer(torch.cat([first.weight[own], seen], dim=1), first.bias[own]))
        self.centre = _layer(first.weight[-2 * entries : -entries], first.bias[-2 * entries : -entries])
        self.zoom = _layer(first.weight[-entries:], first.bias[-entries:])
        # Ramps of the noise: place = (z - low) / step, as a layer; their squares and the noise itself beside them.
        self.register_buffer("slope", torch.full((1, len(network.pieces.low)), 1.0 / network.pieces.step))
        self.register_buffer("start", -network.pieces.low / network.pieces.step)
        self.register_buffer("rise", torch.full((1, len(network.ramps.low)), 1.0 / network.ramps.step))
        self.register_buffer("below", -network.ramps.low / network.ramps.step)
        # Outputs of an entry: coefficients, a constant, heights | logarithm of the scale | places | slopes.
        # The constant is the height of one step more, which lies far below.
        order = [*range(2, 2 + functions), 0, *range(2 + functions, 2 + functions + steps), 1]
        at, slope = (list(range(2 + functions + k * steps, 2 + functions + (k + 1) * steps)) for k in (1, 2))
        self.parts = [functions + 1 + steps, 1, 1 + steps, 1 + steps]
        self.last = nn.ModuleList()
        for layer in network.last:
            assert isinstance(layer, nn.Linear)
            zero, given = torch.zeros(1, network.width), layer.bias
            weight = torch.cat([layer.weight[order], zero, layer.weight[at], zero, layer.weight[slope]])
            bias = torch.cat([given[order], -torch.full((1,), _FAR), given[at], torch.ones(1), given[slope]])
            self.last.append(_layer(weight, bias))
        self.register_buffer("density", torch.diag(density)[network.sequence])
        self.register_buffer("offset", offset)

    def forward(
        self, z: Tensor | None, ramps: Tensor | None, discrete: Tensor | None, state: Tensor | None, noise: Tensor
    ) -> Tensor:
        """Entries (n, d), multiplied and added to, of noise (n, d) and the parts of encoded conditions."""
        network, entries = self.network, len(self.last)
        h: Tensor = network.trunk.bias if discrete is None else discrete @ self.cases + network.trunk.bias
        h = h if z is None else torch.addmm(h, z, self.columns)
        h = torch.relu(h if ramps is None else torch.addmm(h, ramps, network.trunk.weight.T))
        zoom = torch.exp(self.zoom(h))
        move = torch.split(self.centre(h) * zoom, 1, dim=1)
        rate = torch.split(zoom if state is None else zoom * (state @ self.free), 1, dim=1)
        x = noise.reshape(-1, 1)
        rising = torch.addmm(self.start, x, self.slope).clamp(0.0, 1.0)
        basis = network.functions(torch.cat([x, rising, rising * rising], dim=1))
        width = network.functions.out_features
        functions = torch.split(basis.reshape(-1, width * entries), width, dim=1)
        numbers = torch.split(noise, 1, dim=1)
        known, values = h, []
        for place, entry in enumerate(network.sequence):
            h = torch.relu(self.first[place](known))
            for layer in network.hidden[place].children():
                h = torch.relu(layer(h))
            heights, scale, at, slope = torch.split(self.last[place](h), self.parts, dim=1)
            gates = torch.sigmoid((numbers[entry] - at) * slope)
            shapes = torch.cat([functions[entry] * torch.exp(scale), gates], dim=1)
            values.append((heights * shapes).sum(dim=1, keepdim=True))
            if place + 1 < entries:
                seen = values[-1] * rate[place] - move[place]
                more = [torch.addmm(self.below, seen, self.rise).clamp(0.0, 1.0)] if self.rise.shape[1] else []
                known = torch.cat([known, seen, *more], dim=1)
        return torch.addmm(self.offset, torch.cat(values, dim=1), self.density)


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return layer.weight


def _layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight.data, made.bias.data = weight.detach().clone(), bias.detach().clone()
    return made
