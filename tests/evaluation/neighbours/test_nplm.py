"""The learned log-likelihood ratio: optimum, exact ratio, null, power, blame, signed weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import kstest

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.neighbours.nplm import (
    METRIC,
    NplmOptions,
    _quantities,
    kernel_ratio,
    nplm,
    pair_distance,
    statistic,
)

FAST = NplmOptions(toys=30)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_fit_is_the_minimum_of_the_loss(shift):
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.normal(size=(200, 2)), rng.normal(size=(100, 2)) + shift])
    label = np.arange(300) >= 200
    model = kernel_ratio(rows, 15, 2.0, 1e-3, rng)
    weight = np.where(label, 1.0, 0.5)

    def loss(beta):
        f = model.basis @ beta
        return weight @ np.logaddexp(0, np.where(label, -f, f)) + 0.5 * 300 * 1e-3 * beta @ beta

    best = minimize(loss, np.zeros(model.basis.shape[1]), method="BFGS", options={"gtol": 1e-7})
    assert np.allclose(model.fit(label), model.basis @ best.x, atol=3e-3)


def test_the_ratio_of_two_gaussians_is_learned():
    rng = np.random.default_rng(1)
    n = 20_000
    rows = np.concatenate([rng.normal(size=(n, 1)), rng.normal(size=(n, 1)) + 0.5])
    label = np.arange(2 * n) >= n
    f = kernel_ratio(rows, 60, pair_distance(rows[:n], 0.9, rng), 1e-6, rng).fit(label)
    exact = 0.5 * rows[:, 0] - 0.125
    inside = np.abs(rows[:, 0]) < 2
    assert np.abs(f - exact)[inside].max() < 0.12
    # 2 n times the information divergence of the two, E_D[f] = 0.125, for an unbiased f; a fit gains a few units.
    assert statistic(exact, label) == pytest.approx(2 * n * 0.125, rel=0.08)
    assert statistic(f, label) == pytest.approx(statistic(exact, label), rel=0.03)


def test_width_is_a_quantile_of_distances():
    rng = np.random.default_rng(1)
    # |x - y| of normal numbers is sqrt(2) times a half-normal number.
    assert pair_distance(rng.normal(size=(20_000, 1)), 0.9, rng) == pytest.approx(np.sqrt(2) * 1.645, rel=0.08)
    assert pair_distance(np.ones((50, 3)), 0.9, rng) == 1.0


@pytest.mark.parametrize("paired", [True, False])
def test_null_is_that_of_experiments(pid, paired):
    results = []
    for seed in range(40):
        reference = pid.toy(400, seed)
        at = reference if paired else pid.toy(400, 1000 + seed, first_id=10**6)
        results.append(nplm(reference, pid.copy_of(at, seed), FAST, seed=seed)[0])
    t, p = np.array([r.value for r in results]), np.array([r.p_value for r in results])
    assert np.mean(t) == pytest.approx(np.mean([r.null for r in results]), abs=0.8 * t.std())
    assert np.mean([r.null_error for r in results]) == pytest.approx(t.std(ddof=1), rel=0.45)
    assert kstest(p, "uniform").pvalue > 1e-4
    assert np.sum(p <= 0.05) <= 8
    z = np.array([r.quantity("z").value for r in results])
    assert z.std() == pytest.approx(1.0, abs=0.45)


@pytest.mark.parametrize("ndf", [5, 100])
def test_thirty_toys_keep_the_level(ndf):
    # 200,000 draws have shares of 0.0510 and 0.0099 below 0.05 and 0.01 with 5 degrees of freedom, 0.0493 and 0.0099
    # with 100.
    draws = 0.8 * np.random.default_rng(1).chisquare(ndf, (2000, 31))
    p = np.array([_quantities(float(row[0]), row[1:])[0]["t"].p_value for row in draws])
    for level in (0.05, 0.01):
        assert np.mean(p <= level) == pytest.approx(level, abs=3.3 * np.sqrt(level * (1 - level) / len(p)))


def test_a_wrong_sample_is_found_and_blamed(pid):
    reference = pid.toy(3000, 1)
    result = nplm(reference, pid.copy_of(reference, 2, shift=0.5, width=1.2), FAST, seed=1)[0]
    assert result.quantity("z").value > 8
    assert result.p_value < 1e-10
    excess, deficit = result.details["excess"], result.details["deficit"]
    assert excess["generated"] > 3 * excess["reference"]
    assert deficit["reference"] > deficit["generated"]
    blamed = max(excess["shift"], key=lambda name: abs(excess["shift"][name]))
    assert blamed in ("DLLk", "DLLp")
    assert excess["shift"][blamed] > 1
    assert result.details["caption"].endswith(".")
    json.dumps(result.to_dict(), allow_nan=False)


def test_error_is_the_spread_of_experiments(pid):
    results = []
    for seed in range(30):
        reference, at = pid.toy(600, seed), pid.toy(600, 1000 + seed, first_id=10**6)
        results.append(nplm(reference, pid.copy_of(at, seed, shift=0.6), replace(FAST, toys=20), seed=seed)[0])
    t = np.array([r.value for r in results])
    assert np.mean([r.error for r in results]) == pytest.approx(t.std(ddof=1), rel=0.5)


def test_far_samples_give_a_finite_significance():
    from parhelion.sample import Field, Sample, Schema

    schema = Schema((), (Field("x"),))
    rng = np.random.default_rng(0)
    samples = [Sample(schema, {"x": rng.normal(size=400) + s}, event_id=np.arange(s, s + 400)) for s in (0, 1000)]
    result = nplm(*samples, FAST, seed=1)[0]
    assert np.isfinite([result.value, result.error, result.quantity("z").value, result.quantity("z").error]).all()
    assert result.quantity("z").value > 20
    constant = [s.with_response(np.ones((400, 1)), source="constant") for s in samples]
    with pytest.raises(DataError, match="all of x are constant in the reference"):
        nplm(*constant, FAST, seed=1)


def test_the_same_rows_do_not_differ(pid):
    reference = pid.toy(500, 1)
    result = nplm(reference, reference, FAST, seed=1)[0]
    assert result.value == pytest.approx(0.0, abs=1.0)
    assert all(np.isfinite([q.value, q.error, q.null, q.null_error]).all() for q in result.quantities.values())
    assert result.p_value > 0.01


def test_signed_weights_agree_with_the_truth(pid):
    reference = pid.toy(3000, 1, signed=True)
    good = pid.copy_of(pid.toy(3000, 2, first_id=10**6), 2)
    bad = pid.copy_of(pid.toy(3000, 3, first_id=10**6), 3, shift=1.2)
    options = replace(FAST, toys=20)
    assert nplm(reference, good, options, seed=1)[0].p_value > 1e-3
    assert nplm(reference, bad, options, seed=1)[0].p_value < 1e-3
    # Without weights the background alone would be found.
    plain = reference.with_weight(np.ones(3000))
    assert nplm(plain, good, options, seed=1)[0].p_value < 1e-6


def test_mistakes_are_told(pid):
    reference = pid.toy(300, 1)
    with pytest.raises(DataError, match=r"3 rows of equal weight are left .* expected at least 50"):
        nplm(reference.take(slice(0, 3)), reference, FAST, seed=1)
    with pytest.raises(ConfigError, match="no field DLLmu"):
        nplm(reference, reference, replace(FAST, fields=("DLLmu",)), seed=1)
    with pytest.raises(ConfigError, match="toys 3"):
        NplmOptions(toys=3)
    assert METRIC.quantities == ("t", "z")
