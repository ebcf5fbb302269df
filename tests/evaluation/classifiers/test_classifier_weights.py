"""Density ratios from classifiers: known ratios of Gaussians, calibration against oracles, planted regions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import kstest, norm
from sklearn.linear_model import LogisticRegression

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.classifiers.blame import blame_regions, clustered_variance, mean_by_bin
from parhelion.evaluation.classifiers.classifier_weights import METRIC, ClassifierWeightsOptions, classifier_weights
from parhelion.evaluation.classifiers.cross_fit import Columns, Rows
from parhelion.evaluation.classifiers.density_ratio import calibrate, log_odds, log_ratio, ratio_terms
from parhelion.report.families.classifier_weights import _table, classifier_weights_figure
from parhelion.report.style import render
from parhelion.sample import Field, Sample, Schema

SMOOTH = ClassifierWeightsOptions(learner="quadratic", closure="quadratic")


def gaussians(n, seed, shift, signed=False):
    """Reference N(0, 1) and generated N(shift, 1) in the first of two columns.

    With `signed`, both hold background at 3 that their weights cancel.
    """
    rng = np.random.default_rng(seed)
    schema = Schema((), (Field("x", "cm"), Field("y")))

    def one(mean, first):
        x, weight = rng.normal(mean, 1.0, n), np.ones(n)
        if signed:
            background = rng.random(n) < 0.25
            x[background] = rng.normal(3.0, 1.0, int(background.sum()))
            peak = rng.random(n) < np.where(background, 0.3, 0.95)
            weight = np.where(peak, *np.linalg.solve([[0.95, 0.05], [0.3, 0.7]], [1.0, 0.0]))
        return Sample(
            schema, {"x": x, "y": rng.normal(size=n)}, weight=weight, event_id=np.arange(first, first + n), source="toy"
        )

    return one(0.0, 0), one(shift, 10**7)


@pytest.mark.parametrize("signed", [False, True])
def test_ratios_of_shifted_gaussians_are_the_exact_ones(signed):
    shift = 1.0 if signed else 1.5
    ours, theirs = gaussians(20_000, 1, shift, signed)
    result = classifier_weights(ours, theirs, SMOOTH, seed=1)[0]
    # log w = shift^2 / 2 - shift x.
    edge = (np.log(10) + 0.5 * shift**2) / shift
    truth = {
        "spread": shift / np.log(10),
        "ess_loss": 1 - np.exp(-(shift**2)),
        "tail_generated": norm.sf(edge - shift),
        "tail_reference": norm.sf(edge - shift),
        "closure": 0.5,
    }
    for name, expected in truth.items():
        found = result.quantity(name)
        # Signed training regresses the weights, which blurs the ratios far out.
        if signed and name.startswith("tail"):
            continue
        slack = 0.1 * abs(expected) if signed and name != "closure" else 0.0
        assert abs(found.value - expected) < 3.5 * found.error + slack, name
    assert result.quantity("calibration").value < 4 * result.quantity("calibration").error
    assert result.p_value < 1e-30
    assert result.details["slopes"] == pytest.approx([1.0, 1.0], abs=0.12 if not signed else 0.3)
    assert next(iter(result.details["by_feature"])) == "x"


def test_result_is_complete_and_plain(pid):
    reference = pid.toy(1500, 1)
    options = ClassifierWeightsOptions(trees=15)
    result = classifier_weights(reference, pid.copy_of(reference, 2, shift=0.5), options, seed=1)[0]
    assert result.main == METRIC.quantities[0]
    assert set(METRIC.quantities) == set(result.quantities)
    for q in result.quantities.values():
        assert np.isfinite([q.value, q.error, q.null, q.null_error]).all()
        assert 0 <= q.p_value <= 1
    json.dumps(result.to_dict(), allow_nan=False)
    again = classifier_weights(reference, pid.copy_of(reference, 2, shift=0.5), options, seed=1)[0]
    assert again.to_dict() == result.to_dict()
    histogram = result.details["histogram"]
    assert sum(histogram["reference"]) == pytest.approx(1.0)
    assert sum(histogram["generated"]) == pytest.approx(1.0)
    assert "DLL" in result.details["regions"][0]["cuts"]
    assert result.details["by_feature"]["Type"]["labels"] == ["pi", "K"]
    figure = classifier_weights_figure(result)
    assert len(figure.axes) == 5
    assert render(figure, "png")
    assert [len(row) for row in _table(result)] == [5] * (1 + len(result.details["regions"]))


def test_the_reference_against_itself_has_ratio_one(pid):
    reference = pid.toy(1000, 1)
    result = classifier_weights(reference, reference, ClassifierWeightsOptions(trees=5), seed=1)[0]
    for name, q in result.quantities.items():
        assert q.value == pytest.approx(0.5 if name == "closure" else 0.0, abs=1e-9), name
        assert q.p_value >= 0.5
    assert render(classifier_weights_figure(result), "png")


@pytest.mark.parametrize(("paired", "signed"), [(True, False), (False, True)])
def test_null_of_the_spread_is_calibrated(pid, paired, signed):
    options = ClassifierWeightsOptions(learner="quadratic")
    results = []
    for seed in range(25):
        reference = pid.toy(1000, seed, signed=signed)
        at = reference if paired else pid.toy(1000, 900 + seed, first_id=10**7, signed=signed)
        results.append(classifier_weights(reference, pid.copy_of(at, seed), options, seed=seed)[0])
    for name in ("spread", "closure"):
        assert kstest([r.quantity(name).p_value for r in results], "uniform").pvalue > 1e-3, name
    for name in ("spread", "ess_loss"):
        value = np.array([r.quantity(name).value for r in results])
        null, width = (np.mean([getattr(r.quantity(name), key) for r in results]) for key in ("null", "null_error"))
        assert abs(value.mean() - null) < 3.5 * width / 5, name


def test_a_trained_null_agrees_with_the_drawn_one(pid):
    # Exchanging pairs is the null of paired samples: its spread must lie where the drawn null says.
    reference = pid.toy(3000, 1)
    generated = pid.copy_of(reference, 2, shift=1.0)
    swap = np.random.default_rng(0).random(3000) < 0.5
    first = np.where(swap[:, None], generated.response, reference.response)
    second = np.where(swap[:, None], reference.response, generated.response)
    ours, theirs = (reference.with_response(x, source="mixed") for x in (first, second))
    null = classifier_weights(ours, theirs, ClassifierWeightsOptions(trees=30), seed=1)[0].quantity()
    found = classifier_weights(reference, generated, ClassifierWeightsOptions(trees=30), seed=1)[0].quantity()
    assert null.value < null.null + 3.5 * null.null_error
    assert found.null == pytest.approx(null.null, rel=0.5)
    assert found.value > 20 * found.null


@pytest.mark.slow
def test_errors_are_the_spread_over_experiments():
    results = [classifier_weights(*gaussians(3000, seed, 0.5), SMOOTH, seed=seed)[0] for seed in range(60)]
    for name in ("spread", "ess_loss"):
        value = np.array([r.quantity(name).value for r in results])
        error = np.mean([r.quantity(name).error for r in results])
        # Doubled variances of the calibration are conservative where there is a difference.
        assert 0.75 < error / value.std(ddof=1) < 1.9, name


@pytest.mark.parametrize("signed", [False, True])
def test_calibration_agrees_with_scikit_learn_and_its_influences_predict_changes(signed):
    rng = np.random.default_rng(0)
    s, t = rng.normal(0.8, 1.3, 900), rng.normal(-0.2, 1.3, 700)
    w = np.where(rng.random(900) < 0.2, -0.5, 1.0) if signed else rng.uniform(0.5, 1.5, 900)
    v = rng.uniform(0.5, 1.5, 700)
    line = calibrate(s, t, w, v)
    if not signed:
        oracle = LogisticRegression(C=1e9, tol=1e-12, max_iter=1000).fit(
            np.r_[s, t][:, None], np.repeat([1, 0], [900, 700]), sample_weight=1e3 * np.r_[w / w.sum(), v / v.sum()]
        )
        assert line.parameters == pytest.approx([oracle.intercept_[0], oracle.coef_[0, 0]], abs=1e-4)
    assert np.abs(line.reference.sum(axis=0)).max() < 1e-12
    for row in (0, 5):
        heavier, step = w.copy(), 1e-5
        heavier[row] *= 1 + step
        change = (calibrate(s, t, heavier, v).parameters - line.parameters) / step
        assert change == pytest.approx(line.reference[row], rel=1e-2, abs=1e-9)
    heavier = v.copy()
    heavier[3] *= 1 + 1e-5
    change = (calibrate(s, t, w, heavier).parameters - line.parameters) / 1e-5
    assert change == pytest.approx(line.generated[3], rel=1e-2, abs=1e-9)
    scaled = calibrate(2 * s + 1, 2 * t + 1, 7 * w, v).parameters
    assert scaled == pytest.approx([line.parameters[0] - line.parameters[1] / 2, line.parameters[1] / 2], rel=1e-6)


def test_calibration_of_nothing_and_of_everything():
    line = calibrate(np.full(5, 0.3), np.full(4, 0.3), np.ones(5), np.ones(4))
    assert np.all(line.parameters == 0)
    with pytest.raises(DataError, match="generated rows: the sum of weights is 0, expected a positive number"):
        calibrate([3.0, 4.0], [-1.0, -2.0], [1.0, 1.0], [1.0, -1.0])
    assert np.all(np.abs(log_odds([0.0, 0.5, 1.0])) <= 30)
    assert np.all(log_ratio(np.array([-1.0, 2.0]), np.array([0.3, -0.1])) == 0)


@pytest.mark.parametrize("n", [20, 500, 1_000_000])
@pytest.mark.parametrize("width", [0.0, 1.0])
def test_separate_samples_are_calibrated_by_the_rows_that_could_be_wrong(n, width):
    """Known answer for clumps: the shares of Platt's labels, (n + 1) / (n + 2) and 1 / (n + 2)."""
    rng = np.random.default_rng(0)
    s, t = 3 + width * rng.random(n), -3 - width * rng.random(n)
    line = calibrate(s, t, np.full(n, 2.0), np.ones(n))
    error = np.sqrt((line.reference**2).sum(axis=0) + (line.generated**2).sum(axis=0))
    if width == 0:
        assert line.parameters == pytest.approx([0.0, np.log(n + 1) / 3], abs=1e-6)
        # One row in the wrong place halves the odds on its side.
        assert error[1] == pytest.approx(np.sqrt(2) / 6, rel=0.1)
    assert 0.02 < error[1] < 0.3
    assert line.parameters[1] > 5 * error[1] or n < 100


