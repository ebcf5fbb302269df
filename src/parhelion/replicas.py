"""Rivals on replicas: each trained anew on many independent training samples, and measured against the truth.

One training says little where the training sample is small: how far its events are off is mostly chance. Numbers from
replicas are means over trainings, with the scatter of trainings as their error.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.config import LoadedStudy
from parhelion.deploy import generate
from parhelion.errors import ConfigError
from parhelion.evaluation import MetricResult
from parhelion.evaluation.model.replicated import Deviations, Exceedance, amplification_result, exceedance_result
from parhelion.replica_sections import ReplicasSection, RivalSection
from parhelion.sample import Sample, concatenate
from parhelion.sections import SimulatorSource
from parhelion.simulators.toy_fits import fitted
from parhelion.sources import hold_out
from parhelion.surrogates import SURROGATES
from parhelion.training import fit
from parhelion.training.progress import quiet

FloatArray = npt.NDArray[np.float64]
Say = Callable[[str], None]


@dataclass(frozen=True)
class _Measures:
    """What is measured of each rival's events."""

    fields: tuple[str, ...]
    to_unit: Callable[[FloatArray], FloatArray] | None
    deviations: Deviations | None
    summed: tuple[str, ...]
    exceedance: Exceedance | None

    def of(self, events: FloatArray, training: FloatArray) -> dict[str, Any]:
        """Numbers of one training; `events` and `training` have the scalar responses as columns."""
        found: dict[str, Any] = {}
        if self.deviations is not None:
            found["amplification"] = self.deviations.measure(events if self.to_unit is None else self.to_unit(events))
        if self.exceedance is not None:
            columns = [self.fields.index(name) for name in self.summed]
            found["exceedance"] = self.exceedance.measure(
                events[:, columns].sum(axis=1), training[:, columns].sum(axis=1)
            )
        return found


def run_replicas(study: LoadedStudy, truth: Sample, folder: Path, *, say: Say) -> list[MetricResult]:
    """Train, generate and measure every rival of a study's section ``replicas``.

    Parameters
    ----------
    study
        A study with such a section; its training data come from a simulator.
    truth
        True events, the study's test sample.
    folder
        What each training gave goes here, a file of lines for each rival, and is not done again.
    say
        Called with a sentence for each rival.

    Returns
    -------
    list of MetricResult
        For each rival one result for each measure (see `evaluation.model.replicated`).

    Raises
    ------
    ConfigError
        The study has no such section, or its training data come from no simulator.
    DataError
        The truth has too few events for what is measured.
    """
    section, source = study.config.replicas, study.config.data.train
    if section is None or not isinstance(source, SimulatorSource):
        msg = f"study {study.name}: expected a section replicas and training data of a simulator"
        raise ConfigError(msg)
    measures = _measures(section, source, truth)
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for name, rival in section.rivals.items():
        count = rival.count or section.count
        path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:12]}.jsonl"
        done = _finished(path, name, _identity(study, section, source, rival))
        for replica in range(len(done), count):
            entry = _one(study, section, source, name, rival, replica, measures)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            done.append(entry)
        found = _results(name, measures, done[:count], source.rows, section.rows)
        for result in found:
            say(_sentence(result))
        results += found
    return results


def _measures(section: ReplicasSection, source: SimulatorSource, truth: Sample) -> _Measures:
    fields = tuple(f.name for f in source.schema_of_rows.response if not f.shape and f.kind != "category")
    toy = getattr(source.built(), "toy", None)
    events = _points(truth, fields)
    deviations = exceedance = None
    if section.amplification is not None:
        holdout = None if toy is not None else events
        deviations = Deviations(section.amplification.splits, section.amplification.generated, holdout)
    if section.exceedance is not None:
        columns = [fields.index(name) for name in section.exceedance.fields]
        exceedance = Exceedance.of(events[:, columns].sum(axis=1), section.exceedance.levels)
    summed = section.exceedance.fields if section.exceedance is not None else ()
    return _Measures(fields, None if toy is None else toy.to_unit, deviations, summed, exceedance)


def _points(sample: Sample, fields: tuple[str, ...]) -> FloatArray:
    return np.column_stack([np.asarray(sample[name], dtype=np.float64) for name in fields])


