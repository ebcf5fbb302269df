"""Classifier two-sample test: how well boosted trees tell the generated sample from the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.auc import placements, roc_curve
from parhelion.evaluation.binning import scalar
from parhelion.evaluation.comparison import Comparison, compare
from parhelion.evaluation.result import MetricResult, Quantity
from parhelion.sample import Sample, flatten

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "classifier"

_SCORE_BINS = 50
_MAX_CATEGORIES = 200
_IMPORTANCE_ROWS = 20_000


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
    folds
        Number of folds; each is scored by trees that were trained on the others.
    trees, learning_rate, min_leaf
        Boosted trees: their number, their learning rate, the least number of rows in a leaf.
    train_null
        Train a second time on the null; otherwise the null is 0.5 with the error of the measured AUC.
    importance
        Shuffle each feature in one fold and record how much the AUC drops.
    """

    differences: tuple[tuple[str, str], ...] = ()
    extra: tuple[str, ...] = ()
    conditions: bool = True
    folds: int = 2
    trees: int = 150
    learning_rate: float = 0.1
    min_leaf: int = 40
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


@dataclass(frozen=True)
class _Rows:
    """Rows of one class: features (n, d), signed weights, groups, folds."""

    features: FloatArray
    weight: FloatArray
    group: IntArray
    fold: IntArray

    def take(self, rows: npt.NDArray[np.bool_]) -> _Rows:
        return _Rows(self.features[rows], self.weight[rows], self.group[rows], self.fold[rows])


@dataclass(frozen=True)
class _Test:
    """Outcome of one cross-fitted test."""

    auc: float
    error: float
    fold_auc: FloatArray
    fold_error: FloatArray
    reference_score: FloatArray
    generated_score: FloatArray
    importance: FloatArray


def classifier(reference: Sample, generated: Sample, options: ClassifierOptions, *, seed: int) -> list[MetricResult]:
    """AUC of boosted trees trained to tell reference from generated rows.

    The trees see conditions and responses, so they test the conditional distribution where conditions are the same.
    Folds are made by group: the two rows made at one condition, and rows of one group, are never split between
    training and test (a tree that learned a condition with one label would otherwise be punished for the other, which
    biases the AUC below 0.5). The AUC is the mean over folds.

    Error: influence functions of the AUC summed over groups, the clustered form of DeLong's error (Obuchowski 1997); it
    knows the pairing and signed weights. Folds are not independent: where the samples do not differ, trees trained on
    fold k and tested on fold l find what the two folds have in common by chance, and so do those trained on l and
    tested on k. For a classifier that is linear in its training rows both numbers are equal, and the variance of
    the mean over any number of folds is twice that of independent folds. This factor 2 is applied; it is conservative
    where a true difference rules the training. In expectation the AUC is 0.5 under the null for any training.

    Null: the same training on samples that do not differ: the two responses exchanged at random in each group where
    the samples are paired, else random halves of the reference (error scaled to the two sizes). P-value: one-sided,
    normal, (AUC - 0.5) / error.

    Signed weights: the log-likelihood has no lower bound with negative weights, so the trees are trained with the
    conditional mean of the weight given the features, regressed by boosted trees with squared loss and cut at 0
    (Borisyak & Kazeev, arXiv:1905.11719, section 3); the test rows keep their signed weights.

    Parameters
    ----------
    reference, generated
        Samples with equal fields.
    options
        See `ClassifierOptions`.
    seed
        Seed of folds, null and importance.

    Returns
    -------
    list of MetricResult
        One result with quantity `auc`. Details: ``features``, ``folds``, ``trees``, ``fold_auc``, ``fold_error`` (K),
        ``null_fold_auc`` (K, empty without null training), ``signed_training`` (bool), ``roc`` with
        ``false_positive`` and ``true_positive`` (101; positive = reference), ``scores`` with ``edges`` (B + 1),
        ``reference``, ``generated`` and their ``_error`` (B, shares of the weight), ``importance`` (feature: drop of
        the AUC), in descending order.

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        A fold has no positive sum of weights on one side: the samples are too small for this test.
    """
    comparison = compare(reference, generated)
    names, categorical = _feature_names(reference, options)
    rng = np.random.default_rng(seed)
    fold_of_group = _folds(comparison.groups, options.folds, rng)
    ours = _rows(comparison.reference, comparison.reference_group, fold_of_group, options)
    theirs = _rows(comparison.generated, comparison.generated_group, fold_of_group, options)
    for sample, rows in ((comparison.reference, ours), (comparison.generated, theirs)):
        _require_folds(sample.source, rows, options.folds)
    found = _cross_fit(ours, theirs, categorical, options, seed, options.importance)
    null, null_error, null_folds = 0.5, found.error, np.empty(0)
    if options.train_null:
        first, second, scale = _null_rows(comparison, ours, theirs, rng)
        trained = _cross_fit(first, second, categorical, options, seed + 1, False)
        null, null_error, null_folds = trained.auc, trained.error * scale, trained.fold_auc
    order = np.argsort(-found.importance)
    edges = np.linspace(0.0, 1.0, _SCORE_BINS + 1)
    false_positive, true_positive = roc_curve(found.reference_score, found.generated_score, ours.weight, theirs.weight)
    return [
        MetricResult(
            name=NAME,
            on="conditions and responses" if options.conditions else "responses",
            main="auc",
            quantities={
                "auc": Quantity(
                    value=found.auc,
                    error=found.error,
                    null=null,
                    null_error=null_error,
                    p_value=float(norm.sf((found.auc - 0.5) / found.error)) if found.error > 0 else None,
                )
            },
            details={
                **comparison.describe(),
                "features": names,
                "folds": options.folds,
                "trees": options.trees,
                "fold_auc": found.fold_auc,
                "fold_error": found.fold_error,
                "null_fold_auc": null_folds,
                "signed_training": bool(np.any(ours.weight < 0) or np.any(theirs.weight < 0)),
                "roc": {"false_positive": false_positive, "true_positive": true_positive},
                "scores": {
                    "edges": edges,
                    **_score_histogram("reference", found.reference_score, ours.weight, edges),
                    **_score_histogram("generated", found.generated_score, theirs.weight, edges),
                },
                "importance": {names[i]: found.importance[i] for i in order} if options.importance else {},
                "caption": (
                    f"Boosted trees ({options.trees} trees, {options.folds} folds) told reference from generated "
                    f"rows with AUC {found.auc:.4f}; 0.5 is not distinguishable."
                ),
            },
        )
    ]