@pytest.mark.parametrize("options", [ClassifierWeightsOptions(), SMOOTH])
def test_a_sample_beyond_all_reach_is_judged(options):
    """Disjoint samples: the verdict is the worst there is, not an error."""
    found = classifier_weights(gaussians(600, 1, 0.0)[0], gaussians(600, 2, 1e4)[1], options, seed=1)[0]
    for name in ("spread", "ess_loss", "tail_generated", "tail_reference"):
        assert found.quantities[name].p_value < 1e-3
    assert found.quantities["tail_generated"].value == pytest.approx(1.0)
    assert found.quantities["spread"].error > 0


def test_influences_of_the_numbers_predict_changes():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.2, 1.5, 50), rng.normal(-0.2, 1.5, 40)
    w, v = rng.normal(1.0, 0.6, 50), rng.normal(1.0, 0.6, 40)

    def terms(w, v):
        return ratio_terms(a, b, w / w.sum(), v / v.sum(), 0.5, 2.0)

    values, ours, theirs = terms(w, v)
    for row in (1, 7):
        for which, found in ((0, ours), (1, theirs)):
            sides = [w.copy(), v.copy()]
            sides[which][row] *= 1 + 1e-6
            assert (terms(*sides)[0] - values) / 1e-6 == pytest.approx(found[row], rel=1e-3, abs=1e-7)


