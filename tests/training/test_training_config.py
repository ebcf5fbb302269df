"""Options: budgets, schedules, messages."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parhelion.training import TrainingConfig
from parhelion.training.config import Adam, Constant, Cosine, Exponential, OneCycle, RMSprop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "training has no budget; give steps, seconds, or both"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"seconds": float("inf")}, "finite"),
        ({"steps": 1, "batchsize": 3}, "batchsize"),
        ({"steps": 1, "optimiser": "adamm"}, "'adam', 'adamw', 'rmsprop', 'sgd'"),
        ({"steps": 1, "optimiser": {"kind": "sgd", "betas": [0.9, 0.99]}}, "betas"),
        ({"steps": 1, "optimiser": {"kind": "sgd", "nesterov": True}}, "nesterov needs a momentum"),
        ({"steps": 1, "schedule": {"kind": "cosine", "warm_up": 1.0}}, "less than 1"),
        ({"steps": 1, "ema": 1.0}, "less than 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValidationError, match=message):
        TrainingConfig(**options)


def test_names_stand_for_options():
    config = TrainingConfig(steps=5, optimiser="rmsprop", optimisers={"critic": "adam"}, schedule="one_cycle")
    assert config.optimiser == RMSprop()
    assert config.optimisers == {"critic": Adam()}
    assert config.schedule == OneCycle()
    assert TrainingConfig.model_validate(config.model_dump(mode="json")) == config


def test_budget_share_is_the_larger_one():
    config = TrainingConfig(steps=100, seconds=10.0)
    assert config.used(50, 2.0) == 0.5
    assert config.used(50, 8.0) == 0.8
    assert config.used(500, 8.0) == 1.0
    assert TrainingConfig(seconds=10.0).used(10**9, 1.0) == 0.1


def test_one_cycle_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    total = 40
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.0, total_steps=total, pct_start=0.25, div_factor=25, final_div_factor=1e4, cycle_momentum=False
    )
    ours = OneCycle(warm_up=0.25, start=1 / 25, final=1 / 25e4)
    for step in range(total):
        # torch ends its ways up and down at steps 9 and 39 of 40, we at shares of the budget.
        up = step <= 0.25 * total - 1
        x = step / (0.25 * total - 1) * 0.25 if up else 0.25 + 0.75 * (step - 9) / 30
        assert ours.factor(x, step) == pytest.approx(reference.get_last_lr()[0], rel=1e-6)
        optimiser.step()
        if step < total - 1:
            reference.step()


def test_cosine_and_exponential():
    cosine = Cosine(warm_up=0.1, final=0.2)
    assert cosine.factor(0.05, 0) == pytest.approx(0.5)
    assert cosine.factor(0.1, 0) == pytest.approx(1.0)
    assert cosine.factor(0.55, 0) == pytest.approx(0.6)
    assert cosine.factor(1.0, 0) == pytest.approx(0.2)
    assert Exponential(decay=0.5, every=100).factor(0.0, 200) == pytest.approx(0.25)
    assert Exponential(decay=0.5, every=100).factor(0.9, 50) == pytest.approx(math.sqrt(0.5))
    assert Constant().factor(0.7, 9) == 1.0


@given(st.floats(0, 1), st.sampled_from([Constant(), Cosine(), Cosine(warm_up=0), OneCycle(), OneCycle(warm_up=0)]))
@settings(deadline=None)
def test_factors_stay_between_zero_and_one(progress, schedule):
    assert 0.0 <= schedule.factor(progress, 0) <= 1.0
