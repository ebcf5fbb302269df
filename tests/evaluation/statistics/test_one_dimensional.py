"""One-dimensional distances: oracles, invariants, signed weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import energy_distance, ks_2samp, kstest, wasserstein_distance

from parhelion.errors import DataError
from parhelion.evaluation import HistogramOptions, histograms, separation_power, wasserstein
from parhelion.evaluation.distributions.histograms import histogram_edges
from parhelion.evaluation.samples.binning import bin_index, make_edges, weighted_quantile
from parhelion.evaluation.statistics.cumulative import CdfDifference, energy
from parhelion.evaluation.statistics.one_dimensional import (
    cramer,
    kolmogorov_smirnov,
    merge_bins,
    shape_chi2,
    whitening,
)
from parhelion.sample import Field, Sample, Schema

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


@settings(max_examples=60, deadline=None)
@given(FLOATS, FLOATS, st.integers(0, 1000))
def test_cramer_agrees_with_scipy(x, y, seed):
    rng = np.random.default_rng(seed)
    w, v = rng.uniform(0.1, 2, len(x)), rng.uniform(0.1, 2, len(y))
    # scipy's energy distance is the square root of twice the Cramer distance.
    assert 2 * cramer(x, y, w, v) == pytest.approx(energy_distance(x, y, w, v) ** 2, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=30), st.lists(st.integers(0, 9), min_size=2, max_size=30))
def test_kolmogorov_smirnov_agrees_with_scipy_on_ties(x, y):
    assert kolmogorov_smirnov(x, y) == pytest.approx(ks_2samp(x, y, method="asymp").statistic, abs=1e-12)


def signed_pair(seed, n=40, m=30):
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.normal(size=n), 1), np.round(rng.normal(0.3, 1.0, m), 1)
    return x, y, rng.normal(1.0, 1.2, n), rng.normal(1.0, 1.2, m)


@pytest.mark.parametrize("seed", range(4))
def test_distances_of_signed_weights_agree_with_brute_force(seed):
    x, y, w, v = signed_pair(seed)
    assert (w < 0).any()
    grid = np.unique(np.concatenate([x, y]))
    difference = (x <= grid[:, None]) @ w / w.sum() - (y <= grid[:, None]) @ v / v.sum()
    assert kolmogorov_smirnov(x, y, w, v) == pytest.approx(np.abs(difference).max(), abs=1e-12)
    assert wasserstein(x, y, w, v) == pytest.approx(np.abs(difference[:-1]) @ np.diff(grid), abs=1e-12)
    assert cramer(x, y, w, v) == pytest.approx(difference[:-1] ** 2 @ np.diff(grid), abs=1e-12)


def brute_energy(x, y, w, v, x_group, y_group):
    """Pairwise sums over all rows; the diagonal of the centred groups is taken out one group at a time."""
    z, group = np.concatenate([x, y]), np.concatenate([x_group, y_group])
    f, g = (np.concatenate(p) for p in ((w / w.sum(), np.zeros(len(y))), (np.zeros(len(x)), v / v.sum())))
    kernel = -np.abs(z[:, None] - z)
    members = np.arange(group.max() + 1)[:, None] == group
    share_f, share_g = members @ f, members @ g
    h = members * (f - g) - share_f[:, None] * f + share_g[:, None] * g
    diagonal = np.einsum("gi,ij,gj->g", h, kernel, h)
    first = np.arange(len(z)) < len(x)
    alone = (members @ (first * np.sum(share_f**2) + ~first * np.sum(share_g**2))) / members.sum(axis=1)
    return (f - g) @ kernel @ (f - g) - np.sum(diagonal / (1 - alone))


@pytest.mark.parametrize("kind", ["rows", "groups", "paired", "paired groups"])
def test_energy_agrees_with_brute_force(kind):
    x, y, w, v = signed_pair(1, m=40 if "paired" in kind else 30)
    size = 4 if "groups" in kind else 1
    x_group = np.arange(len(x)) // size
    y_group = np.arange(len(y)) // size
    if "paired" in kind:
        v = 3.0 * w
    else:
        y_group = y_group + x_group.max() + 1
    found = CdfDifference(x, y, w, v, x_group=x_group, y_group=y_group).measured().energy[0]
    assert found == pytest.approx(brute_energy(x, y, w, v, x_group, y_group), abs=1e-12)


def test_energy_of_unit_weights_is_the_u_statistic():
    x, y, _, _ = signed_pair(2)
    within = [np.abs(a[:, None] - a).sum() / len(a) / (len(a) - 1) for a in (x, y)]
    assert energy(x, y) == pytest.approx(2 * np.abs(x[:, None] - y).mean() - sum(within), abs=1e-12)
    assert np.isnan(energy([1.0], [1.0, 2.0]))


def test_energy_of_paired_samples_is_the_u_statistic_over_pairs():
    x, y, _, _ = signed_pair(3, m=40)
    n, rows = 40, np.arange(40)
    found = CdfDifference(x, y, x_group=rows, y_group=rows).measured().energy[0]
    kernel = (np.abs(a[:, None] - b) for a, b in ((x, y), (y, x), (x, x), (y, y)))
    xy, yx, xx, yy = kernel
    total = xy + yx - xx - yy
    assert found == pytest.approx((total.sum() - np.trace(total)) / (n * (n - 1)), abs=1e-12)


def test_energy_is_free_of_bias_for_weights_that_depend_on_x():
    # Leaving out equal rows alone would give a mean of 0.55 standard deviations here.
    rng = np.random.default_rng(5)
    a, b = np.linalg.solve([[0.9, 0.1], [0.35, 0.65]], [1.0, 0.0])

    def draw(n):
        background = rng.random(n) < 0.5
        x = np.where(background, rng.exponential(3.0, n) + 1.0, rng.normal(size=n))
        return x, np.where(rng.random(n) < np.where(background, 0.35, 0.9), a, b)

    found = []
    for _ in range(400):
        (x, w), (y, v) = draw(400), draw(400)
        found.append(energy(x, y, w, v))
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(400)


def test_energy_of_a_shift_of_normal_distributions_is_known():
    rng = np.random.default_rng(6)
    # 2 E|X - Y| - 2 E|X - X'| with X - Y normal of mean 1 and variance 2.
    truth = 2 * (2 / np.sqrt(np.pi) * np.exp(-0.25) + (1 - 2 * 0.2397500610934768)) - 4 / np.sqrt(np.pi)
    difference = CdfDifference(rng.normal(size=4000), rng.normal(1.0, 1.0, 4000))
    error = difference.null(50, rng)[2][0]
    assert abs(difference.measured().energy[0] - truth) < 4 * error
    assert error < 0.05 * truth


def test_distances_scale_shift_and_swap():
    x, y, w, v = signed_pair(4)
    for function, power in ((wasserstein, 1), (cramer, 1), (energy, 1), (kolmogorov_smirnov, 0)):
        value = function(x, y, w, v)
        assert function(3 * x + 2, 3 * y + 2, 5 * w, v) == pytest.approx(3**power * value, rel=1e-9)
        assert function(y, x, v, w) == pytest.approx(value, rel=1e-9)


def test_cells_are_samples_of_their_own():
    parts = [signed_pair(seed) for seed in (1, 2, 3)]
    x, y, w, v = (np.concatenate(column) for column in zip(*parts, strict=True))
    cells = np.repeat([0, 1, 2], 40), np.repeat([0, 1, 2], 30)
    order = np.random.default_rng(0).permutation(120)
    together = CdfDifference(x[order], y, w[order], v, x_cell=cells[0][order], y_cell=cells[1])
    found = together.measured()
    null = together.null(40, np.random.default_rng(1))[0]
    for cell, part in enumerate(parts):
        assert found.w1[cell] == pytest.approx(wasserstein(*part), rel=1e-9)
        assert found.ks[cell] == pytest.approx(kolmogorov_smirnov(*part), rel=1e-9)
        assert found.energy[cell] == pytest.approx(energy(*part), rel=1e-9)
        alone = CdfDifference(*part).null(400, np.random.default_rng(2))[0]
        assert np.mean(null.w1[:, cell]) == pytest.approx(np.mean(alone.w1), rel=0.4)
        assert np.mean(null.energy[:, cell]) == pytest.approx(0, abs=4 * np.std(alone.energy) / np.sqrt(40))


@pytest.mark.parametrize(("paired", "signed"), [(True, True), (False, True), (False, False)])
def test_ks_and_energy_are_calibrated(pid, paired, signed):
    options = HistogramOptions(fields=("DLLk",), bins=5, replicas=60)
    p: dict[str, list[float]] = {"ks": [], "energy": []}
    pull = []
    for seed in range(40):
        reference = pid.toy(1000, seed, signed=signed)
        at = reference if paired else pid.toy(1000, 10_000 + seed, first_id=10**7, signed=signed)
        result = histograms(reference, pid.copy_of(at, seed), options, seed=seed)[0]
        for key, values in p.items():
            values.append(result.quantity(key).p_value)
        pull.append(result.quantity("energy").value / result.quantity("energy").null_error)
    assert min(kstest(values, "uniform").pvalue for values in p.values()) > 1e-3
    assert abs(np.mean(pull)) < 4 * np.std(pull) / np.sqrt(40)
    assert 0.6 < np.std(pull) < 1.5


def test_quantile_bins_of_signed_weights_hold_many_values(pid):
    reference = pid.toy(3000, 1, signed=True)
    options = HistogramOptions(bins=40, binning="quantile")
    edges = histogram_edges(reference["DLLk"], reference.weight, Field("DLLk"), options)
    widths = np.diff(edges)
    # Zero is an atom: one row in twenty has it. Nothing else is.
    assert np.sum(widths < 1e-9) == 1
    assert edges[:-1][widths < 1e-9].tolist() == [0.0]
    smooth = np.random.default_rng(0).normal(size=3000)
    assert np.diff(histogram_edges(smooth, reference.weight, Field("x"), options)).min() > 1e-6


def test_what_was_not_measured_does_not_hide_what_was():
    """Four rows in ten are -999: bins are made of the others, a shift of which is found; the -999 are outside."""
    rng = np.random.default_rng(1)
    schema = Schema((), (Field("x"),))

    def one(first, shift, sentinel=-999.0, share=4):
        x = np.where(np.arange(3000) % 10 < share, sentinel, rng.normal(shift, 1.0, 3000))
        return Sample(schema, {"x": x}, event_id=np.arange(3000) + first)

    reference = one(0, 0.0)
    result = histograms(reference, one(10_000, 0.4), HistogramOptions(), seed=1)[0]
    edges = result.details["edges"]
    assert -4 < edges[0] < -2.5
    assert 2.5 < edges[-1] < 4
    assert result.details["outside"]["reference"] == pytest.approx(0.4, abs=0.005)
    assert result.quantity("chi2_ndf").p_value < 1e-4
    fewer = histograms(reference, one(20_000, 0.0, share=3), HistogramOptions(), seed=1)[0]
    assert fewer.quantity("chi2_ndf").p_value < 1e-6
    # An atom beside the others is shown among them.
    beside = histograms(one(0, 0.0, -5.0), one(10_000, 0.0, -5.0), HistogramOptions(), seed=1)[0]
    assert beside.details["edges"][0] == -5
    assert beside.details["outside"]["reference"] < 0.005


def test_lost_shares_are_told():
    x = np.linspace(0, 1, 1000)
    schema = Schema((), (Field("x"),))
    first = Sample(schema, {"x": x}, event_id=np.arange(1000))
    second = Sample(schema, {"x": np.where(x > 0.9, 5.0, x)}, event_id=np.arange(1000) + 5000)
    result = histograms(first, second, HistogramOptions(range_quantile=0.0), seed=1)[0]
    outside = result.details["outside"]
    assert outside["reference"] == 0
    assert outside["generated"] == pytest.approx(0.1)
    assert outside["error"] == pytest.approx(np.sqrt(0.09 / 1000), rel=1e-6)
    assert "10 % of the generated" in result.details["caption"]
    assert result.fields == ("x",)


def test_constants_compare_without_false_alarm():
    schema = Schema((), (Field("x"),))
    first, second = (Sample(schema, {"x": np.full(50, v)}) for v in (0.1, 0.2))
    same = histograms(first, first, HistogramOptions(), seed=1)[0]
    assert all((q.value, q.p_value) == (0.0, 1.0) for q in same.quantities.values())
    other = histograms(first, second, HistogramOptions(), seed=1)[0]
    assert other.quantity("ks").value == pytest.approx(1.0)
    assert other.quantity("separation").value == pytest.approx(1.0)
    assert other.p_value < 1e-6
    few = Sample(schema, {"x": np.where(np.arange(50) < 5, 0.2, 0.1)}, event_id=np.arange(50) + 500)
    result = histograms(first, few, HistogramOptions(), seed=1)[0]
    assert result.details["outside"]["generated"] == pytest.approx(0.1)
    assert (result.value, result.details["ndf"]) == (0.0, 0)
    assert other.quantity("w1_scaled").p_value is None


@pytest.mark.parametrize("bins", [2, 30])
def test_disjoint_samples_are_not_equal(bins):
    rng = np.random.default_rng(1)
    schema = Schema((), (Field("x"),))
    first = Sample(schema, {"x": rng.random(500)})
    second = Sample(schema, {"x": rng.random(500) + 2.0}, event_id=np.arange(500) + 5000)
    result = histograms(first, second, HistogramOptions(bins=bins), seed=1)[0]
    assert result.quantity("separation").value == pytest.approx(1.0)
    assert result.value > 100
    assert result.p_value < 1e-10


def test_whitening_gives_unit_variances():
    p = np.array([0.1, 0.2, 0.7])
    a = whitening(np.diag(p) - np.outer(p, p))
    assert a.shape == (3, 2)
    assert np.allclose(a.T @ (np.diag(p) - np.outer(p, p)) @ a, np.eye(2))
    assert shape_chi2(a[:, 0], np.diag(p) - np.outer(p, p)).ndf == 2
    assert whitening(np.zeros((2, 2))).shape == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [1.0]), r"x: expected values of shape \(n,\), at least one"),
        (([1.0], [[1.0]]), r"y: expected values of shape \(n,\)"),
        (([1.0], [1.0, 2.0], None, [1.0]), r"y_weight: expected shape \(2,\)"),
        (([1.0], [np.nan]), "y: values or weights are NaN"),
        (([1.0, 2.0], [1.0], [1.0, -1.0]), "x_weight: the sum of weights is 0"),
    ],
)
def test_bad_arrays_are_told_in_a_sentence(arguments, message):
    for function in (wasserstein, cramer, energy, kolmogorov_smirnov):
        with pytest.raises(DataError, match=message):
            function(*arguments)
