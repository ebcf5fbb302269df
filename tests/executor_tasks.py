"""Tasks for executors, some of which fail on purpose. No heavy imports: workers load this file."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from parhelion.errors import DataError


def remember(folder: str, item: int) -> int:
    """Square, noting in a folder that it ran."""
    with Path(folder, f"{item}-{os.getpid()}-{time.monotonic_ns()}").open("w"):
        return item**2


def kill_once(folder: str, item: int) -> int:
    """Square; the worker that gets item 3 first dies of it."""
    mark = Path(folder, "killed")
    if item == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return remember(folder, item)


def kill_always(folder: str, item: int) -> int:
    """Square; every worker that gets item 3 dies of it."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item**2


def refuse_three(item: int) -> int:
    """Square; item 3 is bad."""
    if item == 3:
        msg = "x.root: item 3 is bad"
        raise DataError(msg)
    return item**2


def wait_and_square(item: int) -> int:
    """Square, after a while."""
    time.sleep(0.3)
    return item**2
