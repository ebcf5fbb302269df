"""Orthogonalised momentum in batches of equal matrices."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration of Jordan et al. 2024 (Muon), and how often it is done.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon for square matrices (Jordan et al. 2024; Liu et al., arXiv:2502.16982, algorithm 1).

    The same steps as `torch.optim.Muon`, which takes each matrix alone and in bfloat16: on a processor without
    instructions for it, that takes longer than all else in a step of a small network (``benchmarks/muon_step.py``).
    Here matrices of one size are multiplied together, and in float32 on such a processor.

    Parameters
    ----------
    parameters
        Matrices, shape (k, k).
    lr, momentum, weight_decay
        Learning rate, Nesterov momentum, and decay per step in units of the learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            by_size: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_size.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_size.values():
                self._move(parameters, group["lr"], group["momentum"], group["weight_decay"])

    def _move(self, parameters: list[nn.Parameter], rate: float, momentum: float, decay: float) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffers = [self._momentum(p) for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1.0 - momentum)
        # Nesterov: a step further along the momentum than it has come.
        ahead = torch._foreach_lerp(gradients, buffers, momentum)
        steps = orthogonalise(torch.stack(list(ahead))).unbind()
        moved: list[Tensor] = list(parameters)
        torch._foreach_mul_(moved, 1.0 - rate * decay)
        torch._foreach_add_(moved, list(steps), alpha=-rate)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices with nearly the same singular vectors and singular values near 1, shape (n, k, k).

    Five Newton-Schulz iterations; the singular values end between about 0.7 and 1.2.
    """
    low = matrices.dtype == torch.float32 and multiplies_in_bfloat16(matrices.device.type)
    dtype = torch.bfloat16 if low else matrices.dtype
    x = matrices / matrices.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    x = x.to(dtype)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=_B, alpha=_C), x, beta=_A)
    found: Tensor = x.to(matrices.dtype)
    return found


@lru_cache
def multiplies_in_bfloat16(device: str) -> bool:
    """Whether a kind of device (``cpu``, ``cuda``) has instructions for matrix products in bfloat16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases cannot tell; there float32 is the safe answer.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