def _feature_names(sample: Sample, options: ClassifierOptions) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Names of the features, and which of them are categories."""
    fields = (sample.schema.condition if options.conditions else ()) + sample.schema.response
    names, categorical = [], []
    for field in (*fields, *(scalar(sample, name, NAME)[0] for name in options.extra)):
        parts = [field.name] if field.width == 1 else [f"{field.name}[{i}]" for i in range(field.width)]
        names += parts
        small = field.kind == "category" and len(field.values) <= _MAX_CATEGORIES
        categorical += [small] * len(parts)
    for a, b in options.differences:
        scalar(sample, a, NAME)
        scalar(sample, b, NAME)
        names.append(f"{a} - {b}")
        categorical.append(False)
    return names, np.array(categorical, dtype=bool)


def _rows(sample: Sample, group: IntArray, fold_of_group: IntArray, options: ClassifierOptions) -> _Rows:
    fields = (sample.schema.condition if options.conditions else ()) + sample.schema.response
    fields += tuple(sample.schema[name] for name in options.extra)
    columns = dict(sample.columns)
    for field in fields:
        if field.kind == "category" and len(field.values) <= _MAX_CATEGORIES:
            # The trees want categories as 0, 1, 2, ...
            codes = np.sort(np.asarray(field.values))
            columns[field.name] = np.searchsorted(codes, columns[field.name])
    parts = [flatten(columns, fields, len(sample))]
    parts += [(scalar(sample, a, NAME)[1] - scalar(sample, b, NAME)[1])[:, None] for a, b in options.differences]
    weight = sample.weight * (len(sample) / np.sum(sample.weight))
    return _Rows(np.concatenate(parts, axis=1).astype(np.float64), weight, group, fold_of_group[group])


def _folds(groups: int, folds: int, rng: np.random.Generator) -> IntArray:
    return rng.permutation(np.arange(groups, dtype=np.int64) % folds)


def _require_folds(source: str, rows: _Rows, folds: int) -> None:
    content = np.bincount(rows.fold, rows.weight, folds)
    if not np.all(content > 0):
        msg = (
            f"metric {NAME}: {source}: a fold of {folds} has sum of weights {content.min():.6g}, expected a positive "
            f"number; {len(rows.weight)} rows are too few for this test"
        )
        raise DataError(msg)


def _null_rows(
    comparison: Comparison, ours: _Rows, theirs: _Rows, rng: np.random.Generator
) -> tuple[_Rows, _Rows, float]:
    """Two sets of rows that do not differ, and the factor from their error to that of the measured sizes."""
    heads = rng.integers(0, 2, size=comparison.groups).astype(bool)
    swap = heads[ours.group]
    if comparison.paired:
        chosen = swap[:, None]
        first = replace(ours, features=np.where(chosen, theirs.features, ours.features))
        second = replace(theirs, features=np.where(chosen, ours.features, theirs.features))
        return first, second, 1.0
    r, g = comparison.reference.weights.effective, comparison.generated.weights.effective
    return ours.take(swap), ours.take(~swap), float(np.sqrt((1 / r + 1 / g) * r / 4))


def _cross_fit(
    ours: _Rows,
    theirs: _Rows,
    categorical: npt.NDArray[np.bool_],
    options: ClassifierOptions,
    seed: int,
    importance: bool,
) -> _Test:
    folds = options.folds
    scores = [np.zeros(len(ours.weight)), np.zeros(len(theirs.weight))]
    areas, errors = np.empty(folds), np.empty(folds)
    drop = np.zeros(ours.features.shape[1])
    for k in range(folds):
        tests = [rows.fold == k for rows in (ours, theirs)]
        model = _train(ours.take(~tests[0]), theirs.take(~tests[1]), categorical, options, seed + k)
        held = [rows.take(test) for rows, test in zip((ours, theirs), tests, strict=True)]
        for score, test, rows in zip(scores, tests, held, strict=True):
            score[test] = _score(model, rows.features)
        areas[k], errors[k] = _grouped_auc(scores[0][tests[0]], scores[1][tests[1]], held[0], held[1])
        if importance and k == 0:
            drop = _importance(model, held[0], held[1], np.random.default_rng(seed))
    return _Test(
        auc=float(np.mean(areas)),
        # See the docstring of `classifier`: fold k trained on l and l trained on k meet the same chance differences.
        error=float(np.sqrt(2.0 * np.sum(errors**2)) / folds),
        fold_auc=areas,
        fold_error=errors,
        reference_score=scores[0],
        generated_score=scores[1],
        importance=drop,
    )


def _grouped_auc(
    reference_score: FloatArray, generated_score: FloatArray, ours: _Rows, theirs: _Rows
) -> tuple[float, float]:
    """AUC and its error, influences summed over groups (reference positive)."""
    placed = placements(reference_score, generated_score, ours.weight, theirs.weight)
    _, group = np.unique(np.concatenate([ours.group, theirs.group]), return_inverse=True)
    sums = np.bincount(group, np.concatenate(placed.influence))
    return placed.auc, float(np.sqrt(np.sum(sums**2)))


def _train(
    ours: _Rows,
    theirs: _Rows,
    categorical: npt.NDArray[np.bool_],
    options: ClassifierOptions,
    seed: int,
) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    weights = [_training_weight(rows, categorical, options, seed) for rows in (ours, theirs)]
    # Both classes weigh the same, so that a score of 1/2 means equal densities.
    weights = [w / max(float(np.sum(w)), 1e-300) * len(ours.weight) for w in weights]
    model = HistGradientBoostingClassifier(
        max_iter=options.trees,
        learning_rate=options.learning_rate,
        min_samples_leaf=options.min_leaf,
        categorical_features=categorical,
        early_stopping=False,
        random_state=seed % 2**32,
    )
    label = np.repeat([1, 0], [len(ours.weight), len(theirs.weight)])
    return model.fit(np.concatenate([ours.features, theirs.features]), label, sample_weight=np.concatenate(weights))


def _training_weight(
    rows: _Rows, categorical: npt.NDArray[np.bool_], options: ClassifierOptions, seed: int
) -> FloatArray:
    """Weights for training, not negative: as they are, or their conditional mean given the features."""
    if not np.any(rows.weight < 0):
        return rows.weight
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        max_iter=60,
        learning_rate=0.1,
        min_samples_leaf=max(options.min_leaf, 100),
        categorical_features=categorical,
        early_stopping=False,
        random_state=seed % 2**32,
    )
    mean = model.fit(rows.features, rows.weight).predict(rows.features)
    return np.maximum(np.asarray(mean, dtype=np.float64), 0.0)


def _score(model: Any, features: FloatArray) -> FloatArray:
    if len(features) == 0:
        return np.empty(0)
    return np.asarray(model.predict_proba(features)[:, 1], dtype=np.float64)


def _importance(model: Any, ours: _Rows, theirs: _Rows, rng: np.random.Generator) -> FloatArray:
    """Drop of the AUC when a feature is shuffled among the held-out rows, on at most `_IMPORTANCE_ROWS` of each."""
    ours, theirs = (rows.take(np.arange(len(rows.weight)) < _IMPORTANCE_ROWS) for rows in (ours, theirs))
    n = len(ours.weight)
    pooled = np.concatenate([ours.features, theirs.features])

    def area(features: FloatArray) -> float:
        score = _score(model, features)
        return placements(score[:n], score[n:], ours.weight, theirs.weight).auc

    full = area(pooled)
    drop = np.empty(pooled.shape[1])
    for j in range(pooled.shape[1]):
        shuffled = pooled.copy()
        shuffled[:, j] = rng.permutation(shuffled[:, j])
        drop[j] = full - area(shuffled)
    return drop


def _score_histogram(name: str, score: FloatArray, weight: FloatArray, edges: FloatArray) -> dict[str, FloatArray]:
    total = np.sum(weight)
    content = np.histogram(score, edges, weights=weight)[0]
    squares = np.histogram(score, edges, weights=weight**2)[0]
    return {name: content / total, f"{name}_error": np.sqrt(squares) / total}
