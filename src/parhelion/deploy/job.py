"""One piece of a large generation: what is to be done, and a task that does a part of it, any number of times."""

from __future__ import annotations

import json
import os
import re
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from parhelion.deploy.chain import Chain, Counts, Step
from parhelion.deploy.generation import OutsidePolicy
from parhelion.deploy.models import cached_model
from parhelion.errors import ConfigError, DataError, WriteError
from parhelion.io import Layout, iterate_between
from parhelion.sample import Sample

CHUNK_ROWS = 65_536
_MAPPING = re.compile(r"(\w+):((?:[-+.\dEe]+=[^,]+)(?:,[-+.\dEe]+=[^,]+)*)")
_RECORD = "record"


@dataclass(frozen=True)
class StepFiles:
    """The files of a step.

    Attributes
    ----------
    paths
        By value of the field `by`; the key None if one file answers for all rows.
    by
        The field whose value chooses, None for one file.
    """

    paths: tuple[tuple[float | None, str], ...]
    by: str | None = None

    @classmethod
    def parse(cls, text: str) -> StepFiles:
        """Step from a path, or from ``FIELD:VALUE=PATH,VALUE=PATH``.

        Raises
        ------
        ConfigError
            A value is no number, or occurs twice.
        """
        match = _MAPPING.fullmatch(text)
        if match is None:
            return cls(((None, text),))
        pairs = [part.split("=", 1) for part in match[2].split(",")]
        try:
            paths = tuple((float(value), path) for value, path in pairs)
        except ValueError:
            msg = f"{text}: expected FIELD:VALUE=PATH,VALUE=PATH with numbers for the values"
            raise ConfigError(msg) from None
        if len(dict(paths)) != len(paths):
            msg = f"{text}: a value has two files, expected one each"
            raise ConfigError(msg)
        return cls(paths, match[1])

    @property
    def name(self) -> str:
        """What to call the step."""
        return ", ".join(Path(path).name for _, path in self.paths)


@dataclass(frozen=True)
class Recipe:
    """Which models answer, in which order: all that a chain is made of, small enough to send to a worker.

    Attributes
    ----------
    steps
        Files of the steps.
    members
        Other versions of the last step, by label.
    keep
        Rows to keep, in the names of conditions and responses.
    checksums
        SHA-256 of each file.
    """

    steps: tuple[StepFiles, ...]
    members: tuple[tuple[str, StepFiles], ...] = ()
    keep: str | None = None
    checksums: tuple[tuple[str, str], ...] = ()

    @property
    def paths(self) -> list[str]:
        """All files, each once."""
        steps = (*self.steps, *(step for _, step in self.members))
        return list(dict.fromkeys(path for step in steps for _, path in step.paths))

    def chain(self) -> Chain:
        """Load the models; a process does it once.

        Raises
        ------
        DataError
            A file is missing, damaged or has changed.
        ConfigError
            The steps do not fit together.
        """
        return _chain(self)


@lru_cache(maxsize=4)
def _chain(recipe: Recipe) -> Chain:
    checksums = dict(recipe.checksums)

    def load(files: StepFiles) -> Step:
        models = {value: cached_model(path, checksums[path]) for value, path in files.paths}
        return Step(models, files.by, files.name)

    members = {label: load(files) for label, files in recipe.members}
    return Chain([load(files) for files in recipe.steps], members=members, keep=recipe.keep)


@dataclass(frozen=True)
class Job:
    """A generation from files.

    Attributes
    ----------
    recipe
        The models.
    layout
        How the input's columns become conditions.
    folder
        Where the parts go.
    seed, outside, replicas
        As in `Chain.generate`.
    selection, tree
        As in `parhelion.io.iterate`.
    """

    recipe: Recipe
    layout: Layout
    folder: str
    seed: int
    outside: OutsidePolicy
    replicas: int = 1
    selection: str | None = None
    tree: str | None = None


@dataclass(frozen=True)
class Part:
    """Rows `start` to `stop` - 1 of one input file; `first_row` rows stand in the files before."""

    number: int
    path: str
    start: int
    stop: int
    first_row: int

    @property
    def name(self) -> str:
        """Name of the part's file."""
        return f"part-{self.number:06d}.npz"


