"""The RICH simulation against real LHCb data: kaon efficiency and pion misidentification against momentum.

The real numbers are PIDCalib efficiencies of 2018 data, magnet polarity up, for kaons and pions of D*+ -> D0(K pi) pi
(tool: L. Anderlini et al., LHCb-PUB-2016-021; samples: R. Aaij et al., EPJ Techn. Instrum. 6 (2019) 1). Their
statistical errors are 0.001 to 0.015. They hold for that year's occupancy and selection, so agreement to about 0.02 is
what can be asked of a simulation without the detector's geometry.

The simulated tracks are the true signal of the calibration mode, with the phase space of D0 daughters: at a given
momentum it decides how many tracks cross RICH2, which matters more than any constant. The effective parameters of the
simulation, marked [fit] in `parhelion.simulators.rich_constants`, were tuned to these very numbers: this checks the
tune, it is not an independent test.

Run with ``python benchmarks/rich_anchor.py --tracks 400000``. Exit code 1 if a requirement fails.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parhelion.files import atomic_path
from parhelion.sample import Sample
from parhelion.simulators import rich

Floats = npt.NDArray[np.float64]

EDGES = np.array(
    [3, 9.3, 15.6, 19, 24.4, 29.8, 35.2, 40.6, 46, 51.4, 56.8, 62.2, 67.6, 73, 78.4, 83.8, 89.2, 94.6, 100]
)


@dataclass(frozen=True)
class Curve:
    """Share of tracks of `pid` with RichDLLk above `cut`: the real values and the allowed mean |difference|."""

    title: str
    pid: int
    cut: float
    real: Floats
    allowed: float


CURVES = (
    Curve(
        "K efficiency, DLLk > 0",
        321,
        0.0,
        np.array([
            .971, .989, .994, .992, .993, .981, .978, .966, .957,
            .935, .937, .923, .906, .870, .866, .842, .801, .792,
        ]),
        0.02,
    ),
    Curve(
        "pi misidentification, DLLk > 0",
        211,
        0.0,
        np.array([
            .058, .046, .017, .015, .023, .041, .050, .067, .084,
            .096, .123, .146, .168, .195, .239, .312, .291, .339,
        ]),
        0.02,
    ),
    Curve(
        "K efficiency, DLLk > 4",
        321,
        4.0,
        np.array([
            .939, .983, .989, .987, .985, .957, .948, .918, .896,
            .859, .830, .799, .711, .638, .582, .492, .428, .342,
        ]),
        0.05,
    ),
)  # fmt: skip


class Counter:
    """Passed and all tracks of each curve in each momentum bin."""

    def __init__(self) -> None:
        self.passed = np.zeros((len(CURVES), len(EDGES) - 1))
        self.total = np.zeros_like(self.passed)

    def add(self, sample: Sample) -> None:
        """Count true signal tracks with RICH information, as the calibration samples ask for."""
        known = (sample.response != 0.0).any(axis=1) & (sample["is_signal"] == 1)
        for i, curve in enumerate(CURVES):
            rows = known & (sample["pid"] == curve.pid)
            self.total[i] += np.histogram(sample["P"][rows], EDGES)[0]
            rows &= sample["RichDLLk"] > curve.cut
            self.passed[i] += np.histogram(sample["P"][rows], EDGES)[0]

    def result(self) -> tuple[Floats, Floats]:
        """Efficiency and its binomial error, shape (curves, bins)."""
        value = self.passed / np.maximum(self.total, 1.0)
        return value, np.sqrt(np.maximum(value * (1.0 - value), 1e-4) / np.maximum(self.total, 1.0))


def draw(value: Floats, error: Floats, tracks: int, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import mplhep

    with plt.style.context(mplhep.style.LHCb2):
        figure, (above, below) = plt.subplots(
            2, 1, figsize=(12, 12), sharex=True, height_ratios=(3, 1), constrained_layout=True
        )
        centres, halves = 0.5 * (EDGES[1:] + EDGES[:-1]), 0.5 * np.diff(EDGES)
        for i, (curve, colour) in enumerate(zip(CURVES, ("C0", "C1", "C2"), strict=True)):
            above.stairs(curve.real, EDGES, baseline=None, color=colour, linewidth=2.5, label=curve.title)
            above.errorbar(centres, value[i], error[i], halves, fmt="o", color=colour, markersize=7)
            below.errorbar(centres, value[i] - curve.real, error[i], halves, fmt="o", color=colour, markersize=7)
        below.axhline(0.0, color="black", linewidth=1)
        above.set_ylim(0.0, 1.05)
        above.set_ylabel("Efficiency")
        above.legend(
            title="Lines: data, points: simulation",
            fontsize=20,
            title_fontsize=20,
            alignment="left",
            loc="center left",
            bbox_to_anchor=(0.02, 0.5),
        )
        above.set_title(f"RICH, {tracks:,} simulated tracks; PIDCalib 2018, magnet up", fontsize=22)
        below.set_ylabel("Sim. $-$ data")
        below.set_ylim(-0.1, 0.1)
        below.set_xlabel("$P$ [GeV]")
        below.set_xlim(0.0, 100.0)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=80)
        plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=2018)
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("rich_anchor.png"))
    options = parser.parse_args()
    counter = Counter()
    for sample in rich.simulate(options.tracks, seed=options.seed, calibration=True, processes=options.processes):
        counter.add(sample)
    value, error = counter.result()
    failed = 0
    for i, curve in enumerate(CURVES):
        print(f"\n{curve.title}\n   P [GeV]        data   simulation        difference")
        for b in range(len(EDGES) - 1):
            print(
                f"{EDGES[b]:6.1f} - {EDGES[b + 1]:5.1f}  {curve.real[b]:7.3f}  {value[i, b]:.3f} +- {error[i, b]:.3f}"
                f"  {value[i, b] - curve.real[b]:+8.3f}"
            )
        difference = value[i] - curve.real
        mean = float(np.abs(difference).mean())
        spread = float(np.sqrt((error[i] ** 2).sum()) / len(difference))
        good = mean <= curve.allowed
        failed += not good
        print(
            f"mean |difference| {mean:.4f} +- {spread:.4f}, allowed {curve.allowed:.2f}: {'pass' if good else 'FAIL'}"
        )
    draw(value, error, options.tracks, options.out)
    print(f"\n{options.tracks:,} tracks, seed {options.seed}; figure: {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
