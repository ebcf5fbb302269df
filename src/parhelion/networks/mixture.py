"""Mixture of normal distributions with full covariances, given a condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

# Components start this far apart, or they would stay one.
_START = 0.3
# softplus of it is 1.
_UNIT = math.log(math.e - 1.0)


class NormalMixture(nn.Module):
    """Density of z (n, width) given a condition (n, inputs), learned by likelihood and drawn from in one pass.

    Shares and means are linear in the condition, covariances are the components' own. It starts near the standard
    normal distribution.

    Parameters
    ----------
    inputs, width
        Of condition and z.
    components
        Normal distributions.
    """

    lower: Tensor
    unit: Tensor

    def __init__(self, inputs: int, width: int, components: int) -> None:
        super().__init__()
        self.width, self.components = width, components
        self.share = nn.Linear(inputs, components)
        self.mean = nn.Linear(inputs, components * width)
        with torch.no_grad():
            for layer in (self.share, self.mean):
                layer.weight.zero_()
                layer.bias.zero_()
            self.mean.bias.normal_(std=_START)
        self.diagonal = nn.Parameter(torch.full((components, width), _UNIT))
        self.below = nn.Parameter(torch.zeros(components, width, width))
        self.register_buffer("lower", torch.ones(width, width).tril(-1), persistent=False)
        self.register_buffer("unit", torch.eye(width), persistent=False)

    @property
    def factor(self) -> Tensor:
        """Lower triangular factors of the covariances, (components, width, width)."""
        return self.lower * self.below + self.unit * (softplus(self.diagonal) + 1e-3)[:, :, None]

    def log_prob(self, z: Tensor, condition: Tensor) -> Tensor:
        """Log density, (n,)."""
        off = z[:, None] - self.mean(condition).reshape(-1, self.components, self.width)
        factor = self.factor
        white = torch.linalg.solve_triangular(factor, off.permute(1, 2, 0), upper=False)
        volume = torch.log(torch.diagonal(factor, dim1=1, dim2=2)).sum(dim=1)
        each = -0.5 * white.square().sum(dim=1).T - volume - 0.5 * self.width * math.log(2 * math.pi)
        return torch.logsumexp(torch.log_softmax(self.share(condition), dim=1) + each, dim=1)

    def draw(self, condition: Tensor, at: Tensor, noise: Tensor) -> Tensor:
        """Draws (n, width) from uniform numbers (n,) and standard normal ones (n, width)."""
        cumulative = torch.cumsum(torch.softmax(self.share(condition), dim=1), dim=1)
        index = (at[:, None] >= cumulative[:, :-1]).long().sum(dim=1)
        mean = self.mean(condition).reshape(-1, self.components, self.width)
        chosen = (index[:, None] == torch.arange(self.components, device=index.device)).to(mean.dtype)
        spread = torch.bmm(self.factor.index_select(0, index), noise[:, :, None])[:, :, 0]
        out: Tensor = (chosen[:, :, None] * mean).sum(dim=1) + spread
        return out
