"""Requirements and the verdict."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parhelion.errors import ConfigError
from parhelion.evaluation import MetricResult, Quantity, Requirement, judge
from parhelion.evaluation.results.result import Bin

NAN = float("nan")


def result(on="K-pi", value=0.0015, error=0.0004):
    mean = Quantity(value, error, 0.0013, 0.0002, 0.3)
    return MetricResult("auc_map", on, "mean", {"mean": mean, "max": Quantity(0.012, 0.003), "bad": Quantity(NAN)})


def test_passes_only_if_all_pass():
    good = Requirement("auc_map", max=0.003)
    bad = Requirement("auc_map", quantity="max", max=0.001)
    assert judge([result()], [good]).passed
    verdict = judge([result()], [good, bad])
    assert (verdict.status, verdict.passed, verdict.exit_code) == ("fail", False, 1)
    assert [o.passed for o in verdict.outcomes] == [True, False]
    assert judge([result()], []).passed


def test_at_confidence_one_half_the_value_itself_decides():
    def status(**bounds):
        return judge([result()], [Requirement("auc_map", confidence=0.5, **bounds)]).status

    assert status(max=0.0015, min=0.0015) == "pass"
    assert status(min=0.0016) == "fail"
    assert status(max=0.0014) == "fail"


def test_close_to_the_bound_the_sample_cannot_tell():
    # 0.0015 +- 0.0004 at 95 %: 1.645 errors are 0.00066.
    def of(bound):
        return judge([result()], [Requirement("auc_map", max=bound)])

    assert of(0.0022).status == "pass"
    verdict = of(0.0018)
    assert (verdict.status, verdict.passed, verdict.exit_code) == ("cannot tell", False, 3)
    assert "cannot be told" in verdict.outcomes[0].sentence
    assert of(0.0008).status == "fail"


def test_rows_that_would_decide():
    details = {"rows": {"reference": 1000, "generated": 1000}}
    near = MetricResult("auc_map", "x", "mean", {"mean": Quantity(0.0015, 0.0004)}, details)
    outcome = judge([near], [Requirement("auc_map", max=0.0018)]).outcomes[0]
    # The error must shrink to (0.0018 - 0.0015) / 1.645, so 4.81 times as many rows.
    assert outcome.events_needed == 4800
    assert "about 4,800 rows would decide" in outcome.sentence
    at = MetricResult("auc_map", "x", "mean", {"mean": Quantity(0.0018, 0.0004)}, details)
    assert judge([at], [Requirement("auc_map", max=0.0018)]).outcomes[0].events_needed is None


def test_what_finite_samples_alone_make_does_not_fail():
    # The mean of |d| is 0.008 where nothing differs at all; the value is at that null, the bound is far below.
    details = {"rows": {"reference": 1000, "generated": 1000}}
    small = Quantity(0.0086, 0.0010, null=0.0080, null_error=0.0010, limit=0.0)
    outcome = judge([MetricResult("m", "x", "a", {"a": small}, details)], [Requirement("m", max=0.002)]).outcomes[0]
    assert outcome.status == "cannot tell"
    # Best estimate of the truth 0.0006: error and excess, 0.0096 together, must shrink to 0.0014.
    assert outcome.events_needed == pytest.approx(1000 * ((0.008 + 1.645 * 0.001) / 0.0014) ** 2, rel=0.03)
    large = Quantity(0.0200, 0.0010, null=0.0080, null_error=0.0010, limit=0.0)
    assert judge([MetricResult("m", "x", "a", {"a": large}, details)], [Requirement("m", max=0.002)]).status == "fail"
    # A null that stays, as chi2/ndf of 1, excuses nothing.
    stays = Quantity(1.5, 0.1, null=1.0, null_error=0.1)
    assert judge([MetricResult("m", "x", "a", {"a": stays}, details)], [Requirement("m", max=1.2)]).status == "fail"


def test_verdicts_err_at_the_stated_rate():
    # True value 1.0 at the bound 1.0: neither pass nor fail may be said more often than 5 % of the time.
    values = 1.0 + 0.1 * np.random.default_rng(1).normal(size=4000)
    found = [
        judge([MetricResult("m", "x", "a", {"a": Quantity(v, 0.1)})], [Requirement("m", max=1.0)]).status
        for v in values
    ]
    for status in ("pass", "fail"):
        assert found.count(status) / 4000 == pytest.approx(0.05, abs=0.012)


def test_every_bin_is_held_to_the_bound():
    def of(*bins, bound=0.005, confidence=0.95):
        parts = tuple(Bin(f"P {i}", d, e) for i, (d, e) in enumerate(bins))
        made = MetricResult("m", "x", "a", {"a": Quantity(0.0)}, {"rows": {"reference": 100}}, bins=parts)
        return judge([made], [Requirement("m", bins="every", max=bound, confidence=confidence)]).outcomes[0]

    assert of((0.001, 0.001), (-0.002, 0.001)).status == "pass"
    bad = of((0.001, 0.001), (-0.012, 0.001))
    assert (bad.status, bad.where) == ("fail", "P 1")
    assert "the difference at P 1 is 0.0120 +- 0.0010" in bad.sentence
    vague = of((0.001, 0.001), (-0.002, 0.004))
    assert (vague.status, vague.where, vague.events_needed) == ("cannot tell", "P 1", 480)
    # 1.8 errors outside fail for one bin, not for the worst of twenty.
    assert of((0.0068, 0.001)).status == "fail"
    assert of(*[(0.001, 0.001)] * 19, (0.0068, 0.001)).status == "cannot tell"
    with pytest.raises(ConfigError, match="there are no bins"):
        judge([result()], [Requirement("auc_map", bins="every", max=1.0)])
    with pytest.raises(ConfigError, match="remove quantity and min"):
        Requirement("m", bins="every", quantity="mean", max=1.0)


def test_what_the_loss_has_seen_is_no_test():
    seen = MetricResult("histograms", "width", "a", {"a": Quantity(0.0, 0.1)}, fields=("width",))
    with pytest.raises(ConfigError, match="the training's loss has seen width, so this is no test"):
        judge([seen], [Requirement("histograms", max=1.0)], seen=["width", "length"])
    both = MetricResult("frechet", "all", "a", {"a": Quantity(0.0, 0.1)}, fields=("width", "mass"))
    assert judge([both], [Requirement("frechet", max=1.0)], seen=["width"]).passed


def test_without_on_every_result_is_held_to_the_bound():
    verdict = judge([result("K-pi"), result("mu-pi", 0.004)], [Requirement("auc_map", max=0.0025)])
    assert [(o.requirement.on, o.passed) for o in verdict.outcomes] == [("K-pi", True), ("mu-pi", False)]
    one = judge([result("K-pi"), result("mu-pi", 0.004)], [Requirement("auc_map", on="K-pi", max=0.0025)])
    assert one.passed


def test_what_could_not_be_computed_does_not_pass():
    verdict = judge([result()], [Requirement("auc_map", quantity="bad", max=1.0)])
    assert verdict.status == "cannot tell"
    assert "could not be computed" in verdict.outcomes[0].sentence
    assert not judge([result(error=NAN)], [Requirement("auc_map", max=1.0, confidence=0.9)]).passed


def test_to_dict_says_it_in_numbers_and_words():
    found = judge([result()], [Requirement("auc_map", max=0.0025)]).to_dict()
    json.dumps(found, allow_nan=False)
    outcome = found["outcomes"][0]
    assert (outcome["value"], outcome["null"], outcome["max"], outcome["passed"]) == (0.0015, 0.0013, 0.0025, True)
    assert outcome["sentence"] == (
        "auc_map (K-pi) passes: mean is 0.00150 +- 0.00040, null 0.00130 +- 0.00020; "
        "required at most 0.0025 at 95 % confidence"
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
