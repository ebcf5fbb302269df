"""Conditional autoregressive and coupling layers that leave inactive entries out exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from parhelion.networks.mlp import Activation, make_activation

Univariate = Literal["spline", "affine"]


def orderings(width: int, layers: int, *, coupling: bool) -> list[list[int]]:
    """Order of the entries in each layer: an entry may depend on entries of lower order.

    Autoregressive layers run forth and back in turn. Coupling layers split the entries in two by the bits of their
    index, each bit once each way round (Gao et al., arXiv:2001.05486, section 2), so that 2 ceil(log2(width)) layers
    let every entry depend on every other.
    """
    if not coupling:
        return [list(range(width)) if k % 2 == 0 else list(range(width))[::-1] for k in range(layers)]
    bits = max(1, math.ceil(math.log2(width)))
    return [[((j >> ((k // 2) % bits)) & 1) ^ (k & 1) for j in range(width)] for k in range(layers)]


class AutoregressiveLayer(nn.Module):
    """Monotone univariate maps, each with parameters from the entries before it and the condition.

    Inactive entries enter as 0 and leave as 0, and no other entry depends on their value: for every pattern the layer
    is a bijection of the active entries alone, with their exact Jacobian.

    Splines are rational-quadratic on [-5, 5] (Durkan et al., arXiv:1906.04032) and the identity outside; affine maps
    make a masked autoregressive flow (Papamakarios et al., arXiv:1705.07057) or a coupling (Dinh et al.,
    arXiv:1605.08803).

    Parameters
    ----------
    order
        Order of each of the d entries, from 0.
    features
        Width of the encoded condition.
    univariate, bins
        Kind of univariate map, and bins of a spline.
    width, depth, activation
        Masked dense network that gives the parameters.
    """

    def __init__(
        self,
        order: Sequence[int],
        features: int,
        *,
        univariate: Univariate,
        bins: int,
        width: int,
        depth: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        networks, transforms = zuko_modules()
        spline = univariate == "spline"
        self.shapes: list[tuple[int, ...]] = [(bins,), (bins,), (bins - 1,)] if spline else [(), ()]
        self.univariate = transforms.MonotonicRQSTransform if spline else transforms.MonotonicAffineTransform
        self.passes = max(order) + 1
        place = torch.tensor(order)
        adjacency = torch.cat([place[:, None] > place, torch.ones(len(order), features, dtype=torch.bool)], dim=1)
        self.network = networks.MaskedMLP(
            adjacency.repeat_interleave(sum(math.prod(s) for s in self.shapes), dim=0),
            hidden_features=[width] * depth,
            activation=lambda: make_activation(activation),
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
        y, log_slope = self._maps(x, condition).call_and_ladj(x)
        zero = torch.zeros_like(x)
        return torch.where(active, y, zero), torch.where(active, log_slope, zero).sum(dim=1)

    def inverse(self, y: Tensor, active: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward`, one pass for each order, shape (n, d)."""
        zero = torch.zeros_like(y)
        x = zero
        for _ in range(self.passes):
            x = torch.where(active, self._maps(x, condition).inv(y), zero)
        return x

    def _maps(self, x: Tensor, condition: Tensor) -> Any:
        sizes = [math.prod(s) for s in self.shapes]
        # In low precision only the products are; the map needs every digit.
        parameters = self.network(torch.cat([x, condition], dim=1)).to(x.dtype)
        parameters = parameters.unflatten(1, (x.shape[1], sum(sizes)))
        parts = parameters.split(sizes, dim=2)
        return self.univariate(*(p if s else p[..., 0] for p, s in zip(parts, self.shapes, strict=True)))


def zuko_modules() -> tuple[Any, Any]:
    """Modules zuko.nn and zuko.transforms, without their side effect."""
    # Importing zuko turns off the argument checks of every torch distribution in the process: put them back.
    before = Distribution._validate_args, Distribution.__dict__["arg_constraints"]
    import zuko.nn
    import zuko.transforms

    Distribution._validate_args, Distribution.arg_constraints = before  # type: ignore[method-assign]
    return zuko.nn, zuko.transforms
