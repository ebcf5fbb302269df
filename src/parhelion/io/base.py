"""What every file format gives: a reader of columns in chunks, a writer of columns in chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, ParhelionError

Array = npt.NDArray[Any]

Chunks = Generator[dict[str, Array], None, None]

METADATA_KEY = "parhelion"


@dataclass(frozen=True)
class ColumnInfo:
    """A column of a file.

    Attributes
    ----------
    name
        Its name, to be used in layouts and selections.
    dtype
        Type of one number (``"float32"``), or ``"string"`` or ``"object"`` for what cannot become a field.
    shape
        Shape of one row; None if it varies from row to row (a jagged column) and only reading can tell.
    rows
        Number of rows.
    unit
        Unit that the file declares, None if it says nothing.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    rows: int
    unit: str | None = None

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers or truth values."""
        return self.dtype not in ("string", "object")


class Reader(ABC):
    """An open file to read from; a context manager.

    Parameters
    ----------
    path
        The file.
    tree
        Tree or group to read; None if the file has only one.
    """

    def __init__(self, path: Path, tree: str | None) -> None:
        self.path = path
        self.tree = tree

    @abstractmethod
    def columns(self) -> list[ColumnInfo]:
        """All columns, in the file's order."""

    @abstractmethod
    def metadata(self) -> str | None:
        """The JSON text that `write` left, None in a foreign file."""

    @abstractmethod
    def chunks(self, names: Sequence[str], rows: int) -> Chunks:
        """Columns by name in pieces of at most `rows` rows, arrays of shape (m, *shape)."""

    def between(self, names: Sequence[str], rows: int, start: int, stop: int) -> Chunks:
        """Rows `start` to `stop` - 1 in pieces as `chunks` gives; here by skipping what stands before."""
        at = 0
        for chunk in self.chunks(names, rows):
            size = len(chunk[names[0]])
            low, high = max(start - at, 0), min(stop - at, size)
            if low < high:
                yield {name: values[low:high] for name, values in chunk.items()}
            at += size
            if at >= stop:
                return

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        """Give the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


class Writer(ABC):
    """An open file to write to; a context manager that finishes the file if its block ends well.

    Parameters
    ----------
    path
        The file; the caller makes it atomic.
    columns
        Type and row shape of each column.
    metadata
        JSON text to store.
    tree
        Name of the tree, where the format has trees.
    compress
        Compress the columns; without, writing takes a fraction of the time and the file is larger.
    """

    @abstractmethod
    def __init__(
        self,
        path: Path,
        columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        metadata: str,
        tree: str,
        compress: bool = True,
    ) -> None: ...

    @abstractmethod
    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows, arrays of shape (m, *shape)."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is left."""

    @abstractmethod
    def close(self) -> None:
        """Release the file, finished or not."""

    def __enter__(self) -> Self:
        """Give the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and close; after an error only close, since the file is going to be removed."""
        if error is None:
            try:
                self.finish()
            finally:
                self.close()
            return
        try:
            self.close()
        except Exception:
            # The first error is the one to report; a full disk makes closing fail again.
            return


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one DataError that names `path`.

    Raises
    ------
    DataError
        The file is missing, not of this format, truncated or corrupt.
    """
    try:
        yield
    except (ParhelionError, MemoryError):
        raise
    except PermissionError as error:
        msg = f"{path}: no permission to read it"
        raise DataError(msg) from error
    except Exception as error:
        # The libraries raise OSError, ValueError, KeyError, zlib.error and more for the same cause: a bad file.
        detail = " ".join(str(error).split())[:160]
        msg = (
            f"{path}: cannot be read as {what}; it is truncated, corrupt or of another format "
            f"({type(error).__name__}: {detail})"
        )
        raise DataError(msg) from error


def regular(path: Path, name: str, counts: npt.NDArray[np.integer], start: int) -> int:
    """Common number of elements of a jagged column's rows.

    Raises
    ------
    DataError
        The rows have different numbers of elements.
    """
    if len(counts) and (counts != counts[0]).any():
        row = int(np.argmax(counts != counts[0]))
        msg = (
            f"{path}: column {name}, row {start + row}: {counts[row]} elements where row {start} has {counts[0]}; "
            "a field needs the same number in every row"
        )
        raise DataError(msg)
    return int(counts[0]) if len(counts) else 0


def one_of(path: Path, kind: str, names: Sequence[str], wanted: str | None) -> str:
    """Choose the tree: the wanted one, or the only one.

    Raises
    ------
    DataError
        There is none, there are several and none was named, or the named one does not exist.
    """
    listed = ", ".join(names)
    if not names:
        msg = f"{path}: there is no {kind} in the file"
        raise DataError(msg)
    if wanted is None and len(names) > 1:
        msg = f"{path}: there are {len(names)} {kind}s ({listed}); name one with the option tree"
        raise DataError(msg)
    if wanted is not None and wanted not in names:
        msg = f"{path}: there is no {kind} {wanted}; there are {listed}"
        raise DataError(msg)
    return names[0] if wanted is None else wanted
