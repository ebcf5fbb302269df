"""Curves of a training run: one JSON record a line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, WriteError
from parhelion.files import atomic_path


@dataclass(frozen=True)
class Curve:
    """A quantity against the number of steps done.

    Attributes
    ----------
    step
        Shape (n,), ascending.
    value
        Shape (n,).
    """

    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]


class Tracker(Protocol):
    """Takes the records of a run."""

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Take named numbers at a step."""


class NoTracker:
    """Keeps nothing."""

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Drop the record."""


class JsonLines:
    """Appends records to a JSON-lines file.

    Parameters
    ----------
    path
        The file.
    after
        Records of later steps are dropped: a run that resumes at this step writes them again.

    Raises
    ------
    WriteError
        The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, after: int) -> None:
        self.path = Path(path)
        kept = [line for line in _lines(self.path) if (line["step"] or 0) <= after] if after else []
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; a number that is not finite becomes null.

        Raises
        ------
        WriteError
            The file cannot be written.
        """
        line = {"step": step} | {k: v if math.isfinite(v) else None for k, v in values.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            msg = f"{self.path}: cannot be written ({error.strerror}); free space, then resume from the last checkpoint"
            raise WriteError(msg) from error


def _lines(path: Path) -> list[dict[str, float | None]]:
    lines = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                # A process that was killed leaves its last line unfinished.
                break
    return lines


def read_curves(path: str | os.PathLike[str]) -> dict[str, Curve]:
    """Curves of a run by name: ``loss/<player>``, ``gradient/<player>``, ``learning_rate/<player>``, ``validation``,
    ``rate`` (rows/s), ``elapsed`` (s) and what the surrogate logs.

    Parameters
    ----------
    path
        The JSON-lines file, or the run folder that has ``curves.jsonl``.

    Raises
    ------
    DataError
        There is no such file.
    """
    file = Path(path)
    file = file / "curves.jsonl" if file.is_dir() else file
    if not file.is_file():
        msg = f"{file}: there is no such file; a run folder of parhelion has curves.jsonl"
        raise DataError(msg)
    points: dict[str, tuple[list[int], list[float]]] = {}
    for line in _lines(file):
        step = int(line.pop("step") or 0)
        for name, value in line.items():
            steps, values = points.setdefault(name, ([], []))
            steps.append(step)
            values.append(math.nan if value is None else value)
    return {name: Curve(np.array(s, dtype=np.int64), np.array(v, dtype=np.float64)) for name, (s, v) in points.items()}
