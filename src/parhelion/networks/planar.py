"""Conditional planar flows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from parhelion.networks.mlp import MLP, Activation

Plane = tuple[Tensor, Tensor, Tensor]

_BISECTIONS = 12
_NEWTON_STEPS = 4
# The slope along w stays above this, so that the inverse is stable in single precision.
_LEAST_SLOPE = 1e-3


class PlanarLayers(nn.Module):
    """Planar maps f(x) = x + u tanh(w . x + b), Rezende and Mohamed, arXiv:1505.05770, equation 10.

    One network gives u, w and b of every layer, and the shift and scale of a last elementwise map, from the condition.
    The planar map runs from response to noise: the density of data, which training needs, is then closed-form, and a
    sample needs the root of one monotone scalar function a layer. (The paper runs it from noise, to sample a
    posterior.) Invertibility, w . u > -1, is imposed as in its appendix A.1.

    w and u are 0 where an entry is not active: such entries stay 0 and no other depends on them.

    Parameters
    ----------
    entries
        Width d of the response.
    features
        Width of the encoded condition.
    layers
        Number of planar maps.
    width, depth, activation
        Dense network that gives the parameters.
    """

    def __init__(
        self, entries: int, features: int, *, layers: int, width: int, depth: int, activation: Activation
    ) -> None:
        super().__init__()
        self.entries, self.layers = entries, layers
        outputs = layers * (2 * entries + 1) + 2 * entries
        self.network = MLP(features, outputs, width=width, depth=depth, activation=activation)

    def forward(self, x: Tensor, active: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Towards noise: image (n, d), and log |det| over the active entries (n,).

        Parameters
        ----------
        x
            Shape (n, d), 0 where not active.
        active
            Shape (n, d), bool.
        condition
            Shape (n, features).
        """
        planes, shift, log_scale = self._planes(active, condition)
        total = log_scale.sum(dim=1)
        for u, w, b in planes:
            bent = torch.tanh((w * x).sum(dim=1, keepdim=True) + b)
            # log |1 + u . psi|, equation 12.
            total = total + torch.log1p((u * w).sum(dim=1) * (1.0 - bent[:, 0] ** 2))
            x = x + u * bent
        return (x + shift) * torch.exp(log_scale), total

    def inverse(self, y: Tensor, active: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward`, shape (n, d): fixed numbers of bisections and Newton steps a layer."""
        planes, shift, log_scale = self._planes(active, condition)
        x = y * torch.exp(-log_scale) - shift
        for u, w, b in reversed(planes):
            slope = (u * w).sum(dim=1, keepdim=True)
            along = _root((w * x).sum(dim=1, keepdim=True), slope, b)
            x = x - u * torch.tanh(along + b)
        return x

    def _planes(self, active: Tensor, condition: Tensor) -> tuple[list[Plane], Tensor, Tensor]:
        free = active.to(condition.dtype)
        out = self.network(condition)
        bend, elementwise = out.split([out.shape[1] - 2 * self.entries, 2 * self.entries], dim=1)
        shift, log_scale = (part * free for part in elementwise.chunk(2, dim=1))
        planes: list[Plane] = []
        for part in bend.chunk(self.layers, dim=1):
            u, w, b = part.split([self.entries, self.entries, 1], dim=1)
            u, w = u * free, w * free
            raw = (u * w).sum(dim=1, keepdim=True)
            # The floor only matters where no entry is active and w is 0.
            length = (w**2).sum(dim=1, keepdim=True).clamp(min=1e-12)
            planes.append((u + (softplus(raw) - 1.0 + _LEAST_SLOPE - raw) * w / length, w, b))
        return planes, shift, log_scale


def _root(target: Tensor, slope: Tensor, b: Tensor) -> Tensor:
    """Root a of a + slope tanh(a + b) = target, for slope > -1; all of shape (n, 1)."""
    low, high = target - slope.abs(), target + slope.abs()
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        beyond = middle + slope * torch.tanh(middle + b) > target
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    a = 0.5 * (low + high)
    for _ in range(_NEWTON_STEPS):
        bent = torch.tanh(a + b)
        a = a - (a + slope * bent - target) / (1.0 + slope * (1.0 - bent**2))
        a = torch.maximum(torch.minimum(a, high), low)
    return a
