"""ROOT files: TTree and RNTuple are read, TTree is written, through uproot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parhelion.errors import DataError, WriteError
from parhelion.io.base import METADATA_KEY, Array, Chunks, ColumnInfo, Reader, Writer, one_of, readable, regular

_WHAT = "a ROOT file"
_RNTUPLE_TYPES = {
    "float": "float32",
    "double": "float64",
    "bool": "bool",
    "char": "int8",
    "std::byte": "uint8",
} | {f"std::{u}int{bits}_t": f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)}
_ARRAY = re.compile(r"std::array<(.+),\s*(\d+)>")


class RootReader(Reader):
    """Reads one TTree or RNTuple."""

    def __init__(self, path: Path, tree: str | None) -> None:
        import uproot

        super().__init__(path, tree)
        with readable(path, _WHAT):
            self._file = uproot.open(path)
            try:
                classes = self._file.classnames(recursive=True, cycle=False)
                trees = [
                    name for name, kind in classes.items() if kind in ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
                ]
                self.tree = one_of(path, "tree", trees, tree)
                self._data = self._file[self.tree]
                self._rntuple = classes[self.tree] == "ROOT::RNTuple"
            except BaseException:
                self._file.close()
                raise

    def columns(self) -> list[ColumnInfo]:
        """Branches or fields that hold data themselves."""
        with readable(self.path, _WHAT):
            rows = int(self._data.num_entries)
            describe = _describe_rntuple if self._rntuple else _describe_branch
            items = self._data.items(recursive=not self._rntuple)
            described = [(name, describe(item)) for name, item in items]
        return [ColumnInfo(name, d[0], d[1], rows) for name, d in described if d is not None]

    def metadata(self) -> str | None:
        """The string object that `write` left beside the tree."""
        with readable(self.path, _WHAT):
            return str(self._file[METADATA_KEY]) if METADATA_KEY in self._file else None

    def chunks(self, names: Sequence[str], rows: int) -> Chunks:
        """Columns in pieces; a jagged column is accepted if its rows have equal lengths."""
        return self.between(names, rows, 0, int(self._data.num_entries))

    def between(self, names: Sequence[str], rows: int, start: int, stop: int) -> Chunks:
        """Rows `start` to `stop` - 1 in pieces."""
        pieces = self._data.iterate(list(names), step_size=rows, library="ak", entry_start=start, entry_stop=stop)
        while True:
            with readable(self.path, _WHAT):
                piece = next(pieces, None)
                if piece is None:
                    return
                chunk = {name: self._to_numpy(name, piece[name], start) for name in names}
            yield chunk
            start += len(piece)

    def _to_numpy(self, name: str, column: Any, start: int) -> Array:
        import awkward as ak

        if column.ndim > 1 and "var" in str(column.type):
            width = regular(self.path, name, ak.to_numpy(ak.num(column, axis=1)), start)
            column = ak.to_numpy(ak.flatten(column, axis=1)).reshape(len(column), width)
        return np.ascontiguousarray(ak.to_numpy(column, allow_missing=False))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _describe_branch(branch: Any) -> tuple[str, tuple[int, ...] | None] | None:
    """Type and row shape of a TTree branch; None for one that only holds others."""
    if len(branch.branches):
        return None
    kind = type(branch.interpretation).__name__
    if kind == "AsDtype":
        dtype = branch.interpretation.to_dtype
        if dtype.names is not None:
            return "object", None
        return str(dtype.base), tuple(dtype.shape)
    if kind == "AsJagged":
        content = branch.interpretation.content
        dtype = getattr(content, "to_dtype", None)
        if dtype is not None and dtype.names is None:
            return str(dtype.base), None
        return "object", None
    return ("string" if kind == "AsStrings" else "object"), None


def _describe_rntuple(field: Any) -> tuple[str, tuple[int, ...] | None]:
    """Type and row shape of an RNTuple field, from the C++ type name that it stores."""
    name = field.typename
    shape: tuple[int, ...] | None = ()
    while match := _ARRAY.fullmatch(name):
        name, shape = match[1].strip(), (*(shape or ()), int(match[2]))
    if name.startswith("std::vector<") and not shape:
        name, shape = name.removeprefix("std::vector<").removesuffix(">").strip(), None
    if name == "std::string":
        return "string", None
    return _RNTUPLE_TYPES.get(name, "object"), shape


class RootWriter(Writer):
    """Writes one TTree; every `append` makes one basket a branch."""

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        metadata: str,
        tree: str,
        compress: bool = True,
    ) -> None:
        import uproot

        for name, (dtype, _) in columns.items():
            if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype == np.float16:
                msg = f"column {name}: ROOT trees do not hold {dtype}; convert it to float32 first"
                raise DataError(msg)
        if not re.fullmatch(r"\w+(/\w+)*", tree) or tree == METADATA_KEY:
            msg = f"tree {tree!r}: expected a name of letters, digits and underscores, other than {METADATA_KEY}"
            raise WriteError(msg)
        self._file = uproot.recreate(path, **({} if compress else {"compression": None}))
        try:
            self._file[METADATA_KEY] = metadata
            branches = {name: np.dtype((dtype, shape)) for name, (dtype, shape) in columns.items()}
            self._tree = self._file.mktree(tree, branches)
        except BaseException:
            self._file.close()
            raise

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows."""
        self._tree.extend(dict(columns))

    def finish(self) -> None:
        """Nothing is left: every append is complete."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
