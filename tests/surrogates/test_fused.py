"""Hand-written derivatives against automatic ones."""

from __future__ import annotations

import pytest
import torch

from parhelion.networks import ResidualMLP
from parhelion.networks.autoregressive import zuko_modules
from parhelion.networks.fused import residual, spline, spline_inverse

BINS = 6


def _network(activation: str) -> ResidualMLP:
    torch.manual_seed(3)
    network = ResidualMLP(7, 5, width=16, blocks=2, activation=activation)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("activation", ["silu", "relu", "tanh"])
def test_a_residual_network_and_its_derivative_are_those_of_the_module(activation):
    network = _network(activation)
    x = torch.randn(40, 9)[:, :7].requires_grad_()
    weight = torch.randn(40, 5)
    ours, theirs = residual(network, x), network(x)
    torch.testing.assert_close(ours.T, theirs, rtol=1e-5, atol=1e-5)
    wanted = [x, *network.parameters()]
    ours, theirs = (torch.autograd.grad((made * weight).sum(), wanted) for made in (ours.T, theirs))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_in_low_precision_the_derivative_is_right_to_its_digits():
    network = _network("silu")
    x, weight = torch.randn(400, 7), torch.randn(400, 5)
    wanted = list(network.parameters())
    exact = torch.autograd.grad((network(x) * weight).sum(), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = residual(network, x)
    assert made.dtype == torch.float32
    found = torch.autograd.grad((made.T * weight).sum(), wanted)
    assert {g.dtype for g in found} == {torch.float32}
    ours, theirs = (torch.cat([g.flatten() for g in gradients]) for gradients in (found, exact))
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_a_spline_and_its_derivative_are_those_of_the_library():
    torch.manual_seed(4)
    raw = torch.randn(2, 3 * BINS - 1, 300, dtype=torch.float64, requires_grad=True)
    x = (3.0 * torch.randn(2, 300, dtype=torch.float64)).requires_grad_()
    assert (x.abs() > 5).any()
    weight = torch.randn(2, 2, 300, dtype=torch.float64)
    sizes = [BINS, BINS, BINS - 1]
    parts = torch.split(raw.permute(0, 2, 1), sizes, dim=-1)
    theirs = zuko_modules()[1].MonotonicRQSTransform(*parts, bound=5.0).call_and_ladj(x)
    ours = spline(raw, x, BINS)
    gradients = [torch.autograd.grad((torch.stack(made) * weight).sum(), [raw, x]) for made in (ours, theirs)]
    for a, b in zip((*ours, *gradients[0]), (*theirs, *gradients[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_a_spline_is_finite_at_the_edges_of_thin_bins():
    raw = torch.randn(4, 3 * BINS - 1, 20_000, generator=torch.Generator().manual_seed(5)) * 1e4
    edges = torch.cumsum(torch.softmax(raw[:, :BINS] / (1.0 + 2.0 * raw[:, :BINS].abs() / 6.907755), dim=1), dim=1)
    x = 10.0 * edges[:, BINS // 2] - 5.0
    y, log_slope = spline(raw, x, BINS)
    assert torch.isfinite(y).all()
    assert torch.isfinite(log_slope).all()


def test_the_inverse_of_a_spline_undoes_it_with_the_inverse_slope():
    torch.manual_seed(5)
    raw = 2.0 * torch.randn(1, 3 * BINS - 1, 300, dtype=torch.float64)
    x = 3.0 * torch.randn(1, 300, dtype=torch.float64)
    y, log_slope = spline(raw, x, BINS)
    back, slope = spline_inverse(raw[0].T, y.T, BINS)
    torch.testing.assert_close(back.T, x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(slope.T.log(), -log_slope, rtol=1e-6, atol=1e-6)
