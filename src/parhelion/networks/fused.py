"""Residual networks and splines with hand-written derivatives: what a training step spends its time on.

Automatic differentiation of the same formulas takes about twice as long on a processor: it casts each weight and each
running sum between precisions over and over, and its many small operations cost more than their arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from parhelion.networks.mlp import ResidualMLP

BOUND = 5.0
_SLOPE = math.log(1e-3)


def residual(network: ResidualMLP, x: Tensor) -> Tensor:
    """The answer of a residual network, (n, inputs) -> (outputs, n): one number of all rows lies together.

    As `ResidualMLP.forward`, with the same precision inside and outside autocast. Where a gradient is asked for and
    the activation is one of those known here, the derivative is the hand-written one; it can be taken once.
    """
    activation = type(network.last[0])
    if not torch.is_grad_enabled() or activation not in _ACTIVATIONS:
        out: Tensor = network(x.to(network.first.weight.dtype))
        return out.T
    device, exact = x.device.type, network.first.weight.dtype
    low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else exact
    layers = [network.first, *(block[i] for block in network.blocks for i in (1, 3)), network.last[1]]  # type: ignore[index]
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    # Which products are in low precision is decided here, not by autocast.
    with torch.autocast(device, enabled=False):
        made: Tensor = _Residual.apply(x, _ACTIVATIONS[activation], low, *parameters)  # type: ignore[no-untyped-call]
    return made


def _silu_backward(g: Tensor, z: Tensor) -> Tensor:
    out: Tensor = torch.ops.aten.silu_backward(g, z)
    return out


def _relu_backward(g: Tensor, z: Tensor) -> Tensor:
    out: Tensor = torch.ops.aten.threshold_backward(g, z, 0.0)
    return out


_ACTIVATIONS = {nn.SiLU: (torch.nn.functional.silu, _silu_backward), nn.ReLU: (torch.relu, _relu_backward)}


class _Residual(torch.autograd.Function):
    """Pre-activation residual network; products in `low`, the running sum and the answer as exact as the parameters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Any, low: torch.dtype, *parameters: Tensor) -> Tensor:
        act, _ = activation
        exact = parameters[0].dtype
        weights, biases = [w.to(low) for w in parameters[::2]], parameters[1::2]
        inputs = x.to(low)
        h = torch.addmm(biases[0].to(low), inputs, weights[0].T).to(exact)
        kept = [inputs]
        for k in range(1, len(weights) - 1, 2):
            a = act(h).to(low)
            u = torch.addmm(biases[k].to(low), a, weights[k].T)
            v = act(u)
            kept += [h, a, u, v]
            h = h + torch.addmm(biases[k + 1].to(low), v, weights[k + 1].T)
        a = act(h)
        kept += [h, a.to(low)]
        ctx.activation, ctx.low, ctx.count = activation, low, len(weights)
        ctx.save_for_backward(*kept, *weights)
        return torch.addmm(biases[-1][:, None], parameters[-2], a.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        _, back = ctx.activation
        low, count, exact = ctx.low, ctx.count, g.dtype
        kept, weights = ctx.saved_tensors[:-count], ctx.saved_tensors[-count:]
        gradients: list[Tensor] = []

        def layer(g: Tensor, inputs: Tensor, whole: Tensor) -> None:
            gradients.extend((whole.sum(dim=0), (g.T @ inputs).to(exact)))

        h, a = kept[-2:]
        flow = g.to(low)
        gradients.extend((g.sum(dim=1), (flow @ a).to(exact)))
        total = back((flow.T @ weights[-1]).to(exact), h)
        for k in range(count - 3, 0, -2):
            h, a, u, v = kept[2 * k - 1 : 2 * k + 3]
            flow = total.to(low)
            layer(flow, v, total)
            inner = back(flow @ weights[k + 1], u)
            layer(inner, a, inner)
            total = total + back((inner @ weights[k]).to(exact), h)
        flow = total.to(low)
        layer(flow, kept[0], total)
        to_input = (flow @ weights[0]).to(exact) if ctx.needs_input_grad[0] else None
        return to_input, None, None, *(p.to(exact) for p in reversed(gradients))


def spline(parameters: Tensor, x: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Monotone rational-quadratic spline and the log of its slope (Durkan et al., arXiv:1906.04032, section 3.1).

    The same function as zuko's `MonotonicRQSTransform` with its default least slope, on [-5, 5]; the identity outside.

    Parameters
    ----------
    parameters
        Unconstrained widths, heights and inner slopes, shape (d, 3 bins - 1, n).
    x
        Shape (d, n).
    bins
        Number of bins.

    Returns
    -------
    tuple of Tensor
        Image and log slope, shape (d, n) each.
    """
    inside = x.abs() < BOUND
    ends, place = _Bins.apply(parameters[:, : 2 * bins], x, bins)  # type: ignore[no-untyped-call]
    x0, y0, width, height = ends.unbind(dim=0)
    # The slopes at both ends of the whole are 1.
    slopes = torch.nn.functional.pad(parameters[:, 2 * bins :], (0, 0, 1, 1))
    slopes = slopes.gather(1, torch.stack([place, place + 1], dim=1))
    d0, d1 = torch.exp(slopes / (1.0 + slopes.abs() * (-1.0 / _SLOPE))).unbind(dim=1)
    s = height / width
    # Rounding may put a number just outside its bin, where the formula below can be negative.
    z = torch.where(inside, ((x - x0) / width).clamp(0.0, 1.0), torch.zeros_like(x))
    rest = z * (1.0 - z)
    below = s + (d0 + d1 - 2.0 * s) * rest
    y = y0 + height * (s * z**2 + d0 * rest) / below
    slope = s**2 * (2.0 * s * rest + d0 * (1.0 - z) ** 2 + d1 * z**2) / below**2
    return torch.where(inside, y, x), torch.where(inside, slope.log(), torch.zeros_like(x))


def spline_inverse(parameters: Tensor, y: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Where a spline takes given values, and the slope there of its inverse; no derivatives are kept.

    Parameters
    ----------
    parameters
        Unconstrained widths, heights and inner slopes of the spline of `spline`, shape (n, 3 bins - 1).
    y
        Shape (n, g).
    bins
        Number of bins.

    Returns
    -------
    tuple of Tensor
        Argument and slope dx/dy, shape (n, g) each.
    """
    with torch.no_grad():
        raw, slopes = parameters[:, : 2 * bins], parameters[:, 2 * bins :]
        mass = torch.exp(raw / torch.add(1.0, raw.abs(), alpha=-2.0 / _SLOPE)).reshape(-1, 2, bins)
        ends = mass.cumsum(dim=2)
        widths, heights = (mass * (2.0 * BOUND / ends[:, :, -1:])).unbind(dim=1)
        right, top = (ends * (2.0 * BOUND / ends[:, :, -1:]) - BOUND).unbind(dim=1)
        slopes = torch.nn.functional.pad(slopes / (1.0 + slopes.abs() * (-1.0 / _SLOPE)), (1, 1)).exp()
        place = torch.searchsorted(top[:, :-1].contiguous(), y.contiguous())
        width, height = widths.gather(1, place), heights.gather(1, place)
        d0, d1 = slopes.gather(1, place), slopes.gather(1, place + 1)
        up = (y - top.gather(1, place) + height).clamp_min(0.0)
        s = height / width
        # The root of the quadratic in the form that has no cancellation (equation 29 there).
        bend = up * (d0 + d1 - 2.0 * s)
        a, b, c = height * (s - d0) + bend, height * d0 - bend, -s * up
        z = (2.0 * c / (-b - (b * b - 4.0 * a * c).clamp_min(0.0).sqrt())).clamp(0.0, 1.0)
        rest = z * (1.0 - z)
        rate = s**2 * (2.0 * s * rest + d0 * (1.0 - z) ** 2 + d1 * z**2) / (s + (d0 + d1 - 2.0 * s) * rest) ** 2
        inside = y.abs() < BOUND
        x = right.gather(1, place) - width + z * width
        return torch.where(inside, x, y), torch.where(inside, 1.0 / rate, torch.ones_like(y))


class _Bins(torch.autograd.Function):
    """The bin of each number: where it starts on both axes, its width and height, and its place.

    Unconstrained (d, 2 bins, n), numbers (d, n) -> (4, d, n), (d, n). All else in a spline is about one bin: only here
    is there work in proportion to their number, so only here is the derivative written by hand.
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, x: Tensor, bins: int) -> tuple[Tensor, Tensor]:
        damped = torch.add(1.0, raw.abs(), alpha=-2.0 / _SLOPE)
        # Damping bounds the exponents: no largest one need be taken out.
        mass = torch.exp(raw / damped).reshape(len(x), 2, bins, -1)
        upto = torch.ones(bins, bins, dtype=x.dtype, device=x.device).tril() @ mass
        whole = upto[:, :, -1:]
        place = ((x * (0.5 / BOUND) + 0.5)[:, None] * whole[:, 0] > upto[:, 0, :-1]).sum(dim=1)
        index = place[:, None, None].expand(-1, 2, 1, -1)
        size = mass.gather(2, index)
        start = upto.gather(2, index) - size
        start, size = start / whole, size / whole
        ctx.save_for_backward(mass, damped, whole, start, size, place)
        ctx.mark_non_differentiable(place)
        both = torch.cat([start * (2.0 * BOUND) - BOUND, size * (2.0 * BOUND)], dim=2)
        return both.permute(2, 1, 0, 3).flatten(0, 1), place

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        mass, damped, whole, start, size, place = ctx.saved_tensors
        to_start, to_size = (2.0 * BOUND * g).reshape(2, 2, *g.shape[1:]).permute(0, 2, 1, 3).unsqueeze(3).unbind(0)
        number = torch.arange(mass.shape[2], device=g.device)[None, :, None]
        # A bin's mass is part of the whole, of the start where it lies before the bin, or of the size.
        mean = to_start * start + to_size * size
        place = place[:, None]
        before, here = (number < place)[:, None], (number == place)[:, None]
        to_mass = torch.where(before, to_start - mean, torch.where(here, to_size - mean, -mean))
        to_mass *= mass / whole
        # d/dw w / (1 + c |w|) = 1 / (1 + c |w|)^2.
        return to_mass.flatten(1, 2).div_(damped).div_(damped), None, None
