"""Memorisation: whether generated rows lie nearer to training rows than held-out reference rows do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import norm

from parhelion import noise
from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.neighbours.nearest import nearest
from parhelion.evaluation.neighbours.nearness import NearShare, RankTest, near_share, rank_test
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.binning import weighted_quantile
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.evaluation.samples.features import choose_features
from parhelion.evaluation.statistics.shares import score_histogram
from parhelion.sample import Sample
from parhelion.weights import summarise

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NAME = "memorisation"

# Two neighbours and something to be near to.
_LEAST_ROWS = 10
# In standard deviations: a response copied through a network of single precision is as far from its original.
_ROUNDING = 1e-6
_LEAKED = 0.01
_CURVE_BINS = 60


@dataclass(frozen=True)
class MemorisationOptions:
    """Options of `memorisation`.

    Attributes
    ----------
    fields
        Responses or extra fields that are features; all responses if empty.
    level
        A generated row counts as near if its distance is below this quantile of the reference's distances.
    cells
        Cells of k-means on the training rows, for the statistic by cell.
    min_effective
        Cells with fewer effective rows of either sample are left out.
    rows
        Most rows of the reference and of the generated sample. The training sample is never thinned: a copy of a row
        that was left out would not be found.
    replicas
        Draws of the null.
    """

    fields: tuple[str, ...] = ()
    level: float = 0.01
    cells: int = 20
    min_effective: float = 20.0
    rows: int = 10_000
    replicas: int = 400

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.level <= 0.5 or self.cells < 1 or self.rows < _LEAST_ROWS or self.replicas < 20:
            msg = (
                f"metric {NAME}: level {self.level:g}, cells {self.cells}, rows {self.rows}, replicas {self.replicas}; "
                f"expected above 0 up to 0.5, at least 1, at least {_LEAST_ROWS} and at least 20"
            )
            raise ConfigError(msg)


def memorisation(
    reference: Sample, generated: Sample, options: MemorisationOptions, *, seed: int, train: Sample
) -> list[MetricResult]:
    """Distances to the nearest training row: generated rows against reference rows that training has not seen.

    Given the training rows, the distances of reference rows are a sample of what honest rows have, so no model of
    distances is needed, and none of the training sample's size: both sides share its rows. Two results: on conditions
    and responses together, where a repeated training event shows, and on responses alone, where a response shows that
    was copied to another condition (a library does this by design). In the latter, a response that training has
    more than once (all zero, a count) is structure and not a secret; such rows are left out of the training rows, if
    at least half of them remain.

    Quantities:

    - `copying`: share of generated rows nearer to a training row than the 1st percentile (`level`) of the reference's
      distances, over the reference's share. 1 where nothing is copied; with a share c of copies about
      1 + c (1 / level - 1). Its p-value is the upper tail.
    - `copying_local`: the same with the ratio of the distances to the nearest and the second nearest training row,
      which knows no density: in regions of few training rows a copy stands out here only.
    - `z_u`: Mann-Whitney z of all distances (Meehan, Chaudhuri & Dasgupta, AISTATS 2020, section 4). **Negative: nearer
      to training rows than the reference, copying**; positive: farther, underfitting. It sees any change of density
      too: a generated sample that is too narrow lies nearer to training rows without a copy. P-value: lower tail.
    - `c_t`: mean z of the cells of k-means on the training rows, weighted by the reference's share of each (same paper,
      section 4); the same signs and tail.

    Errors and nulls: influence functions summed over groups, and random signs of them, see `comparison`. Numbers are
    linear in the weights of reference and generated rows, which may be signed; training rows count whatever their
    weight, since each could be copied.

    Parameters
    ----------
    reference, generated
        Samples with equal fields; the reference must not share rows with the training sample.
    options
        See `MemorisationOptions`.
    seed
        Seed of the choice of rows, of k-means and of the null.
    train
        The training sample.

    Returns
    -------
    list of MetricResult
        On "conditions and responses" and on "responses" (one only where there are no conditions). Details:
        ``features``, ``train_rows``, ``used`` (rows of each sample), ``repeated`` (training rows left out),
        ``level``, ``threshold``, ``shares`` (of each sample's weight at or below it), ``median`` (distance of each
        sample), ``histogram`` with ``edges`` (log10 of the distance), ``reference``, ``generated`` and errors (shares),
        ``ratio_histogram`` (the same of d1 / d2), ``cells`` with ``z`` and ``share``.

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        The training sample lacks fields, has fewer than 10 rows, or shares rows with the reference.
    """
    comparison = _fewer(compare(reference, generated), options.rows, seed)
    _require_fields(train, reference)
    rng = np.random.default_rng(seed)
    results = []
    spaces = (
        ((True, "conditions and responses"), (False, "responses"))
        if reference.schema.condition
        else ((False, "responses"),)
    )
    for conditions, on in spaces:
        features = choose_features(reference, NAME, fields=options.fields, conditions=conditions, scaling="standard")
        known = features.of(train)
        kept = np.ones(len(train), dtype=bool) if conditions else _singular(known)
        rows = [features.of(sample) for sample in (comparison.reference, comparison.generated)]
        found = [nearest(part, known[kept], 2) for part in rows]
        if on == spaces[0][1]:
            _require_held_out(comparison.reference, train, found[0][0][:, 0], np.flatnonzero(kept)[found[0][1][:, 0]])
        about = {
            "features": list(features.names),
            "train_rows": len(train),
            "repeated": int(np.sum(~kept)),
            "used": [len(part) for part in rows],
        }
        cells = _cells(known[kept], rows, options.cells, seed)
        results.append(_one_space(comparison, options, on, [d for d, _ in found], cells, about, rng))
    return results


def _one_space(
    comparison: Comparison,
    options: MemorisationOptions,
    on: str,
    distances: list[FloatArray],
    cells: list[IntArray],
    about: dict[str, Any],
    rng: np.random.Generator,
) -> MetricResult:
    w, v = comparison.reference.weight, comparison.generated.weight
    first = [d[:, 0] for d in distances]
    ratio = [np.divide(d[:, 0], d[:, 1], out=np.ones(len(d)), where=d[:, 1] > 0) for d in distances]
    quantities = {}
    near = near_share(first[0], first[1], w, v, options.level, _ROUNDING)
    quantities["copying"] = _copying(comparison, near, options.replicas, rng)
    local = near_share(ratio[0], ratio[1], w, v, options.level, _ROUNDING)
    quantities["copying_local"] = _copying(comparison, local, options.replicas, rng)
    quantities["z_u"] = _z(comparison, rank_test(first[0], first[1], w, v))
    quantities["c_t"], by_cell = _by_cell(comparison, first, cells, options)
    copying = quantities["copying"]
    return MetricResult(
        name=NAME,
        on=on,
        main="copying",
        quantities=quantities,
        details={
            **comparison.describe(),
            **about,
            "level": options.level,
            "threshold": near.threshold,
            "shares": {"reference": near.reference, "generated": near.generated},
            "median": {
                side: float(weighted_quantile(d, weight, [0.5])[0])
                for side, d, weight in zip(("reference", "generated"), first, (w, v), strict=True)
            },
            "histogram": _histogram([np.log10(np.maximum(d, 0.1 * _ROUNDING)) for d in first], w, v, None),
            "ratio_histogram": _histogram(ratio, w, v, np.linspace(0.0, 1.0, 41)),
            "cells": by_cell,
            "caption": (
                f"{100 * near.generated:.2g} % of the generated rows are as near to a training row, in {on}, as the "
                f"nearest {100 * near.reference:.2g} % of the reference rows: {copying.value:.3g} times as many."
            ),
        },
        fields=options.fields,
    )


def _column(values: FloatArray) -> sparse.csr_matrix:
    return sparse.csr_matrix(values[:, None])


def _copying(comparison: Comparison, near: NearShare, replicas: int, rng: np.random.Generator) -> Quantity:
    null = Influence(comparison, _column(near.reference_null), _column(near.generated_null))
    true = Influence(comparison, _column(near.reference_influence), _column(near.generated_influence))
    draws = 1.0 + null.null(replicas, rng)[:, 0]
    return against_null(near.copying, float(true.error()[0]), draws)


def _z(comparison: Comparison, test: RankTest) -> Quantity:
    null = Influence(comparison, _column(test.reference_null), _column(test.generated_null)).error()[0]
    # The placements' influence is that of the AUC itself and not of a difference: reference rows are turned.
    true = Influence(comparison, _column(-test.reference_influence), _column(test.generated_influence)).error()[0]
    if not null > 0:
        return Quantity(0.0, 0.0, 0.0, 0.0, 1.0)
    z = float((test.auc - 0.5) / null)
    return Quantity(z, float(true / null), 0.0, 1.0, float(norm.cdf(z)))


def _by_cell(
    comparison: Comparison, distance: list[FloatArray], cells: list[IntArray], options: MemorisationOptions
) -> tuple[Quantity, dict[str, Any]]:
    """C_T: z of each cell with enough rows, and their mean weighted by the reference's share of the cell."""
    samples = (comparison.reference, comparison.generated)
    weights = [sample.weight / np.sum(sample.weight) for sample in samples]
    influence = [np.zeros(len(d)) for d in distance]
    shares, z = [], []
    for cell in range(options.cells):
        masks = [c == cell for c in cells]
        least = options.min_effective if options.cells > 1 else 0.0
        inside = [summarise(sample.weight[mask]) for sample, mask in zip(samples, masks, strict=True)]
        if not all(part.total > 0 and part.effective >= least for part in inside):
            continue
        test = rank_test(
            *(d[m] for d, m in zip(distance, masks, strict=True)),
            *(weight[m] for weight, m in zip(weights, masks, strict=True)),
        )
        null = Influence(
            comparison, _spread(test.reference_null, masks[0]), _spread(test.generated_null, masks[1])
        ).error()[0]
        if not null > 0:
            continue
        share = float(np.sum(weights[0][masks[0]]))
        shares.append(share)
        z.append(float((test.auc - 0.5) / null))
        for total, part, mask in zip(influence, (test.reference_null, test.generated_null), masks, strict=True):
            total[mask] += share * part / null
    if not z and options.cells > 1:
        # Small samples are one cell.
        return _by_cell(comparison, distance, [np.zeros_like(c) for c in cells], replace(options, cells=1))
    if not z:
        return Quantity(0.0, 0.0, 0.0, 0.0, 1.0), {"z": [], "share": []}
    total_share = float(np.sum(shares))
    value = float(np.dot(shares, z)) / total_share
    error = float(Influence(comparison, *(_column(u / total_share) for u in influence)).error()[0])
    return Quantity(value, error, 0.0, error, float(norm.cdf(value / error)) if error > 0 else 1.0), {
        "z": z,
        "share": shares,
    }


