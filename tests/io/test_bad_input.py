"""Each mistake and each broken file gives one sentence that names file, column and row."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from parhelion.errors import DataError, ParhelionError
from parhelion.io import FieldSource, Layout, columns, iterate, provenance, read, write
from parhelion.io.identity import DuplicateGuard, combine, mix64
from parhelion.sample import Field

X = Layout((FieldSource(Field("x")),), ())


def npz(path, **table):
    np.savez(path, **{k: np.asarray(v) for k, v in table.items()})
    return path


def test_missing_empty_unknown(tmp_path):
    with pytest.raises(DataError, match=r"a\.root: no such file"):
        read(tmp_path / "a.root", X)
    (tmp_path / "e.root").touch()
    with pytest.raises(DataError, match=r"e\.root: the file is empty \(0 bytes\)"):
        read(tmp_path / "e.root", X)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"the suffix \.txt is not known; readable are \.root, \.h5"):
        columns(tmp_path / "a.txt")
    (tmp_path / "d.root").mkdir()
    with pytest.raises(DataError, match=r"is not a file; give files, or a pattern such as .*/\*\.root"):
        read(tmp_path / "d.root", X)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files(tmp_path, suffix, make, share):
    path = tmp_path / f"a{suffix}"
    write(make(2000), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"a\{suffix}: .*truncated"):
        read(path)


def test_garbage_is_not_a_file_of_its_suffix(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    with pytest.raises(DataError, match=r"cannot be read as an? "):
        columns(path)


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_raise_nothing_but_our_errors(tmp_path, suffix, make, seed):
    path = tmp_path / f"a{suffix}"
    write(make(300), path)
    damaged = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(0, len(damaged), 20):
        damaged[position] ^= int(rng.integers(1, 256))
    path.write_bytes(damaged)
    try:
        read(path)
    except ParhelionError as error:
        assert path.name in str(error)  # noqa: PT017 - a flip that changes only a number goes unseen


def test_foreign_file_without_a_layout(tmp_path):
    path = npz(tmp_path / "f.npz", x=[1.0])
    for function in (read, provenance):
        with pytest.raises(DataError, match=r"run `parhelion init .*f\.npz`"):
            function(path)


def test_damaged_metadata(tmp_path):
    path = npz(tmp_path / "f.npz", x=[1.0], parhelion='{"parhelion": 1}')
    with pytest.raises(DataError, match=r"metadata in the file is damaged .*give a layout"):
        read(path)
    assert read(path, X)["x"] == [1.0]
    npz(path, x=[1.0], parhelion='{"parhelion": 99}')
    with pytest.raises(DataError, match="format 99, expected 1"):
        read(path)


def test_metadata_that_is_not_text(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table({"x": [1.0]}).replace_schema_metadata({b"parhelion": b"\xf8\xdb"})
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r"m\.parquet: cannot be read as a Parquet file"):
        read(path)


def test_missing_column(tmp_path):
    path = npz(tmp_path / "f.npz", y=[1.0], z=[2.0])
    with pytest.raises(DataError, match=r"f\.npz: column x is missing; the columns are y, z"):
        read(path, X)


def test_first_bad_row_is_counted_in_its_file(tmp_path):
    x = np.arange(100.0)
    good = npz(tmp_path / "good.npz", x=x, k=np.full(100, 11))
    x[[57, 93]] = np.nan, np.inf
    k = np.full(100, 11)
    k[61] = 13
    bad = npz(tmp_path / "bad.npz", x=x, k=k)
    with pytest.raises(DataError, match=r"bad\.npz: column x \(field x\), row 57: NaN or infinity.*isfinite\(x\)"):
        read([good, bad], X, selection="x != 3")
    with pytest.raises(DataError, match=r"bad\.npz: column x \(field x\), row 93: NaN"):
        list(iterate([good, bad], X, selection="not (x != x)", chunk_rows=10))
    assert len(read([good, bad], X, selection="isfinite(x)")) == 198
    with pytest.raises(DataError, match=r"column x \(weight\), row 57: NaN"):
        read(bad, Layout((FieldSource(Field("k")),), (), weight="x"))
    category = Field("k", kind="category", values=(11, 211))
    with pytest.raises(DataError, match=r"bad\.npz: column k \(field k\), row 61: 13 is not one of 11, 211"):
        list(iterate([good, bad], Layout((FieldSource(category),), ()), chunk_rows=8))


def test_no_rows(tmp_path):
    with pytest.raises(DataError, match="there are no rows in the file"):
        read(npz(tmp_path / "f.npz", x=np.empty(0)), X)
    path = npz(tmp_path / "g.npz", x=[1.0, 2.0])
    with pytest.raises(DataError, match="the selection keeps none of 2 rows"):
        read(path, X, selection="x > 5")
    with pytest.raises(DataError, match="chunk_rows is 0, expected at least 1"):
        next(iterate(path, X, chunk_rows=0))
    with pytest.raises(DataError, match="limit is 0"):
        read(path, X, limit=0)
    with uproot.recreate(tmp_path / "e.root") as file:
        file.mktree("t", {"x": "f8"})
    with pytest.raises(DataError, match="there are no rows in the file"):
        read(tmp_path / "e.root", X)


def test_ids_must_be_integers(tmp_path):
    path = npz(tmp_path / "f.npz", x=[1.0, 2.0, 3.0], a=[1.0, 2.0, 2.5], v=np.ones((3, 2)), b=[3.0, 4.0, 5.0])
    with pytest.raises(DataError, match=r"column a \(event id\), row 2: 2\.5 is not an integer"):
        read(path, Layout(X.condition, (), event_id=("a",)))
    np.testing.assert_array_equal(read(path, Layout(X.condition, (), event_id=("b",))).event_id, [3, 4, 5])
    with pytest.raises(DataError, match=r"column v: a row has shape \(2,\), expected one number for group"):
        read(path, Layout(X.condition, (), group=("v",)))


def test_files_of_different_schema(tmp_path, make):
    write(make(3), tmp_path / "a.npz")
    other = make(3).with_extra(Field("more"), np.ones(3))
    write(other, tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"b\.npz and .*a\.npz declare different fields"):
        read([tmp_path / "a.npz", tmp_path / "b.npz"])


def test_all_other_libraries_agree_on_what_write_made(tmp_path, make):
    sample = make(20)
    for suffix in (".root", ".h5", ".parquet", ".npz"):
        write(sample, tmp_path / f"a{suffix}")
    with uproot.open(tmp_path / "a.root") as file:
        np.testing.assert_array_equal(file["tracks/E"].array(library="np"), sample["E"])
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["E"][:], sample["E"])
    lists = pq.read_table(tmp_path / "a.parquet")["p4"].to_pylist()
    np.testing.assert_array_equal(lists, sample["p4"])
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["E"], sample["E"])
        assert archive["weight"].dtype == np.float64


_DISK_FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from parhelion.errors import WriteError
from parhelion.io import write
from parhelion.sample import Field, Sample, Schema

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
schema = Schema((Field("x"),), (Field("v", shape=(8,)),))
rng = np.random.default_rng(1)
folder = Path(sys.argv[1])

def stream():
    for i in range(60):
        n = 5000
        yield Sample(schema, {"x": rng.random(n), "v": rng.random((n, 8))}, event_id=np.arange(n) + i * n)

for suffix in (".root", ".h5", ".parquet", ".npz"):
    try:
        write(stream(), folder / f"a{suffix}")
    except WriteError as error:
        print(suffix, error)
print("left:", [p.name for p in folder.iterdir()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    # A limit on file size fails inside write(2) as a full disk does, and needs no privileges.
    done = subprocess.run(
        [sys.executable, "-c", _DISK_FULL, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    for line, suffix in zip(lines, (".root", ".h5", ".parquet", ".npz"), strict=False):
        assert line == (
            f"{suffix} {tmp_path}/a{suffix}: cannot be written (File too large); "
            "free space or choose another place, then run again"
        )
    assert lines[-1] == "left: []"
    assert done.stderr == ""


def test_duplicate_guard_is_exact_up_to_its_limit():
    guard = DuplicateGuard(limit=1000)
    assert guard.first_duplicate(np.arange(500)) is None
    assert guard.first_duplicate(np.array([700, 701, 700])) == 2
    assert guard.first_duplicate(np.array([900, 3, 5])) == 1


def test_duplicate_guard_keeps_its_bound_and_finds_repeated_blocks():
    guard = DuplicateGuard(limit=1000)
    for start in range(0, 100_000, 5000):
        assert guard.first_duplicate(np.arange(start, start + 5000)) is None
        assert len(guard._seen) <= 1000
    # A share of at least 0.5 % is remembered, so 5000 repeated ids are all missed with probability below 1e-10.
    assert guard.first_duplicate(np.arange(20_000, 25_000)) is not None


def test_combined_ids_depend_on_values_and_order_not_on_type():
    run, event = np.array([1, 2, 1, -1]), np.array([2, 1, 1, -1])
    ids = combine([run, event])
    assert len(set(ids.tolist())) == 4
    np.testing.assert_array_equal(ids, combine([run.astype(np.int8), event.astype(np.int16)]))
    np.testing.assert_array_equal(ids[[1, 0]], combine([event, run])[[0, 1]])
    np.testing.assert_array_equal(combine([run]), run)
    grid = np.stack(np.meshgrid(np.arange(300), np.arange(300), np.arange(3)), axis=-1).reshape(-1, 3)
    assert len(np.unique(combine(list(grid.T)))) == len(grid)


def test_mixing_matches_splitmix64():
    # First outputs of SplitMix64 with seed 0, from its authors' reference implementation.
    states = np.array([0, 0x9E3779B97F4A7C15, 0x3C6EF372FE94F82A], dtype=np.uint64)
    assert [hex(v) for v in mix64(states)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]
