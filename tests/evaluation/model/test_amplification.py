"""Amplification: true events are worth themselves, models what their deviation says; the metric's null."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import kstest

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.model.amplification import (
    METRIC,
    AmplificationOptions,
    amplification,
    amplification_curve,
    amplification_of,
    quantile_mse,
    sampling_mse,
)
from parhelion.evaluation.model.quantile_cells import NestedQuantiles, unit_cells
from parhelion.simulators.toys import Camel, Shell, as_sample, draw

TOY = Camel()


# ------------------------------------------------------------------------------------------------ cells
def test_unit_cells_have_equal_probability_and_are_nested():
    unit = np.array([[0.0, 0.99], [0.49, 0.34], [0.5, 0.0], [1.0, 1.0]])
    assert unit_cells(unit, (2, 3)).tolist() == [2, 1, 3, 5]
    cell = unit_cells(Shell().to_unit(draw(Shell(), 20_000, 1)), (5, 5))
    counts = np.bincount(cell, minlength=25)
    assert np.sum((counts - 800) ** 2 / 800) < 60


def test_nested_quantiles_of_a_large_holdout_approach_the_exact_ones():
    holdout, events = draw(Shell(), 200_000, 1), draw(Shell(), 2000, 2)
    polar = [np.column_stack([np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0]) % (2 * np.pi)]) for x in (holdout, events)]
    found = NestedQuantiles.of(polar[0], (4, 5)).cell(polar[1])
    exact = unit_cells(Shell().to_unit(events), (4, 5))
    assert np.mean(found == exact) > 0.97
    of_holdout = np.bincount(NestedQuantiles.of(polar[0], (4, 5)).cell(polar[0]), minlength=20)
    assert np.ptp(of_holdout) <= 8


# ------------------------------------------------------------------------------------------------ numbers
@pytest.mark.parametrize("cells", [5, 50])
def test_mse_of_true_events_is_that_of_a_multinomial(cells):
    rng = np.random.default_rng(cells)
    found = np.array([quantile_mse(rng.integers(0, cells, 100), cells) for _ in range(2000)])
    expected = sampling_mse(cells, 100)
    # Relative standard deviation of one: sqrt(2 / (N - 1)).
    assert found[:, 0].mean() == pytest.approx(expected, rel=4 * np.sqrt(2 / (cells - 1) / 2000))
    assert found[:, 0].std() == pytest.approx(expected * np.sqrt(2 / (cells - 1)), rel=0.15)
    assert found[:, 1].mean() == pytest.approx(expected, rel=0.01)
    assert abs(np.mean(found[:, 0] - found[:, 1])) < 4 * found[:, 0].std() / np.sqrt(2000)


@pytest.mark.parametrize("events", [100, 700])
def test_true_events_are_worth_themselves(events):
    """A model that gives n true events for each training on 100 has G = n / 100."""
    samples = [TOY.to_unit(draw(TOY, events, seed)) for seed in range(200)]
    for found in amplification_curve(samples, 100, splits=[(10,), (50,)], generated=[events]):
        assert found.factor == pytest.approx(events / 100, abs=4 * found.factor_error)
        assert found.factor_error / found.factor == pytest.approx(np.sqrt(2 / (found.cells - 1) / 200), rel=0.3)
        assert found.equivalent == pytest.approx(100 * found.factor)


def test_resampling_the_training_sample_is_worth_no_more_than_it():
    rng = np.random.default_rng(0)
    samples = [TOY.to_unit(draw(TOY, 100, seed))[rng.integers(0, 100, 5000)] for seed in range(150)]
    found = amplification_curve(samples, 100, splits=[(20,)], generated=[50, 5000])
    # 50 rows drawn from 100: the variances 1 / 100 and 1 / 50 add up (less 1 / 5000).
    assert found[0].factor == pytest.approx(1 / (1 + 2 * 0.99), abs=4 * found[0].factor_error)
    for size in found:
        assert size.limit == pytest.approx(1.0, abs=4 * size.limit_error)


def test_finite_holdout_is_taken_out():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(30):
        holdout = rng.random((500, 1))
        samples = [rng.random((400, 1)) for _ in range(20)]
        found.append(amplification_curve(samples, 100, splits=[(20,)], generated=[400], holdout=holdout)[0])
    assert np.mean([f.mse for f in found]) == pytest.approx(sampling_mse(20, 400), rel=0.15)


def test_few_trainings_and_wrong_shapes_are_refused():
    with pytest.raises(DataError, match="1 samples of 5 events, expected at least two"):
        amplification_of([np.zeros(5)], 10, 100)
    with pytest.raises(DataError, match="of 4, 5 events"):
        amplification_of([np.zeros(5), np.zeros(4)], 10, 100)
    with pytest.raises(DataError, match=r"expected \(n, 2\)"):
        unit_cells(np.zeros((5, 1)), (2, 2))
    with pytest.raises(DataError, match="10 events of the holdout for 25 cells"):
        NestedQuantiles.of(np.zeros((10, 2)), (5, 5))


# ------------------------------------------------------------------------------------------------ the metric
def normal(n, seed, *, shift=0.0, first=0):
    return as_sample(np.random.default_rng(seed).normal(shift, 1.0, n), first_id=first)


def test_a_second_sample_as_surrogate_gives_its_own_size():
    """The 'surrogate' is the histogram of 400 other true events: G = 400 / 1000, whatever the test sample."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(40):
        known = rng.normal(size=400)
        generated = as_sample(rng.choice(known, 20_000), first_id=10**7)
        options = AmplificationOptions(quantiles=(20,))
        found.append(amplification(normal(20_000, seed), generated, options, seed=1, train=normal(1000, seed + 500))[0])
    inverse = np.array([r.value for r in found])
    assert inverse.mean() == pytest.approx(1000 / 400, abs=4 * inverse.std() / np.sqrt(40))
    assert inverse.std() == pytest.approx(2.5 * np.sqrt(2 / 19), rel=0.4)


