"""Minibatch discrimination: a critic that sees how like each other the rows of a batch are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """How near each row is to the others in learned projections, (n, inputs) -> (n, kernels).

    o_k(i) = sum_j w_j exp(-||M_k x_i - M_k x_j||_1) (Salimans et al., arXiv:1606.03498, section 3.2), where w are the
    rows' signed weights: the sum then estimates a mean under the weighted density, and a row of weight 2 counts as two
    rows. It belongs in critics alone, where rows may meet.

    Parameters
    ----------
    inputs
        Width of a row.
    kernels, width
        Number of projections, and numbers in each.
    """

    def __init__(self, inputs: int, kernels: int = 10, width: int = 10) -> None:
        super().__init__()
        self.kernels, self.width = kernels, width
        self.project = nn.Linear(inputs, kernels * width, bias=False)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Compare rows x (n, inputs) with weights (n,)."""
        m = torch.tanh(self.project(x)).reshape(-1, self.kernels, self.width)
        near = torch.exp(-(m[:, None] - m[None]).abs().sum(dim=3))
        return torch.einsum("ijk,j->ik", near, weight)
