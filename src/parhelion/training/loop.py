"""Training of any surrogate on any sample: what is set up before the first step."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parhelion.data import starts
from parhelion.errors import ConfigError, DataError, Interrupted
from parhelion.sample import Sample, concatenate
from parhelion.surrogates import load
from parhelion.surrogates.base import Surrogate
from parhelion.training.checkpoint import LAST, Checkpoint
from parhelion.training.config import TrainingConfig
from parhelion.training.distributed import join
from parhelion.training.progress import Progress, quiet, terminal_progress
from parhelion.training.run import FitResult, Metric, Run
from parhelion.training.signals import Signals
from parhelion.training.state import TrainingState
from parhelion.training.table import Source, TrainingTable, chunks
from parhelion.training.validation import SlicedEnergy, ValidationLoss, choose_rows
from parhelion.weights import WeightSummary, require_positive_total, summarise

FloatArray = npt.NDArray[np.float64]

_PREPARE_ROWS = 200_000


def fit(
    surrogate: Surrogate,
    sample: Source,
    *,
    config: TrainingConfig,
    validation: Sample | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    metric: Metric | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    seed: int | None = None,
) -> FitResult:
    """Train a surrogate on a sample with signed weights.

    Weights are scaled once to mean 1 over the whole sample. Each player minimises mean(w * loss) + penalty over fresh
    batches. At the end the surrogate has the averaged parameters, those of the best validation if there was one.

    Parameters
    ----------
    surrogate
        Prepared, or not yet: then it is prepared on the sample (its first 200,000 rows if it comes in chunks).
    sample
        A sample; or, to keep memory bounded, a list of samples or a function that opens an iterable of samples anew.
        They are read twice: for the sum of weights, and to be encoded.
    config
        Options.
    validation
        Rows that are not trained on. They choose the best parameters.
    run_dir
        Folder for ``last.safetensors`` (to resume), ``best.safetensors`` (a surrogate file) and ``curves.jsonl``;
        all processes must see it.
    metric
        Validation metric of a surrogate, lower is better, called with the surrogate on the training device. Default,
        with validation rows: the loss where there is one player; where several play against each other the sliced
        energy distance in network space, since their losses say nothing about quality.
    resume
        Go on from ``last.safetensors`` in `run_dir`, to the identical result (with a budget in steps). Where there is
        none yet, start.
    progress
        Hears where training stands; default: a bar on a terminal.
    seed
        Replaces the configuration's seed.

    Raises
    ------
    Interrupted
        Ctrl-C or SIGTERM. The running step was finished and a checkpoint written.
    TrainingError
        A loss or gradient is NaN or infinite; the last checkpoint is good.
    DataError
        The sample does not fit the surrogate, its sum of weights is not positive, or a checkpoint is damaged.
    ConfigError
        Options contradict the surrogate, or those of the checkpoint to resume from.
    WriteError
        A file cannot be written.
    """
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    folder = Path(run_dir) if run_dir is not None else None
    if resume and folder is None:
        msg = "resuming needs the run folder of the interrupted training; give run_dir"
        raise ConfigError(msg)
    with Signals() as signals, join(config.device) as processes:
        try:
            weights = _prepare(surrogate, sample, config)
            if not surrogate.players():
                return FitResult(0, 0.0, "nothing to train", 0, None, None, weights, folder)
            file = None if folder is None else folder / f"table.{processes.rank}.float32"
            table = TrainingTable.from_chunks(
                chunks(sample), surrogate, rows=weights.rows, file=file, limit=config.table_limit
            ).near(processes.device)
            if metric is None and validation is not None:
                metric = _default_metric(surrogate, validation, config)
            surrogate.to(processes.device)
            processes.same_start(surrogate)
            state = TrainingState(surrogate, config, processes, len(table))
            run = Run(state, table, metric, folder, weights)
            run.open(resume=resume)
            if progress is None and not processes.first:
                progress = quiet
            with nullcontext(progress) if progress is not None else terminal_progress() as show:
                return run.train(signals, show)
        except KeyboardInterrupt:
            raise Interrupted(_interrupted_at_once(folder)) from None


def _prepare(surrogate: Surrogate, source: Source, config: TrainingConfig) -> WeightSummary:
    parts: list[Sample] = []
    weights: list[FloatArray] = []
    name = "sample"
    for part in chunks(source):
        _require_same_fields(surrogate, part)
        if not surrogate.prepared and not isinstance(source, Sample) and sum(map(len, parts)) < _PREPARE_ROWS:
            parts.append(part)
        weights.append(part.weight)
        name = part.source
    if not weights:
        msg = "the training sample has no rows"
        raise DataError(msg)
    weight = np.concatenate(weights)
    require_positive_total(weight, source=name)
    if surrogate.prepared:
        if config.start is not None:
            msg = f"training, start: this {surrogate.kind} surrogate is prepared already; leave start out"
            raise ConfigError(msg)
        return summarise(weight)
    whole = source if isinstance(source, Sample) else concatenate(parts)
    if config.start is None:
        surrogate.prepare(whole, seed=config.seed)
    else:
        _start(surrogate, config.start, whole)
    return summarise(weight)


def _start(surrogate: Surrogate, start: str, sample: Sample) -> None:
    path = starts().get(start, Path(start))
    if not path.is_file() and not path.suffix:
        msg = f"training, start: there is no surrogate {start}; give a file, or one of {', '.join(starts())}"
        raise ConfigError(msg)
    found = load(path)
    surrogate.start_from(found, sample)
    if not surrogate.players():
        msg = f"training, start: a {surrogate.kind} surrogate is not trained in steps; leave start out"
        raise ConfigError(msg)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    surrogate.provenance["start"] = {"file": path.name, "sha256": checksum, "training": found.provenance}


def _require_same_fields(surrogate: Surrogate, sample: Sample) -> None:
    for role in ("condition", "response"):
        expected, got = getattr(surrogate.schema, role), getattr(sample.schema, role)
        if expected != got:
            msg = (
                f"{sample.source}: the {role} fields are {', '.join(f.title for f in got)}; "
                f"the surrogate was made for {', '.join(f.title for f in expected)}"
            )
            raise DataError(msg)


def _default_metric(surrogate: Surrogate, validation: Sample, config: TrainingConfig) -> ValidationLoss | SlicedEnergy:
    _require_same_fields(surrogate, validation)
    rows = choose_rows(validation, config.validation_rows, config.seed)
    players = list(surrogate.players())
    if len(players) == 1:
        return ValidationLoss(surrogate, rows, player=players[0], seed=config.seed)
    return SlicedEnergy(surrogate, rows, seed=config.seed)


def _interrupted_at_once(folder: Path | None) -> str:
    last = folder / LAST if folder is not None else None
    if last is not None and last.is_file():
        step = Checkpoint.load(last).state["counters"]["step"]
        return f"training was interrupted; {last} of step {step} is complete: run again with --resume to go on"
    return "training was interrupted before its first checkpoint; nothing was written: run again to start"
