"""Density ratios from a classifier: how large they get, where they leave 1, and whether they explain the difference."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from parhelion.errors import ConfigError
from parhelion.evaluation.classifiers.blame import blame_features, blame_regions, reliability
from parhelion.evaluation.classifiers.cross_fit import (
    Choice,
    Columns,
    Plan,
    Rows,
    Scores,
    cross_fit,
    grouped_auc,
    largest_of_normals,
    prepare,
)
from parhelion.evaluation.classifiers.density_ratio import QUANTITIES, calibrate, log_odds, log_ratio, ratio_terms
from parhelion.evaluation.classifiers.learners import LEARNERS, Learner, LearnerSettings
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.comparison import compare
from parhelion.evaluation.statistics.shares import score_histogram
from parhelion.sample import Sample
from parhelion.weights import scale_to_unit_mean

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NAME = "classifier_weights"

_HISTOGRAM_BINS = 60
_FARTHEST = 4.0
_NEAREST = 0.05
_NULL_DRAWS = 100
_NULL_ROWS = 20_000


@dataclass(frozen=True)
class ClassifierWeightsOptions:
    """Options of `classifier_weights`.

    Attributes
    ----------
    differences
        Pairs of scalar fields whose difference is a feature of its own.
    extra
        Extra fields (observables) used as features as well.
    conditions
        Whether the conditions are features.
    learner
        Classifier that makes the ratios: ``trees``, ``quadratic`` or ``network``.
    closure
        Classifier that looks for what is left after reweighting; another one than `learner` also sees what that one
        is blind to.
    folds
        Number of folds; the ratios of each come from a classifier trained on the others.
    trees, learning_rate, min_leaf
        Boosted trees: their number, their learning rate, the least number of rows in a leaf (a twentieth of the rows
        of both samples if that is less). They are fewer, slower and coarser than those of `classifier`: ratios suffer
        more than ranks from what trees learn by heart.
    low, high
        Generated rows with a ratio below `low`, and reference rows with one above `high`, are counted as tails.
    bins
        Quantile bins of each feature in which the mean ratio is taken.
    regions
        Largest number of regions that a decision tree cuts out.
    """

    differences: tuple[tuple[str, str], ...] = ()
    extra: tuple[str, ...] = ()
    conditions: bool = True
    learner: Learner = "trees"
    closure: Learner = "quadratic"
    folds: int = 2
    trees: int = 100
    learning_rate: float = 0.05
    min_leaf: int = 200
    low: float = 0.1
    high: float = 10.0
    bins: int = 10
    regions: int = 5

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.folds < 2 or self.trees < 1 or self.min_leaf < 1 or not 0 < self.learning_rate <= 1:
            msg = (
                f"metric {NAME}: folds {self.folds}, trees {self.trees}, min_leaf {self.min_leaf}, learning_rate "
                f"{self.learning_rate:g}; expected at least 2, 1 and 1, and above 0 up to 1"
            )
            raise ConfigError(msg)
        if not 0 < self.low < 1 < self.high:
            msg = f"metric {NAME}: low {self.low:g}, high {self.high:g}; expected low between 0 and 1, and high above 1"
            raise ConfigError(msg)
        if self.bins < 2 or not 2 <= self.regions <= 20:
            msg = f"metric {NAME}: bins {self.bins}, regions {self.regions}; expected at least 2, and 2 to 20"
            raise ConfigError(msg)
        for learner in (self.learner, self.closure):
            if learner not in LEARNERS:
                msg = f"metric {NAME}: learner {learner}, expected one of {', '.join(LEARNERS)}"
                raise ConfigError(msg)


@dataclass(frozen=True)
class _Ratios:
    """Calibrated ratios of all rows, and the fit behind them."""

    reference: FloatArray
    generated: FloatArray
    # Of each fold, intercept and slope fitted to its held-out log-odds, and the groups' influence on them.
    fits: FloatArray
    influence: FloatArray
    odds: tuple[FloatArray, FloatArray]


def classifier_weights(
    reference: Sample, generated: Sample, options: ClassifierWeightsOptions, *, seed: int
) -> list[MetricResult]:
    """Ratio of the densities w = p_ref / p_gen at each row, from a classifier, and what it says.

    The weight of a generated row says how wrong the surrogate is there (Das et al., arXiv:2305.16774): generated rows
    with small weights lie where the reference has next to nothing, reference rows with large weights lie where the
    surrogate hardly goes. Rows are scored by a classifier trained on the other folds (by group), and the scores'
    log-odds are calibrated by a line fitted on held-out rows of other folds; a falling line stands for no knowledge and
    gives w = 1.

    Quantities: `spread`, the standard deviation of log10 w over the generated rows, is the main one: 0.04 means that
    the density is off by 10 % where generated rows are. `closure` is the AUC of a second classifier, trained and
    cross-fitted on the generated rows with weights w against the reference; 0.5 says that the weights explain all it
    can find. `ess_loss` is the share of the generated rows' effective size that reweighting costs,
    1 - E[w]^2 / E[w^2]. `tail_generated` and `tail_reference` are the shares of generated rows with w < `low` and
    of reference rows with w > `high`. `calibration` is the larger of |E_gen[w] - 1| and |E_ref[1 / w] - 1|, both 0 for
    exact ratios.

    Errors: influences of the rows for given ratios, plus those of the calibration's parameters with the numerical
    derivative by each, summed over groups; the classifier is taken as given. Those of `closure` are as in
    `classifier`. Variances of the parameters and of `closure` are doubled, since folds that train and test each other
    are not independent (see `classifier`). A share of 0 has the error of one row.

    Null: where nothing differs the calibration's slope is 0 but for fluctuations, whatever was trained, and nothing
    needs to be trained again: slopes are drawn from their measured error, negative ones are cut at 0 as in the data,
    and the numbers computed again. The p-values of `spread`, `ess_loss` and the tails, which all rise with the slope,
    are that of the slope: one-sided, normal; for a tail that is empty it is 1. That of `calibration` is that of
    the larger of two correlated normal numbers.

    Parameters
    ----------
    reference, generated
        Samples with equal fields. Signed weights are regressed for the training and taken as they are elsewhere.
    options
        See `ClassifierWeightsOptions`.
    seed
        Seed of folds and training.

    Returns
    -------
    list of MetricResult
        One result. Details: ``features``, ``learner``, ``closure_learner``, ``folds``, ``low``, ``high``, ``slopes``
        and ``slope_errors`` (K), ``generated_mean`` (E_gen[w]), ``reference_mean`` (E_ref[1 / w]), ``histogram``
        with ``edges`` of log10 w (B + 1), ``reference``, ``generated`` and their ``_error`` (B, shares of the weight),
        ``reliability`` with ``predicted`` share of the reference at equal sizes, ``observed``, ``error``,
        ``by_feature`` (see `blame_features`), ``regions`` (list of `Region` as dicts).

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        A fold has no positive sum of weights on one side, the reweighted rows have none, or the scores cannot be
        calibrated.
    """
    comparison = compare(reference, generated)
    rng = np.random.default_rng(seed)
    choice = Choice(options.conditions, options.extra, options.differences)
    columns, ours, theirs = prepare(comparison, choice, options.folds, NAME, rng)
    least = min(options.min_leaf, max(5, (len(ours.weight) + len(theirs.weight)) // 20))
    settings = LearnerSettings(options.trees, options.learning_rate, least)
    plan = Plan((options.learner,), columns.categorical, settings, options.folds)
    scores = cross_fit(ours, theirs, plan, seed=seed)[options.learner]
    ratios = _calibrated(scores, ours, theirs, options.folds)
    found = _quantities(ratios, ours, theirs, options, np.random.default_rng([seed, 1]))
    closure = _closure(ours, theirs, ratios, plan, options, seed)
    quantities = {"spread": found.pop("spread"), "closure": closure, **found}
    # Ratios of these rows come from models that have not seen them; the tree sees their features, not their labels.
    first = ours.fold == 0, theirs.fold == 0
    regions = blame_regions(
        columns,
        ours.take(first[0]),
        theirs.take(first[1]),
        ratios.reference[first[0]],
        ratios.generated[first[1]],
        options.regions,
    )
    return [
        MetricResult(
            name=NAME,
            on="conditions and responses" if options.conditions else "responses",
            main="spread",
            quantities=quantities,
            details={
                **comparison.describe(),
                **_details(ratios, ours, theirs, columns, options),
                "regions": [asdict(region) for region in regions],
                "caption": (
                    f"Ratios of reference to generated density spread by {quantities['spread'].value:.3g} in log10 "
                    f"(null {quantities['spread'].null:.3g}); after reweighting by them the AUC is "
                    f"{closure.value:.4f}, and {100 * quantities['ess_loss'].value:.3g} % of the effective size is "
                    "lost."
                ),
            },
            fields=columns.fields,
        )
    ]


def _calibrated(scores: Scores, ours: Rows, theirs: Rows, folds: int) -> _Ratios:
    """Calibrate each fold by the mean line of the others."""
    odds = log_odds(scores.reference), log_odds(scores.generated)
    groups = int(max(ours.group.max(), theirs.group.max())) + 1
    fits, influence = np.zeros((folds, 2)), np.zeros((folds, 2, groups))
    for k in range(folds):
        tests = ours.fold == k, theirs.fold == k
        line = calibrate(odds[0][tests[0]], odds[1][tests[1]], ours.weight[tests[0]], theirs.weight[tests[1]])
        fits[k] = line.parameters
        group = np.concatenate([ours.group[tests[0]], theirs.group[tests[1]]])
        for i in range(2):
            both = np.concatenate([line.reference[:, i], line.generated[:, i]])
            sums = np.bincount(group, both, groups)
            # What cancels exactly within a group leaves rounding behind.
            sums[np.abs(sums) < 1e-9 * np.bincount(group, np.abs(both), groups)] = 0.0
            influence[k, i] = sums
    return _Ratios(*_apply(odds, fits, ours, theirs), fits, influence, odds)


def _apply(
    odds: tuple[FloatArray, FloatArray], fits: FloatArray, ours: Rows, theirs: Rows, *, falling: bool = False
) -> tuple[FloatArray, FloatArray]:
    folds = len(fits)
    found = np.zeros(len(odds[0])), np.zeros(len(odds[1]))
    for k in range(folds):
        line = np.mean(np.delete(fits, k, axis=0), axis=0)
        for out, s, rows in zip(found, odds, (ours, theirs), strict=True):
            out[rows.fold == k] = log_ratio(s[rows.fold == k], line, falling=falling)
    return found


def _quantities(
    ratios: _Ratios, ours: Rows, theirs: Rows, options: ClassifierWeightsOptions, rng: np.random.Generator
) -> dict[str, Quantity]:
    w, v = ours.weight / np.sum(ours.weight), theirs.weight / np.sum(theirs.weight)

    def terms(fits: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        return ratio_terms(*_apply(ratios.odds, fits, ours, theirs), w, v, options.low, options.high)

    values, first, second = terms(ratios.fits)
    groups = ratios.influence.shape[2]
    group = np.concatenate([ours.group, theirs.group])
    sums = [np.bincount(group, column, groups) for column in np.concatenate([first, second]).T]
    influence: FloatArray = np.stack(sums, axis=1).astype(np.float64)
    spread = np.sqrt(2.0 * np.sum(ratios.influence**2, axis=2))
    for k, i in np.ndindex(*ratios.fits.shape):
        if spread[k, i] > 0:
            step = np.zeros_like(ratios.fits)
            step[k, i] = spread[k, i]
            slope = (terms(ratios.fits + step)[0] - terms(ratios.fits - step)[0]) / (2 * spread[k, i])
            influence += np.sqrt(2.0) * ratios.influence[k, i][:, None] * slope
    covariance = influence.T @ influence
    error = dict(zip(QUANTITIES, np.sqrt(np.diag(covariance)), strict=True))
    value = dict(zip(QUANTITIES, values, strict=True))
    p_slope = _slope_p_value(ratios, ours, theirs, spread)
    null = _null(ratios, ours, theirs, spread[:, 1], options)
    found = {}
    for name in ("spread", "ess_loss", "tail_generated", "tail_reference"):
        draws = null[name]
        # No row in the tail: the true share may still be that of one row.
        one = float(np.max(np.abs(w if name == "tail_reference" else v)))
        empty = name.startswith("tail") and value[name] == 0
        found[name] = Quantity(
            value=max(float(value[name]), 0.0) if name == "ess_loss" else float(value[name]),
            # Where the slope is cut at 0 the numbers do not move with it; they are known no better than in the null.
            error=one if empty else max(float(error[name]), float(np.std(draws))),
            null=float(np.mean(draws)),
            null_error=max(float(np.std(draws)), one) if name.startswith("tail") else float(np.std(draws)),
            p_value=1.0 if empty else p_slope,
            limit=0.0,
        )
    found["calibration"] = _calibration_quantity(values[4:], covariance[4:, 4:], rng)
    return found


def _slope_p_value(ratios: _Ratios, ours: Rows, theirs: Rows, spread: FloatArray) -> float:
    """P-value of the folds' mean slope, each in units of the spread of its log-odds."""
    folds = len(ratios.fits)
    unit = np.zeros(folds)
    for k in range(folds):
        pooled = np.concatenate([s[rows.fold == k] for s, rows in zip(ratios.odds, (ours, theirs), strict=True)])
        unit[k] = np.std(pooled)
    error = float(np.sqrt(np.sum((unit * spread[:, 1]) ** 2)))
    slope = float(unit @ ratios.fits[:, 1])
    return float(norm.sf(slope / error)) if error > 0 else float(slope <= 0)


