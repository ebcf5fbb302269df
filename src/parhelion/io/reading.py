"""Files to samples: whole, in chunks, and what columns there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.io.base import ColumnInfo, Reader
from parhelion.io.formats import PathLike, expand, open_reader
from parhelion.io.identity import DuplicateGuard, combine
from parhelion.io.layout import FieldSource, Layout
from parhelion.io.metadata import decode
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
        return _described(reader, Path(path))


def _described(reader: Reader, path: Path) -> list[ColumnInfo]:
    """Columns of an open file with the units that its metadata declares, if it can be understood."""
    infos, text = reader.columns(), reader.metadata()
    try:
        sources = decode(text, path).layout.sources if text is not None else ()
    except DataError:
        return infos
    units = {s.columns[0]: s.field.unit for s in sources}
    return [replace(info, unit=units.get(info.name, info.unit)) for info in infos]


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

    A chunk is what a selection leaves of at most `chunk_rows` rows of one file; empty chunks are skipped.
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
            plan = _Plan(reader, path, layout, selections)
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

    Duplicate event ids are found within a chunk only, as each sample sees its own. A selection may leave nothing; then
    nothing is yielded.

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
        plan = _Plan(reader, Path(path), layout, selections)
        yield from plan.samples(reader, chunk_rows, first_row, None, between=(start, stop))


class _Plan:
    """How the chunks of one file become samples; checks what can be checked before reading."""

    def __init__(self, reader: Reader, path: Path, layout: Layout | None, selections: Sequence[Selection]) -> None:
        self.path = path
        self.layout: Layout = layout or decode(reader.metadata(), path).layout
        self.selections = list(selections)
        if self.layout.selection:
            self.selections.insert(0, Selection(self.layout.selection))
        infos = {info.name: info for info in _described(reader, path)}
        for selection in self.selections:
            selection.require(infos, str(path))
        self.names = list(dict.fromkeys([*self.layout.columns, *(n for s in self.selections for n in sorted(s.names))]))
        self._check_columns(infos)
        self.factors = {s.field.name: [s.factor(infos[c].unit) for c in s.columns] for s in self.layout.sources}
        self.rows = infos[self.names[0]].rows
        if self.rows == 0:
            msg = f"{path}: there are no rows in the file"
            raise DataError(msg)

    def _check_columns(self, infos: Mapping[str, ColumnInfo]) -> None:
        for name in self.names:
            if name not in infos:
                msg = f"{self.path}: column {name} is missing; the columns are {', '.join(infos) or 'none'}"
                raise DataError(msg)
            if not infos[name].numeric:
                msg = f"{self.path}: column {name} holds {infos[name].dtype} values, expected numbers"
                raise DataError(msg)
            if infos[name].rows != infos[self.names[0]].rows:
                first = infos[self.names[0]]
                msg = f"{self.path}: column {name} has {infos[name].rows} rows, column {first.name} has {first.rows}"
                raise DataError(msg)

    def samples(
        self,
        reader: Reader,
        chunk_rows: int,
        first_row: int,
        guard: DuplicateGuard | None,
        between: tuple[int, int] | None = None,
    ) -> Iterator[Sample]:
        """Samples of at most `chunk_rows` rows; `first_row` rows stood in the files before."""
        start = 0 if between is None else between[0]
        chunks = reader.chunks(self.names, chunk_rows)
        for chunk in chunks if between is None else reader.between(self.names, chunk_rows, *between):
            size = len(chunk[self.names[0]])
            keep = np.ones(size, dtype=bool)
            for selection in self.selections:
                keep &= selection.mask(chunk, size)
            rows = start + np.flatnonzero(keep)
            start += size
            if not len(rows):
                continue
            kept = chunk if len(rows) == size else {name: values[keep] for name, values in chunk.items()}
            yield self._sample(kept, rows, first_row, guard)

    def _sample(
        self, chunk: Mapping[str, Array], rows: RowArray, first_row: int, guard: DuplicateGuard | None
    ) -> Sample:
        fields = {s.field.name: self._field(s, chunk, rows) for s in self.layout.sources}
        weight = None
        if self.layout.weight is not None:
            weight = self._scalar(self.layout.weight, "weight", chunk)
            self._require_finite(weight, self.layout.weight, "weight", rows)
        ids = rows + first_row
        if self.layout.event_id:
            ids = self._ids(self.layout.event_id, "event id", chunk, rows)
            again = None if guard is None else guard.first_duplicate(ids)
            if again is not None:
                names = ", ".join(self.layout.event_id)
                msg = (
                    f"{self.path}: column {names}, row {rows[again]}: the event id occurs more than once; choose "
                    "columns that are unique together, or leave them out to number the rows"
                )
                raise DataError(msg)
        group = self._ids(self.layout.group, "group", chunk, rows) if self.layout.group else None
        return Sample(self.layout.schema, fields, weight=weight, event_id=ids, group=group, source=str(self.path))

    def _field(self, source: FieldSource, chunk: Mapping[str, Array], rows: RowArray) -> Array:
        field, parts = source.field, []
        for name, factor in zip(source.columns, self.factors[field.name], strict=True):
            values = chunk[name]
            self._require_finite(values, name, f"field {field.name}", rows)
            parts.append(_scaled(values, factor))
        if len(parts) > 1:
            parts = [self._flat(v, n, field.name) for v, n in zip(parts, source.columns, strict=True)]
            values = np.stack(parts, axis=1).reshape(len(rows), *field.shape)
        else:
            values = parts[0]
            if values.shape[1:] != field.shape:
                if int(np.prod(values.shape[1:], dtype=int)) != field.width:
                    msg = (
                        f"{self.path}: column {source.columns[0]}: a row has shape {values.shape[1:]}, "
                        f"expected {field.shape} for field {field.name}"
                    )
                    raise DataError(msg)
                values = values.reshape(len(rows), *field.shape)
        if field.kind == "category":
            bad = ~np.isin(values, np.asarray(field.values))
            if bad.any():
                at = int(np.argmax(bad))
                allowed = ", ".join(f"{v:g}" for v in field.values)
                msg = (
                    f"{self.path}: column {source.columns[0]} (field {field.name}), row {rows[at]}: "
                    f"{values[at]:g} is not one of {allowed}; select the others away or declare this value"
                )
                raise DataError(msg)
        return values

    def _flat(self, values: Array, name: str, what: str) -> Array:
        if int(np.prod(values.shape[1:], dtype=int)) != 1:
            msg = f"{self.path}: column {name}: a row has shape {values.shape[1:]}, expected one number for {what}"
            raise DataError(msg)
        return values.reshape(len(values))

    def _scalar(self, name: str, what: str, chunk: Mapping[str, Array]) -> Array:
        return self._flat(chunk[name], name, what)

    def _ids(self, names: Sequence[str], what: str, chunk: Mapping[str, Array], rows: RowArray) -> RowArray:
        parts = []
        for name in names:
            values = self._scalar(name, what, chunk)
            if values.dtype.kind == "f":
                # Doubles beyond 2^53 skip integers, so two different ids could have become one.
                bad = ~((values == np.floor(values)) & (np.abs(values) < 2.0**53))
                if bad.any():
                    at = int(np.argmax(bad))
                    msg = f"{self.path}: column {name} ({what}), row {rows[at]}: {values[at]} is not an integer"
                    raise DataError(msg)
            parts.append(values.astype(np.int64))
        return combine(parts)

    def _require_finite(self, values: Array, name: str, what: str, rows: RowArray) -> None:
        if values.dtype.kind != "f":
            return
        bad = np.any(~np.isfinite(values).reshape(len(values), -1), axis=1)
        if not bad.any():
            return
        msg = (
            f"{self.path}: column {name} ({what}), row {rows[int(np.argmax(bad))]}: NaN or infinity, as in "
            f"{int(bad.sum())} of the {len(bad)} rows around it; remove such rows with the selection isfinite({name})"
        )
        raise DataError(msg)


def _scaled(values: Array, factor: float) -> Array:
    """Values times a factor in their own precision; integers become double, unless the factor is 1."""
    if factor == 1.0:
        return values
    product = values.astype(np.float64) * factor
    return product.astype(values.dtype) if values.dtype.kind == "f" else product
