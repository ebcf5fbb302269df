"""What `write` stores beside the rows, so that `read` gives the identical sample back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parhelion.errors import DataError, WriteError
from parhelion.io.base import METADATA_KEY
from parhelion.io.layout import FieldSource, Layout
from parhelion.sample import Field, Schema

_VERSION = 1
_ROLES = ("condition", "response", "extra")


@dataclass(frozen=True)
class FileMetadata:
    """Content of a file's metadata text.

    Attributes
    ----------
    layout
        Where fields, weight, event id and group stand.
    provenance
        Free JSON: seeds, versions, commands.
    """

    layout: Layout
    provenance: dict[str, Any]


def layout_for(schema: Schema) -> Layout:
    """Layout under which `write` stores samples of a schema.

    Column names are those of the fields, reduced to letters, digits and underscores, since ROOT and HDF5 give other
    characters a meaning.
    """
    taken = {METADATA_KEY, "weight", "event_id", "group"}
    names: dict[str, str] = {}
    for field in schema.fields:
        base = re.sub(r"\W", "_", field.name, flags=re.ASCII) or "_"
        name, number = base, 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        names[field.name] = name
    return Layout(
        condition=tuple(_source(f, names[f.name]) for f in schema.condition),
        response=tuple(_source(f, names[f.name]) for f in schema.response),
        extra=tuple(_source(f, names[f.name]) for f in schema.extra),
        weight="weight",
        event_id=("event_id",),
        group=("group",),
    )


def _source(field: Field, column: str) -> FieldSource:
    return FieldSource(field, (column,), field.unit or None)


def encode(layout: Layout, provenance: Mapping[str, Any]) -> str:
    """Metadata text of a file.

    Raises
    ------
    WriteError
        The provenance is not JSON.
    """
    fields = [
        {
            "role": role,
            "name": s.field.name,
            "unit": s.field.unit,
            "shape": list(s.field.shape),
            "kind": s.field.kind,
            "values": [float(v) for v in s.field.values],
            "labels": list(s.field.labels),
            "column": s.columns[0],
        }
        for role in _ROLES
        for s in getattr(layout, role)
    ]
    content = {
        METADATA_KEY: _VERSION,
        "fields": fields,
        "weight": layout.weight,
        "event_id": layout.event_id[0],
        "group": layout.group[0],
        "provenance": dict(provenance),
    }
    try:
        return json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"provenance: expected JSON (text, finite numbers, lists, mappings), got something else ({error})"
        raise WriteError(msg) from None


def decode(text: str | None, path: Path) -> FileMetadata:
    """Undo `encode`.

    Raises
    ------
    DataError
        There is no metadata (a foreign file), or it is damaged or of a newer version.
    """
    if text is None:
        msg = (
            f"{path}: the file does not say which columns are condition and response; "
            f"run `parhelion init {path}` and edit the study file that it writes, or give a layout"
        )
        raise DataError(msg)
    try:
        content = json.loads(text)
        version = content[METADATA_KEY]
        if version != _VERSION:
            msg = f"{path}: written by another version (format {version}, expected {_VERSION}); update parhelion"
            raise DataError(msg)
        roles: dict[str, list[FieldSource]] = {role: [] for role in _ROLES}
        for item in content["fields"]:
            field = Field(
                name=item["name"],
                unit=item["unit"],
                shape=tuple(item["shape"]),
                kind=item["kind"],
                values=tuple(item["values"]),
                labels=tuple(item["labels"]),
            )
            roles[item["role"]].append(_source(field, item["column"]))
        layout = Layout(
            condition=tuple(roles["condition"]),
            response=tuple(roles["response"]),
            extra=tuple(roles["extra"]),
            weight=content["weight"],
            event_id=(content["event_id"],),
            group=(content["group"],),
        )
        return FileMetadata(layout, dict(content["provenance"]))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: the metadata in the file is damaged ({error}); give a layout to read it all the same"
        raise DataError(msg) from error
