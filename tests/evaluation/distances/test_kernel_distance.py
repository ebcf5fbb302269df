"""Kernel distance: brute force over pairs, groups, signed weights, nulls, many features."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import kstest

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.distances.blocks import Blocks, deal_blocks
from parhelion.evaluation.distances.kernel import METRIC, KernelDistanceOptions, estimate_kernel, kernel_distance
from parhelion.evaluation.distances.quartic_kernel import BlockTensors, Quartic, dense_sums, quartic
from parhelion.sample import Field, Sample, Schema


def kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 4


def u_statistic(x, y):
    n, m = len(x), len(y)
    xx, yy = kernel(x, x), kernel(y, y)
    return (
        (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * kernel(x, y).mean()
    )


def influence_u_statistic(x, y, w, v, x_group, y_group, paired):
    """|sum_g u_g|^2 less the scatter of the groups, from the full kernel matrix."""
    groups = max(x_group.max(), y_group.max()) + 1
    p, q = w / w.sum(), v / v.sum()
    gram = kernel(np.concatenate([x, y]), np.concatenate([x, y]))
    n = len(x)
    ours, theirs = np.zeros((groups, len(gram))), np.zeros((groups, len(gram)))
    ours[x_group, np.arange(n)] = p
    theirs[y_group, n + np.arange(len(y))] = q
    total = theirs.sum(axis=0) - ours.sum(axis=0)
    a, b = (part - part.sum(axis=1, keepdims=True) * part.sum(axis=0) for part in (ours, theirs))
    shares = [part.sum(axis=1) for part in (ours, theirs)]
    if paired:
        u = b - a
        bias = np.einsum("gi,ij,gj->", u, gram, u) / (1 - shares[0] @ shares[1])
    else:
        bias = sum(np.einsum("gi,ij,gj->", u, gram, u) / (1 - s @ s) for u, s in zip((a, b), shares, strict=True))
    return total @ gram @ total - bias


def signed(rng, n):
    return np.where(rng.random(n) < 0.25, -0.6, 1.0)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_value_is_the_u_statistic_over_all_pairs(d):
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(60, d)), 1.3 * rng.normal(size=(45, d)) + 0.2
    found = kernel_distance(x, y)
    assert found.kpd.value == pytest.approx(u_statistic(x, y), rel=1e-10)
    v_statistic = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    assert found.plain == pytest.approx(v_statistic, rel=1e-10)
    same = kernel_distance(x, y, np.full(60, 3.0), np.full(45, 0.1))
    assert same.kpd.value == pytest.approx(found.kpd.value, rel=1e-9)
    assert same.kpd.null_error == pytest.approx(found.kpd.null_error, rel=1e-9)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_value_of_signed_weights_and_groups(paired, grouped):
    rng = np.random.default_rng(1)
    n = 60
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 3)) + 0.3
    w = signed(rng, n)
    v = w if paired else signed(rng, n)
    first = np.sort(rng.integers(0, 20, n)) if grouped else np.arange(n)
    first = np.unique(first, return_inverse=True)[1]
    second = first if paired else first.max() + 1 + np.unique(rng.integers(0, 25, n), return_inverse=True)[1]
    if not grouped and not paired:
        second = n + np.arange(n)
    blocks = deal_blocks(first, second, paired=paired, count=10, rng=rng)
    found = estimate_kernel(x, y, w, v, first, second, blocks, 20, 0)
    expected = influence_u_statistic(x, y, w, v, first, second, paired)
    assert found.kpd.value == pytest.approx(expected, rel=1e-9)
    assert not found.by_block


def test_independent_weights_agree_with_leaving_out_equal_rows():
    # For weights that do not depend on x both estimates have the same expectation; here they agree closely.
    rng = np.random.default_rng(2)
    x, y, w, v = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2)) + 0.2, signed(rng, 2000), signed(rng, 2000)
    p, q = w / w.sum(), v / v.sum()
    xx, yy = kernel(x, x), kernel(y, y)
    other = (
        (p @ xx @ p - p**2 @ np.diag(xx)) / (1 - p @ p)
        + (q @ yy @ q - q**2 @ np.diag(yy)) / (1 - q @ q)
        - 2 * p @ kernel(x, y) @ q
    )
    found = kernel_distance(x, y, w, v).kpd
    assert found.value == pytest.approx(other, abs=0.3 * found.null_error)


def test_groups_too_large_for_pairs_are_left_out_by_block():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30_000, 1)), rng.normal(size=(30_000, 1))
    groups = np.arange(30_000) // 3000
    blocks = deal_blocks(groups, 10 + groups, paired=False, count=10, rng=rng)
    found = estimate_kernel(x, y, np.ones(30_000), np.ones(30_000), groups, 10 + groups, blocks, 50, 0)
    assert found.by_block
    assert abs(found.kpd.value) < 5 * found.kpd.null_error


def test_monomials_give_the_kernel():
    rng = np.random.default_rng(4)
    for d in (1, 2, 6):
        x, y = rng.normal(size=(7, d)), rng.normal(size=(7, d))
        map_ = Quartic(d)
        assert map_.size == comb(d + 4, 4)
        matrix = np.array([map_.sum(row[None]) for row in x]) @ np.array([map_.sum(row[None]) for row in y]).T
        assert np.allclose(matrix, kernel(x, y), rtol=1e-11)
        assert np.allclose(quartic(x, y), np.diag(kernel(x, y)))
        w = rng.normal(size=7)
        assert map_.sum(x, w) @ map_.sum(y) == pytest.approx(w @ kernel(x, y) @ np.ones(7), rel=1e-9, abs=1e-9)


def test_rows_can_come_in_chunks_and_dense_sums_agree():
    rng = np.random.default_rng(5)
    x, w, block = rng.normal(size=(5000, 2)), rng.normal(size=5000), rng.integers(0, 5, 5000)
    whole, parts = BlockTensors(5, 2), BlockTensors(5, 2)
    whole.add(x, block, w)
    for start in range(0, 5000, 700):
        chunk = slice(start, start + 700)
        parts.add(x[chunk], block[chunk], w[chunk])
    assert np.allclose(whole.sums, parts.sums, rtol=1e-9, atol=1e-9)
    columns = np.zeros((1200, 5))
    columns[np.arange(1200), block[:1200]] = w[:1200]
    few = BlockTensors(5, 2)
    few.add(x[:1200], block[:1200], w[:1200])
    assert np.allclose(few.sums @ few.sums.T, dense_sums(x[:1200], columns), rtol=1e-9)


def test_rotations_change_nothing_and_samples_can_be_exchanged():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(300, 4)), rng.normal(size=(300, 4)) + 0.2
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    one, other = kernel_distance(x, y), kernel_distance(x @ turn, y @ turn)
    assert other.kpd.value == pytest.approx(one.kpd.value, rel=1e-9)
    assert other.kpd.null_error == pytest.approx(one.kpd.null_error, rel=1e-9)
    assert kernel_distance(y, x).kpd.value == pytest.approx(one.kpd.value, rel=1e-10)


def test_equal_samples_differ_in_nothing():
    x = np.random.default_rng(7).normal(size=(500, 4))
    found = kernel_distance(x, x, paired=True).kpd
    assert (found.value, found.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["independent", "signed", "paired"])
def test_null_is_centred_and_p_values_are_uniform(kind):
    values, errors, p = [], [], []
    for seed in range(120):
        rng = np.random.default_rng([seed, 8])
        x, y = rng.normal(size=(2, 700, 3))
        w = v = None
        if kind == "signed":
            # Background at 1.5 whose weights cancel it: leaving out equal rows alone would be biased here.
            back = rng.random((2, 700)) < 0.4
            peak = rng.random((2, 700)) < np.where(back, 0.35, 0.9)
            x, y = (z + 1.5 * b[:, None] for z, b in zip((x, y), back, strict=True))
            a, b = np.linalg.solve([[0.9, 0.1], [0.35, 0.65]], [1.0, 0.0])
            w, v = np.where(peak, a, b)
        if kind == "paired":
            common = rng.normal(size=(700, 3))
            x, y = common + 0.5 * x, common + 0.5 * y
            w = v = signed(rng, 700)
        found = kernel_distance(x, y, w, v, paired=kind == "paired", replicas=200, seed=seed).kpd
        values.append(found.value)
        errors.append(found.null_error)
        p.append(found.p_value)
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(120))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.35)
    assert kstest(p, "uniform").pvalue > 1e-3
    assert np.sum(np.array(p) <= 0.05) <= 15


def test_a_known_difference_has_pulls_of_width_one():
    # Two features: E k over Gaussian pairs by a large sample's V-statistic, whose bias is negligible.
    values, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = kernel_distance(rng.normal(size=(1500, 2)), rng.normal(size=(1500, 2)) + 0.2, replicas=20, seed=seed)
        values.append(found.kpd.value)
        errors.append(found.kpd.error)
    rng = np.random.default_rng(99)
    truth = kernel_distance(rng.normal(size=(400_000, 2)), rng.normal(size=(400_000, 2)) + 0.2, replicas=20).kpd
    pulls = (np.array(values) - truth.value) / np.hypot(errors, truth.error)
    assert abs(pulls.mean()) < 4 / np.sqrt(60)
    assert pulls.std() == pytest.approx(1.0, abs=0.4)


def test_more_than_forty_features(pid):
    schema = Schema(condition=(Field("E"),), response=(Field("cells", shape=(60,)),))
    rng = np.random.default_rng(10)

    def sample(n, first, shift):
        columns = {"E": rng.normal(size=n), "cells": rng.normal(size=(n, 60)) + shift}
        return Sample(schema, columns, event_id=first + np.arange(n), source="cells")

    options = KernelDistanceOptions(dense_rows=500, replicas=200, blocks=20)
    reference = sample(900, 0, 0.0)
    good, bad = (METRIC.compute(reference, sample(800, 10**6, s), options, seed=1)[0] for s in (0.0, 0.3))
    assert good.details["thinned"]
    assert 400 < good.details["rows"]["reference"] < 600
    assert good.p_value > 1e-3
    assert bad.p_value == pytest.approx(1 / 201)


def test_dense_and_tensor_sums_give_one_estimate(monkeypatch):
    rng = np.random.default_rng(11)
    x, y, w, v = rng.normal(size=(90, 3)), rng.normal(size=(80, 3)), signed(rng, 90), signed(rng, 80)
    tensors = kernel_distance(x, y, w, v)
    monkeypatch.setattr("parhelion.evaluation.distances.kernel.fits_tensors", lambda width: False)
    dense = kernel_distance(x, y, w, v)
    assert dense.kpd.value == pytest.approx(tensors.kpd.value, rel=1e-9)
    assert dense.kpd.error == pytest.approx(tensors.kpd.error, rel=1e-9)


def test_mistakes_are_told_in_one_sentence(pid):
    with pytest.raises(ConfigError, match="dense_rows 5"):
        KernelDistanceOptions(dense_rows=5)
    with pytest.raises(ConfigError, match="scaling robust with mode calochallenge"):
        KernelDistanceOptions(mode="calochallenge", scaling="robust")
    with pytest.raises(DataError, match="metric kernel_distance: 3 independent groups"):
        METRIC.compute(pid.toy(3, 1), pid.toy(3, 2), KernelDistanceOptions(), seed=1)
    # Four blocks whose weights sum to 1, of rows that weigh 10 and -9.
    x, w, groups = np.ones((8, 1)), np.tile([10.0, -9.0], 4), np.arange(8)
    blocks = Blocks(groups // 2, groups // 2, 4, False)
    with pytest.raises(DataError, match=r"effective size of 0\.022 groups"):
        estimate_kernel(x, x, w, np.ones(8), groups, 8 + groups, blocks, 20, 0)


def test_metric_on_samples(pid):
    reference = pid.toy(1500, 1, signed=True)
    same, bad = pid.copy_of(reference, 2), pid.copy_of(reference, 2, shift=0.5)
    options = KernelDistanceOptions(replicas=200)
    good, worse = (METRIC.compute(reference, s, options, seed=1)[0] for s in (same, bad))
    assert good.details["features"] == ["P", "ETA", "Type = pi", "Type = K", "DLLk", "DLLp"]
    assert good.p_value > 1e-3
    assert worse.p_value < 0.02
    assert good.details["caption"].endswith(".")
    few = METRIC.compute(pid.toy(4, 1), pid.copy_of(pid.toy(4, 1), 2), KernelDistanceOptions(replicas=20), seed=1)[0]
    found = few.quantity()
    assert np.isfinite([found.value, found.error, found.null_error]).all()
