"""Files that other programs made: layouts, units, trees, jagged columns, event ids."""

from __future__ import annotations

import csv

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from parhelion.errors import DataError
from parhelion.io import FieldSource, Layout, columns, iterate, read
from parhelion.sample import Field

N = 30
P = np.linspace(3000, 100_000, N)
LAYOUT = Layout(
    condition=(FieldSource(Field("P", "GeV"), ("P",), "MeV"),),
    response=(FieldSource(Field("p4", "GeV", (3,)), ("PX", "PY", "PZ"), "MeV"),),
    weight="sw",
)


def data():
    return {
        "P": P.astype(np.float32),
        "PX": P * 0.1,
        "PY": P * 0.2,
        "PZ": P * 0.3,
        "sw": np.where(np.arange(N) % 5 == 0, -0.5, 1.25),
        "isMuon": np.arange(N) % 2 == 0,
        "run": np.repeat([1, 2, 3], N // 3),
        "event": np.arange(N) // 2,
        "track": np.arange(N) % 2,
        "image": np.arange(N * 6, dtype=np.float32).reshape(N, 6),
    }


def make_ttree(path, table, name="DecayTree"):
    with uproot.recreate(path) as file:
        tree = file.mktree(name, {k: np.dtype((v.dtype, v.shape[1:])) for k, v in table.items()})
        for start in range(0, N, 7):
            tree.extend({k: v[start : start + 7] for k, v in table.items()})


def make_rntuple(path, table):
    with uproot.recreate(path) as file:
        file.mkrntuple("DecayTree", table)


def make_hdf5(path, table):
    with h5py.File(path, "w") as file:
        group = file.create_group("a/b")
        for k, v in table.items():
            (group if k == "run" else file).create_dataset("run" if k == "run" else k, data=v)
        file["run"] = file["a/b/run"]
        del file["a"]


def make_parquet(path, table):
    arrays = {k: pa.array(list(v)) if v.ndim > 1 else pa.array(v) for k, v in table.items()}
    pq.write_table(pa.table(arrays), path, row_group_size=8)


def make_npz(path, table):
    np.savez_compressed(path, **table)


def make_csv(path, table):
    scalars = {k: v for k, v in table.items() if v.ndim == 1}
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(scalars)
        writer.writerows(zip(*(v.tolist() for v in scalars.values()), strict=True))


MAKERS = {
    "ttree.root": make_ttree,
    "rntuple.root": make_rntuple,
    "f.h5": make_hdf5,
    "f.parquet": make_parquet,
    "f.npz": make_npz,
    "f.csv": make_csv,
}


@pytest.fixture(params=list(MAKERS))
def foreign(request, tmp_path):
    path = tmp_path / request.param
    MAKERS[request.param](path, data())
    return path


def test_layout_converts_units_and_stacks_columns(foreign):
    sample = read(foreign, LAYOUT)
    np.testing.assert_allclose(sample["P"], P / 1000, rtol=1e-6)
    np.testing.assert_allclose(sample["p4"], np.stack([P * 0.1, P * 0.2, P * 0.3], axis=1) / 1000, rtol=1e-12)
    np.testing.assert_array_equal(sample.weight, data()["sw"])
    np.testing.assert_array_equal(sample.event_id, np.arange(N))
    if foreign.suffix != ".csv":
        assert sample["P"].dtype == np.float32


def test_vector_columns_take_the_shape_of_the_field(foreign):
    if foreign.suffix == ".csv":
        pytest.skip("a CSV file has no vector columns")
    layout = Layout((), (FieldSource(Field("image", "", (2, 3))),))
    np.testing.assert_array_equal(read(foreign, layout)["image"], data()["image"].reshape(N, 2, 3))
    wrong = Layout((), (FieldSource(Field("image", "", (5,))),))
    with pytest.raises(DataError, match=r"column image: a row has shape \(6,\), expected \(5,\) for field image"):
        read(foreign, wrong)


def test_stream_equals_read_and_row_numbers_survive_a_selection(foreign):
    cut = "P > 20000 and not isMuon"
    whole = read(foreign, LAYOUT, selection=cut)
    parts = list(iterate(foreign, LAYOUT, selection=cut, chunk_rows=4))
    assert all(1 <= len(p) <= 4 for p in parts)
    np.testing.assert_array_equal(np.concatenate([p.event_id for p in parts]), whole.event_id)
    np.testing.assert_array_equal(np.concatenate([p["p4"] for p in parts]), whole["p4"])
    np.testing.assert_array_equal(
        whole.event_id, np.flatnonzero((P.astype(np.float32) > 20000) & (np.arange(N) % 2 == 1))
    )


def test_event_id_and_group_from_several_columns(foreign):
    layout = Layout(LAYOUT.condition, (), event_id=("run", "event", "track"), group=("run", "event"))
    sample = read(foreign, layout)
    assert len(np.unique(sample.event_id)) == N
    assert len(np.unique(sample.group)) == len({*zip(data()["run"].tolist(), data()["event"].tolist(), strict=True)})
    np.testing.assert_array_equal(read(foreign, layout, selection="run == 2").event_id, sample.event_id[10:20])
    doubled = Layout(LAYOUT.condition, (), event_id=("run", "event"))
    with pytest.raises(DataError, match=r"column run, event, row 1: the event id occurs more than once"):
        read(foreign, doubled)


def test_several_files_patterns_and_duplicates(tmp_path):
    for i in range(3):
        make_npz(tmp_path / f"run{i}.npz", data())
    sample = read(tmp_path / "run*.npz", LAYOUT)
    np.testing.assert_array_equal(sample.event_id, np.arange(3 * N))
    assert sample.source == f"{tmp_path}/run0.npz and 2 more"
    two = read([tmp_path / "run2.npz", str(tmp_path / "run[01].npz")], LAYOUT, selection="P < 4000")
    np.testing.assert_array_equal(two.event_id, np.array([0, 30, 60]))
    layout = Layout(LAYOUT.condition, (), event_id=("run", "event", "track"))
    with pytest.raises(DataError, match=r"run1\.npz: column run, event, track, row 0: the event id occurs"):
        for _ in iterate(tmp_path / "run*.npz", layout, chunk_rows=10):
            pass
    with pytest.raises(DataError, match="given more than once"):
        read([tmp_path / "run1.npz", tmp_path / "run*.npz"], LAYOUT)
    with pytest.raises(DataError, match="no file fits this pattern"):
        read(tmp_path / "walk*.npz", LAYOUT)
    with pytest.raises(DataError, match="list of paths is empty"):
        read([], LAYOUT)


def test_several_trees_must_be_named(tmp_path):
    path = tmp_path / "two.root"
    with uproot.recreate(path) as file:
        file.mktree("dir/B", {"x": "f8"}).extend({"x": np.ones(2)})
        file.mktree("A", {"x": "f8"}).extend({"x": np.zeros(3)})
    layout = Layout((FieldSource(Field("x")),), ())
    with pytest.raises(DataError, match=r"there are 2 trees \(.*dir/B.*\); name one"):
        read(path, layout)
    assert len(read(path, layout, tree="dir/B")) == 2
    assert [c.rows for c in columns(path, tree="A")] == [3]
    with pytest.raises(DataError, match=r"there is no tree C; there are "):
        read(path, layout, tree="C")
    with uproot.recreate(tmp_path / "none.root") as file:
        file["x"] = "no tree"
    with pytest.raises(DataError, match="there is no tree in the file"):
        columns(tmp_path / "none.root")


def test_hdf5_groups_compound_datasets_and_units(tmp_path):
    path = tmp_path / "g.h5"
    table = np.zeros(4, dtype=[("pt", "f4"), ("hits", "i4", (2,))])
    table["pt"] = [1, 2, 3, 4]
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(4.0)
        file["x"].attrs["unit"] = "mm"
        file["jets/table"] = table
        file["names"] = np.array([b"a"] * 4)
        file["constant"] = 3.0
    infos = {c.name: c for c in columns(path)}
    assert set(infos) == {"x", "jets/table/pt", "jets/table/hits", "names"}
    assert infos["jets/table/hits"].shape == (2,)
    layout = Layout((FieldSource(Field("x", "cm")),), (FieldSource(Field("pt"), ("jets/table/pt",)),))
    sample = read(path, layout, selection="`jets/table/pt` > 1 and `jets/table/hits`[1] == 0")
    np.testing.assert_allclose(sample["x"], [0.1, 0.2, 0.3])
    assert [c.name for c in columns(path, tree="jets")] == ["table/pt", "table/hits"]
    with pytest.raises(DataError, match="there is no group nope; there are jets"):
        columns(path, tree="nope")
    with pytest.raises(DataError, match=r"gives column x in 'mm', the layout says 'm'"):
        read(path, Layout((FieldSource(Field("x", "cm"), unit="m"),), ()))
    with pytest.raises(DataError, match="column names holds string values"):
        read(path, Layout((FieldSource(Field("names")),), ()))


@pytest.mark.parametrize("kind", ["ttree", "rntuple", "parquet"])
def test_jagged_columns_need_equal_rows(tmp_path, kind):
    path = tmp_path / ("j.parquet" if kind == "parquet" else "j.root")
    table = {"even": ak.Array([[1.0, 2.0]] * 4), "odd": ak.Array([[1.0, 2.0], [3.0, 4.0], [5.0], []])}
    if kind == "parquet":
        pq.write_table(pa.table({k: v.to_list() for k, v in table.items()}), path)
    else:
        with uproot.recreate(path) as file:
            if kind == "ttree":
                file.mktree("t", {"even": "var * float64", "odd": "var * float64"}).extend(table)
            else:
                file.mkrntuple("t", table)
    info = {c.name: c for c in columns(path)}["odd"]
    assert (info.dtype, info.shape) == ("float64", None)
    layout = Layout((), (FieldSource(Field("even", shape=(2,))),))
    np.testing.assert_array_equal(read(path, layout)["even"], [[1, 2]] * 4)
    with pytest.raises(DataError, match=r"column odd, row 2: 1 elements where row 0 has 2"):
        read(path, Layout((), (FieldSource(Field("odd", shape=(2,))),)))


def test_string_columns_are_listed_and_refused(tmp_path):
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0], "s": ["a", "b"]}), path)
    assert [(c.name, c.dtype, c.numeric) for c in columns(path)] == [("x", "float64", True), ("s", "string", False)]
    with pytest.raises(DataError, match="column s holds string values, expected numbers"):
        read(path, Layout((FieldSource(Field("x")),), ()), selection="s == 1")


