"""The same responses whoever makes them: processes, a Dask cluster that loses a worker, the C++ host, the C file.

    python benchmarks/generation_equality.py FOLDER --package rich.onnx [--surrogate student.safetensors]
        [--rows 300000] [--host build/cpp/parhelion_host]

The input holds conditions of the package's golden block, repeated, each row with an event id of its own. The reference
is one process. A file of responses counts as equal if all its columns have the same bits; else the table gives the
share of rows that differ at all, and the largest difference in units of (spread + |value|), to be compared with the
package's tolerance. The worker is killed with SIGKILL when its second part comes in. C and C++ get the first rows.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from common import describe, table
from parhelion import io, load
from parhelion.dask_executor import Dask
from parhelion.deploy import Package, generate_files, pipeline
from parhelion.deploy.cfile import write_c
from parhelion.sample import Field, Sample, Schema

SEED = 7
MOST_TIED = 64


class Killing(Dask):
    """A local cluster of three workers, one of which is killed while it works."""

    killed = 0

    def run(self, task: Any, items: Sequence[Any]) -> Iterator[Any]:
        """As `Dask.run`."""
        for number, result in enumerate(super().run(task, items)):
            if number == 1:
                os.kill(next(iter(self._client.run(os.getpid).values())), signal.SIGKILL)
                Killing.killed += 1
            yield result


def write_input(package: Package, rows: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Conditions (n, c) and event ids (n,), also as a file."""
    condition = np.resize(package.golden.condition, (rows, package.schema.condition_width))
    ids = np.arange(rows) * 1_000_003 + 17
    fields = package.schema.condition
    columns = {f.name: condition[:, j] for j, f in enumerate(fields)}
    schema = Schema(fields, (), (Field("event", kind="integer"),))
    io.write(Sample(schema, {**columns, "event": ids}), path, overwrite=True, compress=False)
    return condition, ids


def generated(package: Path, source: Path, out: Path, **how: Any) -> np.ndarray:
    """Responses of a generation from file to file."""
    generate_files(package, source, out, seed=SEED, overwrite=True, outside="flag", event_id=["event"], **how)
    fields = Package.load(package).schema.response
    made = io.read(out)
    return np.concatenate([np.asarray(made[f.name], dtype=np.float32).reshape(len(made), -1) for f in fields], axis=1)


def with_cpp(host: Path, package: Path, condition: np.ndarray, ids: np.ndarray, folder: Path) -> np.ndarray:
    """Responses of the C++ program."""
    names = [f.name for f in Package.load(package).schema.condition]
    source, out = folder / "in.csv", folder / "out.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["event_id", *names])
        writer.writerows([int(i), *(repr(float(v)) for v in row)] for i, row in zip(ids, condition, strict=True))
    out.unlink(missing_ok=True)
    command = [host, package, "--input", source, "--output", out, "--seed", str(SEED), "--outside", "flag"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    with out.open(newline="") as file:
        read = list(csv.DictReader(file))
    fields = [f.name for f in Package.load(package).schema.response]
    return np.array([[float(row[name]) for name in fields] for row in read], dtype=np.float32)


def with_c(surrogate: Path, condition: np.ndarray, ids: np.ndarray, width: int, folder: Path) -> np.ndarray:
    """Responses of the C file, compiled here."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("a C compiler is missing")
    write_c(load(surrogate), folder / "net.c")
    flags = ["-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC"]
    library = folder / "net.so"
    subprocess.run([compiler, *flags, str(folder / "net.c"), "-o", str(library), "-lm"], check=True)
    c, i = np.ascontiguousarray(condition), np.ascontiguousarray(ids, dtype=np.uint64)
    out = np.empty((len(c), width), dtype=np.float32)
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (c, i, out)]
    call = ctypes.CDLL(str(library.absolute())).net_generate
    call(ctypes.c_size_t(len(c)), at[0], at[1], ctypes.c_uint64(SEED), ctypes.c_uint32(0), 2, at[2], None, None)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--surrogate", type=Path, help="the package's surrogate, for the C file")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--few", type=int, default=20_000, help="rows for C and C++")
    parser.add_argument("--host", type=Path, help="the C++ example, built")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    package = Package.load(args.package)
    source = args.folder / "in.h5"
    condition, ids = write_input(package, args.rows, source)
    few = slice(0, args.few)
    print(describe(seed=SEED, rows=args.rows, few=args.few, tolerance=package.manifest["tolerance"]["relative"]))
    reference = generated(args.package, source, args.folder / "one.h5", workers=1)
    made = {
        "again, 1 process": generated(args.package, source, args.folder / "again.h5", workers=1),
        "2 processes": generated(args.package, source, args.folder / "two.h5", workers=2),
    }
    with patch.object(pipeline, "open_executor", lambda **_: Killing("local:3")):
        made["Dask, 3 workers, 1 killed"] = generated(args.package, source, args.folder / "dask.h5", dask="local:3")
    if Killing.killed != 1:
        raise SystemExit("no worker was killed; give more rows")
    backwards, _ = package.sample(condition[few][::-1], ids[few][::-1], seed=SEED, outside="flag")
    made["rows in turn, in process"] = backwards[::-1]
    if args.host is not None:
        made["C++ host"] = with_cpp(args.host, args.package, condition[few], ids[few], args.folder)
    if args.surrogate is not None:
        made["C99 file"] = with_c(args.surrogate, condition[few], ids[few], reference.shape[1], args.folder)
    tolerance = package.manifest["tolerance"]
    scale = np.array(tolerance["scale"])
    rows: list[dict[str, object]] = []
    for name, answer in made.items():
        expected = reference[: len(answer)]
        error = np.abs(answer.astype(np.float64) - expected) / (scale + np.abs(expected))
        # Cells of an image have no ties but zeros.
        pairs = [(i, j) for i in range(expected.shape[1]) for j in range(i)] if expected.shape[1] <= MOST_TIED else []
        ties = sum(int(np.sum((answer[:, i] == answer[:, j]) != (expected[:, i] == expected[:, j]))) for i, j in pairs)
        same = (answer == expected).all(axis=1)
        rows.append(
            {
                "made by": name,
                "rows": f"{len(answer):,}",
                "same bits": "all" if same.all() else f"{same.mean():.1%}",
                "largest difference": f"{error.max():.1e}",
                "rows beyond the tolerance": int((error > tolerance["relative"]).any(axis=1).sum()),
                "ties that differ": ties,
            }
        )
    print(table(rows))


if __name__ == "__main__":
    main()
