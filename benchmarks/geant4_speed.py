"""Processor time of Geant4 for one shower, on one core: what a surrogate has to beat.

Run with ``python benchmarks/geant4_speed.py``. Time is that which the engine's own process spends between events, so
start-up (about a second, given apart) and a busy machine do not count. The error is the spread over batches.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from common import describe, table
from parhelion import noise
from parhelion.simulators import simulator
from parhelion.simulators.calorimeter import Calorimeter, event_seeds
from parhelion.simulators.geant4 import Primaries, engine, run

BATCH = 5


def measure(made: Calorimeter, showers: int, seed: int) -> dict[str, object]:
    """Time of a number of showers in one engine."""
    mean: list[float] = []

    def batches() -> Iterator[Primaries]:
        for start in range(0, showers, BATCH):
            ids = np.arange(start, min(start + BATCH, showers))
            shot = made.primaries(made.condition(noise.uniform(seed, ids, 8)), event_seeds(seed, ids))
            mean.extend(shot.energy / 1000)
            yield shot

    start = time.perf_counter()
    per_shower = [
        1000 * found.seconds / len(found.passive) for found in run(made.engine(), made.detector, batches(), 1)
    ]
    wall = time.perf_counter() - start
    error = np.std(per_shower, ddof=1) / np.sqrt(len(per_shower))
    return {
        "mean energy [GeV]": f"{np.mean(mean):.1f}",
        "showers": showers,
        "CPU ms/shower": f"{np.mean(per_shower):.1f} +- {error:.1f}",
        "wall ms/shower with start-up": f"{1000 * wall / showers:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--showers", type=int, default=200, help="showers a line; fewer at high energies")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    n, rows = options.showers, []
    for energy, share in ((1, 1.0), (10, 0.5), (50, 0.2)):
        made = simulator("ecal", {"momentum_min": energy, "momentum_max": energy})
        rows.append({"simulator": f"ecal, {energy} GeV"} | measure(made, max(20, int(share * n)), options.seed))
    rows.append({"simulator": "ecal, E^-1.5 from 1 to 100 GeV"} | measure(simulator("ecal"), 2 * n, options.seed))
    for name in ("calogan", "cylinder", "cube"):
        made = simulator(name, {"energy_min": 10, "energy_max": 10})
        rows.append({"simulator": f"{name}, 10 GeV"} | measure(made, max(20, n // 4), options.seed))
    made_by = engine().provenance()
    print(describe(seed=options.seed, batch=BATCH, cores_used=1, **made_by))
    print(table(rows))


if __name__ == "__main__":
    main()
