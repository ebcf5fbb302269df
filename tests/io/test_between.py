"""Rows from one to another of a file are what reading it whole gives there; uncompressed files hold the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parhelion import io
from parhelion.sample import Field, Sample, Schema

ROWS = 1000
SCHEMA = Schema((Field("x", "GeV"),), (Field("cells", "GeV", (2, 3)),), (Field("n", kind="integer"),))


def _sample() -> Sample:
    g = np.random.default_rng(1)
    columns = {
        "x": g.uniform(1, 9, ROWS).astype(np.float32),
        "cells": g.normal(size=(ROWS, 2, 3)).astype(np.float32),
        "n": g.integers(0, 9, ROWS),
    }
    return Sample(SCHEMA, columns, event_id=g.permutation(5000)[:ROWS])


@pytest.mark.parametrize("suffix", [".root", ".h5", ".parquet", ".npz"])
@pytest.mark.parametrize("compress", [True, False])
def test_a_range_of_rows_is_what_the_whole_holds_there(tmp_path: Path, suffix: str, compress: bool) -> None:
    sample, path = _sample(), tmp_path / f"x{suffix}"
    io.write((sample.take(slice(i, i + 90)) for i in range(0, ROWS, 90)), path, compress=compress)
    for start, stop in ((0, ROWS), (0, 1), (123, 457), (990, ROWS + 50)):
        parts = list(io.iterate_between(path, None, start, stop, chunk_rows=100))
        expected = sample.take(slice(start, stop))
        for name in ("x", "cells", "n"):
            assert np.array_equal(np.concatenate([p[name] for p in parts]), expected[name])
        assert np.array_equal(np.concatenate([p.event_id for p in parts]), expected.event_id)
        assert max(len(p) for p in parts) <= 100


def test_row_numbers_and_selection_count_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("x\n" + "\n".join(str(i) for i in range(50)))
    layout = io.Layout((io.FieldSource(Field("x")),), ())
    (part,) = io.iterate_between(path, layout, 10, 20, first_row=1000, selection="x > 14")
    assert part.event_id.tolist() == [1015, 1016, 1017, 1018, 1019]
    assert list(io.iterate_between(path, layout, 10, 20, selection="x > 30")) == []


def test_row_groups_that_lie_elsewhere_are_not_read(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": np.arange(1000.0)}), path, row_group_size=100)
    asked: list[list[int]] = []
    original = pq.ParquetFile.iter_batches

    def spy(self, *args, row_groups, **options):
        asked.append(list(row_groups))
        return original(self, *args, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    layout = io.Layout((io.FieldSource(Field("x")),), ())
    for start, stop, groups in ((200, 300, [2]), (250, 450, [2, 3, 4]), (0, 100, [0]), (999, 1000, [9])):
        found = np.concatenate([p["x"] for p in io.iterate_between(path, layout, start, stop)])
        assert np.array_equal(found, np.arange(start, stop))
        assert asked.pop() == groups
