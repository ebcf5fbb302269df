"""Geant4 and surrogates side by side in one run, on one core: time for one electron shower in the calorimeter.

Run with ``python benchmarks/ecal_speed.py my-surrogate.safetensors my-surrogate.onnx my-surrogate.c ...``: surrogates
run in PyTorch, packages in ONNX Runtime, C files as ``cc -std=c99 -O3 -march=native -ffp-contract=off`` makes them, all
on one thread. A surrogate's time is that of all that generation does: its noise, the guard on the domain, the
network, in batches of 1 and of 1000. Geant4's line is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch

from common import describe, table
from parhelion import generate, noise
from parhelion.deploy.runtime import Package
from parhelion.errors import ParhelionError
from parhelion.sample import Sample, Schema
from parhelion.simulators import simulator
from parhelion.simulators.calorimeter import Calorimeter
from parhelion.surrogates import Surrogate, load

ENERGIES = (1.05, 10.0, 50.0, None)


def conditions(energy: float | None, n: int, seed: int) -> tuple[Calorimeter, Sample]:
    """Electrons of one energy, or of the spectrum (None)."""
    options = {} if energy is None else {"momentum_min": energy, "momentum_max": energy}
    made = cast(Calorimeter, simulator("ecal", options))
    columns = made.condition(noise.uniform(seed, np.arange(n), 8))
    fields = made.schema.condition
    return made, Sample(Schema(fields, ()), {f.name: columns[f.name] for f in fields})


# Something that makes showers of conditions.
Maker = Callable[[Sample], object]


def read_model(path: Path) -> Maker:
    """A surrogate, a package or a C file."""
    if path.suffix == ".c":
        return compiled(path)
    model: Surrogate | Package = Package.load(path) if path.suffix == ".onnx" else load(path)
    return lambda part: generate(model, part, seed=1, outside="flag")


def compiled(path: Path) -> Maker:
    """What an exported C file makes, compiled here."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit(f"{path} needs a C compiler, cc")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.so"
        flags = ["-std=c99", "-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, str(path), "-o", str(made), "-lm"], check=True)
        library = ctypes.CDLL(str(made))
    made_by = getattr(library, f"{path.stem}_generate")
    if getattr(library, f"{path.stem}_self_test")() != 0:
        raise SystemExit(f"{path} does not answer its golden block")
    flag, cells = 2, 900

    def make(part: Sample) -> object:
        condition = np.ascontiguousarray(part.condition)
        out = np.empty((len(part), cells), dtype=np.float32)
        given = (condition.ctypes.data, part.event_id.ctypes.data)
        pointers = [ctypes.c_void_p(p) for p in given]
        seed = (ctypes.c_uint64(1), ctypes.c_uint32(0), flag)
        made_by(ctypes.c_size_t(len(part)), *pointers, *seed, ctypes.c_void_p(out.ctypes.data), None, None)
        return out

    return make


def seconds(make: Maker, asked: Sample, batch: int, least: float) -> tuple[float, float]:
    """Processor time a shower: the median over calls, which other work on the machine disturbs least, and its error."""
    parts = [asked.take(slice(i, i + batch)) for i in range(0, len(asked), batch)]
    make(parts[0])
    found: list[float] = []
    begin = time.process_time()
    while time.process_time() - begin < least or len(found) < 5:
        part = parts[len(found) % len(parts)]
        start = time.process_time()
        make(part)
        found.append((time.process_time() - start) / len(part))
    g = np.random.default_rng(0)
    spread = np.std([np.median(g.choice(found, len(found))) for _ in range(200)])
    return float(np.median(found)), float(spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surrogates", nargs="*", type=Path)
    parser.add_argument("--showers", type=int, default=100, help="Geant4 showers over the spectrum")
    parser.add_argument("--seconds", type=float, default=3.0, help="processor time for each surrogate's number")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    loaded = [(path.name, read_model(path)) for path in options.surrogates]
    for energy in ENERGIES:
        made, asked = conditions(energy, 2000, options.seed)
        label = "spectrum" if energy is None else f"{energy:g} GeV"
        slow = float("nan")
        try:
            from geant4_speed import measure

            share = 1.0 if energy is None else min(1.0, 5 / energy)
            text = str(measure(made, max(10, int(share * options.showers)), options.seed)["CPU ms/shower"])
            slow = float(text.split()[0]) / 1000
            rows.append({"model": "Geant4", "electrons": label, "batch": 1, "us/shower": f"{text} ms", "faster": "1"})
        except ParhelionError as error:
            print(f"Geant4 is left out: {error}")
        for name, surrogate in loaded:
            for batch in (1, 1000):
                mean, error_of = seconds(surrogate, asked, batch, options.seconds)
                rows.append(
                    {
                        "model": name,
                        "electrons": label,
                        "batch": batch,
                        "us/shower": f"{1e6 * mean:.0f} +- {1e6 * error_of:.0f}",
                        "faster": f"{slow / mean:,.0f}",
                    }
                )
    print(describe(cores_used=1, seed=options.seed))
    print(table(rows))


if __name__ == "__main__":
    main()
