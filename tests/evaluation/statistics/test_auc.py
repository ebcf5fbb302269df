"""AUC, its error and its bootstrap: oracles for positive weights, definition for signed ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from parhelion.errors import DataError, ShapeError
from parhelion.evaluation import auc, delong, placements
from parhelion.evaluation.samples.bootstrap import poisson_counts
from parhelion.evaluation.statistics.auc import ResampledAuc, auc_replicas, bootstrap_auc, roc_curve


def scores(n=300, m=200, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    s, t = rng.normal(0.7, 1.0, n), rng.normal(0.0, 1.0, m)
    if ties:
        s, t = np.round(s, 1), np.round(t, 1)
    return s, t, rng


def by_definition(s, t, w, v):
    wins = (s[:, None] > t[None, :]) + 0.5 * (s[:, None] == t[None, :])
    return float(w @ wins @ v / (w.sum() * v.sum()))


@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_scipy_and_sklearn(ties):
    s, t, rng = scores(ties=ties)
    w, v = rng.uniform(0.2, 2.0, len(s)), rng.uniform(0.2, 2.0, len(t))
    label = np.r_[np.ones(len(s)), np.zeros(len(t))]
    assert auc(s, t) == pytest.approx(mannwhitneyu(s, t).statistic / (len(s) * len(t)), abs=1e-12)
    expected = roc_auc_score(label, np.r_[s, t], sample_weight=np.r_[w, v])
    assert auc(s, t, w, v) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_signed_weights_follow_the_definition(ties):
    s, t, rng = scores(ties=ties)
    w, v = rng.normal(1.0, 1.2, len(s)), rng.normal(1.0, 1.2, len(t))
    assert auc(s, t, w, v) == pytest.approx(by_definition(s, t, w, v), abs=1e-12)


def test_swapping_the_sides_and_monotone_maps():
    s, t, rng = scores(ties=True)
    w, v = rng.normal(1.0, 1.0, len(s)), rng.normal(1.0, 1.0, len(t))
    assert auc(t, s, v, w) == pytest.approx(1 - auc(s, t, w, v), abs=1e-12)
    assert auc(np.exp(s), np.exp(t), w, v) == pytest.approx(auc(s, t, w, v), abs=1e-12)
    assert auc(s, t, 3.0 * w, 0.1 * v) == pytest.approx(auc(s, t, w, v), abs=1e-12)


def test_delong_is_the_published_estimator():
    s, t, _ = scores(40, 30)
    wins = (s[:, None] > t[None, :]).astype(float)
    expected = np.var(wins.mean(1), ddof=1) / len(s) + np.var(wins.mean(0), ddof=1) / len(t)
    assert delong(s, t) == pytest.approx((wins.mean(), np.sqrt(expected)), rel=1e-12)


def test_delong_error_is_the_spread_over_experiments_with_negative_weights():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(400):
        s, t = rng.normal(0.7, 1.0, 200), rng.normal(0.0, 1.0, 200)
        w = np.where(rng.random(200) < 0.2, -1.0, 1.0)
        found.append(delong(s, t, w, np.ones(200)))
    values, errors = np.array(found).T
    truth = norm.cdf(0.7 / np.sqrt(2))
    # 400 experiments: the mean pull is known to 0.05 and the spread to 0.035; three sigma.
    assert abs(np.mean((values - truth) / errors)) < 0.15
    assert abs(np.mean(errors) / np.std(values) - 1) < 0.12


def test_influences_sum_to_zero_and_predict_the_change():
    s, t, rng = scores()
    w, v = rng.normal(1.0, 0.7, len(s)), np.ones(len(t))
    placed = placements(s, t, w, v)
    ours, theirs = placed.influence
    assert abs(ours.sum()) < 1e-12
    assert abs(theirs.sum()) < 1e-12
    step = 1e-6
    heavier = w.copy()
    heavier[3] *= 1 + step
    change = (auc(s, t, heavier, v) - placed.auc) / step
    assert change == pytest.approx(ours[3], rel=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_bootstrap_replicas_are_the_auc_of_repeated_rows(ties):
    s, t, rng = scores(60, 50, ties=ties)
    w, v = rng.normal(1.0, 0.5, len(s)), rng.normal(1.0, 0.5, len(t))
    counts = rng.poisson(1.0, size=(len(s) + len(t), 5))
    replicas = ResampledAuc(s, t, w, v)(counts)
    for b in range(5):
        n, m = counts[: len(s), b], counts[len(s) :, b]
        expected = auc(np.repeat(s, n), np.repeat(t, m), np.repeat(w, n), np.repeat(v, m))
        assert replicas[b] == pytest.approx(expected, abs=1e-12)


def test_replicas_without_positive_weight_are_nan():
    signed = [1.0, -0.5], [1.0, -0.5]
    counts = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]])
    assert np.isnan(ResampledAuc([1.0, 3.0], [0.0, 2.0], *signed)(counts)).tolist() == [False, True, True]


def test_bootstrap_error_agrees_with_delong():
    s, t, rng = scores(2000, 2000)
    counts = rng.poisson(1.0, size=(4000, 400))
    assert np.std(ResampledAuc(s, t)(counts)) == pytest.approx(delong(s, t)[1], rel=0.12)


@pytest.mark.parametrize("ties", [False, True])
def test_sort_once_bootstrap_agrees_with_delong_and_the_plain_bootstrap(ties):
    s, t, rng = scores(400, 300, ties=ties)
    value, error = bootstrap_auc(s, t, replicas=2000, seed=1)
    assert value == auc(s, t)
    # 2000 replicas know the error to 1.6 %; DeLong's is another estimate of it to order 1 / n.
    assert error == pytest.approx(delong(s, t)[1], rel=0.06)
    label, pooled = np.r_[np.ones(400), np.zeros(300)], np.r_[s, t]
    plain = []
    for _ in range(400):
        rows = np.r_[rng.integers(0, 400, 400), 400 + rng.integers(0, 300, 300)]
        plain.append(roc_auc_score(label[rows], pooled[rows]))
    assert error == pytest.approx(np.std(plain), rel=0.14)


@pytest.mark.parametrize("ties", [False, True])
def test_sort_once_replicas_are_those_of_repeated_rows(ties):
    s, t, rng = scores(60, 50, ties=ties)
    w, v = rng.normal(1.0, 0.5, len(s)), rng.normal(1.0, 0.5, len(t))
    groups = np.arange(110)
    found = auc_replicas(s, t, w, v, positive_group=groups[:60], negative_group=groups[60:], replicas=5, seed=3)
    counts = np.concatenate(list(poisson_counts(110, 5, np.random.default_rng(3), block=1)), axis=1)
    assert found == pytest.approx(ResampledAuc(s, t, w, v)(counts), abs=1e-12)


def test_bootstrap_error_with_groups_and_negative_weights_is_the_spread_over_experiments():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        # Four equal rows in a group, a quarter of the groups with negative weights, pairs across the two sides.
        shared = rng.normal(size=60)
        s = np.repeat(shared + rng.normal(0.7, 1.0, 60), 4)
        t = np.repeat(shared + rng.normal(0.0, 1.0, 60), 4)
        w = np.repeat(np.where(rng.random(60) < 0.2, -0.5, 1.0), 4)
        group = np.repeat(np.arange(60), 4)
        found.append(bootstrap_auc(s, t, w, positive_group=group, negative_group=group, replicas=60, seed=seed))
    values, errors = np.array(found).T
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.16)


def test_bootstrap_needs_weights_that_stay_positive_and_groups_of_both_sides():
    with pytest.raises(DataError, match="replicas have a positive sum of weights"):
        bootstrap_auc([1.0, 2.0, 3.0], [0.0], [1.0, -1.0, 0.1], replicas=50, seed=1)
    with pytest.raises(DataError, match="groups of the positive rows alone"):
        bootstrap_auc([1.0], [0.0], positive_group=[1], seed=1)
    with pytest.raises(ShapeError, match=r"groups have shapes \(2,\) and \(1,\), expected \(1,\) and \(1,\)"):
        bootstrap_auc([1.0], [0.0], positive_group=[1, 2], negative_group=[1], seed=1)


def test_roc_curve_spans_the_unit_square_and_holds_the_area():
    s, t, _ = scores(5000, 5000)
    x, y = roc_curve(s, t, np.ones(len(s)), np.ones(len(t)))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(auc(s, t), abs=2e-3)


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"the 2 positive rows have sum of weights 0, expected a positive"):
        auc([1.0, 2.0], [0.0], [1.0, -1.0], [1.0])
    with pytest.raises(DataError, match="the 0 negative rows"):
        auc([1.0], [])
    with pytest.raises(ShapeError, match=r"positive scores have shape \(2,\) and weights \(3,\)"):
        auc([1.0, 2.0], [0.0], [1.0, 1.0, 1.0])
