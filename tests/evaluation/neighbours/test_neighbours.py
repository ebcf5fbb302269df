"""Nearest neighbours against brute force, and thinning to equal weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from parhelion.errors import DataError, ShapeError
from parhelion.evaluation.neighbours import memorisation, nplm, prdc
from parhelion.evaluation.neighbours.nearest import Thinning, exchanges, group_error, nearest, squared_distances
from parhelion.evaluation.samples.vectors import vectors_of
from parhelion.sample import Field, Sample, Schema

LINE = Schema((Field("x"),), (Field("y"),))


def line(n, seed, *, weight=None, first_id=0, group=None):
    rng = np.random.default_rng(seed)
    columns = {"x": rng.uniform(size=n), "y": rng.normal(size=n)}
    ids = np.arange(first_id, first_id + n)
    return Sample(LINE, columns, weight=weight, event_id=ids, group=group)


def thinning(reference, generated, *, rows=10_000, least=10, seed=1):
    vectors = vectors_of(reference, generated, "toy", (), True, "standard")
    return Thinning(vectors, "toy", rows=rows, least=least, seed=seed)


@pytest.mark.parametrize("d", [1, 3, 6, 7, 12])
@pytest.mark.parametrize("k", [1, 2, 6])
def test_nearest_is_brute_force(d, k):
    rng = np.random.default_rng(d)
    # Far from the origin, where |x|^2 of single precision would drown the distances.
    q, x = rng.normal(size=(150, d)) + 100.0, rng.normal(size=(300, d)) + 100.0
    distance, index = nearest(q, x, k)
    full = cdist(q, x)
    assert np.allclose(distance, np.sort(full, axis=1)[:, :k], rtol=1e-12)
    assert np.array_equal(index, np.argsort(full, axis=1)[:, :k])
    own, near = nearest(x, x, k, exclude_self=True)
    full = cdist(x, x)
    np.fill_diagonal(full, np.inf)
    assert np.allclose(own, np.sort(full, axis=1)[:, :k], rtol=1e-12)
    assert not np.any(near == np.arange(300)[:, None])


@pytest.mark.parametrize("d", [2, 10])
def test_a_copy_has_distance_zero(d):
    x = np.random.default_rng(1).normal(size=(500, d)) * 7.0 + 3.0
    distance, index = nearest(x[:200], x, 1)
    assert np.all(distance == 0.0)
    assert np.array_equal(index[:, 0], np.arange(200))


@pytest.mark.parametrize("d", [2, 10])
def test_rows_at_one_place_are_neighbours_of_each_other(d):
    distance, index = nearest(np.ones((20, d)), np.ones((20, d)), 3, exclude_self=True)
    assert np.all(distance == 0.0)
    assert not np.any(index == np.arange(20)[:, None])


def test_blocks_are_squared_distances():
    rng = np.random.default_rng(1)
    q, x = rng.normal(size=(5000, 3)), rng.normal(size=(2000, 3))
    parts = [(part, block.copy()) for part, block in squared_distances(q, x)]
    assert len(parts) > 1
    assert np.allclose(np.concatenate([b for _, b in parts]), cdist(q, x, "sqeuclidean"), atol=1e-12)
    assert [p.start for p, _ in parts][1:] == [p.stop for p, _ in parts][:-1]


def test_mistakes_are_told():
    with pytest.raises(ShapeError, match=r"queries have shape \(3, 2\) and rows \(3, 3\)"):
        nearest(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(ShapeError, match=r"expected rows of shape \(n, d\), got \(3,\)"):
        nearest(np.ones(3), np.ones(3))
    with pytest.raises(DataError, match="3 neighbours wanted among 2 rows"):
        nearest(np.ones((3, 2)), np.ones((3, 2)), 3, exclude_self=True)


def test_equal_weights_keep_all_rows_and_positive_ones_their_density():
    rng = np.random.default_rng(0)
    equal = thinning(line(500, 1), line(500, 2, first_id=10**6)).rows(rng)
    assert len(equal.reference) == len(equal.generated) == 500
    sample = line(20_000, 3)
    # E[w | y] = Phi-like: the weighted mean of y moves by 0.5.
    weight = np.exp(0.5 * sample["y"] - 0.125)
    heavy = sample.with_weight(weight)
    found = thinning(heavy, line(20_000, 4, first_id=10**6))
    assert found.thinned
    assert not found.signed
    rows = found.rows(rng)
    scale = np.sqrt(np.average((sample["y"] - 0.5) ** 2, weights=weight))
    assert len(rows.reference) > 2000
    # 2000 to 6000 rows of unit width: four standard errors.
    assert rows.reference[:, 1].mean() == pytest.approx(0.0, abs=4 / np.sqrt(len(rows.reference)) + 0.02)
    assert rows.generated[:, 1].mean() == pytest.approx(-0.5 / scale, abs=0.08)


def test_signed_weights_give_the_signal(pid):
    signed, truth = pid.toy(12_000, 1, signed=True), pid.toy(12_000, 2, first_id=10**6)
    found = thinning(signed, truth)
    assert found.signed
    rows = found.rows(np.random.default_rng(0))
    assert len(rows.reference) <= 0.5 * signed.weights.effective
    tolerance = 4 * np.sqrt(2 / len(rows.reference))
    assert np.allclose(rows.reference.mean(axis=0), rows.generated.mean(axis=0), atol=tolerance)
    # Unweighted rows would be 0.4 x 1.5 away in both responses.
    plain = (signed.response - truth.response.mean(axis=0)) / truth.response.std(axis=0)
    assert np.all(plain.mean(axis=0) > 2 * tolerance)


def test_pairs_stay_together(pid):
    reference = pid.toy(4000, 1)
    weight = np.random.default_rng(0).uniform(0.1, 2.0, 4000)
    weighted = reference.with_weight(weight)
    rows = thinning(weighted, pid.copy_of(weighted, 2), rows=500).rows(np.random.default_rng(0))
    assert len(rows.reference) == 500
    assert np.array_equal(rows.reference_group, rows.generated_group)
    assert np.allclose(rows.reference[:, :4], rows.generated[:, :4], atol=1e-3)


def test_exchanges_keep_groups_and_sizes():
    rng = np.random.default_rng(0)
    label = np.arange(400) < 200
    group = np.arange(400) // 4
    drawn = np.array(list(exchanges(label, group, False, 50, rng)))
    assert np.all(drawn.sum(axis=1) == 200)
    assert np.all(drawn.reshape(50, 100, 4) == drawn.reshape(50, 100, 4)[:, :, :1])
    pairs = np.tile(np.arange(200), 2)
    drawn = np.array(list(exchanges(label, pairs, True, 50, rng)))
    assert np.all(drawn[:, :200] != drawn[:, 200:])


def test_group_error_adds_within_groups():
    assert group_error(np.array([1.0, 2.0, -3.0]), np.array([0, 0, 1])) == pytest.approx(np.sqrt(18.0))


@pytest.mark.parametrize("metric", [memorisation.METRIC, nplm.METRIC, prdc.METRIC], ids=lambda metric: metric.name)
def test_samples_without_features_are_told(metric):
    sample = line(60, 1)
    bare = Sample(Schema((), (), LINE.fields), sample.columns, event_id=sample.event_id, source="bare")
    train = {"train": bare} if metric.needs_train else {}
    with pytest.raises(DataError, match=f"metric {metric.name}: bare has no responses or conditions to compare"):
        metric.compute(bare, bare, metric.options(), seed=1, **train)


def test_too_few_rows_are_told():
    with pytest.raises(DataError, match="metric toy: 3 rows of equal weight are left of 3 reference and 3 generated"):
        thinning(line(3, 1), line(3, 2, first_id=10)).rows(np.random.default_rng(0))
