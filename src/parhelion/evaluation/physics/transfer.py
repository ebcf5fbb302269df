"""How much better one sample teaches than another: models trained on either, tested on the same rows.

The numeric core of `train_on_generated`, on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.evaluation.statistics.auc import placements
from parhelion.evaluation.statistics.regressed_weights import regressed_weight

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Score = Literal["auc", "r2"]

SMALLEST = 50
"""Least number of rows in a training or test set."""

_FOLDS = 2
# In both folds the same two sets of reference rows meet, one as teacher and one as test. What they do together
# is, to first order, the same number in both folds, and half of what teachers and tests together vary by in each; twice
# this covariance adds half of that variance for each fold.
_SHARED_FOLDS = 0.5
# Values of each feature that the trees tell apart.
_LEVELS = 128


@dataclass(frozen=True)
class Examples:
    """Rows of one sample as a task sees them.

    Attributes
    ----------
    features
        Shape (n, d).
    target
        Shape (n,): 0 or 1 for two categories, else a number.
    weight
        Signed weights, shape (n,).
    group
        Non-negative integers, shape (n,); rows of one group, in both samples, share fold and block.
    """

    features: FloatArray
    target: FloatArray
    weight: FloatArray
    group: IntArray

    def take(self, rows: npt.NDArray[np.generic]) -> Examples:
        """Rows by mask or index."""
        return Examples(self.features[rows], self.target[rows], self.weight[rows], self.group[rows])


@dataclass(frozen=True)
class Measured:
    """A number with its standard error.

    Attributes
    ----------
    value, error
        The number and its error.
    degrees
        Degrees of freedom of the squared error: few where it comes from the spread over a few blocks.
    """

    value: float
    error: float
    degrees: float = float("inf")


_UNKNOWN = Measured(float("nan"), float("nan"))


@dataclass(frozen=True)
class Transfer:
    """Scores of models at one training size; the first word says what taught, the second what tested.

    Attributes
    ----------
    size
        Rows in each training set.
    reference_reference, generated_reference, generated_generated, reference_generated
        Mean scores over blocks and folds; the latter two are NaN but at the largest size.
    gap
        Reference-trained minus generated-trained on reference rows.
    reverse_gap
        Reference-trained on reference rows minus reference-trained on generated rows; NaN but at the largest size.
    null_error
        Spread of `gap` between two sets of reference-trained models, at the same number of models.
    """

    size: int
    reference_reference: Measured
    generated_reference: Measured
    generated_generated: Measured
    reference_generated: Measured
    gap: Measured
    reverse_gap: Measured
    null_error: float


def transfer(
    ours: Examples,
    theirs: Examples,
    score: Score,
    *,
    sizes: tuple[int, ...] = (),
    blocks: int = 4,
    test_rows: int = 20_000,
    trees: int = 60,
    learning_rate: float = 0.1,
    min_leaf: int = 20,
    seed: int = 0,
) -> list[Transfer]:
    """Scores by training size, in ascending order.

    The groups fall into two folds, and the rows of a fold that is not tested into `blocks` training sets; a block holds
    the same groups of both samples where they share groups. Blocks and test rows are crossed random effects: the
    influences of the test rows on a mean gap, summed over groups, give the variance by test rows and by what both
    do together; the spread over blocks gives that by training, less what test rows alone make of it. The two folds
    test each other's teachers, so that what teachers and tests do together counts 1.5 times.

    Parameters
    ----------
    ours, theirs
        Reference and generated rows.
    score
        "auc" for targets 0 and 1, "r2" for numbers.
    sizes, blocks, test_rows, trees, learning_rate, min_leaf
        As in the options of `train_on_generated`.
    seed
        Seed of folds, blocks and trees.

    Raises
    ------
    DataError
        The samples are too small, or a training or test set has no positive sum of weights (or only one value).
    """
    rng = np.random.default_rng(seed)
    groups = int(max(ours.group.max(), theirs.group.max())) + 1
    place = rng.permutation(np.arange(groups, dtype=np.int64) % (_FOLDS * blocks))
    rank = rng.permutation(groups)
    fold, block = place % _FOLDS, place // _FOLDS
    cells = [_cells(examples, fold, block, rank, blocks) for examples in (ours, theirs)]
    largest = min(len(rows) for side in cells for row in side for rows in row)
    if largest < SMALLEST or any(size > largest for size in sizes):
        wanted = max((*sizes, SMALLEST))
        msg = (
            f"transfer: {len(ours.target)} reference and {len(theirs.target)} generated rows make training sets of "
            f"{largest} rows in {blocks} blocks, expected at least {wanted}; use fewer blocks or more rows"
        )
        raise DataError(msg)
    steps = sorted({*(sizes or [s for s in (largest // 16, largest // 4) if s >= SMALLEST]), largest})
    fitter = _Fitter(score, trees, learning_rate, min_leaf, seed)
    coarse = _digitised(ours, theirs)
    tests = [[_first_rows(rows, fold == k, rank, test_rows) for k in range(_FOLDS)] for rows in coarse]
    return [_one_size(coarse, tests, cells, fitter, size, full=size == largest) for size in steps]


def r_squared(
    target: npt.ArrayLike, prediction: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> tuple[float, FloatArray]:
    """Share of the variance explained, 1 - sum w (y - f)^2 / sum w (y - mean)^2, and each row's influence on it.

    Parameters
    ----------
    target, prediction
        Shapes (n,).
    weight
        Signed weights; ones if not given.

    Returns
    -------
    tuple
        R^2 and the influences, shape (n,), which sum to 0; the root of their sum of squares is the standard error for
        independent rows.

    Raises
    ------
    DataError
        The weights or the weighted variance of the target do not sum to a positive number.
    """
    y, f = np.asarray(target, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    total = float(np.sum(w))
    if not total > 0:
        msg = f"R²: the {len(y)} rows have sum of weights {total:.6g}, expected a positive number"
        raise DataError(msg)
    w = w / total
    loss, spread = (y - f) ** 2, (y - w @ y) ** 2
    error, variance = float(w @ loss), float(w @ spread)
    if not variance > 1e-24 * float(np.max(np.abs(y))) ** 2:
        msg = f"R²: the target has weighted variance {variance:.6g}, expected a positive number; it cannot be regressed"
        raise DataError(msg)
    influence: FloatArray = w * (-(loss - error) / variance + error / variance**2 * (spread - variance))
    return 1.0 - error / variance, influence


@dataclass(frozen=True)
class _Fitter:
    """Trains a model and tests it."""

    score: Score
    trees: int
    learning_rate: float
    min_leaf: int
    seed: int

    def train(self, rows: Examples, side: str) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        known = np.column_stack([rows.features, rows.target])
        weight = regressed_weight(known, rows.weight, min_leaf=max(self.min_leaf, len(known) // 100), seed=self.seed)
        if self.score == "auc":
            for value in (0.0, 1.0):
                if not np.sum(weight[rows.target == value]) > 0:
                    msg = (
                        f"transfer: a training set of {len(weight)} {side} rows has no positive weight in one of "
                        "the two categories; use fewer blocks, larger sizes or more rows"
                    )
                    raise DataError(msg)
        elif not np.sum(weight) > 0:
            msg = f"transfer: a training set of {len(weight)} {side} rows has no positive sum of weights"
            raise DataError(msg)
        kind = HistGradientBoostingClassifier if self.score == "auc" else HistGradientBoostingRegressor
        model = kind(
            max_iter=self.trees,
            learning_rate=self.learning_rate,
            min_samples_leaf=self.min_leaf,
            early_stopping=False,
            random_state=self.seed % 2**32,
        )
        given = None if np.ptp(weight) == 0 else weight / np.mean(weight)
        return model.fit(rows.features, rows.target, sample_weight=given)

    def test(self, model: Any, rows: Examples) -> tuple[float, FloatArray]:
        """Score and the influence of each row on it."""
        if self.score == "r2":
            return r_squared(rows.target, model.predict(rows.features), rows.weight)
        found = np.asarray(model.predict_proba(rows.features)[:, 1], dtype=np.float64)
        first = rows.target == 1
        placed = placements(found[first], found[~first], rows.weight[first], rows.weight[~first])
        influence = np.empty(len(found))
        influence[first], influence[~first] = placed.influence
        return placed.auc, influence


@dataclass(frozen=True)
class _Scores:
    """Scores of the models of all blocks on one set of test rows.

    `value` has shape (blocks,), `influence` (blocks, groups of both samples).
    """

    value: FloatArray
    influence: FloatArray

    def __sub__(self, other: _Scores) -> _Scores:
        return _Scores(self.value - other.value, self.influence - other.influence)

    def halves(self) -> _Scores:
        """Models of even blocks minus those of odd ones: the null."""
        pairs = len(self.value) // 2
        even, odd = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
        return _Scores(self.value[even] - self.value[odd], self.influence[even] - self.influence[odd])

    def variance(self) -> tuple[float, float]:
        """Variance of the mean over blocks, as of one of several folds whose mean is taken, and its own variance.

        The latter is that of the spread over blocks; the part of the test rows comes from many.
        """
        count = len(self.value)
        tests = float(np.sum(self.influence.mean(axis=0) ** 2))
        together = float(np.sum(np.var(self.influence, axis=0, ddof=1))) / count if count > 1 else tests
        blocks = float(np.var(self.value, ddof=1)) / count if count > 1 else 0.0
        teachers = max(blocks - together, 0.0)
        own = 2 * blocks**2 / (count - 1) if teachers > 0 else 0.0
        return tests + _SHARED_FOLDS * min(together, tests) + teachers, own


def _mean(folds: list[_Scores]) -> Measured:
    """Mean over folds and blocks; degrees of freedom by Satterthwaite (Biometrics Bulletin 2 (1946) 110)."""
    value = float(np.mean([scores.value.mean() for scores in folds]))
    total, own = np.sum([scores.variance() for scores in folds], axis=0)
    degrees = 2 * float(total) ** 2 / float(own) if own > 0 else float("inf")
    return Measured(value, float(np.sqrt(total)) / len(folds), degrees)


def _mean_difference(first: list[_Scores], second: list[_Scores]) -> Measured:
    return _mean([a - b for a, b in zip(first, second, strict=True)])


def _one_size(
    samples: tuple[Examples, Examples],
    tests: list[list[Examples]],
    cells: list[list[list[IntArray]]],
    fitter: _Fitter,
    size: int,
    *,
    full: bool,
) -> Transfer:
    """Train and test at one size; on generated rows only if `full`."""
    sides = ("reference", "generated")
    groups = int(max(rows.group.max() for rows in samples)) + 1
    found: dict[tuple[int, int], list[_Scores]] = {(teacher, test): [] for teacher in (0, 1) for test in (0, 1)}
    for k in range(_FOLDS):
        for teacher in (0, 1):
            models = [
                fitter.train(samples[teacher].take(cell[:size]), sides[teacher]) for cell in cells[teacher][1 - k]
            ]
            for test in (0, 1) if full else (0,):
                found[teacher, test].append(_tested(models, tests[test][k], fitter, groups))
    rr, gr, gg, rg = found[0, 0], found[1, 0], found[1, 1], found[0, 1]
    return Transfer(
        size=size,
        reference_reference=_mean(rr),
        generated_reference=_mean(gr),
        generated_generated=_mean(gg) if full else _UNKNOWN,
        reference_generated=_mean(rg) if full else _UNKNOWN,
        gap=_mean_difference(rr, gr),
        reverse_gap=_mean_difference(rr, rg) if full else _UNKNOWN,
        null_error=_null_error(rr),
    )


def _null_error(folds: list[_Scores]) -> float:
    """Spread of a gap between teachers of one law, at the number of teachers of the gap itself."""
    blocks = len(folds[0].value)
    return _mean([scores.halves() for scores in folds]).error * float(np.sqrt((blocks // 2) / blocks))


def _tested(models: list[Any], rows: Examples, fitter: _Fitter, groups: int) -> _Scores:
    found = [fitter.test(model, rows) for model in models]
    return _Scores(
        np.array([value for value, _ in found]),
        np.stack([np.bincount(rows.group, influence, groups) for _, influence in found]),
    )


def _digitised(ours: Examples, theirs: Examples) -> tuple[Examples, Examples]:
    """Features as the number of the pooled quantile that they lie above.

    Trees depend on the order of values alone, and would make such bins for each training set, slowly where it has
    weights.
    """
    pooled = np.concatenate([ours.features, theirs.features])
    at = np.linspace(0.0, 1.0, _LEVELS + 1)[1:-1]
    edges = [np.unique(np.quantile(column, at, method="inverted_cdf")) for column in pooled.T]

    def coarse(examples: Examples) -> Examples:
        columns = [np.searchsorted(e, c, side="left") for e, c in zip(edges, examples.features.T, strict=True)]
        return replace(examples, features=np.column_stack(columns).astype(np.float64))

    return coarse(ours), coarse(theirs)


def _first_rows(rows: Examples, chosen: npt.NDArray[np.bool_], rank: IntArray, at_most: int) -> Examples:
    """Rows of the chosen groups; the first ones, by random rank of the group, if there are more than `at_most`."""
    found = np.flatnonzero(chosen[rows.group])
    if len(found) > at_most:
        found = np.sort(found[np.argsort(rank[rows.group[found]], kind="stable")[:at_most]])
    return rows.take(found)


def _cells(examples: Examples, fold: IntArray, block: IntArray, rank: IntArray, blocks: int) -> list[list[IntArray]]:
    """Rows of each fold and block, whole groups in random order."""
    f, b = fold[examples.group], block[examples.group]
    order = np.lexsort((rank[examples.group], b, f))
    bounds = np.cumsum(np.bincount(f * blocks + b, minlength=_FOLDS * blocks))[:-1]
    parts = np.split(order, bounds)
    return [parts[k * blocks : (k + 1) * blocks] for k in range(_FOLDS)]
