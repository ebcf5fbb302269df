"""One-dimensional distances: oracles, invariants, signed weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from parhelion.evaluation import separation_power, wasserstein
from parhelion.evaluation.binning import bin_index, make_edges, weighted_quantile
from parhelion.evaluation.distances import merge_bins, shape_chi2

FLOATS = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(FLOATS, FLOATS, st.integers(0, 1000))
def test_wasserstein_agrees_with_scipy(x, y, seed):
    rng = np.random.default_rng(seed)
    w, v = rng.uniform(0.1, 2, len(x)), rng.uniform(0.1, 2, len(y))
    assert wasserstein(x, y, w, v) == pytest.approx(wasserstein_distance(x, y, w, v), abs=1e-9)


def test_wasserstein_of_a_shift_is_the_shift_for_signed_weights_too():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    # Small negative weights: the cumulative distributions of x and x + 3 do not cross.
    w = np.where(rng.random(500) < 0.2, -0.1, 1.0)
    assert wasserstein(x, x) == 0
    assert wasserstein(x, x + 30.0, w, w) == pytest.approx(30.0, rel=1e-9)


def test_wasserstein_with_a_negative_copy_removes_rows():
    x, extra, y = np.array([0.0, 1.0, 2.0]), np.array([7.0]), np.array([0.5, 1.5])
    with_ghost = wasserstein(np.r_[x, extra, extra], y, [1, 1, 1, 1, -1])
    assert with_ghost == pytest.approx(wasserstein(x, y), abs=1e-12)


def test_separation_power_bounds():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert separation_power(p, p) == 0
    assert separation_power(p, q) == 1
    assert separation_power(p, q) == separation_power(q, p)


def test_shape_chi2_is_the_two_sample_chi2_for_unit_weights():
    rng = np.random.default_rng(1)
    prob = np.array([0.1, 0.2, 0.3, 0.4])
    a, b = rng.multinomial(5000, prob), rng.multinomial(3000, prob)
    p, q = a / 5000, b / 3000
    pooled = (a + b) / 8000
    covariance = (np.diag(pooled) - np.outer(pooled, pooled)) * (1 / 5000 + 1 / 3000)
    found = shape_chi2(p - q, covariance)
    expected = np.sum((p - q) ** 2 / (pooled * (1 / 5000 + 1 / 3000)))
    assert found.ndf == 3
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_shape_chi2_of_what_cannot_vary():
    found = shape_chi2(np.zeros(3), np.zeros((3, 3)))
    assert (found.value, found.ndf) == (0.0, 0)


def test_merge_bins_reaches_the_minimum_everywhere():
    effective = np.array([[3.0, 9.0], [8.0, 9.0], [50.0, 50.0], [2.0, 0.0], [0.0, 0.0], [12.0, 11.0], [1.0, 1.0]])
    label = merge_bins(effective, 10.0)
    assert label.tolist() == [0, 0, 1, 2, 2, 2, 2]
    assert merge_bins(np.ones((4, 2)), 10.0).tolist() == [0, 0, 0, 0]


def test_weighted_quantiles_of_signed_weights_and_atoms():
    x = np.arange(100.0)
    assert weighted_quantile(x, np.ones(100), [0.0, 0.5, 1.0]).tolist() == [0.0, 49.0, 99.0]
    ghost = np.r_[x, [5.0, 5.0]], np.r_[np.ones(100), [3.0, -3.0]]
    assert weighted_quantile(*ghost, [0.5]).tolist() == [49.0]
    atom = np.r_[np.zeros(500), np.linspace(1, 2, 500)]
    edges = make_edges(atom, np.ones(1000), (), 10, "m")
    assert np.all(np.diff(edges) > 0)
    assert bin_index(atom, edges).min() == 0
    assert bin_index(atom, edges).max() == len(edges) - 2
