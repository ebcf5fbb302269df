"""Where density ratios leave 1: by feature, and in regions of a shallow decision tree; and whether they are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from parhelion.evaluation.classifiers.cross_fit import Columns, Rows
from parhelion.evaluation.samples.binning import bin_index, make_edges

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A part of the feature space that the ratios single out.

    Attributes
    ----------
    cuts
        What bounds it, in words.
    reference, generated
        Shares of the two samples' weight inside.
    ratio, ratio_error
        Reference share over generated share, which no classifier is needed for, and its clustered error; NaN where
        the generated share is not positive.
    weight, weight_error
        Mean density ratio of the generated rows inside, and its error for given ratios.
    """

    cuts: str
    reference: float
    generated: float
    ratio: float
    ratio_error: float
    weight: float
    weight_error: float


def mean_by_bin(values: FloatArray, weight: FloatArray, group: IntArray, index: IntArray, bins: int) -> FloatArray:
    """Mean of a number in bins, and its clustered error for given numbers.

    Parameters
    ----------
    values, weight, group, index
        The number, signed weight, group and bin (0 to `bins` - 1) of each row, shape (n,).
    bins
        Number of bins.

    Returns
    -------
    ndarray
        Means and errors, shape (2, bins); NaN where the sum of weights is not positive.
    """
    total = np.bincount(index, weight, bins)
    usable = total > 0
    safe = np.where(usable, total, 1.0)
    mean = np.bincount(index, weight * values, bins) / safe
    variance = clustered_variance(weight * (values - mean[index]) / safe[index], group, index, bins)
    return np.where(usable, np.stack([mean, np.sqrt(variance)]), np.nan)


def clustered_variance(influence: FloatArray, group: IntArray, index: IntArray, bins: int) -> FloatArray:
    """Sum over groups of squared sums of influences, in each bin, shape (bins,)."""
    _, cell = np.unique(group.astype(np.int64) * bins + index, return_inverse=True)
    sums = np.bincount(cell, influence)
    where = np.zeros(len(sums), dtype=np.int64)
    where[cell] = index
    found: FloatArray = np.bincount(where, sums**2, bins).astype(np.float64)
    return found


def blame_features(columns: Columns, ours: Rows, theirs: Rows, ratio: FloatArray, bins: int) -> dict[str, object]:
    """Mean density ratio of the generated rows against each feature.

    Parameters
    ----------
    columns
        What the features are.
    ours, theirs
        Reference rows, whose quantiles make the bins, and generated rows.
    ratio
        Density ratio of each generated row, shape (m,).
    bins
        Number of quantile bins; a category has one bin a value.

    Returns
    -------
    dict
        By feature: ``edges`` or ``labels``, ``mean``, ``error``, and ``pull``, the root mean square over bins of
        (mean - 1) / error. In descending order of pull.
    """
    found: dict[str, dict[str, object]] = {}
    pulls: dict[str, float] = {}
    for j, name in enumerate(columns.names):
        values = theirs.features[:, j]
        if columns.labels[j]:
            index, count = values.astype(np.int64), len(columns.labels[j])
            what: dict[str, object] = {"labels": columns.labels[j]}
        else:
            edges = make_edges(ours.features[:, j], ours.weight, (), bins, "classifier_weights")
            count = len(edges) - 1
            index = np.clip(bin_index(values, edges), 0, count - 1)
            what = {"edges": edges, "unit": columns.units[j]}
        mean, error = mean_by_bin(ratio, theirs.weight, theirs.group, index, count)
        seen = np.isfinite(mean) & (error > 0)
        pulls[name] = float(np.sqrt(np.mean(((mean[seen] - 1) / error[seen]) ** 2))) if seen.any() else 0.0
        found[name] = {**what, "mean": mean, "error": error, "pull": pulls[name]}
    return {name: found[name] for name in sorted(found, key=lambda name: -pulls[name])}


