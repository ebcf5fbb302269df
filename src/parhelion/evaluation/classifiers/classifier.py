"""Classifier two-sample test: how well the best of several classifiers tells generated from reference rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from parhelion.errors import ConfigError
from parhelion.evaluation.classifiers.cross_fit import (
    Choice,
    GroupedAuc,
    Plan,
    Rows,
    auc_covariance,
    cross_fit,
    grouped_auc,
    largest_of_normals,
    null_rows,
    prepare,
)
from parhelion.evaluation.classifiers.learners import LEARNERS, Learner, LearnerSettings, Model
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.comparison import compare
from parhelion.evaluation.statistics.auc import placements, roc_curve
from parhelion.evaluation.statistics.one_dimensional import one_row
from parhelion.evaluation.statistics.shares import score_histogram
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]

NAME = "classifier"

_SCORE_BINS = 50
_IMPORTANCE_ROWS = 20_000
_WORDS: dict[Learner, str] = {
    "trees": "boosted trees",
    "quadratic": "logistic regression on quadratic features",
    "network": "a neural network",
}


@dataclass(frozen=True)
class ClassifierOptions:
    """Options of `classifier`.

    Attributes
    ----------
    differences
        Pairs of scalar fields whose difference is a feature of its own, so that equal values are visible.
    extra
        Extra fields (observables) used as features as well.
    conditions
        Whether the conditions are features. Without them only the marginal distributions of responses are compared.
    learners
        Classifiers to train: ``trees`` (boosted trees), ``quadratic`` (logistic regression on squares and products of
        features), ``network`` (a small neural network). The strongest one is the answer.
    folds
        Number of folds; each is scored by models that were trained on the others.
    trees, learning_rate, min_leaf
        Boosted trees: their number, their learning rate, the least number of rows in a leaf.
    network_width, network_steps
        Network: units of each of its three layers, and the largest number of training steps.
    patience
        Stop after so many trees that do not lower the loss on a tenth of the training rows, held back; all trees if
        not given. Several times as fast where samples hardly differ, at a little less power there.
    train_null
        Train a second time on the null; otherwise the null is 0.5 with the error of the measured AUC.
    importance
        Shuffle each feature in one fold and record how much the AUC of the strongest learner drops.
    """

    differences: tuple[tuple[str, str], ...] = ()
    extra: tuple[str, ...] = ()
    conditions: bool = True
    learners: tuple[Learner, ...] = ("trees", "quadratic")
    folds: int = 2
    trees: int = 150
    learning_rate: float = 0.1
    min_leaf: int = 40
    network_width: int = 64
    network_steps: int = 2000
    patience: int | None = None
    train_null: bool = True
    importance: bool = True

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.folds < 2 or self.trees < 1 or self.min_leaf < 1 or not 0 < self.learning_rate <= 1:
            msg = (
                f"metric {NAME}: folds {self.folds}, trees {self.trees}, min_leaf {self.min_leaf}, learning_rate "
                f"{self.learning_rate:g}; expected at least 2, 1 and 1, and above 0 up to 1"
            )
            raise ConfigError(msg)
        if self.network_width < 1 or self.network_steps < 1:
            msg = (
                f"metric {NAME}: network_width {self.network_width}, network_steps {self.network_steps}; expected at "
                "least 1"
            )
            raise ConfigError(msg)
        if self.patience is not None and self.patience < 1:
            msg = f"metric {NAME}: patience {self.patience}, expected at least 1 tree, or none for all trees"
            raise ConfigError(msg)
        known = len(set(self.learners) & set(LEARNERS))
        if known == 0 or known != len(self.learners):
            msg = f"metric {NAME}: learners {list(self.learners)}, expected different ones of {', '.join(LEARNERS)}"
            raise ConfigError(msg)

    @property
    def choice(self) -> Choice:
        """Features besides the responses."""
        return Choice(self.conditions, self.extra, self.differences)

    @property
    def settings(self) -> LearnerSettings:
        """Settings of the learners."""
        return LearnerSettings(
            self.trees, self.learning_rate, self.min_leaf, self.network_width, self.network_steps, self.patience
        )


def classifier(reference: Sample, generated: Sample, options: ClassifierOptions, *, seed: int) -> list[MetricResult]:
    """AUC of classifiers trained to tell reference from generated rows: the largest one of several learners.

    The learners see conditions and responses, so they test the conditional distribution where conditions are the
    same. An AUC is a lower bound on what can be told apart, set by the power of the learner, and which learner is
    strongest depends on the difference (Lopez-Paz & Oquab, arXiv:1610.06545); so several are tried and the strongest
    counts. Folds are made by group: the two rows made at one condition, and rows of one group, are never split between
    training and test (a tree that learned a condition with one label would otherwise be punished for the other, which
    biases the AUC below 0.5). The AUC of a learner is the mean over folds.

    Error: influence functions of the AUC summed over groups, the clustered form of DeLong's error (Obuchowski 1997); it
    knows the pairing and signed weights. Where no row is misplaced it is that of one row. Folds are not independent:
    where the samples do not differ, models trained on fold k and tested on fold l find what the two folds have in
    common by chance, and so do those trained on l and tested on k. For a classifier that is linear in its training rows
    both numbers are equal, and the variance of the mean over any number of folds is twice that of independent folds.
    This factor 2 is applied; it is conservative where a true difference rules the training, and a little so for a
    learner with few features to choose from. In expectation the AUC is 0.5 under the null for any training.

    The strongest learner is picked by the same held-out rows that measure it, so the largest AUC of several is above
    0.5 even where nothing differs. Nothing of this is left out: products of the learners' influences, summed over
    groups, give the covariance of their AUCs, and with it the mean and the spread of the largest of correlated normal
    variables (the null) and the probability that it is at least as large as measured (the p-value). The value is not
    corrected: at most null - 0.5 of it is due to the choice, and less the clearer one learner leads. The error is that
    of the chosen learner.

    Null: the same training on samples that do not differ: the two responses exchanged at random in each group where
    the samples are paired, else random halves of the reference (error scaled to the two sizes). With one learner null
    and error are those of its AUC. With several, the expectation and spread of the largest AUC, with the covariance
    from this training; the AUCs themselves are in the details. P-value with one learner: one-sided, normal, (AUC -
    0.5) / error.

    Signed weights: the log-likelihood has no lower bound with negative weights, so the learners are trained with the
    conditional mean of the weight given the features, regressed by boosted trees with squared loss and cut at 0
    (Borisyak & Kazeev, arXiv:1905.11719, section 3); the test rows keep their signed weights.

    Parameters
    ----------
    reference, generated
        Samples with equal fields.
    options
        See `ClassifierOptions`.
    seed
        Seed of folds, training, null and importance.

    Returns
    -------
    list of MetricResult
        One result with quantity `auc`, the largest, and the AUC of each learner under its name. Details:
        ``features``, ``folds``, ``trees``, ``learner`` (the strongest), ``learners`` (of each: ``auc``, ``error``,
        ``fold_auc``, ``fold_error``, ``null_auc``, ``null_fold_auc``), ``learner_correlation`` (L, L); of the
        strongest: ``fold_auc``, ``fold_error`` (K), ``null_fold_auc`` (K, empty without null training), ``roc``
        with ``false_positive`` and ``true_positive`` (101; positive = reference), ``scores`` with ``edges`` (B + 1),
        ``reference``, ``generated`` and their ``_error`` (B, shares of the weight), ``importance`` (feature: drop of
        the AUC), in descending order; ``signed_training`` (bool).

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        A fold has no positive sum of weights on one side: the samples are too small for this test.
    """
    comparison = compare(reference, generated)
    rng = np.random.default_rng(seed)
    columns, ours, theirs = prepare(comparison, options.choice, options.folds, NAME, rng)
    plan = Plan(options.learners, columns.categorical, options.settings, options.folds)
    scores = cross_fit(ours, theirs, plan, seed=seed)
    tests = {name: grouped_auc(found, ours, theirs, options.folds) for name, found in scores.items()}
    nulls, scale = {}, 1.0
    if options.train_null:
        first, second, scale = null_rows(comparison, ours, theirs, rng)
        null_scores = cross_fit(first, second, plan, seed=seed + 1)
        nulls = {name: grouped_auc(found, first, second, options.folds) for name, found in null_scores.items()}
    least = one_row(ours.weight, theirs.weight)
    covariance = _as_of_a_row(auc_covariance(list(tests.values())), least)
    null_covariance = _as_of_a_row(auc_covariance(list(nulls.values())) * scale**2, least) if nulls else covariance
    best = max(tests, key=lambda name: tests[name].auc)
    found = scores[best]
    drop = _importance(found.first_model, ours, theirs, np.random.default_rng(seed)) if options.importance else None
    edges = np.linspace(0.0, 1.0, _SCORE_BINS + 1)
    false_positive, true_positive = roc_curve(found.reference, found.generated, ours.weight, theirs.weight)
    told = {name: _learner_details(test, nulls.get(name)) for name, test in tests.items()}
    return [
        MetricResult(
            name=NAME,
            on="conditions and responses" if options.conditions else "responses",
            main="auc",
            quantities=_quantities(tests, nulls, best, covariance, null_covariance, np.random.default_rng([seed, 1])),
            details={
                **comparison.describe(),
                "features": columns.names,
                "folds": options.folds,
                "trees": options.trees,
                "learner": best,
                "learners": told,
                "learner_correlation": _correlation(covariance),
                "fold_auc": told[best]["fold_auc"],
                "fold_error": told[best]["fold_error"],
                "null_fold_auc": told[best]["null_fold_auc"],
                "signed_training": bool(np.any(ours.weight < 0) or np.any(theirs.weight < 0)),
                "roc": {"false_positive": false_positive, "true_positive": true_positive},
                "scores": {
                    "edges": edges,
                    **score_histogram("reference", found.reference, ours.weight, edges),
                    **score_histogram("generated", found.generated, theirs.weight, edges),
                },
                "importance": {}
                if drop is None
                else {columns.names[i]: drop[i] for i in np.argsort(-drop, kind="stable")},
                "caption": _caption(best, tests, options),
            },
            fields=columns.fields,
        )
    ]


def _as_of_a_row(covariance: FloatArray, least: float) -> FloatArray:
    """The covariance, with the variance that one misplaced row makes where scores that part all rows show none."""
    none = np.diag(covariance) <= 0
    found: FloatArray = covariance + np.diag(np.where(none, least, 0.0))
    return found


def _quantities(
    tests: dict[Learner, GroupedAuc],
    nulls: dict[Learner, GroupedAuc],
    best: Learner,
    covariance: FloatArray,
    null_covariance: FloatArray,
    rng: np.random.Generator,
) -> dict[str, Quantity]:
    """The largest AUC, and that of each learner."""
    single: dict[str, Quantity] = {}
    for i, (name, test) in enumerate(tests.items()):
        error = float(np.sqrt(covariance[i, i]))
        single[name] = Quantity(
            value=test.auc,
            error=error,
            null=nulls[name].auc if nulls else 0.5,
            null_error=float(np.sqrt(null_covariance[i, i])),
            p_value=float(norm.sf((test.auc - 0.5) / error)),
            limit=0.5,
        )
    strongest = single[best]
    if len(tests) == 1:
        return {"auc": strongest, **single}
    p_value = largest_of_normals(strongest.value - 0.5, covariance, rng)[0]
    _, mean, width = largest_of_normals(0.0, null_covariance, rng)
    largest = Quantity(
        value=strongest.value,
        error=strongest.error,
        null=0.5 + mean,
        null_error=width,
        p_value=p_value,
        limit=0.5,
    )
    return {"auc": largest, **single}


def _learner_details(test: GroupedAuc, null: GroupedAuc | None) -> dict[str, Any]:
    return {
        "auc": test.auc,
        "error": test.error,
        "fold_auc": test.fold_auc,
        "fold_error": test.fold_error,
        "null_auc": None if null is None else null.auc,
        "null_fold_auc": np.empty(0) if null is None else null.fold_auc,
    }


def _correlation(covariance: FloatArray) -> FloatArray:
    spread = np.sqrt(np.diag(covariance))
    size = np.outer(spread, spread)
    found: FloatArray = np.divide(covariance, size, out=np.eye(len(spread)), where=size > 0)
    return found


def _caption(best: Learner, tests: dict[Learner, GroupedAuc], options: ClassifierOptions) -> str:
    words = _WORDS[best][:1].upper() + _WORDS[best][1:]
    how = f"{options.trees} trees, {options.folds} folds" if best == "trees" else f"{options.folds} folds"
    text = (
        f"{words} ({how}) told reference from generated rows with AUC {tests[best].auc:.4f}; 0.5 is not "
        "distinguishable."
    )
    others = [f"{_WORDS[name]} {test.auc:.4f}" for name, test in tests.items() if name != best]
    return f"{text} Weaker: {', '.join(others)}." if others else text


def _importance(model: Model, ours: Rows, theirs: Rows, rng: np.random.Generator) -> FloatArray:
    """Drop of the AUC when a feature is shuffled among the rows of fold 0, on at most `_IMPORTANCE_ROWS` of each."""
    held = [rows.fold == 0 for rows in (ours, theirs)]
    ours, theirs = (
        rows.take(mask & (np.cumsum(mask) <= _IMPORTANCE_ROWS)) for rows, mask in zip((ours, theirs), held, strict=True)
    )
    n = len(ours.weight)
    pooled = np.concatenate([ours.features, theirs.features])

    def area(features: FloatArray) -> float:
        score = model(features)
        return placements(score[:n], score[n:], ours.weight, theirs.weight).auc

    full = area(pooled)
    drop = np.empty(pooled.shape[1])
    for j in range(pooled.shape[1]):
        shuffled = pooled.copy()
        shuffled[:, j] = rng.permutation(shuffled[:, j])
        drop[j] = full - area(shuffled)
    return drop


METRIC = Metric(NAME, ClassifierOptions, classifier, ("auc",), "classifiers")