def _null(
    ratios: _Ratios, ours: Rows, theirs: Rows, error: FloatArray, options: ClassifierWeightsOptions
) -> dict[str, FloatArray]:
    """The numbers at equally likely null slopes, shape (draws,) each, on at most `_NULL_ROWS` rows of each side."""
    kept = [np.arange(len(s)) < _NULL_ROWS for s in ratios.odds]
    first, second = (rows.take(keep) for rows, keep in zip((ours, theirs), kept, strict=True))
    odds = ratios.odds[0][kept[0]], ratios.odds[1][kept[1]]
    middle = np.array(
        [
            np.mean(np.concatenate([odds[0][first.fold == k], odds[1][second.fold == k], [0.0]]))
            for k in range(len(error))
        ]
    )
    # Lines that cross log w = 0 amid the rows they are for: of two folds each has the line of the other.
    centre = middle[::-1] if len(error) == 2 else np.full(len(error), np.mean(middle))
    # Fluctuations of the folds go together where nothing differs (see `classifier`), hence one number for all slopes.
    z = norm.ppf((np.arange(_NULL_DRAWS) + 0.5) / _NULL_DRAWS)
    w, v = (np.ones(len(rows.weight)) / len(rows.weight) for rows in (first, second))
    draws = np.zeros((_NULL_DRAWS, len(QUANTITIES)))
    for row in np.flatnonzero(z > 0):
        slope = z[row] * error / np.sqrt(2.0)
        fits = np.column_stack([-slope * centre, slope])
        draws[row] = ratio_terms(*_apply(odds, fits, first, second), w, v, options.low, options.high)[0]
    return dict(zip(QUANTITIES, draws.T, strict=True))