def test_csv_types_settle_over_the_whole_file(tmp_path):
    path = tmp_path / "c.csv"
    rows = 100_000
    lines = [f"{i},{i},{2**60 + i}" for i in range(rows)] + ["7,0.5,3", ",,4"]
    path.write_text("a,b,c\n" + "\n".join(lines) + "\n")
    assert [(c.name, c.dtype, c.rows) for c in columns(path)] == [
        ("a", "int64", rows + 2),
        ("b", "float64", rows + 2),
        ("c", "int64", rows + 2),
    ]
    layout = Layout((FieldSource(Field("b")),), (), event_id=("c",))
    sample = read(path, layout, selection="isfinite(b)")
    assert sample["b"][-1] == 0.5
    assert sample.event_id[rows - 1] == 2**60 + rows - 1
    with pytest.raises(DataError, match=rf"column a, row {rows + 1}: the value is missing"):
        read(path, Layout((FieldSource(Field("a")),), ()))
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="Expected 2 columns, got 1"):
        columns(path)


def test_npz_streams_uncompressed_old_and_fortran_arrays(tmp_path):
    path = tmp_path / "u.npz"
    np.savez(path, x=np.arange(10, dtype=">i2"), v=np.arange(20.0).reshape(10, 2), scalar=3.0)
    layout = Layout((FieldSource(Field("x")),), (FieldSource(Field("v", shape=(2,))),))
    assert [c.name for c in columns(path)] == ["x", "v"]
    sample = read(path, layout)
    assert sample["x"].dtype == np.int16
    np.testing.assert_array_equal(sample["v"][9], [18, 19])
    np.savez(path, x=np.arange(10), v=np.asfortranarray(np.ones((10, 2))))
    with pytest.raises(DataError, match="column v is stored column by column"):
        read(path, layout)
    np.savez(path, x=np.arange(9), v=np.ones((10, 2)))
    with pytest.raises(DataError, match="column v has 10 rows, column x has 9"):
        read(path, layout)


def test_real_parquet_nulls_are_nan_and_integer_nulls_are_refused(tmp_path):
    path = tmp_path / "n.parquet"
    pq.write_table(pa.table({"x": [1.0, None, 3.0], "k": [1, None, 3]}), path)
    assert len(read(path, Layout((FieldSource(Field("x")),), ()), selection="isfinite(x)")) == 2
    with pytest.raises(DataError, match="column k, row 1: the value is missing"):
        read(path, Layout((FieldSource(Field("k")),), ()))
