"""A Dask cluster of real processes loses workers and its scheduler; the numbers stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from executor_tasks import kill_always, kill_once, refuse_three, wait_and_square
from parhelion import io
from parhelion.deploy import generate_files, pipeline
from parhelion.errors import ClusterError, ConfigError, DataError, MissingDependencyError
from parhelion.executors import open_executor
from parhelion.sample import Sample, Schema
from parhelion.surrogates import Matching
from parhelion.surrogates.matching import MatchingConfig

TESTS = Path(__file__).parent.parent
SQUARES = [i**2 for i in range(8)]


def test_three_workers_of_which_one_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with open_executor(dask="local:3") as cluster:
        assert cluster.workers == 3
        assert list(cluster.run(partial(kill_once, str(tmp_path)), range(8))) == SQUARES
        assert (tmp_path / "killed").exists()
        with pytest.raises(DataError, match="item 3 is bad"):
            list(cluster.run(refuse_three, range(8)))
        with pytest.raises(ClusterError, match="lost with its worker several times"):
            list(cluster.run(partial(kill_always, ""), range(8)))


def test_what_cannot_be_reached_is_said(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("distributed")
    from parhelion.dask_executor import Dask

    bad = tmp_path / "scheduler.json"
    bad.write_text("{}")
    for address, message in (
        ("tcp://127.0.0.1:9", "no scheduler answers within 0 s .* start one with: dask scheduler"),
        (str(tmp_path / "none.json"), "no scheduler answers within 0 s"),
        (str(bad), "it is not a scheduler file"),
        ("nonsense://x", "expected tcp://HOST:PORT"),
    ):
        with pytest.raises(ConfigError, match=message):
            Dask(address, patience=0.2)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'parhelion\[dask\]'"):
        open_executor(dask="local")


def _files(folder: Path, toy) -> Path:
    made = Matching(toy.schema, MatchingConfig(width=8, blocks=1, solver_steps=1))
    made.prepare(toy.sample(2000, seed=4), seed=1)
    made.save(folder / "s.safetensors")
    sample = toy.sample(2000, seed=4)
    io.write(Sample(Schema(sample.schema.condition, ()), sample.columns), folder / "a.h5")
    return folder


@pytest.mark.slow
def test_a_generation_whose_worker_is_killed_gives_the_same_file(tmp_path: Path, toy, monkeypatch) -> None:
    files = _files(tmp_path, toy)
    monkeypatch.setattr("parhelion.deploy.chain.BATCH_ROWS", 64)
    alone = generate_files(files / "s.safetensors", files / "a.h5", tmp_path / "alone.h5", workers=1)
    from parhelion.dask_executor import Dask

    killed = []

    class Killing(Dask):
        def run(self, task, items):
            for number, result in enumerate(super().run(task, items)):
                if number == 1:
                    workers = self._client.run(os.getpid)
                    killed.append(next(iter(workers.values())))
                    os.kill(killed[0], signal.SIGKILL)
                yield result

    monkeypatch.setattr(pipeline, "open_executor", lambda **_: Killing("local:3"))
    made = generate_files(files / "s.safetensors", files / "a.h5", tmp_path / "dask.h5", dask="local:3")
    assert killed
    assert made.record["content_sha256"] == alone.record["content_sha256"]
    assert np.array_equal(io.read(made.out).response, io.read(alone.out).response)
    assert not (tmp_path / ".dask.h5.parts").exists()


@pytest.mark.slow
def test_a_scheduler_that_starts_again_loses_nothing(tmp_path: Path) -> None:
    import socket

    from parhelion.dask_executor import Dask

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ, PYTHONPATH=str(TESTS))

    def start(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    scheduler = ("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    worker = ("dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard", "--no-nanny")
    running = [start(*scheduler), start(*worker)]
    try:
        with Dask(f"tcp://127.0.0.1:{port}", patience=60) as cluster:
            results = cluster.run(wait_and_square, range(20))
            made = [next(results) for _ in range(5)]
            for process in running:
                process.kill()
                process.wait()
            time.sleep(1)
            running = [start(*scheduler), start(*worker)]
            made += list(results)
        assert made == [i**2 for i in range(20)]
    finally:
        for process in running:
            process.kill()
            process.wait()