def _calibration_quantity(means: FloatArray, covariance: FloatArray, rng: np.random.Generator) -> Quantity:
    """The larger deviation of the mean of w over generated and of 1 / w over reference rows."""
    value = float(np.max(np.abs(means)))
    if value < 1e-12:
        # Ratios of 1, but for rounding.
        covariance = np.zeros((2, 2))
    both = np.block([[covariance, -covariance], [-covariance, covariance]])
    p_value, null, width = largest_of_normals(value, both, rng)
    error = float(np.sqrt(covariance[np.argmax(np.abs(means)), np.argmax(np.abs(means))]))
    return Quantity(value, error, null, width, p_value if error > 0 else 1.0, limit=0.0)


def _closure(
    ours: Rows, theirs: Rows, ratios: _Ratios, plan: Plan, options: ClassifierWeightsOptions, seed: int
) -> Quantity:
    """AUC of a classifier between the reference and the reweighted generated rows.

    Here a falling line is followed: the folds that make weights for each other also train for each other, and what
    this does to the AUC is 0 on average only if slopes above and below 0 are treated alike.
    """
    mass = theirs.weight * np.exp(_apply(ratios.odds, ratios.fits, ours, theirs, falling=True)[1])
    reweighted = replace(theirs, weight=scale_to_unit_mean(mass, source=f"metric {NAME}: reweighted generated rows"))
    scores = cross_fit(ours, reweighted, replace(plan, learners=(options.closure,)), seed=seed + 1)[options.closure]
    test = grouped_auc(scores, ours, reweighted, options.folds)
    p_value = float(norm.sf((test.auc - 0.5) / test.error)) if test.error > 0 else 1.0
    return Quantity(test.auc, test.error, 0.5, test.error, p_value, limit=0.5)


