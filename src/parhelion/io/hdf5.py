"""HDF5 files through h5py: one dataset a column, rows along the first axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from parhelion.errors import DataError
from parhelion.io.base import METADATA_KEY, Array, Chunks, ColumnInfo, Reader, Writer, readable

_WHAT = "an HDF5 file"
_CHUNK_BYTES = 1 << 18


class Hdf5Reader(Reader):
    """Reads the datasets below a group; a compound dataset ``d`` gives columns ``d/member``."""

    def __init__(self, path: Path, tree: str | None) -> None:
        import h5py

        super().__init__(path, tree)
        self._members: dict[str, tuple[str, str | None]] = {}
        with readable(path, _WHAT):
            self._file = h5py.File(path, "r")
            try:
                if tree is not None and not isinstance(self._file.get(tree), h5py.Group):
                    groups = [k for k, v in self._file.items() if isinstance(v, h5py.Group)]
                    msg = f"{path}: there is no group {tree}; there are {', '.join(groups) or 'none'}"
                    raise DataError(msg)
                self._base = self._file if tree is None else self._file[tree]
                self._register(self._base, "")
            except BaseException:
                self._file.close()
                raise

    def _register(self, group: Any, prefix: str) -> None:
        """Note all datasets below a group, in its order."""
        import h5py

        for key, item in group.items():
            name = f"{prefix}{key}"
            if isinstance(item, h5py.Group):
                self._register(item, f"{name}/")
            elif isinstance(item, h5py.Dataset) and item.ndim > 0:
                members = item.dtype.names
                found = {f"{name}/{m}": (name, m) for m in members} if members else {name: (name, None)}
                self._members.update(found)

    def columns(self) -> list[ColumnInfo]:
        """Datasets of at least one dimension, with their ``unit`` attribute."""
        infos = []
        with readable(self.path, _WHAT):
            for name, (dataset, member) in self._members.items():
                data = self._base[dataset]
                dtype = data.dtype if member is None else data.dtype[member]
                shape = (*data.shape[1:], *dtype.shape)
                kind = str(dtype.base) if dtype.base.kind in "biuf" else "string" if dtype.kind in "SU" else "object"
                unit = data.attrs.get("unit")
                infos.append(ColumnInfo(name, kind, shape, len(data), unit if isinstance(unit, str) else None))
        return infos

    def metadata(self) -> str | None:
        """The scalar string dataset that `write` left."""
        import h5py

        with readable(self.path, _WHAT):
            item = self._file.get(METADATA_KEY)
            scalar = isinstance(item, h5py.Dataset) and item.ndim == 0
            return cast(str, item.asstr()[()]) if scalar else None

    def chunks(self, names: Sequence[str], rows: int) -> Chunks:
        """Columns in pieces."""
        return self.between(names, rows, 0, len(self._base[self._members[names[0]][0]]))

    def between(self, names: Sequence[str], rows: int, start: int, stop: int) -> Chunks:
        """Rows `start` to `stop` - 1 in pieces."""
        stop = min(stop, len(self._base[self._members[names[0]][0]]))
        for at in range(start, stop, rows):
            with readable(self.path, _WHAT):
                chunk = {name: self._slice(name, at, min(at + rows, stop)) for name in names}
            yield chunk

    def _slice(self, name: str, start: int, stop: int) -> Array:
        dataset, member = self._members[name]
        data = self._base[dataset]
        values = np.asarray((data if member is None else data.fields(member))[start:stop])
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _KeepsError:
    """A binary file whose writes never raise; the first error is kept for later.

    The HDF5 library crashes the process when it closes a file whose last write failed (disk full), so it must not
    see the failure.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w+b", buffering=0)
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(view):
            try:
                done += self._stream.write(view[done:])
            except OSError as error:
                self.error = error
        return len(view)

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                self._stream.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def readinto(self, buffer: Any) -> int:
        return self._stream.readinto(buffer)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size) or b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        """Unbuffered: nothing to do."""

    def close(self) -> None:
        self._stream.close()


class Hdf5Writer(Writer):
    """Writes extensible, compressed datasets."""

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        metadata: str,
        tree: str,
        compress: bool = True,
    ) -> None:
        import h5py

        self._stream = _KeepsError(path)
        self._file = h5py.File(self._stream, "w", track_order=True)
        # Files for other programs have none.
        if metadata:
            self._file.create_dataset(METADATA_KEY, data=metadata, dtype=h5py.string_dtype())
        self._rows = 0
        for name, (dtype, shape) in columns.items():
            row_bytes = max(dtype.itemsize * int(np.prod(shape, dtype=int)), 1)
            self._file.create_dataset(
                name,
                shape=(0, *shape),
                maxshape=(None, *shape),
                dtype=dtype,
                chunks=(max(_CHUNK_BYTES // row_bytes, 1), *shape),
                **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if compress else {}),
            )

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows."""
        for name, values in columns.items():
            data = self._file[name]
            data.resize(self._rows + len(values), axis=0)
            data[self._rows :] = values
        self._rows += len(next(iter(columns.values())))
        self._raise_kept()

    def finish(self) -> None:
        """Flush the library's caches."""
        self._file.flush()
        self._raise_kept()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._stream.close()
        self._raise_kept()

    def _raise_kept(self) -> None:
        if self._stream.error is not None:
            raise self._stream.error
