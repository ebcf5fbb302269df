"""Sliced distances: exact energy distance, one-dimensional oracles, invariances, signed weights, nulls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import kstest, wasserstein_distance

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.distances import frechet, kernel
from parhelion.evaluation.distances.sliced import (
    METRIC,
    SlicedOptions,
    random_directions,
    slice_factor,
    sliced_distances,
)
from parhelion.report.content import ReportContent
from parhelion.report.families.distances import entries
from parhelion.report.style import render


def energy_u(x, y, w, v):
    """Exact energy distance without pairs of equal rows."""
    p, q = w / w.sum(), v / v.sum()
    within = [s @ cdist(z, z) @ s / (1 - s @ s) for z, s in ((x, p), (y, q))]
    return 2 * p @ cdist(x, y) @ q - sum(within)


def signed(rng, n):
    return np.where(rng.random(n) < 0.25, -0.5, 1.0)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_factor_makes_the_mean_projection_the_norm(d):
    theta = random_directions(200_000, d, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(theta, axis=1), 1)
    assert slice_factor(d) * np.mean(np.abs(theta[:, 0])) == pytest.approx(1.0, rel=0.01)
    assert slice_factor(1) == pytest.approx(1.0)
    assert slice_factor(2) == pytest.approx(np.pi / 2)


def test_one_dimension_agrees_with_scipy():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=300), rng.normal(size=(200)) * 1.3
    w, v = rng.uniform(0.2, 2, 300), rng.uniform(0.2, 2, 200)
    for a, b, u, t in ((x, y, w, v), (x, y, np.ones(300), np.ones(200)), (x[:200], y, np.ones(200), np.ones(200))):
        found = sliced_distances(a[:, None], b[:, None], u, t, directions=2)
        assert found.w1.value == pytest.approx(wasserstein_distance(a, b, u, t), rel=1e-5)
        exact = energy_u(a[:, None], b[:, None], u, t)
        assert found.energy.value == pytest.approx(exact, abs=0.6 * found.energy.null_error)


def test_equal_rows_and_weights_give_the_u_statistic_exactly():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(400, 1)), 1.2 * rng.normal(size=(400, 1)) + 0.1
    found = sliced_distances(x, y, directions=2)
    assert found.energy.value == pytest.approx(energy_u(x, y, np.ones(400), np.ones(400)), rel=1e-4)


def test_energy_distance_is_that_of_many_dimensions():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(300, 4)), 1.1 * rng.normal(size=(300, 4)) + 0.2
    found = sliced_distances(x, y, directions=600)
    exact = energy_u(x, y, np.ones(300), np.ones(300))
    spread = found.energy_by_direction.std(ddof=1) / np.sqrt(600)
    assert found.energy.value == pytest.approx(exact, abs=4 * spread)
    w, v = signed(rng, 300), signed(rng, 300)
    found = sliced_distances(x, y, w, v, directions=400)
    assert found.energy.value == pytest.approx(energy_u(x, y, w, v), abs=0.7 * found.energy.null_error)


def test_both_ways_to_the_values_agree():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(800, 3)) + 1e4, rng.normal(size=(800, 3)) + 1e4
    fast = sliced_distances(x, y, directions=20)
    # The smallest change of a weight leads to the steps of the cumulative distributions.
    slow = sliced_distances(x, y, np.r_[np.ones(799), 1 + 1e-9], directions=20)
    assert slow.w1.value == pytest.approx(fast.w1.value, rel=1e-4)
    assert slow.energy.value == pytest.approx(fast.energy.value, abs=0.3 * fast.energy.null_error)
    assert slow.energy.null_error == pytest.approx(fast.energy.null_error, rel=0.01)
    assert slow.w1.null == pytest.approx(fast.w1.null, rel=0.02)


def test_a_shift_is_measured():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(20_000, 3))
    found = sliced_distances(x, x + np.array([2.0, 0.0, 0.0]), directions=400).w1
    # Along theta the distance is 2 |theta_1|, whose mean is 2 / c_3.
    assert found.value == pytest.approx(2 / slice_factor(3), abs=4 * found.error)
    assert found.p_value < 0.01


def test_scale_and_shift():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 2)) + 0.2
    one, other = sliced_distances(x, y, directions=10), sliced_distances(5 * x + 3, 5 * y + 3, directions=10)
    for key in ("energy", "w1"):
        a, b = getattr(one, key), getattr(other, key)
        assert b.value == pytest.approx(5 * a.value, rel=1e-4)
        assert b.error == pytest.approx(5 * a.error, rel=1e-3)


def test_a_negative_copy_removes_rows():
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
    ghost = rng.normal(size=(100, 2)) + 5
    w = np.r_[np.ones(400), -np.ones(100)]
    with_ghost = sliced_distances(np.concatenate([x, ghost, ghost]), y, w, directions=10)
    assert with_ghost.w1.value == pytest.approx(sliced_distances(x, y, directions=10).w1.value, rel=1e-5)


def test_equal_samples_differ_in_nothing():
    x = np.random.default_rng(8).normal(size=(400, 3))
    w = signed(np.random.default_rng(9), 400)
    for weight in (None, w):
        found = sliced_distances(x, x, weight, weight, paired=True, directions=10)
        assert (found.energy.value, found.energy.p_value) == (0.0, 1.0)
        assert (found.w1.value, found.w1.p_value) == (0.0, 1.0)
        assert found.w1.error == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["independent", "signed", "paired"])
def test_null_is_right_and_p_values_are_uniform(kind):
    found = []
    for seed in range(100):
        rng = np.random.default_rng([seed, 10])
        x, y = rng.normal(size=(2, 600, 3))
        w = v = None
        if kind == "signed":
            back = rng.random((2, 600)) < 0.4
            peak = rng.random((2, 600)) < np.where(back, 0.35, 0.9)
            x, y = (z + 1.5 * b[:, None] for z, b in zip((x, y), back, strict=True))
            a, b = np.linalg.solve([[0.9, 0.1], [0.35, 0.65]], [1.0, 0.0])
            w, v = np.where(peak, a, b)
        if kind == "paired":
            common = rng.normal(size=(600, 3))
            x, y = common + 0.5 * x, common + 0.5 * y
        options = {"paired": kind == "paired", "directions": 15, "replicas": 150, "seed": seed}
        found.append(sliced_distances(x, y, w, v, **options))
    for key in ("energy", "w1"):
        quantities = [getattr(f, key) for f in found]
        value, null = (np.array([getattr(q, k) for q in quantities]) for k in ("value", "null"))
        width, p = (np.array([getattr(q, k) for q in quantities]) for k in ("null_error", "p_value"))
        assert value.mean() == pytest.approx(null.mean(), abs=4 * value.std() / np.sqrt(100))
        assert width.mean() == pytest.approx(value.std(), rel=0.35)
        assert kstest(p, "uniform").pvalue > 1e-3
        assert np.sum(p <= 0.05) <= 14


def test_metric_on_samples(pid):
    reference = pid.toy(1200, 1, signed=True)
    same, bad = pid.copy_of(reference, 2), pid.copy_of(reference, 2, shift=0.5)
    options = SlicedOptions(directions=20, replicas=200)
    good, worse = (METRIC.compute(reference, s, options, seed=1)[0] for s in (same, bad))
    assert len(good.details["worst"]) == len(good.details["features"]) == 6
    assert all(q.p_value > 1e-3 for q in good.quantities.values())
    assert all(q.p_value == pytest.approx(1 / 201) for q in worse.quantities.values())
    assert good.details["caption"].endswith(".")
    few = METRIC.compute(pid.toy(4, 1), pid.copy_of(pid.toy(4, 1), 2), options, seed=1)[0]
    for found in few.quantities.values():
        assert np.isfinite([found.value, found.error, found.null, found.null_error]).all()


def test_mistakes_are_told_in_one_sentence(pid):
    with pytest.raises(ConfigError, match="directions 1, blocks 50, replicas 400; expected at least 2, 4 and 20"):
        SlicedOptions(directions=1)
    with pytest.raises(DataError, match="metric sliced: 3 independent groups"):
        METRIC.compute(pid.toy(3, 1), pid.toy(3, 2), SlicedOptions(), seed=1)


def test_every_distance_has_a_figure_and_a_caption(pid):
    reference = pid.toy(600, 1)
    generated = pid.copy_of(reference, 2)
    options = (
        (frechet.METRIC, frechet.FrechetOptions(replicas=50)),
        (frechet.METRIC, frechet.FrechetOptions(mode="calochallenge", min_samples=100, max_samples=600)),
        (kernel.METRIC, kernel.KernelDistanceOptions(replicas=50)),
        (METRIC, SlicedOptions(directions=5, replicas=50)),
    )
    results = [metric.compute(reference, generated, chosen, seed=1)[0] for metric, chosen in options]
    drawn = list(entries(ReportContent("toy", results=results)))
    assert [len(entry.figure.axes) for entry in drawn] == [2, 2, 1, 3]
    for entry in drawn:
        assert entry.caption.endswith(".")
        assert render(entry.figure, "png")
    assert "keeps the bias" in drawn[1].caption
