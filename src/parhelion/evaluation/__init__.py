"""Metrics that compare a generated sample with its reference, and the verdict on them.

Each metric is a pure function of two samples with signed weights, its options and a seed. It answers with quantities,
each a value with its standard error, and with its null: what reference against reference gives at the same sizes.
A new metric is one entry in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parhelion import noise
from parhelion.errors import ConfigError
from parhelion.evaluation.auc import auc, delong, placements
from parhelion.evaluation.auc_map import AucMapOptions, AucPair, auc_map
from parhelion.evaluation.classifier import ClassifierOptions, classifier
from parhelion.evaluation.correlation import CorrelationOptions, correlation
from parhelion.evaluation.distances import separation_power, wasserstein
from parhelion.evaluation.efficiency import Cut, EfficiencyOptions, efficiency
from parhelion.evaluation.histograms import HistogramOptions, histograms
from parhelion.evaluation.result import MetricResult, Quantity
from parhelion.evaluation.structure import StructureOptions, structure
from parhelion.evaluation.verdict import Outcome, Requirement, Verdict, judge
from parhelion.sample import Sample

__all__ = [
    "METRICS",
    "AucMapOptions",
    "AucPair",
    "ClassifierOptions",
    "CorrelationOptions",
    "Cut",
    "EfficiencyOptions",
    "HistogramOptions",
    "Metric",
    "MetricResult",
    "Outcome",
    "Quantity",
    "Requirement",
    "StructureOptions",
    "Verdict",
    "auc",
    "auc_map",
    "classifier",
    "correlation",
    "delong",
    "efficiency",
    "evaluate",
    "histograms",
    "judge",
    "placements",
    "separation_power",
    "structure",
    "thin",
    "wasserstein",
]


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Attributes
    ----------
    name
        Its key, and the name that study files use.
    options
        Frozen dataclass of its options, with defaults.
    compute
        Function of (reference, generated, options, *, seed) that returns one result for each thing compared.
    quantities
        Names of the quantities that requirements can bound; the first is the main one.
    """

    name: str
    options: type[Any]
    compute: Callable[..., list[MetricResult]]
    quantities: tuple[str, ...]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("histograms", HistogramOptions, histograms, ("chi2_ndf", "separation", "w1", "w1_scaled")),
        Metric("auc_map", AucMapOptions, auc_map, ("mean", "max", "chi2_ndf", "max_pull")),
        Metric("efficiency", EfficiencyOptions, efficiency, ("max", "mean", "chi2_ndf", "max_pull")),
        Metric("classifier", ClassifierOptions, classifier, ("auc",)),
        Metric("structure", StructureOptions, structure, ("differing", "max_difference", "chi2_ndf")),
        Metric("correlation", CorrelationOptions, correlation, ("max", "mean", "chi2_ndf", "max_pull")),
    )
}


def evaluate(
    reference: Sample,
    generated: Sample,
    metrics: Sequence[tuple[str, Any]],
    *,
    seed: int,
    null_reference: Sample | None = None,
    max_rows: int | None = None,
) -> list[MetricResult]:
    """Compute metrics between two samples that fit in memory.

    Parameters
    ----------
    reference, generated
        Samples with equal fields. If the generated rows carry the event ids and conditions of the reference, the rows
        are compared in pairs and what they share cancels.
    metrics
        Keys of `METRICS` with their options, in order.
    seed
        Seed of bootstraps, nulls and folds.
    null_reference
        A second, independent sample of the reference. If given, it takes the place of the generated sample in the
        null: null is what each metric finds between the two references. The p-values keep their resampled nulls.
    max_rows
        Keep about this many rows of each sample, chosen by group; all if None.

    Raises
    ------
    ConfigError
        A metric is unknown, or its options are of another metric.
    DataError
        The samples have different fields, no rows, or no positive sum of weights.
    """
    for name, options in metrics:
        _require_metric(name, options)
    ours, theirs = (thin(sample, max_rows, seed) for sample in (reference, generated))
    other = None if null_reference is None else thin(null_reference, max_rows, seed)
    results = []
    for name, options in metrics:
        found = METRICS[name].compute(ours, theirs, options, seed=seed)
        if other is not None:
            null = {r.on: r for r in METRICS[name].compute(ours, other, options, seed=seed)}
            found = [_with_null(result, null.get(result.on)) for result in found]
        results += found
    return results


def thin(sample: Sample, rows: int | None, seed: int) -> Sample:
    """Keep about `rows` rows, whole groups, chosen by hash of the group: the same ones in samples that share groups.

    A sample with no more rows than that, or `rows` None, is returned as it is.
    """
    if rows is None or len(sample) <= rows:
        return sample
    return sample.take(noise.uniform(seed, sample.group, 1)[:, 0] < rows / len(sample))


def _require_metric(name: str, options: object) -> None:
    if name not in METRICS:
        msg = f"metric {name} is unknown; choose one of {', '.join(METRICS)}"
        raise ConfigError(msg)
    expected = METRICS[name].options
    if not isinstance(options, expected):
        msg = f"metric {name}: options are {type(options).__name__}, expected {expected.__name__}"
        raise ConfigError(msg)


def _with_null(result: MetricResult, null: MetricResult | None) -> MetricResult:
    if null is None:
        return result
    quantities: Mapping[str, Quantity] = {
        key: replace(q, null=null.quantity(key).value, null_error=null.quantity(key).error)
        if np.isfinite(null.quantity(key).value)
        else q
        for key, q in result.quantities.items()
    }
    return replace(result, quantities=quantities, details={**result.details, "null_kind": "independent reference"})
