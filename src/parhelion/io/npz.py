"""NumPy archives: one array a column, read and written in pieces although NumPy itself loads them whole."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from parhelion.errors import DataError
from parhelion.io.base import METADATA_KEY, Array, Chunks, ColumnInfo, Reader, Writer, readable

_WHAT = "a NumPy archive"
_HEADER_LIMIT = 100_000
_COPY_BYTES = 1 << 20


class NpzReader(Reader):
    """Reads arrays of at least one dimension."""

    def __init__(self, path: Path, tree: str | None) -> None:
        super().__init__(path, tree)
        self._headers: dict[str, tuple[tuple[int, ...], bool, np.dtype[Any]]] = {}
        with readable(path, _WHAT):
            self._zip = zipfile.ZipFile(path)
            for member in self._zip.namelist():
                if member.endswith(".npy"):
                    with self._zip.open(member) as stream:
                        self._headers[member.removesuffix(".npy")] = _read_header(stream)

    def columns(self) -> list[ColumnInfo]:
        """Arrays, one column each."""
        infos = []
        for name, (shape, _, dtype) in self._headers.items():
            if shape:
                kind = str(dtype) if dtype.kind in "biuf" else "string" if dtype.kind in "SU" else "object"
                infos.append(ColumnInfo(name, kind, shape[1:], shape[0]))
        return infos

    def metadata(self) -> str | None:
        """The string array that `write` left."""
        if METADATA_KEY not in self._headers or self._headers[METADATA_KEY][2].kind != "U":
            return None
        with readable(self.path, _WHAT), self._zip.open(f"{METADATA_KEY}.npy") as stream:
            return str(np.lib.format.read_array(stream, allow_pickle=False))

    def chunks(self, names: Sequence[str], rows: int) -> Chunks:
        """Columns in pieces, read along all archive members at once."""
        for name in names:
            shape, fortran, _ = self._headers[name]
            if fortran and len(shape) > 1:
                msg = f"{self.path}: column {name} is stored column by column (Fortran order); save it in C order"
                raise DataError(msg)
        with ExitStack() as stack:
            with readable(self.path, _WHAT):
                streams = {n: stack.enter_context(self._zip.open(f"{n}.npy")) for n in names}
                for stream in streams.values():
                    _read_header(stream)
            total = self._headers[names[0]][0][0]
            for start in range(0, total, rows):
                with readable(self.path, _WHAT):
                    chunk = {n: self._take(n, streams[n], min(rows, total - start)) for n in names}
                yield chunk

    def _take(self, name: str, stream: IO[bytes], rows: int) -> Array:
        shape, _, dtype = self._headers[name]
        count = rows * int(np.prod(shape[1:], dtype=int))
        data = bytearray()
        while len(data) < count * dtype.itemsize:
            piece = stream.read(count * dtype.itemsize - len(data))
            if not piece:
                msg = f"{self.path}: column {name} ends early; the file is truncated"
                raise DataError(msg)
            data += piece
        values = np.frombuffer(data, dtype=dtype).reshape(rows, *shape[1:])
        return values.astype(dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order, type; leaves the stream at the first number."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream, max_header_size=_HEADER_LIMIT)
    return shape, fortran, dtype


class NpzWriter(Writer):
    """Writes each column to a scratch file beside the target, and packs them at the end.

    The header of an array stands first and needs the number of rows, which a stream knows last.
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        metadata: str,
        tree: str,
        compress: bool = True,
    ) -> None:
        self._path, self._columns, self._metadata, self._compress = path, dict(columns), metadata, compress
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{path.stem}.", suffix=".scratch", dir=path.parent))
        self._streams = {n: (self._scratch / str(i)).open("wb") for i, n in enumerate(columns)}
        self._rows = 0

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows."""
        for name, stream in self._streams.items():
            stream.write(np.ascontiguousarray(columns[name]).data)
        self._rows += len(next(iter(columns.values())))

    def finish(self) -> None:
        """Pack the scratch files into the archive."""
        method = zipfile.ZIP_DEFLATED if self._compress else zipfile.ZIP_STORED
        with zipfile.ZipFile(self._path, "w", method, compresslevel=1) as archive:
            with archive.open(f"{METADATA_KEY}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(self._metadata), allow_pickle=False)
            for name, stream in self._streams.items():
                stream.close()
                dtype, shape = self._columns[name]
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (self._rows, *shape),
                }
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry, open(stream.name, "rb") as raw:
                    np.lib.format.write_array_header_2_0(entry, header)
                    shutil.copyfileobj(raw, entry, _COPY_BYTES)

    def close(self) -> None:
        """Close and remove the scratch files."""
        try:
            for stream in self._streams.values():
                stream.close()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
