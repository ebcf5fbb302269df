"""One of several processes in the test of data-parallel training."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from training_toys import SCHEMA, Duel, line_sample

from parhelion.training import TrainingConfig, fit

OPTIONS = {"steps": 12, "batch_size": 64, "log_every": 3, "validate_every": 6, "device": "cpu", "clip_norm": 5.0}

if __name__ == "__main__":
    torch.set_num_threads(1)
    out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    surrogate = Duel(SCHEMA)
    fit(
        surrogate,
        line_sample(300),
        config=TrainingConfig(**OPTIONS),
        validation=line_sample(100, seed=1),
        run_dir=out / "steps",
    )
    timed = Duel(SCHEMA)
    result = fit(timed, line_sample(300), config=TrainingConfig(**OPTIONS | {"steps": None, "seconds": 0.2}))
    found = {
        "weights": surrogate.net.weight.tolist(),
        "steps": result.steps,
        "timed": timed.net.weight.tolist(),
    }
    (out / f"rank{rank}.json").write_text(json.dumps(found))
