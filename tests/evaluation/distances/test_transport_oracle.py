"""Distances against POT, an independent implementation of optimal transport."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.evaluation.distances.sliced import slice_factor, sliced_distances
from parhelion.evaluation.statistics.cumulative import energy
from parhelion.evaluation.statistics.one_dimensional import wasserstein

ot = pytest.importorskip("ot", reason="POT is not installed")


def rows(n, seed, shift=0.0, width=1):
    rng = np.random.default_rng(seed)
    return rng.standard_t(4, size=(n, width)) + shift, rng.gamma(2.0, size=n)


@pytest.mark.parametrize("weighted", [False, True])
def test_w1_in_one_dimension(weighted):
    (x, w), (y, v) = rows(700, 1), rows(500, 2, 0.4)
    x, y = x[:, 0], np.round(y[:, 0], 1)
    if not weighted:
        w, v = np.ones(len(x)), np.ones(len(y))
    wanted = ot.wasserstein_1d(x, y, w / w.sum(), v / v.sum(), p=1)
    assert wasserstein(x, y, w, v) == pytest.approx(float(wanted), rel=1e-10)


def test_w1_with_signed_weights_is_a_transport_between_the_positive_parts():
    """Negative rows of one sample are positive ones of the other: a plan then costs the Kantorovich-Rubinstein norm."""
    (x, _), (y, _) = rows(300, 3), rows(300, 4, 0.3)
    rng = np.random.default_rng(5)
    w, v = rng.choice([1.0, 1.0, 1.0, -0.5], 300), rng.choice([1.2, 1.2, -0.4], 300)
    p, q = w / w.sum(), v / v.sum()
    source = np.concatenate([np.maximum(p, 0), np.maximum(-q, 0)])
    target = np.concatenate([np.maximum(-p, 0), np.maximum(q, 0)])
    points = np.concatenate([x, y])
    wanted = ot.emd2(source, target, ot.dist(points, points, metric="euclidean"))
    assert wasserstein(x[:, 0], y[:, 0], w, v) == pytest.approx(float(wanted), rel=1e-8)


def test_sliced_w1_along_the_same_directions():
    (x, w), (y, v) = rows(400, 6, width=4), rows(300, 7, 0.2, width=4)
    found = sliced_distances(x, y, w, v, directions=30, replicas=40, seed=8)
    wanted = ot.sliced_wasserstein_distance(x, y, w / w.sum(), v / v.sum(), projections=found.directions.T, p=1)
    assert found.w1.value == pytest.approx(float(wanted), rel=1e-6)
    # Rows of equal weight take another path, in single precision.
    x, y = x[:300], y[:300]
    found = sliced_distances(x, y, directions=30, replicas=40, seed=8)
    wanted = ot.sliced_wasserstein_distance(x, y, projections=found.directions.T, p=1)
    assert found.w1.value == pytest.approx(float(wanted), rel=1e-4)


def u_statistic(x, y):
    """Energy distance without bias from matrices of distances."""
    n, m = len(x), len(y)
    across, ours, theirs = (ot.dist(a, b, metric="euclidean") for a, b in ((x, y), (x, x), (y, y)))
    return 2 * across.mean() - ours.sum() / (n * (n - 1)) - theirs.sum() / (m * (m - 1))


def test_energy_in_one_dimension():
    x, y = rows(400, 9)[0], rows(300, 10, 0.5)[0]
    assert energy(x[:, 0], y[:, 0]) == pytest.approx(u_statistic(x, y), rel=1e-9)


def test_sliced_energy_is_that_of_the_space():
    x, y = rows(300, 11, width=3)[0], rows(300, 12, 0.5, width=3)[0]
    found = sliced_distances(x, y, directions=400, replicas=40, seed=13)
    across = found.energy_by_direction.std(ddof=1) / np.sqrt(400)
    assert abs(found.energy.value - u_statistic(x, y)) < 4 * across
    # Along one direction it is the energy distance in one dimension, times the factor of the slices.
    along = found.directions[0]
    assert found.energy_by_direction[0] == pytest.approx(slice_factor(3) * energy(x @ along, y @ along), rel=1e-3)
