"""Functions that ONNX lacks, in those that it has: in force while a graph is traced."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SMALL = 0.5


def expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, by the hyperbolic tangent where the difference would lose digits."""
    t = torch.tanh(0.5 * x.clamp(-_SMALL, _SMALL))
    return torch.where(x.abs() < _SMALL, 2.0 * t / (1.0 - t), torch.exp(x) - 1.0)


def log1p(x: Tensor) -> Tensor:
    """log(1 + x), Kahan's way: the rounding of 1 + x is divided out."""
    whole = 1.0 + x
    rounded = whole - 1.0
    zero = rounded == 0.0
    safe = torch.where(zero, torch.ones_like(x), rounded)
    return torch.where(zero, x, torch.log(torch.where(zero, torch.full_like(x, 2.0), whole)) * (x / safe))


def ndtr(x: Tensor) -> Tensor:
    """Normal distribution function in single precision, whatever the type of x."""
    return (0.5 + 0.5 * torch.erf(x.to(torch.float32) * math.sqrt(0.5))).to(x.dtype)


def squeeze(x: Tensor, dim: int) -> Tensor:
    """Without the axis `dim`, if it has one place; the tracer's own asks for its size when the graph runs."""
    return x.select(dim, 0) if x.shape[dim] == 1 else x


_PLAIN: dict[Any, Callable[..., Tensor]] = {
    torch.expm1: expm1,
    Tensor.expm1: expm1,
    torch.special.expm1: expm1,
    torch.log1p: log1p,
    Tensor.log1p: log1p,
    torch.special.log1p: log1p,
    torch.special.ndtr: ndtr,
    torch.squeeze: squeeze,
    Tensor.squeeze: squeeze,
}


class PlainFunctions(TorchFunctionMode):
    """Inside a ``with`` block, torch answers with plain formulas for what ONNX lacks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the plain formula, or the function itself."""
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))
