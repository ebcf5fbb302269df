"""Declared laws: shares of rows that break them, the worst row, residuals, expressions, wrong input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import TypeAdapter

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.physics.boundaries import BoundariesOptions, Expression, Law, boundaries, breach
from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema((Field("E", "GeV"),), (Field("p", "GeV", (3,)), Field("m", "GeV"), Field("e", "GeV", (4,))))


def particles(n, seed, *, negative=0, off_shell=0.0, first_id=0, weight=None):
    """Particles on their mass shell, E^2 = p^2 + m^2, and shares e of their energy that add up to it."""
    rng = np.random.default_rng(seed)
    p, m = rng.normal(size=(n, 3)), rng.exponential(size=n) + 0.1
    energy = np.sqrt(np.sum(p**2, axis=1) + m**2)
    m = m + off_shell * rng.normal(size=n)
    m[:negative] = -np.arange(1, negative + 1)
    e = energy[:, None] * rng.dirichlet(np.ones(4), n)
    return Sample(
        SCHEMA, {"E": energy, "p": p, "m": m, "e": e}, weight=weight, event_id=np.arange(first_id, first_id + n)
    )


SHELL = Law("mass shell", "E**2 - p[0]**2 - p[1]**2 - p[2]**2 - m**2", "==", tolerance=1e-9)
SUM = Law("energy sum", "sum(e) - E", "==", tolerance=1e-9)
POSITIVE = Law("mass", "m", ">=")


def one(reference, generated, law, **options):
    return boundaries(reference, generated, BoundariesOptions((law,), **options), seed=1)[0]


def test_laws_that_hold_are_kept_to_rounding():
    reference, generated = particles(500, 1), particles(600, 2, first_id=10**6)
    for result in boundaries(reference, generated, BoundariesOptions((SHELL, SUM, POSITIVE)), seed=1):
        found = result.quantity("violating")
        assert (found.value, found.null, found.p_value) == (0.0, 0.0, 1.0)
        # None of 600 rows does not exclude one in 600.
        assert found.error == pytest.approx(1 / 600)
        assert found.null_error == pytest.approx(1 / 500)
        assert result.quantity("largest").value == 0


def test_violations_are_counted_weighed_and_measured():
    weight = np.ones(400)
    weight[:2] = 2.0
    reference, generated = particles(400, 1), particles(400, 2, negative=8, first_id=10**6, weight=weight)
    result = one(reference, generated, POSITIVE)
    assert result.value == pytest.approx(10 / 402)
    assert result.details["generated"]["violating_rows"] == 8
    assert result.quantity("largest").value == 8
    # Eight amounts 1 to 8: mean 4.5, times pi / sqrt(6).
    assert result.quantity("largest").error == pytest.approx(4.5 * np.pi / np.sqrt(6))
    assert result.p_value < 0.02
    assert result.fields == ("m",)


def test_share_error_is_binomial():
    reference, generated = particles(1000, 1), particles(1000, 2, negative=200, first_id=10**6)
    assert one(reference, generated, POSITIVE).error == pytest.approx(np.sqrt(0.2 * 0.8 / 1000), rel=1e-9)


def test_a_broken_equality_has_a_width():
    reference, generated = particles(2000, 1), particles(2000, 2, off_shell=0.01, first_id=10**6)
    result = one(reference, generated, SHELL)
    assert result.value > 0.99
    width = result.quantity("width")
    residual = 2 * generated["m"] * 0.01
    assert width.value == pytest.approx(np.sqrt(np.mean(residual**2)), rel=0.1)
    assert width.p_value < 0.02
    assert result.quantity("bias").p_value > 0.01


def test_paired_rows_share_what_cancels():
    reference = particles(2000, 1)
    same = boundaries(reference, reference, BoundariesOptions((POSITIVE, Law("E", "E", "<=", 3.0))), seed=1)
    for result in same:
        for key in ("bias", "width"):
            assert result.quantity(key).value == 0
            assert result.quantity(key).error == 0
            assert result.quantity(key).p_value == 1
        assert result.quantity("largest").p_value == 1
        assert result.quantity("violating").p_value == 1


def test_the_worst_of_two_equal_samples_is_not_significant():
    p = []
    for seed in range(80):
        reference, generated = particles(50, seed), particles(50, 1000 + seed, first_id=10**6)
        p.append(one(reference, generated, Law("E", "E", "<=", 2.0), replicas=20).quantity("largest").p_value)
    # P(k generated rows lead) = 2^-k: p is 1/2 or above, and 1/2 in half of all cases.
    assert min(p) == pytest.approx(0.5)
    assert np.mean(np.isclose(p, 0.5)) == pytest.approx(0.5, abs=0.2)


def test_p_values_of_shares_are_not_too_small_in_the_null():
    p = [
        one(particles(300, s), particles(300, 1000 + s, first_id=10**6), Law("E", "E", "<=", 2.5), replicas=100).p_value
        for s in range(60)
    ]
    assert np.sum(np.array(p) <= 0.05) <= 10
    assert np.mean(p) == pytest.approx(0.5, abs=0.15)


def test_signed_weights_leave_the_signal(pid):
    reference = pid.toy(4000, 1, signed=True)
    generated = pid.copy_of(pid.toy(4000, 2, first_id=10**6, signed=True), 2)
    plain = pid.toy(4000, 3)
    law = Law("cut", "DLLk", "<=", 1.0)
    found, truth = one(reference, generated, law), np.mean(plain["DLLk"] > 1.0)
    for value, error in ((found.value, found.error), (found.null, found.quantity().null_error)):
        assert value == pytest.approx(truth, abs=4 * error)
    assert found.error > np.sqrt(truth * (1 - truth) / 4000)
    assert found.p_value > 1e-3


def test_rows_without_a_value_break_the_law():
    reference = particles(300, 1)
    generated = particles(300, 2, negative=3, first_id=10**6)
    result = one(reference, generated, Law("log", "log(m)", "<=", 100.0))
    assert result.value == pytest.approx(0.01)
    assert result.details["generated"]["not_finite"] == 3
    assert np.isfinite(result.quantity("bias").value)
    json.dumps(result.to_dict(), allow_nan=False)
    with pytest.raises(DataError, match="finite in 0 of 300 rows"):
        one(reference, generated, Law("log", "log(0 - E)", "<=", 100.0))


@pytest.mark.parametrize(
    ("relation", "expected"), [(">=", [1.0, 0.0, 0.0]), ("<=", [0.0, 0.0, 2.0]), ("==", [1.0, 0.0, 2.0])]
)
def test_breach(relation, expected):
    found = breach([2.0, 3.0, 5.0], relation, 3.0, 0.5)
    assert found.amount.tolist() == expected
    assert found.broken.tolist() == [amount > 0.5 for amount in expected]
    assert found.largest == max(expected)


def test_expressions_are_arithmetic():
    sample = particles(5, 1)
    p = sample["p"]
    assert Expression("hypot(p[0], p[1])").values(sample) == pytest.approx(np.hypot(p[:, 0], p[:, 1]))
    assert Expression("max(m, 2) - min(m, 2) + abs(-m) * 2**0.5").values(sample) == pytest.approx(
        np.maximum(sample["m"], 2) - np.minimum(sample["m"], 2) + np.sqrt(2) * sample["m"]
    )
    assert Expression("3").values(sample).tolist() == [3.0] * 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("E +", "character 3: invalid syntax"),
        ("E + __import__('os')", "character 5: there is no function __import__"),
        ("E + p.x", "character 5: Attribute is not allowed"),
        ("E + [1]", "character 5: List is not allowed"),
        ("", "the expression is empty"),
    ],
)
def test_bad_expressions_are_refused_at_once(text, message):
    with pytest.raises(ConfigError, match=r"metric boundaries, law mine: expression") as error:
        Law("mine", text, ">=")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("E + Q", "character 5: sample has no column Q"),
        ("p", r"the result has shape \(5, 3\), expected one number a row"),
        ("p[7]", "index 7 is out of bounds"),
        ("E > 3", "the result is a truth value, expected a number"),
    ],
)
def test_expressions_that_do_not_fit_the_sample(text, message):
    with pytest.raises(DataError, match=message):
        Expression(text).values(particles(5, 1))


def test_options():
    adapter = TypeAdapter(BoundariesOptions)
    options = BoundariesOptions((SHELL, POSITIVE))
    assert adapter.validate_python(json.loads(adapter.dump_json(options))) == options
    with pytest.raises(ConfigError, match="with different names"):
        BoundariesOptions((SHELL, SHELL))
    with pytest.raises(ConfigError, match="with different names"):
        BoundariesOptions(())
    with pytest.raises(ConfigError, match="tolerance not negative"):
        Law("x", "E", "==", tolerance=-1.0)
