"""Every family and objective on the RICH at the same CPU budget: quality, training time, generation rate.

    python benchmarks/rich_objectives.py --seconds 120 --jobs 2

Each entry trains on one thread for the same number of seconds (the library learns at once) on the calibration sample of
the study `rich` with its sWeights, and is judged on independent tracks of true signal. Entries run side by side.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RMSPROP = {"kind": "rmsprop", "learning_rate": 5e-4, "smoothing": 0.9}
ADAM = {"kind": "adam", "learning_rate": 3e-4, "betas": [0.5, 0.9]}


def gan(objective: Any, penalty: Any = None, **more: Any) -> dict[str, Any]:
    size = {"generator": {"width": 128, "depth": 5}, "critic": {"width": 128, "depth": 5}}
    chosen = {"objective": objective, **size, **more}
    return {"kind": "gan", **chosen, **({"penalty": penalty} if penalty else {})}


CHAIN = {"kind": "flow", "map": "spline_chain", "layers": 1, "bins": 16, "width": 128, "depth": 1}
ENTRIES: dict[str, tuple[dict[str, Any], Any]] = {
    "flow, spline chain": (CHAIN, None),
    "matching": ({"kind": "matching"}, None),
    "flow, spline autoregressive": ({"kind": "flow", "map": "spline_autoregressive"}, None),
    "flow, spline coupling": ({"kind": "flow", "map": "spline_coupling"}, None),
    "flow, affine autoregressive": ({"kind": "flow", "map": "affine_autoregressive"}, None),
    "flow, affine coupling": ({"kind": "flow", "map": "affine_coupling"}, None),
    "flow, planar": ({"kind": "flow", "map": "planar", "layers": 16}, None),
    "library, k = 1": ({"kind": "library", "k": 1}, None),
    "library, k = 16": ({"kind": "library", "k": 16}, None),
    "library, k = 16, interpolated": ({"kind": "library", "k": 16, "mode": "interpolate"}, None),
    "gan, Jensen-Shannon": (gan("jensen_shannon", "none"), ADAM),
    "gan, Jensen-Shannon saturating": (gan({"kind": "jensen_shannon", "saturating": True}, "none"), ADAM),
    "gan, Jensen-Shannon, R1": (gan("jensen_shannon", "r1"), ADAM),
    "gan, Jensen-Shannon, logit gradient": (gan("jensen_shannon", "logit_gradient"), ADAM),
    "gan, least squares": (gan("least_squares"), ADAM),
    "gan, Wasserstein, clipping": (gan("wasserstein_clipping"), RMSPROP),
    "gan, Wasserstein, gradient penalty": (gan("wasserstein"), ADAM),
    "gan, Cramer": (gan("cramer"), ADAM),
    "gan, energy-based": (gan("energy_based"), ADAM),
}


def run_entry(name: str, folder: str, seconds: float, rows: int, test_rows: int, seed: int) -> dict[str, Any]:
    import torch

    from common import judged, rich_samples
    from parhelion.surrogates import SURROGATES
    from parhelion.training import TrainingConfig, fit

    torch.set_num_threads(1)
    loaded, train, validation, test = rich_samples(Path(folder), rows=rows, test_rows=test_rows)
    options, optimiser = ENTRIES[name]
    options = {**options, "codec": loaded.surrogate.codec.model_dump(mode="json")}
    family = SURROGATES[options.pop("kind")]
    training = loaded.config.training.model_copy(update={"seconds": seconds, "steps": None, "seed": seed})
    if optimiser is not None:
        plain = {**training.model_dump(mode="json"), "optimiser": optimiser}
        training = TrainingConfig.model_validate(plain)
    surrogate = family(train.schema, family.Config.model_validate(options))
    start = time.perf_counter()
    steps: int | str = "-"
    try:
        if surrogate.kind == "library":
            surrogate.prepare(train, seed=seed)
        else:
            steps = fit(surrogate, train, config=training, validation=validation).steps
        spent = time.perf_counter() - start
        numbers = judged(loaded, surrogate, test, seed=seed)
    except Exception as error:  # a diverged objective is a result, not the end of the benchmark
        return {"surrogate": name, "failed": f"{type(error).__name__}: {error}"}
    return {"surrogate": name, **numbers, "steps": steps, "training s": f"{spent:.0f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="training budget of each entry, one thread")
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--test-rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="entries whose name contains this")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-rich"))
    args = parser.parse_args()

    from common import describe, rich_samples, table

    rich_samples(args.folder, rows=args.rows, test_rows=args.test_rows)
    names = [name for name in ENTRIES if args.only is None or args.only in name]
    settings = (str(args.folder), args.seconds, args.rows, args.test_rows, args.seed)
    done: list[dict[str, Any]] = []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for result in pool.map(run_entry, names, *([value] * len(names) for value in settings)):
            print(json.dumps(result), flush=True)
            done.append(result)
    good = sorted((r for r in done if "failed" not in r), key=lambda r: str(r["classifier AUC"]))
    print(describe(rows=args.rows, test_rows=args.test_rows, seconds=args.seconds, seed=args.seed, jobs=args.jobs))
    print("each entry on one thread; generation in batches of 16,384 on one thread, noise included")
    print(table(good))
    for result in done:
        if "failed" in result:
            print(f"failed: {result['surrogate']}: {result['failed']}")


if __name__ == "__main__":
    main()
