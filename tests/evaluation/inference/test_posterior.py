"""Posterior calibration: exact, narrow, wide and biased posteriors of a linear-Gaussian model, and the prior."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import kstest

from parhelion.errors import ConfigError, DataError, ShapeError
from parhelion.evaluation import evaluate
from parhelion.evaluation.inference.calibration import contraction, ellipsoid_ranks, ranks, tarp, tarp_reference
from parhelion.evaluation.inference.posterior import PosteriorOptions, posterior
from parhelion.evaluation.inference.uniformity import coverage, uniformity
from parhelion.evaluation.statistics.intervals import binomial_interval
from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema((Field("x", "", (2,)),), (Field("a", "GeV"), Field("b")))
NOISE = 0.7
OPTIONS = PosteriorOptions(replicas=200)
TESTED = ("rank_chi2_ndf", "coverage_68", "coverage_95", "tarp")


def model(n, seed, *, draws=30, width=1.0, bias=0.0, prior=False, signed=False):
    """Truths from N(0, 1), data with noise, draws of the exact posterior made wider or moved, or of the prior.

    With `signed`, 40 % of the rows are background with truths elsewhere, for which the posterior is wrong.
    """
    rng = np.random.default_rng([seed, 5])
    theta = rng.normal(size=(n, 2))
    weight = np.ones(n)
    if signed:
        background = rng.random(n) < 0.4
        theta[background] += 1.5
        peak = rng.random(n) < np.where(background, 0.35, 0.9)
        inside, outside = np.linalg.solve([[0.9, 0.1], [0.35, 0.65]], [1.0, 0.0])
        weight = np.where(peak, inside, outside)
    x = theta + NOISE * rng.normal(size=(n, 2))
    variance = 1 / (1 + NOISE**-2)
    spread = np.sqrt(variance)
    found = x[:, None, :] * variance / NOISE**2 + spread * (width * rng.normal(size=(n, draws, 2)) + bias)
    return theta, rng.normal(size=found.shape) if prior else found, x, weight


def samples(n, seed, **kwargs):
    theta, draws, x, weight = model(n, seed, **kwargs)
    count = draws.shape[1]
    reference = Sample(SCHEMA, {"x": x, "a": theta[:, 0], "b": theta[:, 1]}, weight=weight, source="reference")
    columns = {"x": np.repeat(x, count, axis=0), "a": draws[..., 0].ravel(), "b": draws[..., 1].ravel()}
    generated = Sample(
        SCHEMA,
        columns,
        weight=np.repeat(weight, count),
        group=np.repeat(reference.group, count),
        source="generated",
    )
    return reference, generated


def judged(seed=1, n=800, **kwargs):
    return {r.on: r for r in posterior(*samples(n, seed, **kwargs), OPTIONS, seed=seed)}


def test_exact_posteriors_are_calibrated():
    found = judged()
    assert list(found) == ["a", "b", "all parameters"]
    for result in found.values():
        for key in TESTED:
            q = result.quantity(key)
            assert q.p_value > 1e-3, key
            assert np.isfinite([q.value, q.error, q.null, q.null_error]).all()
        # Prior variance 1, posterior variance 1 / (1 + 1 / 0.49).
        contracted = result.quantity("contraction")
        assert contracted.value == pytest.approx(1 - 1 / (1 + NOISE**-2), abs=4 * contracted.error)
        assert contracted.p_value is None
        assert result.details["sharp"]
        json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("width", "sign"), [(0.75, -1), (1.35, 1)])
def test_wrong_widths_are_found_with_their_sign(width, sign):
    for result in judged(width=width).values():
        for key in TESTED:
            assert result.quantity(key).p_value < 0.02, key
        assert sign * (result.details["coverage"]["at_68"] - 0.68) > 0.05
        assert sign * (result.details["coverage"]["at_95"] - 0.95) > 0.015
        assert sign * result.details["tarp"]["atc"] > 0


def test_a_bias_is_found():
    found = judged(bias=0.5)
    for name in ("a", "b"):
        assert found[name].p_value < 1e-4
        # Draws too large: the truths have low ranks.
        assert found[name].details["ranks"]["share"][0] > 0.08
    assert found["all parameters"].quantity("coverage_68").p_value < 0.01


def test_the_prior_passes_simulation_based_calibration_but_not_tarp_and_is_called_out():
    for result in judged(prior=True).values():
        assert result.p_value > 1e-3
        assert result.quantity("coverage_68").p_value > 1e-3
        assert result.quantity("tarp").p_value < 0.01
        assert abs(result.quantity("contraction").value) < 0.15
        assert not result.details["sharp"]
        assert "hardly narrower" in result.details["caption"]


def test_tarp_with_points_that_ignore_the_data_passes_the_prior():
    theta, draws, _, _ = model(800, 3, prior=True)
    blind = tarp(theta, draws, tarp_reference(theta, seed=3), seed=3)
    assert kstest(blind, "uniform").pvalue > 1e-3


def test_tarp_agrees_with_brute_force():
    theta, draws, x, _ = model(40, 1)
    points = tarp_reference(theta, x, seed=2)
    found = tarp(theta, draws, points, seed=2)
    for i in range(40):
        own = np.linalg.norm(theta[i] - points[i])
        nearer = np.sum(np.linalg.norm(draws[i] - points[i], axis=1) < own)
        assert nearer / 31 <= found[i] <= (nearer + 1) / 31


def test_ranks_count_smaller_draws_and_share_ties():
    draws = np.tile([[1.0], [2.0], [2.0], [3.0]], (2000, 1, 1))
    found = ranks(np.full((2000, 1), 2.0), draws, seed=1)
    # One draw below, two equal: anywhere from 1/5 to 4/5.
    assert found.min() >= 0.2
    assert found.max() <= 0.8
    assert kstest((found[:, 0] - 0.2) / 0.6, "uniform").pvalue > 1e-3
    assert np.all(ranks(np.full((5, 1), 9.0), draws[:5]) >= 0.8)


def test_ellipsoid_ranks_do_not_depend_on_units():
    theta, draws, _, _ = model(50, 1)
    matrix = np.array([[3.0, 1.0], [0.5, 40.0]])
    first, second = ellipsoid_ranks(theta, draws, seed=1), ellipsoid_ranks(theta @ matrix, draws @ matrix, seed=1)
    assert first == pytest.approx(second, abs=1e-12)


@pytest.mark.parametrize("signed", [False, True])
def test_p_values_are_uniform(signed):
    found = []
    for seed in range(60):
        theta, draws, x, weight = model(400, seed, draws=15, signed=signed)
        u = ranks(theta, draws, seed=seed)[:, 0]
        flat = uniformity(u, bins=8, weight=weight, replicas=150, seed=seed)
        near = tarp(theta, draws, tarp_reference(theta, x, weight=weight, seed=seed), seed=seed)
        curve = uniformity(near, bins=30, weight=weight, replicas=150, seed=seed)
        held = coverage(np.abs(2 * u - 1) <= 0.68, 0.68, weight=weight)
        tail = float(np.mean(np.r_[curve.null, curve.deviation] >= curve.deviation))
        found.append([flat.chi2.value / flat.chi2.ndf, flat.band_p_value, tail, held.p_value])
    chi2, *p = np.array(found).T
    assert chi2.mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / 7 / 60))
    for values in p:
        assert kstest(values, "uniform").pvalue > 1e-3
        assert np.sum(values <= 0.05) <= 10


def test_rows_of_one_group_are_not_independent():
    rng = np.random.default_rng(1)
    u = rng.random(300)
    single = uniformity(u, bins=6, seed=1)
    four = uniformity(np.repeat(u, 4), bins=6, group=np.repeat(np.arange(300), 4), seed=1)
    assert four.share_error == pytest.approx(single.share_error)
    assert four.chi2.value == pytest.approx(single.chi2.value, rel=0.3)
    assert four.deviation == pytest.approx(single.deviation)
    held = coverage(np.repeat(u < 0.5, 4), 0.5, group=np.repeat(np.arange(300), 4))
    assert held.error == pytest.approx(np.sqrt(held.share * (1 - held.share) / 300))


def test_clopper_pearson_agrees_with_scipy():
    from scipy.stats import binomtest

    for k, n in ((0, 10), (3, 10), (10, 10), (70, 100)):
        expected = binomtest(k, n).proportion_ci(0.6827, method="exact")
        assert binomial_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_contraction_of_constant_truths_is_zero():
    value, error = contraction(np.ones((5, 1)), np.random.default_rng(0).normal(size=(5, 12, 1)))
    assert (value[0], error[0]) == (0.0, 0.0)


def test_draws_are_found_by_group_in_any_order():
    reference, generated = samples(200, 1)
    order = np.argsort(np.random.default_rng(0).random(len(reference)))
    first = posterior(reference, generated, OPTIONS, seed=1)[0]
    again = posterior(reference.take(order), generated, OPTIONS, seed=1)[0]
    assert again.quantity("contraction").value == pytest.approx(first.quantity("contraction").value)
    assert again.details["coverage"]["at_68"] == pytest.approx(first.details["coverage"]["at_68"], abs=0.02)


def test_the_scale_of_weights_does_not_matter():
    reference, generated = samples(300, 1, signed=True)
    first = posterior(reference, generated, OPTIONS, seed=1)[0]
    again = posterior(reference.with_weight(7 * reference.weight), generated, OPTIONS, seed=1)[0]
    for key in (*TESTED, "contraction"):
        assert again.quantity(key).value == pytest.approx(first.quantity(key).value, rel=1e-9)


def test_wrong_input_is_explained():
    reference, generated = samples(30, 1)
    with pytest.raises(DataError, match="group 0 has 5 draws, expected at least 10"):
        posterior(*samples(30, 1, draws=5), OPTIONS, seed=1)
    with pytest.raises(DataError, match="is no group of reference"):
        posterior(reference.take(np.arange(20)), generated, OPTIONS, seed=1)
    twice = Sample(SCHEMA, reference.columns, group=np.arange(30) // 2)
    with pytest.raises(DataError, match="group 0 has 2 rows, expected one row a group"):
        posterior(twice, generated, OPTIONS, seed=1)
    with pytest.raises(DataError, match="different weights"):
        posterior(reference, generated.with_weight(np.arange(1.0, len(generated) + 1)), OPTIONS, seed=1)
    with pytest.raises(ConfigError, match="no response or extra field x"):
        posterior(reference, generated, PosteriorOptions(("x",)), seed=1)
    with pytest.raises(ConfigError, match="expected at least 2 and 20"):
        PosteriorOptions(replicas=1)
    with pytest.raises(ShapeError, match="expected \\(n, d\\) and \\(n, L, d\\)"):
        ranks(np.ones(3), np.ones((3, 4, 1)))
    with pytest.raises(DataError, match="expected a positive sum"):
        uniformity(np.array([0.2, 0.7]), weight=[1.0, -1.0])


def test_thinning_keeps_all_draws_of_a_row():
    reference, generated = samples(600, 1, signed=True)
    found = evaluate(reference, generated, [("posterior", OPTIONS)], seed=1, max_rows=200)[0]
    assert found.details["draws"] == 30
    kept = found.details["rows"]["reference"]
    assert 140 < kept < 260
    assert found.details["rows"]["generated"] == 30 * kept
