"""A simulation on an executor's workers gives the rows of one in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parhelion import io
from parhelion.executors import Serial
from parhelion.simulators import simulator
from parhelion.simulators.running import simulate_to_file


@pytest.mark.parametrize("kind", ["camel", "ring"])
def test_the_rows_are_the_same(tmp_path: Path, kind: str, monkeypatch) -> None:
    made = simulator(kind)
    monkeypatch.setattr(type(made), "part_rows", 300)
    simulate_to_file(made, 1000, tmp_path / "alone.h5", seed=5)
    simulate_to_file(made, 1000, tmp_path / "workers.h5", seed=5, executor=Serial())
    one, other = io.read(tmp_path / "alone.h5"), io.read(tmp_path / "workers.h5")
    assert np.array_equal(one.event_id, other.event_id)
    for name in one.columns:
        assert np.array_equal(one[name], other[name])