@dataclass(frozen=True)
class PartRecord:
    """What a part's file says of itself.

    Attributes
    ----------
    part
        Which part.
    rows, made
        Rows read and written.
    outside
        Responses asked for outside the domain, by step.
    """

    part: Part
    rows: int
    made: int
    outside: dict[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """The same as counts that add up."""
        return Counts(self.rows, self.made, dict(self.outside))


class DamagedPartError(Exception):
    """A part's file is not what was written."""


def run_part(job: Job, part: Part) -> PartRecord:
    """Generate a part and leave it in the job's folder; a part that is there already is left as it is.

    Raises
    ------
    ParhelionError
        As in `Chain.generate`; or the part cannot be written.
    """
    target = Path(job.folder) / part.name
    with suppress(DamagedPartError, FileNotFoundError):
        return read_record(target, part)
    chain = job.recipe.chain()
    counts, samples = Counts(), []
    for chunk in _chunks(job, part):
        made, found = chain.generate(
            chunk, seed=job.seed, outside=job.outside, replicas=job.replicas, first_row=part.start + counts.rows
        )
        counts.add(found)
        if len(made):
            samples.append(made)
    record = PartRecord(part, counts.rows, counts.made, counts.outside)
    _save(target, record, samples)
    return record


def _chunks(job: Job, part: Part) -> Iterator[Sample]:
    return iterate_between(
        part.path,
        job.layout,
        part.start,
        part.stop,
        first_row=part.first_row,
        chunk_rows=CHUNK_ROWS,
        tree=job.tree,
        selection=job.selection,
    )


def _save(target: Path, record: PartRecord, samples: list[Sample]) -> None:
    columns: dict[str, Any] = {_RECORD: np.asarray(json.dumps(asdict(record)))}
    if samples:
        names = [f.name for f in samples[0].schema.fields]
        columns |= {f"column_{i}": np.concatenate([s.columns[n] for s in samples]) for i, n in enumerate(names)}
        for name in ("weight", "event_id", "group"):
            columns[name] = np.concatenate([getattr(s, name) for s in samples])
    # Two workers may write one part at once, on machines where process numbers repeat.
    temporary = target.with_name(f"{target.stem}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as stream:
            np.savez(stream, **columns)
        os.replace(temporary, target)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        msg = f"{target}: cannot be written ({reason}); free space, then run again: the parts that are done are kept"
        raise WriteError(msg) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


_UNREADABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError)


def read_record(target: Path, part: Part) -> PartRecord:
    """What a part's file says of itself.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DamagedPartError
        It cannot be read, or is of another part.
    """
    try:
        with target.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = json.loads(str(file[_RECORD]))
        record = PartRecord(Part(**found["part"]), found["rows"], found["made"], found["outside"])
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        raise DamagedPartError(str(target)) from error
    if record.part != part:
        raise DamagedPartError(str(target))
    return record


def load_part(job: Job, record: PartRecord) -> Sample:
    """Rows of a part. The file's own checksums are checked.

    Raises
    ------
    DamagedPartError
        The file is not what was written.
    """
    target = Path(job.folder) / record.part.name
    chain = job.recipe.chain()
    schema = chain.output_schema(job.layout.schema, outside=job.outside, replicas=job.replicas)
    try:
        with target.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            columns: dict[str, Any] = {f.name: file[f"column_{i}"] for i, f in enumerate(schema.fields)}
            weight, event_id, group = file["weight"], file["event_id"], file["group"]
    except _UNREADABLE as error:
        raise DamagedPartError(str(target)) from error
    if len(weight) != record.made:
        raise DamagedPartError(str(target))
    return Sample.trusted(schema, columns, weight, event_id, group, source=f"generated for {record.part.path}")


def require_unchanged(path: str, before: tuple[int, int]) -> None:
    """Refuse an input that was written to while it was read.

    Raises
    ------
    DataError
        Size or time of the last change differ.
    """
    now = os.stat(path)
    if (now.st_size, now.st_mtime_ns) != before:
        msg = f"{path}: has changed while it was being read; run again with --overwrite when it is finished"
        raise DataError(msg)
