"""Tracks a second: in process, file to file, and the same network in PyTorch, ONNX Runtime, OpenVINO and C.

    python benchmarks/generation.py FOLDER [--run runs/rich] [--models default student paper ...] [--threads 1 2]

Without a run, networks are untrained ones of the right shape: speed does not depend on weights. With one,
its surrogate and student take the place of the default and the student. Conditions are simulated RICH tracks; image
families answer for the shipped electrons instead.

Columns, each in thousand rows a second, the best of the repetitions that fit into the time given:

- in process: noise, guard and network through the package's runtime; batch 1 is given in microseconds a row too
- file to file: HDF5 to HDF5, uncompressed, with as many workers as threads
- PyTorch: `Surrogate.sample` with ready noise; ONNX Runtime, OpenVINO: the package's graph alone with ready noise
- C: noise, guard and network in the exported file, compiled with -O3 -march=native, one thread
- peak: multiply-adds of the dense layers at the rate of ONNX Runtime, as a share of the machine's sgemm measured
  in the same run
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from common import describe, table
from parhelion import data, io
from parhelion.config import load_study
from parhelion.deploy import Package, export, generate_files
from parhelion.deploy.cfile import write_c
from parhelion.deploy.cnetworks import NETWORKS
from parhelion.errors import ParhelionError
from parhelion.noise import normal
from parhelion.sample import Sample, Schema
from parhelion.simulators import rich
from parhelion.surrogates import SURROGATES, Student, Surrogate, load

BATCHES = (1, 1_000, 10_000, 100_000)
MOST_NUMBERS = 100_000_000
PAPER = {"generator": {"latent": 64, "width": 128, "depth": 10, "activation": "relu"}}
MAPS = ("spline_autoregressive", "affine_autoregressive", "spline_coupling", "affine_coupling", "planar")


# ------------------------------------------------------------------ what is measured
def surrogates(names: list[str], run: Path | None, sample: Sample, seed: int) -> dict[str, Surrogate]:
    """The RICH default, its student, the paper's network, and one of each family."""
    study = load_study("rich")
    codec = study.surrogate.model_dump(mode="json")["codec"]
    made: dict[str, Surrogate] = {}

    def fresh(kind: str, **options: Any) -> Surrogate:
        family = SURROGATES[kind]
        surrogate = family(sample.schema, family.Config.model_validate({"codec": codec, **options}))
        surrogate.prepare(sample, seed=seed)
        return awake(surrogate, seed)

    def default() -> Surrogate:
        if run is not None:
            return load(run / "surrogate.safetensors")
        surrogate = SURROGATES[study.family](sample.schema, study.surrogate)
        surrogate.prepare(sample, seed=seed)
        return awake(surrogate, seed)

    def student(**options: Any) -> Surrogate:
        if run is not None and not options:
            return load(run / "student.safetensors")
        given = Student.Config.model_validate(options) if options else study.config.student.surrogate
        student = Student(sample.schema, given)
        student.learn_from(default(), seed=seed)
        return awake(student, seed)

    makers: dict[str, Callable[[], Surrogate]] = {
        "default": default,
        "student": student,
        "quantiles": lambda: student(map="quantiles", width=32, blocks=1),
        "displacement": lambda: student(map="displacement", width=96, blocks=3),
        "paper": lambda: fresh("gan", **PAPER),
        **{kind: (lambda k=kind: fresh(k)) for kind in ("matching", "gan", "library")},
        **{f"flow {m}": (lambda m=m: fresh("flow", map=m)) for m in MAPS},
        **{kind: (lambda k=kind: images(k, seed)) for kind, family in SURROGATES.items() if family.images},
    }
    for name in names or makers:
        try:
            made[name] = makers[name]().eval()
        except ParhelionError as error:
            print(f"{name}: left out ({error})")
    return made


def images(kind: str, seed: int) -> Surrogate:
    surrogate = SURROGATES[kind](data.load("ecal-electrons").schema)
    surrogate.prepare(data.load("ecal-electrons"), seed=seed)
    return awake(surrogate, seed)


