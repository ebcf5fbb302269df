"""Interrupted and resumed training is uninterrupted training."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading

import numpy as np
import pytest
import torch
from training_toys import SCHEMA, Duel, Line, line_sample, state_of

from parhelion.errors import ConfigError, DataError, Interrupted, WriteError
from parhelion.training import TrainingConfig, checkpoint, fit, read_curves
from parhelion.training.signals import Signals

CONFIG = TrainingConfig(steps=40, batch_size=50, log_every=7, validate_every=10, checkpoint_every=15, clip_norm=1.0)


def train(run_dir, *, hook=None, resume=False, config=CONFIG, sample=None, metric=None):
    surrogate = Duel(SCHEMA)
    surrogate.hook = hook
    sample = line_sample(230) if sample is None else sample
    result = fit(
        surrogate,
        sample,
        config=config,
        validation=line_sample(120, seed=1),
        run_dir=run_dir,
        resume=resume,
        metric=metric,
    )
    return surrogate, result


def stop_at(step, number=signal.SIGINT):
    def hook(now):
        if now == step - 1:
            os.kill(os.getpid(), number)

    return hook


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    surrogate, result = train(folder)
    return surrogate, result, read_curves(folder)


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGINT), (17, signal.SIGTERM), (30, signal.SIGINT), (40, signal.SIGINT)]
)
def test_resumed_is_identical(tmp_path, whole, step, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"interrupted after step {step}; .*last.safetensors is complete") as e:
        train(tmp_path, hook=stop_at(step, number))
    assert e.value.exit_code == 130
    assert "--resume" in str(e.value)
    assert signal.getsignal(number) is before
    surrogate, result = train(tmp_path, resume=True)
    expected, expected_result, expected_curves = whole
    assert all(torch.equal(v, state_of(expected)[k]) for k, v in state_of(surrogate).items())
    assert (result.steps, result.best_step, result.validation) == (
        expected_result.steps,
        expected_result.best_step,
        expected_result.validation,
    )
    curves = read_curves(tmp_path)
    assert set(curves) == set(expected_curves)
    for name in set(curves) - {"rate", "elapsed"}:
        np.testing.assert_array_equal(curves[name].step, expected_curves[name].step)
        np.testing.assert_array_equal(curves[name].value, expected_curves[name].value)


@pytest.mark.parametrize(("killed", "recorded"), [(24, 21), (36, 35)])
def test_killed_process_resumes_from_the_last_checkpoint(tmp_path, whole, killed, recorded):
    def die(now):
        if now == killed:
            raise MemoryError

    with pytest.raises(MemoryError):
        train(tmp_path, hook=die)
    assert read_curves(tmp_path)["loss/critic"].step[-1] == recorded
    with (tmp_path / "curves.jsonl").open("a") as file:
        file.write('{"step": 36, "loss/cri')
    surrogate, _ = train(tmp_path, resume=True)
    assert all(torch.equal(v, state_of(whole[0])[k]) for k, v in state_of(surrogate).items())
    lines = [json.loads(text) for text in (tmp_path / "curves.jsonl").read_text().splitlines()]
    kinds = [(line["step"], "validation" in line) for line in lines]
    assert len(kinds) == len(set(kinds)), "a record is doubled"


def test_finished_training_resumes_to_its_result(tmp_path, whole):
    _, first = train(tmp_path)
    surrogate, again = train(tmp_path, resume=True)
    assert (again.best_step, again.validation) == (first.best_step, first.validation)
    assert all(torch.equal(v, state_of(whole[0])[k]) for k, v in state_of(surrogate).items())


def test_interrupt_before_the_loop_writes_nothing(tmp_path):
    class Slow(Line):
        def build(self, features, width):
            os.kill(os.getpid(), signal.SIGTERM)
            super().build(features, width)

    with pytest.raises(Interrupted, match="before its first checkpoint; nothing was written"):
        fit(Slow(SCHEMA), line_sample(), config=CONFIG, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    surrogate, _ = train(tmp_path / "run", resume=True)
    assert surrogate.prepared


def test_interrupt_while_validating_keeps_the_validation(tmp_path):
    calls = []

    def metric(surrogate):
        calls.append(0)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0 / len(calls)

    with pytest.raises(Interrupted, match="after step 20"):
        train(tmp_path, metric=metric)
    _, result = train(tmp_path, resume=True, metric=metric)
    assert (len(calls), result.best_step) == (4, 40)


def test_second_interrupt_stops_at_once(tmp_path):
    def hook(now):
        if now == 20:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"last.safetensors of step 15 is complete: run again with --resume"):
        train(tmp_path, hook=hook)
    assert {p.name for p in tmp_path.iterdir()} == {"last.safetensors", "best.safetensors", "curves.jsonl"}


def test_two_kinds_of_signal_are_one_request(tmp_path):
    def hook(now):
        if now == 20:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="after step 21"):
        train(tmp_path, hook=hook)


def test_interrupt_without_a_folder_leaves_a_usable_surrogate():
    surrogate = Line(SCHEMA)
    surrogate.hook = stop_at(5)
    with pytest.raises(Interrupted, match="after step 5; without a run folder it cannot be resumed"):
        fit(surrogate, line_sample(), config=CONFIG)
    assert not surrogate.training
    made = surrogate.sample(torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, surrogate.noise_width))
    assert made.shape == (3, 2)


def test_training_outside_the_main_thread():
    results = []

    def work():
        results.append(fit(Line(SCHEMA), line_sample(), config=TrainingConfig(steps=3)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results[0].steps == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 20}, "made with batch_size 50, and this training has 20"),
        ({"seed": 9}, "made with seed 0, and this training has 9"),
        ({"ema": 0.5}, "made with ema 0.999, and this training has 0.5"),
    ],
)
def test_resuming_something_else_is_refused(tmp_path, change, message):
    train(tmp_path)
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, resume=True, config=CONFIG.model_copy(update=change))
    with pytest.raises(ConfigError, match="made with rows 230, and this training has 231"):
        train(tmp_path, resume=True, sample=line_sample(231))
    with pytest.raises(ConfigError, match="made with sample"):
        train(tmp_path, resume=True, sample=line_sample(230, seed=8))


def test_budget_may_grow(tmp_path):
    config = CONFIG.model_copy(update={"steps": 50, "schedule": CONFIG.schedule})
    train(tmp_path)
    _, result = train(tmp_path, resume=True, config=config)
    assert result.steps == 50


def test_seconds_are_counted_over_both_parts(tmp_path):
    config = TrainingConfig(seconds=0.4, batch_size=50)
    with pytest.raises(Interrupted):
        train(tmp_path, config=config, hook=stop_at(3))
    spent = checkpoint.Checkpoint.load(tmp_path / "last.safetensors").state["counters"]["elapsed"]
    _, result = train(tmp_path, config=config, resume=True)
    assert 0 < spent < 0.4 <= result.elapsed < 4.0
    assert result.steps > 3


def test_damaged_checkpoint(tmp_path):
    train(tmp_path)
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(DataError, match=r"last.safetensors: not a checkpoint, or damaged .* train anew"):
        train(tmp_path, resume=True)


def test_fresh_start_forgets_the_earlier_run(tmp_path, whole):
    train(tmp_path, config=CONFIG.model_copy(update={"seed": 5}))
    surrogate, _ = train(tmp_path)
    assert all(torch.equal(v, state_of(whole[0])[k]) for k, v in state_of(surrogate).items())
    np.testing.assert_array_equal(read_curves(tmp_path)["loss/critic"].step, whole[2]["loss/critic"].step)


def test_full_disk_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    real, calls = checkpoint.save_file, []

    def full(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(WriteError, match=r"last.safetensors: cannot be written \(No space left on device\)"):
        train(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"last.safetensors", "best.safetensors", "curves.jsonl"}
    kept = checkpoint.Checkpoint.load(tmp_path / "last.safetensors")
    assert kept.state["counters"]["step"] == 15


def test_a_signal_while_a_destructor_runs_is_seen_by_the_next_step():
    """Python drops what a handler raises there."""

    class Closing:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with Signals() as signals:
        Closing().__del__()
        assert signals.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
