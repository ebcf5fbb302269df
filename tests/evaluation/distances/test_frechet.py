"""Frechet distance: closed forms, oracles, bias and its removal, signed weights, pairs, nulls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import kstest

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.distances.blocks import Contrasts, SignNull, blocks_of_rows, deal_blocks, jackknife
from parhelion.evaluation.distances.frechet import METRIC, FrechetOptions, estimate_frechet, frechet_distance
from parhelion.evaluation.distances.moments import BlockMoments, gaussian_frechet
from parhelion.sample import Sample


def covariance(rng, d):
    a = rng.normal(size=(d, d + 2))
    return a @ a.T / d


def test_distance_of_gaussians_agrees_with_the_matrix_root():
    rng = np.random.default_rng(0)
    for d in (1, 3, 8):
        a, b = covariance(rng, d), covariance(rng, d)
        mu, nu = rng.normal(size=(2, d))
        expected = np.sum((mu - nu) ** 2) + np.trace(a + b - 2 * sqrtm(a @ b).real)
        assert gaussian_frechet(mu, a, nu, b) == pytest.approx(expected, rel=1e-10)


def test_closed_form_of_commuting_covariances():
    found = gaussian_frechet([0.0, 1.0], np.diag([1.0, 4.0]), [3.0, 1.0], np.diag([9.0, 0.25]))
    assert found == pytest.approx(9.0 + (1 - 3) ** 2 + (2 - 0.5) ** 2)
    singular = gaussian_frechet([0.0, 0.0], np.diag([1.0, 0.0]), [0.0, 0.0], np.diag([0.0, 1.0]))
    assert singular == pytest.approx(2.0)
    negative = gaussian_frechet([0.0, 0.0], np.diag([1.0, -0.3]), [0.0, 0.0], np.diag([1.0, 0.0]))
    assert negative == pytest.approx(0.0, abs=1e-12)


def test_many_covariances_at_once():
    rng = np.random.default_rng(1)
    a, b = np.array([covariance(rng, 3) for _ in range(4)]), covariance(rng, 3)
    found = gaussian_frechet(np.zeros((4, 3)), a, np.ones(3), b)
    assert found == pytest.approx([float(gaussian_frechet(np.zeros(3), c, np.ones(3), b)) for c in a], rel=1e-12)


def test_plain_value_is_that_of_the_samples_moments():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(300, 3)), rng.normal(size=(200, 3)) @ covariance(rng, 3)
    w, v = np.where(rng.random(300) < 0.2, -0.4, 1.0), rng.uniform(0.5, 2, 200)
    moments = [
        (np.average(z, axis=0, weights=u), np.cov(z, rowvar=False, aweights=u, ddof=0) if np.all(u > 0) else None)
        for z, u in ((x, w), (y, v))
    ]
    mean = moments[0][0]
    first = (w[:, None] * (x - mean)).T @ (x - mean) / w.sum()
    expected = gaussian_frechet(mean, first, *moments[1])
    assert frechet_distance(x, y, w, v).plain == pytest.approx(float(expected), rel=1e-9)


def test_rotations_and_shifts_change_nothing_and_scale_squares():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(400, 4)), 1.2 * rng.normal(size=(400, 4)) + 0.1
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    one = frechet_distance(x, y)
    for other in (frechet_distance(x @ turn, y @ turn), frechet_distance(x + 50.0, y + 50.0)):
        assert other.fpd.value == pytest.approx(one.fpd.value, rel=1e-9)
        assert other.fpd.error == pytest.approx(one.fpd.error, rel=1e-8)
        assert other.fpd.null_error == pytest.approx(one.fpd.null_error, rel=1e-8)
    assert frechet_distance(3 * x, 3 * y).fpd.value == pytest.approx(9 * one.fpd.value, rel=1e-9)
    assert frechet_distance(x, y, np.full(400, 7.0)).fpd.value == pytest.approx(one.fpd.value, rel=1e-9)


def test_order_of_samples_does_not_matter():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + 0.2
    assert frechet_distance(x, y, paired=True).fpd.value == pytest.approx(
        frechet_distance(y, x, paired=True).fpd.value, rel=1e-9
    )


def test_the_bias_of_finite_samples_is_predicted_and_removed():
    # Unit covariance: c (1/n + 1/m) with c = d + d (d + 1) / 4.
    d, n, m, toys = 10, 2000, 1500, 60
    estimates = []
    for seed in range(toys):
        rng = np.random.default_rng(seed)
        estimates.append(frechet_distance(rng.normal(size=(n, d)), rng.normal(size=(m, d)), replicas=20, seed=seed))
    predicted = (d + d * (d + 1) / 4) * (1 / n + 1 / m)
    plain, bias = np.array([e.plain for e in estimates]), np.array([e.bias for e in estimates])
    value = np.array([e.fpd.value for e in estimates])
    assert plain.mean() == pytest.approx(predicted, abs=4 * plain.std() / np.sqrt(toys))
    assert bias.mean() == pytest.approx(predicted, rel=0.03)
    assert value.mean() == pytest.approx(0.0, abs=4 * value.std() / np.sqrt(toys))
    assert np.mean([e.fpd.null_error for e in estimates]) == pytest.approx(value.std(), rel=0.3)


def test_a_known_difference_is_measured_without_bias():
    truth = 0.1**2 * 4 + 4 * 0.05**2
    pulls = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(3000, 4)), 1.05 * rng.normal(size=(3000, 4)) + 0.1
        found = frechet_distance(x, y, seed=seed, replicas=20).fpd
        pulls.append((found.value - truth) / found.error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(60)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize("kind", ["independent", "signed", "paired", "correlated"])
def test_p_values_are_uniform(kind):
    p = []
    mix = np.linalg.cholesky(0.9 * np.ones((3, 3)) + 0.1 * np.eye(3)).T
    for seed in range(120):
        rng = np.random.default_rng([seed, 5])
        x, y = rng.normal(size=(2, 900, 3))
        w = v = None
        if kind == "signed":
            # Background at 1.5 whose weights cancel it: weights depend on x.
            back = rng.random((2, 900)) < 0.4
            peak = rng.random((2, 900)) < np.where(back, 0.35, 0.9)
            x, y = (z + 1.5 * b[:, None] for z, b in zip((x, y), back, strict=True))
            a, b = np.linalg.solve([[0.9, 0.1], [0.35, 0.65]], [1.0, 0.0])
            w, v = np.where(peak, a, b)
        if kind == "paired":
            common = 3 * rng.normal(size=(900, 3))
            x, y = x + common, y + common
            w = v = np.where(rng.random(900) < 0.25, -0.5, 1.0)
        if kind == "correlated":
            x, y = x @ mix, y @ mix
        p.append(frechet_distance(x, y, w, v, paired=kind == "paired", replicas=200, seed=seed).fpd.p_value)
    assert kstest(p, "uniform").pvalue > 1e-3
    assert np.sum(np.array(p) <= 0.05) <= 15


def test_pairs_see_smaller_differences():
    rng = np.random.default_rng(6)
    common = 3 * rng.normal(size=(2000, 3))
    x, y = common + 0.1 * rng.normal(size=(2000, 3)), common + 0.1 * rng.normal(size=(2000, 3)) + 0.02
    paired, apart = frechet_distance(x, y, paired=True).fpd, frechet_distance(x, y).fpd
    assert paired.p_value < 0.01 < apart.p_value
    assert paired.null_error < 0.1 * apart.null_error


def test_equal_samples_differ_in_nothing():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(500, 5))
    x[:, 3] = x[:, 2]
    x[:, 4] = 1.0
    found = frechet_distance(x, x, paired=True)
    assert (found.fpd.value, found.fpd.p_value) == (0.0, 1.0)
    assert found.plain == pytest.approx(0.0, abs=1e-12)


def test_parts_of_the_features():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(20_000, 2)), rng.normal(size=(20_000, 2))
    y[:, 0] += 0.2
    y[:, 1] *= 1.3
    found = frechet_distance(x, y)
    for part, error, truth in (
        (found.shift, found.shift_error, [0.04, 0.0]),
        (found.width, found.width_error, [0.0, 0.09]),
    ):
        assert np.all(np.abs(part - truth) < 4 * error + 2e-4)


def test_rows_can_come_in_chunks():
    rng = np.random.default_rng(9)
    x, w, block = rng.normal(size=(1000, 3)), rng.normal(1, 1, 1000), rng.integers(0, 7, 1000)
    whole, parts = BlockMoments(7, 3), BlockMoments(7, 3)
    whole.add(x, block, w)
    for start in range(0, 1000, 130):
        chunk = slice(start, start + 130)
        parts.add(x[chunk], block[chunk], w[chunk])
    for key in ("weight", "first", "second"):
        assert np.allclose(getattr(whole, key), getattr(parts, key), rtol=1e-10, atol=1e-10)
    plain = BlockMoments(7, 3)
    plain.add(x, block)
    assert np.allclose(plain.second.sum(axis=0), x.T @ x)
    assert estimate_frechet(plain, plain, True, 20, 0).fpd.value == 0


def test_signed_weights_that_leave_a_negative_variance_are_clipped_and_told():
    rng = np.random.default_rng(10)
    x = np.column_stack([rng.normal(size=400), 0.01 * rng.normal(size=400)])
    x[:100, 1] = np.where(rng.random(100) < 0.5, -2.0, 2.0)
    w = np.where(np.arange(400) < 100, -0.5, 1.0)
    found = frechet_distance(x, rng.normal(size=(400, 2)) * [1, 0.01], w)
    assert found.clipped > 0.1
    assert np.isfinite([found.fpd.value, found.fpd.error, found.fpd.null_error]).all()


def test_blocks_hold_whole_groups_in_equal_numbers():
    group = np.repeat(np.arange(100), 3)
    blocks = deal_blocks(group, group, paired=True, count=10, rng=np.random.default_rng(0))
    assert np.array_equal(blocks.reference, blocks.generated)
    assert all(len(set(blocks.reference[group == g])) == 1 for g in range(100))
    assert np.all(np.bincount(blocks.reference) == 30)
    apart = deal_blocks(group, 1000 + np.arange(50), paired=False, count=80, rng=np.random.default_rng(0))
    assert apart.count == 50


def test_jackknife_removes_the_bias_of_a_variance():
    rng = np.random.default_rng(11)
    x = rng.normal(size=40)
    deleted = np.array([np.var(np.delete(x, i)) for i in range(40)])
    value, error = jackknife(np.var(x), deleted)
    assert value == pytest.approx(np.var(x, ddof=1), rel=1e-12)
    assert error == pytest.approx(np.sqrt(2 / 40), rel=0.5)


def test_variance_of_sign_draws_is_exact():
    rng = np.random.default_rng(12)
    u = rng.normal(size=(30, 4))
    null = SignNull(u @ u.T)
    draws = null.draws(20_000, rng)
    assert draws.mean() == pytest.approx(0, abs=4 * np.sqrt(null.variance / 20_000))
    assert draws.var() == pytest.approx(null.variance, rel=0.1)


def test_mistakes_are_told_in_one_sentence():
    x = np.ones((10, 2))
    for y, w, message in (
        (np.ones((5, 3)), None, "x has 2 columns and y has 3"),
        (np.ones(5), None, r"y: expected rows of shape \(n, d\)"),
        (np.full((5, 2), np.nan), None, "NaN or infinite"),
        (np.ones((3, 2)), None, "3 independent groups of rows"),
        (x, np.r_[np.ones(5), -np.ones(5)], "sum of weights is 0"),
        (x, np.r_[np.full(9, -1.0), 9.5], "without one of its 10 blocks"),
    ):
        with pytest.raises(DataError, match=message):
            frechet_distance(x, y, None, w)
    with pytest.raises(DataError, match="paired arrays have 10 and 5 rows"):
        blocks_of_rows(10, 5, paired=True)
    with pytest.raises(ConfigError, match="blocks 2"):
        FrechetOptions(blocks=2)
    with pytest.raises(ConfigError, match="scaling standard with mode calochallenge"):
        FrechetOptions(mode="calochallenge", scaling="standard")
    with pytest.raises(ConfigError, match="max_samples 5000"):
        FrechetOptions(max_samples=5000)
    with pytest.raises(DataError, match="not sum to a positive number"):
        Contrasts(np.array([5.0, -1.0, -1.0, -1.0]), np.ones(4), False)


@pytest.mark.parametrize("scaling", ["standard", "robust", "max", "none"])
def test_metric_on_samples(pid, scaling):
    reference = pid.toy(1500, 1, signed=True)
    same, bad = pid.copy_of(reference, 2), pid.copy_of(reference, 2, shift=0.4)
    options = FrechetOptions(scaling=scaling, replicas=200)
    good, worse = (METRIC.compute(reference, s, options, seed=1)[0] for s in (same, bad))
    assert good.details["features"] == ["P", "ETA", "Type = pi", "Type = K", "DLLk", "DLLp"]
    assert good.p_value > 1e-3
    assert worse.p_value == pytest.approx(1 / 201)
    assert good.details["caption"].endswith(".")
    alone = METRIC.compute(reference, same, FrechetOptions(fields=("DLLk",), conditions=False), seed=1)[0]
    assert (alone.on, alone.fields, alone.details["features"]) == ("DLLk", ("DLLk",), ["DLLk"])


def test_metric_with_few_rows_and_constant_columns(pid):
    reference = pid.toy(4, 1)
    found = METRIC.compute(reference, pid.copy_of(reference, 2), FrechetOptions(replicas=20), seed=1)[0].quantity()
    assert np.isfinite([found.value, found.error, found.null_error]).all()
    with pytest.raises(DataError, match="metric frechet: 3 independent groups"):
        METRIC.compute(pid.toy(3, 1), pid.toy(3, 2), FrechetOptions(), seed=1)
    reference = pid.toy(300, 1)
    columns = {**reference.columns, "DLLk": np.full(300, 2.0)}
    constant = Sample(reference.schema, columns, event_id=reference.event_id)
    found = METRIC.compute(constant, pid.copy_of(reference, 3), FrechetOptions(replicas=20), seed=1)[0].quantity()
    assert np.isfinite([found.value, found.error, found.null_error]).all()


def test_groups_make_errors_larger(pid):
    reference = pid.toy(400, 1)
    rows = np.repeat(np.arange(400), 4)

    def four(sample, grouped):
        columns = {name: column[rows] for name, column in sample.columns.items()}
        return Sample(sample.schema, columns, group=rows if grouped else None, source="four")

    options = FrechetOptions(replicas=20, conditions=False)
    errors = [
        METRIC.compute(four(reference, g), four(pid.copy_of(reference, 2), g), options, seed=1)[0].null_error
        for g in (False, True)
    ]
    assert errors[1] == pytest.approx(4 * errors[0], rel=0.35)
