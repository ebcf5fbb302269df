"""A study with the user's files in the place of what it learns from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from parhelion import io
from parhelion.checks import check_fields
from parhelion.config import load_study
from parhelion.errors import ConfigError, DataError
from parhelion.sample import Field
from parhelion.sections import FilesSource, SimulatorSource
from parhelion.sources import rows_of
from parhelion.template import quoted


def adapted_study(study: str, path: Path, tree: str | None, out: Path) -> str:
    """Text of a study that learns from a file instead of its own data; all else, comments too, is as it was.

    A file that Parhelion wrote says itself what its columns are; a comment tells if the study needs others. For another
    one the fields of the study's rows are written out, to be given their columns where these have other names.

    Parameters
    ----------
    study
        Name of a study that comes with the package, or path of one.
    path
        The user's file.
    tree
        Tree, if it has several.
    out
        Where the study file will be; the data's path is made relative to it.

    Raises
    ------
    ConfigError
        There is no such study, or it is judged on files of its own.
    DataError
        The file cannot be read, or has no columns.
    """
    loaded = load_study(study)
    source = loaded.config.data.train
    if isinstance(loaded.config.data.test, FilesSource):
        msg = f"{study}: has files of its own to be judged on (data.test); copy it and change its files"
        raise ConfigError(msg)
    stored = io.stored_layout(path, tree=tree)
    lines = [f"files: {json.dumps(os.path.relpath(path.resolve(), out.resolve().parent))}"]
    if tree:
        lines.append(f"tree: {json.dumps(tree)}")
    if stored is not None:
        try:
            check_fields(loaded, stored.schema)
        except ConfigError as error:
            # The place is one in the study as it was.
            reason = str(error).partition(": ")[2]
            lines.append(f"# CHOOSE: the file's fields are not those of this study; change one of them: {reason}")
    else:
        columns = ", ".join(column.name for column in io.columns(path, tree=tree))
        if not columns:
            msg = f"{path}: there are no columns in the file; expected showers or other rows to learn from"
            raise DataError(msg)
        lines += [
            f"# CHOOSE: the file has the columns {columns}. For a field of another name or unit than its column:",
            '#   px: {column: "momentum[0]", unit: GeV, file_unit: MeV}',
        ]
        if isinstance(source, SimulatorSource):
            schema = source.schema_of_rows
        else:
            schema = next(rows_of(source, loaded.folder, chunk_rows=1)).schema
        for role in ("condition", "response", "extra"):
            fields = getattr(schema, role)
            lines += [f"{role}:", *(f"  {quoted(f.name)}: {{{_options(f)}}}" for f in fields)] if fields else []
    before, after = _around(loaded.text)
    return before + "".join(f"    {line}\n" for line in lines) + after


def _options(field: Field) -> str:
    parts = [f"unit: {field.unit}"] if field.unit else []
    if field.shape:
        parts.append(f"shape: {list(field.shape)}")
    if field.kind != "continuous":
        parts.append(f"kind: {field.kind}")
    if field.kind == "category":
        values = ", ".join(f"{json.dumps(field.label_of(value))}: {value:g}" for value in field.values)
        parts.append(f"values: {{{values}}}")
    return ", ".join(parts)


def _around(text: str) -> tuple[str, str]:
    """What stands before and after the value of data.train, which begins on the key's line or below it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in ("data", "train"):
        key, node = next(pair for pair in node.value if pair[0].value == name)
    last = node.end_mark.index
    # A block's mark is where the next key begins, a value's in braces is at its end.
    end = text.rfind("\n", 0, last) + 1 if not node.flow_style else text.find("\n", last) + 1
    return text[: key.end_mark.index] + ":\n", text[end:]
