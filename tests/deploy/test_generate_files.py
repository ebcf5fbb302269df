"""Files to a file: the same numbers however often the work was stopped and wherever it ran."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from parhelion import generate, io
from parhelion.deploy import content_checksum, generate_files, pipeline
from parhelion.deploy.job import run_part
from parhelion.errors import DataError, Interrupted, WriteError
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import Matching, load
from parhelion.surrogates.matching import MatchingConfig

ROWS = 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory, toy) -> Path:
    """A surrogate, and its conditions in two files of other columns too."""
    folder = tmp_path_factory.mktemp("generation")
    made = Matching(toy.schema, MatchingConfig(width=8, blocks=1, solver_steps=1))
    made.prepare(toy.sample(2000, seed=4), seed=1)
    made.save(folder / "s.safetensors")
    sample = toy.sample(2000, seed=4).take(slice(0, ROWS))
    schema = Schema(sample.schema.condition, (), (Field("mass", "GeV"),))
    conditions = Sample(schema, {**sample.columns, "mass": np.arange(ROWS) * 1.0}, event_id=np.arange(ROWS)[::-1] * 7)
    io.write(conditions.take(slice(0, 700)), folder / "a.h5")
    io.write(conditions.take(slice(700, ROWS)), folder / "b.h5")
    return folder


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch) -> None:
    monkeypatch.setattr("parhelion.deploy.chain.BATCH_ROWS", 64)


def _run(files: Path, out: Path, **options):
    options.setdefault("workers", 1)
    return generate_files(files / "s.safetensors", [files / "a.h5", files / "b.h5"], out, seed=3, **options)


def test_the_output_is_what_generate_gives(files: Path, tmp_path: Path) -> None:
    done = _run(files, tmp_path / "out.h5")
    made, conditions = io.read(tmp_path / "out.h5"), io.read([files / "a.h5", files / "b.h5"])
    direct = generate(load(files / "s.safetensors"), conditions, seed=3)
    assert made.schema == direct.schema
    np.testing.assert_allclose(made.response, direct.response, rtol=1e-4, atol=1e-5)
    for name in ("P", "mass", "SPECIES"):
        assert np.array_equal(made[name], conditions[name])
    assert np.array_equal(made.event_id, conditions.event_id)
    record = json.loads(done.record_file.read_text())
    assert record["content_sha256"] == content_checksum(tmp_path / "out.h5")
    assert (record["rows_read"], record["rows_written"], record["seed"]) == (ROWS, ROWS, 3)
    assert record["outside_domain"] == {"s.safetensors": 0}
    assert record["parts"] > 10
    assert [len(entry["sha256"]) for entry in record["inputs"]] == [64, 64]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.h5", "out.h5.json"]


@pytest.mark.parametrize("suffix", [".root", ".parquet", ".npz"])
def test_the_format_does_not_change_the_rows(files: Path, tmp_path: Path, suffix: str) -> None:
    one = _run(files, tmp_path / "out.h5", compress=False)
    two = _run(files, tmp_path / f"out{suffix}")
    assert one.record["content_sha256"] == two.record["content_sha256"] == content_checksum(two.out)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, WriteError])
def test_a_stopped_run_goes_on_to_the_same_result(files: Path, tmp_path: Path, monkeypatch, stop) -> None:
    whole = _run(files, tmp_path / "whole.h5", oversample=2)
    out, ran = tmp_path / "out.h5", []

    def stopping(job, part):
        ran.append(part.number)
        if len(ran) == 9:
            raise stop("disk full")
        return run_part(job, part)

    monkeypatch.setattr(pipeline, "run_part", stopping)
    expected = Interrupted if stop is KeyboardInterrupt else WriteError
    with pytest.raises(expected, match=r"8 of \d+ parts are done|disk full"):
        _run(files, out, oversample=2)
    assert not out.exists()
    # Another run must not mix with this one; a damaged part and one half-written by a kill are made again.
    with pytest.raises(WriteError, match="an unfinished generation with other options"):
        _run(files, out, oversample=3)
    folder = tmp_path / ".out.h5.parts"
    (folder / "part-000003.npz").write_bytes((folder / "part-000003.npz").read_bytes()[:-200])
    damaged = bytearray((folder / "part-000004.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "part-000004.npz").write_bytes(damaged)
    (folder / "part-000007.abc.partial").write_bytes(b"half")
    made = []
    monkeypatch.setattr(pipeline, "run_part", lambda job, part: made.append(part.number) or run_part(job, part))
    said: list[str] = []
    done = _run(files, out, oversample=2, say=said.append)
    assert "8 of" in said[0]
    assert done.record["content_sha256"] == whole.record["content_sha256"]
    assert not folder.exists()
    # What was stopped can be thrown away too.
    ran.clear()
    monkeypatch.setattr(pipeline, "run_part", stopping)
    with pytest.raises(expected):
        _run(files, out, overwrite=True)
    monkeypatch.setattr(pipeline, "run_part", run_part)
    again = _run(files, out, oversample=2, overwrite=True)
    assert again.record["content_sha256"] == whole.record["content_sha256"]


def test_two_runs_of_one_output_do_not_meet(files: Path, tmp_path: Path, monkeypatch) -> None:
    def another(job, part):
        with pytest.raises(WriteError, match="another process is generating this file now"):
            _run(files, tmp_path / "out.h5")
        return run_part(job, part)

    monkeypatch.setattr(pipeline, "run_part", another)
    _run(files, tmp_path / "out.h5")


def test_selections_and_ids(files: Path, tmp_path: Path) -> None:
    done = _run(files, tmp_path / "x.h5", selection="mass >= 690", event_id=["row"], drop=["all"], keep="P > 10")
    made = io.read(tmp_path / "x.h5")
    conditions = io.read([files / "a.h5", files / "b.h5"])
    wanted = (conditions["mass"] >= 690) & (conditions["P"] > 10)
    assert np.array_equal(made.event_id, np.flatnonzero(wanted))
    assert made.schema.extra == ()
    assert (done.counts.rows, done.counts.made) == (310, wanted.sum())
    with pytest.raises(DataError, match="the selection keeps none of 1,000 rows"):
        _run(files, tmp_path / "y.h5", selection="mass > 1e9")
    with pytest.raises(DataError, match=r"the event id 0 occurs more than once|event id occurs more than once"):
        _run(files, tmp_path / "y.h5", event_id=["SPECIES"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.h5", "x.h5.json"]


def test_ids_that_come_again_in_another_part_are_found(files: Path, tmp_path: Path) -> None:
    sample = io.read(files / "b.h5")
    io.write(sample, tmp_path / "again.h5")
    with pytest.raises(DataError, match=r"again\.h5: column event_id: the event id \d+ occurs more than once"):
        generate_files(files / "s.safetensors", [files / "b.h5", tmp_path / "again.h5"], tmp_path / "o.h5", workers=1)
    assert not (tmp_path / "o.h5").exists()


def test_the_output_may_not_be_an_input(files: Path) -> None:
    for path in ("a.h5", "s.safetensors"):
        with pytest.raises(WriteError, match=r"is an input too|cannot write files"):
            _run(files, files / path, overwrite=True)


def test_an_input_that_changes_meanwhile(files: Path, tmp_path: Path, monkeypatch) -> None:
    io.write(io.read(files / "b.h5"), tmp_path / "b.h5")

    def touching(job, part):
        os.utime(tmp_path / "b.h5", ns=(1, 1))
        return run_part(job, part)

    monkeypatch.setattr(pipeline, "run_part", touching)
    with pytest.raises(DataError, match="has changed while it was being read"):
        generate_files(files / "s.safetensors", tmp_path / "b.h5", tmp_path / "o.h5", workers=1)
    assert not (tmp_path / "o.h5").exists()


_COMMAND = """\
import sys
from parhelion.deploy import chain
chain.BATCH_ROWS = 64
if __name__ == "__main__":
    from parhelion.cli import main
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_goes_on(files: Path, tmp_path: Path, number: signal.Signals) -> None:
    whole = _run(files, tmp_path / "whole.h5")
    script = tmp_path / "command.py"
    script.write_text(_COMMAND)
    words = [sys.executable, str(script), "generate", *(str(files / n) for n in ("s.safetensors", "a.h5", "b.h5"))]
    words += ["-o", str(tmp_path / "out.h5"), "--seed", "3", "-j", "2"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder, end = tmp_path / ".out.h5.parts", time.monotonic() + 120
    while not list(folder.glob("part-*.npz")) and running.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    if running.returncode != 0:
        assert running.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        assert number == signal.SIGKILL or "the same command goes on" in err
        assert not (tmp_path / "out.h5").exists()
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        assert "going on with an unfinished generation" in done.stdout
    assert content_checksum(tmp_path / "out.h5") == whole.record["content_sha256"]
