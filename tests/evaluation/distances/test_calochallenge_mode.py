"""The published estimators of the Frechet and kernel physics distances, their bias included."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.distances import frechet, kernel
from parhelion.evaluation.distances.calochallenge import calochallenge_fpd, calochallenge_kpd
from parhelion.evaluation.distances.frechet import FrechetOptions, frechet_distance
from parhelion.evaluation.distances.kernel import KernelDistanceOptions, kernel_distance


def pools(seed, n, d):
    rng = np.random.default_rng([seed, 1])
    return rng.normal(size=(n, d)), rng.normal(size=(n, d))


def test_published_frechet_keeps_the_bias_and_the_jackknife_does_not():
    # Ten features, pools of 4000: c (1/n + 1/m) = 37.5 / 2000 = 0.01875 for two equal Gaussians.
    toys, d, n = 10, 10, 4000
    published, ours = [], []
    for seed in range(toys):
        x, y = pools(seed, n, d)
        published.append(calochallenge_fpd(x, y, min_samples=1000, max_samples=4000)[0])
        ours.append(frechet_distance(x, y, replicas=20, seed=seed).fpd.value)
    predicted = (d + d * (d + 1) / 4) * 2 / n
    assert predicted == pytest.approx(0.01875)
    assert np.mean(published) == pytest.approx(0.018, abs=4 * 0.006 / np.sqrt(toys))
    assert np.mean(ours) == pytest.approx(0.0, abs=4 * 0.0036 / np.sqrt(toys))


def test_published_kernel_distance_keeps_the_bias():
    # With replacement the same row is drawn twice: (E k(x, x) - E k(x, x')) (1/n + 1/m).
    toys, d, n = 40, 4, 1000
    published, ours, bias = [], [], []
    for seed in range(toys):
        x, y = pools(seed, n, d)
        published.append(calochallenge_kpd(x, y, batch_size=1000)[0])
        exact = kernel_distance(x, y, replicas=20, seed=seed)
        ours.append(exact.kpd.value)
        bias.append(exact.bias)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200_000, d))
    alone = [np.mean((np.einsum("ij,ij->i", a, z) / d + 1) ** 4) for z in (a, b)]
    assert np.mean(bias) == pytest.approx((alone[0] - alone[1]) * 2 / n, rel=0.1)
    assert np.mean(np.subtract(published, ours)) == pytest.approx(np.mean(bias), rel=0.2)


def test_batches_grow_equally_in_one_over_their_size_and_are_drawn_from_one_generator(monkeypatch):
    sizes, seeds = [], []
    genuine = np.random.default_rng

    class Recorder:
        def __init__(self, seed):
            seeds.append(seed)
            self._rng = genuine(seed)

        def choice(self, rows, size):
            sizes.append((rows, int(size)))
            return self._rng.choice(rows, size=size)

    x, y = pools(0, 6000, 2)[0], pools(0, 7000, 2)[1]
    monkeypatch.setattr(np.random, "default_rng", Recorder)
    calochallenge_fpd(x, y, min_samples=2000, max_samples=5000, points=4, batches=3)
    assert seeds == [42]
    assert [rows for rows, _ in sizes[:4]] == [6000, 7000, 6000, 7000]
    assert [size for _, size in sizes[::6]] == [2000, 2500, 3333, 5000]
    assert len(sizes) == 4 * 3 * 2
    sizes.clear()
    seeds.clear()
    calochallenge_kpd(x, y, batches=3, batch_size=500)
    assert seeds == [42, 1042, 2042]
    assert sizes == [(6000, 500), (7000, 500)] * 3


def test_kernel_batches_are_the_unbiased_estimate_of_each():
    x, y = pools(1, 300, 3)
    found = []
    for index in range(10):
        rng = np.random.default_rng(42 + 1000 * index)
        a, b = x[rng.choice(300, size=200)], y[rng.choice(300, size=200)]
        xx, yy, xy = ((p @ q.T / 3 + 1) ** 4 for p, q in ((a, a), (b, b), (a, b)))
        within = [(k.sum() - np.trace(k)) / (200 * 199) for k in (xx, yy)]
        found.append(sum(within) - 2 * xy.mean())
    value, error = calochallenge_kpd(x, y, batch_size=200)
    assert value == pytest.approx(np.median(found), rel=1e-9)
    low, high = np.percentile(found, [16.275, 83.725])
    assert error == pytest.approx((high - low) / 2, rel=1e-9)


def test_many_features_take_the_kernel_itself(monkeypatch):
    x, y = pools(2, 300, 3)
    value = calochallenge_kpd(x, y, batches=2, batch_size=200)
    monkeypatch.setattr("parhelion.evaluation.distances.calochallenge.fits_tensors", lambda width: False)
    assert calochallenge_kpd(x, y, batches=2, batch_size=200) == pytest.approx(value, rel=1e-9)


def test_batches_need_two_rows():
    x, y = pools(3, 50, 2)
    with pytest.raises(ConfigError, match="min_samples 0, expected at least 2"):
        calochallenge_fpd(x, y, min_samples=0, max_samples=50)
    with pytest.raises(ConfigError, match="batch_size 1, expected at least 2"):
        calochallenge_kpd(x, y, batch_size=1)


def test_mode_of_the_metrics_has_the_published_scaling_and_a_biased_null(pid):
    reference = pid.toy(3000, 1)
    generated = pid.copy_of(pid.toy(3000, 2, first_id=10**6), 2)
    fpd = FrechetOptions(mode="calochallenge", min_samples=1000, max_samples=3000)
    kpd = KernelDistanceOptions(mode="calochallenge", batch_size=1000)
    for metric, options in ((frechet.METRIC, fpd), (kernel.METRIC, kpd)):
        result = metric.compute(reference, generated, options, seed=1)[0]
        found = result.quantity()
        assert (result.details["mode"], result.details["scaling"]) == ("calochallenge", "max")
        assert found.null > 0
        assert found.limit == 0
        assert abs(found.value - found.null) < 5 * found.null_error
        # The published recipe has seeds of its own; ours draws blocks and null.
        assert metric.compute(reference, generated, options, seed=9)[0].value == found.value


def test_mode_refuses_weights_and_too_few_rows(pid):
    reference = pid.toy(2000, 1)
    generated = pid.copy_of(reference, 2)
    modes = (
        (frechet.METRIC, FrechetOptions(mode="calochallenge"), "batches of up to 50,000 rows.*2,000.*max_samples"),
        (kernel.METRIC, KernelDistanceOptions(mode="calochallenge"), "batches of up to 10,000 rows.*batch_size"),
    )
    signed = pid.toy(2000, 1, signed=True)
    for metric, options, message in modes:
        with pytest.raises(DataError, match=f"metric {metric.name}: the published estimator draws {message}"):
            metric.compute(reference, generated, options, seed=1)
        with pytest.raises(DataError, match=f"metric {metric.name}: the weights differ"):
            metric.compute(signed, pid.copy_of(signed, 2), options, seed=1)
