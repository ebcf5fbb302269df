"""Options of training."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Adam(_Options):
    """Adam (Kingma, Ba, arXiv:1412.6980, algorithm 1); its weight decay is an L2 term in the gradient."""

    kind: Literal["adam"] = "adam"
    learning_rate: Rate = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: Rate = 1e-8
    weight_decay: float = Field(0.0, ge=0)


class AdamW(_Options):
    """Adam with decoupled weight decay (Loshchilov, Hutter, arXiv:1711.05101, algorithm 2)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: Rate = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: Rate = 1e-8
    weight_decay: float = Field(1e-2, ge=0)


class RMSprop(_Options):
    """RMSprop (Hinton, lecture 6e, 2012): gradients over the root of their running mean square."""

    kind: Literal["rmsprop"] = "rmsprop"
    learning_rate: Rate = 1e-3
    smoothing: Share = 0.99
    epsilon: Rate = 1e-8
    momentum: Share = 0.0
    weight_decay: float = Field(0.0, ge=0)


class SGD(_Options):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: Rate = 1e-2
    momentum: Share = 0.0
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> SGD:
        if self.nesterov and not self.momentum:
            msg = "nesterov needs a momentum above 0"
            raise ValueError(msg)
        return self


class Muon(_Options):
    """Orthogonalised momentum for hidden layers (Jordan et al. 2024; Liu et al., arXiv:2502.16982, algorithm 1).

    Attributes
    ----------
    learning_rate, momentum, weight_decay
        For square matrices, the hidden layers of networks with one width.
    rest
        Optimiser of everything else: biases, first and last layers.
    """

    kind: Literal["muon"] = "muon"
    learning_rate: Rate = 2e-2
    momentum: Share = 0.95
    weight_decay: float = Field(0.0, ge=0)
    rest: AdamW = AdamW(learning_rate=3e-3, betas=(0.9, 0.99), weight_decay=1e-4)


class Constant(_Options):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"

    def factor(self, progress: float, step: int) -> float:
        """Factor on the learning rate: 1."""
        return 1.0


class Cosine(_Options):
    """Linear warm-up, then half a cosine to `final` (Loshchilov, Hutter, arXiv:1608.03983, eq. 5, one period).

    Attributes
    ----------
    warm_up
        Share of the budget spent in the warm-up.
    final
        Factor on the learning rate at the end.
    """

    kind: Literal["cosine"] = "cosine"
    warm_up: Share = 0.02
    final: float = Field(0.0, ge=0, le=1)

    def factor(self, progress: float, step: int) -> float:
        """Factor on the learning rate at a share of the budget."""
        if progress < self.warm_up:
            return progress / self.warm_up
        return _half_cosine(1.0, self.final, (progress - self.warm_up) / (1.0 - self.warm_up))


class OneCycle(_Options):
    """Half a cosine up and half a cosine down (Smith, Topin, arXiv:1708.07120); `learning_rate` is the peak.

    Attributes
    ----------
    warm_up
        Share of the budget on the way up.
    start, final
        Factors on the learning rate at the start and at the end.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    warm_up: Share = 0.3
    start: float = Field(0.04, gt=0, le=1)
    final: float = Field(1e-5, ge=0, le=1)

    def factor(self, progress: float, step: int) -> float:
        """Factor on the learning rate at a share of the budget."""
        if progress < self.warm_up:
            return _half_cosine(self.start, 1.0, progress / self.warm_up)
        return _half_cosine(1.0, self.final, (progress - self.warm_up) / (1.0 - self.warm_up))


class Exponential(_Options):
    """The learning rate falls by `decay` every `every` steps, smoothly; it follows steps, not the budget."""

    kind: Literal["exponential"] = "exponential"
    decay: float = Field(0.5, gt=0, le=1)
    every: int = Field(10_000, ge=1)

    def factor(self, progress: float, step: int) -> float:
        """Factor on the learning rate at a step."""
        return float(self.decay ** (step / self.every))


def _half_cosine(first: float, last: float, x: float) -> float:
    return last + 0.5 * (first - last) * (1.0 + math.cos(math.pi * min(max(x, 0.0), 1.0)))


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Optimiser = Annotated[Adam | AdamW | RMSprop | SGD | Muon, Field(discriminator="kind"), BeforeValidator(_by_name)]
Schedule = Annotated[Constant | Cosine | OneCycle | Exponential, Field(discriminator="kind"), BeforeValidator(_by_name)]


class TrainingConfig(_Options):
    """Options of training.

    A budget in steps gives the same surrogate, bit for bit, each time (on one machine type and number of threads).
    A budget in seconds does not: how far it comes depends on the machine.

    Attributes
    ----------
    steps, seconds
        Budget; training ends when the first of them is used up. At least one is needed. The seconds count the
        loop with its validations, not the preparation of the table.
    batch_size
        Rows a step, over all processes; at most the number of rows.
    seed
        Seed of the order of rows, of all draws in losses and validation, and of the networks' start.
    optimiser
        Optimiser of every player: ``adam``, ``adamw``, ``rmsprop``, ``sgd`` or ``muon``, alone or with its options.
    optimisers
        Other optimisers by player.
    schedule
        Factor on all learning rates: ``constant``, ``cosine``, ``one_cycle`` or ``exponential``, alone or with its
        options. It follows the share of the budget that is used, max(step / steps, elapsed / seconds).
    clip_norm
        Largest norm of a player's gradient.
    ema
        Decay of the exponential moving average of the parameters that sampling uses; 0 for none.
    validate_every
        Steps between validations.
    validation_rows
        Rows of the validation sample that are used, chosen by the seed.
    patience
        Validations without improvement after which training ends; none: the whole budget is used.
    checkpoint_every
        Steps between checkpoints.
    log_every
        Steps between records of the loss.
    device
        ``auto`` takes a GPU where there is one.
    start
        Surrogate that training begins with, of the same family, fields and options: a file, or the name of one that
        comes with the package (`parhelion.data.starts`). Its transforms stay; the domain is that of the new sample.
        None: networks start at random.
    precision
        Of matrix products in losses: ``float32``; ``bfloat16`` (parameters stay float32); ``auto`` takes bfloat16 where
        the processor multiplies in it, which is faster, so results then depend on the processor.
    table_limit
        Bytes above which the encoded table is a memory-mapped file in the run folder.
    """

    steps: int | None = Field(None, ge=1)
    seconds: Rate | None = None
    batch_size: int = Field(2048, ge=1)
    seed: int = Field(0, ge=0, lt=1 << 63)
    optimiser: Optimiser = Adam()
    optimisers: dict[str, Optimiser] = Field(default_factory=dict)
    schedule: Schedule = Cosine()
    clip_norm: Rate | None = None
    ema: Share = 0.999
    validate_every: int = Field(1000, ge=1)
    validation_rows: int = Field(16_384, ge=2)
    patience: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(1000, ge=1)
    log_every: int = Field(20, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    start: str | None = None
    table_limit: int = Field(2_000_000_000, ge=0)

    @model_validator(mode="after")
    def _has_a_budget(self) -> TrainingConfig:
        if self.steps is None and self.seconds is None:
            msg = "training has no budget; give steps, seconds, or both"
            raise ValueError(msg)
        return self

    def used(self, step: int, elapsed: float) -> float:
        """Share of the budget used after `step` steps and `elapsed` seconds, 0 to 1."""
        by_steps = step / self.steps if self.steps is not None else 0.0
        by_time = elapsed / self.seconds if self.seconds is not None else 0.0
        return min(max(by_steps, by_time), 1.0)
