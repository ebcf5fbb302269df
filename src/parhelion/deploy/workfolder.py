"""The hidden folder beside an output in which its parts wait until all are there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from parhelion.deploy.job import Part
from parhelion.errors import WriteError
from parhelion.files import atomic_path

_JOB = "job.json"
_LOCK = "lock"


class WorkFolder:
    """Folder ``.NAME.parts`` beside the output NAME, owned by one process at a time.

    Parameters
    ----------
    out
        The output.
    identity
        What makes the result what it is; JSON. A folder that an earlier run with the same identity left is gone on
        with.
    overwrite
        Throw away what a run with another identity left.

    Raises
    ------
    WriteError
        The folder cannot be made, another process works in it, or it is of another run and `overwrite` is not set.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        self.path = out.parent / f".{out.name}.parts"
        self._lock: IO[str] | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("w")
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            msg = f"{out}: cannot be written ({reason}); choose another place"
            raise WriteError(msg) from error
        try:
            self._take(out)
            self.resumed = self._adopt(out, dict(identity), overwrite)
        except BaseException:
            self.release()
            raise

    def _take(self, out: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
        except BlockingIOError:
            msg = f"{out}: another process is generating this file now; wait for it, or choose another name"
            raise WriteError(msg) from None
        except OSError:
            return  # a file system without locks

    def _adopt(self, out: Path, identity: dict[str, Any], overwrite: bool) -> bool:
        text = json.dumps(identity, sort_keys=True)
        there = None
        with suppress(OSError, UnicodeDecodeError):
            there = (self.path / _JOB).read_text(encoding="utf-8")
        if there == text:
            for leftover in self.path.glob("*.partial*"):
                with suppress(OSError):
                    leftover.unlink()
            return True
        if there is not None and not overwrite:
            msg = (
                f"{out}: an unfinished generation with other options, inputs, models or versions lies in {self.path}; "
                "repeat those to finish it, or start anew with --overwrite"
            )
            raise WriteError(msg)
        self._clear()
        with atomic_path(self.path / _JOB) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return False

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.name != _LOCK:
                with suppress(OSError):
                    entry.unlink()

    def count(self, parts: Iterable[Part]) -> int:
        """How many of the parts are there."""
        return sum((self.path / part.name).exists() for part in parts)

    def discard(self) -> None:
        """Remove the folder with all parts."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Leave the folder to a later run."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
