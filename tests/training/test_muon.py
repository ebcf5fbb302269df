"""Muon: the library's batched form against torch's, and what orthogonalising does."""

from __future__ import annotations

import torch
from torch import nn

from parhelion.training.muon import Muon, orthogonalise


def test_singular_values_become_about_one():
    matrices = torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = orthogonalise(matrices)
    values = torch.linalg.svdvals(found)
    # A random square matrix has singular values down to nearly 0, which five iterations do not lift all the way.
    assert values.max() < 1.25
    assert torch.median(values) > 0.65
    u, _, v = torch.linalg.svd(matrices)
    # The singular vectors stay: what was diagonal in them is diagonal still.
    inner = u.mT @ found @ v.mT
    off = inner - torch.diag_embed(torch.diagonal(inner, dim1=1, dim2=2))
    assert off.abs().max() < 1e-3


def test_the_same_steps_as_torch_takes():
    start = [torch.randn(16, 16, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    ours, theirs = ([nn.Parameter(s.clone()) for s in start] for _ in range(2))
    batched = Muon(ours, lr=0.02, momentum=0.95, weight_decay=0.1)
    single = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1)
    for step in range(4):
        for pair in zip(ours, theirs, strict=True):
            gradient = torch.randn(16, 16, generator=torch.Generator().manual_seed(100 + step))
            for parameter in pair:
                parameter.grad = gradient.clone()
        batched.step()
        single.step()
    for a, b, s in zip(ours, theirs, start, strict=True):
        # Torch iterates in bfloat16, good to two or three digits.
        assert (a - b).norm() < 0.03 * (b - s).norm()


def test_matrices_of_several_sizes_and_missing_gradients():
    parameters = [nn.Parameter(torch.eye(k)) for k in (3, 5, 3)]
    optimiser = Muon(parameters, lr=0.1, momentum=0.9, weight_decay=0.0)
    parameters[0].grad = torch.ones(3, 3)
    parameters[1].grad = torch.ones(5, 5)
    optimiser.step()
    assert not torch.equal(parameters[0], torch.eye(3))
    assert not torch.equal(parameters[1], torch.eye(5))
    assert torch.equal(parameters[2], torch.eye(3))
