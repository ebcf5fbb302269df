"""The default RICH surrogate against a large independent test sample.

    python benchmarks/rich_default.py runs/rich --rows 3000000

At the size of the demo's test sample, statistics alone move an efficiency or an AUC by more than the bounds. Here the
surrogate of a finished run is judged on as many simulated tracks of true signal as asked for; the classifier takes a
part of them.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from common import describe, table
from parhelion import generate, load
from parhelion.config import load_study
from parhelion.evaluation import evaluate
from parhelion.sample import concatenate
from parhelion.simulators import rich


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of the study rich")
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows to simulate, before the selection of signal")
    parser.add_argument("--classifier-rows", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--surrogates", nargs="+", default=["surrogate", "student"])
    args = parser.parse_args()
    chunks = rich.simulate(args.rows, seed=args.seed, calibration=True)
    test = concatenate(chunk.take(chunk["is_signal"] == 1) for chunk in chunks)
    loaded = load_study("rich")
    rows = []
    for name in args.surrogates:
        made = generate(load(args.run / f"{name}.safetensors"), test, seed=args.seed, outside="flag")
        inside = made["outside_domain"] == 0
        ours, theirs = test.take(inside), made.take(inside)
        for metric, options in loaded.metrics:
            if metric in ("histograms", "correlation"):
                continue
            limit = args.classifier_rows if metric == "classifier" else None
            chosen = dataclasses.replace(options, importance=False) if metric == "classifier" else options
            for result in evaluate(ours, theirs, [(metric, chosen)], seed=args.seed, max_rows=limit):
                for quantity, found in result.quantities.items():
                    rows.append(
                        {
                            "surrogate": name,
                            "metric": metric,
                            "on": result.on,
                            "quantity": quantity,
                            "value": f"{found.value:.5f} +- {found.error:.5f}",
                            "null": f"{found.null:.5f} +- {found.null_error:.5f}",
                        }
                    )
    print(describe(rows=args.rows, test_rows=len(test), seed=args.seed, classifier_rows=args.classifier_rows))
    print(table(rows))


if __name__ == "__main__":
    main()
