"""Several metrics of two samples, and the rows that they are computed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parhelion import noise
from parhelion.errors import ConfigError
from parhelion.evaluation.registry import METRICS
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.sample import Sample


def evaluate(
    reference: Sample,
    generated: Sample,
    metrics: Sequence[tuple[str, Any]],
    *,
    seed: int,
    train: Sample | None = None,
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
    train
        Rows that the surrogate learned from, for the metrics that compare with them. They are not thinned: a
        copy of a row that was left out would not be found.
    null_reference
        A second, independent sample of the reference. If given, it takes the place of the generated sample in the
        null: null is what each metric finds between the two references. The p-values keep their resampled nulls.
    max_rows
        Keep about this many rows of each sample, chosen by group; all if None. See `thin_both`.

    Raises
    ------
    ConfigError
        A metric is unknown, its options are of another metric, or it needs the training sample and there is none.
    DataError
        The samples have different fields, no rows, or no positive sum of weights.
    """
    for name, options in metrics:
        _require_metric(name, options)
        _require_train(METRICS[name], train)
    ours, theirs = thin_both(reference, generated, max_rows, seed)
    other = None if null_reference is None else thin(null_reference, max_rows, seed)
    results = []
    for name, options in metrics:
        metric = METRICS[name]
        known = {"train": train} if metric.needs_train or (metric.uses_train and train is not None) else {}
        found = METRICS[name].compute(ours, theirs, options, seed=seed, **known)
        if other is not None:
            null = {r.on: r for r in METRICS[name].compute(ours, other, options, seed=seed, **known)}
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


def thin_both(reference: Sample, generated: Sample, rows: int | None, seed: int) -> tuple[Sample, Sample]:
    """`thin` two samples; of generated rows that are draws for the reference's rows all draws of a kept row are kept.

    Draws of a posterior are such: a multiple of the reference's rows, in the groups of these.
    """
    ours = thin(reference, rows, seed)
    if rows is None or len(generated) <= len(reference) or not np.isin(generated.group, reference.group).all():
        return ours, thin(generated, rows, seed)
    return ours, generated if ours is reference else generated.take(np.isin(generated.group, ours.group))


def _require_metric(name: str, options: object) -> None:
    if name not in METRICS:
        msg = f"metric {name} is unknown; choose one of {', '.join(METRICS)}"
        raise ConfigError(msg)
    expected = METRICS[name].options
    if not isinstance(options, expected):
        msg = f"metric {name}: options are {type(options).__name__}, expected {expected.__name__}"
        raise ConfigError(msg)


def _require_train(metric: Metric, train: Sample | None) -> None:
    """Find out before the work, not after it."""
    if metric.needs_train and train is None:
        msg = f"metric {metric.name} compares with the training sample, and none is given; give it (--train)"
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
