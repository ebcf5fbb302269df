"""The classifier test: unbiased with pairs and negative weights; the strongest of several learners with its null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal, norm
from sklearn.linear_model import LogisticRegression

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import ClassifierOptions, classifier
from parhelion.evaluation.classifiers.cross_fit import largest_of_normals
from parhelion.evaluation.classifiers.learners import LearnerSettings, fit_logistic, train
from parhelion.sample import Field, Sample, Schema

OPTIONS = ClassifierOptions(learners=("trees",), trees=40, min_leaf=5, train_null=False, importance=False)
BOTH = ClassifierOptions(trees=15, train_null=False, importance=False)


def pulls(pid, options, experiments, **kwargs):
    found = []
    for seed in range(experiments):
        reference = pid.toy(1500, seed, **kwargs)
        found.append(classifier(reference, pid.copy_of(reference, seed), options, seed=seed)[0])
    return np.array([r.value for r in found]), np.array([r.error for r in found])


@pytest.mark.parametrize("signed", [False, True])
def test_auc_is_unbiased_where_nothing_differs(pid, signed):
    value, error = pulls(pid, OPTIONS, 8, signed=signed)
    # Mean of 8 pulls, spread 1/sqrt(8) = 0.35: three sigma. Small leaves overtrain on purpose.
    pull = (value - 0.5) / error
    assert abs(pull.mean()) < 1.06
    assert 0.35 < pull.std(ddof=1) < 1.9


def test_pairs_split_between_folds_would_bias_the_auc(pid, monkeypatch):
    import sys

    module = sys.modules["parhelion.evaluation.classifiers.cross_fit"]
    original = module.rows_of

    def split_apart(sample, *rest):
        rows = original(sample, *rest)
        return rows if sample.source == "reference" else module.replace(rows, fold=1 - rows.fold)

    monkeypatch.setattr(module, "rows_of", split_apart)
    value, error = pulls(pid, OPTIONS, 3)
    assert np.mean((value - 0.5) / error) < -3 or np.mean((value - 0.5) / error) > 3


def test_difference_as_a_feature_shows_smeared_ties(pid):
    reference = pid.toy(3000, 1)
    response = pid.copy_of(reference, 2).response
    response[:, 1] += 1e-6 * np.random.default_rng(0).normal(size=len(response))
    smeared = reference.with_response(response, source="smeared")
    blind = classifier(reference, smeared, OPTIONS, seed=1)[0]
    seeing = classifier(reference, smeared, ClassifierOptions(**{
        **OPTIONS.__dict__, "differences": (("DLLk", "DLLp"),), "importance": True}), seed=1)[0]  # fmt: skip
    assert seeing.value > 0.58
    assert seeing.value > blind.value + 5 * seeing.error
    assert next(iter(seeing.details["importance"])) == "DLLk - DLLp"


def test_signed_reference_is_compared_as_the_signal_it_stands_for(pid):
    reference = pid.toy(6000, 1, signed=True)
    signal = classifier(reference, pid.copy_of(reference, 2), OPTIONS, seed=1)[0]
    assert signal.details["signed_training"]
    assert abs(signal.value - 0.5) < 3.5 * signal.error
    everything = classifier(reference, pid.copy_of(reference, 2, shift=0.6), OPTIONS, seed=1)[0]
    assert everything.value > 0.5 + 4 * everything.error


def test_rows_that_are_all_told_apart_have_an_error_and_a_p_value(pid):
    reference = pid.toy(400, 1)
    apart = reference.with_response(reference.response + 100.0, source="apart")
    result = classifier(reference, apart, BOTH, seed=1)[0]
    assert result.value == pytest.approx(1.0)
    # One misplaced row of either sample.
    assert result.quantity().error == pytest.approx(np.sqrt(2) / 400)
    assert result.p_value < 1e-6
    same = classifier(reference, reference, BOTH, seed=1)[0]
    assert same.value == pytest.approx(0.5)
    assert same.p_value > 0.4


def test_too_few_rows_are_refused(pid):
    reference = pid.toy(1, 1)
    with pytest.raises(
        DataError, match="reference: a fold of 2 has sum of weights 0, expected a positive number; 1 rows are too few"
    ):
        classifier(reference, pid.copy_of(reference, 2), OPTIONS, seed=1)


def columns(values, first=0):
    """Plain columns without conditions."""
    schema = Schema((), tuple(Field(f"x{j}") for j in range(values.shape[1])))
    ids = np.arange(first, first + len(values))
    return Sample(schema, {f"x{j}": values[:, j] for j in range(values.shape[1])}, event_id=ids)


def test_the_strongest_learner_is_the_answer():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 6)), rng.normal(size=(4000, 6))
    # Correlation alone: weak for trees, one product for quadratic features.
    y[:, 1] = 0.3 * y[:, 0] + np.sqrt(1 - 0.09) * y[:, 1]
    result = classifier(columns(x), columns(y, 10**6), ClassifierOptions(trees=30), seed=1)[0]
    assert result.details["learner"] == "quadratic"
    assert set(result.quantities) == {"auc", "trees", "quadratic"}
    assert result.value == max(result.quantity(name).value for name in ("trees", "quadratic"))
    assert result.error == result.quantity("quadratic").error
    assert result.value > result.quantity("trees").value + result.error
    assert result.details["fold_auc"] == result.details["learners"]["quadratic"]["fold_auc"]
    importance = result.details["importance"]
    assert set(list(importance)[:2]) == {"x0", "x1"}
    assert result.p_value > result.quantity("quadratic").p_value
    assert result.p_value < 1e-6
    assert 0.5 < result.null < 0.51
    assert "quadratic" in result.details["caption"]


def test_a_single_learner_has_the_null_and_p_value_of_its_auc(pid):
    reference = pid.toy(800, 1)
    result = classifier(reference, pid.copy_of(reference, 2), ClassifierOptions(learners=("trees",), trees=10), seed=1)
    found = result[0].quantity("auc")
    assert found == result[0].quantity("trees")
    assert found.p_value == pytest.approx(norm.sf((found.value - 0.5) / found.error))
    assert found.null == pytest.approx(np.mean(result[0].details["null_fold_auc"]))


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_the_maximum_of_two_learners_is_calibrated(pid, signed):
    results = []
    for seed in range(30):
        reference = pid.toy(800, seed, signed=signed)
        results.append(classifier(reference, pid.copy_of(reference, seed), BOTH, seed=seed)[0])
    p = np.array([r.p_value for r in results])
    assert kstest(p, "uniform").pvalue > 1e-3
    # The null is above 0.5, and agrees with the mean over experiments: 30 of them know it to 0.18 of the spread.
    value, null = np.array([r.value for r in results]), np.array([r.null for r in results])
    assert np.all(null > 0.5)
    assert abs(np.mean(value - null)) < 3.5 * np.mean([r.null_error for r in results]) / np.sqrt(30)


def test_largest_of_normals_agrees_with_integration_near_and_far():
    covariance = np.array([[1.0, 0.6, 0.2], [0.6, 2.0, -0.3], [0.2, -0.3, 0.5]])
    for value in (0.0, 0.8, 3.0):
        expected = 1 - multivariate_normal(cov=covariance, seed=1).cdf(np.full(3, value))
        p, mean, spread = largest_of_normals(value, covariance, np.random.default_rng(0))
        assert p == pytest.approx(expected, rel=0.05)
    draws = multivariate_normal(cov=covariance, seed=1).rvs(200_000).max(axis=1)
    assert (mean, spread) == pytest.approx((draws.mean(), draws.std()), rel=0.05)
    far = largest_of_normals(12.0, covariance, np.random.default_rng(0))[0]
    assert far == pytest.approx(norm.sf(12 / np.sqrt(2)), rel=1e-3)
    same = largest_of_normals(1.0, np.ones((2, 2)), np.random.default_rng(0))[0]
    assert same == pytest.approx(norm.sf(1.0), rel=1e-6)
    assert largest_of_normals(0.1, np.zeros((2, 2)), np.random.default_rng(0))[0] == 0


def test_logistic_regression_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4))
    y = (rng.random(3000) < 1 / (1 + np.exp(-(0.3 + x @ [1.0, -0.5, 0.0, 2.0])))).astype(np.int64)
    w = rng.uniform(0.2, 2.0, 3000)
    design = np.column_stack([np.ones(3000), x])
    beta = fit_logistic(lambda rows: design[rows], y, w)
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=w)
    assert beta == pytest.approx(np.r_[oracle.intercept_, oracle.coef_[0]], abs=1e-4)
    # Separable: the penalty keeps the coefficients finite.
    assert np.isfinite(fit_logistic(lambda rows: design[rows], (x[:, 0] > 0).astype(np.int64), w)).all()


@pytest.mark.parametrize("learner", ["trees", "quadratic", "network"])
def test_learners_estimate_the_share_and_keep_the_global_state(learner):
    import torch

    rng = np.random.default_rng(0)
    n = 4000
    x = np.column_stack([rng.normal(size=n), rng.integers(0, 3, n), np.full(n, 7.0)])
    label = rng.integers(0, 2, n)
    x[:, 0] += label * np.where(x[:, 1] == 2, -1.0, 1.0)
    state = torch.get_rng_state()
    settings = LearnerSettings(trees=30, network_steps=500)
    kinds = np.array([False, True, False])
    model = train(
        learner, x, label, np.ones(n), group=np.arange(n), categorical=kinds, settings=settings, seed=1
    )  # fmt: skip
    assert torch.equal(state, torch.get_rng_state())
    share = model(x)
    truth = 1 / (1 + np.exp(-np.where(x[:, 1] == 2, -1.0, 1.0) * (x[:, 0] - np.where(x[:, 1] == 2, -0.5, 0.5))))
    assert np.sqrt(np.mean((share - truth) ** 2)) < 0.08
    assert len(model(x[:0])) == 0


def test_quadratic_features_of_many_columns_stay_few():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 40)), rng.normal(size=(600, 40))
    y[:, 7] += 1.0
    options = ClassifierOptions(learners=("quadratic",), train_null=False)
    result = classifier(columns(x), columns(y, 10**6), options, seed=1)[0]
    assert result.value > 0.6
    assert next(iter(result.details["importance"])) == "x7"


def test_the_network_finds_what_it_must(pid):
    reference = pid.toy(3000, 1)
    options = ClassifierOptions(learners=("network",), network_steps=300, train_null=False, importance=False)
    result = classifier(reference, pid.copy_of(reference, 2, shift=0.5), options, seed=1)[0]
    assert result.value > 0.5 + 5 * result.error
    assert result.value == classifier(reference, pid.copy_of(reference, 2, shift=0.5), options, seed=1)[0].value


def test_unknown_learners_are_refused():
    with pytest.raises(ConfigError, match=r"learners \['forest'\], expected different ones of trees, quadratic, net"):
        ClassifierOptions(learners=("forest",))
    with pytest.raises(ConfigError, match="learners"):
        ClassifierOptions(learners=("trees", "trees"))
    with pytest.raises(ConfigError, match="network_steps 0"):
        ClassifierOptions(network_steps=0)


def test_patience_stops_where_nothing_differs_and_finds_what_does(pid):
    reference = pid.toy(3000, 1)
    options = replace(OPTIONS, learners=("trees",), patience=5)
    same = classifier(reference, pid.copy_of(reference, 2), options, seed=1)[0]
    assert abs(same.value - 0.5) < 4 * same.error
    other = classifier(reference, pid.copy_of(reference, 2, shift=0.6), options, seed=1)[0]
    assert other.value > 0.5 + 4 * other.error
    with pytest.raises(ConfigError, match="patience 0, expected at least 1 tree"):
        ClassifierOptions(patience=0)
