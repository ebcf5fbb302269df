"""Peak memory and rate of `parhelion generate`, file to file, against the number of rows.

    python benchmarks/generation_memory.py FOLDER [--rows 1e6 1e7 1e8] [--workers 2] [--model FILE] [--suffix .h5]

Without a model, a small network of one condition and one response stands for one: the rows are what matters here. With
a model, conditions are drawn inside its domain. Each size runs in a process of its own; its peak is the largest
resident set of the main process plus, for each worker, the largest of any worker. The large files are removed
afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common import describe, table
from parhelion import io
from parhelion.deploy import generate_files
from parhelion.deploy.models import Model, load_model
from parhelion.sample import Field, Sample, Schema, unflatten
from parhelion.surrogates import Matching
from parhelion.surrogates.matching import MatchingConfig

CHUNK = 200_000


def small_model(path: Path) -> None:
    g = np.random.default_rng(1)
    x = g.uniform(0, 1, 5000)
    sample = Sample(Schema((Field("x"),), (Field("y"),)), {"x": x, "y": g.normal(x, 0.5)})
    structure = {"ties": False, "atoms": False}
    options = {"width": 8, "blocks": 1, "solver_steps": 1, "codec": {"knots": 0, "structure": structure}}
    surrogate = Matching(sample.schema, MatchingConfig.model_validate(options))
    surrogate.prepare(sample, seed=1)
    surrogate.save(path)


def conditions(model: Model, rows: int) -> Iterator[Sample]:
    """Conditions inside the domain: from a middle value of each column, a little to both sides."""
    fields = model.schema.condition
    middle, half = [], []
    for column in range(model.schema.condition_width):
        words = model.allowed(column)
        if words.startswith("one of"):
            middle.append(float(words.split("of")[1].split(",")[0]))
            half.append(0.0)
        else:
            low, high = (float(w.split()[0]) for w in words.split(" to "))
            middle.append((low + high) / 2)
            half.append(0.45 * (high - low))
    for start in range(0, rows, CHUNK):
        n = min(CHUNK, rows - start)
        g = np.random.default_rng([7, start])
        matrix = np.asarray(middle) + np.asarray(half) * g.uniform(-1, 1, (n, len(middle)))
        columns = {
            k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in unflatten(matrix, fields).items()
        }
        yield Sample(Schema(fields, ()), columns, event_id=np.arange(start, start + n))


def one(folder: Path, model: Path, rows: int, workers: int, suffix: str, compress: bool) -> dict[str, float]:
    source, out = folder / f"in-{rows}{suffix}", folder / f"out-{rows}{suffix}"
    io.write(conditions(load_model(model), rows), source, overwrite=True, compress=compress)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    before = usage.ru_maxrss
    start = time.perf_counter()
    done = generate_files(
        model, source, out, event_id=["row"], workers=workers, overwrite=True, compress=compress, outside="flag"
    )  # fmt: skip
    seconds = time.perf_counter() - start
    own, child = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    spent = own.ru_utime + own.ru_stime - usage.ru_utime - usage.ru_stime + child.ru_utime + child.ru_stime
    for path in (source, out, done.record_file):
        path.unlink()
    return {
        "seconds": seconds, "cpu": spent, "before": before / 1024, "main": own.ru_maxrss / 1024,
        "worker": child.ru_maxrss / 1024 if workers > 1 else 0.0, "outside": done.counts.beyond,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--suffix", default=".h5")
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--single", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    model = options.model or options.folder / "small.safetensors"
    if options.single is not None:
        found = one(options.folder, model, options.single, options.workers, options.suffix, options.compress)
        print(json.dumps(found))
        return
    if options.model is None:
        small_model(model)
    settings = {"workers": options.workers, "suffix": options.suffix, "compress": options.compress}
    print(describe(model=model.name, seed=1, **settings))
    lines: list[dict[str, object]] = []
    first = None
    for rows in (int(r) for r in options.rows):
        words = [
            sys.executable,
            __file__,
            str(options.folder),
            "--single",
            str(rows),
            "--workers",
            str(options.workers),
        ]
        words += ["--model", str(model), "--suffix", options.suffix, *(["--compress"] if options.compress else [])]
        found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        peak = found["main"] + options.workers * found["worker"]
        first = peak if first is None else first
        lines.append(
            {
                "rows": f"{rows:,}",
                "rows/s (wall)": f"{rows / found['seconds']:,.0f}",
                "CPU us a row": f"{1e6 * found['cpu'] / rows:.2f}",
                "main [MiB]": f"{found['main']:.0f}",
                "a worker [MiB]": f"{found['worker']:.0f}",
                "all [MiB]": f"{peak:.0f}",
                "relative": f"{peak / first:.2f}",
                "outside": found["outside"],
            }
        )
    print(table(lines))


if __name__ == "__main__":
    main()
