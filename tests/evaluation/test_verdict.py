"""Requirements and the verdict."""

from __future__ import annotations

import json

import pytest

from parhelion.errors import ConfigError
from parhelion.evaluation import MetricResult, Quantity, Requirement, judge

NAN = float("nan")


def result(on="K-pi", value=0.0015, error=0.0004):
    mean = Quantity(value, error, 0.0013, 0.0002, 0.3)
    return MetricResult("auc_map", on, "mean", {"mean": mean, "max": Quantity(0.012, 0.003), "bad": Quantity(NAN)})


def test_passes_only_if_all_pass():
    good = Requirement("auc_map", max=0.002)
    bad = Requirement("auc_map", quantity="max", max=0.01)
    assert judge([result()], [good]).passed
    verdict = judge([result()], [good, bad])
    assert not verdict.passed
    assert [o.passed for o in verdict.outcomes] == [True, False]
    assert judge([result()], []).passed


def test_bounds_are_inclusive_and_two_sided():
    assert judge([result()], [Requirement("auc_map", max=0.0015, min=0.0015)]).passed
    assert not judge([result()], [Requirement("auc_map", min=0.0016)]).passed


def test_confidence_moves_the_value_towards_the_bound():
    assert judge([result()], [Requirement("auc_map", max=0.002, confidence=0.8)]).passed
    assert not judge([result()], [Requirement("auc_map", max=0.002, confidence=0.95)]).passed


def test_without_on_every_result_is_held_to_the_bound():
    verdict = judge([result("K-pi"), result("mu-pi", 0.003)], [Requirement("auc_map", max=0.002)])
    assert [(o.requirement.on, o.passed) for o in verdict.outcomes] == [("K-pi", True), ("mu-pi", False)]
    one = judge([result("K-pi"), result("mu-pi", 0.003)], [Requirement("auc_map", on="K-pi", max=0.002)])
    assert one.passed


def test_what_could_not_be_computed_fails():
    verdict = judge([result()], [Requirement("auc_map", quantity="bad", max=1.0)])
    assert not verdict.passed
    assert "could not be computed" in verdict.outcomes[0].sentence
    assert not judge([result(error=NAN)], [Requirement("auc_map", max=1.0, confidence=0.9)]).passed


def test_to_dict_says_it_in_numbers_and_words():
    found = judge([result()], [Requirement("auc_map", max=0.002)]).to_dict()
    json.dumps(found, allow_nan=False)
    outcome = found["outcomes"][0]
    assert (outcome["value"], outcome["null"], outcome["max"], outcome["passed"]) == (0.0015, 0.0013, 0.002, True)
    assert outcome["sentence"] == (
        "auc_map (K-pi) passes: mean is 0.00150 +- 0.00040, null 0.00130 +- 0.00020; required at most 0.002"
    )


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ({"metric": "auc", "max": 1.0}, "requirement on auc: this metric was not computed; there are auc_map"),
        ({"metric": "auc_map", "on": "p-pi", "max": 1.0}, "nothing is called 'p-pi'; there are K-pi"),
        ({"metric": "auc_map", "quantity": "rms", "max": 1.0}, "no quantity rms; choose one of mean, max, bad"),
        ({"metric": "auc_map"}, "neither max nor min"),
        ({"metric": "auc_map", "max": 1.0, "min": 2.0}, "min 2 is above max 1"),
        ({"metric": "auc_map", "max": 1.0, "confidence": 95.0}, "confidence 95, expected 0.5 to below 1"),
    ],
)
def test_a_requirement_on_nothing_is_an_error(requirement, message):
    with pytest.raises(ConfigError, match=message):
        judge([result()], [Requirement(**requirement)])
