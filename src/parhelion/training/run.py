"""One training run: steps, with their validations, checkpoints, records, and the ends it may come to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from parhelion.errors import Interrupted, TrainingError
from parhelion.surrogates.base import Surrogate
from parhelion.training.checkpoint import BEST, CURVES, LAST, Checkpoint, read_best
from parhelion.training.progress import Progress, Status
from parhelion.training.signals import Signals
from parhelion.training.state import TrainingState
from parhelion.training.table import TrainingTable
from parhelion.training.tracking import JsonLines, NoTracker, Tracker
from parhelion.training.validation import SlicedEnergy
from parhelion.weights import WeightSummary

Metric = Callable[[Surrogate], float]
Stopped = Literal["budget", "patience", "nothing to train"]


@dataclass(frozen=True)
class FitResult:
    """How training went.

    Attributes
    ----------
    steps
        Steps done.
    elapsed
        Seconds in the loop, over all resumed parts.
    stopped
        Why it ended.
    best_step
        Step whose parameters the surrogate has.
    validation
        Validation metric there, lower is better; None without validation.
    null
        The metric of reference against reference, where the default metric has one.
    weights
        Training rows, sum of weights, effective sample size.
    run_dir
        Folder with checkpoints and curves, if there is one.
    """

    steps: int
    elapsed: float
    stopped: Stopped
    best_step: int
    validation: float | None
    null: float | None
    weights: WeightSummary
    run_dir: Path | None


@dataclass(frozen=True)
class _Best:
    step: int
    value: float
    tensors: dict[str, Tensor]


class Run:
    """One training run, from its start or a checkpoint to its end.

    Parameters
    ----------
    state
        The surrogate in training.
    table
        Encoded training rows.
    metric
        Validation metric, lower is better.
    folder
        Run folder.
    weights
        Summary of the sample's weights.
    """

    def __init__(
        self,
        state: TrainingState,
        table: TrainingTable,
        metric: Metric | None,
        folder: Path | None,
        weights: WeightSummary,
    ) -> None:
        self.state, self.table, self.metric, self.folder, self.weights = state, table, metric, folder, weights
        self.config, self.surrogate, self.processes = state.config, state.surrogate, state.processes
        self.writes = folder if state.processes.first else None
        self.null = metric.null if isinstance(metric, SlicedEnergy) else None
        self.best: _Best | None = None
        self.saved: int | None = None
        self.value: float | None = None
        self.tracker: Tracker = NoTracker()
        self._mark = (0.0, 0)

    def open(self, *, resume: bool) -> None:
        """Read or clear what an earlier run left, and open the curves."""
        if self.folder is None:
            return
        last, best = self.folder / LAST, self.folder / BEST
        if resume and last.is_file():
            self.state.restore(Checkpoint.load(last), self.table, source=str(last))
            self.saved = self.state.counters.step
            if self.metric is not None and best.is_file():
                tensors, found = read_best(best)
                # Without a validation so far, `best` holds the averages of the last checkpoint.
                if found.get("validation") is not None:
                    self.best = _Best(found["step"], found["validation"], tensors)
        # No process may clear a file that another has yet to read.
        self.processes.wait()
        if self.writes is not None:
            if self.saved is None:
                last.unlink(missing_ok=True)
                best.unlink(missing_ok=True)
            self.tracker = JsonLines(self.folder / CURVES, after=self.state.counters.step)

    def train(self, signals: Signals, show: Progress) -> FitResult:
        """Train to the end of the budget."""
        config, counters = self.config, self.state.counters
        begin, self._mark = time.monotonic() - counters.elapsed, (counters.elapsed, counters.batches)
        stopped: Stopped = "budget"
        signals.deferred = True
        self.surrogate.train()
        while True:
            counters.elapsed, stop = self.processes.agree(time.monotonic() - begin, signals.requested)
            if stop:
                self._interrupt()
            used = config.used(counters.step, counters.elapsed)
            if used >= 1.0:
                break
            if config.patience is not None and counters.stale >= config.patience:
                stopped = "patience"
                break
            self.state.advance(self.table, used)
            self._visit(show, begin)
        self._require_finite()
        self._report(show)
        if counters.validated < counters.step:
            self._validate()
        self._save()
        if self.processes.agree(0.0, signals.requested)[1]:
            self._interrupt()
        signals.deferred = False
        self._finish()
        return FitResult(
            steps=counters.step,
            elapsed=counters.elapsed,
            stopped=stopped,
            best_step=self.best.step if self.best is not None else counters.step,
            validation=self.best.value if self.best is not None else None,
            null=self.null,
            weights=self.weights,
            run_dir=self.folder,
        )

    def _visit(self, show: Progress, begin: float) -> None:
        config, step = self.config, self.state.counters.step
        due = [step % every == 0 for every in (config.log_every, config.validate_every, config.checkpoint_every)]
        if not any(due):
            return
        self._require_finite()
        self.state.counters.elapsed = time.monotonic() - begin
        if due[0]:
            self._report(show)
        if due[1]:
            self._validate()
        if due[2]:
            self._save()

    def _require_finite(self) -> None:
        bad = self.state.first_bad()
        if bad is None:
            return
        step, player = bad
        kept = "there is no checkpoint yet"
        if self.folder is not None and self.saved is not None:
            kept = f"the last good checkpoint is {self.folder / LAST} of step {self.saved}"
        msg = (
            f"training stopped in step {step}: the loss or the gradient of player {player} is NaN or infinite; {kept}; "
            "lower the learning rate, set clip_norm, or check the sample for extreme values"
        )
        raise TrainingError(msg)

    def _report(self, show: Progress) -> None:
        counters, means = self.state.counters, self.state.means()
        if not means:
            return
        seconds, batches = counters.elapsed - self._mark[0], counters.batches - self._mark[1]
        rate = batches * self.state.order.size / seconds if seconds > 0 else 0.0
        self._mark = (counters.elapsed, counters.batches)
        self.tracker.record(counters.step, means | self.state.rates() | {"rate": rate, "elapsed": counters.elapsed})
        loss = {name: means[f"loss/{name}"] for name in self.state.players if f"loss/{name}" in means}
        if self.processes.first:
            used = self.config.used(counters.step, counters.elapsed)
            show(Status(counters.step, used, counters.elapsed, rate, loss, self.value))

    def _validate(self) -> None:
        if self.metric is None:
            return
        counters, begin = self.state.counters, time.monotonic()
        with self.state.average.in_place():
            self.surrogate.eval()
            value = self.processes.share(self.metric(self.surrogate) if self.processes.first else 0.0)
            counters.validated, self.value = counters.step, value
            if math.isfinite(value) and (self.best is None or value < self.best.value):
                counters.stale = 0
                self.best = _Best(counters.step, value, self._tensors())
                self._save_best()
            else:
                counters.stale += 1
            self.surrogate.train()
        record = {"validation": value} if self.null is None else {"validation": value, "validation_null": self.null}
        self.tracker.record(counters.step, record)
        # The rate is that of training alone.
        self._mark = (self._mark[0] + time.monotonic() - begin, self._mark[1])

    def _tensors(self) -> dict[str, Tensor]:
        return {k: v.detach().cpu().clone() for k, v in self.surrogate.state_dict().items()}

    def _save_best(self) -> None:
        self._sign()
        if self.writes is not None:
            self.surrogate.save(self.writes / BEST)

    def _save(self) -> None:
        if self.writes is not None:
            if self.best is None:
                with self.state.average.in_place():
                    self._save_best()
            self.state.to_checkpoint(self.table).save(self.writes / LAST)
        self.saved = self.state.counters.step

    def _sign(self) -> None:
        counters = self.state.counters
        self.surrogate.provenance["training"] = {
            "step": self.best.step if self.best is not None else counters.step,
            "validation": self.best.value if self.best is not None else None,
            "seconds": round(counters.elapsed, 3),
            "rows": self.weights.rows,
            "effective_rows": self.weights.effective,
            "negative_share": self.weights.negative_share,
            "config": self.config.model_dump(mode="json", exclude_none=True),
        }

    def _finish(self) -> None:
        self._sign()
        if self.best is not None:
            self.surrogate.load_state_dict(self.best.tensors)
        else:
            for parameter, shadow in zip(self.state.average.parameters, self.state.average.shadow, strict=True):
                parameter.data.copy_(shadow)
        self.surrogate.to("cpu").eval()

    def _interrupt(self) -> None:
        self._require_finite()
        self._save()
        self._finish()
        step = self.state.counters.step
        if self.folder is None:
            msg = f"training was interrupted after step {step}; without a run folder it cannot be resumed"
        else:
            msg = (
                f"training was interrupted after step {step}; {self.folder / LAST} is complete: "
                "run again with --resume (resume=True) to go on to the identical result"
            )
        raise Interrupted(msg)
