"""Tasks on a Dask cluster that exists already, or on one of this machine."""

from __future__ import annotations

import json
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from parhelion import __version__
from parhelion.errors import ClusterError, ConfigError, MissingDependencyError, ParhelionError
from parhelion.executors import Executor, Item, Result
from parhelion.provenance import cores

_AHEAD = 3
_LOCAL = re.compile(r"local(?::(\d+))?")
_FAILURES = 5


class Dask(Executor):
    """Workers of a Dask cluster.

    Dask runs a task again when its worker is lost. When the scheduler is lost, with all that it knew, this client
    connects again and hands in what is not done.

    Parameters
    ----------
    scheduler
        ``tcp://host:8786``, the path of a scheduler file (``.json``), or ``local`` or ``local:N``.
    patience
        Seconds to wait for a scheduler that does not answer, and for the first worker.

    Raises
    ------
    ConfigError
        The scheduler does not answer.
    MissingDependencyError
        Dask is not installed.
    """

    def __init__(self, scheduler: str, *, patience: float = 60.0) -> None:
        try:
            import distributed
        except ModuleNotFoundError as error:
            if error.name not in ("distributed", "dask"):
                raise
            msg = "--dask needs Dask; install it with: pip install 'parhelion[dask]'"
            raise MissingDependencyError(msg) from error
        self._distributed: Any = distributed  # its annotations are incomplete
        self._scheduler, self._patience = scheduler, patience
        self._cluster: Any = None
        local = _LOCAL.fullmatch(scheduler)
        if local is not None:
            count = int(local[1]) if local[1] else cores()
            if count < 1:
                msg = f"--dask {scheduler}: expected at least one worker"
                raise ConfigError(msg)
            self._cluster = self._distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
            )
        elif "://" not in scheduler and not scheduler.endswith(".json"):
            msg = f"--dask {scheduler}: expected tcp://HOST:PORT, a scheduler file (.json), local or local:N"
            raise ConfigError(msg)
        self._client: Any = None
        try:
            self._client = self._connect()
            self.workers = self._await_worker()
        except BaseException:
            self.close()
            raise
        self.where = f"Dask, {self.workers} workers at the start"

    def run(self, task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results in the items' order."""
        waiting: deque[tuple[Item, Any]] = deque()
        upcoming = iter(items)
        failures = 0
        try:
            while True:
                while len(waiting) <= _AHEAD * self.workers:
                    item = next(upcoming, None)
                    if item is None:
                        break
                    waiting.append((item, self._submit(task, item)))
                if not waiting:
                    return
                try:
                    version, result = waiting[0][1].result()
                except ParhelionError:
                    raise
                except Exception as error:
                    self._explain(waiting[0][1], error)
                    failures += 1
                    if failures == _FAILURES:
                        msg = (
                            f"the Dask cluster was lost {_FAILURES} times in a row ({_words(error)}); run again: what "
                            "is done is kept"
                        )
                        raise ClusterError(msg) from error
                    self._client = self._reconnected()
                    waiting = deque((item, self._submit(task, item)) for item, _ in waiting)
                    continue
                if version != __version__:
                    msg = f"a Dask worker has parhelion {version}, this is {__version__}; install the same on all"
                    raise ClusterError(msg)
                failures = 0
                waiting.popleft()
                yield result
        finally:
            with suppress(Exception):
                self._client.cancel([future for _, future in waiting])

    def _submit(self, task: Callable[[Item], Result], item: Item) -> Any:
        return self._client.submit(_with_version, task, item, pure=False)

    def _explain(self, future: Any, error: Exception) -> None:
        """Raise where trying again is of no use: the task's own error, or a task that kills its workers."""
        if isinstance(error, self._distributed.KilledWorker):
            msg = (
                "a task was lost with its worker several times (out of memory, or no parhelion on the workers?); see "
                "the workers' logs, then run again: what is done is kept"
            )
            raise ClusterError(msg) from error
        if future.status == "error":
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, ModuleNotFoundError):
                cause = cause.__cause__
            if cause is not None:
                msg = f"the Dask workers or their scheduler lack {cause.name}; install parhelion there as here"
                raise ClusterError(msg) from error
            raise error

    def _reconnected(self) -> Any:
        with suppress(Exception):
            self._client.close(timeout=1)
        client = self._connect()
        self._client = client
        self._await_worker()
        return client

    def _connect(self) -> Any:
        options: dict[str, Any] = {"set_as_default": False}
        if self._cluster is not None:
            return self._distributed.Client(self._cluster, **options)
        end = time.monotonic() + self._patience
        while True:
            left = max(end - time.monotonic(), 0.1)
            try:
                # A client that never found its scheduler complains when it is collected, so knock first.
                address = self._address()
                _knock(address, left)
                return self._distributed.Client(address, timeout=left, **options)
            except ValueError as error:
                msg = f"--dask {self._scheduler}: {error}; expected tcp://HOST:PORT"
                raise ConfigError(msg) from error
            except OSError as error:
                if time.monotonic() < end:
                    time.sleep(min(1.0, left))
                    continue
                msg = (
                    f"--dask {self._scheduler}: no scheduler answers within {self._patience:.0f} s ({_words(error)}); "
                    "start one with: dask scheduler, and workers with: dask worker ADDRESS"
                )
                raise ConfigError(msg) from error

    def _address(self) -> str:
        if not self._scheduler.endswith(".json"):
            return self._scheduler
        try:
            return str(json.loads(Path(self._scheduler).read_text(encoding="utf-8"))["address"])
        except (ValueError, KeyError, TypeError) as error:
            msg = f"it is not a scheduler file ({type(error).__name__})"
            raise ValueError(msg) from error

    def _await_worker(self) -> int:
        try:
            self._client.wait_for_workers(1, timeout=self._patience)
        except TimeoutError as error:
            msg = (
                f"--dask {self._scheduler}: the scheduler has had no worker for {self._patience:.0f} s; start some "
                "with: dask worker ADDRESS"
            )
            raise ConfigError(msg) from error
        return max(len(self._client.scheduler_info(n_workers=-1)["workers"]), 1)

    def close(self) -> None:
        """Close the connection; a cluster of one's own too."""
        if self._client is not None:
            with suppress(Exception):
                self._client.close(timeout=10)
        if self._cluster is not None:
            self._cluster.close(timeout=20)


def _with_version(task: Callable[[Item], Result], item: Item) -> tuple[str, Result]:
    """A result and who made it; runs on a worker."""
    return __version__, task(item)


def _knock(address: str, seconds: float) -> None:
    """Raise an OSError if nobody listens there."""
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme in ("tcp", "tls") and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
