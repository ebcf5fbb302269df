"""Where work runs: in this process, in several on this machine, or on a Dask cluster, behind one method.

A task is a function of one item that may run more than once, here or elsewhere, with the same effect: it writes its
result under a temporary name and renames it, or returns it. That is what lets a lost worker, a duplicate execution or
a scheduler that starts again change nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Self, TypeVar

from parhelion.errors import ClusterError, ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ATTEMPTS = 3
_AHEAD = 3


class Executor(ABC):
    """Runs tasks; a context manager.

    Attributes
    ----------
    workers
        Tasks that run at the same time.
    where
        The same in words, for messages and records.
    """

    workers: int
    where: str

    @abstractmethod
    def run(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results in the items' order, as they come; some tasks run ahead of the reader.

        Parameters
        ----------
        task
            What to do with an item; importable by name (or a `functools.partial` of such), and idempotent.
        items
            What to do it with.

        Raises
        ------
        ParhelionError
            What a task raised; or a `ClusterError` if workers or the scheduler were lost for good.
        """

    def close(self) -> None:
        """Release the workers."""
        return

    def __enter__(self) -> Self:
        """Give the executor."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the workers."""
        self.close()


class Serial(Executor):
    """Everything in this process, one task after the other."""

    workers = 1
    where = "this process"

    def run(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results in the items' order; each task runs when its result is asked for."""
        return map(task, items)


class Processes(Executor):
    """Processes on this machine.

    A process that is killed is replaced and its task run again, `_ATTEMPTS` times in a row without any progress.

    Parameters
    ----------
    workers
        Processes; all cores that this process may use if not given.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = _cores() if workers is None else workers
        if self.workers < 1:
            msg = f"{self.workers} workers: expected at least 1"
            raise ConfigError(msg)
        self.where = f"{self.workers} processes"
        self._pool: ProcessPoolExecutor | None = None

    def run(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results in the items' order."""
        done, failures = 0, 0
        while done < len(items):
            try:
                for result in self._attempt(task, items[done:]):
                    done, failures = done + 1, 0
                    yield result
            except BrokenProcessPool:
                self.close()
                failures += 1
                if failures == _ATTEMPTS:
                    msg = (
                        f"a worker process was killed {_ATTEMPTS} times in a row without progress (out of memory?); "
                        "use fewer workers, or give the job more memory, then run again: what is done is kept"
                    )
                    raise ClusterError(msg) from None

    def _attempt(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        if self._pool is None:
            # Spawned, since a fork in the middle of another thread's work may hang.
            self._pool = ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), initializer=_start_worker)
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(task, item))
                if len(waiting) > _AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """Let running tasks end, start no other."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _start_worker() -> None:
    """Make a worker process behave: one thread for mathematics, no Ctrl-C of its own, no life after its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["OMP_NUM_THREADS"] = "1"
    if "numpy" in sys.modules:  # the caller's main module imported it before this runs
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _cores() -> int:
    from parhelion.provenance import cores  # brings numpy, whose threads a worker limits before it is loaded

    return cores()


def open_executor(*, workers: int | None = None, dask: str | None = None, tasks: int | None = None) -> Executor:
    """The executor that options ask for.

    Parameters
    ----------
    workers
        Processes on this machine; all cores if not given.
    dask
        Address of a Dask scheduler (``tcp://host:8786``), path of its scheduler file (``.json``), or ``local`` or
        ``local:N`` for a cluster of N workers on this machine.
    tasks
        How many there are: no more workers are started.

    Raises
    ------
    ConfigError
        Both were given, or the scheduler does not answer.
    MissingDependencyError
        Dask is not installed.
    """
    if dask is not None:
        if workers is not None:
            msg = "--workers is for this machine and --dask for a cluster; give one of them (--dask local:N for N)"
            raise ConfigError(msg)
        from parhelion.dask_executor import Dask

        return Dask(dask)
    if workers is not None and workers < 1:
        msg = f"{workers} workers: expected at least 1"
        raise ConfigError(msg)
    count = _cores() if workers is None else workers
    count = count if tasks is None else min(count, tasks)
    return Serial() if count <= 1 else Processes(count)
