"""The encoded table and the order of its rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_toys import SCHEMA, Line, line_sample

from parhelion.errors import DataError, WriteError
from parhelion.sample import Sample
from parhelion.surrogates import Batch
from parhelion.training import table as table_module
from parhelion.training.table import RowOrder, TrainingTable, chunks, draws_seed
from parhelion.weights import scale_to_unit_mean


def tied_sample() -> Sample:
    """y equals x in every row with a < 0."""
    sample = line_sample(400)
    columns = dict(sample.columns)
    columns["y"] = np.where(columns["a"] < 0, columns["x"], columns["y"])
    return Sample(SCHEMA, columns, weight=sample.weight)


@pytest.mark.parametrize("sample", [line_sample(400), tied_sample()], ids=["free", "tied"])
def test_file_table_is_the_memory_table(tmp_path, sample):
    surrogate = Line(SCHEMA)
    surrogate.prepare(sample, seed=0)
    parts = [sample.take(slice(i, i + 150)) for i in range(0, 400, 150)]
    memory = TrainingTable.from_chunks([sample], surrogate, rows=400)
    file = TrainingTable.from_chunks(parts, surrogate, rows=400, file=tmp_path / "run" / "table", limit=100)
    assert torch.equal(memory.matrix, file.matrix)
    assert memory.fingerprint() == file.fingerprint()
    assert list((tmp_path / "run").iterdir()) == []
    rows = torch.tensor([5, 3, 399], dtype=torch.int32)
    batch, encoded = file.batch(rows, "cpu"), surrogate.encode(sample)
    assert torch.equal(batch.response, encoded.response[rows])
    assert torch.equal(batch.condition, encoded.condition[rows])
    assert torch.equal(batch.active, encoded.active[rows])
    expected = scale_to_unit_mean(sample.weight)[rows.numpy()]
    np.testing.assert_allclose(batch.weight.numpy(), expected, rtol=1e-6)
    assert bool(encoded.active.all()) != file.masked


def test_family_may_put_more_beside_the_response():
    class Wide(Line):
        encoded_width = 3

        def encode(self, sample):
            batch = super().encode(sample)
            return Batch(torch.cat([batch.response, batch.response[:, :1]], dim=1), *list(vars(batch).values())[1:])

    surrogate, sample = Wide(SCHEMA), tied_sample()
    surrogate.prepare(sample, seed=0)
    batch = TrainingTable.from_chunks([sample], surrogate, rows=400).batch(slice(0, 400), "cpu")
    assert torch.equal(batch.response, surrogate.encode(sample).response)
    assert torch.equal(batch.active, surrogate.encode(sample).active)


def test_sample_that_changes_between_readings():
    surrogate = Line(SCHEMA)
    surrogate.prepare(line_sample(50), seed=0)
    for rows in (40, 60):
        with pytest.raises(DataError, match=f"had {rows} rows when it was first read and 50 rows the second time"):
            TrainingTable.from_chunks([line_sample(50)], surrogate, rows=rows)


def test_encoded_rows_must_be_finite():
    surrogate = Line(SCHEMA)
    surrogate.prepare(line_sample(50), seed=0)
    surrogate.codec.scale.register_forward_hook(lambda module, inputs, out: out.index_fill(0, torch.tensor(7), np.nan))
    with pytest.raises(DataError, match=r"lines.npz, row 7: encoded values are not finite"):
        TrainingTable.from_chunks([line_sample(50)], surrogate, rows=50)


def test_table_that_cannot_be_written(tmp_path):
    surrogate = Line(SCHEMA)
    surrogate.prepare(line_sample(50), seed=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        TrainingTable.from_chunks([line_sample(50)], surrogate, rows=50, file=tmp_path / "file" / "t", limit=0)


def test_chunks_are_bounded_and_complete(monkeypatch):
    monkeypatch.setattr(table_module, "CHUNK", 64)
    sample = line_sample(200)
    for source in (sample, [sample], lambda: iter([sample])):
        parts = list(chunks(source))
        assert [len(p) for p in parts] == [64, 64, 64, 8]
        np.testing.assert_array_equal(np.concatenate([p["x"] for p in parts]), sample["x"])
    with pytest.raises(DataError, match="can be read only once; give a list or a function"):
        list(chunks(iter([sample])))


@given(rows=st.integers(1, 40), share=st.floats(0.01, 1.0), seed=st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=30)
def test_every_row_comes_once_an_epoch(rows, share, seed):
    batch = max(1, int(rows * share))
    order = RowOrder(rows, batch, seed)
    stream = torch.cat([order.batch(k) for k in range(4 * rows // batch + 1)])
    assert all(len(order.batch(k)) == batch for k in range(3))
    for epoch in range(4):
        piece = stream[epoch * rows : (epoch + 1) * rows]
        assert torch.equal(piece.sort().values, torch.arange(rows, dtype=torch.int32))


def test_order_has_no_state():
    order = RowOrder(100, 30, seed=4)
    forwards = [order.batch(k) for k in range(20)]
    for k in (17, 2, 9):
        assert torch.equal(RowOrder(100, 30, seed=4).batch(k), forwards[k])
    assert not torch.equal(forwards[0], RowOrder(100, 30, seed=5).batch(0))


def test_draws_differ_between_turns_and_steps():
    seeds = {draws_seed(seed, step, turn) for seed in range(3) for step in range(20) for turn in range(5)}
    assert len(seeds) == 300
