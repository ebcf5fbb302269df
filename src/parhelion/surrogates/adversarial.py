"""Conditional adversarial networks of any architecture, with the objectives and penalties of `objectives`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from parhelion.sample import Sample
from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig
from parhelion.surrogates.objectives import (
    PENALTIES,
    AnyObjective,
    AnyPenalty,
    AuxiliaryConfig,
    AuxiliaryTerm,
    Judged,
    NoPenalty,
    Penalty,
    Scene,
    voice,
)
from parhelion.surrogates.objectives.base import norm
from parhelion.surrogates.objectives.cramer import Cramer

# Rows of the training sample from which terms take their scales.
_SCALE_ROWS = 10_000


class CriticWarmup(BaseModel):
    """Steps in which the critic moves more often (arXiv:1701.07875: 100 times in the first 25 and each 500th step).

    Attributes
    ----------
    steps
        First generator steps to which it applies.
    every
        It applies to each such step afterwards too; 0: never.
    critic_steps
        Critic steps before such a generator step.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(25, ge=0)
    every: int = Field(0, ge=0)
    critic_steps: int = Field(100, ge=1)

    def applies(self, step: int) -> bool:
        """Whether a generator step (0, 1, ...) is one of these."""
        return step < self.steps or (self.every > 0 and step % self.every == 0)


class AdversarialConfig(SurrogateConfig):
    """Options of every generative adversarial network.

    Attributes
    ----------
    objective
        What critic and generator minimise; a name, or its kind with its options.
    penalty
        Penalty of the critic's slope, likewise. The objective's own choice if left out.
    critic_steps
        Critic steps before each generator step, each on a fresh batch.
    warmup
        Generator steps before which the critic moves more often.
    """

    objective: AnyObjective = Cramer()
    penalty: AnyPenalty | None = None
    critic_steps: int = Field(5, ge=1)
    warmup: CriticWarmup | None = None

    @property
    def terms(self) -> tuple[AuxiliaryConfig, ...]:
        """Terms of the generator's loss beside the objective."""
        return ()

    @property
    def slope_penalty(self) -> NoPenalty | Penalty:
        """The penalty that is used: the one given, or the objective's default."""
        return self.penalty if self.penalty is not None else PENALTIES[self.objective.penalties[0]]()

    @model_validator(mode="after")
    def _penalty_fits(self) -> AdversarialConfig:
        allowed = self.objective.penalties
        if self.penalty is not None and self.penalty.kind not in allowed:
            msg = (
                f"penalty {self.penalty.kind} does not go with objective {self.objective.kind}; "
                f"choose {' or '.join(allowed)}"
            )
            raise ValueError(msg)
        return self


