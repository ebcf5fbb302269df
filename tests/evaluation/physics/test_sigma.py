"""Distances by class and their maximum: oracles, invariants, null, power, signed weights, wrong input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import energy_distance, wasserstein_distance

from parhelion.errors import ConfigError, DataError, ShapeError
from parhelion.evaluation.physics.class_distances import class_distances
from parhelion.evaluation.physics.sigma import SigmaOptions, sigma


def two_samples(seed=0, n=500, m=400):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(0.3, 1.2, size=m), rng.integers(0, 3, n), rng.integers(0, 3, m), rng


@pytest.mark.parametrize("distance", ["energy", "w1"])
def test_distances_agree_with_scipy(distance):
    x, y, xc, yc, rng = two_samples()
    w, v = rng.uniform(0.5, 2.0, len(x)), rng.uniform(0.5, 2.0, len(y))
    found = class_distances(x, y, xc, yc, x_weight=w, y_weight=v, distance=distance, replicas=20)
    for c in range(3):
        a, b = xc == c, yc == c
        mean = np.average(x[a], weights=w[a])
        spread = np.sqrt(np.average((x[a] - mean) ** 2, weights=w[a]))
        if distance == "energy":
            expected = energy_distance(x[a], y[b], w[a], v[b]) ** 2 / spread
        else:
            expected = wasserstein_distance(x[a], y[b], w[a], v[b]) / spread
        assert found.distance[c] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", ["energy", "w1"])
def test_distances_know_no_units_no_order_and_no_scale_of_weights(distance):
    x, y, xc, yc, rng = two_samples(1)
    found = class_distances(x, y, xc, yc, distance=distance, replicas=20).distance
    order = rng.permutation(len(x))
    again = class_distances(
        5 + 1e3 * x[order],
        5 + 1e3 * y,
        xc[order],
        yc,
        x_weight=np.full(len(x), 3.0),
        distance=distance,
        replicas=20,
    )
    assert again.distance == pytest.approx(found, rel=1e-9)


def test_a_row_and_its_negative_cancel():
    x, y, xc, yc, _ = two_samples(2)
    found = class_distances(x, y, xc, yc, replicas=20).distance
    more, weight = np.r_[x, 9.0, 9.0], np.r_[np.ones(len(x)), -1.0, 1.0]
    again = class_distances(more, y, np.r_[xc, 0, 0], yc, x_weight=weight, replicas=20)
    assert again.distance == pytest.approx(found, rel=1e-9)


def test_rows_of_a_negative_class_are_left_out():
    x, y, xc, yc, _ = two_samples(3)
    found = class_distances(x, y, np.where(xc == 2, -1, xc), np.where(yc == 2, -1, yc), replicas=20)
    assert found.distance == pytest.approx(class_distances(x, y, xc, yc, replicas=20).distance[:2], rel=1e-12)


def test_repeated_rows_of_one_group_widen_the_null():
    x, y, xc, yc, _ = two_samples(4)
    single = class_distances(x, y, xc, yc, replicas=200).null.mean()
    four = [np.repeat(a, 4) for a in (x, y, xc, yc)]
    group = [np.repeat(np.arange(len(x)), 4), np.repeat(np.arange(len(y)) + len(x), 4)]
    grouped = class_distances(*four, x_group=group[0], y_group=group[1], replicas=200).null.mean()
    alone = class_distances(*four, replicas=200).null.mean()
    assert grouped == pytest.approx(single, rel=0.15)
    assert alone == pytest.approx(single / 4, rel=0.25)


def test_a_constant_class_is_in_units_of_the_whole():
    x = np.r_[np.full(50, 2.0), np.random.default_rng(0).normal(size=50)]
    label = np.repeat([0, 1], 50)
    found = class_distances(x, x + 1.0, label, label, distance="w1", replicas=20)
    assert found.scale[0] == pytest.approx(x.std())
    assert found.distance[0] == pytest.approx(1 / x.std())


def test_bad_arrays_are_refused():
    with pytest.raises(ShapeError, match=r"expected \(n,\)"):
        class_distances(np.ones((3, 2)), np.ones(3), np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="class 1 has no positive sum of weights among the generated rows"):
        class_distances(np.arange(4.0), np.arange(4.0), [0, 0, 1, 1], [0, 0, 0, 0])


def test_the_worst_class_is_named(pid):
    reference = pid.toy(3000, 1)
    response = pid.copy_of(reference, 2).response
    response[reference["Type"] == 321, 0] += 0.5
    bad = reference.with_response(response, source="bad")
    k, p = sigma(reference, bad, SigmaOptions("Type"), seed=1)
    assert (k.on, p.on) == ("DLLk", "DLLp")
    assert k.details["largest"] == "K"
    assert k.value == max(k.details["values"])
    assert k.p_value < 0.02
    assert k.details["p_values"][0] > 0.02
    assert p.p_value > 0.02
    assert k.quantity("max_pull").p_value < 0.02
    assert k.fields == ("DLLk",)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_the_null_of_the_maximum_is_its_mean(pid, paired, signed):
    found = []
    for seed in range(16):
        reference = pid.toy(1500, seed, signed=signed)
        at = reference if paired else pid.toy(1500, 1000 + seed, first_id=10**6, signed=signed)
        options = SigmaOptions("P", fields=("DLLk",), bins=4, replicas=60)
        found.append(sigma(reference, pid.copy_of(at, seed), options, seed=seed)[0])
    for key in ("sigma", "mean"):
        values = np.array([r.quantity(key).value for r in found])
        null = np.mean([r.quantity(key).null for r in found])
        assert null == pytest.approx(values.mean(), abs=4 * values.std() / 4)
        # 16 toys at 5 %: 0.8 expected, at most 5 with probability 0.9998.
        assert sum(r.quantity(key).p_value <= 0.05 for r in found) <= 5


def test_bins_with_few_rows_are_left_out_and_named(pid):
    reference = pid.toy(1000, 1)
    options = SigmaOptions("P", edges=(3.0, 99.5, 100.0), fields=("DLLk",))
    result = sigma(reference, pid.copy_of(reference, 1), options, seed=1)[0]
    assert result.details["classes"] == ["3 to 99.5"]
    assert result.details["left_out"] == ["99.5 to 100"]
    assert "99.5 to 100" in result.details["caption"]


def test_wrong_options_are_explained(pid):
    reference = pid.toy(60, 1)
    with pytest.raises(DataError, match="none of the 6 classes of P"):
        sigma(reference, reference, SigmaOptions("P"), seed=1)
    with pytest.raises(ConfigError, match="has no classes"):
        sigma(reference, reference, SigmaOptions("P", classes=("K",)), seed=1)
    with pytest.raises(ConfigError, match="has no edges"):
        sigma(reference, reference, SigmaOptions("Type", edges=(0.0, 1.0)), seed=1)
    with pytest.raises(ConfigError, match="is a category, expected a number"):
        sigma(reference, reference, SigmaOptions("P", fields=("Type",), bins=1), seed=1)
    with pytest.raises(ConfigError, match="expected at least 1, 20 and 2"):
        SigmaOptions("P", replicas=3)
