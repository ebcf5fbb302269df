"""A chain of small networks that give quantile functions: one cheap pass from noise to response."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from parhelion.networks.ramps import Ramps

REACH = 3.6
# Values of the noise at which quantile functions are compared in training.
LATTICE = 257
LATTICE_REACH = 4.5


def on_lattice(noise: Tensor) -> Tensor:
    """The place of the nearest value of the lattice, int64, of noise of any shape."""
    step = 2.0 * LATTICE_REACH / (LATTICE - 1)
    return ((noise + LATTICE_REACH) / step).round().clamp(0, LATTICE - 1).long()


class QuantileChain(nn.Module):
    """x_k = Q_k(z_k | earlier entries, c): each entry from its own noise, given the entries before it.

    Q_k(z) = a + sum_j b_j f_j(z) + sum_m h_m sigmoid((z - t_m) s_m), with a, b, h, t, s from a small network for each
    entry. The functions f are the same for all entries: learned mixtures of the noise, its ramps, and their squares.
    Sigmoids follow gaps, whose places depend on the condition. All of it are products, sums, clips, rectifiers,
    exponentials and sigmoids, without a search, so that it exports and runs fast anywhere.

    Parameters
    ----------
    order
        Order of each of the d entries, 0 to d - 1.
    features
        Width of the encoded condition.
    width, depth
        Each entry's network, and the layer that all entries share, from the condition alone.
    knots
        Ramps for each earlier entry.
    pieces, functions
        Ramps of the noise, and functions made of them.
    steps
        Sigmoids for each entry.
    """

    lattice: Tensor

    def __init__(
        self,
        order: Sequence[int],
        features: int,
        *,
        width: int,
        depth: int,
        knots: int,
        pieces: int,
        functions: int,
        steps: int,
    ) -> None:
        super().__init__()
        entries = len(order)
        self.sequence = [list(order).index(k) for k in range(entries)]
        self.back = list(order)
        self.width, self.steps = width, steps
        self.ramps = Ramps(knots)
        self.pieces = Ramps(pieces, reach=REACH)
        self.register_buffer("lattice", torch.linspace(-LATTICE_REACH, LATTICE_REACH, LATTICE), persistent=False)
        self.functions = nn.Linear(1 + 2 * pieces, functions)
        self.trunk = nn.Linear(features, width)
        # Beside the first layer of each entry, where and how finely its ramps lie when later entries see it.
        self.first = nn.Linear(width, entries * width + 2 * entries)
        self.known = nn.ModuleList(nn.Linear(place * (1 + knots), width, bias=False) for place in range(1, entries))
        self.hidden = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, width) for _ in range(depth)) for _ in range(entries)
        )
        self.last = nn.ModuleList(nn.Linear(width, 2 + functions + 3 * steps) for _ in range(entries))
        with torch.no_grad():
            self.first.weight[-2 * entries :] = 0.0
            self.first.bias[-2 * entries :] = 0.0
            if steps:
                for name, bias in self.last.named_parameters():
                    if name.endswith("bias"):
                        bias[-2 * steps : -steps] = torch.linspace(-1.0, 1.0, steps + 2)[1:-1]
                        bias[-steps:] = 2.0

    def _shared(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First layers of all entries (n, d * width), and centre and zoom of their ramps (n, d) each."""
        made = self.first(torch.relu(self.trunk(condition)))
        entries = len(self.back)
        own, centre, zoom = torch.split(made, [entries * self.width, entries, entries], dim=1)
        return own, centre, torch.exp(zoom)

    def _curve(self, place: int, own: Tensor, known: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Location (n, 1), coefficients (n, functions), and height, place and slope of the sigmoids (n, steps)."""
        h = own[:, place * self.width : (place + 1) * self.width]
        if place:
            h = h + self.known[place - 1](torch.cat(list(known), dim=1))
        h = torch.relu(h)
        for layer in self.hidden[place].children():
            h = torch.relu(layer(h))
        out: Tensor = self.last[place](h)
        m = self.steps
        location, scale, coefficients, height, at, slope = torch.split(
            out, [1, 1, self.functions.out_features, m, m, m], dim=1
        )
        return location, torch.exp(scale) * coefficients, height, at, slope

    def forward(self, condition: Tensor, noise: Tensor, active: Tensor) -> Tensor:
        """Responses from noise, one entry after the other.

        Parameters
        ----------
        condition
            Shape (n, features).
        noise
            Shape (n, d), standard normal.
        active
            Shape (n, d), bool; the response is 0 where it is not.

        Returns
        -------
        Tensor
            Shape (n, d).
        """
        own, centre, zoom = self._shared(condition)
        ramps = self.pieces(noise)
        basis = self.functions(torch.cat([ramps, ramps[:, :, 1:] ** 2], dim=2))
        free = active.to(noise.dtype)
        known: list[Tensor] = []
        columns: list[Tensor] = []
        for place, entry in enumerate(self.sequence):
            location, coefficients, height, at, slope = self._curve(place, own, known)
            steps = height * torch.sigmoid((noise[:, entry : entry + 1] - at) * slope)
            value = location + (coefficients * basis[:, entry]).sum(dim=1, keepdim=True)
            columns.append((value + steps.sum(dim=1, keepdim=True)) * free[:, entry : entry + 1])
            seen = (columns[-1] - centre[:, place : place + 1]) * zoom[:, place : place + 1]
            known.append(self.ramps(seen)[:, 0])
        return torch.cat([columns[place] for place in self.back], dim=1)

    def curves(self, condition: Tensor, x: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Quantile functions, and their slopes, at several values of the noise.

        Parameters
        ----------
        condition
            Shape (n, features).
        x
            The response that later entries see, shape (n, d).
        place
            Places on the lattice of noise (see `on_lattice`), shape (n, d, g), int64.

        Returns
        -------
        tuple of Tensor
            Shape (n, d, g) each.
        """
        own, centre, zoom = self._shared(condition)
        known = self.ramps((x[:, self.sequence] - centre) * zoom).unbind(dim=1)
        table = self._table()
        size = self.functions.out_features
        made: list[tuple[Tensor, Tensor]] = []
        for number, entry in enumerate(self.sequence):
            location, coefficients, height, at, slope = self._curve(number, own, known[:number])
            height, at, slope = height[:, None], at[:, None], slope[:, None]
            gate = torch.sigmoid((self.lattice[place[:, entry]][:, :, None] - at) * slope)
            basis = torch.nn.functional.embedding(place[:, entry], table)
            smooth = (basis.reshape(*basis.shape[:2], 2, size) * coefficients[:, None, None]).sum(dim=3)
            rate = smooth[:, :, 1] + (height * slope * gate * (1.0 - gate)).sum(dim=2)
            made.append((smooth[:, :, 0] + location + (height * gate).sum(dim=2), rate))
        values, rates = zip(*(made[number] for number in self.back), strict=True)
        return torch.stack(values, dim=1), torch.stack(rates, dim=1)

    def _table(self) -> Tensor:
        """The functions and their slopes at the values of the lattice, (values, 2 * functions)."""
        ramps = self.pieces(self.lattice[:, None])[:, 0]
        inner = ramps[:, 1:]
        free = ((inner > 0.0) & (inner < 1.0)).to(inner.dtype) / self.pieces.step
        values = self.functions(torch.cat([ramps, inner**2], dim=1))
        rates = torch.cat([torch.ones_like(ramps[:, :1]), free, 2.0 * inner * free], dim=1) @ self.functions.weight.T
        return torch.cat([values, rates], dim=1)
