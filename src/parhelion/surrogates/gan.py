"""Conditional generative adversarial networks with any of the objectives and penalties of `objectives`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from parhelion.networks import MLP
from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig
from parhelion.surrogates.objectives import (
    PENALTIES,
    AnyAuxiliary,
    AnyObjective,
    AnyPenalty,
    AuxiliaryTerm,
    Judged,
    NetworkConfig,
    NoPenalty,
    Penalty,
    Scene,
    voice,
)
from parhelion.surrogates.objectives.base import norm, scale_for_depth
from parhelion.surrogates.objectives.cramer import Cramer


class GeneratorConfig(NetworkConfig):
    """Options of the generator.

    Attributes
    ----------
    latent
        Normal numbers that the generator takes.
    """

    latent: int = Field(64, ge=1)


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


class GanConfig(SurrogateConfig):
    """Options of a generative adversarial network.

    Attributes
    ----------
    objective
        What critic and generator minimise; a name, or its kind with its options.
    penalty
        Penalty of the critic's slope, likewise. The objective's own choice if left out.
    generator, critic
        Networks.
    critic_steps
        Critic steps before each generator step, each on a fresh batch.
    warmup
        Generator steps before which the critic moves more often.
    auxiliary
        Terms of the generator's loss beside the objective.
    """

    objective: AnyObjective = Cramer()
    penalty: AnyPenalty | None = None
    generator: GeneratorConfig = GeneratorConfig()
    critic: NetworkConfig = NetworkConfig()
    critic_steps: int = Field(5, ge=1)
    warmup: CriticWarmup | None = None
    auxiliary: tuple[AnyAuxiliary, ...] = ()

    @property
    def slope_penalty(self) -> NoPenalty | Penalty:
        """The penalty that is used: the one given, or the objective's default."""
        return self.penalty if self.penalty is not None else PENALTIES[self.objective.penalties[0]]()

    @model_validator(mode="after")
    def _penalty_fits(self) -> GanConfig:
        allowed = self.objective.penalties
        if self.penalty is not None and self.penalty.kind not in allowed:
            msg = (
                f"penalty {self.penalty.kind} does not go with objective {self.objective.kind}; "
                f"choose {' or '.join(allowed)}"
            )
            raise ValueError(msg)
        return self


class Gan(Surrogate):
    """Conditional GAN (arXiv:1406.2661, arXiv:1411.1784): generator of [noise, condition], critic of [x, condition].

    A row's fakes share its condition, so its one signed weight multiplies the whole per-event loss of the row, for
    critic and generator. Penalties of the slope are not weighted. Inactive entries reach the critic as zeros, from
    real and generated events alike, and carry no information.
    """

    kind: ClassVar[str] = "gan"
    Config = GanConfig
    config: GanConfig
    generator_step: Tensor

    def build(self, features: int, width: int) -> None:
        """Make generator, critic and auxiliary terms."""
        g = self.config.generator
        self.generator = MLP(g.latent + features, width, width=g.width, depth=g.depth, activation=g.activation)
        scale_for_depth(self.generator)
        self.critic = self.config.objective.make_critic(width, features, self.config.critic)
        self.terms = nn.ModuleList(term.make(width, features) for term in self.config.auxiliary)
        # Schedules follow the step; as a buffer it survives a resumed training.
        self.register_buffer("generator_step", torch.zeros((), dtype=torch.long))

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
            fake = self._fakes(batch, draws)
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
        fake = self._fakes(batch, draws)
        real: Judged | None = None
        if objective.compares_real:
            with torch.no_grad():
                (real,) = self._judge(batch.response, batch, active)
        with _frozen(self.critic), _frozen(self.terms):
            fakes = self._judge(fake, batch, active)
            events = objective.generator_events(real, fakes)
            if not self.terms:
                return Loss(events)
            scene = Scene(batch.response, fake[: len(batch)] * active, batch.condition, active, fakes[0].code)
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

    def _terms(self) -> Iterator[tuple[AnyAuxiliary, AuxiliaryTerm]]:
        for config, term in zip(self.config.auxiliary, self.terms, strict=True):
            yield config, cast(AuxiliaryTerm, term)

    def _fakes(self, batch: Batch, draws: Draws) -> Tensor:
        """The objective's number of generated events for each row, one block of rows after the other."""
        count = self.config.objective.fakes
        noise = draws.normal(len(batch), count * self.noise_features)
        return self.generate(batch.condition.repeat(count, 1), torch.cat(noise.chunk(count, dim=1)))

    def _judge(self, x: Tensor, batch: Batch, active: Tensor) -> list[Judged]:
        """Verdicts on blocks of rows that repeat the batch's conditions, from one pass of the critic."""
        blocks = len(x) // len(batch)
        judged: Judged = self.critic(x, batch.condition.repeat(blocks, 1), active.repeat(blocks, 1))
        parts = zip(*(part.chunk(blocks) for part in judged), strict=True)
        return [Judged(value, code) for value, code in parts]

    # ----------------------------------------------------------------- sampling
    @property
    def noise_features(self) -> int:
        """The generator's latent numbers."""
        return self.config.generator.latent

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """One pass of the generator."""
        out: Tensor = self.generator(torch.cat([noise, condition], dim=1))
        return out


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
