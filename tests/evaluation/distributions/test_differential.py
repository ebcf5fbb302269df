"""Comparisons within bins of a condition: what they find, what they leave out, calibration."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import false_discovery_control, kstest

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import HistogramOptions, histograms
from parhelion.evaluation.distributions.differential import METRIC, DifferentialOptions, differential
from parhelion.evaluation.statistics.multiple_testing import benjamini_hochberg, holm
from parhelion.evaluation.statistics.one_dimensional import kolmogorov_smirnov, wasserstein
from parhelion.report.content import ReportContent
from parhelion.report.families.differential import entries
from parhelion.report.style import render
from parhelion.sample import Field, Sample, Schema

OPTIONS = DifferentialOptions(fields=("DLLk",), bins=5, replicas=60)


def only(reference, generated, options=OPTIONS, seed=1):
    (result,) = differential(reference, generated, options, seed=seed)
    return result


def swapped(reference, low, high):
    """The reference with the responses of two bins of momentum exchanged: the whole stays the same."""
    p = reference["P"]
    first, second = (np.flatnonzero((p >= a) & (p < b)) for a, b in (low, high))
    count = min(len(first), len(second))
    response = reference.response
    response[first[:count]], response[second[:count]] = (
        reference.response[second[:count]],
        reference.response[first[:count]],
    )
    return reference.with_response(response, source="swapped")


def test_inclusive_agreement_does_not_hide_a_conditional_failure(pid):
    # One species, so that the response falls with momentum.
    reference = pid.toy(6000, 1)
    reference = reference.take(reference["Type"] == 321)
    generated = swapped(reference, (3.0, 20.0), (83.0, 100.0))
    inclusive = histograms(reference, generated, HistogramOptions(fields=("DLLk",)), seed=1)[0]
    assert min(q.p_value for q in inclusive.quantities.values()) > 0.2
    result = only(reference, generated)
    assert result.p_value < 1e-20
    assert result.quantity("worst").value > 10
    assert all(q.p_value < 0.02 for q in result.quantities.values())
    holm_p = np.array(result.details["p_holm"])
    assert (holm_p < 0.05).tolist() == [True, False, False, False, True]
    assert result.details["rejected"] == {"holm": 2, "bh": 2}


def test_holm_and_benjamini_hochberg_against_definition_and_scipy():
    p = np.array([0.04, 0.001, 0.03, 0.5, 0.012])
    assert holm(p) == pytest.approx([0.09, 0.005, 0.09, 0.5, 0.048])
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p))
    assert holm([0.4, 0.9]).tolist() == [0.8, 0.9]
    assert np.all(holm(p) >= benjamini_hochberg(p))


@pytest.mark.parametrize("signed", [False, True])
def test_bins_are_samples_of_their_own(pid, signed):
    reference = pid.toy(3000, 1, signed=signed)
    generated = pid.copy_of(pid.toy(2500, 2, first_id=10**6, signed=signed), 2)
    d = only(reference, generated).details
    for b, (low, high) in enumerate(zip(d["low"], d["high"], strict=True)):
        parts = [s.take((s["P"] >= low) & (s["P"] < high)) for s in (reference, generated)]
        arrays = [*(s["DLLk"] for s in parts), *(s.weight for s in parts)]
        assert d["w1"][b] == pytest.approx(wasserstein(*arrays), rel=1e-9)
        assert d["ks"][b] == pytest.approx(kolmogorov_smirnov(*arrays), rel=1e-9)
        assert d["bin_effective"][b][0] == pytest.approx(parts[0].weights.effective)


def test_chi2_of_unit_weights_is_that_of_the_shares(pid):
    reference = pid.toy(4000, 1)
    generated = pid.copy_of(pid.toy(4000, 2, first_id=10**6), 2)
    result = only(reference, generated)
    d = result.details
    # Each row is in one bin, so the bins are independent.
    assert result.value == pytest.approx(sum(d["chi2"]) / sum(d["ndf"]), rel=1e-6)
    assert min(d["ndf"]) >= 8
    p = np.array(d["p"]).min()
    assert result.quantity("worst").value == pytest.approx(-np.log10(1 - (1 - p) ** 5))


@pytest.mark.parametrize("distance", ["chi2", "w1", "ks", "energy"])
def test_every_distance_finds_a_failure_in_one_bin(pid, distance):
    reference = pid.toy(5000, 1, signed=True)
    generated = pid.copy_of(reference, 2)
    response = generated.response
    response[reference["P"] > 80.0, 0] += 1.0
    bad = generated.with_response(response, source="bad")
    options = replace(OPTIONS, distance=distance)
    good, found = only(reference, generated, options), only(reference, bad, options)
    assert good.quantity("worst").p_value > 0.01
    assert found.quantity("worst").p_value < 0.02
    assert np.argmin(found.details["p"]) == 4
    assert np.min(found.details["p"][:4]) > 1e-4


def test_poor_bins_are_joined_or_left_out_and_counted(pid):
    reference = pid.toy(2000, 1, signed=True)
    generated = pid.copy_of(reference, 2)
    edges = (3.0, 3.5, 50.0, 50.1, 90.0)
    result = only(reference, generated, replace(OPTIONS, edges=edges, min_rows=80.0))
    d = result.details
    assert (d["low"], d["high"]) == ([3.0, 50.0], [50.0, 90.0])
    assert (d["joined"], d["left_out"]) == (2, 0)
    assert d["unused"][0] == pytest.approx(0.1, abs=0.04)
    assert "joined" in d["caption"]
    assert "Outside of the bins" in d["caption"]
    with pytest.raises(DataError, match="no bin of P has 1e\\+06 effective rows"):
        only(reference, generated, replace(OPTIONS, min_rows=1e6))


def test_bins_with_negative_weight_are_joined():
    rng = np.random.default_rng(0)
    schema = Schema((Field("x"),), (Field("y"),))
    x = np.repeat([0.5, 1.5, 2.5], 300)
    weight = np.where((x == 1.5) & (np.arange(900) % 2 == 0), -2.0, 1.0)
    first = Sample(schema, {"x": x, "y": rng.normal(size=900)}, weight=weight)
    second = first.with_response(rng.normal(size=(900, 1)), source="second")
    (result,) = differential(first, second, DifferentialOptions(edges=(0.0, 1.0, 2.0, 3.0), min_rows=20.0), seed=1)
    assert result.details["joined"] == 1
    assert (result.details["low"], result.details["high"]) == ([0.0, 1.0], [1.0, 3.0])
    assert result.p_value > 1e-3


def test_a_category_has_a_bin_for_each_value(pid):
    reference = pid.toy(3000, 1)
    result = only(reference, pid.copy_of(reference, 2), replace(OPTIONS, x="Type"))
    assert result.details["labels"] == ["pi", "K"]
    few = reference.take((reference["Type"] == 211) | (np.arange(3000) < 60))
    result = only(few, pid.copy_of(few, 2), replace(OPTIONS, x="Type"))
    assert result.details["labels"] == ["pi"]
    assert result.details["left_out"] == 1
    assert 0 < result.details["unused"][0] < 0.05


def test_results_by_category_are_complete_and_reproducible(pid):
    reference = pid.toy(3000, 1)
    generated = pid.copy_of(reference, 2)
    options = DifferentialOptions(by="Type", bins=3, replicas=30)
    results = differential(reference, generated, options, seed=3)
    assert [r.on for r in results[:3]] == ["DLLk in bins of P", "DLLp in bins of P", "DLLk in bins of P, Type = pi"]
    assert len({r.on for r in results}) == len(results) == 6
    again = differential(reference, generated, options, seed=3)
    assert [r.to_dict() for r in results] == [r.to_dict() for r in again]
    for result in results:
        assert result.main == METRIC.quantities[0]
        assert tuple(result.quantities) == METRIC.quantities
        assert result.fields in (("DLLk",), ("DLLp",))
        json.dumps(result.to_dict(), allow_nan=False)
        for q in result.quantities.values():
            assert np.isfinite([q.value, q.error, q.null, q.null_error]).all()
            assert 0 < q.p_value <= 1
        assert result.details["caption"].endswith(".")
    adapter = TypeAdapter(DifferentialOptions)
    assert adapter.validate_python(json.loads(adapter.dump_json(options))) == options
    drawn = list(entries(ReportContent("toy", results=results)))
    assert [e.name for e in drawn] == ["differential_DLLk_P", "differential_DLLp_P"]
    assert render(drawn[0].figure, "png")[:4] == b"\x89PNG"


def test_the_reference_against_itself_differs_in_nothing(pid):
    reference = pid.toy(2000, 1, signed=True)
    result = only(reference, reference)
    assert all(q.value == pytest.approx(0, abs=1e-9) and q.p_value > 0.5 for q in result.quantities.values())
    assert result.details["rejected"] == {"holm": 0, "bh": 0}


def test_integers_and_constants():
    rng = np.random.default_rng(0)
    schema = Schema((Field("x"),), (Field("count", kind="integer"), Field("constant")))

    def sample(first):
        x = rng.random(1500)
        return Sample(
            schema,
            {"x": x, "count": rng.poisson(2 + 3 * x), "constant": np.full(1500, 2.0)},
            event_id=np.arange(1500) + first,
        )

    count, constant = differential(sample(0), sample(10**6), DifferentialOptions(bins=3), seed=1)
    assert count.p_value > 1e-3
    assert (constant.value, constant.p_value) == (0.0, 1.0)


def test_pairs_in_small_bins_give_no_excess_of_chi2(pid):
    # 100 pairs in ten bins: around the measured difference the covariance is too small, and the mean chi2/ndf 1.1.
    options = DifferentialOptions(fields=("DLLk",), bins=8, replicas=20, min_rows=50.0)
    found = []
    for seed in range(60):
        reference = pid.toy(800, seed)
        found.append(only(reference, pid.copy_of(reference, seed), options, seed).value)
    assert np.mean(found) == pytest.approx(1.0, abs=3.5 * np.std(found) / np.sqrt(len(found)))
    assert np.mean(found) < 1.05


@pytest.mark.parametrize(("paired", "signed"), [(True, True), (True, False), (False, True), (False, False)])
def test_p_values_are_uniform(pid, paired, signed):
    options = DifferentialOptions(fields=("DLLk",), bins=3, response_bins=5, replicas=40, min_rows=60.0)
    p: dict[str, list[float]] = {name: [] for name in METRIC.quantities}
    for seed in range(40):
        reference = pid.toy(1500, seed, signed=signed)
        at = reference if paired else pid.toy(1500, 10_000 + seed, first_id=10**7, signed=signed)
        result = only(reference, pid.copy_of(at, seed), options, seed)
        for key, values in p.items():
            values.append(result.quantity(key).p_value)
    for key, values in p.items():
        assert kstest(values, "uniform").pvalue > 1e-3, key
        assert np.sum(np.array(values) <= 0.05) <= 8, key


def test_mistakes_are_told_in_one_sentence(pid):
    reference = pid.toy(500, 1)

    def fails(message, **options):
        with pytest.raises(ConfigError, match=message):
            only(reference, reference, replace(OPTIONS, **options))

    fails("x DLLk is no scalar condition; there are P, ETA, Type", x="DLLk")
    fails("no field q; there are P", fields=("q",))
    fails("do not increase", edges=(2.0, 1.0))
    fails("field P is continuous, expected a category", by="P")
    fails("bins 0", bins=0)
    fails("level 1", level=1.0)
    bare = Sample(Schema((), (Field("y"),)), {"y": [1.0, 2.0]})
    with pytest.raises(ConfigError, match="no scalar condition to make bins of"):
        differential(bare, bare, DifferentialOptions(), seed=1)
