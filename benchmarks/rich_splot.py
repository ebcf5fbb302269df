"""What sWeights are worth: surrogates trained with them, without them, and on true signal, against true signal.

    python benchmarks/rich_splot.py --seconds 120 --out splot.png

All learn from the same simulated calibration rows (the last from their true signal alone) with the same budget, and are
judged on independent tracks of true signal. Real data never give the last one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from common import describe, judged, rich_samples, signal_only, table
from parhelion import generate
from parhelion.sample import Sample
from parhelion.surrogates import SURROGATES
from parhelion.training import fit


def figure(test: Sample, made: dict[str, Sample], path: Path) -> None:
    """Distribution of DLLk of kaons, and its ratio to true signal."""
    drawn = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = np.linspace(-60, 90, 61)
    centre = 0.5 * (edges[1:] + edges[:-1])
    kaons = test["pid"] == 321
    truth = np.histogram(test["RichDLLk"][kaons], edges)[0].astype(float)
    error = np.sqrt(truth)
    top.errorbar(centre, truth, error, fmt="k.", label="true signal (independent)")
    for name, sample in made.items():
        counts = np.histogram(sample["RichDLLk"][sample["pid"] == 321], edges)[0].astype(float)
        line = top.stairs(counts, edges, label=f"trained {name}")
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(truth > 20, counts / truth, np.nan)
        bottom.stairs(ratio, edges, color=line.get_edgecolor(), baseline=None)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(truth > 20, error / truth, np.nan)
    bottom.errorbar(centre, np.where(truth > 20, 1.0, np.nan), relative, fmt="k.", ms=2)
    top.set_yscale("log")
    top.set_ylabel("kaons per bin")
    top.legend()
    top.set_title("Parhelion simulation", loc="left", fontsize="medium")
    bottom.set_ylim(0.5, 1.5)
    bottom.set_ylabel("generated / true")
    bottom.set_xlabel("RichDLLk")
    drawn.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--test-rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-rich"))
    parser.add_argument("--out", type=Path, default=Path("splot.png"))
    args = parser.parse_args()
    loaded, train, validation, test = rich_samples(args.folder, rows=args.rows, test_rows=args.test_rows)
    print(f"training sample: {train.weights}")
    variants = {
        "with sWeights": (train, validation),
        "ignoring weights": tuple(s.with_weight(np.ones(len(s))) for s in (train, validation)),
        "on true signal": (signal_only(train), signal_only(validation)),
    }
    training = loaded.config.training.model_copy(update={"seconds": args.seconds, "steps": None, "seed": args.seed})
    rows, made = [], {}
    for name, (sample, held) in variants.items():
        surrogate = SURROGATES[loaded.family](sample.schema, loaded.surrogate)
        steps = fit(surrogate, sample, config=training, validation=held).steps
        made[name] = generate(surrogate, test, seed=args.seed, outside="flag")
        rows.append({"trained": name, **judged(loaded, surrogate, test, seed=args.seed), "steps": steps})
    print(
        describe(rows=args.rows, test_rows=len(test), seconds=args.seconds, seed=args.seed, batch=training.batch_size)
    )
    print(table(rows))
    figure(test, made, args.out)
    print(f"figure: {args.out}")


if __name__ == "__main__":
    main()
