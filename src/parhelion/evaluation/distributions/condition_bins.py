"""Bins of a condition, joined until both samples have enough rows in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.evaluation.samples.binning import bin_index, make_edges, scalar
from parhelion.evaluation.samples.comparison import Comparison
from parhelion.evaluation.statistics.one_dimensional import effective_rows
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ConditionBins:
    """Bins of a condition.

    Attributes
    ----------
    ours, theirs
        Bin of each row of the reference and of the generated sample, -1 where it is in none that is used.
    labels
        One text a bin.
    low, high
        Edges of the bins, shape (k,); a category has its code twice.
    effective
        Effective number of rows in each bin, shape (k, 2): reference, generated.
    joined, left_out
        How many bins were joined to a neighbour, and how many are not used.
    unused
        Shares of the weight outside of the bins used: reference, generated.
    """

    ours: IntArray
    theirs: IntArray
    labels: tuple[str, ...]
    low: FloatArray
    high: FloatArray
    effective: FloatArray
    joined: int
    left_out: int
    unused: tuple[float, float]


def condition_edges(comparison: Comparison, x: Field, edges: tuple[float, ...], bins: int, metric: str) -> FloatArray:
    """Edges of the bins of a condition, shape (B + 1,), in its unit; none for a category.

    Given edges are taken as they are. Otherwise bins have equal weight in the reference, and the outer ones reach to
    the last row of either sample.

    Raises
    ------
    ConfigError
        Given edges do not increase.
    """
    if x.kind == "category":
        return np.empty(0)
    ours, theirs = (scalar(sample, x.name, metric)[1] for sample in (comparison.reference, comparison.generated))
    found = make_edges(ours, comparison.reference.weight, edges, bins, metric)
    if not edges:
        found[0] = min(found[0], ours.min(), theirs.min())
        found[-1] = max(found[-1], np.nextafter(max(ours.max(), theirs.max()), np.inf))
    return found


def bin_rows(comparison: Comparison, x: Field, edges: FloatArray, min_rows: float, metric: str) -> ConditionBins:
    """Put rows into bins of a condition, and join or leave out bins with too few.

    Parameters
    ----------
    comparison
        The samples. Paired rows are in the bin of the reference's condition.
    x
        The condition.
    edges
        Edges of the bins; ignored for a category.
    min_rows
        Effective number of rows that each bin needs in both samples.
    metric
        Name for messages.

    Raises
    ------
    DataError
        No bin has them.
    """
    samples = comparison.reference, comparison.generated
    ours, theirs = (scalar(sample, x.name, metric)[1] for sample in samples)
    # Conditions of pairs may differ by rounding, which must not part them.
    theirs = ours if comparison.paired else theirs
    codes = np.asarray(x.values, dtype=np.float64)
    category = x.kind == "category"
    count = len(codes) if category else len(edges) - 1
    first, second = (
        np.argmax(values[:, None] == codes, axis=1) if category else bin_index(values, edges)
        for values in (ours, theirs)
    )
    first, second = (np.where((cell >= 0) & (cell < count), cell, -1) for cell in (first, second))
    merged = np.arange(count) if category else _join(*_contents((first, second), samples, count), min_rows)
    total = int(merged.max()) + 1
    first, second = (np.where(cell >= 0, merged[cell], -1) for cell in (first, second))
    effective = effective_rows(*_contents((first, second), samples, total))
    used = np.flatnonzero(np.all(effective >= min_rows, axis=1))
    if not len(used):
        msg = (
            f"metric {metric}: no bin of {x.name} has {min_rows:g} effective rows in both samples (the fullest has "
            f"{effective.min(axis=1).max():.3g}); give more rows, fewer bins or a smaller min_rows"
        )
        raise DataError(msg)
    place = np.full(total + 1, -1)
    place[used] = np.arange(len(used))
    first, second = place[first], place[second]
    if category:
        low = high = codes[used]
        labels = tuple(x.label_of(code) for code in low)
    else:
        low = np.array([edges[:-1][merged == b][0] for b in used])
        high = np.array([edges[1:][merged == b][-1] for b in used])
        labels = tuple(f"{a:.4g} to {b:.4g}" for a, b in zip(low, high, strict=True))
    lost, gone = (
        float(np.sum(sample.weight[cell < 0]) / np.sum(sample.weight))
        for cell, sample in zip((first, second), samples, strict=True)
    )
    joined, left_out = count - total, total - len(used)
    return ConditionBins(first, second, labels, low, high, effective[used], joined, left_out, (lost, gone))


def _contents(
    cells: tuple[IntArray, IntArray], samples: tuple[Sample, Sample], count: int
) -> tuple[FloatArray, FloatArray]:
    """Sums of weights and of their squares in each bin, shape (count, 2) each."""
    content, squares = np.zeros((count, 2)), np.zeros((count, 2))
    for side, (cell, sample) in enumerate(zip(cells, samples, strict=True)):
        weight = np.where(cell >= 0, sample.weight, 0.0)
        content[:, side] = np.bincount(np.maximum(cell, 0), weight, count)
        squares[:, side] = np.bincount(np.maximum(cell, 0), weight**2, count)
    return content, squares


def _join(content: FloatArray, squares: FloatArray, minimum: float) -> IntArray:
    """Joined bin of each bin: neighbours are put together until their sums have `minimum` effective rows."""
    label = np.zeros(len(content), dtype=np.int64)
    current, start = 0, 0
    for b in range(len(content)):
        label[b] = current
        inside = slice(start, b + 1)
        if np.all(effective_rows(content[inside].sum(axis=0), squares[inside].sum(axis=0)) >= minimum):
            current, start = current + 1, b + 1
    if current and start < len(content):
        label[label == current] = current - 1
    return label
