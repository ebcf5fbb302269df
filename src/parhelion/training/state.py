"""What changes while a surrogate is trained: players, averages, counters; and one step of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from parhelion.errors import ConfigError, DataError
from parhelion.surrogates.base import Draws, Loss, Surrogate
from parhelion.training.checkpoint import Checkpoint, optimiser_tensors, restore_optimiser
from parhelion.training.config import TrainingConfig
from parhelion.training.distributed import Processes
from parhelion.training.muon import multiplies_in_bfloat16
from parhelion.training.optimisers import Average, Mover, clip, gradient_norm, make_movers
from parhelion.training.table import RowOrder, TrainingTable, draws_seed


@dataclass(frozen=True)
class Player:
    """One set of parameters with its own optimiser.

    Attributes
    ----------
    parameters
        What it moves.
    movers
        How: optimisers with their learning rates.
    """

    parameters: list[nn.Parameter]
    movers: list[Mover]


@dataclass
class Counters:
    """Plain numbers of a run, as the checkpoint keeps them.

    Attributes
    ----------
    step, batches
        Steps and batches done.
    elapsed
        Seconds in the loop.
    stale
        Validations since the best one.
    validated
        Step of the newest validation.
    factor
        The schedule's factor in the newest step.
    """

    step: int = 0
    batches: int = 0
    elapsed: float = 0.0
    stale: int = 0
    validated: int = 0
    factor: float = 1.0


class TrainingState:
    """A surrogate in training.

    Parameters
    ----------
    surrogate
        Prepared and on its device.
    config
        Options.
    processes
        This process among all.
    rows
        Rows of the training table.

    Raises
    ------
    ConfigError
        An optimiser is given for a player that does not exist, or the batch cannot be shared by the processes.
    """

    def __init__(self, surrogate: Surrogate, config: TrainingConfig, processes: Processes, rows: int) -> None:
        self.surrogate, self.config, self.processes = surrogate, config, processes
        names = surrogate.players()
        unknown = [name for name in config.optimisers if name not in names]
        if unknown:
            msg = f"training, optimisers: {surrogate.kind} has no player {unknown[0]}; there are {', '.join(names)}"
            raise ConfigError(msg)
        self.players = {}
        for name, parameters in names.items():
            options = config.optimisers.get(name, config.optimiser)
            self.players[name] = Player(parameters, make_movers(parameters, options))
        size = min(config.batch_size, rows)
        size -= size % processes.world
        if not size or config.batch_size % processes.world:
            msg = (
                f"training: batch_size {config.batch_size} with {rows} rows cannot be shared by {processes.world} "
                f"processes; choose a multiple of {processes.world}"
            )
            raise ConfigError(msg)
        self.order = RowOrder(rows, size, config.seed)
        self.average = Average(surrogate.averaged(), config.ema)
        self.counters = Counters()
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self._low_precision = config.precision == "bfloat16" or (
            config.precision == "auto" and multiplies_in_bfloat16(processes.device.type)
        )
        self._bad = {name: torch.full((), -1, dtype=torch.int64, device=processes.device) for name in self.players}

    def advance(self, table: TrainingTable, used: float) -> None:
        """Do one step, with `used` the share of the budget that is used up."""
        counters, config, processes = self.counters, self.config, self.processes
        counters.factor = config.schedule.factor(used, counters.step)
        for turn, name in enumerate(self.surrogate.turns(counters.step)):
            player = self.players[name]
            rows = self.order.batch(counters.batches)[processes.rank :: processes.world]
            counters.batches += 1
            batch = table.batch(rows, processes.device)
            seed = draws_seed(config.seed, counters.step, turn)
            draws = Draws(seed, rank=processes.rank, world=processes.world, device=processes.device)
            for mover in player.movers:
                mover.optimiser.zero_grad(set_to_none=True)
            with torch.autocast(processes.device.type, dtype=torch.bfloat16, enabled=self._low_precision):
                loss = self.surrogate.loss(name, batch, draws)
            total = (batch.weight * loss.events).mean()
            if loss.penalty is not None:
                total = total + loss.penalty
            torch.autograd.backward(total, inputs=player.parameters)
            gradients = [p.grad for p in player.parameters if p.grad is not None]
            processes.average(gradients)
            norm = gradient_norm(gradients)
            if config.clip_norm is not None:
                clip(gradients, norm, config.clip_norm)
            for mover in player.movers:
                for group in mover.optimiser.param_groups:
                    group["lr"] = mover.rate * counters.factor
                mover.optimiser.step()
            self._observe(name, total.detach(), norm, loss)
        self.surrogate.after_step(counters.step)
        self.average.update()
        counters.step += 1

    def _observe(self, name: str, total: Tensor, norm: Tensor, loss: Loss) -> None:
        # Kept on the device: reading a number at each step would make a GPU wait.
        bad = (self._bad[name] < 0) & ~torch.isfinite(total + norm)
        self._bad[name] = torch.where(bad, self.counters.step + 1, self._bad[name])
        values = {f"loss/{name}": total, f"gradient/{name}": norm}
        values |= {f"{name}/{key}": value.detach() for key, value in loss.logs.items()}
        for key, value in values.items():
            self.sums[key] = self.sums[key] + value.double() if key in self.sums else value.double()
            self.counts[key] = self.counts.get(key, 0) + 1

    def first_bad(self) -> tuple[int, str] | None:
        """First step (1, 2, ...) and player with a loss or gradient that is not finite; None: all is well."""
        found = [(int(step), name) for name, step in self._bad.items() if int(step) >= 0]
        own = min(found, default=(0, "of another process"))
        earliest = self.processes.largest(-own[0] if found else -math.inf)
        return None if earliest == -math.inf else (round(-earliest), own[1])

    def means(self) -> dict[str, float]:
        """Means over the steps since the last call, and over the processes."""
        if not self.sums:
            return {}
        names = sorted(self.sums)
        values = torch.stack([self.sums[n] / self.counts[n] for n in names])
        self.processes.average([values])
        self.sums, self.counts = {}, {}
        return dict(zip(names, values.tolist(), strict=True))

    def rates(self) -> dict[str, float]:
        """Learning rate of each player in the newest step."""
        return {f"learning_rate/{name}": p.movers[-1].rate * self.counters.factor for name, p in self.players.items()}

    def identity(self, table: TrainingTable) -> dict[str, Any]:
        """What must be the same for a resumed run to give the identical result; the budget may grow."""
        free = {"steps", "seconds", "patience", "validate_every", "checkpoint_every", "device", "table_limit"}
        chosen = self.config.model_dump(mode="json", exclude=free)
        return chosen | {"surrogate": self.surrogate.kind, "rows": len(table), "sample": table.fingerprint()}

    def to_checkpoint(self, table: TrainingTable) -> Checkpoint:
        """Everything that `restore` needs."""
        tensors = {f"model/{k}": v for k, v in self.surrogate.state_dict().items()}
        tensors |= {f"average/{i}": v for i, v in enumerate(self.average.shadow)}
        for name, player in self.players.items():
            for number, mover in enumerate(player.movers):
                parts = optimiser_tensors(mover.optimiser)
                tensors |= {f"optimiser/{name}/{number}/{k}": v for k, v in parts.items()}
        state = {
            "counters": dict(vars(self.counters)),
            "updates": self.average.updates,
            "sums": {k: float(v) for k, v in self.sums.items()},
            "counts": self.counts,
            "identity": self.identity(table),
        }
        return Checkpoint(tensors, state)

    def restore(self, checkpoint: Checkpoint, table: TrainingTable, *, source: str) -> None:
        """Continue where a checkpoint was made.

        Raises
        ------
        ConfigError
            The checkpoint was made with other options or another sample.
        DataError
            It belongs to a surrogate with other networks.
        """
        was: dict[str, Any] = checkpoint.state["identity"]
        for key, now in self.identity(table).items():
            if was.get(key) != now:
                msg = (
                    f"{source} was made with {key} {was.get(key)}, and this training has {now}; "
                    "go on with the same, or train anew without resuming"
                )
                raise ConfigError(msg)
        try:
            self.surrogate.load_state_dict(checkpoint.part("model/"))
        except RuntimeError as error:
            msg = f"{source} belongs to a surrogate with other networks; use the same options, or train anew"
            raise DataError(msg) from error
        for i, value in checkpoint.part("average/").items():
            self.average.shadow[int(i)].copy_(value)
        for name, player in self.players.items():
            for number, mover in enumerate(player.movers):
                restore_optimiser(mover.optimiser, checkpoint.part(f"optimiser/{name}/{number}/"))
        state = checkpoint.state
        self.counters = Counters(**state["counters"])
        self.average.updates = state["updates"]
        device = self.processes.device
        self.sums = {k: torch.tensor(v, dtype=torch.float64, device=device) for k, v in state["sums"].items()}
        self.counts = dict(state["counts"])
