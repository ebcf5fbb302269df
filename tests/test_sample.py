"""The Sample: what it refuses, where it says so, and what its views give."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.errors import DataError, ShapeError
from parhelion.sample import Field, Sample, Schema, concatenate, flatten, unflatten

SCHEMA = Schema(
    condition=(Field("P", "GeV"), Field("species", kind="category", values=(11, 211), labels=("e", "pi"))),
    response=(Field("image", "GeV", (2, 3)), Field("hits", kind="integer")),
    extra=(Field("mass", "GeV"),),
)


def columns(rows=4):
    return {
        "P": np.linspace(1, 2, rows),
        "species": np.resize([11, 211], rows),
        "image": np.arange(rows * 6.0).reshape(rows, 2, 3),
        "hits": np.arange(rows),
        "mass": np.full(rows, 3.1),
    }


def test_defaults():
    sample = Sample(SCHEMA, columns())
    assert len(sample) == 4
    np.testing.assert_array_equal(sample.weight, 1)
    np.testing.assert_array_equal(sample.event_id, np.arange(4))
    np.testing.assert_array_equal(sample.group, sample.event_id)
    assert repr(sample) == "Sample(sample: 4 rows; condition ['P', 'species'], response ['image', 'hits'])"


def test_flat_views_and_their_inverse():
    sample = Sample(SCHEMA, columns())
    assert sample.condition.shape == (4, 2)
    assert sample.response.shape == (4, 7)
    np.testing.assert_array_equal(sample.response[1], [6, 7, 8, 9, 10, 11, 1])
    back = unflatten(sample.response, SCHEMA.response)
    np.testing.assert_array_equal(back["image"], sample["image"])
    assert back["hits"].dtype == np.int64
    np.testing.assert_array_equal(flatten(back, SCHEMA.response, 4), sample.response)
    assert flatten({}, (), 3).shape == (3, 0)
    with pytest.raises(ShapeError, match=r"expected shape \(n, 7\), got \(4, 6\)"):
        unflatten(np.ones((4, 6)), SCHEMA.response)


def test_generated_response_keeps_conditions_weights_ids():
    sample = Sample(SCHEMA, columns(), weight=[1, -1, 2, 1], event_id=[9, 8, 7, 6], group=[1, 1, 2, 2])
    generated = sample.with_response(sample.response + 0.4, source="surrogate")
    np.testing.assert_array_equal(generated["hits"], sample["hits"])
    np.testing.assert_array_equal(generated.condition, sample.condition)
    np.testing.assert_array_equal(generated.weight, sample.weight)
    np.testing.assert_array_equal(generated.event_id, sample.event_id)
    np.testing.assert_array_equal(generated.group, sample.group)
    assert generated.source == "surrogate"


def test_take_concatenate_weight_extra():
    sample = Sample(SCHEMA, columns(), weight=[1, -1, 2, 1], group=[1, 1, 2, 2])
    halves = [sample.take(np.array([0, 1])), sample.take(slice(2, None))]
    joined = concatenate(halves)
    for name in sample.columns:
        np.testing.assert_array_equal(joined[name], sample[name])
    np.testing.assert_array_equal(joined.group, sample.group)
    assert len(sample.take(sample.weight < 0)) == 1
    assert sample.with_weight(np.ones(4)).weights.negative_share == 0
    more = sample.with_extra(Field("q"), np.arange(4))
    np.testing.assert_array_equal(more["q"], np.arange(4))
    with pytest.raises(DataError, match="declare different fields"):
        concatenate([sample, more])
    with pytest.raises(DataError, match="event id 0 in row 4 occurs more than once"):
        concatenate([sample, sample])
    with pytest.raises(DataError, match="there is no sample"):
        concatenate([])


def test_sum_of_weights():
    sample = Sample(SCHEMA, columns(), weight=[1, -1, -2, 1], source="f.root")
    with pytest.raises(DataError, match=r"f\.root: the sum of weights is -1"):
        sample.require_positive_total()
    sample.with_weight([1, 1, 1, -1]).require_positive_total()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"P": None}, DataError, r"f\.root: column P is missing; the columns are species, image, hits, mass"),
        ({"P": [1.0, 2, np.nan, np.inf]}, DataError, r"field P, row 2: NaN or infinity.*\(2 of 4 rows\)"),
        ({"image": np.ones((4, 3, 2))}, ShapeError, r"field image: expected shape \(4, 2, 3\), got \(4, 3, 2\)"),
        ({"mass": np.ones(3)}, ShapeError, r"field mass: expected shape \(4,\), got \(3,\)"),
        ({"species": [11, 11, 13, 211]}, DataError, "field species, row 2: 13 is not one of 11, 211"),
        ({"mass": ["a"] * 4}, DataError, "field mass: expected numbers, got type <U1"),
        ({"mass": 3.1}, ShapeError, "field mass: expected one value a row, got a single float"),
        ({"image": [[1, 2], [3]]}, ShapeError, "field image: the rows have different shapes"),
        ({"weight": [1, 1, np.nan, 1]}, DataError, r"weight, row 2: NaN"),
        ({"weight": ["a"] * 4}, DataError, r"weight: expected numbers, got type <U1"),
        ({"weight": np.ones(5)}, ShapeError, r"weight: expected shape \(4,\), got \(5,\)"),
        ({"event_id": [1, 2, 3, 2]}, DataError, "event id 2 in row 3 occurs more than once"),
        ({"event_id": [1, 2.5, 3, 4]}, DataError, r"event id, row 1: 2\.5 is not an integer"),
        ({"event_id": ["a"] * 4}, DataError, "event id: expected integers, got type <U1"),
        ({"group": np.ones((4, 2), int)}, ShapeError, r"group: expected shape \(4,\), got \(4, 2\)"),
    ],
)
def test_refused_with_the_place(change, error, message):
    options = {k: v for k, v in change.items() if k in ("weight", "event_id", "group")}
    table = columns() | {k: v for k, v in change.items() if k not in options}
    with pytest.raises(error, match=message):
        Sample(SCHEMA, {k: v for k, v in table.items() if v is not None}, source="f.root", **options)


def test_image_nan_is_counted_by_row():
    table = columns()
    table["image"][1, 0, 2] = table["image"][1, 1, 1] = np.nan
    with pytest.raises(DataError, match=r"field image, row 1: NaN or infinity.*\(1 of 4 rows\)"):
        Sample(SCHEMA, table)


def test_huge_ids_keep_their_bits():
    ids = np.array([2**64 - 1, 2**63, 3, 2**53 + 1], dtype=np.uint64)
    np.testing.assert_array_equal(Sample(SCHEMA, columns(), event_id=ids).event_id.view(np.uint64), ids)


def test_empty_sample():
    sample = Sample(SCHEMA, {k: v[:0] for k, v in columns().items()})
    assert len(sample) == 0
    assert sample.response.shape == (0, 7)


def test_schema_and_field_declarations():
    assert (SCHEMA.condition_width, SCHEMA.response_width) == (2, 7)
    assert SCHEMA["P"].title == "P [GeV]"
    assert SCHEMA["hits"].title == "hits"
    assert SCHEMA["species"].label_of(211) == "pi"
    assert SCHEMA["species"].label_of(13) == "13"
    with pytest.raises(DataError, match="no field Q; there are P, species, image, hits, mass"):
        SCHEMA["Q"]
    with pytest.raises(DataError, match="field P is declared 2 times"):
        Schema((Field("P"),), (Field("P"),))
    with pytest.raises(DataError, match="field k: a category is a scalar with at least two distinct values"):
        Field("k", kind="category", values=(1,))
    with pytest.raises(DataError, match="field k: 1 labels for 2 values"):
        Field("k", kind="category", values=(1, 2), labels=("a",))
