"""Progress of a run, for people: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Status:
    """Where training stands.

    Attributes
    ----------
    step
        Steps done.
    used
        Share of the budget used, 0 to 1.
    elapsed
        Seconds since the start of the loop.
    rate
        Rows per second over the last steps.
    loss
        Mean loss of each player over the last steps.
    validation
        Newest validation metric, if there is one.
    """

    step: int
    used: float
    elapsed: float
    rate: float
    loss: dict[str, float] = field(default_factory=dict)
    validation: float | None = None

    @property
    def left(self) -> float:
        """Seconds to the end at the pace so far; infinite before the first step."""
        return self.elapsed * (1.0 - self.used) / self.used if self.used > 0 else float("inf")


class Progress(Protocol):
    """Hears where training stands, every `log_every` steps."""

    def __call__(self, status: Status) -> None:
        """Take a status."""


def quiet(status: Status) -> None:
    """Show nothing."""


def describe(status: Status) -> str:
    """Status in a few words: step, losses, validation, rate."""
    losses = ", ".join(f"{name} {value:.4g}" for name, value in status.loss.items())
    found = "" if status.validation is None else f", validation {status.validation:.4g}"
    return f"step {status.step:,}: {losses}{found}, {status.rate:,.0f} rows/s"


def clock(seconds: float) -> str:
    """Duration as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


@contextmanager
def terminal_progress(title: str = "training") -> Iterator[Progress]:
    """Progress bar with rate and time left where standard error is a terminal; quiet otherwise."""
    if not sys.stderr.isatty():
        yield quiet
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(title), BarColumn(), TextColumn("{task.percentage:.0f} %"), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)

        def show(status: Status) -> None:
            left = f", {clock(status.left)} left" if status.used > 0 else ""
            bar.update(task, completed=status.used, description=describe(status) + left)

        yield show
