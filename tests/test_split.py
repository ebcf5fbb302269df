"""Splits by hash: fractions, stability, independence, groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from parhelion.errors import DataError
from parhelion.sample import Field, Sample, Schema
from parhelion.split import assign, split

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}
SCHEMA = Schema((Field("x"),), ())


def p_value(observed, expected):
    return chi2.sf(np.sum((observed - expected) ** 2 / expected), observed.size - 1)


@pytest.mark.parametrize("ids", [np.arange(100_000), np.arange(100_000) * 2**32, -np.arange(100_000)])
def test_shares_are_the_fractions(ids):
    # Fixed seed; a correct split fails with probability 1e-3.
    counts = np.bincount(assign(ids, FRACTIONS, seed=1), minlength=3)
    assert p_value(counts, np.array([0.7, 0.1, 0.2]) * len(ids)) > 1e-3


def test_a_part_never_changes_when_a_file_grows_or_is_reordered():
    ids = np.arange(5000) * 7919
    whole = assign(ids, FRACTIONS, seed=3)
    np.testing.assert_array_equal(assign(ids[:100], FRACTIONS, seed=3), whole[:100])
    order = np.random.default_rng(1).permutation(len(ids))
    np.testing.assert_array_equal(assign(ids[order], FRACTIONS, seed=3), whole[order])


def test_known_answer():
    # Frozen: a change here would mix training and test rows of every existing study.
    got = assign(np.arange(20), FRACTIONS, seed=1)
    np.testing.assert_array_equal(got, KNOWN)


KNOWN = [0, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0]


def test_seeds_are_independent():
    ids = np.arange(50_000)
    a, b = assign(ids, {"a": 0.5, "b": 0.5}, 1), assign(ids, {"a": 0.5, "b": 0.5}, 2)
    table = np.array([[np.sum((a == i) & (b == j)) for j in (0, 1)] for i in (0, 1)])
    assert p_value(table.ravel(), np.full(4, len(ids) / 4)) > 1e-3


def test_neighbouring_ids_are_independent():
    part = assign(np.arange(100_000), {"a": 0.5, "b": 0.5}, 11)
    for lag in (1, 2, 64, 4096):
        same = np.mean(part[lag:] == part[:-lag])
        assert abs(same - 0.5) < 3.5 * 0.5 / np.sqrt(len(part) - lag)


def test_groups_stay_together_and_rows_are_all_there():
    n = 3000
    group = np.random.default_rng(2).integers(0, 400, n)
    sample = Sample(SCHEMA, {"x": np.arange(n)}, group=group, event_id=np.arange(n) + 10**12)
    parts = split(sample, FRACTIONS, seed=5)
    assert list(parts) == list(FRACTIONS)
    owners = [set(p.group.tolist()) for p in parts.values()]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    assert sorted(np.concatenate([p["x"] for p in parts.values()])) == list(range(n))


def test_split_falls_back_on_the_event_id():
    sample = Sample(SCHEMA, {"x": np.arange(100)}, event_id=np.arange(100) + 77)
    parts = split(sample, {"a": 0.4, "b": 0.6}, seed=5)
    expected = assign(np.arange(100) + 77, {"a": 0.4, "b": 0.6}, seed=5)
    np.testing.assert_array_equal(parts["a"].event_id, 77 + np.flatnonzero(expected == 0))


def test_independent_of_the_noise_of_a_generation():
    from parhelion.noise import uniform

    ids = np.arange(100_000)
    train = assign(ids, {"a": 0.5, "b": 0.5}, seed=9) == 0
    noise = uniform(9, ids, 1)[:, 0]
    # Means of two halves of uniform numbers: standard error of the difference is sqrt(1/12) * 2 / sqrt(n).
    assert abs(noise[train].mean() - noise[~train].mean()) < 3.5 * np.sqrt(1 / 12) * 2 / np.sqrt(len(ids))


@pytest.mark.parametrize(
    "fractions", [{}, {"a": 0.5}, {"a": 1.2, "b": -0.2}, {"a": 1.0, "b": 0.0}, {"a": float("nan")}]
)
def test_fractions_must_sum_to_one(fractions):
    with pytest.raises(DataError, match="expected positive numbers that sum to 1"):
        assign(np.arange(3), fractions, 1)


def test_bad_seed_and_ids():
    with pytest.raises(DataError, match="seed -1"):
        assign(np.arange(3), {"a": 1.0}, -1)
    with pytest.raises(DataError, match="expected integers"):
        assign(np.ones(3), {"a": 1.0}, 1)
    np.testing.assert_array_equal(assign(np.arange(3), {"a": 1.0}, 1), 0)
