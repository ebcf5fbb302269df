"""Usable sample size: fits with the surrogate as their model are off by 0.2 of their error at n_max; limits cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

from parhelion.evaluation.inference.parameters import Parameter
from parhelion.evaluation.inference.usable import UsableSizeOptions, usable_size
from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema((Field("c"),), (Field("x"),))
ROWS, FITS = 100_000, 4000


def build(c, x, weight=None, first_id=0):
    return Sample(SCHEMA, {"c": c, "x": x}, weight=weight, event_id=np.arange(first_id, first_id + len(x)))


@pytest.mark.parametrize(
    ("parameter", "surrogate", "fit"),
    [
        (Parameter("mean", "x"), lambda z: 1.001 * z + 0.008, lambda x: x.mean(axis=1) - 0.008),
        (Parameter("width", "x"), lambda z: 1.005 * z, lambda x: x.std(axis=1, ddof=1) - 1.005),
        (
            Parameter("fraction", "x", threshold=1.0),
            lambda z: z + 0.02,
            lambda x: (x > 1).mean(axis=1) - norm.sf(0.98),
        ),
        (Parameter("shift", "x"), lambda z: z + 0.008, lambda x: x.mean(axis=1) - 0.008),
    ],
    ids=lambda value: value.kind if isinstance(value, Parameter) else "",
)
def test_the_bias_is_a_fifth_of_the_error_at_the_usable_size(parameter, surrogate, fit):
    rng = np.random.default_rng(5)
    z = ndtri(rng.random(ROWS))
    ours, theirs = build(np.zeros(ROWS), z), build(np.zeros(ROWS), surrogate(z))
    result = usable_size(ours, theirs, UsableSizeOptions((parameter,), replicas=20), seed=1)[1]
    n = round(result.details["central"])
    estimates = np.concatenate([fit(rng.normal(size=(200, n))) for _ in range(FITS // 200)])
    ratio = abs(estimates.mean()) / estimates.std(ddof=1)
    size = result.quantity("bias_over_error")
    error = np.hypot(1 / np.sqrt(FITS), 0.2 * size.error / size.value)
    # Four standard deviations, and 2 % for the first order and the smoothed score.
    assert ratio == pytest.approx(0.2, abs=4 * error + 0.004)
    assert error < 0.025


@pytest.mark.parametrize(("paired", "signed"), [(False, False), (True, True)])
@pytest.mark.parametrize("bias", [0.0, 0.08])
def test_the_lower_limit_covers(bias, paired, signed):
    toys, n = 250, 1000
    rng = np.random.default_rng(11)
    covered, p_values = 0, []
    for _ in range(toys):
        c, weight = rng.normal(size=n), np.where(rng.random(n) < 0.8, 1.25, -0.5) if signed else None
        at, first_id = (c, 0) if paired else (rng.normal(size=n), 10**6)
        ours = build(c, 0.8 * c + 0.6 * rng.normal(size=n), weight)
        theirs = build(at, 0.8 * at + 0.6 * rng.normal(size=n) + bias, weight, first_id)
        result = usable_size(ours, theirs, UsableSizeOptions((Parameter("mean", "x"),), replicas=40), seed=1)[1]
        covered += bias == 0 or result.value <= 0.04 / bias**2
        p_values.append(result.p_value)
    # Expected at least 0.95; 250 toys know it to 0.014.
    assert covered / toys > 0.95 - 3.5 * 0.014
    if bias == 0:
        assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=4 * 0.019)
