"""The published Cramer GAN on the RICH at growing budgets, and what its full recipe would cost.

    python benchmarks/rich_cramer.py --budgets 60 240

The study `rich-cramer` (10 x 128 networks, latent 64, embedding 256, 15 critic steps, batch 1000) is stopped at each
budget; its decay of the learning rate is that of the full recipe, so a short run is the beginning of a long one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import describe, judged, rich_samples, table
from parhelion.config import load_study
from parhelion.surrogates import SURROGATES
from parhelion.training import fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=float, nargs="+", default=[60.0, 240.0], help="seconds")
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--test-rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-rich"))
    args = parser.parse_args()
    rich, train, validation, test = rich_samples(args.folder, rows=args.rows, test_rows=args.test_rows)
    loaded = load_study("rich-cramer")
    recipe = loaded.config.training
    lines = []
    seconds_a_step = 0.0
    for budget in args.budgets:
        training = recipe.model_copy(update={"seconds": budget, "seed": args.seed})
        surrogate = SURROGATES[loaded.family](train.schema, loaded.surrogate)
        result = fit(surrogate, train, config=training, validation=validation)
        seconds_a_step = result.elapsed / max(result.steps, 1)
        numbers = judged(rich, surrogate, test, seed=args.seed)
        lines.append({"budget s": budget, "generator steps": result.steps, **numbers})
        print(lines[-1], flush=True)
    settings = {"rows": args.rows, "test_rows": args.test_rows, "seed": args.seed, "batch": recipe.batch_size}
    print(describe(**settings))
    print(table(lines))
    hours = seconds_a_step * (recipe.steps or 0) / 3600
    print(
        f"{seconds_a_step:.2f} s a generator step; the full recipe of {recipe.steps:,} steps: {hours:,.0f} hours here"
    )


if __name__ == "__main__":
    main()
