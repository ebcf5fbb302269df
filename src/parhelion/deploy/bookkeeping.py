"""What a generation leaves beside its output: from what, by what and with what result it was made."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parhelion import io
from parhelion.deploy.models import file_checksum
from parhelion.errors import DataError, ParhelionError
from parhelion.sample import Sample

_END_BYTES = 1 << 20


class ContentDigest:
    """SHA-256 of the rows of a stream of samples: names, types and numbers, whatever the file format or the chunks."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def update(self, sample: Sample) -> None:
        """Add the rows of a sample."""
        values = {f.name: sample.columns[f.name] for f in sample.schema.fields}
        for role in ("weight", "event_id", "group"):
            values[f"({role})"] = getattr(sample, role)
        for name, column in values.items():
            if name not in self._columns:
                head = f"{name} {column.dtype.newbyteorder('<').str} {column.shape[1:]}"
                self._columns[name] = hashlib.sha256(head.encode())
            plain = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
            self._columns[name].update(plain.data)

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        parts = {name: digest.hexdigest() for name, digest in self._columns.items()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content_checksum(path: str | os.PathLike[str]) -> str:
    """Checksum of a sample file's rows, as the record of the generation that made it says.

    Raises
    ------
    DataError
        The file cannot be read, or is of another program.
    """
    digest = ContentDigest()
    for chunk in io.iterate(path):
        digest.update(chunk)
    return digest.hexdigest()


def quick_fingerprint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Size, time of the last change and checksum of both ends of a file: enough to see that it is another.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.sha256(stream.read(_END_BYTES))
            stream.seek(max(status.st_size - _END_BYTES, 0))
            digest.update(stream.read(_END_BYTES))
    except OSError as error:
        msg = f"{path}: cannot be read ({os.strerror(error.errno) if error.errno else error})"
        raise DataError(msg) from error
    return {"bytes": status.st_size, "changed": status.st_mtime_ns, "ends": digest.hexdigest()}


class Checksums(threading.Thread):
    """Checksums of whole files, made beside other work.

    Parameters
    ----------
    paths
        The files.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._paths, self._found = list(paths), dict[str, str]()
        self._error: ParhelionError | None = None

    def run(self) -> None:
        """Read all files."""
        try:
            for path in self._paths:
                self._found[path] = file_checksum(path)
        except ParhelionError as error:
            self._error = error

    def result(self) -> dict[str, str]:
        """Checksum by path, when all are there.

        Raises
        ------
        DataError
            A file could not be read.
        """
        self.join()
        if self._error is not None:
            raise self._error
        return self._found
