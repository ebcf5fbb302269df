"""Precision, recall, density and coverage: brute force, closed forms, laws, null, power, signed weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.neighbours.prdc import METRIC, PrdcOptions, expected_coverage, neighbourhoods, prdc

FAST = PrdcOptions(replicas=40)


def brute_force(x, y, k):
    own, other, cross = cdist(x, x), cdist(y, y), cdist(x, y)
    r, s = np.sort(own, axis=1)[:, k], np.sort(other, axis=1)[:, k]
    return {
        "coverage": np.mean(cross.min(axis=1) < r),
        "precision": np.mean((cross < r[:, None]).any(axis=0)),
        "recall": np.mean((cross < s[None]).any(axis=1)),
        "density": np.mean((cross < r[:, None]).sum(axis=0)) / k,
    }


@pytest.mark.parametrize(("d", "k"), [(1, 1), (2, 5), (9, 3)])
def test_numbers_are_brute_force(d, k):
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(300, d)), 1.5 * rng.normal(size=(200, d)) + 0.3
    assert neighbourhoods(x, y, k).values == pytest.approx(brute_force(x, y, k), abs=1e-12)


def test_swapping_the_samples_swaps_precision_and_recall():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 3)), 0.5 * rng.normal(size=(200, 3))
    first, second = neighbourhoods(x, y), neighbourhoods(y, x)
    assert first.values["precision"] == second.values["recall"]
    assert first.values["recall"] == second.values["precision"]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert neighbourhoods(7 * x @ rotation + 2, 7 * y @ rotation + 2).values == pytest.approx(first.values)


def test_a_lost_mode_and_a_lost_tail():
    rng = np.random.default_rng(1)
    both = rng.normal(size=(1000, 2)) + np.where(rng.random(1000) < 0.5, 0.0, 20.0)[:, None]
    one = rng.normal(size=(1000, 2))
    found = neighbourhoods(both, one).values
    assert found["coverage"] == pytest.approx(0.5, abs=0.06)
    assert found["recall"] == pytest.approx(0.5, abs=0.06)
    assert found["precision"] > 0.95
    assert neighbourhoods(one, both).values["precision"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("n", "m", "k", "d"), [(300, 300, 5, 2), (400, 200, 3, 7)])
def test_coverage_of_one_distribution_is_the_closed_form(n, m, k, d):
    rng = np.random.default_rng(1)
    draws = [neighbourhoods(rng.gamma(2.0, size=(n, d)), rng.gamma(2.0, size=(m, d)), k) for _ in range(60)]
    coverage = [x.values["coverage"] for x in draws]
    assert np.mean(coverage) == pytest.approx(expected_coverage(n, m, k), abs=4 * np.std(coverage) / np.sqrt(60))
    # Density in one distribution is n / (n - 1) up to the finite k: one within its errors.
    density = [x.values["density"] for x in draws]
    assert np.mean(density) == pytest.approx(1.0, abs=0.02)
    assert expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 2**-5, abs=1e-6)


def test_null_and_error_are_those_of_experiments(pid):
    results = []
    for seed in range(40):
        reference, at = pid.toy(500, seed), pid.toy(500, 1000 + seed, first_id=10**6)
        results.append(prdc(reference, pid.copy_of(at, seed), FAST, seed=seed)[0])
    for name in METRIC.quantities:
        value = np.array([r.quantity(name).value for r in results])
        null = np.array([r.quantity(name).null for r in results])
        width = np.mean([r.quantity(name).null_error for r in results])
        error = np.mean([r.quantity(name).error for r in results])
        p = np.array([r.quantity(name).p_value for r in results])
        # Forty experiments: mean to 0.16 widths, width to 11 %; four sigma.
        assert np.mean(value - null) == pytest.approx(0, abs=0.7 * value.std()), name
        assert width == pytest.approx(value.std(ddof=1), rel=0.45), name
        assert 0.95 * width <= error < 1.3 * width, name
        # At 5 %: 2 expected, at most 8 with probability 0.9995.
        assert np.sum(p <= 0.05) <= 8
    assert np.mean([r.quantity("coverage").null for r in results]) == pytest.approx(
        expected_coverage(500, 500, 5), abs=0.003
    )


def test_signed_weights_agree_with_the_truth(pid):
    """Signal and background minus background, against signal alone."""
    truth, signed = pid.toy(4000, 1), pid.toy(4000, 2, signed=True, first_id=10**6)
    good, bad = (pid.copy_of(pid.toy(4000, i, first_id=i * 10**7), i, shift=shift) for i, shift in ((3, 0.0), (4, 1.0)))
    options = replace(FAST, rows=500)
    fine = prdc(signed, good, options, seed=1)[0]
    assert fine.quantity("coverage").p_value > 1e-3
    assert fine.value == pytest.approx(expected_coverage(500, 500, 5), abs=0.035)
    exact, estimate = (prdc(reference, bad, options, seed=1)[0].quantities for reference in (truth, signed))
    assert estimate["coverage"].value < fine.value - 0.03
    for name in ("coverage", "precision", "recall"):
        assert estimate[name].value == pytest.approx(exact[name].value, abs=5 * np.hypot(estimate[name].error, 0.01))


@pytest.mark.parametrize("paired", [True, False])
def test_a_wrong_sample_is_found_and_located(pid, paired):
    reference = pid.toy(1500, 1)
    at = reference if paired else pid.toy(1500, 2, first_id=10**6)
    result = prdc(reference, pid.copy_of(at, 1, shift=1.0), FAST, seed=1)[0]
    assert result.p_value < 0.03
    assert result.details["outside"]["shift"]["DLLk"] > 0.3
    assert result.details["uncovered"]["shift"]["DLLk"] < -0.2
    assert result.details["curve"]["coverage"] == sorted(result.details["curve"]["coverage"])
    assert result.details["caption"].endswith(".")
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_same_rows_cover_each_other(pid):
    reference = pid.toy(400, 1)
    result = prdc(reference, reference, FAST, seed=1)[0]
    assert result.quantity("precision").value == 1
    assert result.value > 0.99
    assert result.p_value > 0.05


def test_constant_columns_atoms_and_mistakes(pid):
    reference = pid.toy(300, 1)
    flat = np.zeros((300, 2))
    flat[:, 1] = 4.0
    constant = reference.with_response(flat, source="constant")
    for result in prdc(constant, constant, replace(FAST, conditions=False), seed=1):
        assert all(np.isfinite([q.value, q.error, q.null, q.p_value]).all() for q in result.quantities.values())
    with pytest.raises(DataError, match=r"3 rows of equal weight are left .* expected at least 20"):
        prdc(reference.take(slice(0, 3)), reference, FAST, seed=1)
    with pytest.raises(ConfigError, match="no field DLLmu"):
        prdc(reference, reference, replace(FAST, fields=("DLLmu",)), seed=1)
    with pytest.raises(DataError, match="x has 2 columns and y has 3"):
        neighbourhoods(np.ones((9, 2)), np.ones((9, 3)), 2)
    with pytest.raises(ConfigError, match="neighbours 0"):
        PrdcOptions(neighbours=0)