def awake(surrogate: Surrogate, seed: int) -> Surrogate:
    """Give layers that start at zero some weights: products with zeros may be faster."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for p in surrogate.parameters():
            if p.ndim > 1 and not bool(p.any()):
                torch.nn.init.normal_(p, 0.0, 0.01)
    return surrogate


# ------------------------------------------------------------------ clocks
def best(work: Callable[[], object], rows: int, seconds: float) -> float:
    """Rows a second, the best repetition."""
    work()
    fastest, end = float("inf"), time.perf_counter() + seconds
    repeats = max(1, 1000 // rows)
    while True:
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        now = time.perf_counter()
        fastest = min(fastest, (now - start) / repeats)
        if now > end:
            return rows / fastest


def sgemm(threads: int, seconds: float) -> float:
    """Multiply-adds a second of a product of single-precision matrices of 1024 x 1024."""
    torch.set_num_threads(threads)
    a = torch.randn(1024, 1024)
    out = torch.empty(1024, 1024)
    return best(lambda: torch.mm(a, a, out=out), 1, seconds) * 1024.0**3


def products(path: Path) -> float:
    """Multiply-adds a row of the graph's dense layers: the sizes of the matrices that rows are multiplied with."""
    graph = onnx.load(str(path)).graph
    sizes = {w.name: float(np.prod(w.dims)) for w in graph.initializer if len(w.dims) == 2}
    return sum(sizes.get(n, 0.0) for node in graph.node if node.op_type in ("Gemm", "MatMul") for n in node.input)


def onnxruntime_rate(path: Path, condition: Any, noise: Any, threads: int, seconds: float) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {"noise": noise, "condition": condition}
    feed = {i.name: given[i.name] for i in session.get_inputs()}
    return best(lambda: session.run(None, feed), len(noise), seconds)


def openvino_rate(path: Path, condition: Any, noise: Any, threads: int, seconds: float) -> float | None:
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(str(path)), "CPU", hints).create_infer_request()
    return best(lambda: request.infer({"noise": noise, "condition": condition}), len(noise), seconds)


def torch_rate(surrogate: Surrogate, condition: Any, noise: Any, threads: int, seconds: float) -> float:
    torch.set_num_threads(threads)
    c, z = torch.as_tensor(condition), torch.as_tensor(noise)
    return best(lambda: surrogate.sample(c, z), len(noise), seconds)


def c_library(surrogate: Surrogate, folder: Path) -> ctypes.CDLL | None:
    compiler = shutil.which("cc")
    if compiler is None or surrogate.kind not in NETWORKS:
        return None
    try:
        write_c(surrogate, folder / "net.c")
    except ParhelionError:
        return None
    library = folder / f"net{time.time_ns()}.so"
    flags = ["-std=c99", "-O3", "-march=native", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(folder / "net.c"), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def c_rate(library: ctypes.CDLL, condition: Any, event: Any, batch: int, width: int, seconds: float) -> float:
    """Calls of `batch` rows; many of them in one measurement, as ctypes itself takes a microsecond a call."""
    n = max(batch, 2_000)
    c = np.ascontiguousarray(np.resize(condition, (n, condition.shape[1])))
    ids = np.ascontiguousarray(np.resize(event, n), dtype=np.uint64)
    out = np.empty((n, width), dtype=np.float32)
    call = library.net_generate
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (c, ids, out)]
    # Each row is a pass of its own in this file: a batch is a loop.
    size, seed, stage = ctypes.c_size_t(n), ctypes.c_uint64(1), ctypes.c_uint32(0)
    return best(lambda: call(size, pointers[0], pointers[1], seed, stage, 2, pointers[2], None, None), n, seconds)


def file_rate(path: Path, source: Path, folder: Path, threads: int, rows: int) -> float:
    fastest = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        generate_files(
            path,
            source,
            folder / "out.h5",
            workers=threads,
            overwrite=True,
            compress=False,
            outside="flag",
            event_id=["row"],
        )
        fastest = min(fastest, time.perf_counter() - start)
    return rows / fastest


# ------------------------------------------------------------------ table
def thousand(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / 1e3:,.1f}"


def guarded(work: Callable[[], float | None]) -> float | None:
    """A rate, or none where another program cannot run this graph."""
    try:
        return work()
    except RuntimeError as error:
        print(f"  not measured: {str(error).splitlines()[0][:160]}")
        return None


