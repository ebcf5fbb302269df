"""Penalties against critics whose slope is known."""

from __future__ import annotations

import math

import pytest
import torch

from parhelion.surrogates.objectives.penalties import (
    PENALTIES,
    R1,
    Arctan,
    Constant,
    Decay,
    Gradient,
    LogitGradient,
    NoPenalty,
    gradient_penalty,
    logit_gradient,
    r1,
)


def step(t):
    return torch.tensor(t)


def test_unit_slope_costs_nothing():
    unit = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    for one_sided in (False, True):
        torch.testing.assert_close(gradient_penalty(unit, one_sided=one_sided), torch.zeros(9), atol=1e-10, rtol=0)


def test_gradient_penalty_by_hand():
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(gradient_penalty(gradient, one_sided=False), torch.tensor([16.0, 0.25, 1.0]))
    torch.testing.assert_close(gradient_penalty(gradient, one_sided=True), torch.tensor([16.0, 0.0, 0.0]))


def test_r1_of_a_linear_critic_is_half_its_squared_slope():
    slope = torch.tensor([1.0, -2.0, 2.0])
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (gradient,) = torch.autograd.grad((x @ slope).sum(), x)
    torch.testing.assert_close(r1(gradient), torch.full((5,), 4.5))
    torch.testing.assert_close(R1(coefficient=20).events(x @ slope, gradient), torch.full((5,), 4.5))


def test_logit_gradient_by_hand():
    # D = 3/4: real counts with (1/4)^2, generated with (3/4)^2; half the squared slope is 12.5.
    score, gradient = torch.tensor([math.log(3.0)]), torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(logit_gradient(score, gradient, real=True), torch.tensor([12.5 / 16]))
    torch.testing.assert_close(logit_gradient(score, gradient, real=False), torch.tensor([12.5 * 9 / 16]))
    both = LogitGradient().events(score.repeat(2), gradient.repeat(2, 1))
    torch.testing.assert_close(both, torch.tensor([12.5 * 10 / 16]))


def test_penalty_is_zero_gradient_free_at_no_slope():
    gradient = torch.zeros(3, 2, requires_grad=True)
    (back,) = torch.autograd.grad(gradient_penalty(gradient, one_sided=False).sum(), gradient)
    assert torch.isfinite(back).all()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), (1.0, 1.0, 1.0)),
        (Arctan(steps=100), (0.0, 0.5, 2 / math.pi * math.atan(100.0))),
        (Decay(steps=100, final=0.01), (1.0, 0.01, 0.01)),
    ],
)
def test_schedules(schedule, expected):
    got = torch.stack([schedule.factor(step(t)) for t in (0, 100, 10_000)])
    torch.testing.assert_close(got, torch.tensor(expected))


def test_rich_recipe_strength():
    penalty = Gradient.model_validate(
        {"coefficient": 20, "one_sided": True, "schedule": {"kind": "arctan", "steps": 10_000}}
    )
    torch.testing.assert_close(penalty.strength(step(10_000)), torch.tensor(10.0))


def test_registry_names_are_the_kinds():
    assert all(PENALTIES[name]().kind == name for name in PENALTIES)
    assert PENALTIES["none"] is NoPenalty