class Adversarial(Surrogate):
    """Conditional GAN (arXiv:1406.2661, arXiv:1411.1784): generator of [noise, condition], critic of [x, condition].

    A row's fakes share its condition, so its one signed weight multiplies the whole per-event loss of the row, for
    critic and generator. Penalties of the slope are not weighted. Inactive entries reach the critic as zeros, from
    real and generated events alike, and carry no information.

    A family gives the networks; the losses are here.
    """

    config: AdversarialConfig
    generator_step: Tensor

    def build(self, features: int, width: int) -> None:
        """Make generator, critic and auxiliary terms."""
        self.generator = self.make_generator(features, width)
        self.critic = self.make_critic(features, width)
        self.terms = nn.ModuleList(term.make(width, features, self.codec) for term in self.config.terms)
        # Schedules follow the step; as a buffer it survives a resumed training.
        self.register_buffer("generator_step", torch.zeros((), dtype=torch.long))

    @abstractmethod
    def make_generator(self, features: int, width: int) -> nn.Module:
        """Network that `generate` uses, for encoded conditions (n, features) and responses (n, width)."""

    @abstractmethod
    def make_critic(self, features: int, width: int) -> nn.Module:
        """Critic of responses (n, width) under encoded conditions (n, features), see `objectives.Critic`."""

    def prepare(self, sample: Sample, *, seed: int) -> None:
        """Fit the codec, build the networks and let auxiliary terms take their scales from the training sample."""
        super().prepare(sample, seed=seed)
        if self.terms:
            batch = self.encode(sample.take(slice(0, _SCALE_ROWS)))
            for _, term in self._terms():
                term.fit(batch.response, batch.condition, batch.weight)

    @property
    def compared(self) -> tuple[str, ...]:
        """Observables that the loss itself compares."""
        return tuple(dict.fromkeys(name for term in self.config.terms for name in term.compared))

    # ----------------------------------------------------------------- training
    def players(self) -> dict[str, list[nn.Parameter]]:
        """Critic and generator, and the auxiliary terms where they have parameters of their own."""
        players = {"critic": list(self.critic.parameters()), "generator": list(self.generator.parameters())}
        own = list(self.terms.parameters())
        return {**players, "auxiliary": own} if own else players

    def turns(self, step: int) -> tuple[str, ...]:
        """The critic's steps, then the generator; auxiliary terms first, while they learn."""
        warmup = self.config.warmup
        steps = warmup.critic_steps if warmup is not None and warmup.applies(step) else self.config.critic_steps
        learning = any(step < term.learning_steps for _, term in self._terms())
        return (*(("auxiliary",) if learning else ()), *("critic",) * steps, "generator")

    def after_step(self, step: int) -> None:
        """Move the schedules on."""
        self.generator_step.fill_(step + 1)

    def averaged(self) -> list[nn.Parameter]:
        """The generator's parameters."""
        return list(self.generator.parameters())

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Loss of one player on a batch, per event.

        Weight clipping, where the objective asks for it, takes place here, before each use of the critic, which
        equals clipping after each of its moves. It is always computed in full precision: these losses are small
        differences of large numbers.
        """
        self.config.objective.project(self.critic)
        with torch.autocast(batch.response.device.type, enabled=False):
            if player == "critic":
                return self._critic_loss(batch, draws)
            if player == "generator":
                return self._generator_loss(batch, draws)
            if player == "auxiliary":
                return self._auxiliary_loss(batch)
        return super().loss(player, batch, draws)

    # A slope needs gradients even where the caller, a validation, records none.
    @torch.enable_grad()
    def _critic_loss(self, batch: Batch, draws: Draws) -> Loss:
        objective, penalty = self.config.objective, self.config.slope_penalty
        active = batch.active.to(batch.response.dtype)
        with torch.no_grad():
            fake = self._fakes(batch, draws, objective.fakes)
        if not isinstance(penalty, Penalty):
            real, *fakes = self._judge(torch.cat([batch.response, fake]), batch, active)
            return Loss(objective.critic_events(real, fakes))
        # Rows judged in one pass, except those at which a slope is taken: its graph should hold no others.
        if penalty.where == "real":
            at = batch.response.detach().requires_grad_()
            (real,), fakes = self._judge(at, batch, active), self._judge(fake, batch, active)
            point = real
        elif penalty.where == "both":
            at = torch.cat([batch.response, fake[: len(batch)]]).requires_grad_()
            real, *fakes = self._judge(at, batch, active)
            point = Judged(*(torch.cat(parts) for parts in zip(real, fakes[0], strict=True)))
        else:
            real, *fakes = self._judge(torch.cat([batch.response, fake]), batch, active)
            share = draws.uniform(len(batch), 1)
            at = torch.lerp(fake[: len(batch)], batch.response, share).requires_grad_()
            (point,) = self._judge(at, batch, active)
        slope = objective.slope(point, fakes)
        (gradient,) = torch.autograd.grad(slope.sum(), at, create_graph=True)
        strength = penalty.strength(self.generator_step)
        return Loss(
            objective.critic_events(real, fakes),
            strength * penalty.events(slope, gradient).mean(),
            {"slope": norm(gradient.detach()).mean()},
        )

    def _generator_loss(self, batch: Batch, draws: Draws) -> Loss:
        objective = self.config.objective
        active = batch.active.to(batch.response.dtype)
        needed = max([self.config.objective.fakes, *(term.fakes for _, term in self._terms())])
        fake = self._fakes(batch, draws, needed)
        judged = fake[: objective.fakes * len(batch)]
        real: Judged | None = None
        if objective.compares_real:
            with torch.no_grad():
                (real,) = self._judge(batch.response, batch, active)
        with _frozen(self.critic), _frozen(self.terms):
            fakes = self._judge(judged, batch, active)
            events = objective.generator_events(real, fakes)
            if not self.terms:
                return Loss(events)
            first, *others = (part * active for part in torch.split(fake, len(batch)))
            scene = Scene(batch.response, first, batch.condition, active, fakes[0].code, others[0] if others else None)
            penalty = events.new_zeros(())
            logs: dict[str, Tensor] = {}
            for config, term in self._terms():
                value = config.weight * voice(term, self.generator_step) * term.events(scene)
                logs[config.kind] = value.detach().mean()
                if term.weighted:
                    events = events + value
                else:
                    penalty = penalty + value.mean()
        return Loss(events, penalty, logs)

    def _auxiliary_loss(self, batch: Batch) -> Loss:
        events = torch.zeros_like(batch.weight)
        for _, term in self._terms():
            events = events + term.learning_events(batch.response, batch.condition)
        return Loss(events)

    def _terms(self) -> Iterator[tuple[AuxiliaryConfig, AuxiliaryTerm]]:
        for config, term in zip(self.config.terms, self.terms, strict=True):
            yield config, cast(AuxiliaryTerm, term)

    def _fakes(self, batch: Batch, draws: Draws, count: int) -> Tensor:
        """A number of generated events for each row, one block of rows after the other."""
        noise = draws.normal(len(batch), count * self.noise_features)
        return self.generate(batch.condition.repeat(count, 1), torch.cat(noise.chunk(count, dim=1)))

    def _judge(self, x: Tensor, batch: Batch, active: Tensor) -> list[Judged]:
        """Verdicts on blocks of rows that repeat the batch's conditions, from one pass of the critic."""
        blocks = len(x) // len(batch)
        judged: Judged = self.critic(x, batch.condition.repeat(blocks, 1), active.repeat(blocks, 1))
        parts = zip(*(part.chunk(blocks) for part in judged), strict=True)
        return [Judged(value, code) for value, code in parts]


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Record no gradients of a module's parameters: a generator step needs those of its input alone."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
