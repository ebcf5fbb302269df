from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from parhelion import io
from parhelion.deploy import condition_layout, generate, generate_stream
from parhelion.errors import ConfigError, DataError, DomainError
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import Matching
from parhelion.surrogates.matching import MatchingConfig
from study_toys import columns, root_file


@pytest.fixture(scope="module")
def surrogate(toy) -> Matching:
    """A prepared network: that it is not trained makes no difference here."""
    made = Matching(toy.schema, MatchingConfig(width=16, blocks=1, solver_steps=2))
    made.prepare(toy.sample(2000, seed=4), seed=1)
    return made


@pytest.fixture
def conditions(toy) -> Sample:
    sample = toy.sample(2000, seed=4).take(slice(0, 500))  # rows of the training sample: inside the domain
    ids = np.random.default_rng(1).permutation(10_000)[:500]
    return Sample(
        Schema(sample.schema.condition, sample.schema.response, (Field("mass", "GeV"),)),
        {**sample.columns, "mass": np.arange(500.0)},
        weight=np.where(np.arange(500) % 5 == 0, -0.5, 1.0),
        event_id=ids,
        group=ids // 2,
        source="conditions",
    )


def test_everything_but_the_response_is_kept(surrogate, conditions) -> None:
    made = generate(surrogate, conditions, seed=1)
    for name in ("P", "ETA", "SPECIES", "mass"):
        assert np.array_equal(made[name], conditions[name])
    for name in ("weight", "event_id", "group"):
        assert np.array_equal(getattr(made, name), getattr(conditions, name))
    assert made.schema.response == surrogate.schema.response
    assert made["a"].dtype == np.float32
    assert not np.array_equal(made["a"], conditions["a"])
    # Exact structure of the toy: c is b below the threshold.
    below = (made["P"] < 9.2) & (made["a"] != 0)
    assert np.array_equal(made["c"][below], made["b"][below])


def test_a_row_depends_on_seed_and_event_id_alone(surrogate, conditions) -> None:
    whole = generate(surrogate, conditions, seed=7)
    order = np.random.default_rng(2).permutation(len(conditions))
    for other, rows in (
        (generate(surrogate, conditions, seed=7, batch_rows=37), slice(None)),
        (generate(surrogate, conditions.take(order), seed=7), order),
        (generate(surrogate, conditions.take(slice(100, 103)), seed=7), slice(100, 103)),
    ):
        expected = whole.take(rows)
        assert np.array_equal(other.event_id, expected.event_id)
        # A matrix product of another size may round its last bit differently.
        np.testing.assert_allclose(other.response, expected.response, rtol=1e-4, atol=1e-5)
        assert np.array_equal(other.response == 0, expected.response == 0)
    chunks = [conditions.take(slice(i, i + 90)) for i in range(0, 500, 90)]
    streamed = np.concatenate([c.response for c in generate_stream(surrogate, chunks, seed=7)])
    np.testing.assert_allclose(streamed, whole.response, rtol=1e-4, atol=1e-5)
    assert np.array_equal(generate(surrogate, conditions, seed=7).response, whole.response)
    assert not np.allclose(generate(surrogate, conditions, seed=8).response, whole.response)


def _beyond(conditions: Sample, name: str, row: int, value: float) -> Sample:
    changed = conditions[name].copy()
    changed[row] = value
    rest = {"weight": conditions.weight, "event_id": conditions.event_id}
    return Sample(conditions.schema, {**conditions.columns, name: changed}, **rest, source="file.root")


def test_outside_the_domain_is_refused_by_default(surrogate, conditions) -> None:
    with pytest.raises(DomainError) as caught:
        generate(surrogate, _beyond(conditions, "P", 123, 5000.0), seed=1)
    for part in ("file.root: 1 of rows 0 to 499 lie outside", "P in row 123: 5000", " GeV; check the column's unit"):
        assert part in str(caught.value)


def test_a_stream_counts_rows_from_its_beginning(surrogate, conditions) -> None:
    bad = _beyond(conditions, "P", 123, 5000.0)
    with pytest.raises(DomainError, match=r"1 of rows 100 to 199 lie outside .* P in row 123"):
        list(generate_stream(surrogate, [bad.take(slice(0, 100)), bad.take(slice(100, 200))], seed=1))


def test_clamped_rows_are_generated_at_the_edge_and_marked(surrogate, conditions) -> None:
    bad = _beyond(conditions, "P", 123, 5000.0)
    made = generate(surrogate, bad, seed=1, outside="clamp")
    edge = _beyond(conditions, "P", 123, float(surrogate.codec.high[0]))
    assert np.array_equal(made.response, generate(surrogate, edge, seed=1).response)
    assert np.flatnonzero(made["outside_domain"]).tolist() == [123]
    assert made["P"][123] == 5000.0  # what the user asked for is what stands in the file


def test_flagged_rows_are_generated_where_they_are(surrogate, conditions) -> None:
    made = generate(surrogate, _beyond(conditions, "P", 123, 5000.0), seed=1, outside="flag")
    assert np.flatnonzero(made["outside_domain"]).tolist() == [123]
    assert np.isfinite(made.response).all()
    again = generate(surrogate, made, seed=1, outside="flag")  # a marked file may be generated again
    assert np.array_equal(again["outside_domain"], made["outside_domain"])


