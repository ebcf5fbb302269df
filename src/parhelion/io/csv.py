"""CSV files with a header line, read only, through pyarrow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parhelion.errors import DataError
from parhelion.io.base import Array, Chunks, ColumnInfo, Reader, readable

_WHAT = "a CSV file"
_BAD_INTEGER = re.compile(r"In CSV column #(\d+): .*conversion error to (?:int64|bool|null)")


class CsvReader(Reader):
    """Reads columns of integers and real numbers.

    The first block of the file suggests the types; a first pass over the whole file corrects them, so a column that
    has whole numbers in its first thousand rows and 0.5 later is real throughout.
    """

    def __init__(self, path: Path, tree: str | None) -> None:
        super().__init__(path, tree)
        self._types: dict[str, Any] = {}
        self._rows = 0
        with readable(path, _WHAT):
            while not self._settled():
                pass

    def _open(self) -> Any:
        import pyarrow.csv as pc

        options = pc.ReadOptions(use_threads=False)
        convert = pc.ConvertOptions(column_types=self._types)
        return pc.open_csv(self.path, read_options=options, convert_options=convert)

    def _settled(self) -> bool:
        """Read all once; on a number that does not fit its column's type, widen the type and ask for another pass."""
        import pyarrow as pa

        with self._open() as stream:
            schema = stream.schema
            self._rows = 0
            try:
                for batch in stream:
                    self._rows += batch.num_rows
            except pa.ArrowInvalid as error:
                match = _BAD_INTEGER.search(str(error))
                if match is None:
                    raise
                name = schema.names[int(match[1])]
                if self._types.get(name) == pa.float64():
                    raise
                self._types[name] = pa.float64()
                return False
        self._types = {field.name: field.type for field in schema}
        return True

    def columns(self) -> list[ColumnInfo]:
        """Columns of the header line."""
        import pyarrow.types as pt

        return [
            ColumnInfo(
                name,
                "string"
                if not (pt.is_integer(t) or pt.is_floating(t) or pt.is_boolean(t))
                else str(np.dtype(t.to_pandas_dtype())),
                (),
                self._rows,
            )
            for name, t in self._types.items()
        ]

    def metadata(self) -> str | None:
        """A CSV file holds none."""
        return None

    def chunks(self, names: Sequence[str], rows: int) -> Chunks:
        """Columns in pieces."""
        row = 0
        with self._open() as stream:
            while True:
                with readable(self.path, _WHAT):
                    batch = next(stream, None)
                    if batch is None:
                        return
                    arrays = {name: self._to_numpy(name, batch.column(name), row) for name in names}
                for start in range(0, batch.num_rows, rows):
                    yield {name: values[start : start + rows] for name, values in arrays.items()}
                row += batch.num_rows

    def _to_numpy(self, name: str, column: Any, start: int) -> Array:
        import pyarrow.types as pt

        if column.null_count and not pt.is_floating(column.type):
            row = start + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            msg = f"{self.path}: column {name}, row {row}: the value is missing; remove such rows first"
            raise DataError(msg)
        values: Array = column.to_numpy(zero_copy_only=False)
        return values

    def close(self) -> None:
        """Nothing is held open between reads."""
