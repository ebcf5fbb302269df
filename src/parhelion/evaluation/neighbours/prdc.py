"""Precision, recall, density and coverage: whether each sample lies where the other one does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from parhelion.errors import ConfigError
from parhelion.evaluation.neighbours.nearest import (
    EqualRows,
    Thinning,
    exchanges,
    group_error,
    nearest,
    squared_distances,
)
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.features import Features
from parhelion.evaluation.samples.vectors import checked_pair, vectors_of
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NAME = "prdc"
QUANTITIES = ("coverage", "precision", "recall", "density")

_CURVE = 10
_LEAST_OUTSIDE = 20
# Each needs its own regression of the weights and its own search.
_SIGNED_REPLICAS = 20


@dataclass(frozen=True)
class PrdcOptions:
    """Options of `prdc`.

    Attributes
    ----------
    fields
        Responses or extra fields that are features; all responses if empty.
    conditions
        Whether the conditions are features too.
    neighbours
        The ball around a row reaches to its k-th nearest row of the same sample.
    rows
        Most rows of each sample; time grows with their square.
    replicas
        Draws of the null.
    """

    fields: tuple[str, ...] = ()
    conditions: bool = True
    neighbours: int = 5
    rows: int = 10_000
    replicas: int = 100

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.neighbours < 1 or self.rows < 4 * self.neighbours or self.replicas < 20:
            msg = (
                f"metric {NAME}: neighbours {self.neighbours}, rows {self.rows}, replicas {self.replicas}; expected at "
                "least 1, at least four times the neighbours, and at least 20"
            )
            raise ConfigError(msg)


@dataclass(frozen=True)
class Neighbourhoods:
    """What the balls of two samples contain.

    Attributes
    ----------
    covered
        Reference rows with a generated row in their ball, shape (n,).
    recalled
        Reference rows in the ball of a generated row, shape (n,).
    balls
        Number of reference rows whose ball holds each generated row, shape (m,).
    k
        Balls reach to the k-th nearest row of the same sample.
    """

    covered: BoolArray
    recalled: BoolArray
    balls: npt.NDArray[np.int64]
    k: int

    @property
    def points(self) -> dict[str, FloatArray]:
        """What each evaluated row says, whose mean is the number: over reference rows for coverage and recall."""
        return {
            "coverage": self.covered.astype(np.float64),
            "precision": (self.balls > 0).astype(np.float64),
            "recall": self.recalled.astype(np.float64),
            "density": self.balls / self.k,
        }

    @property
    def values(self) -> dict[str, float]:
        """Coverage, precision, recall, density."""
        return {name: float(np.mean(point)) for name, point in self.points.items()}


def neighbourhoods(reference: npt.ArrayLike, generated: npt.ArrayLike, k: int = 5) -> Neighbourhoods:
    """Balls of k nearest neighbours around the rows of two samples (Naeem et al., ICML 2020, section 3).

    With r_k(x) the distance of x to the k-th nearest other row of its own sample:

    - precision: share of generated rows y with |y - x| < r_k(x) for some reference row x;
    - recall: the same with the samples' roles swapped;
    - density: mean over y of the number of such x, over k; it may exceed 1;
    - coverage: share of x with |y - x| < r_k(x) for some y.

    Parameters
    ----------
    reference, generated
        Shapes (n, d) and (m, d), rows of equal weight on comparable scales.
    k
        Less than n and m.

    Returns
    -------
    Neighbourhoods
        O(n m) time, memory for blocks of it.

    Raises
    ------
    DataError
        The arrays do not fit together, have values that are not finite, or no more than k rows.
    """
    x, y, _, _ = checked_pair(reference, generated, None, None)
    ours, theirs = (nearest(rows, rows, k, exclude_self=True)[0][:, -1] ** 2 for rows in (x, y))
    centre = np.mean(x, axis=0)
    covered, recalled = np.zeros(len(x), dtype=bool), np.zeros(len(x), dtype=bool)
    balls = np.zeros(len(y), dtype=np.int64)
    for part, block in squared_distances(x - centre, y - centre):
        inside = block < ours[part, None]
        covered[part] = inside.any(axis=1)
        balls += inside.sum(axis=0)
        recalled[part] = (block < theirs).any(axis=1)
    return Neighbourhoods(covered, recalled, balls, k)


def expected_coverage(n: int, m: int, k: int) -> float:
    """Coverage where both samples are of one continuous distribution (Naeem et al. 2020, section 3).

    A reference row is missed if its k nearest rows among the n - 1 others and the m generated ones are all of
    the reference: 1 - prod_{a<k} (n - 1 - a) / (n + m - 1 - a), whatever the distribution.
    """
    a = np.arange(k)
    return float(1.0 - np.prod((n - 1 - a) / (n + m - 1 - a)))


def prdc(reference: Sample, generated: Sample, options: PrdcOptions, *, seed: int) -> list[MetricResult]:
    """Precision, recall, density and coverage of the features, standardised by the reference.

    Low coverage or recall: the generated sample misses what the reference has. Low precision or density: it has rows
    where the reference has none. Distances, and so the numbers, depend on the choice and scale of features and lose
    their meaning in very many dimensions.

    Null: the labels of the rows are exchanged at random by group (the two rows of one condition where samples are
    paired) and the numbers computed again; it is exact where rows may be exchanged. **P-values are lower tails**: the
    probability in the null of a number at most as large, since small numbers are the bad ones.

    Errors: the spread of the mean over evaluated rows, summed within groups; this spread or that of the null,
    whichever is larger, since the balls fluctuate too.

    Weights: a ball has no negative rows, so both samples are thinned to rows of equal weight first, equally many of
    each; see `Thinning`. With signed weights, labels are exchanged before weights are regressed and rows thinned, so
    that null and p-value know the noise of that (20 draws at most, with a normal tail as wide as the error, since what
    background the regression leaves is each sample's own).

    Parameters
    ----------
    reference, generated
        Samples with equal fields.
    options
        See `PrdcOptions`.
    seed
        Seed of thinning and null.

    Returns
    -------
    list of MetricResult
        One result with quantities `coverage` (main), `precision`, `recall`, `density`. Details: ``features``,
        ``neighbours``, ``used`` (rows of each sample), ``thinned``, ``expected_coverage`` (closed form),
        ``curve`` with ``k``, ``coverage``, ``error``, ``expected``, and ``uncovered`` and ``outside``: the mean
        features, in standard deviations of the reference, of reference rows that are not covered, and of generated
        rows in no ball, minus those of all such rows, with ``error`` (None where fewer than 20 rows are left), and
        ``share``.

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        Fewer than 4 k rows of equal weight are left.
    """
    vectors = vectors_of(reference, generated, NAME, options.fields, options.conditions, "standard")
    comparison, features, k = vectors.comparison, vectors.features, options.neighbours
    rng = np.random.default_rng(seed)
    thinning = Thinning(vectors, NAME, rows=options.rows, least=4 * k, seed=seed)
    equal = thinning.rows(rng)
    found = neighbourhoods(equal.reference, equal.generated, k)
    if thinning.signed:
        null = _thinned_again(thinning, k, min(options.replicas, _SIGNED_REPLICAS), rng)
    else:
        null = exchanged(equal, k, options.replicas, rng, paired=comparison.paired)
    points, n = found.points, len(equal.reference)
    quantities = {}
    for name in QUANTITIES:
        group = equal.reference_group if name in ("coverage", "recall") else equal.generated_group
        value = float(np.mean(points[name]))
        spread = float(np.std(null[name], ddof=1))
        error = max(group_error((points[name] - value) / n, group), spread)
        quantities[name] = Quantity(
            value=value,
            error=error,
            null=float(np.mean(null[name])),
            null_error=spread,
            p_value=_of_few(value, null[name], error) if thinning.signed else _lower_tail(value, null[name]),
        )
    return [
        MetricResult(
            name=NAME,
            on="conditions and responses" if options.conditions else "responses",
            main="coverage",
            quantities=quantities,
            details={
                **comparison.describe(),
                "features": list(features.names),
                "neighbours": k,
                "used": n,
                "thinned": thinning.thinned,
                "expected_coverage": expected_coverage(n, n, k),
                "curve": _curve(equal, min(_CURVE, n - 1)),
                "uncovered": _away(features, equal.reference, ~found.covered),
                "outside": _away(features, equal.generated, found.balls == 0),
                "caption": (
                    f"{100 * found.values['coverage']:.1f} % of the reference's rows have a generated row nearer than "
                    f"their own neighbour number {k}; {100 * quantities['coverage'].null:.1f} % where the samples do "
                    "not differ."
                ),
            },
            fields=options.fields,
        )
    ]


def exchanged(
    equal: EqualRows, k: int, replicas: int, rng: np.random.Generator, *, paired: bool
) -> dict[str, FloatArray]:
    """Draws of the four numbers where labels are exchanged, shape (replicas,) each.

    A label changes no distance, so one list of the nearest pooled rows of each row serves all draws. It is
    long enough for k rows of either label to be missing in less than one list of ten million.
    """
    pooled = equal.pooled
    _, near = nearest(pooled, pooled, min(6 * k + 30, len(pooled) - 1), exclude_self=True)
    draws: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    n = len(equal.reference)
    for label in exchanges(np.arange(2 * n) < n, equal.pooled_group, paired, replicas, rng):
        same = label[near] == label[:, None]
        inside = ~same & (np.cumsum(same, axis=1) < k)
        hit_by = [np.zeros(len(pooled), dtype=bool) for _ in range(2)]
        for hit, side in zip(hit_by, (label, ~label), strict=True):
            hit[near[side][inside[side]]] = True
        draws["coverage"].append(float(np.mean(inside[label].any(axis=1))))
        draws["precision"].append(float(np.mean(hit_by[0][~label])))
        draws["recall"].append(float(np.mean(hit_by[1][label])))
        draws["density"].append(float(inside[label].sum() / (k * max(int(np.sum(~label)), 1))))
    return {name: np.asarray(values) for name, values in draws.items()}


def _thinned_again(thinning: Thinning, k: int, replicas: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """The four numbers where labels are exchanged before thinning, shape (replicas,) each."""
    found = [neighbourhoods(e.reference, e.generated, k).values for e in thinning.null_rows(replicas, rng)]
    return {name: np.array([values[name] for values in found]) for name in QUANTITIES}


def _lower_tail(value: float, null: FloatArray) -> float:
    return float((1 + np.sum(null <= value)) / (1 + len(null)))


def _of_few(value: float, null: FloatArray, error: float) -> float:
    """Lower tail from few draws: one more of a normal variable, whose mean and spread they estimate.

    The draws all mix what background is left of both samples, and so scatter less than a sample whose background is its
    own (recall by a third, in toys): no spread below the error is believed.
    """
    spread = error * float(np.sqrt(1 + 1 / len(null)))
    if spread == 0:
        return 1.0 if value >= np.mean(null) else 1 / (1 + len(null))
    return float(student.cdf((value - float(np.mean(null))) / spread, len(null) - 1))


def _curve(equal: EqualRows, largest: int) -> dict[str, Any]:
    """Coverage against the number of neighbours."""
    own, _ = nearest(equal.reference, equal.reference, largest, exclude_self=True)
    other, _ = nearest(equal.reference, equal.generated, 1)
    n, k = len(own), np.arange(1, largest + 1)
    covered = (other < own).astype(np.float64)
    value = covered.mean(axis=0)
    error = [group_error((c - v) / n, equal.reference_group) for c, v in zip(covered.T, value, strict=True)]
    return {"k": k, "coverage": value, "error": error, "expected": [expected_coverage(n, n, int(j)) for j in k]}


def _away(features: Features, rows: FloatArray, away: BoolArray) -> dict[str, Any]:
    """Where the rows lie that no ball holds."""
    count = int(away.sum())
    known = count >= _LEAST_OUTSIDE
    shift = rows[away].mean(axis=0) - rows.mean(axis=0) if known else np.full(rows.shape[1], np.nan)
    error = rows[away].std(axis=0, ddof=1) / np.sqrt(count) if known else np.full(rows.shape[1], np.nan)
    return {
        "share": count / len(rows),
        "shift": dict(zip(features.names, shift, strict=True)),
        "error": dict(zip(features.names, error, strict=True)),
    }


METRIC = Metric(NAME, PrdcOptions, prdc, QUANTITIES, "neighbours")
