"""A first study file from the columns of a user's data."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.io import ColumnInfo
from parhelion.io.formats import open_reader

_ROWS = 200_000
_MOST_VALUES = 12
_MEV = 1000.0
_PDG = {11: "e", 13: "mu", 22: "gamma", 111: "pi0", 211: "pi", 310: "K0S", 321: "K", 2112: "n", 2212: "p"}
_WEIGHT = re.compile(r"(^|_)(w|wt|.*s?weights?(_?sw)?)$", re.IGNORECASE)
_IDS = ("runnumber", "run", "eventnumber", "event", "event_id", "eventid", "evt", "lumiblock", "lumi", "group")
_MOMENTUM = re.compile(r"(^|_)(p|pt|px|py|pz|pe|e|et|energy|momentum)(_.*)?$", re.IGNORECASE)
_KINEMATIC = re.compile(rf"{_MOMENTUM.pattern}|(^|_)(eta|phi|theta|ntracks?|charge|pid|pdg|id)(_.*)?$", re.IGNORECASE)
_MASS = re.compile(r"(^|_)(m|mm|mass)$", re.IGNORECASE)
_RESPONSE = re.compile(r"(dll|probnn|pid[ekpm]|rich|reco|response|cell|hit|deposit|score)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


@dataclass
class _Column:
    """What a look at the first rows tells of a column."""

    info: ColumnInfo
    values: npt.NDArray[Any]
    bad_rows: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def whole(self) -> bool:
        return self.info.dtype.startswith(("int", "uint", "bool"))

    @property
    def distinct(self) -> npt.NDArray[Any]:
        return np.unique(self.values)


def study_template(path: Path, tree: str | None, study: Path) -> str:
    """Text of a commented study file for the columns of a file; it can be run as it is.

    Which columns are condition and response, units, categories, weights and ids are guessed from names and from the
    first 200,000 rows.

    Parameters
    ----------
    path
        The user's file.
    tree
        Tree, if it has several.
    study
        Where the study file will be; the data's path is made relative to it.

    Raises
    ------
    DataError
        The file cannot be read, has no rows, or fewer than two columns with numbers that vary.
    """
    infos, columns = _look(path, tree)
    by_name = {c.name: c for c in columns}
    weight = next((c for c in columns if _WEIGHT.search(c.name) and not c.info.shape and c.values.sum() > 0), None)
    ids = [c for n in _IDS for c in columns if c.name.lower() == n and c.whole and not c.info.shape]
    fields = [c for c in columns if c is not weight and c not in ids]
    skipped = {i.name: _reason(i) for i in infos if i.name not in by_name}
    skipped |= {c.name: "the same value in all rows" for c in fields if len(c.distinct) < 2}
    fields = [c for c in fields if c.name not in skipped]
    if len(fields) < 2:
        msg = (
            f"{path}: {len(fields)} columns with numbers that vary, beside ids and weights; a study needs at least one "
            "for the condition and one for the response"
        )
        raise DataError(msg)
    extra = [c for c in fields if _MASS.search(c.name)][: max(0, len(fields) - 2)]
    rest = [c for c in fields if c not in extra]
    response = [c for c in rest if _RESPONSE.search(c.name)] or [c for c in rest if not _is_condition(c)]
    if not response or len(response) == len(rest):
        response = rest[(len(rest) + 1) // 2 :]
    condition = [c for c in rest if c not in response]
    used = [*condition, *response, *extra, *([weight] if weight else [])]
    bad = [c.name for c in used if c.bad_rows]
    selection = " and ".join(f"isfinite({n if _WORD.fullmatch(n) else f'`{n}`'})" for n in bad)
    return _TEMPLATE.format(
        path=" ".join(str(path).split()),
        title=quoted(path.stem.replace("_", " ")),
        file=json.dumps(os.path.relpath(path.resolve(), study.resolve().parent)),
        tree=f"    tree: {json.dumps(tree)}\n"
        if tree
        else "    # tree: DecayTree            # if the file has several\n",
        selection=f"    selection: {json.dumps(selection)}   # rows with NaN or infinity\n"
        if bad
        else '    # selection: "P > 3000 and P < 100000"   # in the file\'s columns and units\n',
        condition=_lines(condition, category=True),
        response=_lines(response, category=False),
        extra=f"    extra:                       # carried along, not learned; data.splot can fit a mass\n"
        f"{_lines(extra, category=False)}"
        if extra
        else "",
        skipped="".join(f"    # left out: {quoted(n)} ({why})\n" for n, why in skipped.items()),
        weight=f"    weight: {quoted(weight.name)}\n"
        if weight
        else "    # weight: probe_sWeight      # signed weights are fine\n",
        event=_identity(ids),
        batch=min(2048, max(1, fields[0].info.rows // 4)),
    )


def _look(path: Path, tree: str | None) -> tuple[list[ColumnInfo], list[_Column]]:
    with open_reader(path, tree) as reader:
        infos = reader.columns()
        chosen = [i for i in infos if i.numeric and i.shape is not None]
        if not chosen or not chosen[0].rows:
            msg = f"{path}: there are no rows in the file" if chosen else f"{path}: no column holds one number a row"
            raise DataError(msg)
        chosen = [i for i in chosen if i.rows == chosen[0].rows]
        parts: list[Mapping[str, npt.NDArray[Any]]] = []
        rows = 0
        for chunk in reader.chunks([i.name for i in chosen], 50_000):
            parts.append(chunk)
            rows += len(chunk[chosen[0].name])
            if rows >= _ROWS:
                break
    columns = []
    for info in chosen:
        values = np.concatenate([p[info.name] for p in parts])
        good = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        columns.append(_Column(info, values[good], int(np.sum(~good))))
    return infos, [c for c in columns if len(c.values)]


def _is_condition(column: _Column) -> bool:
    return bool(_KINEMATIC.search(column.name)) or _is_category(column)


def _is_category(column: _Column) -> bool:
    return column.whole and not column.info.shape and len(column.distinct) <= _MOST_VALUES


def _reason(info: ColumnInfo) -> str:
    if not info.numeric:
        return f"{info.dtype} values"
    return "its length varies from row to row" if info.shape is None else "no finite number, or another number of rows"


def _identity(ids: Sequence[_Column]) -> str:
    """The lines event_id and group: unique together makes an id, shared by several rows makes a group."""
    names = [quoted(c.name) for c in ids]
    listed = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    if not names:
        return "    # event_id: [runNumber, eventNumber]   # unique together; the row number if left out\n"
    rows = np.stack([c.values for c in ids], axis=1)
    if len(np.unique(rows, axis=0)) == len(rows):
        return f"    event_id: {listed}\n"
    return f"    group: {listed}   # rows that share these are not independent\n"


def quoted(name: str) -> str:
    """A name as YAML has it, in quotes where it would be read as something else."""
    plain = _WORD.fullmatch(name) and name.lower() not in _RESERVED
    return name if plain else json.dumps(name)


def _lines(columns: Sequence[_Column], *, category: bool) -> str:
    lines = []
    for column in columns:
        info, options, note = column.info, [f"unit: {json.dumps(column.info.unit or '')}"], ""
        values = column.distinct
        if info.shape:
            options.append(f"shape: {list(info.shape)}")
        if category and _is_category(column):
            labels = ", ".join(f"{json.dumps(_label(int(v)))}: {int(v)}" for v in values)
            options = ["kind: category", f"values: {{{labels}}}"]
        elif column.whole:
            options.append("kind: integer")
        elif not info.unit and _MOMENTUM.search(info.name) and np.median(np.abs(column.values)) > _MEV:
            note = "   # in MeV? then: {unit: GeV, file_unit: MeV}"
        if column.bad_rows:
            note += f"   # NaN or infinity in {column.bad_rows} of the first rows"
        lines.append(f"      {quoted(info.name)}: {{{', '.join(options)}}}{note}\n")
    return "".join(lines)


def _label(code: int) -> str:
    name = _PDG.get(abs(code))
    if name is None:
        return str(code)
    return f"anti-{name}" if code < 0 else name


_TEMPLATE = """\
# A study made from {path}. Lines marked CHOOSE need your decision; the others are good defaults.
# Run it with: parhelion run THIS_FILE
title: {title}
seed: 1

data:
  train:
    kind: files
    files: {file}
{tree}{selection}\
    # CHOOSE: what is known before generation (condition), and what the detailed simulation answers (response).
    # These are guesses: move each field to its place, and delete those that you do not need.
    # For another name or unit than the file's:
    #   P: {{column: probe_P, unit: GeV, file_unit: MeV}}
    # For a label such as a species: pid: {{kind: category, values: {{pi: 211, K: 321}}}}
    condition:
{condition}    response:
{response}{extra}{skipped}{weight}{event}  validation_share: 0.05
  test_share: 0.3              # rows set aside to judge with

surrogate:
  kind: matching               # or: flow, gan, library
  width: 192
  blocks: 2

training:
  seconds: 200                 # or steps: 10000, which gives the same result each time
  batch_size: {batch}
  optimiser: {{kind: adamw, learning_rate: 3.0e-3, betas: [0.9, 0.99], weight_decay: 1.0e-4}}
  schedule: {{kind: cosine, warm_up: 0.05}}

metrics:
  - metric: classifier         # can a classifier tell generated from reference?
  - metric: histograms
  - metric: structure          # exact ties and atoms
  - metric: correlation

requirements:                  # CHOOSE: they make the verdict
  - {{metric: classifier, max: 0.52}}
"""
