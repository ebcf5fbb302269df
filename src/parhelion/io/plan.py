"""How the columns of one open file become samples, with every check that says what is wrong where."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.io.base import ColumnInfo, Reader
from parhelion.io.identity import DuplicateGuard, combine
from parhelion.io.layout import FieldSource, Layout
from parhelion.io.metadata import decode
from parhelion.io.selection import Selection
from parhelion.sample import Sample

Array = npt.NDArray[Any]
RowArray = npt.NDArray[np.int64]

# Rows of images are large: a chunk ends here even if it has fewer rows than asked for.
_CHUNK_BYTES = 1 << 28
_ELEMENT = re.compile(r"(?P<column>.+)\[(?P<index>\d+)\]")


def described(reader: Reader, path: Path) -> list[ColumnInfo]:
    """Columns of an open file with the units that its metadata declares, if it can be understood."""
    infos, text = reader.columns(), reader.metadata()
    try:
        sources = decode(text, path).layout.sources if text is not None else ()
    except DataError:
        return infos
    units = {s.columns[0]: s.field.unit for s in sources}
    return [replace(info, unit=units.get(info.name, info.unit)) for info in infos]


class Plan:
    """How the chunks of one file become samples; checks what can be checked before reading."""

    def __init__(self, reader: Reader, path: Path, layout: Layout | None, selections: Sequence[Selection]) -> None:
        self.path = path
        self.layout: Layout = layout or decode(reader.metadata(), path).layout
        self.selections = list(selections)
        if self.layout.selection:
            self.selections.insert(0, Selection(self.layout.selection))
        infos = {info.name: info for info in described(reader, path)}
        for selection in self.selections:
            selection.require(infos, str(path))
        self.elements = self._elements(infos)
        wanted = [*self.layout.columns, *(n for s in self.selections for n in sorted(s.names))]
        self.names = list(dict.fromkeys(self.elements[n][0] if n in self.elements else n for n in wanted))
        self._check_columns(infos)
        infos |= {name: replace(infos[column], name=name, shape=()) for name, (column, _) in self.elements.items()}
        self.factors = {s.field.name: [s.factor(infos[c].unit) for c in s.columns] for s in self.layout.sources}
        self.most_rows = self._most_rows(infos)
        self.rows = infos[self.names[0]].rows
        if self.rows == 0:
            msg = f"{path}: there are no rows in the file"
            raise DataError(msg)

    def _elements(self, infos: Mapping[str, ColumnInfo]) -> dict[str, tuple[str, int]]:
        """Columns of the layout that are elements of a vector column, ``momentum[0]``: its name and the index."""
        found = {}
        for name in self.layout.columns:
            match = None if name in infos else _ELEMENT.fullmatch(name)
            if match is None or match["column"] not in infos:
                continue
            shape, index = infos[match["column"]].shape, int(match["index"])
            width = None if shape is None else int(np.prod(shape, dtype=int))
            if width is not None and index >= width:
                msg = f"{self.path}: column {match['column']} has {width} elements a row, so there is no {name}"
                raise DataError(msg)
            found[name] = (match["column"], index)
        return found

    def _most_rows(self, infos: Mapping[str, ColumnInfo]) -> int:
        """Rows that make a chunk of the largest size."""
        sizes = [
            np.dtype(infos[name].dtype).itemsize * int(np.prod(infos[name].shape or (), dtype=int))
            for name in self.names
        ]
        return max(1, _CHUNK_BYTES // max(sum(sizes), 1))

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
        start, at_a_time = 0 if between is None else between[0], min(chunk_rows, self.most_rows)
        chunks = (
            reader.chunks(self.names, at_a_time) if between is None else reader.between(self.names, at_a_time, *between)
        )
        # Closed here and now if a row is refused: the archive's members must not stay open behind a traceback.
        with closing(chunks):
            for chunk in chunks:
                size = len(chunk[self.names[0]])
                rows = start + np.flatnonzero(self._kept(chunk, size))
                start += size
                if not len(rows):
                    continue
                inside = rows - (start - size)
                kept = chunk if len(rows) == size else {name: values[inside] for name, values in chunk.items()}
                for name in self.elements:
                    kept[name] = self._element(name, kept, rows)
                sample = self._sample(kept, rows, first_row, guard)
                if self.layout.check is not None:
                    self.layout.check(sample)
                yield sample

    def _kept(self, chunk: Mapping[str, Array], size: int) -> npt.NDArray[np.bool_]:
        keep = np.ones(size, dtype=bool)
        for selection in self.selections:
            keep &= selection.mask(chunk, size)
        return keep

    def _element(self, name: str, chunk: Mapping[str, Array], rows: RowArray) -> Array:
        column, index = self.elements[name]
        values = chunk[column].reshape(len(rows), -1)
        if index >= values.shape[1]:
            msg = f"{self.path}: column {column} has {values.shape[1]} elements in row {rows[0]}, so there is no {name}"
            raise DataError(msg)
        return values[:, index]

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
                if not _same_order(values.shape[1:], field.shape):
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


def _same_order(stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether numbers of one shape stand in the order of the other: equal but for axes of length 1, or one is flat.

    Other shapes of as many numbers have their axes exchanged, and would be scrambled.
    """
    first, second = (tuple(n for n in shape if n != 1) for shape in (stored, wanted))
    return first == second or (min(len(first), len(second)) == 1 and math.prod(first) == math.prod(second))


def _scaled(values: Array, factor: float) -> Array:
    """Values times a factor in their own precision, at least single; integers become double, unless it is 1."""
    if factor == 1.0:
        return values
    product = values.astype(np.float64) * factor
    # Half precision ends at 65,504, and loses digits below 6e-5.
    return product.astype(np.result_type(values.dtype, np.float32)) if values.dtype.kind == "f" else product
