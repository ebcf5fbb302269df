"""Curves, progress and optimisers' small parts."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch

from parhelion.errors import DataError, WriteError
from parhelion.training import Status, read_curves
from parhelion.training.checkpoint import optimiser_tensors, restore_optimiser
from parhelion.training.config import SGD, Adam, AdamW, Muon, RMSprop
from parhelion.training.optimisers import Average, clip, gradient_norm, make_movers
from parhelion.training.progress import clock, describe, quiet, terminal_progress
from parhelion.training.tracking import JsonLines


def test_curves_round_trip_and_resume(tmp_path):
    path = tmp_path / "run" / "curves.jsonl"
    tracker = JsonLines(path, after=0)
    for step in (10, 20, 30):
        tracker.record(step, {"loss/velocity": 1 / step, "rate": float("inf")})
        tracker.record(step, {"validation": 2.0 * step})
    JsonLines(path, after=20).record(25, {"validation": 7.0})
    curves = read_curves(path)
    np.testing.assert_array_equal(curves["loss/velocity"].step, [10, 20])
    np.testing.assert_array_equal(curves["loss/velocity"].value, [0.1, 0.05])
    np.testing.assert_array_equal(curves["validation"].step, [10, 20, 25])
    assert np.isnan(curves["rate"].value).all()
    assert set(read_curves(tmp_path / "run")) == {"loss/velocity", "rate", "validation"}
    JsonLines(path, after=0)
    assert read_curves(path) == {}


def test_curves_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no such file; a run folder of parhelion has curves"):
        read_curves(tmp_path)
    tracker = JsonLines(tmp_path / "run" / "curves.jsonl", after=0)
    tracker.path.unlink()
    tracker.path.mkdir()
    with pytest.raises(WriteError, match="resume from the last checkpoint"):
        tracker.record(1, {"loss": 1.0})


def test_status_in_words():
    status = Status(1200, 0.25, 60.0, 98765.4, {"critic": 0.5, "generator": -1.25}, 0.01)
    assert describe(status) == "step 1,200: critic 0.5, generator -1.25, validation 0.01, 98,765 rows/s"
    assert status.left == 180.0
    assert Status(0, 0.0, 0.0, 0.0).left == float("inf")
    assert clock(3725.4) == "1:02:05"


def test_bar_only_on_a_terminal(monkeypatch):
    with terminal_progress() as show:
        assert show is quiet
        assert show(Status(1, 0.1, 1.0, 1.0)) is None

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    with terminal_progress() as show:
        show(Status(50, 0.5, 30.0, 1234.0, {"velocity": 0.25}))
    assert "step 50: velocity 0.25, 1,234 rows/s, 0:00:30 left" in screen.getvalue()


def test_norm_and_clipping():
    gradients = [torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])]
    norm = gradient_norm(gradients)
    assert float(norm) == pytest.approx(5.0)
    clip(gradients, norm, 10.0)
    assert float(gradient_norm(gradients)) == pytest.approx(5.0)
    clip(gradients, norm, 1.0)
    torch.testing.assert_close(gradients[1], torch.tensor([[0.0, 0.8]]))


def test_average_in_place_and_off():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    average = Average([parameter], 0.5)
    parameter.data = torch.tensor([2.0])
    average.update()
    assert float(average.shadow[0]) == pytest.approx(0.1 * 1 + 0.9 * 2)
    with average.in_place():
        assert float(parameter.detach()) == pytest.approx(1.9)
    assert float(parameter.detach()) == 2.0
    off = Average([parameter], 0.0)
    off.update()
    with off.in_place():
        assert float(parameter.detach()) == 2.0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Adam(learning_rate=0.1, betas=(0.5, 0.9)), lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9))),
        (AdamW(learning_rate=0.1), lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=1e-2)),
        (RMSprop(learning_rate=0.1, smoothing=0.9), lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9)),
        (SGD(learning_rate=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    ],
)
def test_optimisers_are_torchs_and_resume(ours, theirs):
    def quadratic(parameter, optimiser, steps):
        for _ in range(steps):
            optimiser.zero_grad()
            (parameter**2 * torch.tensor([1.0, 5.0])).sum().backward()
            optimiser.step()

    a, b = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    quadratic(a, make_movers([a], ours)[0].optimiser, 9)
    first = make_movers([b], ours)[0].optimiser
    quadratic(b, first, 4)
    second = make_movers([b], ours)[0].optimiser
    restore_optimiser(second, {k: v.clone() for k, v in optimiser_tensors(first).items()})
    quadratic(b, second, 5)
    assert torch.equal(a.data, b.data)
    c = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    quadratic(c, theirs([c]), 9)
    torch.testing.assert_close(a.data, c.data, rtol=1e-5, atol=1e-6)


def test_muon_moves_square_matrices_and_leaves_the_rest():
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))
    rest, hidden = make_movers(list(network.parameters()), Muon())
    assert [p is network[1].weight for group in hidden.optimiser.param_groups for p in group["params"]] == [True]
    assert sum(len(group["params"]) for group in rest.optimiser.param_groups) == 5
    assert (rest.rate, hidden.rate) == (3e-3, 2e-2)
    before = network[1].weight.detach().clone()
    network(torch.randn(16, 3, generator=torch.Generator().manual_seed(0))).square().mean().backward()
    hidden.optimiser.step()
    # Orthogonalised: all singular values of a first step are near the learning rate.
    step = torch.linalg.svdvals(before - network[1].weight.detach()) / hidden.rate
    assert 0.5 < float(step.max()) < 1.5
