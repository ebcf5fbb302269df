"""Writing then reading gives the identical sample back, in every format."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parhelion.errors import DataError, WriteError
from parhelion.io import columns, iterate, provenance, read, stored_layout, write
from parhelion.sample import Field, Sample, Schema, concatenate

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
SUFFIXES = (".root", ".h5", ".parquet", ".npz")


def test_round_trip_is_exact(tmp_path, suffix, make, require_equal):
    sample = make(257)
    rows = write(sample, tmp_path / f"a{suffix}", provenance={"seed": 7, "versions": {"numpy": "2"}, "µ": [1.5]})
    assert rows == 257
    require_equal(read(tmp_path / f"a{suffix}"), sample)
    assert provenance(tmp_path / f"a{suffix}") == {"seed": 7, "versions": {"numpy": "2"}, "µ": [1.5]}
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_stream_of_unequal_parts_gives_the_same_file_content(tmp_path, suffix, make, require_equal):
    parts = [make(100), make(100).take(slice(0, 0)), make(1, first=100), make(333, first=101)]
    write(iter(parts), tmp_path / f"a{suffix}")
    require_equal(read(tmp_path / f"a{suffix}"), concatenate(parts))


def test_pieces_of_bounded_size(tmp_path, suffix, make, require_equal, monkeypatch):
    monkeypatch.setattr("parhelion.io.writing._PIECE_ROWS", 10)
    parts = [make(25), make(3, first=25), make(3, first=28), make(11, first=31)]
    write(iter(parts), tmp_path / f"a{suffix}")
    require_equal(read(tmp_path / f"a{suffix}"), concatenate(parts))


def test_large_provenance(tmp_path, suffix, make):
    # An HDF5 attribute would end at 64 kB.
    text = "x" * 200_000
    write(make(3), tmp_path / f"a{suffix}", provenance={"study": text})
    assert provenance(tmp_path / f"a{suffix}")["study"] == text


@st.composite
def samples(draw):
    rows = draw(st.integers(1, 12))
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    fields, data = [], {}
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
    for name in names:
        kind = draw(st.sampled_from(["continuous", "integer", "category"]))
        shape = () if kind == "category" else draw(st.sampled_from([(), (1,), (4,), (3, 5), (2, 1, 3)]))
        if kind == "continuous":
            dtype = np.dtype(draw(st.sampled_from(["float32", "float64"])))
            values = rng.integers(0, 256, (rows, *shape, dtype.itemsize), dtype=np.uint8).view(dtype)[..., 0]
            values = np.where(np.isfinite(values), values, dtype.type(0))
            fields.append(Field(name, draw(st.sampled_from(["", "GeV", "odd unit"])), shape))
        elif kind == "integer":
            dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
            values = rng.integers(0, 256, (rows, *shape, 8), dtype=np.uint8).view(np.uint64)[..., 0]
            values = (values & 1).astype(bool) if dtype.kind == "b" else values.astype(dtype)
            fields.append(Field(name, "", shape, "integer"))
        else:
            values = rng.choice([-1.5, 11.0, 1e300], rows)
            fields.append(Field(name, "", (), "category", (-1.5, 11.0, 1e300), ("a", "b é", "c")))
        data[name] = values
    cut = draw(st.integers(0, len(fields)))
    schema = Schema(tuple(fields[:cut]), (), tuple(fields[cut:]))
    ids = np.unique(rng.integers(0, 2**64 - 1, 2 * rows, dtype=np.uint64))[:rows]
    weight = rng.normal(0, 10.0 ** draw(st.integers(-200, 200)), rows)
    group = rng.integers(-(2**63), 2**63 - 1, rows)
    return Sample(schema, data, weight=weight, event_id=rng.permutation(ids), group=group)


@pytest.mark.parametrize("kind", SUFFIXES)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(sample=samples())
def test_round_trip_of_anything(kind, sample, require_equal):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{kind}"
        write(sample, path)
        require_equal(read(path), sample)


def test_columns_tell_shape_type_unit_rows(tmp_path, suffix, make):
    write(make(5), tmp_path / f"a{suffix}")
    infos = {c.name: c for c in columns(tmp_path / f"a{suffix}")}
    assert list(infos) == ["P", "species_true", "E", "p4", "nTracks", "isMuon", "weight", "event_id", "group"]
    assert (infos["E"].dtype, infos["E"].shape, infos["E"].rows, infos["E"].unit) == ("float32", (3, 5), 5, "GeV")
    assert infos["isMuon"].dtype == "bool"
    assert infos["weight"].unit is None


def test_big_endian_and_strided_columns_keep_their_values(tmp_path, suffix):
    schema = Schema((Field("x"),), (Field("y", shape=(3,)),))
    y = np.asfortranarray(np.arange(12.0).reshape(4, 3))
    sample = Sample(schema, {"x": np.arange(8, dtype=">f4")[::2], "y": y})
    write(sample, tmp_path / f"a{suffix}")
    back = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back["x"], [0, 2, 4, 6])
    assert back["x"].dtype == np.float32
    np.testing.assert_array_equal(back["y"], y)


def test_names_that_differ_only_in_signs(tmp_path, suffix, require_equal):
    schema = Schema(
        (Field("a/b"), Field("a.b"), Field("weight"), Field("A_B")), (Field("event_id"), Field("parhelion"))
    )
    sample = Sample(schema, {f.name: np.arange(3.0) + i for i, f in enumerate(schema.fields)})
    write(sample, tmp_path / f"a{suffix}")
    require_equal(read(tmp_path / f"a{suffix}"), sample)


def test_existing_file_is_kept(tmp_path, suffix, make, require_equal):
    path = tmp_path / f"a{suffix}"
    write(make(3), path)
    with pytest.raises(WriteError, match="exists already"):
        write(make(4), path)
    require_equal(read(path), make(3))
    write(make(4), path, overwrite=True)
    require_equal(read(path), make(4))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, DataError])
def test_failing_stream_leaves_nothing_and_keeps_the_old_file(tmp_path, suffix, make, require_equal, failure):
    path = tmp_path / f"a{suffix}"
    write(make(3), path)

    def stream():
        yield make(10)
        raise failure

    with pytest.raises(failure):
        write(stream(), path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    require_equal(read(path), make(3))


def test_refused_streams(tmp_path, make):
    with pytest.raises(DataError, match="no rows to write"):
        write(iter(()), tmp_path / "a.root")
    other = Sample(Schema((Field("x"),), ()), {"x": np.ones(2)})
    with pytest.raises(DataError, match="declare different fields"):
        write([make(2), other], tmp_path / "a.root")
    integers = Sample(other.schema, {"x": np.arange(2)}, event_id=[5, 6])
    with pytest.raises(DataError, match=r"column x: a later part of the stream has type int64, the first had float64"):
        write([other, integers], tmp_path / "a.h5")
    with pytest.raises(WriteError, match=r"suffix \.txt; writable are \.root"):
        write(other, tmp_path / "a.txt")
    with pytest.raises(WriteError, match="provenance: expected JSON"):
        write(other, tmp_path / "a.root", provenance={"x": object()})
    with pytest.raises(WriteError, match="tree 'a b'"):
        write(other, tmp_path / "a.root", tree="a b")
    half = Sample(other.schema, {"x": np.ones(2, np.float16)})
    with pytest.raises(DataError, match="ROOT trees do not hold float16"):
        write(half, tmp_path / "a.root")
    assert list(tmp_path.iterdir()) == []


def test_chunks_of_a_stored_file(tmp_path, suffix, make, require_equal):
    sample = make(1001)
    write(sample, tmp_path / f"a{suffix}")
    parts = list(iterate(tmp_path / f"a{suffix}", chunk_rows=64))
    assert max(len(p) for p in parts) <= 64
    require_equal(concatenate(parts), sample)
    require_equal(read(tmp_path / f"a{suffix}", limit=130), sample.take(slice(0, 130)))


def test_selection_on_a_stored_file(tmp_path, suffix, make, require_equal):
    sample = make(500)
    write(sample, tmp_path / f"a{suffix}")
    got = read(tmp_path / f"a{suffix}", selection="P > 20 and not isMuon and species_true == 11")
    keep = (sample["P"] > 20) & ~sample["isMuon"].astype(bool) & (sample["species/true"] == 11)
    require_equal(got, sample.take(keep))


def test_stored_layout(tmp_path, suffix, make):
    write(make(2), tmp_path / f"a{suffix}")
    layout = stored_layout(tmp_path / f"a{suffix}")
    assert layout is not None
    assert layout.schema == make(2).schema
    assert layout.event_id == ("event_id",)


def test_streaming_holds_a_chunk_not_the_file(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("parhelion.io.writing._PIECE_BYTES", 1 << 18)
    schema = Schema((Field("x"),), (Field("v", shape=(64,)),))
    rows, part = 20_000, 1000
    rng = np.random.default_rng(1)

    def stream():
        for start in range(0, rows, part):
            v = rng.random((part, 64), dtype=np.float32)
            yield Sample(schema, {"x": v[:, 0], "v": v}, event_id=np.arange(start, start + part))

    path = tmp_path / f"a{suffix}"
    write(stream(), path)
    next(iterate(path, chunk_rows=part))
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in iterate(path, chunk_rows=part)) == rows
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The file holds 5.7 MB of numbers and a chunk 0.3 MB; the rest is what decoding needs, and the ids seen.
    assert peak < 2.5e6