def _spread(values: FloatArray, mask: BoolArray) -> sparse.csr_matrix:
    full = np.zeros(len(mask))
    full[mask] = values
    return _column(full)


def _cells(known: FloatArray, rows: list[FloatArray], count: int, seed: int) -> list[IntArray]:
    """Cell of each row: nearest centre of k-means on the training rows."""
    from sklearn.cluster import MiniBatchKMeans

    distinct = min(count, len(np.unique(known[: 50 * count], axis=0)))
    model = MiniBatchKMeans(n_clusters=distinct, random_state=seed % 2**32, n_init=1, batch_size=2048).fit(known)
    return [nearest(part, model.cluster_centers_, 1)[1][:, 0] for part in rows]


def _histogram(values: list[FloatArray], w: FloatArray, v: FloatArray, edges: FloatArray | None) -> dict[str, Any]:
    if edges is None:
        pooled = np.concatenate(values)
        low, high = float(pooled.min()), float(pooled.max())
        edges = np.linspace(low - 1e-3, max(high, low + 1e-3) + 1e-3, _CURVE_BINS + 1)
    found: dict[str, Any] = {"edges": edges}
    for side, x, weight in zip(("reference", "generated"), values, (w, v), strict=True):
        found |= score_histogram(side, x, weight, edges)
    return found


