"""Metrics on plain arrays."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from parhelion.errors import ConfigError, DataError, ShapeError
from parhelion.evaluation import AucMapOptions, AucPair, CorrelationOptions, HistogramOptions, arrays, histograms
from parhelion.evaluation.arrays import compare_arrays
from parhelion.sample import Field, Sample, Schema

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(400, 2)), RNG.normal(size=(300, 2))


def test_the_example_holds():
    assert doctest.testmod(arrays, raise_on_error=True).attempted > 0


def test_arrays_are_the_samples_they_stand_for():
    weight = RNG.normal(1.0, 1.0, 400)
    found = compare_arrays("histograms", X, Y, x_weight=weight, names=["a", "b"], options={"bins": 10}, seed=4)
    schema = Schema((), (Field("a"), Field("b")))
    first = Sample(schema, {"a": X[:, 0], "b": X[:, 1]}, weight=weight, source="x")
    second = Sample(schema, {"a": Y[:, 0], "b": Y[:, 1]}, event_id=np.arange(300) + 5000, source="y")
    direct = histograms(first, second, HistogramOptions(bins=10), seed=4)
    assert [r.to_dict() for r in found] == [r.to_dict() for r in direct]
    assert [r.on for r in found] == ["a", "b"]


def test_rows_are_paired_by_equal_conditions_alone():
    c = RNG.normal(size=400)
    options = CorrelationOptions(replicas=40)
    paired = compare_arrays("correlation", X, X + 0.1, x_condition=c, y_condition=c, options=options)[0]
    assert paired.details["paired"] is True
    assert paired.details["fields"] == ["c", "x0", "x1"]
    other = compare_arrays("correlation", X, X[::-1], x_condition=c, y_condition=c[::-1], options=options)[0]
    assert other.details["paired"] is False
    assert compare_arrays("correlation", X, X.copy(), options=options)[0].details["paired"] is False


def test_one_dimension_and_integers():
    result = compare_arrays("histograms", RNG.poisson(3, 500), RNG.poisson(3, 600))[0]
    assert result.on == "x"
    assert result.details["edges"][0] == -0.5


def test_categories_of_conditions():
    codes = np.where(np.arange(400) % 2 == 0, 211, 321)
    condition = np.column_stack([RNG.random(400), RNG.random(400), codes])
    options = AucMapOptions((AucPair("321", "211", "x0"),), "pid", "p", "eta", x_bins=1, y_bins=1, min_tracks=50)
    result = compare_arrays(
        "auc_map",
        X,
        X[:, ::-1],
        x_condition=condition,
        y_condition=condition,
        condition_names=["p", "eta", "pid"],
        categories=["pid"],
        options=options,
    )[0]
    assert result.on == "321-211: x0"
    assert result.p_value > 1e-3


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ConfigError, "metric nothing is unknown; choose one of", {"metric": "nothing"}),
        (
            ConfigError,
            "metric auc_map: give options with pairs, category, x, y .see AucMapOptions",
            {"metric": "auc_map"},
        ),
        (ConfigError, "metric histograms: there is no option bin; there are fields, ", {"options": {"bin": 3}}),
        (ConfigError, "options are int, expected HistogramOptions", {"options": 3}),
        (ConfigError, "names: expected a list of 2 names", {"names": ["a"]}),
        (ConfigError, "categories: there is no condition column q; there are none", {"categories": ["q"]}),
        (ShapeError, "y: 1 columns, expected those of x: 2", {"y": Y[:, 0]}),
        (ShapeError, r"x: shape \(2, 2, 2\), expected \(n,\) or \(n, d\)", {"x": np.ones((2, 2, 2))}),
        (ShapeError, "x: the rows have different lengths", {"x": [[1.0], [1.0, 2.0]]}),
        (DataError, "y: expected numbers", {"y": [["a", "b"]]}),
        (DataError, "x: field x1, row 0: NaN", {"x": [[1.0, np.nan]]}),
        (ShapeError, r"x: weight: expected shape \(400,\), got \(2,\)", {"x_weight": [1.0, 2.0]}),
        (DataError, "y: the sum of weights", {"y_weight": np.zeros(300)}),
        (DataError, "x_condition is given and y_condition is not", {"x_condition": np.ones(400)}),
        (
            ShapeError,
            "y_condition: 400 rows, expected 300",
            {"x_condition": np.ones(400), "y_condition": np.ones(400)},
        ),
        (DataError, "y: no rows", {"y": np.empty((0, 2))}),
    ],
)
def test_mistakes_are_told_in_terms_of_the_arrays(error, message, arguments):
    with pytest.raises(error, match=message):
        compare_arrays(**{"metric": "histograms", "x": X, "y": Y, **arguments})
