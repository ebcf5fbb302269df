"""Speed of the RICH simulation: tracks a second after compilation, on one core and on more.

Run with ``python benchmarks/rich_speed.py``. Wall-clock times; the CPU time of the process tells how much of a core the
machine really gave.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

from parhelion.simulators import rich


def machine() -> str:
    """Processor name and number of cores."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def measure(tracks: int, seed: int, processes: int, per_event: int, calibration: bool = False) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    stream = rich.simulate(tracks, seed=seed, processes=processes, tracks_per_event=per_event, calibration=calibration)
    rows = sum(len(sample) for sample in stream)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    mode = "calibration" if calibration else "plain"
    print(f"{mode:12} {processes:9d} {per_event:12d} {rows:9,d} {wall:8.2f} {rows / wall:12,.0f} {rows / cpu:12,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=48_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    for _ in rich.simulate(1, seed=0, processes=1):
        pass
    print(f"machine: {machine()}; seed {options.seed}")
    print(f"compilation (or loading from numba's cache): {time.perf_counter() - start:.1f} s")
    heads = f"{'mode':12} {'processes':>9} {'tracks/event':>12}"
    print(f"{heads} {'tracks':>9} {'wall s':>8} {'tracks/s':>12} {'per CPU s':>12}")
    for per_event in (8, rich.TRACKS_PER_EVENT, 24):
        measure(options.tracks, options.seed, 1, per_event)
    measure(options.tracks, options.seed, 2, rich.TRACKS_PER_EVENT)
    measure(options.tracks, options.seed, 2, rich.TRACKS_PER_EVENT, calibration=True)


if __name__ == "__main__":
    main()
