"""The default RICH surrogate against a large independent test sample.

    python benchmarks/rich_default.py runs/rich --tracks 2000000

At the size of the demo's test sample, statistics alone move an efficiency or an AUC by more than the bounds. Here the
surrogate of a finished run is judged on as many simulated tracks of true signal as asked for; the classifier takes a
part of them. The rows called "simulation" judge, in a surrogate's place, as many newly simulated tracks as the training
sample is worth: no surrogate that has learned from such a sample need do better, so a bound that they miss is none that
this training sample can meet.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from common import describe, signal_only, table
from parhelion import generate, io, load
from parhelion.config import LoadedStudy, load_study
from parhelion.evaluation import evaluate
from parhelion.sample import Sample, concatenate
from parhelion.simulators import rich

METRICS = ["classifier", "auc_map", "efficiency", "structure"]


def signal(args: argparse.Namespace) -> Iterator[Sample]:
    """Tracks of true signal with weights 1, in chunks: simulated now, or beforehand."""
    if args.sample is None:
        chunks = rich.simulate(2 * (args.tracks + args.effective), seed=args.seed, calibration=True)
    else:
        chunks = io.iterate(args.sample)
    for chunk in chunks:
        yield signal_only(chunk)


def parts(args: argparse.Namespace) -> tuple[Sample, Sample]:
    """The test sample, and after it the tracks in a surrogate's place."""
    kept: list[Sample] = []
    skip, want = args.skip, args.tracks + args.effective
    for chunk in signal(args):
        part, skip = chunk.take(slice(skip, None)), max(0, skip - len(chunk))
        kept.append(part)
        if sum(map(len, kept)) >= want:
            break
    whole = concatenate(kept)
    return whole.take(slice(0, len(whole) - args.effective)), whole.take(slice(len(whole) - args.effective, None))


def judged(
    name: str, reference: Sample, made: Sample, loaded: LoadedStudy, args: argparse.Namespace
) -> list[dict[str, object]]:
    """Rows of the table: all quantities of the study's metrics with errors and nulls."""
    rows: list[dict[str, object]] = []
    for metric, options in loaded.metrics:
        if metric not in args.metrics:
            continue
        limit = args.classifier_rows if metric == "classifier" else None
        chosen = dataclasses.replace(options, importance=False) if metric == "classifier" else options
        for result in evaluate(reference, made, [(metric, chosen)], seed=args.seed, max_rows=limit):
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
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of the study rich")
    parser.add_argument("--tracks", type=int, default=2_000_000, help="tracks of true signal to judge with")
    parser.add_argument(
        "--sample", type=Path, help="calibration sample simulated beforehand, independent of the training"
    )
    parser.add_argument("--skip", type=int, default=0, help="tracks of true signal to leave out at its beginning")
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--classifier-rows", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--effective", type=int, default=377_000, help="effective size of the training sample")
    parser.add_argument("--surrogates", nargs="+", default=["surrogate", "student"])
    args = parser.parse_args()
    test, rival = parts(args)
    loaded = load_study("rich")
    rows = []
    for name in args.surrogates:
        made = generate(load(args.run / f"{name}.safetensors"), test, seed=args.seed, outside="flag")
        inside = made["outside_domain"] == 0
        rows += judged(name, test.take(inside), made.take(inside), loaded, args)
    rows += judged("simulation", test, rival, loaded, args)
    print(
        describe(
            test_rows=len(test),
            seed=args.seed,
            effective=args.effective,
            classifier_rows=args.classifier_rows,
        )
    )
    print(table(rows))


if __name__ == "__main__":
    main()
