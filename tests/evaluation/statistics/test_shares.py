"""Shares of cells: the chi2 of pairs under random exchange."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from parhelion.evaluation.samples.comparison import compare
from parhelion.evaluation.statistics.one_dimensional import shape_chi2
from parhelion.evaluation.statistics.shares import difference_of_shares, exchanged_shares, joint_influence, shares
from parhelion.sample import Field, Sample, Schema

CELLS = 3


def both_chi2(first, second, weight, group):
    """Chi2 of two samples of cells: with the covariance of exchanges, and with that around the measured difference."""
    schema = Schema((Field("x"),), (Field("cell"),))
    reference = Sample(schema, {"x": np.arange(len(first)), "cell": first}, weight=weight, group=group)
    comparison = compare(reference, reference.with_response(second[:, None].astype(float), source="generated"))
    assert comparison.paired
    (p, *_), (q, *_) = (shares(cell, CELLS, weight) for cell in (first, second))
    joint = joint_influence(comparison, (first, second), CELLS)
    maps = exchanged_shares(comparison, p, q), difference_of_shares(p, q)
    return [shape_chi2(q - p, joint.mapped(each).covariance()) for each in maps]


@pytest.mark.parametrize("signed", [False, True])
def test_mean_chi2_over_all_exchanges_is_its_number_of_degrees_of_freedom(signed):
    rng = np.random.default_rng(3)
    groups, rows = 9, 12
    first, second = rng.integers(0, CELLS, (2, rows))
    group = np.concatenate([np.arange(groups), [0, 0, 1]])
    weight = np.where(np.arange(rows) % 4 == 1, -0.4, 1.0) if signed else np.ones(rows)
    assumed, around = [], []
    for exchange in itertools.product([False, True], repeat=groups):
        swap = np.array(exchange)[group]
        chi2 = both_chi2(np.where(swap, second, first), np.where(swap, first, second), weight, group)
        assumed.append(chi2[0])
        around.append(chi2[1].value)
    assert {found.ndf for found in assumed} == {CELLS - 1}
    assert np.mean([found.value for found in assumed]) == pytest.approx(CELLS - 1, rel=1e-9)
    # What was wrong with the covariance around the measured difference: Hotelling's excess.
    assert np.mean(around) > 1.2 * (CELLS - 1)


def test_independent_samples_keep_their_own_centres():
    schema = Schema((), (Field("cell"),))
    samples = [Sample(schema, {"cell": np.zeros(5)}, event_id=np.arange(5) + k) for k in (0, 10)]
    p, q = np.array([0.2, 0.8]), np.array([0.6, 0.4])
    comparison = compare(*samples)
    assert not comparison.paired
    assert np.array_equal(exchanged_shares(comparison, p, q), difference_of_shares(p, q))