def _identity(
    study: LoadedStudy, section: ReplicasSection, source: SimulatorSource, rival: RivalSection
) -> dict[str, Any]:
    """What the numbers of a rival depend on, in plain form."""
    plain = {
        "rival": rival.model_dump(mode="json", exclude={"count"}),
        "source": source.model_dump(mode="json"),
        "replicas": section.model_dump(mode="json", exclude={"count", "rivals"}),
        "truth": study.config.data.model_dump(mode="json"),
        "seed": study.config.seed,
    }
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def _finished(path: Path, name: str, identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Trainings done by an earlier run, if they were of the same rival; else the file is begun."""
    whole = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            whole.append(json.loads(line))
        except ValueError:  # the run was cut off within this line
            break
    if not whole or whole[0].get("identity") != identity:
        whole = [{"name": name, "identity": identity}]
    # Written anew, so that no half line stays.
    path.write_text("".join(json.dumps(entry) + "\n" for entry in whole), encoding="utf-8")
    return whole[1:]


def _one(
    study: LoadedStudy,
    section: ReplicasSection,
    source: SimulatorSource,
    name: str,
    rival: RivalSection,
    replica: int,
    measures: _Measures,
) -> dict[str, Any]:
    """One training and what it gave."""
    # The study's own training sample has the source's seed.
    seed = source.seed + 1 + replica
    train = concatenate(list(source.built().simulate(source.rows, seed=seed)))
    points = _points(train, measures.fields)
    rng = np.random.default_rng([study.config.seed, seed])
    start = time.process_time()
    if rival.draw == "fit":
        events = fitted(source.built().toy, points)(section.rows, rng)  # type: ignore[attr-defined]
    elif rival.draw == "resampling":
        events = points[rng.integers(0, len(points), section.rows)]
    elif rival.draw == "permutations":
        events = _permuted(points, section.rows, rng)
    else:
        events = _generated(study, section, name, rival, train, measures.fields, rng, seed)
    seconds = time.process_time() - start
    return {"seed": seed, "seconds": round(seconds, 3), **measures.of(events, points)}


def _permuted(points: FloatArray, rows: int, rng: np.random.Generator) -> FloatArray:
    """Events whose fields come from different training events, drawn independently."""
    return np.column_stack([rng.choice(column, rows) for column in points.T])


def _generated(
    study: LoadedStudy,
    section: ReplicasSection,
    name: str,
    rival: RivalSection,
    train: Sample,
    fields: tuple[str, ...],
    rng: np.random.Generator,
    seed: int,
) -> FloatArray:
    """Events of a surrogate trained on one training sample."""
    family, options = study.rivals[name]
    config = rival.training
    if config is None:
        msg = f"rival {name}: expected a section training"
        raise ConfigError(msg)
    if rival.permuted is not None:
        rows = rng.integers(0, len(train), rival.permuted)
        shuffled = {f: np.asarray(train[f])[rng.integers(0, len(train), rival.permuted)] for f in fields}
        first = train.take(rows)
        train = Sample(train.schema, {**first.columns, **shuffled})
    surrogate = SURROGATES[family](train.schema, options)
    held = None
    if rival.validated:
        train, held = hold_out(train, study)
    fit(surrogate, train, config=config, validation=held, progress=quiet, seed=seed)
    # Conditions of the events asked for are those of training events drawn at random.
    chosen = train.take(rng.integers(0, len(train), section.rows))
    asked = Sample(chosen.schema, chosen.columns)
    return _points(generate(surrogate, asked, seed=seed, outside="flag"), fields)


def _results(
    name: str, measures: _Measures, done: list[dict[str, Any]], training: int, rows: int
) -> list[MetricResult]:
    seconds = float(np.mean([entry["seconds"] for entry in done]))
    found = []
    if measures.deviations is not None:
        measured = [entry["amplification"] for entry in done]
        found.append(amplification_result(name, measures.deviations, measured, training, seconds=seconds))
    if measures.exceedance is not None:
        found.append(
            exceedance_result(
                name,
                measures.exceedance,
                [entry["exceedance"] for entry in done],
                name=" + ".join(measures.summed),
                training=training,
                rows=rows,
                seconds=seconds,
            )
        )
    return found


def _sentence(result: MetricResult) -> str:
    d = result.details
    numbers = ", ".join(f"{key} {q.value:.3g} +- {q.error:.2g}" for key, q in result.quantities.items())
    return f"{result.on}: {numbers} ({d['replicas']} replicas, {d['seconds']:.1f} s of processor time each)"