def _fewer(comparison: Comparison, rows: int, seed: int) -> Comparison:
    """About `rows` rows of each sample, whole groups by hash."""
    masks = []
    for sample in (comparison.reference, comparison.generated):
        keep = np.ones(len(sample), dtype=bool)
        if len(sample) > rows:
            keep = noise.uniform(seed, sample.group, 1, stage=1)[:, 0] < rows / len(sample)
        masks.append(keep)
    return comparison if all(m.all() for m in masks) else comparison.select(*masks)


def _singular(rows: FloatArray) -> BoolArray:
    """Rows that occur once; all of them where that would leave less than half."""
    _, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    found: BoolArray = counts[inverse.reshape(-1)] == 1
    return found if np.sum(found) >= max(0.5 * len(rows), _LEAST_ROWS) else np.ones(len(rows), dtype=bool)


def _require_fields(train: Sample, reference: Sample) -> None:
    known = {f.name: f for f in train.schema.fields}
    for field in reference.schema.condition + reference.schema.response:
        if field.name not in known or known[field.name].shape != field.shape:
            msg = (
                f"metric {NAME}: {train.source}: no field {field.name} of shape {field.shape}, expected the fields of "
                f"{reference.source}; give the sample that the surrogate was trained on"
            )
            raise DataError(msg)
    if len(train) < _LEAST_ROWS:
        msg = f"metric {NAME}: {train.source}: {len(train)} training rows, expected at least {_LEAST_ROWS}"
        raise DataError(msg)


def _require_held_out(reference: Sample, train: Sample, distance: FloatArray, row: IntArray) -> None:
    """Refuse a reference that shares rows (event id and values) with the training sample."""
    leaked = float(np.mean((distance == 0) & (train.event_id[row] == reference.event_id)))
    if leaked > _LEAKED:
        msg = (
            f"metric {NAME}: {100 * leaked:.3g} % of the rows of {reference.source} are rows of {train.source}; "
            "expected a reference that training has not seen"
        )
        raise DataError(msg)


METRIC = Metric(
    NAME,
    MemorisationOptions,
    memorisation,
    ("copying", "copying_local", "z_u", "c_t"),
    "neighbours",
    needs_train=True,
)