def _details(
    ratios: _Ratios, ours: Rows, theirs: Rows, columns: Columns, options: ClassifierWeightsOptions
) -> dict[str, Any]:
    log10 = [x / np.log(10.0) for x in (ratios.reference, ratios.generated)]
    low = float(np.clip(min(np.min(x) for x in log10), -_FARTHEST, -_NEAREST))
    high = float(np.clip(max(np.max(x) for x in log10), _NEAREST, _FARTHEST))
    edges = np.linspace(low, high, _HISTOGRAM_BINS + 1)
    histogram: dict[str, Any] = {"edges": edges}
    for name, x, rows in zip(("reference", "generated"), log10, (ours, theirs), strict=True):
        histogram |= score_histogram(name, np.clip(x, edges[0], edges[-1]), rows.weight, edges)
    w, v = ours.weight / np.sum(ours.weight), theirs.weight / np.sum(theirs.weight)
    return {
        "features": columns.names,
        "learner": options.learner,
        "closure_learner": options.closure,
        "folds": options.folds,
        "low": options.low,
        "high": options.high,
        "slopes": ratios.fits[:, 1],
        "slope_errors": np.sqrt(2.0 * np.sum(ratios.influence[:, 1] ** 2, axis=1)),
        "generated_mean": float(v @ np.exp(ratios.generated)),
        "reference_mean": float(w @ np.exp(-ratios.reference)),
        "histogram": histogram,
        "reliability": reliability(ours, theirs, ratios.reference, ratios.generated),
        "by_feature": blame_features(columns, ours, theirs, np.exp(ratios.generated), options.bins),
    }


METRIC = Metric(
    NAME,
    ClassifierWeightsOptions,
    classifier_weights,
    ("spread", "closure", "ess_loss", "tail_generated", "tail_reference", "calibration"),
    "classifiers",
)
