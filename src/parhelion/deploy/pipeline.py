"""Generation from files to a file: in parts, on many cores or machines, resumable, with a record of what was done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from parhelion import io
from parhelion.deploy.bookkeeping import Checksums, ContentDigest, quick_fingerprint
from parhelion.deploy.chain import Chain, Counts
from parhelion.deploy.conditions import condition_layout
from parhelion.deploy.generation import OutsidePolicy, require_policy
from parhelion.deploy.job import (
    DamagedPartError,
    Job,
    Part,
    PartRecord,
    Recipe,
    StepFiles,
    load_part,
    require_unchanged,
    run_part,
)
from parhelion.deploy.models import describe, file_checksum
from parhelion.deploy.workfolder import WorkFolder
from parhelion.errors import ConfigError, DataError, DomainError, Interrupted, ShapeError, WriteError
from parhelion.executors import Executor, open_executor
from parhelion.io.formats import expand, writer_for
from parhelion.io.identity import DuplicateGuard
from parhelion.provenance import versions
from parhelion.sample import Sample, Schema

Progress = Callable[[int, int], None]
Say = Callable[[str], None]

RECORD_FORMAT = 1
_PARTS, _PART_BYTES, _MOST_ROWS = 16, 1 << 26, 1 << 18
_WORTH_PROCESSES = 2_500_000


@dataclass(frozen=True)
class Outcome:
    """What a generation did.

    Attributes
    ----------
    out, record_file
        The output, and the JSON beside it.
    counts
        Rows in and out, responses asked for outside the domain.
    record
        Content of the JSON.
    """

    out: Path
    record_file: Path
    counts: Counts
    record: dict[str, Any]


def generate_files(
    model: str | os.PathLike[str],
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    seed: int = 1,
    outside: OutsidePolicy = "refuse",
    then: Sequence[str] = (),
    members: Mapping[str, str] | None = None,
    keep: str | None = None,
    oversample: int = 1,
    selection: str | None = None,
    event_id: Sequence[str] = (),
    drop: Sequence[str] = (),
    tree: str | None = None,
    workers: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    compress: bool = True,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Outcome:
    """Generate a response for each row of the files.

    The output depends on the arguments down to `overwrite`, and not on the number of workers, on where they run or on
    how often the work was interrupted: the call goes on where an earlier one was killed. Memory does not grow with the
    number of rows. While it works, and until it is done, parts of the output lie in a hidden folder beside it, which
    takes about as much room as an uncompressed output.

    Parameters
    ----------
    model
        Package (``.onnx``) or surrogate file; or ``FIELD:VALUE=FILE,VALUE=FILE`` for one a value of a field.
    files
        Input: paths and patterns; ROOT, HDF5, Parquet, npz or CSV.
    out
        Output; the suffix says the format.
    seed
        Seed of the noise, 0 to 2^64 - 1.
    outside
        Rows outside the trained domain: refuse, clamp or flag (see `parhelion.generate`).
    then
        Models that answer after the first, in order, each given as `model` is; their conditions may be responses of
        earlier ones.
    members
        Other versions of the last model by label, generated with the same noise into columns ``NAME_LABEL``.
    keep
        Rows of the output to keep, in the names of conditions and responses.
    oversample
        Responses an input row (see `parhelion.deploy.chain.Chain.generate`).
    selection
        Rows of the input to generate for, in its columns and units.
    event_id
        Columns that are unique together and key the noise; ``row`` numbers the rows.
    drop
        Other columns to leave out; ``all`` for all of them.
    tree
        Tree (ROOT) or group (HDF5) of the input, if it has several.
    workers
        Processes; all cores if not given, or this process alone where the work is small.
    dask
        Dask scheduler instead (see `parhelion.executors.open_executor`). Workers must see the same files.
    overwrite
        Replace the output, and what an unfinished run with other arguments left.
    compress
        Compress the output.
    progress
        Called with (rows of the input done, all of them).
    say
        Called with sentences about the work.

    Returns
    -------
    Outcome
        Where the output and its record are, and the counts.

    Raises
    ------
    DomainError, DataError, ConfigError, WriteError, ClusterError
        Bad input, no room, workers lost for good; each says what to do. Nothing half-written is left as output.
    Interrupted
        Ctrl-C or SIGTERM; the same call goes on.
    """
    target, tell = Path(out), say if say is not None else _silent
    require_policy(outside, 1)
    if not 0 <= seed < 1 << 64:
        msg = f"seed {seed}: expected an integer from 0 to 2^64 - 1"
        raise ConfigError(msg)
    writer_for(target)
    # Absolute, since a worker elsewhere has a working directory of its own.
    inputs = [str(path.absolute()) for path in expand(files)]
    recipe = make_recipe(os.fspath(model), then, members or {}, keep)
    require_other(target, [*inputs, *recipe.paths], overwrite)
    chain = recipe.chain()
    layout = condition_layout(chain.schema, inputs[0], tree=tree, event_id=event_id, drop=drop)
    folder = target.parent / f".{target.name}.parts"
    job = Job(recipe, layout, str(folder.absolute()), seed, outside, oversample, selection, tree)
    parts = _parts(inputs, layout, chain, oversample, tree)
    identity = _identity(job, inputs, parts)
    with _executor(workers, dask, chain, parts, oversample) as executor:
        work = WorkFolder(target, identity, overwrite=overwrite)
        try:
            if work.resumed:
                tell(f"going on with an unfinished generation: {work.count(parts)} of {len(parts)} parts are there")
            outcome = _Run(job, parts, work, target, progress).finish(executor, inputs, identity, compress)
        except (DataError, DomainError, ShapeError):
            # Nothing to go on with: the same call would fail again.
            work.discard()
            raise
        except KeyboardInterrupt:
            there = work.count(parts)
            work.release()
            msg = f"interrupted; {there} of {len(parts)} parts are done, and the same command goes on with the others"
            raise Interrupted(msg) from None
        except BaseException:
            if work.count(parts):
                work.release()
            else:
                work.discard()
            raise
        work.discard()
        return outcome


class _Run:
    """Parts made by an executor and put together in order while others are being made."""

    def __init__(
        self, job: Job, parts: Sequence[Part], work: WorkFolder, target: Path, progress: Progress | None
    ) -> None:
        self.job, self.parts, self.work, self.target, self.progress = job, parts, work, target, progress
        self.counts, self.digest = Counts(), ContentDigest()

    def finish(self, executor: Executor, inputs: Sequence[str], identity: dict[str, Any], compress: bool) -> Outcome:
        """Make all parts, write the output, then the record."""
        before = {path: (entry["bytes"], entry["changed"]) for path, entry in identity["inputs"].items()}
        checksums = Checksums(inputs)
        checksums.start()
        whole = self.work.path / f"whole{self.target.suffix}"
        io.write(
            self._merged(executor), whole, provenance=self._provenance(identity), overwrite=True, compress=compress
        )
        for path, status in before.items():
            require_unchanged(path, status)
        record = self._record(identity, checksums.result(), executor)
        record_file = self.target.with_name(f"{self.target.name}.json")
        written = self.work.path / "record.json"
        try:
            written.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            os.replace(written, record_file)
            os.replace(whole, self.target)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            msg = f"{self.target}: cannot be written ({reason}); free space or choose another place, then run again"
            raise WriteError(msg) from error
        return Outcome(self.target, record_file, self.counts, record)

    def _merged(self, executor: Executor) -> Iterator[Sample]:
        guard = DuplicateGuard() if self.job.layout.event_id else None
        total = sum(part.stop - part.start for part in self.parts)
        done = 0
        for record in executor.run(partial(run_part, self.job), self.parts):
            self.counts.add(record.counts)
            if record.made:
                sample = self._loaded(record)
                if guard is not None:
                    self._require_new_ids(guard, sample, record.part)
                self.digest.update(sample)
                yield sample
            done += record.part.stop - record.part.start
            if self.progress is not None:
                self.progress(done, total)
        if not self.counts.made:
            what = "selection keeps none" if not self.counts.rows else "models and --keep leave none"
            msg = f"{self.parts[0].path}: the {what} of {total:,} rows, so there is nothing to write"
            raise DataError(msg)

    def _loaded(self, record: PartRecord) -> Sample:
        try:
            return load_part(self.job, record)
        except DamagedPartError:
            (self.work.path / record.part.name).unlink(missing_ok=True)
            again = run_part(self.job, record.part)
        try:
            return load_part(self.job, again)
        except DamagedPartError as error:
            msg = f"{error}: cannot be read back; the disk is at fault, choose another place for the output"
            raise WriteError(msg) from error

    def _require_new_ids(self, guard: DuplicateGuard, sample: Sample, part: Part) -> None:
        again = guard.first_duplicate(sample.event_id)
        if again is not None:
            names = ", ".join(self.job.layout.event_id)
            msg = (
                f"{part.path}: column {names}: the event id {sample.event_id[again]} occurs more than once; choose "
                "columns that are unique together, or number the rows with --event-id row"
            )
            raise DataError(msg)

    def _schema(self) -> Schema:
        chain, job = self.job.recipe.chain(), self.job
        return chain.output_schema(job.layout.schema, outside=job.outside, replicas=job.replicas)

    def _provenance(self, identity: dict[str, Any]) -> dict[str, Any]:
        """What is known before the rows are; stands in the output itself."""
        named = ("models", "inputs", "seed", "outside", "oversample", "keep", "selection", "versions")
        return {name: identity[name] for name in named}

    def _record(self, identity: dict[str, Any], checksums: Mapping[str, str], executor: Executor) -> dict[str, Any]:
        inputs = [
            {"path": path, "bytes": entry["bytes"], "sha256": checksums[path]}
            for path, entry in identity["inputs"].items()
        ]
        options = {k: identity[k] for k in ("seed", "outside", "oversample", "keep", "selection", "event_id")}
        return {
            "format": RECORD_FORMAT,
            "output": self.target.name,
            "content_sha256": self.digest.hexdigest(),
            "rows_read": self.counts.rows,
            "rows_written": self.counts.made,
            "outside_domain": self.counts.outside,
            "inputs": inputs,
            "models": identity["models"],
            **options,
            "columns": [f.title for f in self._schema().fields],
            "parts": len(self.parts),
            "workers": executor.where,
            "versions": identity["versions"],
        }


def _silent(text: str) -> None:
    return


def make_recipe(
    model: str, then: Sequence[str] = (), members: Mapping[str, str] | None = None, keep: str | None = None
) -> Recipe:
    """Recipe from what a user gives: paths, or FIELD:VALUE=FILE,VALUE=FILE (see `generate_files`).

    Raises
    ------
    ConfigError
        A label or a value is no good.
    DataError
        A file is missing.
    """
    steps = tuple(StepFiles.parse(text) for text in (model, *then))
    for label in members or {}:
        if not label.isidentifier() and not label.isalnum():
            msg = f"member {label!r}: expected a label of letters, digits and underscores, for column names"
            raise ConfigError(msg)
    others = tuple((label, StepFiles.parse(text)) for label, text in (members or {}).items())
    bare = Recipe(tuple(_absolute(s) for s in steps), tuple((label, _absolute(s)) for label, s in others), keep)
    return replace(bare, checksums=tuple((path, file_checksum(path)) for path in bare.paths))


def _absolute(step: StepFiles) -> StepFiles:
    return replace(step, paths=tuple((value, str(Path(path).absolute())) for value, path in step.paths))


def require_other(target: Path, sources: Sequence[str], overwrite: bool) -> None:
    """Refuse an output that exists, or that is one of the inputs.

    Raises
    ------
    WriteError
        It does, or is.
    """
    for source in sources:
        if target.resolve() == Path(source).resolve():
            msg = f"{target}: is an input too; choose another name for the output"
            raise WriteError(msg)
    if target.exists() and not overwrite:
        msg = f"{target}: exists already; choose another name with --out, or replace it with --overwrite"
        raise WriteError(msg)


def _parts(inputs: Sequence[str], layout: io.Layout, chain: Chain, replicas: int, tree: str | None) -> list[Part]:
    """Cut the input: the same parts whoever works on them, since a matrix product of another size rounds otherwise."""
    rows = []
    for path in inputs:
        infos = {info.name: info.rows for info in io.columns(path, tree=tree)}
        rows.append(infos.get(layout.columns[0], max(infos.values(), default=0)))
    width = chain.schema.condition_width + chain.schema.response_width * (1 + len(chain.members))
    width += sum(source.field.width for source in layout.extra) + 4
    batch = chain.batch_rows()
    share = -(-sum(rows) // _PARTS)
    limit = max(batch, min(_MOST_ROWS, _PART_BYTES // (8 * width * replicas)))
    size = min(-(-share // batch) * batch, limit // batch * batch) or batch
    if replicas > 1:
        size = max(1, min(size, limit))
    parts: list[Part] = []
    before = 0
    for path, count in zip(inputs, rows, strict=True):
        # A file without rows still gives a part, whose reader says so.
        for start in range(0, max(count, 1), size):
            parts.append(Part(len(parts), path, start, min(start + size, max(count, 1)), before))
        before += count
    return parts


def _identity(job: Job, inputs: Sequence[str], parts: Sequence[Part]) -> dict[str, Any]:
    """All that the output depends on."""
    checksums = dict(job.recipe.checksums)
    chain = job.recipe.chain()

    def described(files: StepFiles, models: Mapping[float | None, Any]) -> dict[str, Any]:
        entries = [
            {"file": path, "sha256": checksums[path], "value": value, **describe(models[value])}
            for value, path in files.paths
        ]
        return {"by": files.by, "models": entries}

    steps = [described(f, s.models) for f, s in zip(job.recipe.steps, chain.steps, strict=True)]
    members = {label: described(f, chain.members[label].models) for label, f in job.recipe.members}
    return {
        "models": {"steps": steps, "members": members},
        "inputs": {path: quick_fingerprint(path) for path in inputs},
        "seed": job.seed,
        "outside": job.outside,
        "oversample": job.replicas,
        "keep": job.recipe.keep,
        "selection": job.selection,
        "tree": job.tree,
        "event_id": list(job.layout.event_id) or ["row"],
        "layout": [asdict(source) for source in job.layout.sources],
        "part_rows": parts[0].stop - parts[0].start,
        "parts": len(parts),
        "versions": versions(),
    }


def _executor(workers: int | None, dask: str | None, chain: Chain, parts: Sequence[Part], replicas: int) -> Executor:
    numbers = sum(part.stop - part.start for part in parts) * chain.schema.response_width * replicas
    if workers is None and dask is None and numbers < _WORTH_PROCESSES:
        workers = 1
    return open_executor(workers=workers, dask=dask, tasks=len(parts))
