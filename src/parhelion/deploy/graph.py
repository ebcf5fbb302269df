"""A surrogate as one graph of plain operations, from (noise, condition) to response in physical units."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from parhelion.deploy.graph_chain import FoldedChain
from parhelion.deploy.graph_condition import Discrete, Encoder
from parhelion.networks.quantiles import QuantileChain
from parhelion.surrogates import Student
from parhelion.surrogates.base import Surrogate
from parhelion.surrogates.codec import Codec
from parhelion.surrogates.structure import FREE
from parhelion.transforms import Quantile, Transform

# Matrices from responses to responses grow with the square of their number.
_WIDEST_TABLE = 16


class PackageGraph(nn.Module):
    """What `Surrogate.sample` does, rewritten for speed and for plain operators; the family's network is its own.

    A call of one row takes as long as its operators are many. So what is discrete (categories, leaves of the pattern's
    tree) is one row of exact zeros and ones, and all that follows from it is a product with a constant matrix.

    Thresholds of conditions are compared in double precision; all else is in single precision. Where the pattern is
    random, its noise is compared with normal quantiles of the cumulative probabilities, rounded so that each noise
    number gives the same pattern as in `Surrogate.sample`.

    Parameters
    ----------
    surrogate
        Trained surrogate; a copy of it is used.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = copy.deepcopy(surrogate).cpu().eval()
        codec = self.surrogate.codec
        self.split = self.surrogate.noise_width - self.surrogate.noise_features
        self.discrete = Discrete(codec)
        self.encoder = Encoder(codec, self.discrete)
        steps: list[nn.Module] = [
            _Lookup(step) if isinstance(step, Quantile) else _Inverse(step) for step in reversed(codec.transform.each())
        ]
        network = self.surrogate.network if isinstance(self.surrogate, Student) else None
        self.chain = None
        if isinstance(network, QuantileChain):
            width = self.surrogate.schema.response_width
            density, offset = torch.ones(width), torch.zeros(width)
            if steps and isinstance(steps[0], _Lookup):
                density, offset, steps[0].folded = steps[0].density, steps[0].offset, True
            self.chain = FoldedChain(network, codec, self.encoder, self.discrete, density, offset)
        self.decoder = nn.ModuleList(steps)
        self.ties = _Ties(codec, self.discrete.codes)

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Responses (n, d) float32 of noise (n, k) float32 and conditions (n, c) float64."""
        discrete, state = self.discrete(condition, noise[:, :1] if self.split else None)
        z, ramps = self.encoder(condition)
        inner = noise[:, self.split :] if self.split else noise
        if self.chain is not None:
            y = self.chain(z, ramps, discrete, state, inner)
        else:
            y = self.surrogate.graph(self.encoder.joined(z, ramps, discrete), inner)
        for step in self.decoder:
            y = step(y)
        return self.surrogate.codec.above_threshold(self.ties(y, state))


class _Inverse(nn.Module):
    """The inverse of a transform as a module."""

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, y: Tensor) -> Tensor:
        return self.transform.inverse(y)


class _Lookup(nn.Module):
    """`Quantile.inverse` as the straight lines of its pieces, with their tables as constants.

    Where it is folded, what comes before has multiplied by `density` and added `offset`.
    """

    density: Tensor
    offset: Tensor
    start: Tensor
    rise: Tensor
    column: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, quantile: Quantile) -> None:
        super().__init__()
        self.folded = False
        first, last = quantile.y_knots[:, 0], quantile.y_knots[:, -1]
        x = quantile.x_knots.to(torch.float64)
        self.last = quantile.knots - 2
        rise = x[:, 1:] - x[:, :-1]
        start = x[:, :-1] - rise * torch.arange(quantile.knots - 1)
        self.register_buffer("density", (quantile.knots - 1) / (last - first))
        self.register_buffer("offset", -first * (quantile.knots - 1) / (last - first))
        self.register_buffer("start", start.flatten().to(torch.float32))
        self.register_buffer("rise", rise.flatten().to(torch.float32))
        self.register_buffer("column", (quantile.knots - 1) * torch.arange(len(first)))
        for name, end in zip(("lowest", "highest"), quantile.ends, strict=True):
            self.register_buffer(name, end.clone())

    def forward(self, y: Tensor) -> Tensor:
        # Places between knots, which are at whole numbers.
        place = y if self.folded else y * self.density + self.offset
        # Cut as an integer: a NaN must not leave the table. Where rounding towards 0 is not down, 0 is the answer.
        table = place.to(torch.long).clamp(0, self.last) + self.column
        return torch.maximum(torch.minimum(self.start[table] + self.rise[table] * place, self.highest), self.lowest)


class _Ties(nn.Module):
    """Exact ties, atoms and differences, as `Codec.decode_response` makes them.

    The values that are free follow from network space by one matrix for each state, the others are picked from them by
    another, whose rows hold a single 1: a tie is exact however the products are summed up.

    Parameters
    ----------
    codec
        Of the surrogate.
    codes
        The pattern's number of each state.
    """

    spread: Tensor
    summed: Tensor
    mixed: Tensor
    picked: Tensor
    start: Tensor
    atom: Tensor
    constant: Tensor

    def __init__(self, codec: Codec, codes: Tensor) -> None:
        super().__init__()
        table = codec.pattern.table.tolist()
        width = len(table[0])
        self.base: Sequence[Sequence[tuple[int, float]]] = codec.base
        self.plain = codec.pattern.trivial and not any(self.base)
        self.by_column = _Columns(codec, codes) if width > _WIDEST_TABLE and not self.plain else None
        if self.plain or self.by_column is not None:
            return
        made = [_pattern_matrices(row, self.base, codec.pattern.atoms) for row in table]
        mixed, picked, start, atom = (torch.stack(parts) for parts in zip(*made, strict=True))
        unit = torch.eye(width)
        self.register_buffer("spread", unit.repeat(1, width))
        self.register_buffer("summed", unit.repeat_interleave(width, dim=0))
        self.register_buffer("constant", mixed[0].T.to(torch.float32).clone())
        for name, each in (("mixed", mixed), ("picked", picked), ("start", start), ("atom", atom)):
            self.register_buffer(name, each[codes].flatten(1).to(torch.float32))

    def forward(self, y: Tensor, state: Tensor | None) -> Tensor:
        if self.plain:
            return y
        if self.by_column is not None:
            values: Tensor = self.by_column(y, state)
            return values
        if state is None:
            return y @ self.constant
        free = ((y @ self.spread) * (state @ self.mixed)) @ self.summed
        if self.start.any():
            free = free + state @ self.start
        out = ((free @ self.spread) * (state @ self.picked)) @ self.summed
        return out + state @ self.atom if self.atom.any() else out


def _pattern_matrices(
    pattern: Sequence[int], base: Sequence[Sequence[tuple[int, float]]], atoms: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What one pattern makes of network space, float64.

    Returns
    -------
    tuple of Tensor
        Free values from network space (d, d), values from free ones (d, d), and what is added to each (d,).
    """
    width = len(pattern)
    mixed, picked = torch.eye(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    start, atom = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    for j, code in enumerate(pattern):
        for i, factor in base[j]:
            # The value of i is a free one, which may be that of another column, or an atom.
            mixed[j] += factor * (picked[i] @ mixed)
            start[j] += factor * (picked[i] @ start + atom[i])
        if code == FREE:
            picked[j, j] = 1.0
        elif code >= 0:
            picked[j], atom[j] = picked[code], atom[code]
        else:
            atom[j] = atoms[j, -2 - code]
    return mixed, picked, start, atom


class _Columns(nn.Module):
    """`_Ties` column by column, for many responses."""

    chosen: Tensor

    def __init__(self, codec: Codec, codes: Tensor) -> None:
        super().__init__()
        self.base: Sequence[Sequence[tuple[int, float]]] = codec.base
        table = codec.pattern.table.numpy()
        # (component, code): the component is tied, or at an atom, in some patterns.
        self.cases = [
            (j, int(c)) for j in range(table.shape[1]) for c in sorted(set(table[:, j].tolist())) if c != FREE
        ]
        self.atoms = [float(codec.pattern.atoms[j, -2 - c]) if c < FREE else 0.0 for j, c in self.cases]
        masks = torch.tensor([(table[:, j] == c).tolist() for j, c in self.cases]).reshape(len(self.cases), len(table))
        self.register_buffer("chosen", masks.T[codes].to(torch.float32))

    def forward(self, y: Tensor, state: Tensor | None) -> Tensor:
        chosen = state @ self.chosen > 0.5 if self.cases and state is not None else None
        columns: list[Tensor] = []
        for j in range(y.shape[1]):
            value = y[:, j : j + 1]
            for i, factor in self.base[j]:
                value = value + columns[i] if factor == 1.0 else value + factor * columns[i]
            for k, (component, code) in enumerate(self.cases):
                if component == j and chosen is not None:
                    exact = columns[code] if code >= 0 else torch.tensor(self.atoms[k])
                    value = torch.where(chosen[:, k : k + 1], exact, value)
            columns.append(value)
        return torch.cat(columns, dim=1)
