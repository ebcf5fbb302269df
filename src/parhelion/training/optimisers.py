"""Optimisers by name, gradients' norm, and the moving average of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from parhelion.training.config import SGD, Adam, AdamW, Muon, RMSprop
from parhelion.training.muon import Muon as BatchedMuon


@dataclass(frozen=True)
class Mover:
    """An optimiser and its learning rate before the schedule's factor."""

    optimiser: torch.optim.Optimizer
    rate: float


def make_movers(parameters: Sequence[nn.Parameter], config: Adam | AdamW | RMSprop | SGD | Muon) -> list[Mover]:
    """Optimisers that together move all parameters, each in its fastest form (one kernel for all tensors)."""
    if not isinstance(config, Muon):
        return [Mover(_plain(parameters, config), config.learning_rate)]
    hidden = [p for p in parameters if p.ndim == 2 and p.shape[0] == p.shape[1]]
    chosen = {id(p) for p in hidden}
    rest = [p for p in parameters if id(p) not in chosen]
    movers = [Mover(_plain(rest, config.rest), config.rest.learning_rate)] if rest else []
    if hidden:
        rate, decay = config.learning_rate, config.weight_decay
        batched = BatchedMuon(hidden, lr=rate, momentum=config.momentum, weight_decay=decay)
        movers.append(Mover(batched, rate))
    return movers


def _plain(parameters: Sequence[nn.Parameter], config: Adam | AdamW | RMSprop | SGD) -> torch.optim.Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if isinstance(config, Adam | AdamW):
        family = torch.optim.Adam if isinstance(config, Adam) else torch.optim.AdamW
        return family(parameters, lr=rate, betas=config.betas, eps=config.epsilon, weight_decay=decay, fused=True)
    if isinstance(config, RMSprop):
        return torch.optim.RMSprop(
            parameters,
            lr=rate,
            alpha=config.smoothing,
            eps=config.epsilon,
            momentum=config.momentum,
            weight_decay=decay,
            foreach=True,
        )
    return torch.optim.SGD(
        parameters, lr=rate, momentum=config.momentum, nesterov=config.nesterov, weight_decay=decay, foreach=True
    )


@torch.no_grad()
def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all gradients, scalar."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    return norm


@torch.no_grad()
def clip(gradients: Sequence[Tensor], norm: Tensor, largest: float) -> None:
    """Scale gradients of a given norm down, in place, so that their norm is at most `largest`."""
    torch._foreach_mul_(list(gradients), torch.clamp(largest / (norm + 1e-12), max=1.0))


class Average:
    """Exponential moving average of parameters (Polyak, Juditsky 1992, in its exponential form).

    average <- d * average + (1 - d) * parameter with d = min(decay, (1 + k) / (10 + k)) at update k = 0, 1, ...:
    the warm-up forgets the random start. Decay 0 keeps the newest parameters.

    Attributes
    ----------
    shadow
        The averages, in the order of the parameters.
    updates
        Number of updates so far.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters) if decay > 0 else []
        self.decay = decay
        self.shadow = [p.detach().clone() for p in self.parameters]
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the present parameters in."""
        if not self.parameters:
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1.0 - decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages where the parameters are, for the time of the block."""
        present = [p.data for p in self.parameters]
        try:
            for p, s in zip(self.parameters, self.shadow, strict=True):
                p.data = s
            yield
        finally:
            for p, data in zip(self.parameters, present, strict=True):
                p.data = data
