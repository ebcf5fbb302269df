"""Parquet files through pyarrow: vectors and images are fixed-size lists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parhelion.errors import DataError
from parhelion.io.base import METADATA_KEY, Array, Chunks, ColumnInfo, Reader, Writer, readable, regular

_WHAT = "a Parquet file"
_BUFFER_BYTES = 1 << 20


class ParquetReader(Reader):
    """Reads top-level columns."""

    def __init__(self, path: Path, tree: str | None) -> None:
        import pyarrow.parquet as pq

        super().__init__(path, tree)
        with readable(path, _WHAT):
            self._file = pq.ParquetFile(
                path, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
            )
            self._schema = self._file.schema_arrow
            self._shapes = {f.name: _stored_shape(f) for f in self._schema}

    def columns(self) -> list[ColumnInfo]:
        """Columns with the shape and unit that `write` left, if any."""
        rows = self._file.metadata.num_rows
        infos = []
        with readable(self.path, _WHAT):
            for field in self._schema:
                dtype, shape = _describe(field.type)
                unit = (field.metadata or {}).get(b"unit")
                shape = self._shapes[field.name] or shape
                infos.append(ColumnInfo(field.name, dtype, shape, rows, None if unit is None else unit.decode()))
        return infos

    def metadata(self) -> str | None:
        """The schema's metadata entry that `write` left."""
        text = (self._schema.metadata or {}).get(METADATA_KEY.encode())
        with readable(self.path, _WHAT):
            return None if text is None else text.decode()

    def chunks(self, names: Sequence[str], rows: int) -> Chunks:
        """Columns in pieces; a list column is accepted if its rows have equal lengths."""
        return self._batches(names, rows, 0, range(self._file.num_row_groups))

    def between(self, names: Sequence[str], rows: int, start: int, stop: int) -> Chunks:
        """Rows `start` to `stop` - 1 in pieces; of the file, only the row groups that hold them are read."""
        ends = np.cumsum([self._file.metadata.row_group(g).num_rows for g in range(self._file.num_row_groups)])
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, stop, side="left"))
        at = int(ends[first - 1]) if first else 0
        for chunk in self._batches(names, rows, at, range(first, min(last + 1, len(ends)))):
            size = len(chunk[names[0]])
            low, high = max(start - at, 0), min(stop - at, size)
            if low < high:
                yield {name: values[low:high] for name, values in chunk.items()}
            at += size
            if at >= stop:
                return

    def _batches(self, names: Sequence[str], rows: int, start: int, groups: Sequence[int]) -> Chunks:
        batches = self._file.iter_batches(batch_size=rows, columns=list(names), row_groups=list(groups))
        while True:
            with readable(self.path, _WHAT):
                batch = next(batches, None)
                if batch is None:
                    return
                chunk = {name: self._to_numpy(name, batch.column(name), start) for name in names}
            yield chunk
            start += batch.num_rows

    def _to_numpy(self, name: str, column: Any, start: int) -> Array:
        shape: tuple[int, ...] = ()
        rows = len(column)
        while _is_list(column.type):
            self._refuse_nulls(name, column, start)
            # A list inside a list is counted by its own index, so only the outermost message has the file's row.
            counts = column.value_lengths().to_numpy(zero_copy_only=False)
            shape = (*shape, regular(self.path, name, counts, start))
            column = column.flatten()
        if column.null_count and not _is_float(column.type):
            self._refuse_nulls(name, column, start)
        values: Array = column.to_numpy(zero_copy_only=False)
        return values.reshape(rows, *(self._shapes[name] or shape))

    def _refuse_nulls(self, name: str, column: Any, start: int) -> None:
        if column.null_count:
            row = start + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            msg = f"{self.path}: column {name}, row {row}: the value is missing (null); remove such rows first"
            raise DataError(msg)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _is_list(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def _is_float(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_floating(kind))


def _describe(kind: Any) -> tuple[str, tuple[int, ...] | None]:
    """Type of one number and shape of a row."""
    import pyarrow.types as pt

    shape: tuple[int, ...] | None = ()
    while _is_list(kind):
        shape = (*shape, kind.list_size) if pt.is_fixed_size_list(kind) and shape is not None else None
        kind = kind.value_type
    if pt.is_string(kind) or pt.is_large_string(kind):
        return "string", shape
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
        return str(np.dtype(kind.to_pandas_dtype())), shape
    return "object", shape


def _stored_shape(field: Any) -> tuple[int, ...] | None:
    text = (field.metadata or {}).get(b"shape")
    return None if text is None else tuple(int(n) for n in json.loads(text))


class ParquetWriter(Writer):
    """Writes one row group an `append`."""

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        metadata: str,
        tree: str,
        compress: bool = True,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = []
        for name, (dtype, shape) in columns.items():
            kind = pa.from_numpy_dtype(dtype)
            extra = {"shape": json.dumps(shape)} if shape else None
            kind = pa.list_(kind, int(np.prod(shape, dtype=int))) if shape else kind
            fields.append(pa.field(name, kind, nullable=False, metadata=extra))
        self._schema = pa.schema(fields, metadata={METADATA_KEY: metadata})
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            write_page_checksum=True,
            **({} if compress else {"compression": "none", "use_dictionary": False}),
        )

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows."""
        import pyarrow as pa

        arrays = []
        for field in self._schema:
            values = np.ascontiguousarray(columns[field.name])
            flat = pa.array(values.reshape(-1))
            wrapped = pa.FixedSizeListArray.from_arrays(flat, field.type.list_size) if values.ndim > 1 else flat
            arrays.append(wrapped.cast(field.type))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        """Nothing is left: closing writes the footer."""

    def close(self) -> None:
        """Write the footer and close the file."""
        self._writer.close()