def measure(
    name: str, surrogate: Surrogate, sample: Sample, args: argparse.Namespace, peaks: dict[int, float]
) -> list[dict[str, object]]:
    path = args.folder / f"{name.replace(' ', '-')}.onnx"
    export(surrogate, path, rows=args.export_rows)
    macs, library = products(path), c_library(surrogate, args.folder)
    print(
        f"{name}: {macs:,.0f} multiply-adds a row in dense layers, {surrogate.noise_width} numbers of noise", flush=True
    )
    # A shower is hundreds of numbers.
    shrink = 100 if surrogate.images else 1
    batches = sorted({max(1, batch // shrink) for batch in args.batches})
    # One call of the graph alone must fit into memory: a library compares each row with all that it stores.
    numbers = Package.load(path).manifest["graph"]["row_numbers"]
    batches = [batch for batch in batches if batch * numbers <= MOST_NUMBERS] or batches[:1]
    source, rows = args.folder / "in.h5", args.file_rows // shrink
    fields = sample.schema.condition
    if rows:
        picked = np.arange(rows) % len(sample)
        io.write(
            Sample(Schema(fields, ()), {f.name: sample[f.name][picked] for f in fields}),
            source,
            overwrite=True,
            compress=False,
        )
    lines: list[dict[str, object]] = []
    for threads in args.threads:
        filed = file_rate(path, source, args.folder, threads, rows) if rows else None
        for batch in batches:
            line = row(path, surrogate, sample, batch, threads, args.seconds, library, macs / peaks[threads])
            shown = {"model": name, **line, "file to file": thousand(filed) if batch == batches[-1] else ""}
            lines.append(shown)
            print(shown, flush=True)
    return lines


def row(
    path: Path,
    surrogate: Surrogate,
    sample: Sample,
    batch: int,
    threads: int,
    seconds: float,
    library: ctypes.CDLL | None,
    share: float,
) -> dict[str, object]:
    """Rates of one batch size; `share` is the part of the machine's peak that one row a second takes."""
    condition, event = sample.condition[np.arange(batch) % len(sample)], np.arange(batch)
    noise = normal(1, event, surrogate.noise_width)
    package = Package.load(path, threads=threads)
    own = best(lambda: package.sample(condition, event, seed=1, outside="flag"), batch, seconds)
    ort = onnxruntime_rate(path, condition, noise, threads, seconds)
    plain = guarded(lambda: torch_rate(surrogate, condition, noise, threads, seconds))
    vino = guarded(lambda: openvino_rate(path, condition, noise, threads, seconds))
    width = surrogate.schema.response_width
    c = None if library is None or threads > 1 else c_rate(library, condition, event, batch, width, seconds)
    return {
        "threads": threads,
        "batch": f"{batch:,}",
        "in process": thousand(own) + (f" ({1e6 / own:.1f} us)" if batch == 1 else ""),
        "ONNX Runtime": thousand(ort) + (f" ({1e6 / ort:.1f} us)" if batch == 1 else ""),
        "PyTorch": thousand(plain),
        "OpenVINO": thousand(vino),
        "C": thousand(c) + (f" ({1e6 / c:.2f} us)" if c and batch == 1 else ""),
        "peak": f"{100 * share * ort:.0f} %",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for packages and files")
    parser.add_argument("--run", type=Path, help="folder of a finished run of the study rich")
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--file-rows", type=int, default=2_000_000, help="rows of the input file; 0: no file to file")
    parser.add_argument("--export-rows", type=int, default=2_000)
    parser.add_argument("--train-rows", type=int, default=20_000, help="tracks that fix transforms and domain")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each number")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    fields = ("P", "ETA", "nTracks", "pid")
    chunk = next(iter(rich.simulate(args.train_rows, seed=args.seed, processes=1)))
    schema = Schema(tuple(f for f in chunk.schema.condition if f.name in fields), chunk.schema.response)
    sample = Sample(schema, {f.name: chunk[f.name] for f in (*schema.condition, *schema.response)})
    peaks = {threads: sgemm(threads, args.seconds) for threads in args.threads}
    print(describe(seed=args.seed, onnxruntime=onnxruntime.__version__, file_rows=args.file_rows, seconds=args.seconds))
    print("sgemm: " + ", ".join(f"{2e-9 * p:.0f} GFLOP/s on {t} threads" for t, p in peaks.items()), flush=True)
    lines: list[dict[str, object]] = []
    for name, surrogate in surrogates(args.models, args.run, sample, args.seed).items():
        try:
            given = data.load("ecal-electrons") if surrogate.images else sample
            lines += measure(name, surrogate, given, args, peaks)
        except ParhelionError as error:
            print(f"{name}: left out ({error})")
    print(table(lines))


if __name__ == "__main__":
    main()
