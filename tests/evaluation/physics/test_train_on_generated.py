"""Training on generated rows: scores and influences, gaps of good and bad samples, signed weights, wrong input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn.metrics import r2_score

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.physics.train_on_generated import Task, TrainOnGeneratedOptions, train_on_generated
from parhelion.evaluation.physics.transfer import Examples, _mean, _Scores, r_squared, transfer
from parhelion.evaluation.statistics.regressed_weights import regressed_weight

QUICK = {"trees": 12, "blocks": 3}
SPECIES = TrainOnGeneratedOptions((Task("Type"),), sizes=(100,), **QUICK)


def test_r_squared_agrees_with_sklearn_and_its_error_with_the_jackknife():
    rng = np.random.default_rng(0)
    y, w = rng.normal(size=300), rng.uniform(0.2, 2.0, 300)
    f = 0.8 * y + 0.5 * rng.normal(size=300)
    value, influence = r_squared(y, f, w)
    assert value == pytest.approx(r2_score(y, f, sample_weight=w), abs=1e-12)
    assert np.sum(influence) == pytest.approx(0.0, abs=1e-12)
    left_out = [r_squared(np.delete(y, i), np.delete(f, i), np.delete(w, i))[0] for i in range(300)]
    assert np.sqrt(np.sum((left_out - np.mean(left_out)) ** 2)) == pytest.approx(
        np.sqrt(np.sum(influence**2)), rel=0.05
    )


def test_r_squared_refuses_constant_targets_and_weights_without_sum():
    with pytest.raises(DataError, match="cannot be regressed"):
        r_squared(np.full(5, 3.0), np.zeros(5))
    with pytest.raises(DataError, match="expected a positive number"):
        r_squared(np.arange(4.0), np.zeros(4), [1.0, -1.0, 1.0, -1.0])


def test_regressed_weights_are_the_conditional_mean():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(4000, 1))
    weight = np.where(rng.random(4000) < 0.5, 3.0, -1.0) * (x[:, 0] > 0)
    found = regressed_weight(x, weight)
    assert found.min() >= 0
    assert found[x[:, 0] > 0.1].mean() == pytest.approx(1.0, abs=0.15)
    assert found[x[:, 0] < -0.1].mean() == pytest.approx(0.0, abs=0.05)
    assert regressed_weight(x, np.abs(weight)) is not weight
    positive = np.ones(4000)
    assert regressed_weight(x, positive) is positive


def linear(n, seed, *, noise=1.0, first_group=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    return Examples(x, x[:, 0] + noise * rng.normal(size=n), np.ones(n), np.arange(n) + first_group)


def test_a_noisy_teacher_is_worse_at_every_size():
    steps = transfer(linear(4000, 1), linear(4000, 2, noise=3.0, first_group=4000), "r2", sizes=(100, 300), **QUICK)
    assert [s.size for s in steps[:2]] == [100, 300]
    assert 600 < steps[2].size <= 667
    for step in steps:
        assert step.gap.value > 3 * step.gap.error
        assert step.gap.value == pytest.approx(step.reference_reference.value - step.generated_reference.value)
    assert steps[-1].reference_reference.value > steps[0].reference_reference.value
    # At most 1/2 of the variance can be explained on the reference, and 1/10 on the other sample.
    assert 0.35 < steps[-1].reference_reference.value < 0.5
    assert steps[-1].reverse_gap.value > 0.2
    assert np.isnan(steps[0].reverse_gap.value)


def test_degrees_of_freedom_are_those_of_the_part_that_rules_the_error():
    alike = np.tile([[0.1, -0.1, 0.2, -0.2]], (4, 1))
    for fold_values, expected in (
        # Models that differ, and test rows that hardly matter: two folds of four blocks, three degrees each.
        ([0.0, 1.0, 2.0, 3.0], pytest.approx(6.0, rel=1e-3)),
        # Models that do not differ: all of the error is that of the test rows.
        ([0.5, 0.5, 0.5, 0.5], float("inf")),
    ):
        scores = _Scores(np.array(fold_values), 1e-3 * alike)
        assert _mean([scores, scores]).degrees == expected


def test_the_reference_teaches_itself_no_better(pid):
    reference = pid.toy(2000, 1)
    result = train_on_generated(reference, reference, SPECIES, seed=1)[0]
    assert result.value == pytest.approx(0, abs=1e-12)
    assert result.p_value == 1
    assert result.quantity("reverse_gap").value == pytest.approx(0, abs=1e-12)
    assert result.details["curve"]["sizes"] == [100, 333]


def test_a_useless_sample_is_found_and_a_good_one_is_not(pid):
    reference = pid.toy(3000, 1)
    good = pid.copy_of(reference, 2)
    bad = good.with_response(np.random.default_rng(0).normal(size=good.response.shape), source="bad")
    for generated, useless in ((good, False), (bad, True)):
        result = train_on_generated(reference, generated, SPECIES, seed=1)[0]
        for key in ("gap", "reverse_gap"):
            found = result.quantity(key)
            assert np.isfinite([found.value, found.error, found.null, found.null_error]).all()
            assert (found.p_value < 1e-3) == useless
        json.dumps(result.to_dict(), allow_nan=False)
    assert result.details["scores"]["generated to reference"]["value"] == pytest.approx(0.5, abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize(("paired", "target"), [(True, "Type"), (False, "P")])
def test_errors_of_equal_samples_are_the_spread_of_the_gap(pid, paired, target):
    features = () if target == "Type" else ("DLLk", "DLLp", "Type")
    options = TrainOnGeneratedOptions((Task(target, features=features),), sizes=(100,), trees=8, blocks=4)
    found = []
    for seed in range(12):
        reference = pid.toy(1600, seed)
        at = reference if paired else pid.toy(1600, 1000 + seed, first_id=10**6)
        found.append(train_on_generated(reference, pid.copy_of(at, seed), options, seed=seed)[0])
    pull = np.array([r.value / r.error for r in found])
    # Student's t with 6 degrees of freedom has width 1.22; four sigma of the mean and of the width of 12.
    assert abs(pull.mean()) < 1.5
    assert 0.4 < pull.std() < 2.3
    assert np.sum(np.array([r.p_value for r in found]) <= 0.05) <= 4
    assert np.mean([r.quantity().null_error for r in found]) == pytest.approx(np.std([r.value for r in found]), rel=0.7)


def test_signed_weights_judge_as_their_signal_does(pid):
    reference = pid.toy(2000, 1, signed=True)
    generated = pid.copy_of(pid.toy(2000, 2, first_id=10**6, signed=True), 2)
    options = TrainOnGeneratedOptions((Task("Type", features=("DLLk", "DLLp")),), sizes=(400,), trees=12, blocks=2)
    result = train_on_generated(reference, generated, options, seed=1)[0]
    assert result.details["signed_training"]
    plain = pid.toy(2000, 3)
    expected = train_on_generated(plain, plain, options, seed=1)[0].details["scores"]["reference to reference"]
    found = result.details["scores"]["generated to reference"]
    assert found["value"] == pytest.approx(expected["value"], abs=4 * found["error"] + 0.02)
    assert result.quantity("reverse_gap").p_value > 1e-3


def test_wrong_tasks_are_explained(pid):
    reference = pid.toy(200, 1)

    def run(*tasks, **options):
        train_on_generated(reference, reference, TrainOnGeneratedOptions(tasks, **options), seed=1)

    with pytest.raises(ConfigError, match="no tasks"):
        run()
    with pytest.raises(ConfigError, match="no field Q"):
        run(Task("Q"))
    with pytest.raises(ConfigError, match="is among the features"):
        run(Task("P", features=("P", "ETA")))
    with pytest.raises(ConfigError, match="takes no pair"):
        run(Task("P", pair=("K", "pi")))
    with pytest.raises(ConfigError, match="has no value mu"):
        run(Task("Type", pair=("K", "mu")))
    with pytest.raises(DataError, match="training sets of 25 rows in 4 blocks, expected at least 50"):
        run(Task("Type"))
    with pytest.raises(ConfigError, match="expected at least 50 rows"):
        run(Task("Type"), sizes=(3,))
    with pytest.raises(ConfigError, match="expected at least 2, 1 and 1"):
        run(Task("Type"), blocks=1)


def test_options_come_from_a_study_file():
    options = TrainOnGeneratedOptions((Task("Type", ("K", "pi"), ("DLLk",)), Task("P")))
    adapter = TypeAdapter(TrainOnGeneratedOptions)
    assert adapter.validate_python(json.loads(adapter.dump_json(options))) == options