def test_a_category_that_did_not_occur_cannot_be_clamped(toy, conditions) -> None:
    train = toy.sample(800, seed=4)
    only = Matching(toy.schema, MatchingConfig(width=8, blocks=1, solver_steps=1))
    only.prepare(train.take(train["SPECIES"] == 211), seed=1)
    conditions = conditions.take(np.abs(conditions["P"] - 20) < 15)
    for outside in ("refuse", "clamp"):
        with pytest.raises(DomainError, match=r"SPECIES in row \d+: 321, expected one of 211; select such rows away"):
            generate(only, conditions, seed=1, outside=outside)
    made = generate(only, conditions, seed=1, outside="flag")
    assert np.array_equal(made["outside_domain"] == 1, conditions["SPECIES"] == 321)


def test_no_rows_give_no_rows(surrogate, conditions) -> None:
    assert len(generate(surrogate, conditions.take(slice(0, 0)), seed=1)) == 0


def test_what_does_not_fit_is_refused(surrogate, conditions, toy) -> None:
    schema = Schema((Field("P", "MeV"), *toy.schema.condition[1:]), ())
    with pytest.raises(DataError, match=r"P \[MeV\] has shape .* expects P \[GeV\]"):
        generate(surrogate, Sample(schema, conditions.columns), seed=1)
    with pytest.raises(DataError, match="condition ETA is missing; the columns are P, SPECIES"):
        generate(surrogate, Sample(Schema(toy.schema.condition[::2], ()), conditions.columns), seed=1)
    with pytest.raises(DataError, match="has not been trained"):
        generate(Matching(toy.schema), conditions, seed=1)
    with pytest.raises(ConfigError, match="outside 'maybe'"):
        generate(surrogate, conditions, seed=1, outside="maybe")
    with pytest.raises(DataError, match="seed -1"):
        generate(surrogate, conditions, seed=-1)


def test_sample_is_what_generate_calls(surrogate, conditions) -> None:
    from parhelion.noise import normal

    noise = torch.as_tensor(normal(3, conditions.event_id, surrogate.noise_width))
    direct = surrogate.sample(torch.as_tensor(conditions.condition), noise).numpy()
    assert np.array_equal(direct, generate(surrogate, conditions, seed=3).response.astype(np.float32))


# --------------------------------------------------------------------------- which columns of a file
_SCHEMA = Schema(
    (Field("P", "GeV"), Field("pid", kind="category", values=(211, 321))), (Field("a"), Field("b"))
)  # fmt: skip


def test_a_foreign_file_gives_its_other_columns_as_well(tmp_path: Path) -> None:
    path = root_file(tmp_path / "x.root", columns(50))
    layout = condition_layout(_SCHEMA, path)
    assert [s.field.name for s in layout.condition] == ["P", "pid"]
    assert sorted(s.field.name for s in layout.extra) == ["mass", "w"]  # a and b are generated
    assert (layout.weight, layout.event_id, layout.response) == (None, (), ())
    assert condition_layout(_SCHEMA, path, drop=["w"]).extra[0].field.name == "mass"
    assert condition_layout(_SCHEMA, path, drop=["all"]).extra == ()


def test_weight_and_ids_of_a_foreign_file_are_found_by_name(tmp_path: Path) -> None:
    n = 50
    own = {"weight": np.linspace(-1, 1, n), "event_id": np.arange(n)[::-1].copy(), "group": np.arange(n) // 2}
    path = root_file(tmp_path / "x.root", {**columns(n), **own})
    sample = io.read(path, condition_layout(_SCHEMA, path))
    assert np.array_equal(sample.weight, own["weight"])
    assert np.array_equal(sample.event_id, own["event_id"])
    assert np.array_equal(sample.group, own["group"])
    assert np.array_equal(io.read(path, condition_layout(_SCHEMA, path, event_id=["row"])).event_id, np.arange(n))


def test_units_that_a_file_declares_are_converted(tmp_path: Path) -> None:
    data = columns(50)
    schema = Schema((Field("P", "MeV"), _SCHEMA.condition[1]), (), (Field("a"), Field("q")))
    sample = Sample(schema, {**data, "q": data["b"]}, event_id=np.arange(50) * 3)
    io.write(sample, tmp_path / "x.h5")
    layout = condition_layout(_SCHEMA, tmp_path / "x.h5")
    found = io.read(tmp_path / "x.h5", layout)
    np.testing.assert_allclose(found["P"], data["P"] / 1000, rtol=1e-12)
    assert found.schema["P"].unit == "GeV"
    assert [f.name for f in found.schema.extra] == ["q"]
    assert np.array_equal(found.event_id, sample.event_id)


def test_what_a_file_lacks_is_said(tmp_path: Path) -> None:
    data = columns(50)
    path = root_file(tmp_path / "x.root", {k: v for k, v in data.items() if k != "pid"})
    with pytest.raises(DataError, match="condition pid is missing; the columns are P, a, b"):
        condition_layout(_SCHEMA, path)
    path = root_file(tmp_path / "y.root", data)
    with pytest.raises(ConfigError, match="no other column zz to drop; there are"):
        condition_layout(_SCHEMA, path, drop=["zz"])
    with pytest.raises(ConfigError, match="P is a condition of the surrogate"):
        condition_layout(_SCHEMA, path, drop=["P"])
