from __future__ import annotations

import numpy as np
import pytest

from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema(
    condition=(
        Field("P", "GeV"),
        Field("species/true", kind="category", values=(11, 211), labels=("e", "pi")),
    ),
    response=(Field("E", "GeV", (3, 5)), Field("p4", "GeV", (4,))),
    extra=(Field("nTracks", kind="integer"), Field("isMuon", kind="integer")),
)


def _make(rows: int, *, first: int = 0, seed: int = 1) -> Sample:
    """Sample with every kind, several types, signed weights, huge unordered ids and groups."""
    rng = np.random.default_rng((seed, first))
    return Sample(
        SCHEMA,
        {
            "P": rng.uniform(3, 100, rows).astype(np.float32),
            "species/true": rng.choice([11, 211], rows).astype(np.int16),
            "E": rng.normal(size=(rows, 3, 5)).astype(np.float32),
            "p4": rng.normal(size=(rows, 4)),
            "nTracks": rng.integers(0, 2**62, rows),
            "isMuon": rng.random(rows) < 0.5,
        },
        weight=rng.normal(0.5, 1, rows),
        event_id=(np.uint64(2**63) + rng.permutation(rows).astype(np.uint64) + np.uint64(first)),
        group=np.arange(first, first + rows) // 3,
        source="made",
    )


def _require_equal(got: Sample, expected: Sample) -> None:
    """Bitwise equality of schema, values and types."""
    assert got.schema == expected.schema
    for name, values in expected.columns.items():
        assert got[name].dtype == values.dtype, name
        np.testing.assert_array_equal(got[name], values, err_msg=name)
    np.testing.assert_array_equal(got.weight, expected.weight)
    np.testing.assert_array_equal(got.event_id, expected.event_id)
    np.testing.assert_array_equal(got.group, expected.group)


@pytest.fixture(scope="session")
def make():
    return _make


@pytest.fixture(scope="session")
def require_equal():
    return _require_equal


@pytest.fixture(params=[".root", ".h5", ".parquet", ".npz"])
def suffix(request):
    return request.param