def blame_regions(
    columns: Columns, ours: Rows, theirs: Rows, reference_log: FloatArray, generated_log: FloatArray, leaves: int
) -> list[Region]:
    """Regions of a shallow regression tree on log w, those with the largest misplaced weight first.

    Give rows whose ratios come from a model that has not seen them: the tree then knows their features and not which
    sample they are of, so that the shares inside its leaves are unbiased.

    Parameters
    ----------
    columns
        What the features are.
    ours, theirs
        Reference and generated rows.
    reference_log, generated_log
        log w of them.
    leaves
        Largest number of regions.
    """
    from sklearn.tree import DecisionTreeRegressor

    features = np.concatenate([ours.features, theirs.features])
    w, v = ours.weight / np.sum(ours.weight), theirs.weight / np.sum(theirs.weight)
    # Signed weights only steer where the cuts go; the shares below take them as they are.
    weight = np.maximum(np.concatenate([w, v]), 0.0)
    rows = len(features)
    tree = DecisionTreeRegressor(
        max_leaf_nodes=max(leaves, 2), min_samples_leaf=max(1, min(rows // 4, max(25, rows // 100))), random_state=0
    ).fit(features, np.concatenate([reference_log, generated_log]), sample_weight=weight)
    leaf = np.asarray(tree.apply(features), dtype=np.int64)
    boxes = _boxes(tree.tree_, columns)
    ratio = np.exp(generated_log)
    found = []
    for node in np.unique(leaf):
        inside = leaf == node
        found.append(_region(boxes[int(node)], inside[: len(w)], inside[len(w) :], w, v, ours, theirs, ratio))
    return sorted(found, key=lambda r: -abs(r.reference - r.generated))


def reliability(
    ours: Rows, theirs: Rows, reference_log: FloatArray, generated_log: FloatArray, bins: int = 15
) -> dict[str, FloatArray]:
    """Whether ratios mean what they claim: shares of the reference among rows with similar ratios.

    Parameters
    ----------
    ours, theirs
        Reference and generated rows.
    reference_log, generated_log
        log w of them.
    bins
        Quantile bins of log w in both samples together; equal values make fewer.

    Returns
    -------
    dict
        ``predicted`` share of the reference at equal sizes, mean of w / (1 + w); ``observed`` share, and its clustered
        ``error``; NaN where a bin's sum of weights is not positive.
    """
    x = np.concatenate([reference_log, generated_log])
    w, v = ours.weight / np.sum(ours.weight), theirs.weight / np.sum(theirs.weight)
    weight, label = np.concatenate([w, v]), np.repeat([1.0, 0.0], [len(w), len(v)])
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)))
    count = max(len(edges) - 1, 1)
    index = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, count - 1)
    group = np.concatenate([ours.group, theirs.group])
    predicted = mean_by_bin(expit(x), weight, group, index, count)[0]
    observed, error = mean_by_bin(label, weight, group, index, count)
    return {"predicted": predicted, "observed": observed, "error": error}


def _region(
    cuts: str,
    ours_in: BoolArray,
    theirs_in: BoolArray,
    w: FloatArray,
    v: FloatArray,
    ours: Rows,
    theirs: Rows,
    ratio: FloatArray,
) -> Region:
    reference, generated = float(np.sum(w[ours_in])), float(np.sum(v[theirs_in]))
    if generated <= 0:
        return Region(cuts, reference, generated, *[float("nan")] * 4)
    quotient = reference / generated
    influence = np.concatenate([w * (ours_in - reference), -quotient * v * (theirs_in - generated)]) / generated
    sums = np.bincount(np.concatenate([ours.group, theirs.group]), influence)
    mean, error = mean_by_bin(ratio, v, theirs.group, theirs_in.astype(np.int64), 2)[:, 1]
    return Region(cuts, reference, generated, quotient, float(np.sqrt(np.sum(sums**2))), float(mean), float(error))


def _boxes(tree: Any, columns: Columns) -> dict[int, str]:
    """Words for each leaf of a fitted tree."""
    left, right = tree.children_left, tree.children_right
    words = {}
    stack: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
    while stack:
        node, bounds = stack.pop()
        if left[node] == right[node]:
            parts = [_cut(columns, j, low, high) for j, (low, high) in sorted(bounds.items())]
            words[node] = " and ".join(parts) or "all rows"
            continue
        j, at = int(tree.feature[node]), float(tree.threshold[node])
        low, high = bounds.get(j, (-np.inf, np.inf))
        stack += [(int(left[node]), {**bounds, j: (low, min(high, at))})]
        stack += [(int(right[node]), {**bounds, j: (max(low, at), high)})]
    return words


def _cut(columns: Columns, j: int, low: float, high: float) -> str:
    name, unit = columns.names[j], f" {columns.units[j]}" if columns.units[j] else ""
    if columns.labels[j]:
        inside = [label for code, label in enumerate(columns.labels[j]) if low < code <= high]
        return f"{name} = {inside[0]}" if len(inside) == 1 else f"{name} in ({', '.join(inside)})"
    if not np.isfinite(low):
        return f"{name} < {high:.3g}{unit}"
    if not np.isfinite(high):
        return f"{name} > {low:.3g}{unit}"
    return f"{low:.3g} < {name} < {high:.3g}{unit}"
