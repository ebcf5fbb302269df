"""Tails: indices and fits against scipy and exact truth, ratios against binomials, nulls, power, signed weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import Requirement, evaluate, judge
from parhelion.evaluation.distributions.tail_fits import fit_shape, hill_index, pareto_index
from parhelion.evaluation.distributions.tails import METRIC, TailOptions, tails
from parhelion.evaluation.statistics.intervals import binomial_interval, ratio_interval
from parhelion.report.content import ReportContent
from parhelion.report.families.tails import entries
from parhelion.report.style import render
from parhelion.sample import Field, Sample, Schema
from parhelion.simulators.toys import Camel, LogNormalTerms, Pareto, as_sample, draw, simulate

QUANTITIES = METRIC.quantities
UPPER = TailOptions(sides=("upper",))


def signed_weights(rng, background):
    """Weights as of sPlot: two values whose mean is 1 for signal and 0 for background."""
    peak = rng.random(len(background)) < np.where(background, 0.35, 0.9)
    a, b = np.linalg.solve([[0.9, 0.1], [0.35, 0.65]], [1.0, 0.0])
    return np.where(peak, a, b)


def signed_sample(n, seed, scale=1.0):
    """Exponential signal of the given scale, and background with a shorter tail that the weights cancel."""
    rng = np.random.default_rng(seed)
    background = rng.random(n) < 0.4
    x = rng.exponential(np.where(background, 0.5, scale))
    return as_sample(x, first_id=seed * 10**7).with_weight(signed_weights(rng, background))


# ------------------------------------------------------------------------------------------------ indices and fits
@pytest.mark.parametrize("xi", [-0.3, 0.0, 0.3, 1.0])
def test_likelihood_index_agrees_with_scipy(xi):
    y = stats.genpareto.rvs(xi, scale=3.0, size=800, random_state=4)
    found = pareto_index(y, method="likelihood")
    assert found.method == "likelihood"
    assert found.value == pytest.approx(stats.genpareto.fit(y, floc=0)[0], abs=1e-3)
    # Smith (1985): variance (1 + xi)^2 / n.
    assert found.error() == pytest.approx((1 + xi) / np.sqrt(800), rel=0.15)


@pytest.mark.parametrize(
    ("method", "xi"), [("moments", -0.7), ("moments", 0.2), ("likelihood", 0.2), ("likelihood", 0.8)]
)
def test_index_is_unbiased_and_its_error_right(method, xi):
    found = [pareto_index(stats.genpareto.rvs(xi, size=400, random_state=seed), method=method) for seed in range(150)]
    pulls = np.array([(e.value - xi) / e.error() for e in found])
    # A bias of order 1 / n is left: 0.3 sigma at most here.
    assert abs(pulls.mean()) < 0.3
    assert pulls.std() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("method", ["moments", "likelihood"])
def test_index_with_signed_weights_is_that_of_the_signal(method):
    values, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        background = rng.random(1500) < 0.4
        y = np.where(background, rng.exponential(0.5, 1500), stats.genpareto.rvs(0.2, size=1500, random_state=rng))
        found = pareto_index(y, signed_weights(rng, background), method)
        values.append(found.value)
        errors.append(found.error())
    assert np.mean(values) == pytest.approx(0.2, abs=4 * np.std(values) / np.sqrt(60) + 0.01)
    assert np.median(errors) == pytest.approx(np.std(values), rel=0.25)


def test_weights_count_as_repeated_rows():
    y = stats.genpareto.rvs(0.2, size=300, random_state=1)
    times = np.random.default_rng(0).integers(1, 4, 300)
    for method in ("moments", "likelihood"):
        repeated = pareto_index(np.repeat(y, times), method=method)
        assert pareto_index(y, times, method).value == pytest.approx(repeated.value, abs=1e-5)
    assert hill_index(1 + y, 1.0, times).value == pytest.approx(hill_index(np.repeat(1 + y, times), 1.0).value)
    # Rows of one group move together: twice the rows in pairs, the same error.
    twice = pareto_index(np.repeat(y, 2))
    assert twice.error(np.repeat(np.arange(300), 2)) == pytest.approx(pareto_index(y).error(), rel=1e-6)


def test_indices_do_not_depend_on_the_unit():
    y = stats.genpareto.rvs(0.2, size=300, random_state=1)
    for method in ("moments", "likelihood"):
        assert pareto_index(1e6 * y, method=method).value == pytest.approx(
            pareto_index(y, method=method).value, abs=1e-6
        )
    assert hill_index(1e6 * (1 + y), 1e6).value == pytest.approx(hill_index(1 + y, 1.0).value)


def test_hill_index_of_a_power_law():
    x = draw(Pareto(2.5), 20_000, 1)[:, 0]
    found = hill_index(x[x > 3], 3.0)
    assert found.error() == pytest.approx(found.value / np.sqrt(np.sum(x > 3)), rel=0.1)
    assert found.value == pytest.approx(0.4, abs=4 * found.error())


@pytest.mark.parametrize("signed", [False, True])
def test_chi2_of_an_exponential_fit_has_its_distribution(signed):
    edges = -np.log(1 - np.arange(1, 6) / 6)
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        background = rng.random(900) < (0.4 if signed else 0.0)
        y = rng.exponential(np.where(background, 0.4, 1.0))
        weight = signed_weights(rng, background) if signed else None
        found.append(fit_shape("exponential", 5 + y, 5.0, 5 + edges, weight))
    assert {f.chi2.ndf for f in found} == {5}
    assert np.mean([f.chi2.value for f in found]) == pytest.approx(5.0, abs=1.0)
    assert stats.kstest([f.p_value for f in found], "uniform").pvalue > 1e-3


def test_the_wrong_shape_does_not_fit():
    x = draw(Pareto(2.0), 5000, 2)[:, 0]
    edges = 2.0 * np.geomspace(1.1, 5, 8)
    rows = x[x > 2]
    assert fit_shape("power law", rows, 2.0, edges).p_value > 1e-3
    assert fit_shape("exponential", rows, 2.0, edges).p_value < 1e-6
    assert np.isnan(fit_shape("power law", rows - 3, -1.0, edges).parameter)
    with pytest.raises(DataError, match="above the threshold 5"):
        fit_shape("exponential", rows, 5.0, edges)


def test_intervals_are_those_of_scipy():
    for k, n in ((0, 10), (3, 10), (10, 10)):
        exact = stats.binomtest(k, n).proportion_ci(0.9, "exact")
        assert np.allclose(binomial_interval(k, n, 0.9), (exact.low, exact.high))
    low, high = ratio_interval(3, 7, 2.0, 0.9)
    exact = stats.binomtest(3, 10).proportion_ci(0.9, "exact")
    assert low == pytest.approx(2 * exact.low / (1 - exact.low))
    assert high == pytest.approx(2 * exact.high / (1 - exact.high))
    assert ratio_interval(3, 0)[1] == np.inf


# ------------------------------------------------------------------------------------------------ the metric
def test_exceedances_are_counts():
    ours, theirs = simulate(LogNormalTerms(1), 20_000, 1), simulate(LogNormalTerms(1, 0.1), 10_000, 2)
    theirs = as_sample(theirs["x"], first_id=10**7)
    result = tails(ours, theirs, UPPER, seed=1)[0]
    rows = result.details["thresholds"]
    assert rows["level"] == [0.99, 0.999, 0.9999]
    assert rows["usable"] == [True, False, False]
    for i, at in enumerate(rows["at"]):
        k, n = np.sum(theirs["x"] > at), np.sum(ours["x"] > at)
        assert n == round((1 - rows["level"][i]) * 20_000)
        assert rows["generated"]["share"][i] == pytest.approx(k / 10_000)
        assert rows["reference"]["effective"][i] == pytest.approx(n)
        exact = stats.binomtest(int(k), int(k + n)).proportion_ci(0.6827, "exact")
        assert rows["ratio"][i] == pytest.approx(2 * k / n)
        assert rows["ratio_high"][i] == pytest.approx(2 * exact.high / (1 - exact.high))
    ratio = result.quantity("ratio")
    k, n = np.sum(theirs["x"] > rows["at"][0]), 200
    assert ratio.value == pytest.approx(abs(np.log((k + 0.5) / (n + 0.5) * 2)), abs=1e-9)
    assert ratio.error == pytest.approx(np.sqrt(1 / k + 1 / n), rel=0.05)
    assert result.details["last_usable_share"] == pytest.approx(25 / 20_000)
    assert result.fields == ("x",)


def test_lower_tail_is_the_upper_tail_of_the_mirror_image():
    ours, theirs = simulate(LogNormalTerms(1), 3000, 1), as_sample(draw(LogNormalTerms(1), 3000, 2), first_id=10**7)
    upper = tails(ours, theirs, UPPER, seed=1)[0]
    mirrored = [s.with_response(-s.response, source="mirror") for s in (ours, theirs)]
    lower = tails(*mirrored, TailOptions(sides=("lower",)), seed=1)[0]
    for key in QUANTITIES:
        assert lower.quantity(key).value == pytest.approx(upper.quantity(key).value)
    assert lower.details["thresholds"]["at"] == [-t for t in upper.details["thresholds"]["at"]]
    assert lower.on == "x, lower tail"


def test_the_last_training_event_is_a_threshold():
    ours, theirs = simulate(Camel(), 5000, 1), as_sample(draw(Camel(), 5000, 2), first_id=10**7)
    train = simulate(Camel(), 100, 3)
    for side, extreme in (("upper", np.max), ("lower", np.min)):
        result = tails(ours, theirs, TailOptions(sides=(side,)), seed=1, train=train)[0]
        assert result.details["thresholds"]["at"][-1] == pytest.approx(extreme(train["x"]))
        assert result.details["thresholds"]["level"][-1] is None


def test_the_registry_hands_on_the_training_sample_where_there_is_one():
    ours, theirs = simulate(Camel(), 1000, 1), as_sample(draw(Camel(), 1000, 2), first_id=10**7)
    train = simulate(Camel(), 100, 3)
    with_train, without = (evaluate(ours, theirs, [("tails", UPPER)], seed=1, train=t)[0] for t in (train, None))
    assert with_train.details["thresholds"]["at"][-1] == pytest.approx(np.max(train["x"]))
    assert len(without.details["thresholds"]["at"]) == len(UPPER.levels)


def test_a_tail_without_a_positive_sum_says_so():
    rng = np.random.default_rng(1)
    x = rng.normal(size=4000)
    weight = np.where(x > 1.0, rng.choice([1.0, -1.5], 4000), 1.0)
    ours, theirs = as_sample(rng.normal(size=4000)), as_sample(x, first_id=10**6).with_weight(weight)
    result = tails(ours, theirs, UPPER, seed=1)[0]
    assert not np.isfinite(result.quantity("index").value)
    sentence = judge([result], [Requirement("tails", quantity="index", max=1)]).outcomes[0].sentence
    assert "index could not be computed: the weights of the" in sentence
    assert "use more rows or a larger tail_share" in sentence


@pytest.mark.parametrize(("paired", "signed"), [(True, False), (False, True)])
def test_p_values_are_uniform_and_nulls_right(pid, paired, signed):
    results = []
    for seed in range(40):
        reference = pid.toy(3000, seed, signed=signed)
        at = reference if paired else pid.toy(3000, 10_000 + seed, first_id=10**7, signed=signed)
        options = replace(UPPER, fields=("DLLk",))
        results += tails(reference, pid.copy_of(at, seed), options, seed=seed)
    for key in QUANTITIES:
        found = [r.quantity(key) for r in results]
        p = np.array([q.p_value for q in found])
        assert stats.kstest(p, "uniform").pvalue > 1e-3, key
        if key != "index":
            value = np.array([q.value for q in found])
            null, spread = (np.mean([getattr(q, name) for q in found]) for name in ("null", "null_error"))
            # Four standard errors of the mean of 40.
            assert value.mean() == pytest.approx(null, abs=0.63 * spread)


@pytest.mark.parametrize("signed", [False, True])
def test_a_light_tail_is_found(signed):
    if signed:
        ours, theirs = signed_sample(20_000, 1), signed_sample(20_000, 2, scale=0.7)
    else:
        ours = as_sample(np.random.default_rng(1).exponential(size=20_000))
        theirs = as_sample(np.random.default_rng(2).exponential(0.7, size=20_000), first_id=10**7)
    result = tails(ours, theirs, UPPER, seed=1)[0]
    assert result.p_value < 1e-4
    assert result.quantity("ratio").p_value < 1e-3
    # Both are exponential: the index is the same.
    assert result.quantity("index").p_value > 1e-3


def test_a_power_law_that_is_cut_off_is_found_by_its_index():
    ours = simulate(Pareto(3.0), 50_000, 1)
    x = draw(Pareto(3.0), 50_000, 2)[:, 0]
    theirs = as_sample(np.minimum(x, 6 + 0.1 * (x - 6)), first_id=10**7)
    result = tails(ours, theirs, UPPER, seed=1)[0]
    assert result.quantity("index").p_value < 1e-3
    assert result.details["pareto"]["reference"]["value"] == pytest.approx(1 / 3, abs=0.2)
    assert result.details["fits"]["power law"]["reference"]["p_value"] > 1e-3
    assert result.details["fits"]["exponential"]["reference"]["p_value"] < 1e-3


def test_groups_widen_errors():
    rng = np.random.default_rng(0)
    x, y = rng.exponential(size=(2, 5000))

    def twice(values, first):
        schema = Schema((Field("one"),), (Field("x"),))
        group = np.repeat(np.arange(first, first + len(values)), 2)
        columns = {"one": np.ones(2 * len(values)), "x": np.repeat(values, 2)}
        return Sample(schema, columns, event_id=np.arange(2 * first, 2 * first + len(group)), group=group)

    options = replace(UPPER, tail_share=0.05, levels=(0.99,))
    single = tails(as_sample(x), as_sample(y, first_id=10**6), options, seed=1)[0]
    double = tails(twice(x, 0), twice(y, 10**6), options, seed=1)[0]
    for key in ("ratio", "index"):
        assert double.quantity(key).null == pytest.approx(single.quantity(key).null, rel=0.25)
    wrong = tails(as_sample(np.repeat(x, 2)), as_sample(np.repeat(y, 2), first_id=10**6), options, seed=1)[0]
    assert wrong.quantity("index").null < 0.85 * single.quantity("index").null


def test_categories_have_results_of_their_own(pid):
    reference = pid.toy(3000, 1)
    results = tails(reference, pid.copy_of(reference, 2), TailOptions(by="Type"), seed=1, train=reference)
    assert [r.on for r in results[:2]] == ["DLLk, upper tail", "DLLk, lower tail"]
    assert {r.details["category"] for r in results} == {None, "pi", "K"}
    assert len({r.on for r in results}) == len(results) == 12


# ------------------------------------------------------------------------------------------------ unusual input
def test_no_difference_is_no_difference(pid):
    reference = pid.toy(2000, 1, signed=True)
    for result in tails(reference, reference.with_weight(3 * reference.weight), TailOptions(), seed=1):
        assert all(q.value == 0 and q.p_value == 1 for q in result.quantities.values())


def test_odd_samples_give_plain_answers():
    n = 500
    constant, integer = np.full(n, 4.0), np.random.default_rng(0).poisson(3, n).astype(float)
    far = np.random.default_rng(1).normal(1e6, 1, n)
    ordinary = np.random.default_rng(2).normal(size=n)
    cases = [constant, integer, far, ordinary[:3], np.where(ordinary > 0, 0.0, ordinary)]
    for x in cases:
        for y in cases:
            for result in tails(as_sample(x), as_sample(y, first_id=10**6), TailOptions(), seed=1):
                json.dumps(result.to_dict(), allow_nan=False)
                for key in ("chi2_ndf", "ratio"):
                    found = result.quantity(key)
                    assert np.isfinite([found.value, found.error, found.null, found.null_error]).all()
                    assert 0 <= found.p_value <= 1
    empty = tails(as_sample(ordinary), as_sample(ordinary - 100, first_id=10**6), UPPER, seed=1)[0]
    assert empty.p_value < 1e-6
    assert empty.quantity("ratio").p_value < 0.05


def test_a_field_without_tails_has_no_figure():
    rng = np.random.default_rng(1)
    schema = Schema((), (Field("charge"), Field("x")))
    samples = [
        Sample(
            schema, {"charge": rng.choice([-1.0, 1.0], 2000), "x": rng.normal(size=2000)}, event_id=np.arange(2000) + i
        )
        for i in (0, 10_000)
    ]
    found = tails(*samples, TailOptions(), seed=1)
    assert {r.details["field"] for r in found} == {"charge", "x"}
    drawn = list(entries(ReportContent("toy", results=found)))
    assert [entry.name for entry in drawn] == ["tails_x"]
    for entry in drawn:
        assert render(entry.figure, "svg")


def test_mistakes_are_told_in_one_sentence(pid):
    reference = pid.toy(200, 1)
    for options, message in (
        (TailOptions(fields=("DLLmu",)), "no field DLLmu"),
        (TailOptions(fields=("Type",)), "Type is a category"),
        (TailOptions(by="P"), "P is continuous, expected a category"),
    ):
        with pytest.raises(ConfigError, match=message):
            tails(reference, reference, options, seed=1)
    for wrong, message in (
        ({"sides": ("left",)}, "sides"),
        ({"levels": ()}, "levels"),
        ({"levels": (1.0,)}, "levels"),
        ({"bins": 1}, "bins 1"),
        ({"tail_share": 0.0}, "tail_share 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            TailOptions(**wrong)
