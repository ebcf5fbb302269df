"""Which columns of any file give a surrogate its conditions, and which travel along."""

from __future__ import annotations

import os
from collections.abc import Sequence

from parhelion import io
from parhelion.errors import ConfigError, DataError
from parhelion.io import ColumnInfo, FieldSource, Layout
from parhelion.sample import Field, Schema

ROW, ALL = "row", "all"


def condition_layout(
    schema: Schema,
    path: str | os.PathLike[str],
    *,
    tree: str | None = None,
    event_id: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Layout:
    """Layout that reads a surrogate's conditions, and all other columns with numbers as extra fields.

    Conditions are found by name. Where the file declares their unit they are converted; where it does not they must be
    in the surrogate's. In a file of another program, columns called ``weight``, ``event_id`` and ``group`` are taken
    for that.

    Parameters
    ----------
    schema
        The surrogate's fields; columns named like its responses are left out, since they are generated.
    path
        The first of the files.
    tree
        Tree (ROOT) or group (HDF5), if the file has several.
    event_id
        Columns that are unique together; ``row`` numbers the rows. None given: what the file says.
    drop
        Other columns to leave out; ``all`` for all of them.

    Raises
    ------
    DataError
        The file cannot be read, or it lacks a condition.
    ConfigError
        A column to drop does not exist, or is a condition.
    """
    infos = {info.name: info for info in io.columns(path, tree=tree)}
    stored = io.stored_layout(path, tree=tree)
    known = {s.field.name: s for s in stored.sources} if stored is not None else {}
    condition = tuple(FieldSource(f, known[f.name].columns if f.name in known else ()) for f in schema.condition)
    for source in condition:
        if source.columns[0] not in infos:
            have = ", ".join(infos) or "none"
            msg = f"{path}: condition {source.field.name} is missing; the columns are {have}"
            raise DataError(msg)
    if stored is not None:
        weight, own_id, group = stored.weight, stored.event_id, stored.group
        others = list(known.values())
    else:
        weight = "weight" if _is_scalar(infos.get("weight")) else None
        own_id, group = (
            (name,) if _is_scalar(infos.get(name)) and infos[name].dtype.startswith(("int", "uint")) else ()
            for name in ("event_id", "group")
        )
        others = [FieldSource(_field(info)) for info in infos.values() if info.numeric and info.shape is not None]
    taken = {f.name for f in (*schema.condition, *schema.response)} | {weight, *own_id, *group}
    others = [s for s in others if s.field.name not in taken]
    _check_drop(path, drop, schema, others)
    return Layout(
        condition=condition,
        response=(),
        extra=() if ALL in drop else tuple(s for s in others if s.field.name not in drop),
        weight=weight,
        event_id=() if tuple(event_id) == (ROW,) else tuple(event_id) or own_id,
        group=group,
    )


def _is_scalar(info: ColumnInfo | None) -> bool:
    return info is not None and info.numeric and info.shape == ()


def _field(info: ColumnInfo) -> Field:
    whole = info.dtype.startswith(("int", "uint", "bool"))
    return Field(info.name, info.unit or "", info.shape or (), "integer" if whole else "continuous")


def _check_drop(
    path: str | os.PathLike[str], drop: Sequence[str], schema: Schema, others: Sequence[FieldSource]
) -> None:
    names = [s.field.name for s in others]
    for name in drop:
        if name in (f.name for f in schema.condition):
            msg = f"{path}: {name} is a condition of the surrogate and cannot be dropped"
            raise ConfigError(msg)
        if name != ALL and name not in names:
            msg = f"{path}: there is no other column {name} to drop; there are {', '.join(names) or 'none'}"
            raise ConfigError(msg)
