"""A chain of conditional splines: each entry has a network of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parhelion.networks.autoregressive import zuko_modules
from parhelion.networks.fused import residual, spline, spline_inverse
from parhelion.networks.mlp import Activation, ResidualMLP
from parhelion.networks.ramps import Ramps

# Of a spline on [-5, 5], for numbers that are about standard normal.
_LOG_SCALES = (-15.0, 4.0)


class ChainLayer(nn.Module):
    """p(x | c) as the product of p(x_k | earlier entries, c): one monotone spline each, shifted and scaled.

    Unlike a masked network, each entry has a residual network of its own, and sees the earlier entries also as ramps
    (a piecewise-linear encoding, Gorishniy et al., arXiv:2203.05556), so that it can follow sharp edges and thin, bent
    correlations. Splines are rational-quadratic on [-5, 5] (Durkan et al., arXiv:1906.04032) and the identity outside.

    Inactive entries enter as 0 and leave as 0, and no other entry depends on their value.

    Scales are bounded: where weights of both signs leave hardly any events, nothing else would keep one from growing
    until a response is infinite.

    Parameters
    ----------
    order
        Order of each of the d entries, 0 to d - 1.
    features
        Width of the encoded condition.
    bins
        Bins of a spline.
    knots
        Ramps for each earlier entry.
    width, blocks, activation
        Residual networks.
    """

    def __init__(
        self,
        order: Sequence[int],
        features: int,
        *,
        bins: int,
        knots: int,
        width: int,
        blocks: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.order = list(order)
        self.sequence = [self.order.index(k) for k in range(len(self.order))]
        self.bins = bins
        self.ramps = Ramps(knots)
        self.entry_networks = nn.ModuleList(
            ResidualMLP(features + place * (1 + knots), 3 * bins + 1, width=width, blocks=blocks, activation=activation)
            for place in range(len(order))
        )

    def forward(self, x: Tensor, active: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Towards noise.

        Parameters
        ----------
        x
            Shape (n, d), 0 where not active.
        active
            Shape (n, d), bool.
        condition
            Shape (n, features).

        Returns
        -------
        tuple of Tensor
            Image, shape (n, d), 0 where not active, and log |det| over the active entries, shape (n,).
        """
        # The input of each network is the beginning of the next one's: one table serves all.
        encoded = self.ramps(x[:, self.sequence])
        table = torch.cat([condition, encoded[:, :-1].flatten(1)], dim=1)
        if torch.is_autocast_enabled(x.device.type):
            table = table.to(torch.get_autocast_dtype(x.device.type))
        networks = [network for network in self.entry_networks if isinstance(network, ResidualMLP)]
        # One spline call for all entries: their many small operations cost more than the networks.
        places = [residual(network, table[:, : network.first.in_features]) for network in networks]
        shift, log_scale, bins = self._parts(torch.stack(places))
        shift, log_scale = shift[:, 0], log_scale[:, 0]
        y, log_slope = spline(bins, (x.T[self.sequence] - shift) * torch.exp(-log_scale), self.bins)
        free, zero = active.T[self.sequence], torch.zeros_like(y)
        total = torch.where(free, log_slope - log_scale, zero).sum(dim=0)
        return torch.where(free, y, zero)[self.order].T, total

    def inverse(self, y: Tensor, active: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward`, one network after the other, shape (n, d)."""
        known: list[Tensor] = []
        columns: list[Tensor] = []
        for place, entry in enumerate(self.sequence):
            shift, log_scale, spline = self._spline(self._spline_parameters(place, known, condition))
            value = spline.inv(y[:, entry]) * torch.exp(log_scale) + shift
            columns.append(torch.where(active[:, entry], value, torch.zeros_like(value)))
            known.append(self.ramps(columns[-1][:, None])[:, 0])
        return torch.stack([columns[place] for place in self.order], dim=1)

    def quantiles(self, y: Tensor, active: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Each entry's quantile function at several values of its noise, given the entries before it.

        Later entries see what comes of the first of the values, which is what `inverse` gives; no derivatives are kept.

        Parameters
        ----------
        y
            Shape (n, d, g).
        active
            Shape (n, d), bool.
        condition
            Shape (n, features).

        Returns
        -------
        tuple of Tensor
            Values and slopes, shape (n, d, g) each; 0 where not active.
        """
        known: list[Tensor] = []
        values, slopes = torch.zeros_like(y), torch.zeros_like(y)
        with torch.no_grad():
            for place, entry in enumerate(self.sequence):
                shift, log_scale, bins = self._parts(self._spline_parameters(place, known, condition))
                x, slope = spline_inverse(bins, y[:, entry], self.bins)
                scale, free = torch.exp(log_scale), active[:, entry, None].to(y.dtype)
                values[:, entry] = (x * scale + shift) * free
                slopes[:, entry] = slope * scale * free
                known.append(self.ramps(values[:, entry, :1])[:, 0])
        return values, slopes

    def _spline_parameters(self, place: int, known: list[Tensor], condition: Tensor) -> Tensor:
        parameters: Tensor = self.entry_networks[place](torch.cat([condition, *known[:place]], dim=1))
        # In low precision only the products are; the spline needs every digit.
        return parameters.to(condition.dtype)

    def _spline(self, parameters: Tensor) -> tuple[Tensor, Tensor, Any]:
        _, transforms = zuko_modules()
        shift, log_scale, bins = self._parts(parameters)
        parts = torch.split(bins, [self.bins, self.bins, self.bins - 1], dim=1)
        return shift[:, 0], log_scale[:, 0], transforms.MonotonicRQSTransform(*parts, bound=5.0)

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shift, bounded logarithm of the scale, and the spline's own parameters; they lie along the second axis."""
        shift, log_scale, bins = torch.split(parameters, [1, 1, 3 * self.bins - 1], dim=1)
        return shift, log_scale.clamp(*_LOG_SCALES), bins
