"""Chains of models: what is asked of which model, and with which noise."""

from __future__ import annotations

import numpy as np
import pytest
from generation_toys import Linear

from parhelion import generate
from parhelion.deploy.chain import STAGE_BITS, Chain, Step
from parhelion.errors import ConfigError, DataError, DomainError
from parhelion.noise import normal
from parhelion.sample import Field, Sample, Schema

X, PID = Field("x", "GeV"), Field("pid", kind="integer")
ROWS = 500


@pytest.fixture
def conditions() -> Sample:
    g = np.random.default_rng(1)
    columns = {"x": g.uniform(0, 10, ROWS), "pid": g.choice([211, 321], ROWS), "mass": np.arange(ROWS) * 1.0}
    ids = g.permutation(10_000)[:ROWS]
    return Sample(
        Schema((X,), (), (PID, Field("mass"))), columns, event_id=ids, group=ids // 3, weight=g.normal(size=ROWS),
        source="x.root",
    )  # fmt: skip


def _single(model: Linear, name: str = "m") -> Step:
    return Step({None: model}, name=name)


def test_one_step_is_what_generate_gives(conditions: Sample) -> None:
    model = Linear((X,), "a")
    made, counts = Chain([_single(model)]).generate(conditions, seed=5)
    direct = generate(model, conditions, seed=5)
    assert made.schema == direct.schema
    for name in made.columns:
        assert np.array_equal(made[name], direct[name])
    expected = (conditions["x"] + normal(5, conditions.event_id, 1)[:, 0]).astype(np.float32)
    np.testing.assert_allclose(made["a"], expected, rtol=1e-6)
    assert (counts.rows, counts.made, counts.outside) == (ROWS, ROWS, {"m": 0})


def test_a_later_model_is_given_what_an_earlier_one_answered(conditions: Sample) -> None:
    accept, response = Linear((X,), "accepted", gate=5.0), Linear((X, Field("accepted", kind="integer")), "b")
    chain = Chain([_single(accept), _single(response)], keep="accepted == 1")
    assert [f.name for f in chain.schema.condition] == ["x"]
    made, counts = chain.generate(conditions, seed=5)
    first = conditions["x"] + normal(5, conditions.event_id, 1)[:, 0] > 5.0
    assert np.array_equal(made.event_id, conditions.event_id[first])
    assert np.array_equal(made.weight, conditions.weight[first])
    assert np.array_equal(made["mass"], conditions["mass"][first])
    assert (made["accepted"] == 1).all()
    # The second step has a noise stage of its own, and was not asked for the rejected.
    noise = normal(5, made.event_id, 1, stage=1 << STAGE_BITS)[:, 0]
    np.testing.assert_allclose(made["b"], made["x"] + 1 + noise, rtol=1e-5)
    assert response.asked == first.sum() == counts.made < counts.rows == ROWS


def test_each_species_has_its_model(conditions: Sample) -> None:
    models = {211.0: Linear((X,), "a", 1.0), 321.0: Linear((X,), "a", -1.0)}
    made, _ = Chain([Step(models, by="pid")]).generate(conditions, seed=5)
    sign = np.where(conditions["pid"] == 211, 1.0, -1.0)
    np.testing.assert_allclose(
        made["a"], sign * conditions["x"] + normal(5, conditions.event_id, 1)[:, 0], rtol=1e-5, atol=1e-6
    )
    chain = Chain([Step({211.0: models[211.0]}, by="pid")])
    assert chain.schema["pid"] == PID
    with pytest.raises(DataError, match=r"x\.root: pid is 321 in row \d+, as other values .* there are models for 211"):
        chain.generate(conditions, seed=5)


def test_members_share_the_noise_of_the_nominal(conditions: Sample) -> None:
    nominal, up = _single(Linear((X,), "a")), _single(Linear((X,), "a", 1.1))
    made, _ = Chain([nominal], members={"up": up}).generate(conditions, seed=5, replicas=2)
    np.testing.assert_allclose(made["a_up"] - made["a"], 0.1 * made["x"], atol=1e-5)
    assert made.schema["a_up"] in made.schema.extra


def test_replicas_are_independent_and_traceable(conditions: Sample) -> None:
    chain = Chain([_single(Linear((X,), "a"))])
    once, _ = chain.generate(conditions, seed=5)
    made, counts = chain.generate(conditions, seed=5, replicas=3)
    assert (counts.rows, counts.made) == (ROWS, 3 * ROWS)
    assert np.array_equal(made["input_event_id"], np.repeat(conditions.event_id, 3))
    assert np.array_equal(made["replica"], np.tile([0, 1, 2], ROWS))
    assert np.array_equal(made.group, np.repeat(conditions.group, 3))
    assert len(np.unique(made.event_id)) == 3 * ROWS
    assert np.array_equal(made["a"][::3], once["a"])
    residual = (made["a"] - made["x"]).reshape(ROWS, 3)
    assert np.abs(np.corrcoef(residual.T) - np.eye(3)).max() < 5 / np.sqrt(ROWS)
    # The rows of any part are those of the whole.
    part, _ = chain.generate(conditions.take(slice(100, 200)), seed=5, replicas=3, batch_rows=7)
    assert np.array_equal(part["a"], made["a"][300:600])
    assert np.array_equal(part.event_id, made.event_id[300:600])


def test_the_guard_counts_each_step(conditions: Sample) -> None:
    first, second = Linear((X,), "a", 2.0), Linear((Field("a"),), "b")
    chain = Chain([_single(first, "one"), _single(second, "two")])
    with pytest.raises(DomainError, match=r"of rows 7000 to 7499 lie outside .*first a in row 7\d\d\d"):
        chain.generate(conditions, seed=5, first_row=7000)
    made, counts = chain.generate(conditions, seed=5, outside="clamp")
    beyond = (made["a"] < 0) | (made["a"] > 10)
    assert counts.outside == {"one": 0, "two": int(beyond.sum())}
    assert np.array_equal(made["outside_domain"] == 1, beyond)
    assert counts.beyond == beyond.sum() > 0


def test_what_does_not_fit_together_is_said(conditions: Sample) -> None:
    a, b = Linear((X,), "a"), Linear((Field("x", "MeV"),), "b")
    for build, message in (
        (lambda: Chain([]), "there is no model"),
        (lambda: Chain([_single(a), _single(a, "again")]), "again: answers with a, which an earlier step has"),
        (lambda: Chain([_single(a)], keep="zz > 1"), "there is no zz; there are a, x"),
        (lambda: Chain([_single(a)], members={"m": _single(b)}), "member m: answers with other fields"),
        (lambda: Step({1.0: a, 2.0: Linear((X,), "c")}, by="pid"), "must be the same"),
        (lambda: Chain([_single(a)]).generate(conditions, seed=1, replicas=0), "expected 1 to"),
    ):
        with pytest.raises(ConfigError, match=message):
            build()
    with pytest.raises(DataError, match=r"condition x \[GeV\] has shape .* expects x \[MeV\]"):
        Chain([_single(a), _single(b)])


def test_a_response_that_is_no_number_is_refused(conditions: Sample) -> None:
    class Broken(Linear):
        def respond(self, condition, noise):
            answer = super().respond(condition, noise)
            answer[17] = np.nan
            return answer

    with pytest.raises(DataError, match=r"x\.root: the response to row 17 \(event id \d+\) has NaN"):
        generate(Broken((X,), "a"), conditions, seed=1)
