"""Tasks run in order, in any place, and survive the loss of the process that ran them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from executor_tasks import kill_always, kill_once, refuse_three, remember
from parhelion.errors import ClusterError, ConfigError, DataError
from parhelion.executors import Processes, Serial, open_executor

SQUARES = [i**2 for i in range(8)]


def test_one_process_runs_a_task_when_its_result_is_asked_for(tmp_path: Path) -> None:
    with Serial() as executor:
        results = executor.run(partial(remember, str(tmp_path)), range(8))
        assert next(results) == 0
        assert len(list(tmp_path.iterdir())) == 1
        assert list(results) == SQUARES[1:]


def test_processes_give_results_in_order_and_replace_one_that_was_killed(tmp_path: Path) -> None:
    with Processes(2) as executor:
        assert list(executor.run(partial(kill_once, str(tmp_path)), range(8))) == SQUARES
        processes = {entry.name.split("-")[1] for entry in tmp_path.iterdir() if "-" in entry.name}
        assert (tmp_path / "killed").exists()
        assert len(processes) >= 2
        # An error of the task itself comes as it is, and the executor lives on.
        with pytest.raises(DataError, match="item 3 is bad"):
            list(executor.run(refuse_three, range(8)))
        assert list(executor.run(partial(remember, str(tmp_path)), [5])) == [25]


def test_a_task_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with Processes(1) as executor, pytest.raises(ClusterError, match="killed 3 times in a row without progress"):
        list(executor.run(partial(kill_always, str(tmp_path)), range(5)))


def test_what_options_ask_for() -> None:
    assert isinstance(open_executor(workers=1), Serial)
    assert isinstance(open_executor(workers=4, tasks=1), Serial)
    with open_executor(workers=4, tasks=3) as executor:
        assert executor.workers == 3
    for options, message in (
        ({"workers": 0}, "expected at least 1"),
        ({"workers": 2, "dask": "local"}, "give one of them"),
        ({"dask": "local:0"}, "at least one worker"),
        ({"dask": "somewhere"}, "expected tcp://HOST:PORT"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_executor(**options)
