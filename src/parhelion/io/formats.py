"""File formats by suffix, and the paths that a user gives."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from parhelion.errors import DataError, WriteError
from parhelion.io.base import Reader, Writer
from parhelion.io.csv import CsvReader
from parhelion.io.hdf5 import Hdf5Reader, Hdf5Writer
from parhelion.io.npz import NpzReader, NpzWriter
from parhelion.io.parquet import ParquetReader, ParquetWriter
from parhelion.io.root import RootReader, RootWriter

PathLike = str | os.PathLike[str]

READERS: dict[str, type[Reader]] = {
    ".root": RootReader,
    ".h5": Hdf5Reader,
    ".hdf5": Hdf5Reader,
    ".parquet": ParquetReader,
    ".npz": NpzReader,
    ".csv": CsvReader,
}
WRITERS: dict[str, type[Writer]] = {
    ".root": RootWriter,
    ".h5": Hdf5Writer,
    ".hdf5": Hdf5Writer,
    ".parquet": ParquetWriter,
    ".npz": NpzWriter,
}


def open_reader(path: PathLike, tree: str | None = None) -> Reader:
    """Open one file by its suffix.

    Raises
    ------
    DataError
        The suffix is unknown, or the file is missing, empty, truncated or corrupt.
    """
    file = Path(path)
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        msg = f"{file}: the suffix {file.suffix or '(none)'} is not known; readable are {', '.join(READERS)}"
        raise DataError(msg)
    if not file.exists():
        msg = f"{file}: no such file"
        raise DataError(msg)
    if not file.is_file():
        msg = f"{file}: is not a file; give files, or a pattern such as {file}/*{file.suffix}"
        raise DataError(msg)
    if file.stat().st_size == 0:
        msg = f"{file}: the file is empty (0 bytes); make it again"
        raise DataError(msg)
    return reader(file, tree)


def writer_for(path: PathLike) -> type[Writer]:
    """Writer class by suffix.

    Raises
    ------
    WriteError
        No writer has this suffix.
    """
    suffix = Path(path).suffix.lower()
    writer = WRITERS.get(suffix)
    if writer is None:
        msg = f"{path}: cannot write files with suffix {suffix or '(none)'}; writable are {', '.join(WRITERS)}"
        raise WriteError(msg)
    return writer


def expand(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    """Files that paths and patterns (``run*.root``) stand for; those of one pattern in alphabetical order.

    Raises
    ------
    DataError
        A pattern fits no file, a file is given twice, or there is none.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files: list[Path] = []
    for item in given:
        text = os.fspath(item)
        if glob.has_magic(text) and not Path(text).exists():
            found = sorted(glob.glob(text, recursive=True))
            if not found:
                msg = f"{text}: no file fits this pattern"
                raise DataError(msg)
            files += [Path(f) for f in found]
        else:
            files.append(Path(text))
    if not files:
        msg = "there is no file to read: the list of paths is empty"
        raise DataError(msg)
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in seen:
            msg = f"{file}: given more than once"
            raise DataError(msg)
        seen.add(file.resolve())
    return files
