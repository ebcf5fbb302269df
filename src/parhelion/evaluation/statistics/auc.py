"""Area under the ROC curve for signed weights, its standard error, and its bootstrap.

For scores s of positives (weights w, sum W) and t of negatives (weights v, sum V)

    AUC = sum_ij w_i v_j [1(s_i > t_j) + 1/2 1(s_i = t_j)] / (W V),

the weighted Mann-Whitney statistic. With signed weights it is an unbiased estimate of the same probability, but the
ROC curve need not be monotone and the number may leave [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, ShapeError
from parhelion.evaluation.samples.bootstrap import poisson_counts
from parhelion.weights import summarise

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Placements:
    """Placement values of all rows, and the AUC.

    Attributes
    ----------
    auc
        Area under the curve.
    positive
        Share of the negatives' weight below each positive (half of it where equal), shape (n,).
    negative
        Share of the positives' weight above each negative (half of it where equal), shape (m,).
    positive_weight, negative_weight
        Weights divided by their sum, shapes (n,) and (m,).
    """

    auc: float
    positive: FloatArray
    negative: FloatArray
    positive_weight: FloatArray
    negative_weight: FloatArray

    @property
    def influence(self) -> tuple[FloatArray, FloatArray]:
        """Influence of each positive and each negative on the AUC, shapes (n,) and (m,); each sums to 0."""
        return (
            self.positive_weight * (self.positive - self.auc),
            self.negative_weight * (self.negative - self.auc),
        )


def placements(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    positive_weight: npt.ArrayLike | None = None,
    negative_weight: npt.ArrayLike | None = None,
) -> Placements:
    """Placement values (DeLong, DeLong & Clarke-Pearson 1988, eq. 4-5; with weights) in O(N log N).

    Parameters
    ----------
    positive, negative
        Scores, shapes (n,) and (m,); positives should score higher.
    positive_weight, negative_weight
        Signed weights, same shapes; ones if not given.

    Raises
    ------
    DataError
        One side is empty or its weights do not have a positive sum.
    ShapeError
        Scores and weights differ in length.
    """
    s, w = _scores(positive, positive_weight, "positive")
    t, v = _scores(negative, negative_weight, "negative")
    above = _share_below(t, v, s)
    below = 1.0 - _share_below(s, w, t)
    return Placements(float(np.sum(w * above)), above, below, w, v)


def auc(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    positive_weight: npt.ArrayLike | None = None,
    negative_weight: npt.ArrayLike | None = None,
) -> float:
    """Area under the ROC curve; see `placements` for the arguments and errors."""
    return placements(positive, negative, positive_weight, negative_weight).auc


def delong(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    positive_weight: npt.ArrayLike | None = None,
    negative_weight: npt.ArrayLike | None = None,
) -> tuple[float, float]:
    """AUC and its standard error for independent rows (DeLong et al. 1988, eq. 6).

    With weights, each sum of squares is corrected by n_eff / (n_eff - 1), which is n / (n - 1) for equal weights.
    """
    found = placements(positive, negative, positive_weight, negative_weight)
    variance = 0.0
    for influence, weight in zip(found.influence, (found.positive_weight, found.negative_weight), strict=True):
        effective = summarise(weight).effective
        variance += float(np.sum(influence**2)) * effective / max(effective - 1.0, 1e-9)
    return found.auc, float(np.sqrt(variance))


class ResampledAuc:
    """AUC of many bootstrap replicas with one sort.

    Parameters
    ----------
    positive, negative, positive_weight, negative_weight
        As in `placements`.

    Notes
    -----
    A replica only changes how often each row counts. The scores are sorted once, and each negative learns how many
    positives lie below it; a cumulative sum over the positives then answers every negative: O(N log N) once, then
    O(N) a replica.
    """

    def __init__(
        self,
        positive: npt.ArrayLike,
        negative: npt.ArrayLike,
        positive_weight: npt.ArrayLike | None = None,
        negative_weight: npt.ArrayLike | None = None,
    ) -> None:
        s, w = _scores(positive, positive_weight, "positive")
        t, v = _scores(negative, negative_weight, "negative")
        self._up, self._down = np.argsort(s, kind="stable"), np.argsort(t, kind="stable")
        s, t = s[self._up], t[self._down]
        self._positive, self._negative = w[self._up][:, None], v[self._down][:, None]
        self._left = np.searchsorted(s, t, side="left")
        self._right = np.searchsorted(s, t, side="right")
        self._tied = not np.array_equal(self._left, self._right)

    def __call__(self, counts: npt.NDArray[np.integer]) -> FloatArray:
        """AUC of each replica.

        Parameters
        ----------
        counts
            How often each row occurs, shape (n + m, replicas): positives first, then negatives.

        Returns
        -------
        ndarray
            Shape (replicas,). NaN where a replica's sum of weights is not positive on both sides.
        """
        n = len(self._up)
        return self.in_order(counts[:n][self._up], counts[n:][self._down])

    def in_order(self, positive: npt.NDArray[np.integer], negative: npt.NDArray[np.integer]) -> FloatArray:
        """AUC of each replica, for counts of shapes (n, replicas) and (m, replicas) in the order of rising scores."""
        cumulative = np.zeros((len(positive) + 1, positive.shape[1]))
        np.cumsum(self._positive * positive, axis=0, out=cumulative[1:])
        q = self._negative * negative
        below = cumulative[self._left]
        if self._tied:
            below = 0.5 * (below + cumulative[self._right])
        total, other = cumulative[-1], np.sum(q, axis=0)
        area = np.full(len(total), np.nan)
        np.divide(np.einsum("ij,ij->j", q, below), total * other, out=area, where=(total > 0) & (other > 0))
        out: FloatArray = 1.0 - area
        return out


def auc_replicas(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    positive_weight: npt.ArrayLike | None = None,
    negative_weight: npt.ArrayLike | None = None,
    *,
    positive_group: npt.ArrayLike | None = None,
    negative_group: npt.ArrayLike | None = None,
    replicas: int = 200,
    seed: int,
) -> FloatArray:
    """AUC of bootstrap replicas, with one sort for all of them (see `ResampledAuc`).

    A replica draws how often each group occurs, Poisson with mean 1.

    Parameters
    ----------
    positive, negative, positive_weight, negative_weight
        As in `placements`.
    positive_group, negative_group
        Integers, shapes (n,) and (m,): rows of one group occur together; a group may have rows on both sides. Give
        both or neither; every row is its own group if not given.
    replicas
        Number of replicas, at least 2.
    seed
        Seed of the draws.

    Returns
    -------
    ndarray
        Shape (replicas,). NaN where a replica's sum of weights is not positive.

    Raises
    ------
    DataError
        One side is empty, its weights do not have a positive sum, or the groups of only one side are given.
    ShapeError
        Scores, weights and groups differ in length.
    """
    area = ResampledAuc(positive, negative, positive_weight, negative_weight)
    n, m = np.size(positive), np.size(negative)
    group = _groups(positive_group, negative_group, n, m)
    size = n + m if group is None else int(group.max()) + 1
    found = np.empty(replicas)
    for b, counts in enumerate(poisson_counts(size, replicas, np.random.default_rng(seed), block=1)):
        # Independent rows are exchangeable, so that counts can be drawn in the order of the scores.
        found[[b]] = area.in_order(counts[:n], counts[n:]) if group is None else area(counts[group])
    return found


def bootstrap_auc(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    positive_weight: npt.ArrayLike | None = None,
    negative_weight: npt.ArrayLike | None = None,
    *,
    positive_group: npt.ArrayLike | None = None,
    negative_group: npt.ArrayLike | None = None,
    replicas: int = 200,
    seed: int,
) -> tuple[float, float]:
    """AUC and its bootstrap error, for signed weights and for rows in groups.

    See `auc_replicas` for the arguments. The error is known to 1 / sqrt(2 replicas) of itself.

    Raises
    ------
    DataError
        As `auc_replicas`, or more than a tenth of the replicas have no positive sum of weights.
    ShapeError
        As `auc_replicas`.
    """
    value = auc(positive, negative, positive_weight, negative_weight)
    found = auc_replicas(
        positive,
        negative,
        positive_weight,
        negative_weight,
        positive_group=positive_group,
        negative_group=negative_group,
        replicas=replicas,
        seed=seed,
    )
    usable = found[np.isfinite(found)]
    if replicas < 2 or len(usable) < 0.9 * replicas:
        msg = (
            f"AUC: {len(usable)} of {replicas} bootstrap replicas have a positive sum of weights, expected at least 2 "
            "and nine in ten; the rows are too few or their weights cancel"
        )
        raise DataError(msg)
    return value, float(np.std(usable, ddof=1))


def roc_curve(
    positive: FloatArray,
    negative: FloatArray,
    positive_weight: FloatArray,
    negative_weight: FloatArray,
    points: int = 101,
) -> tuple[FloatArray, FloatArray]:
    """ROC curve at equally spaced ranks of the pooled scores.

    Returns
    -------
    tuple of ndarray
        False positive rate and true positive rate, shape (`points`,) each, from (0, 0) to (1, 1).
    """
    pooled = np.sort(np.concatenate([positive, negative]))
    at = np.quantile(pooled, np.linspace(1.0, 0.0, points))
    rates = []
    for scores, weight in ((negative, negative_weight), (positive, positive_weight)):
        order = np.argsort(scores)
        cumulative = np.r_[0.0, np.cumsum(weight[order])] / np.sum(weight)
        rate = 1.0 - cumulative[np.searchsorted(scores[order], at, side="left")]
        rate[0], rate[-1] = 0.0, 1.0
        rates.append(rate)
    return rates[0], rates[1]


def _scores(scores: npt.ArrayLike, weight: npt.ArrayLike | None, side: str) -> tuple[FloatArray, FloatArray]:
    s = np.asarray(scores, dtype=np.float64)
    w = np.ones(s.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if s.ndim != 1 or w.shape != s.shape:
        msg = f"AUC: {side} scores have shape {s.shape} and weights {w.shape}, expected (n,) for both"
        raise ShapeError(msg)
    total = float(np.sum(w))
    if not total > 0:
        msg = f"AUC: the {len(s)} {side} rows have sum of weights {total:.6g}, expected a positive number"
        raise DataError(msg)
    return s, w / total


def _groups(
    positive: npt.ArrayLike | None, negative: npt.ArrayLike | None, n: int, m: int
) -> npt.NDArray[np.int64] | None:
    """Groups of all rows, positives first, as 0, 1, 2, ..."""
    if positive is None and negative is None:
        return None
    if positive is None or negative is None:
        msg = f"AUC: groups of the {'negative' if positive is None else 'positive'} rows alone; give both or neither"
        raise DataError(msg)
    given = np.asarray(positive), np.asarray(negative)
    if given[0].shape != (n,) or given[1].shape != (m,):
        msg = f"AUC: groups have shapes {given[0].shape} and {given[1].shape}, expected ({n},) and ({m},)"
        raise ShapeError(msg)
    return np.unique(np.concatenate(given), return_inverse=True)[1]


def _share_below(scores: FloatArray, weight: FloatArray, at: FloatArray) -> FloatArray:
    """Weight of `scores` below each of `at`, half of it where equal; `weight` sums to 1."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    cumulative = np.r_[0.0, np.cumsum(weight[order])]
    left = cumulative[np.searchsorted(ordered, at, side="left")]
    right = cumulative[np.searchsorted(ordered, at, side="right")]
    middle: FloatArray = 0.5 * (left + right)
    return middle
