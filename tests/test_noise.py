"""Counter-based noise: known answers, uniformity, independence of batch, order and stage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from parhelion.errors import DataError
from parhelion.noise import normal, philox4x32, uniform, words


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    np.testing.assert_array_equal(philox4x32(np.array([counter], dtype=np.uint32), key)[0], expected)


def test_agrees_with_the_layout_of_words():
    ids = np.array([5, 2**40 + 3], dtype=np.int64)
    got = words((7 << 32) + 9, ids, 6, stage=4)
    counter = np.array([[5, 0, 4, 0], [5, 0, 4, 1], [3, 256, 4, 0], [3, 256, 4, 1]], dtype=np.uint32)
    expected = philox4x32(counter, (9, 7)).reshape(2, 8)[:, :6]
    np.testing.assert_array_equal(got, expected)


def test_independent_of_batch_order_and_width():
    ids = np.random.default_rng(1).integers(0, 2**63, 1000)
    whole = normal(3, ids, 5)
    parts = np.concatenate([normal(3, ids[i : i + 37], 5) for i in range(0, 1000, 37)])
    np.testing.assert_array_equal(parts, whole)
    order = np.random.default_rng(2).permutation(1000)
    np.testing.assert_array_equal(normal(3, ids[order], 5), whole[order])
    np.testing.assert_array_equal(normal(3, ids, 9)[:, :5], whole)


def test_independent_of_the_internal_chunk(monkeypatch):
    whole = words(1, np.arange(500), 7)
    monkeypatch.setattr("parhelion.noise._CHUNK", 16)
    np.testing.assert_array_equal(words(1, np.arange(500), 7), whole)


def test_signed_and_unsigned_ids_are_the_same_bits():
    np.testing.assert_array_equal(words(1, np.array([-1]), 4), words(1, np.array([2**64 - 1], dtype=np.uint64), 4))


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_uniformity(seed):
    # Fixed seeds; each check fails for a perfect generator with probability 1e-3.
    u = uniform(seed, np.arange(50_000), 3)
    assert u.min() > 0
    assert u.max() < 1
    for column in u.T:
        assert kstest(column, "uniform").pvalue > 1e-3
    counts = np.histogramdd(u, bins=(8, 8, 8), range=[(0, 1)] * 3)[0]
    expected = len(u) / 512
    assert chi2.sf(np.sum((counts - expected) ** 2 / expected), 511) > 1e-3


def test_every_bit_is_fair():
    raw = words(12, np.arange(40_000), 4)
    ones = np.array([np.mean((raw >> np.uint32(b)) & np.uint32(1)) for b in range(32)])
    # 32 bits at 4 standard errors: false-positive rate 0.2 %.
    assert np.abs(ones - 0.5).max() < 4 * 0.5 / np.sqrt(raw.size)


def test_normal_distribution():
    z = normal(5, np.arange(100_000), 2)
    assert z.dtype == np.float32
    assert kstest(z[:, 0], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z.T)[0, 1]) < 3.3 / np.sqrt(len(z))
    assert np.isfinite(z).all()


@pytest.mark.parametrize("other", [{"seed": 2}, {"stage": 1}, {"event_id": np.arange(1, 50_001)}])
def test_seeds_stages_and_events_are_independent(other):
    settings = {"seed": 1, "stage": 0, "event_id": np.arange(50_000)}
    draw = [normal(s["seed"], s["event_id"], 1, stage=s["stage"])[:, 0] for s in (settings, settings | other)]
    assert abs(np.corrcoef(*draw)[0, 1]) < 3.3 / np.sqrt(50_000)
    assert not np.any(draw[0] == draw[1]) or np.mean(draw[0] == draw[1]) < 1e-3


def test_empty():
    assert words(1, np.arange(0), 3).shape == (0, 3)
    assert normal(1, np.arange(4), 0).shape == (4, 0)


@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        ((-1, np.arange(3), 1), "seed -1: expected an integer from 0"),
        ((2**64, np.arange(3), 1), "seed 18446744073709551616"),
        ((1, np.ones(3), 1), "type float64, expected integers"),
        ((1, np.ones((3, 2), int), 1), r"shape \(3, 2\), expected \(n,\)"),
    ],
)
def test_bad_input(arguments, detail):
    with pytest.raises(DataError, match=detail):
        words(*arguments)
    with pytest.raises(DataError, match="stage -1"):
        words(1, np.arange(3), 1, stage=-1)