@pytest.mark.parametrize(("paired", "signed"), [(True, False), (False, False), (True, True), (False, True)])
def test_null_is_zero_and_p_values_uniform(pid, paired, signed):
    results = []
    options = AmplificationOptions(fields=("DLLk",), quantiles=(20,))
    for seed in range(60):
        reference = pid.toy(1500, seed, signed=signed)
        at = reference if paired else pid.toy(1500, 10_000 + seed, first_id=10**7, signed=signed)
        results += amplification(reference, pid.copy_of(at, seed), options, seed=1, train=reference)
    p = np.array([r.p_value for r in results])
    assert kstest(p, "uniform").pvalue > 1e-3
    pulls = np.array([r.value / r.quantity().null_error for r in results])
    assert abs(pulls.mean()) < 4 / np.sqrt(60)
    assert pulls.std() == pytest.approx(1.0, abs=0.4)


def test_the_error_is_the_scatter_of_the_number():
    options = AmplificationOptions(quantiles=(20,))
    train = normal(1000, 99)
    found = [
        amplification(normal(4000, s), normal(4000, s + 1000, shift=0.2, first=10**7), options, seed=1, train=train)[0]
        for s in range(60)
    ]
    values = np.array([r.value for r in found])
    assert np.mean([r.error for r in found]) == pytest.approx(values.std(), rel=0.35)
    assert min(r.p_value for r in found) < 1e-6


def test_results_are_plain_and_complete(pid):
    reference = pid.toy(2000, 1)
    bad = pid.copy_of(reference, 2, shift=0.5)
    results = amplification(reference, bad, AmplificationOptions(), seed=1, train=reference)
    assert [r.on for r in results] == ["DLLk", "DLLp"]
    for result in results:
        json.dumps(result.to_dict(), allow_nan=False)
        assert result.p_value < 1e-6
        assert result.details["factor"][0] == pytest.approx(1 / result.value)
        assert result.details["factor_low"][0] < result.details["factor"][0]
        # Atoms (one row in twenty is exactly 0) join quantiles.
        assert result.details["cells"][0] < 50
        assert set(METRIC.quantities) == set(result.quantities)
    same = amplification(reference, reference, AmplificationOptions(), seed=1, train=reference)
    assert all(q.value == 0 and q.p_value == 1 for r in same for q in r.quantities.values())
    constant = as_sample(np.ones(50))
    assert amplification(constant, constant, AmplificationOptions(), seed=1, train=constant)[0].value == 0


def test_mistakes_are_told_in_one_sentence(pid):
    reference = pid.toy(200, 1)
    with pytest.raises(ConfigError, match="Type is a category"):
        amplification(reference, reference, AmplificationOptions(fields=("Type",)), seed=1, train=reference)
    with pytest.raises(DataError, match="no rows for the training sample"):
        amplification(reference, reference, AmplificationOptions(), seed=1, train=reference.take(slice(0, 0)))
    with pytest.raises(ConfigError, match="quantiles"):
        AmplificationOptions(quantiles=(1,))
