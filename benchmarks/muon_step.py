"""One step of Muon on the hidden matrices of the RICH's default surrogate: in one batch, and with torch's own class.

    python benchmarks/muon_step.py

Both run in turns in one process on one thread; CPU time, median over the rounds. Beside them, the product of a batch of
rows with one such matrix, forward and back: what a training step does with it otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from common import describe, table
from parhelion.training.muon import Muon


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrices", type=int, default=10, help="hidden matrices (two a block, one block an entry)")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4096, help="rows of the product beside them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    ours, theirs = (matrices(args.matrices, args.width) for _ in range(2))
    steps: dict[str, Callable[[], object]] = {
        "parhelion Muon": Muon(ours, lr=1e-3, momentum=0.95, weight_decay=0.0).step,
        "torch Muon": torch.optim.Muon(theirs, lr=1e-3, weight_decay=0.0).step,
    }
    rows = torch.randn(args.batch, args.width)
    steps["products with rows"] = lambda: [(rows @ p.data, rows.T @ (rows @ p.data)) for p in ours]
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    # The first round warms up.
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    print(describe(**vars(args), threads=1, torch=torch.__version__))
    least = medians["parhelion Muon"]
    print(table([{"step": n, "CPU ms": f"{1e3 * s:.1f}", "ratio": f"{s / least:.1f}"} for n, s in medians.items()]))


def matrices(count: int, width: int) -> list[nn.Parameter]:
    found = [nn.Parameter(torch.randn(width, width)) for _ in range(count)]
    for parameter in found:
        parameter.grad = torch.randn(width, width)
    return found


if __name__ == "__main__":
    main()
