"""Two gloo processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ddp_worker import OPTIONS
from training_toys import SCHEMA, Duel, line_sample

from parhelion.errors import ConfigError
from parhelion.training import TrainingConfig, fit, read_curves
from parhelion.training.distributed import Processes
from parhelion.training.state import TrainingState


def test_two_processes_give_the_curve_of_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    here = Path(__file__).parent
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(here)}
    done = subprocess.run(
        [*command, str(here / "ddp_worker.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = Duel(SCHEMA)
    fit(
        alone,
        line_sample(300),
        config=TrainingConfig(**OPTIONS),
        validation=line_sample(100, seed=1),
        run_dir=tmp_path / "alone",
    )
    one, two = read_curves(tmp_path / "alone"), read_curves(tmp_path / "steps")
    assert set(one) == set(two)
    for name in one:
        if name not in ("rate", "elapsed"):
            np.testing.assert_array_equal(one[name].step, two[name].step)
            np.testing.assert_allclose(one[name].value, two[name].value, rtol=1e-5, atol=1e-6)
    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1)]
    assert ranks[0] == ranks[1], "the processes took different decisions"
    assert ranks[0]["steps"] > 0
    np.testing.assert_allclose(ranks[0]["weights"], alone.net.weight.tolist(), rtol=1e-5, atol=1e-6)


def test_batch_must_be_shared_evenly():
    surrogate = Duel(SCHEMA)
    surrogate.prepare(line_sample(50), seed=0)
    with pytest.raises(ConfigError, match="batch_size 65 with 50 rows cannot be shared by 2 processes"):
        TrainingState(surrogate, TrainingConfig(steps=1, batch_size=65), Processes(0, 2, torch.device("cpu")), rows=50)


def test_gpu_asked_for_and_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no usable GPU; choose auto or cpu"):
        fit(Duel(SCHEMA), line_sample(50), config=TrainingConfig(steps=1, device="cuda"))