def test_mean_ratio_and_clustered_variance_by_brute_force():
    rng = np.random.default_rng(0)
    n = 60
    ratio, weight = rng.uniform(0.5, 2.0, n), rng.normal(1.0, 0.3, n)
    group, index = rng.integers(0, 20, n), rng.integers(0, 3, n)
    mean, error = mean_by_bin(ratio, weight, group, index, 4)
    assert np.isnan([mean[3], error[3]]).all()
    for b in range(3):
        rows = index == b
        share = weight[rows] / weight[rows].sum()
        assert mean[b] == pytest.approx(share @ ratio[rows])
        influence = share * (ratio[rows] - mean[b])
        squares = sum(influence[group[rows] == g].sum() ** 2 for g in range(20))
        assert error[b] == pytest.approx(np.sqrt(squares))
    assert clustered_variance(np.ones(4), np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 2) == pytest.approx([5, 1])


def test_planted_regions_are_named_with_unbiased_shares():
    rng = np.random.default_rng(0)
    n = 20_000
    columns = Columns(
        ("P", "kind"), np.array([False, True]), ((), ("e", "mu", "pi")), ("GeV", ""), ()
    )  # fmt: skip

    def rows(first):
        features = np.column_stack([rng.uniform(0, 100, n), rng.integers(0, 3, n)])
        return Rows(features, np.ones(n), np.arange(first, first + n), np.zeros(n, dtype=np.int64))

    ours, theirs = rows(0), rows(n)

    def log(rows):
        return np.where((rows.features[:, 0] > 60) & (rows.features[:, 1] == 1), np.log(0.5), 0.0)

    found = blame_regions(columns, ours, theirs, log(ours), log(theirs), 4)
    planted = next(region for region in found if region.weight < 0.51)
    assert planted.cuts in ("P > 60 GeV and kind = mu", "60 < P < 100 GeV and kind = mu")
    assert planted.weight == pytest.approx(0.5)
    # The samples do not differ, whatever the ratios claim.
    assert abs(planted.ratio - 1) < 3.5 * planted.ratio_error
    assert planted.ratio_error == pytest.approx(np.sqrt(2 / (n * planted.generated)), rel=0.1)
    assert sum(region.reference for region in found) == pytest.approx(1.0)
    assert sum(region.generated for region in found) == pytest.approx(1.0)
    assert any("kind in (" in region.cuts or "kind = " in region.cuts for region in found)


def test_mistakes_are_told_in_one_sentence(pid):
    with pytest.raises(ConfigError, match=r"low 2, high 10; expected low between 0 and 1"):
        ClassifierWeightsOptions(low=2.0)
    with pytest.raises(ConfigError, match="learner forest, expected one of trees"):
        ClassifierWeightsOptions(closure="forest")
    with pytest.raises(ConfigError, match="regions 1; expected"):
        ClassifierWeightsOptions(regions=1)
    reference = pid.toy(1, 1)
    with pytest.raises(DataError, match="too few for this test"):
        classifier_weights(reference, pid.copy_of(reference, 2), ClassifierWeightsOptions(), seed=1)


def test_few_events_and_constant_columns_get_an_honest_answer():
    schema = Schema((), (Field("x"), Field("same")))
    rng = np.random.default_rng(0)
    samples = [
        Sample(schema, {"x": rng.normal(size=12), "same": np.full(12, 2.0)}, event_id=np.arange(i, i + 12))
        for i in (0, 100)
    ]
    result = classifier_weights(*samples, ClassifierWeightsOptions(trees=5), seed=1)[0]
    assert np.isfinite(result.value)
    assert result.p_value > 0.01
