"""Signed weights."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.errors import DataError
from parhelion.weights import require_positive_total, scale_to_unit_mean, summarise


def test_equal_weights_are_worth_their_number():
    summary = summarise(np.full(40, 2.5))
    assert (summary.rows, summary.total, summary.negative_share) == (40, 100.0, 0.0)
    assert summary.effective == pytest.approx(40)


def test_signed_weights():
    summary = summarise([2.0, 2.0, 2.0, -1.0])
    assert summary.total == 5
    assert summary.effective == pytest.approx(25 / 13)
    assert summary.negative_share == 0.25
    assert str(summary) == ("4 rows, sum of weights 5.0, effective sample size 2, 25.0 % negative weights")


def test_effective_size_never_exceeds_rows_and_ignores_scale():
    weight = np.random.default_rng(1).normal(0.5, 1, 1000)
    assert 0 < summarise(weight).effective <= 1000
    assert summarise(1e-9 * weight).effective == pytest.approx(summarise(weight).effective)


def test_empty_and_zero():
    assert summarise([]).effective == 0
    assert summarise([]).negative_share == 0
    assert summarise(np.zeros(3)).effective == 0


def test_scaling_to_mean_one():
    weight = np.random.default_rng(2).normal(0.3, 1, 1000)
    scaled = scale_to_unit_mean(weight)
    assert scaled.mean() == pytest.approx(1)
    np.testing.assert_allclose(scaled / scaled[0], weight / weight[0])
    np.testing.assert_allclose(scale_to_unit_mean(scaled), scaled)


@pytest.mark.parametrize("weight", [[-1.0, -2.0], [1.0, -1.0], [], [0.0], [np.inf], [np.nan, 1.0]])
def test_sum_must_be_positive(weight):
    with pytest.raises(DataError, match=r"f\.root: the sum of weights is .*, expected a positive number"):
        require_positive_total(weight, source="f.root")
    with pytest.raises(DataError, match="sum of weights"):
        scale_to_unit_mean(weight)
