"""Simulation on the workers of an executor: ranges of rows, each of which depends on its numbers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from parhelion.executors import Executor
from parhelion.sample import Sample, concatenate
from parhelion.simulators.base import Progress, Simulator


@dataclass(frozen=True)
class _Task:
    kind: str
    options: dict[str, Any]
    seed: int


def simulate_by(
    executor: Executor, simulator: Simulator, n: int, *, seed: int, first: int = 0, progress: Progress | None = None
) -> Iterator[Sample]:
    """Rows `first` to `first + n - 1` from the executor's workers, one core each.

    Parameters
    ----------
    executor
        Where to simulate.
    simulator, n, seed, first, progress
        As in `Simulator.simulate`.

    Yields
    ------
    Sample
        What `Simulator.simulate` yields.

    Raises
    ------
    ClusterError
        Workers were lost for good; besides what the simulator raises.
    """
    size = simulator.part_rows
    ranges = [(start, min(size, first + n - start)) for start in range(first, first + n, size)]
    task = _Task(simulator.kind, simulator.config.model_dump(mode="json"), seed)
    done = 0
    for (_, rows), sample in zip(ranges, executor.run(partial(_simulate, task), ranges), strict=True):
        done += rows
        if progress is not None:
            progress(done, n)
        yield sample


def _simulate(task: _Task, rows: tuple[int, int]) -> Sample:
    from parhelion.simulators import simulator

    start, count = rows
    made = simulator(task.kind, task.options)
    return concatenate(made.simulate(count, seed=task.seed, first=start, processes=1))
