"""Validation metrics: against closed forms, against their null."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_toys import SCHEMA, Duel, Line, line_sample

from parhelion.errors import DataError
from parhelion.training import SlicedEnergy, TrainingConfig, ValidationLoss, fit
from parhelion.training.validation import choose_rows, scales, sliced_energy


def ones(n: int) -> torch.Tensor:
    return torch.ones(n, dtype=torch.float64)


def test_energy_distance_of_two_points():
    # 2 E|X - Y| - E|X - X'| - E|Y - Y'| = 2 |x - y| for two points.
    assert sliced_energy(torch.tensor([[1.0]]), ones(1), torch.tensor([[3.5]]), ones(1)) == pytest.approx(5.0)


def test_energy_distance_is_that_of_all_pairs_with_signed_weights():
    random = np.random.default_rng(1)
    x, y = random.normal(size=40), random.normal(0.5, size=55)
    p, q = random.normal(1, 1, size=40), random.normal(1, 1, size=55)
    p, q = p / p.sum(), q / q.sum()
    assert (p < 0).any()

    def mean(a, b, u, v):
        return u @ np.abs(a[:, None] - b[None]) @ v

    expected = 2 * mean(x, y, p, q) - mean(x, x, p, p) - mean(y, y, q, q)
    tensors = [torch.as_tensor(v) for v in (x[:, None], 3 * p, y[:, None], 5 * q)]
    assert sliced_energy(*tensors) == pytest.approx(expected, rel=1e-9)


def test_split_weight_changes_nothing():
    x, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(1)), torch.zeros(10, 4)
    whole = sliced_energy(x, ones(30), y, ones(10))
    doubled = sliced_energy(torch.cat([x, x]), torch.cat([1.7 * ones(30), -0.7 * ones(30)]), y, ones(10))
    assert doubled == pytest.approx(whole, rel=1e-9)


def test_sliced_energy_of_the_truth_is_its_null_and_a_bad_surrogate_is_worse():
    sample, surrogate = line_sample(8000, negative=0.1), Line(SCHEMA)
    surrogate.prepare(sample, seed=0)
    metric = SlicedEnergy(surrogate, sample, seed=1)
    bad = metric(surrogate)
    adam = {"kind": "adam", "learning_rate": 0.02}
    fit(surrogate, sample, config=TrainingConfig(steps=150, batch_size=500, optimiser=adam))
    trained = metric(surrogate)
    assert trained == metric(surrogate)
    assert trained < 0.05 * bad
    # Exact responses: the distance is the null by construction.
    order = np.random.default_rng(metric.seed).permutation(len(sample))
    exact = surrogate.encode(sample).response[torch.as_tensor(order[len(sample) // 2 :])]
    given = iter(torch.split(exact, 4096))
    surrogate.generate = lambda condition, noise: next(given)
    assert metric(surrogate) == pytest.approx(metric.null, rel=1e-6)


def test_sliced_energy_sees_a_lost_correlation_with_the_condition():
    sample, surrogate = line_sample(6000, negative=0.0), Line(SCHEMA)
    surrogate.prepare(sample, seed=0)
    metric = SlicedEnergy(surrogate, sample, seed=1)
    response = surrogate.encode(sample).response
    # Right marginals, given to the wrong conditions.
    surrogate.generate = lambda condition, noise: response[: len(condition)]
    assert metric(surrogate) > 20 * metric.null


def test_a_cell_that_is_nearly_always_empty_weighs_no_more_than_others():
    random = torch.Generator().manual_seed(1)
    cells = torch.rand(1000, 5, generator=random)
    # One hit in a thousand rows, and no hit at all.
    cells[:, 3:] = 0.0
    cells[7, 3] = 0.01
    # A field of its own in another unit, and a condition, keep their standard deviations.
    small, condition = 1e-3 * torch.randn(1000, 1, generator=random), torch.randn(1000, 2, generator=random)
    units = scales(torch.cat([cells, small, condition], dim=1), [5, 1])
    spread = torch.cat([cells, small, condition], dim=1).std(dim=0)
    torch.testing.assert_close(units[[0, 1, 2, 5, 6, 7]], spread[[0, 1, 2, 5, 6, 7]])
    least = 0.1 * float(spread[:5].square().mean().sqrt())
    assert units[3:5].tolist() == pytest.approx([least, least])
    assert least > 50 * float(spread[3])


def test_validation_loss_is_the_weighted_mean():
    sample, surrogate = line_sample(5000), Line(SCHEMA)
    surrogate.prepare(sample, seed=0)
    batch = surrogate.encode(sample)
    events = ((batch.response - surrogate.net(batch.condition)) ** 2).sum(dim=1).detach().double().numpy()
    expected = np.sum(sample.weight * events) / np.sum(sample.weight)
    metric = ValidationLoss(surrogate, sample, player="line", seed=0)
    assert metric(surrogate) == pytest.approx(expected, rel=1e-5)


def test_validation_loss_of_draws_is_repeatable():
    sample, surrogate = line_sample(500), Duel(SCHEMA)
    surrogate.prepare(sample, seed=0)
    metric = ValidationLoss(surrogate, sample, player="critic", seed=3)
    assert metric(surrogate) == metric(surrogate)
    assert metric(surrogate) != ValidationLoss(surrogate, sample, player="critic", seed=4)(surrogate)


def test_several_players_are_judged_by_distance():
    config = TrainingConfig(steps=4, batch_size=64, validate_every=2)
    result = fit(Duel(SCHEMA), line_sample(), config=config, validation=line_sample(400, seed=1))
    assert result.null is not None
    assert result.validation is not None


def test_chosen_rows_are_few_and_random():
    sample = line_sample(1000)
    chosen = choose_rows(sample, 100, seed=1)
    assert len(chosen) == 100
    assert chosen.event_id.max() > 900
    np.testing.assert_array_equal(chosen.event_id, choose_rows(sample, 100, seed=1).event_id)
    with pytest.raises(DataError, match="sum of weights is -1000"):
        choose_rows(sample.with_weight(-np.ones(1000)), 1000, seed=1)
