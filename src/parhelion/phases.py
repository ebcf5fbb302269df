"""Phases of a run: each done once, timed, and skipped when a run resumes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parhelion.errors import ConfigError, ParhelionError
from parhelion.files import atomic_path


class Phases:
    """The record of a run, in ``run.json`` of its folder.

    Parameters
    ----------
    folder
        The run's folder.
    study
        Text of the study file, kept with the run.
    fingerprint
        Hash of what shapes the surrogate; a run resumes only with the same.
    """

    def __init__(self, folder: Path, study: str, fingerprint: str) -> None:
        self.folder = folder
        self.path = folder / "run.json"
        self.study = study
        self.fingerprint = fingerprint
        self.state: dict[str, Any] = {}
        self._rates: list[tuple[str, float, int | None]] = []
        self._clock = 0.0

    def open(self, *, resume: bool) -> None:
        """Start or go on with a run.

        Raises
        ------
        ConfigError
            The folder holds a run and `resume` is false, the study has changed since in what shapes the surrogate, or
            the folder is none, holds something else, or cannot be read.
        """
        try:
            found = [item.name for item in self.folder.iterdir()] if self.folder.exists() else []
            record = self.path.read_text(encoding="utf-8") if self.path.name in found else None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "damaged run.json"
            msg = f"{self.folder}: is no folder for a run ({reason}); choose another with --out"
            raise ConfigError(msg) from error
        if record is not None:
            if not resume:
                msg = f"{self.folder}: holds a run already; go on with --resume, or choose another folder with --out"
                raise ConfigError(msg)
            self.state = self._decode(record)
            if self.state["fingerprint"] != self.fingerprint:
                msg = (
                    f"{self.folder}: holds a run of this study with other data, surrogate, training or seed; "
                    "choose another folder with --out"
                )
                raise ConfigError(msg)
        elif found:
            msg = f"{self.folder}: is not empty and holds no run; choose another folder with --out"
            raise ConfigError(msg)
        else:
            self.state = {"fingerprint": self.fingerprint, "phases": {}}
            self._write()
        with atomic_path(self.folder / "study.yaml") as temporary:
            temporary.write_text(self.study, encoding="utf-8")

    def _decode(self, record: str) -> dict[str, Any]:
        try:
            state = json.loads(record)
            if isinstance(state["phases"], dict) and isinstance(state["fingerprint"], str):
                return dict(state)
        except (ValueError, KeyError, TypeError):
            pass
        msg = f"{self.path}: is damaged; choose another folder with --out"
        raise ConfigError(msg)

    @contextmanager
    def nothing_left_on_error(self) -> Iterator[None]:
        """Remove the run, if no phase was finished, when its data turn out wrong; an interrupt leaves it to resume."""
        try:
            yield
        except ParhelionError:
            if not self.state["phases"]:
                shutil.rmtree(self.folder / "data", ignore_errors=True)
                for name in ("run.json", "study.yaml"):
                    (self.folder / name).unlink(missing_ok=True)
                if not any(self.folder.iterdir()):
                    self.folder.rmdir()
            raise

    @contextmanager
    def timed(self, name: str, say: Callable[[str], None], *, always: bool = False) -> Iterator[bool]:
        """Do a phase; gives False if an earlier run finished it (unless it is done `always`)."""
        todo = always or name not in self.state["phases"]
        say(f"{name} ..." if todo else f"{name}: done before")
        start = time.monotonic()
        yield todo
        if todo:
            entry = self.state["phases"].setdefault(name, {})
            entry["seconds"] = time.monotonic() - start
            self._write()
            say(f"{name}: {entry['seconds']:.1f} s")

    def note(self, name: str, values: dict[str, Any]) -> None:
        """Remember values of a phase."""
        self.state.setdefault("notes", {}).setdefault(name, {}).update(values)

    def notes(self, name: str) -> dict[str, Any]:
        """Values that `note` remembered."""
        found: dict[str, Any] = self.state.get("notes", {}).get(name, {})
        return found

    def start_clock(self) -> None:
        """Start measuring a rate."""
        self._clock = time.monotonic()

    def rate(self, what: str, rows: int) -> None:
        """Record how long `rows` rows took since `start_clock`."""
        self._rates.append((what, time.monotonic() - self._clock, rows))

    def timings(self) -> list[tuple[str, float, int | None]]:
        """Name, seconds and rows of all phases and rates."""
        phases: list[tuple[str, float, int | None]] = [
            (name, float(entry["seconds"]), None) for name, entry in self.state["phases"].items()
        ]
        return phases + self._rates

    def _write(self) -> None:
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self.state, indent=1), encoding="utf-8")
