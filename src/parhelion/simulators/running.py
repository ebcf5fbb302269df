"""A simulation to a file, in parts that outlive an interruption."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parhelion import io
from parhelion.errors import DataError, WriteError
from parhelion.executors import Executor
from parhelion.files import atomic_path
from parhelion.provenance import versions
from parhelion.sample import Sample
from parhelion.simulators.base import Progress, Simulator
from parhelion.simulators.elsewhere import simulate_by

_JOB = "job.json"
_PART = re.compile(r"part-(\d+)-(\d+)\.h5")


def simulate_to_file(
    simulator: Simulator,
    n: int,
    path: Path,
    *,
    seed: int,
    processes: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> int:
    """Simulate rows 0 to n - 1 and write them; the suffix says the format.

    Rows are kept in a folder beside the file, in parts of the simulator's `part_rows`, until all are there. A resumed
    run takes the parts that are whole and gives the same file as one that was never interrupted.

    Parameters
    ----------
    simulator
        What makes the rows.
    n
        Rows (tracks or showers tried).
    path
        The file.
    seed
        Seed, 0 to 2^64 - 1.
    processes
        Cores to use, at most; all that this process may use if not given.
    resume
        Go on with an interrupted simulation; from the start if there is none.
    overwrite
        Replace the file and whatever an interrupted simulation left.
    progress
        Called with (rows made, n).
    executor
        Simulate on its workers, one core each, instead of in this process; the rows are the same.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    ConfigError
        An argument is out of range.
    WriteError
        The file exists, an interrupted simulation lies there and `resume` is not set, or the disk is full.
    DataError
        What was interrupted was another simulation, or the options keep no row at all.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        msg = f"{path}: exists already; choose another name, remove it, or ask to overwrite it"
        raise WriteError(msg)
    folder = parts_folder(path)
    job = _job(simulator, seed)
    if folder.exists() and not resume and not overwrite:
        msg = f"{folder}: holds an interrupted simulation; go on with --resume, or replace it with --overwrite"
        raise WriteError(msg)
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    if folder.exists():
        _require_same(folder, job)
    done = _whole_rows(folder)
    if done > n:
        msg = f"{folder}: holds {done:,} rows already, more than the {n:,} asked for; ask for at least as many"
        raise DataError(msg)
    if done < n:
        # Before anything is written: arguments out of range are found here.
        shown = None if progress is None else _shifted(progress, done, n)
        if executor is not None:
            chunks = simulate_by(executor, simulator, n - done, seed=seed, first=done, progress=shown)
        else:
            chunks = simulator.simulate(n - done, seed=seed, first=done, processes=processes, progress=shown)
        with atomic_path(folder / _JOB) as temporary:
            temporary.write_text(json.dumps(job), encoding="utf-8")
        _write_parts(chunks, folder, done, n, simulator.part_rows)
    made = {"simulated": n, **job}
    rows = io.write(_parts(folder, simulator), path, provenance=made, overwrite=overwrite)
    shutil.rmtree(folder)
    return rows


def parts_folder(path: Path) -> Path:
    """Where the parts of an unfinished simulation to a file are kept."""
    return path.with_name(f"{path.name}.simulating")


def _job(simulator: Simulator, seed: int) -> dict[str, Any]:
    """What the rows come from; a resumed run must agree in all of it."""
    return {
        "simulator": simulator.kind,
        "options": simulator.config.model_dump(mode="json"),
        "seed": seed,
        **simulator.provenance(),
        "versions": versions(),
    }


def _require_same(folder: Path, job: dict[str, Any]) -> None:
    try:
        before = json.loads((folder / _JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{folder}: is no interrupted simulation (no readable {_JOB} in it); replace it with --overwrite"
        raise DataError(msg) from error
    # Through JSON, so that tuples compare equal to lists.
    now = json.loads(json.dumps(job))
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        key = differing[0]
        msg = (
            f"{folder}: was begun with {key} {before.get(key)}, now it is {now[key]}; resume with the same, or start "
            "anew with --overwrite"
        )
        raise DataError(msg)


def _shifted(progress: Progress, done: int, n: int) -> Progress:
    return lambda rows, _: progress(done + rows, n)


def _write_parts(chunks: Iterator[Sample], folder: Path, done: int, n: int, part_rows: int) -> None:
    start, stop = done, done
    for chunk in chunks:
        stop = min(stop + part_rows, n)
        # Options may keep no row of a range: the next part then stands for both ranges.
        if len(chunk):
            io.write(chunk, folder / f"part-{start}-{stop}.h5", overwrite=True)
            start = stop


def _ranges(folder: Path) -> list[tuple[int, int, Path]]:
    """Parts that follow each other from row 0 on."""
    found = []
    for path in folder.glob("part-*.h5"):
        match = _PART.fullmatch(path.name)
        if match:
            found.append((int(match[1]), int(match[2]), path))
    chain: list[tuple[int, int, Path]] = []
    for start, stop, path in sorted(found):
        if start == (chain[-1][1] if chain else 0):
            chain.append((start, stop, path))
    return chain


def _whole_rows(folder: Path) -> int:
    chain = _ranges(folder)
    return chain[-1][1] if chain else 0


def _parts(folder: Path, simulator: Simulator) -> Iterator[Sample]:
    chain = _ranges(folder)
    if not chain:
        msg = f"simulator {simulator.kind}: the options keep none of the simulated rows; simulate more, or keep more"
        raise DataError(msg)
    yield from io.iterate([path for _, _, path in chain])
