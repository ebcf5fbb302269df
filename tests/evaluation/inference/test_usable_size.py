"""Usable sample size: known biases, oracles for each kind of parameter, signed weights, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import gamma, norm

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.inference.estimates import (
    bias_from_ratio,
    density_slope,
    fraction_score,
    mean_estimate,
    train_share,
    width_estimate,
)
from parhelion.evaluation.inference.parameters import Parameter
from parhelion.evaluation.inference.usable import (
    ALL,
    LARGEST,
    METRIC,
    UsableSizeOptions,
    rounded,
    usable_events,
    usable_size,
)
from parhelion.report.content import ReportContent
from parhelion.report.families.inference import entries, headline_sentence
from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema(
    (Field("c"), Field("kind", kind="category", values=(0, 1), labels=("pi", "K"))),
    (Field("x", "GeV"),),
    (Field("score", "1/GeV"),),
)
N = 20_000


def build(x, score=None, *, c=None, weight=None, first_id=0, group=None, kind=None):
    n = len(x)
    columns = {
        "c": np.zeros(n) if c is None else c,
        "kind": np.arange(n) % 2 if kind is None else kind,
        "x": x,
        "score": x if score is None else score,
    }
    return Sample(SCHEMA, columns, weight=weight, event_id=np.arange(first_id, first_id + n), group=group)


def only(reference, generated, *parameters, **options):
    options = {"replicas": 40, **options}
    return usable_size(reference, generated, UsableSizeOptions(parameters, **options), seed=1)[1:]


@pytest.fixture(scope="module")
def quantiles():
    return (np.random.default_rng(3).permutation(N) + 0.5) / N


def test_the_numbers_of_events():
    found = usable_events(0.02, 0.01)
    assert found.central == pytest.approx(100)
    assert found.limit == pytest.approx((0.2 / (0.02 + 1.6449 * 0.01)) ** 2, rel=1e-4)
    assert found.best == pytest.approx((0.2 / 0.016449) ** 2, rel=1e-4)
    assert usable_events(-0.02, 0.01) == found
    assert usable_events(0.0, 0.0).limit == LARGEST
    assert usable_events(0.0, 0.01, confidence=0.99).limit < usable_events(0.0, 0.01).limit
    assert usable_events(0.1, 0.0, tolerance=0.4).central == pytest.approx(16)


@pytest.mark.parametrize(
    ("kind", "reference", "generated", "beta"),
    [
        # Bias over the error of one event, with the sign of reference minus generated.
        ("mean", ndtri, lambda u: ndtri(u) + 0.05, -0.05),
        ("mean", lambda u: 3 * ndtri(u), lambda u: 3 * ndtri(u) + 0.15, -0.05),
        ("width", ndtri, lambda u: 1.03 * ndtri(u), -0.03 * np.sqrt(2)),
        ("shift", ndtri, lambda u: ndtri(u) + 0.05, -0.05),
        # Location of a logistic: information 1 / 3.
        ("shift", lambda u: np.log(u / (1 - u)), lambda u: np.log(u / (1 - u)) + 0.1, -0.1 / np.sqrt(3)),
        # Scale of a gamma: information k.
        ("scale", lambda u: gamma.ppf(u, 4), lambda u: 1.02 * gamma.ppf(u, 4), -0.02 * 2),
        ("score", lambda u: gamma.ppf(u, 4) - 4, lambda u: 1.02 * gamma.ppf(u, 4) - 4, -0.02 * 2),
    ],
)
def test_known_biases(quantiles, kind, reference, generated, beta):
    ours, theirs = build(reference(quantiles)), build(generated(quantiles))
    (found,) = only(ours, theirs, Parameter(kind, "score" if kind == "score" else "x"))
    d = found.details
    # A score smoothed from 20,000 rows has up to a tenth less information.
    assert d["bias"] / d["event_error"] == pytest.approx(beta, rel=0.05)
    assert d["central"] == pytest.approx(0.04 / beta**2, rel=0.1)
    assert d["limit"] <= d["central"]
    assert found.quantity("bias_over_error").value == pytest.approx(abs(beta) * np.sqrt(N), rel=0.05)
    assert found.quantity("bias").unit == d["unit"] == {"scale": "", "score": "1/(1/GeV)"}.get(kind, "GeV")


def test_units_of_the_bias(quantiles):
    ours = build(np.log(quantiles / (1 - quantiles)))
    (found,) = only(ours, build(ours["x"] + 0.1), Parameter("shift", "x"))
    assert found.details["bias"] == pytest.approx(-0.1, rel=0.02)
    assert found.details["information"] == pytest.approx(1 / 3, rel=0.04)
    ours = build(gamma.ppf(quantiles, 4))
    (found,) = only(ours, build(1.02 * ours["x"]), Parameter("scale", "x"))
    assert found.details["bias"] == pytest.approx(-0.02, rel=0.03)


def test_a_fraction_is_a_binomial():
    rng = np.random.default_rng(1)
    ours, theirs = build(rng.normal(size=N)), build(rng.normal(0.1, 1, N), first_id=10**6)
    (found,) = only(ours, theirs, Parameter("fraction", "x", threshold=1.0, category="kind", value="K"))
    rows = ours["kind"] == 1
    p, q = (ours["x"][rows] > 1).mean(), (theirs["x"][rows] > 1).mean()
    assert found.on == "share of K with x > 1"
    assert found.details["bias"] == pytest.approx(p - q)
    assert found.details["event_error"] == pytest.approx(np.sqrt(p * (1 - p)))
    assert found.details["bias_error"] == pytest.approx(np.sqrt((p * (1 - p) + q * (1 - q)) / rows.sum()), rel=1e-6)


def test_a_template_has_the_information_of_the_exact_likelihood():
    rng = np.random.default_rng(1)
    kind = np.arange(2 * N) % 2
    ours = build(rng.normal(2.0 * kind - 1), kind=kind)
    # Kaons move by 0.1 and pions do not.
    theirs = build(np.where(kind == 1, ours["x"] - 0.1, ours["x"]), kind=kind)
    parameter = Parameter("template", "x", category="kind", signal="K", background="pi", share=0.3)
    (found,) = only(ours, theirs, parameter)
    x = np.linspace(-7, 7, 4001)
    k, pi, moved = norm.pdf(x, 1), norm.pdf(x, -1), norm.pdf(x, 0.9)
    mix = 0.3 * k + 0.7 * pi
    information = np.trapezoid((k - pi) ** 2 / mix, x)
    bias = np.trapezoid(0.3 * (k - moved) * (k - pi) / mix, x) / information
    assert found.details["information"] == pytest.approx(information, rel=0.03)
    assert found.details["bias"] == pytest.approx(bias, rel=0.06)


def test_a_difference_orthogonal_to_the_score_does_no_harm(quantiles):
    ours = build(ndtri(quantiles))
    mean, width = only(ours, build(1.2 * ours["x"]), Parameter("mean", "x"), Parameter("width", "x"))
    assert mean.p_value > 0.05
    assert width.details["limit"] < 1e-2 * mean.details["best"]


def test_paired_samples_certify_more(pid):
    c = np.random.default_rng(0).normal(size=N)
    noise = np.random.default_rng(1).normal(size=(2, N))
    ours, theirs = (build(c + 0.3 * e, c=c) for e in noise)
    apart = build(np.random.default_rng(4).permutation(theirs["x"]), first_id=10**6)
    (near,) = only(ours, theirs, Parameter("mean", "x"))
    (far,) = only(ours, apart, Parameter("mean", "x"))
    # What the two share is 1 / 1.09 of the variance.
    assert near.details["best"] == pytest.approx(far.details["best"] * 1.09 / 0.09, rel=0.05)
    assert near.details["paired"]
    assert not far.details["paired"]


def test_estimates_and_their_influence():
    rng = np.random.default_rng(2)
    x, w = rng.gamma(3.0, size=500), rng.choice([1.3, -0.4], 500, p=[0.8, 0.2])
    stratum = np.arange(500) % 2
    for make in (
        mean_estimate,
        width_estimate,
        lambda x, w: mean_estimate(x, w, stratum=stratum, shares=[0.3, 0.7]),
    ):
        found = make(x, w)
        for row in (3, 77):
            moved = w.copy()
            moved[row] += 1e-6
            change = make(x, moved)
            scale = w[row] / 1e-6
            assert (change.value - found.value) * scale == pytest.approx(found.influence[row], rel=1e-3)
            expected = found.variance_influence[row]
            assert (change.variance - found.variance) * scale == pytest.approx(expected, rel=1e-3)
    assert mean_estimate(x, w).value == pytest.approx(np.average(x, weights=w))
    assert width_estimate(x, np.ones(500)).value == pytest.approx(np.std(x))


def test_slope_of_a_log_density():
    rng = np.random.default_rng(1)
    slope = density_slope(rng.normal(size=100_000), np.ones(100_000))
    at = np.linspace(-1.5, 1.5, 7)
    assert slope.shift(at)[0] == pytest.approx(at, abs=0.1)
    assert slope.shift(at)[1] == pytest.approx(np.ones(7), abs=0.3)
    score, change = slope.shift([-50.0, 50.0])
    assert np.all(np.isfinite(score))
    assert np.all(change == 0)


def test_share_and_ratio_with_signed_weights():
    rng = np.random.default_rng(1)
    # The second class holds background at 3, whose weights cancel.
    first = rng.normal(0.5, 1, (20_000, 1))
    second = np.concatenate([rng.normal(-0.5, 1, (20_000, 1)), rng.normal(3, 0.3, (6000, 1))])
    weight = np.concatenate([np.ones(20_000), np.tile([1.0, -1.0], 3000)])
    share = train_share(first, second, np.ones(20_000), weight, seed=1)(np.array([[-1.0], [0.0], [1.0]]))
    assert share == pytest.approx(1 / (1 + np.exp([1.0, 0.0, -1.0])), abs=0.05)
    assert fraction_score([0.5, 1.0], 0.5) == pytest.approx([0.0, 2.0])
    # The exact ratio gives the exact bias: generated N(0.1, 1), reference N(0, 1), score x of the mean.
    y = rng.normal(0.1, 1, 50_000)
    bias, error = bias_from_ratio(y, np.exp(-0.1 * y + 0.005), np.ones(50_000), 1.0)
    assert bias == pytest.approx(-0.1, abs=4 * error)


def test_the_density_ratio_finds_the_bias_too():
    rng = np.random.default_rng(1)
    ours, theirs = build(rng.normal(size=N)), build(rng.normal(0.2, 1, N), first_id=10**6)
    mean, width = only(ours, theirs, Parameter("mean", "x"), Parameter("width", "x"), ratio=True)
    assert mean.details["bias_by_ratio"] == pytest.approx(mean.details["bias"], rel=0.2)
    assert abs(width.details["bias_by_ratio"]) < 0.03
    assert mean.details["bias_by_ratio_error"] > 0


def test_defaults_and_the_smallest(pid):
    reference = pid.toy(4000, 1, signed=True)
    generated = pid.copy_of(reference, 2, shift=0.3)
    results = usable_size(reference, generated, UsableSizeOptions(by="Type"), seed=1)
    worst, rest = results[0], results[1:]
    assert [r.on for r in results[:3]] == [ALL, "mean of DLLk", "width of DLLk"]
    assert "mean of DLLp, Type = K" in [r.on for r in rest]
    assert len(rest) == 12
    assert worst.value == min(r.value for r in rest)
    assert worst.details["parameter"] == rest[int(np.argmin([r.value for r in rest]))].on
    assert worst.p_value <= 0.05
    for result in results:
        assert tuple(result.quantities) == METRIC.quantities
        for q in result.quantities.values():
            assert np.isfinite([q.value, q.error, q.null, q.null_error]).all()
            assert 0 < q.p_value <= 1
        assert result.details["caption"].endswith(".")
        assert result.fields


def test_laws(quantiles, pid):
    reference = pid.toy(3000, 1, signed=True)
    generated = pid.copy_of(reference, 2, shift=0.05)
    first = usable_size(reference, generated, UsableSizeOptions(), seed=1)
    order = np.random.default_rng(0).permutation(3000)
    heavy = usable_size(reference.with_weight(5 * reference.weight), generated, UsableSizeOptions(), seed=1)
    mixed = usable_size(reference, generated.take(order), UsableSizeOptions(), seed=1)
    for a, b, c in zip(first, heavy, mixed, strict=True):
        assert b.value == pytest.approx(a.value, rel=1e-9)
        assert c.value == pytest.approx(a.value, rel=1e-9)
    # A change of unit changes no number of events.
    response = 1000 * generated.response + 7
    scaled = usable_size(
        reference.with_response(1000 * reference.response + 7, source="a"),
        generated.with_response(response, source="b"),
        UsableSizeOptions(),
        seed=1,
    )
    for a, b in zip(first, scaled, strict=True):
        assert b.value == pytest.approx(a.value, rel=1e-6)
        assert b.quantity("bias").value == pytest.approx(1000 * a.quantity("bias").value, rel=1e-6)
    same = usable_size(reference, reference, UsableSizeOptions(), seed=1)
    assert all(r.value == LARGEST and r.p_value == 1.0 and r.quantity("bias").value == 0 for r in same)


def test_groups_count_once(pid):
    reference, rows = pid.toy(1000, 1), np.repeat(np.arange(1000), 4)
    generated = pid.copy_of(reference, 2)

    def four(sample):
        return Sample(sample.schema, {k: v[rows] for k, v in sample.columns.items()}, group=rows)

    once = usable_size(reference, generated, UsableSizeOptions(), seed=1)
    fold = usable_size(four(reference), four(generated), UsableSizeOptions(), seed=1)
    for a, b in zip(once, fold, strict=True):
        assert b.value == pytest.approx(a.value, rel=1e-6)


def test_refusals(pid):
    rng = np.random.default_rng(1)
    ours = build(rng.normal(size=300), c=rng.normal(size=300))
    theirs = build(rng.normal(size=300), ours["score"], c=ours["c"])

    def refuse(error, words, *parameters, reference=ours, generated=theirs):
        with pytest.raises(error, match=words) as caught:
            only(reference, generated, *parameters)
        assert "\n" not in str(caught.value)

    refuse(ConfigError, "no field y", Parameter("mean", "y"))
    refuse(ConfigError, "c is a condition", Parameter("mean", "c"))
    refuse(ConfigError, "copied with the conditions", Parameter("score", "score"))
    refuse(ConfigError, "choose one of pi, K", Parameter("mean", "x", category="kind", value="mu"))
    refuse(DataError, "choose another threshold", Parameter("fraction", "x", threshold=99.0))
    refuse(DataError, "only to 99 %", Parameter("fraction", "x", threshold=float(np.sort(ours["x"])[-2])))
    constant = build(np.full(300, 2.0), np.zeros(300))
    for kind in ("mean", "width", "shift", "scale"):
        refuse(DataError, f"{kind} of x", Parameter(kind, "x"), reference=constant)
    refuse(ConfigError, "no scalar response", reference=constant)
    with pytest.raises(ConfigError, match="has no threshold"):
        Parameter("fraction", "x")
    with pytest.raises(ConfigError, match="needs category"):
        Parameter("template", "x", signal="K")
    with pytest.raises(ConfigError, match="together, or neither"):
        Parameter("mean", "x", category="kind")
    with pytest.raises(ConfigError, match="two parameters"):
        UsableSizeOptions((Parameter("mean", "x"), Parameter("mean", "x")))
    with pytest.raises(ConfigError, match="replicas 3"):
        UsableSizeOptions(replicas=3)


def test_three_events_give_a_number_or_a_sentence(pid):
    reference = pid.toy(3, 1)
    for result in usable_size(reference, pid.copy_of(reference, 2), UsableSizeOptions(), seed=1):
        assert np.isfinite(result.value)
    disjoint = build(np.random.default_rng(1).normal(size=50))
    (found,) = only(disjoint, build(disjoint["x"] + 1000.0), Parameter("mean", "x"))
    assert 0 < found.value < 1
    assert rounded(found.value) == "less than 1"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.2, "less than 1"),
        (7.9, "7"),
        (749.0, "740"),
        (12_990.0, "12,000"),
        (999_999.0, "990,000"),
        (1.29e6, "1.2e6"),
        (LARGEST, "more than 1e15"),
    ],
)
def test_events_are_rounded_down(number, text):
    assert rounded(number) == text


def test_figure_and_headline(pid):
    reference = pid.toy(2000, 1)
    generated = pid.copy_of(reference, 2, shift=0.1)
    results = usable_size(reference, generated, UsableSizeOptions(), seed=1)
    text = headline_sentence(results)
    assert text.startswith("An analysis may use up to ")
    assert f"worst: {results[0].details['parameter']}" in text
    assert headline_sentence([]) == ""
    (entry,) = entries(ReportContent(title="t", results=results))
    assert entry.name == "usable_size"
    assert len(entry.table) == 1 + len(results) - 1
    same = usable_size(reference, reference, UsableSizeOptions(), seed=1)
    assert "more than 1e15" in headline_sentence(same)
    assert len(list(entries(ReportContent(title="t", results=same)))) == 1
