"""The manifest of a package: what the graph is, for whom, and how far it may be trusted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.sample import Field, Schema

VERSION = 1
MANIFEST_KEY, GOLDEN_KEY, CHECKSUM_KEY = "parhelion.manifest", "parhelion.golden", "parhelion.checksum"

_DIGITS = 64
_EMPTY_CHECKSUM = "0" * _DIGITS
# In the file, the value follows its key: tag of the second field of a map entry, and its length.
_BEFORE_CHECKSUM = CHECKSUM_KEY.encode() + bytes([0x12, _DIGITS])
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


@cache
def schema() -> dict[str, Any]:
    """JSON schema of the manifest."""
    text = Path(__file__).with_name("manifest.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def check(value: Any, rules: Mapping[str, Any] | None = None, where: str = "manifest") -> None:
    """Hold plain data against the schema, or against a part of it (the keywords that the schema uses).

    Raises
    ------
    DataError
        A key is missing, or a value is of another type or not allowed; the sentence names it.
    """
    rules = schema() if rules is None else rules
    if "$ref" in rules:
        rules = schema()["$defs"][rules["$ref"].rsplit("/", 1)[1]]
    names = rules.get("type", [])
    wanted = tuple(t for name in ([names] if isinstance(names, str) else names) for t in _TYPES[name])
    if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
        msg = f"{where}: expected {names}, got {json.dumps(value)[:60]}"
        raise DataError(msg)
    if "enum" in rules and value not in rules["enum"]:
        msg = f"{where}: {value!r} is not known; expected {', '.join(map(repr, rules['enum']))}"
        raise DataError(msg)
    if "minimum" in rules and value < rules["minimum"]:
        msg = f"{where}: {value} is below {rules['minimum']}"
        raise DataError(msg)
    if isinstance(value, dict):
        for key in rules.get("required", []):
            if key not in value:
                msg = f"{where}: {key} is missing"
                raise DataError(msg)
        for key, part in rules.get("properties", {}).items():
            if key in value:
                check(value[key], part, f"{where}, {key}")
    if isinstance(value, list) and "items" in rules:
        for i, item in enumerate(value):
            check(item, rules["items"], f"{where}[{i}]")


def decode(text: str) -> dict[str, Any]:
    """Manifest of its JSON.

    Raises
    ------
    DataError
        The JSON is damaged, the manifest of another version, or not as its schema says.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        msg = "its manifest is damaged"
        raise DataError(msg) from error
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version != VERSION:
        what, way = ("a newer", "update parhelion") if version > VERSION else ("an older", "export it again")
        msg = f"its manifest is of {what} version ({version}; this parhelion reads {VERSION}): {way}"
        raise DataError(msg)
    check(found)
    manifest: dict[str, Any] = found
    return manifest


def dump(manifest: Mapping[str, Any]) -> str:
    """JSON of a manifest."""
    return json.dumps(manifest, sort_keys=True, allow_nan=False)


def fields_to_list(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
    """Fields as plain data."""
    return [
        {
            "name": f.name,
            "unit": f.unit,
            "shape": list(f.shape),
            "kind": f.kind,
            "values": [float(v) for v in f.values],
            "labels": list(f.labels),
        }
        for f in fields
    ]


def schema_of(manifest: Mapping[str, Any]) -> Schema:
    """Condition and response fields of a manifest."""

    def fields(role: str) -> tuple[Field, ...]:
        return tuple(
            Field(
                entry["name"],
                entry["unit"],
                tuple(entry["shape"]),
                entry["kind"],
                tuple(entry.get("values", ())),
                tuple(entry.get("labels", ())),
            )
            for entry in manifest[role]
        )

    return Schema(fields("condition"), fields("response"))


@dataclass(frozen=True)
class Golden:
    """Rows with their answers, stored in the file: every runtime can replay them.

    Attributes
    ----------
    seed, stage
        Key of the noise.
    event_id
        Shape (n,).
    condition
        Shape (n, c), float64.
    noise
        Shape (n, k), float32: the bits that (seed, event id, stage) must give.
    response
        Shape (n, d), float32: what the training framework answered.
    """

    seed: int
    stage: int
    event_id: npt.NDArray[np.int64]
    condition: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float32]
    response: npt.NDArray[np.float32]

    def encode(self) -> str:
        """JSON with the arrays in base64, little-endian, row by row."""
        arrays = {"event_id": "<i8", "condition": "<f8", "noise": "<f4", "response": "<f4"}
        made: dict[str, Any] = {"seed": str(self.seed), "stage": self.stage, "rows": len(self.event_id)}
        for name, kind in arrays.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=kind)
            made[name] = {
                "dtype": kind,
                "shape": list(array.shape),
                "data": base64.b64encode(array.tobytes()).decode("ascii"),
            }
        return json.dumps(made)

    @classmethod
    def decode(cls, text: str) -> Golden:
        """Undo `encode`.

        Raises
        ------
        DataError
            The block is damaged.
        """
        try:
            found = json.loads(text)

            def array(name: str) -> Any:
                entry = found[name]
                raw = np.frombuffer(base64.b64decode(entry["data"], validate=True), dtype=entry["dtype"])
                return raw.reshape(entry["shape"])

            return cls(
                int(found["seed"]),
                int(found["stage"]),
                *(array(n) for n in ("event_id", "condition", "noise", "response")),
            )
        except (ValueError, KeyError, TypeError) as error:
            msg = "its golden block is damaged"
            raise DataError(msg) from error


def seal(content: bytes) -> bytes:
    """Put the checksum into the bytes of a package that was written with an empty one.

    The checksum is the SHA-256 of all bytes of the file with the checksum's own 64 digits taken as 0.
    """
    place = _place(content)
    digest = hashlib.sha256(content[:place] + _EMPTY_CHECKSUM.encode() + content[place + _DIGITS :]).hexdigest()
    return content[:place] + digest.encode() + content[place + _DIGITS :]


def checksum(content: bytes) -> str:
    """The checksum of a package's bytes, compared with the one that is written in it.

    Raises
    ------
    DataError
        There is none, or it is another: the file was edited or damaged.
    """
    sealed = seal(content)
    place = _place(content)
    if sealed != content:
        msg = "its content is not what was exported (the checksum differs): take an untouched copy, or export it again"
        raise DataError(msg)
    return content[place : place + _DIGITS].decode()


def empty_checksum() -> str:
    """What stands for the checksum before `seal`."""
    return _EMPTY_CHECKSUM


def _place(content: bytes) -> int:
    found = content.find(_BEFORE_CHECKSUM)
    if found < 0 or content.find(_BEFORE_CHECKSUM, found + 1) >= 0:
        msg = "it has no checksum of a package"
        raise DataError(msg)
    return found + len(_BEFORE_CHECKSUM)
