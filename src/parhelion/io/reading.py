"""Files to samples: whole, in chunks, and what columns there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.io.base import ColumnInfo
from parhelion.io.formats import PathLike, expand, open_reader
from parhelion.io.identity import DuplicateGuard
from parhelion.io.layout import Layout
from parhelion.io.metadata import decode
from parhelion.io.plan import Plan, described
from parhelion.io.selection import Selection
from parhelion.sample import Sample, concatenate

Array = npt.NDArray[Any]
RowArray = npt.NDArray[np.int64]

CHUNK_ROWS = 100_000


def columns(path: PathLike, *, tree: str | None = None) -> list[ColumnInfo]:
    """List the columns of a file with type, shape, unit and number of rows.

    Parameters
    ----------
    path
        One file.
    tree
        Tree (ROOT) or group (HDF5); None if the file has only one.

    Raises
    ------
    DataError
        The file cannot be read, or it has several trees and `tree` is None.
    """
    with open_reader(path, tree) as reader:
        return described(reader, Path(path))


def provenance(path: PathLike, *, tree: str | None = None) -> dict[str, Any]:
    """Provenance that `write` stored in a file.

    Raises
    ------
    DataError
        The file cannot be read, or `write` did not make it.
    """
    with open_reader(path, tree) as reader:
        return decode(reader.metadata(), Path(path)).provenance


def stored_layout(path: PathLike, *, tree: str | None = None) -> Layout | None:
    """Layout that `write` stored in a file; None for a foreign file.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    with open_reader(path, tree) as reader:
        text = reader.metadata()
    return None if text is None else decode(text, Path(path)).layout


def read(
    paths: PathLike | Iterable[PathLike],
    layout: Layout | None = None,
    *,
    tree: str | None = None,
    selection: str | None = None,
    limit: int | None = None,
) -> Sample:
    """Read files into one sample.

    Parameters
    ----------
    paths
        A file, a pattern (``run*.root``), or several of these; they are put together in this order.
    layout
        Which columns become which fields. None for files made by `write`, which say it themselves.
    tree
        Tree (ROOT) or group (HDF5), before that of the layout.
    selection
        Rows to keep, on top of the layout's selection; in the file's columns and units.
    limit
        Stop after so many kept rows.

    Returns
    -------
    Sample
        Rows in the files' order. Event ids are the layout's, or row numbers counted over all files before selection.

    Raises
    ------
    DataError
        A file is missing, empty, damaged or has no rows; a column is missing or does not fit its field; a kept row
        holds NaN, infinity or an unknown category; an event id occurs twice; no row is kept. The message names file,
        column and row.
    """
    files = expand(paths)
    parts = iterate(files, layout, tree=tree, selection=selection, limit=limit)
    sample = concatenate(parts)
    if len(files) > 1:
        sample.source = f"{files[0]} and {len(files) - 1} more"
    return sample


def iterate(
    paths: PathLike | Iterable[PathLike],
    layout: Layout | None = None,
    *,
    chunk_rows: int = CHUNK_ROWS,
    tree: str | None = None,
    selection: str | None = None,
    limit: int | None = None,
) -> Iterator[Sample]:
    """Read files as a stream of samples, never holding more than a chunk.

    A chunk is what a selection leaves of at most `chunk_rows` rows of one file, fewer where these would take more than
    256 MiB; empty chunks are skipped.
    Duplicate event ids are looked for within and across chunks with bounded memory (see
    `parhelion.io.identity.DuplicateGuard`).

    Parameters
    ----------
    paths, layout, tree, selection, limit
        As in `read`.
    chunk_rows
        Rows to read at a time.

    Yields
    ------
    Sample
        At most `chunk_rows` rows.

    Raises
    ------
    DataError
        As in `read`.
    """
    for name, value in (("chunk_rows", chunk_rows), ("limit", limit)):
        if value is not None and value < 1:
            msg = f"{name} is {value}, expected at least 1"
            raise DataError(msg)
    files = expand(paths)
    selections = [Selection(selection)] if selection else []
    guard = DuplicateGuard()
    first_row = kept = 0
    schema = None
    for path in files:
        with open_reader(path, tree or (layout.tree if layout else None)) as reader:
            plan = Plan(reader, path, layout, selections)
            if schema is not None and plan.layout.schema != schema:
                msg = f"{path} and {files[0]} declare different fields and cannot be put together"
                raise DataError(msg)
            schema = plan.layout.schema
            for sample in plan.samples(reader, chunk_rows, first_row, guard):
                part = sample if limit is None else sample.take(slice(0, limit - kept))
                kept += len(part)
                yield part
                if kept == limit:
                    return
            first_row += plan.rows
    if not kept:
        listed = f"{files[0]}" if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
        msg = f"{listed}: the selection keeps none of {first_row} rows; check its units (they are the file's)"
        raise DataError(msg)


def iterate_between(
    path: PathLike,
    layout: Layout | None,
    start: int,
    stop: int,
    *,
    first_row: int = 0,
    chunk_rows: int = CHUNK_ROWS,
    tree: str | None = None,
    selection: str | None = None,
) -> Iterator[Sample]:
    """Read rows `start` to `stop` - 1 of one file as a stream of samples: a share of what `iterate` reads.

    Duplicate event ids are found among these rows only. A selection may leave nothing; then nothing is yielded.

    Parameters
    ----------
    path
        One file.
    layout, chunk_rows, tree, selection
        As in `iterate`.
    start, stop
        Rows of the file, counted before any selection.
    first_row
        Rows in the files before this one; counts where the layout names no event id.

    Raises
    ------
    DataError
        As in `read`.
    """
    selections = [Selection(selection)] if selection else []
    with open_reader(path, tree or (layout.tree if layout else None)) as reader:
        plan = Plan(reader, Path(path), layout, selections)
        yield from plan.samples(reader, chunk_rows, first_row, DuplicateGuard(), between=(start, stop))
