"""Samples to files: in chunks, atomically, with all that reading needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, WriteError
from parhelion.files import atomic_path
from parhelion.io.formats import PathLike, writer_for
from parhelion.io.layout import Layout
from parhelion.io.metadata import encode, layout_for
from parhelion.sample import Sample

Array = npt.NDArray[Any]
Columns = dict[str, Array]

_PIECE_BYTES = 1 << 24
_PIECE_ROWS = 200_000


def write(
    samples: Sample | Iterable[Sample],
    path: PathLike,
    *,
    tree: str = "tracks",
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    compress: bool = True,
) -> int:
    """Write a sample, or a stream of samples of one schema, to a file; the suffix says which format.

    The file holds one column a field, the columns ``weight``, ``event_id`` and ``group``, and the schema, so
    that `read` gives the identical sample back without a layout. At most some 16 MB of rows are in memory.

    Parameters
    ----------
    samples
        The rows.
    path
        ``.root``, ``.h5``, ``.hdf5``, ``.parquet`` or ``.npz``.
    tree
        Name of the tree in a ROOT file; other formats have none.
    provenance
        Free JSON to keep with the rows: seeds, versions, commands.
    overwrite
        Replace a file that exists.
    compress
        Compress the columns; without, writing takes a fraction of the time and the file is larger.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    WriteError
        The file exists, the suffix is unknown, the disk is full or the place not writable. Nothing is left behind.
    DataError
        There are no rows, the samples of the stream differ in schema or types, or the format cannot hold a type.
    """
    target = Path(path)
    writer = writer_for(target)
    if target.exists() and not overwrite:
        msg = f"{target}: exists already; choose another name, remove it, or ask to overwrite it"
        raise WriteError(msg)
    stream = iter((samples,) if isinstance(samples, Sample) else samples)
    first = next((s for s in stream if len(s)), None)
    if first is None:
        msg = f"{target}: there are no rows to write"
        raise DataError(msg)
    layout = layout_for(first.schema)
    columns = _columns(first, layout)
    types = {name: (values.dtype, values.shape[1:]) for name, values in columns.items()}
    metadata = encode(layout, provenance or {})
    rows = 0
    with atomic_path(target) as temporary, writer(temporary, types, metadata, tree, compress) as out:
        parts = chain([columns], (_checked(s, first, layout, types) for s in stream))
        for piece in _pieces(parts, types):
            out.append(piece)
            rows += len(piece["event_id"])
    return rows


def _columns(sample: Sample, layout: Layout) -> Columns:
    """All columns of a sample as they are stored: native byte order, C order."""
    columns = {s.columns[0]: sample.columns[s.field.name] for s in layout.sources}
    columns |= {"weight": sample.weight, "event_id": sample.event_id, "group": sample.group}
    return {n: np.ascontiguousarray(v, dtype=v.dtype.newbyteorder("=")) for n, v in columns.items()}


def _checked(
    sample: Sample, first: Sample, layout: Layout, types: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
) -> Columns:
    if sample.schema != first.schema:
        msg = f"{sample.source} and {first.source} declare different fields and cannot go into one file"
        raise DataError(msg)
    columns = _columns(sample, layout)
    for name, values in columns.items():
        if values.dtype != types[name][0]:
            msg = f"column {name}: a later part of the stream has type {values.dtype}, the first had {types[name][0]}"
            raise DataError(msg)
    return columns


def _pieces(parts: Iterable[Columns], types: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> Iterator[Columns]:
    """Cut and join parts to pieces of bounded size, so that baskets and row groups are neither tiny nor huge."""
    row_bytes = sum(dtype.itemsize * int(np.prod(shape, dtype=int)) for dtype, shape in types.values())
    size = max(1, min(_PIECE_ROWS, _PIECE_BYTES // row_bytes))
    waiting: list[Columns] = []
    count = 0
    for part in parts:
        rows = len(part["event_id"])
        start = 0
        while start < rows:
            stop = min(rows, start + size - count)
            waiting.append({name: values[start:stop] for name, values in part.items()})
            count += stop - start
            start = stop
            if count == size:
                yield _join(waiting)
                waiting, count = [], 0
    if waiting:
        yield _join(waiting)


def _join(parts: list[Columns]) -> Columns:
    return parts[0] if len(parts) == 1 else {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
