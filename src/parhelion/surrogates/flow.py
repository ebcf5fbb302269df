"""Conditional normalising flows."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from parhelion.networks import Activation
from parhelion.networks.autoregressive import AutoregressiveLayer, Univariate, orderings
from parhelion.networks.chain import ChainLayer
from parhelion.networks.planar import PlanarLayers
from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig

Map = Literal[
    "spline_chain", "spline_coupling", "affine_coupling", "spline_autoregressive", "affine_autoregressive", "planar"
]
Layer = ChainLayer | AutoregressiveLayer | PlanarLayers


class FlowConfig(SurrogateConfig):
    """Options of a conditional normalising flow.

    Attributes
    ----------
    map
        Kind of layer. Splines bend most; couplings sample in two passes a layer, autoregressive layers in one pass
        for each response entry, planar maps in one. A spline chain is autoregressive with a residual network for each
        entry; one layer of it does.
    layers
        Number of layers.
    bins
        Bins of each spline.
    knots
        In a spline chain, ramps for each entry that a later one depends on.
    width, depth, activation
        Dense network that gives a layer's parameters; in a spline chain, its residual blocks.
    guard
        Share of a broad normal density mixed into the density for training. With signed weights the likelihood alone
        has no maximum: it grows without bound as the density at a row of negative weight goes to 0.
    """

    map: Map = "spline_autoregressive"
    layers: int = Field(4, ge=1)
    bins: int = Field(8, ge=2)
    knots: int = Field(16, ge=0)
    width: int = Field(96, ge=1)
    depth: int = Field(2, ge=1)
    activation: Activation = "silu"
    guard: float = Field(1e-3, ge=0.0, lt=1.0)


_BROAD = 2.0


class Flow(Surrogate):
    """Conditional normalising flow trained by maximum likelihood (Papamakarios et al., arXiv:1912.02762).

    Layers map the response to standard normal noise. They leave inactive entries out exactly, so that for each
    pattern the density is that of the active entries alone: no filler is drawn, and none has to be divided out.

    A signed weight multiplies the negative log-likelihood of its event; see `FlowConfig.guard` for negative ones.
    """

    kind: ClassVar[str] = "flow"
    Config = FlowConfig
    config: FlowConfig
    has_density: ClassVar[bool] = True

    def build(self, features: int, width: int) -> None:
        """Make the layers."""
        c = self.config
        features = max(features, 1)  # without a condition: see _context
        if c.map == "planar":
            planar = PlanarLayers(
                width, features, layers=c.layers, width=c.width, depth=c.depth, activation=c.activation
            )
            self.flow_layers = nn.ModuleList([planar])
            return
        if c.map == "spline_chain":
            self.flow_layers = nn.ModuleList(
                ChainLayer(
                    order,
                    features,
                    bins=c.bins,
                    knots=c.knots,
                    width=c.width,
                    blocks=c.depth,
                    activation=c.activation,
                )
                for order in orderings(width, c.layers, coupling=False)
            )
            return
        univariate: Univariate = "spline" if c.map.startswith("spline") else "affine"
        self.flow_layers = nn.ModuleList(
            AutoregressiveLayer(
                order,
                features,
                univariate=univariate,
                bins=c.bins,
                width=c.width,
                depth=c.depth,
                activation=c.activation,
            )
            for order in orderings(width, c.layers, coupling=c.map.endswith("coupling"))
        )

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.flow_layers if isinstance(layer, Layer)]

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player."""
        return {"flow": list(self.flow_layers.parameters())}

    def averaged(self) -> list[nn.Parameter]:
        """All parameters."""
        return list(self.flow_layers.parameters())

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Negative log density of the active entries, guarded, per event."""
        density = self.network_log_prob(batch.response, batch.active, batch.condition)
        logs = {"nll": -density.detach().mean()}
        if self.config.guard > 0:
            broad = _normal_log_prob(batch.response / _BROAD, batch.active) - batch.active.sum(dim=1) * math.log(_BROAD)
            guard = self.config.guard
            density = torch.logaddexp(density + math.log1p(-guard), broad + math.log(guard))
        return Loss(-density, logs=logs)

    @property
    def noise_features(self) -> int:
        """As wide as the response."""
        return self.schema.response_width

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Map noise to responses, layer by layer; 0 where the pattern leaves an entry no freedom."""
        active = self.codec.active_entries(condition)
        x = torch.where(active, noise, torch.zeros_like(noise))
        context = _context(condition)
        for layer in reversed(self._layers()):
            x = layer.inverse(x, active, context)
        return x

    def network_log_prob(self, x: Tensor, active: Tensor, condition: Tensor) -> Tensor:
        """Log density in network space of the active entries of x (n, d), shape (n,).

        Parameters
        ----------
        x
            Shape (n, d); what stands in inactive entries has no effect.
        active
            Shape (n, d), bool.
        condition
            Encoded conditions, shape (n, features).
        """
        z = torch.where(active, x, torch.zeros_like(x))
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        context = _context(condition)
        for layer in self._layers():
            z, log_det = layer(z, active, context)
            total = total + log_det
        return total + _normal_log_prob(z, active)


def _context(condition: Tensor) -> Tensor:
    """Encoded conditions; where there are none a constant, since the first entry's network needs an input."""
    return condition if condition.shape[1] else condition.new_ones((condition.shape[0], 1))


def _normal_log_prob(z: Tensor, active: Tensor) -> Tensor:
    """Standard normal log density of the active entries of z (n, d), shape (n,)."""
    terms = -0.5 * z**2 - 0.5 * math.log(2.0 * math.pi)
    return torch.where(active, terms, torch.zeros_like(terms)).sum(dim=1)
