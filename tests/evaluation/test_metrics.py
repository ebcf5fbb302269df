"""What every metric of the registry keeps, and what each one finds on samples whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pid_toy
import pytest
from pydantic import TypeAdapter, ValidationError

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import (
    METRICS,
    AmplificationOptions,
    AucMapOptions,
    AucPair,
    BoundariesOptions,
    ClassifierOptions,
    ClassifierWeightsOptions,
    CorrelationOptions,
    Cut,
    DifferentialOptions,
    EfficiencyOptions,
    FrechetOptions,
    HistogramOptions,
    KernelDistanceOptions,
    MemorisationOptions,
    NplmOptions,
    PrdcOptions,
    SigmaOptions,
    SlicedOptions,
    StructureOptions,
    TailOptions,
    TrainOnGeneratedOptions,
    UsableSizeOptions,
    evaluate,
    thin,
)
from parhelion.evaluation.physics.boundaries import Law
from parhelion.evaluation.physics.train_on_generated import Task
from parhelion.sample import Field, Sample, Schema

OPTIONS = {
    "usable_size": UsableSizeOptions(replicas=60),
    "classifier": ClassifierOptions(trees=15, differences=(("DLLk", "DLLp"),)),
    "classifier_weights": ClassifierWeightsOptions(trees=15),
    "auc_map": AucMapOptions(
        (AucPair("K", "pi", "DLLk"),), "Type", "P", "ETA", x_bins=2, y_bins=2, min_tracks=100, replicas=60
    ),
    "efficiency": EfficiencyOptions((Cut("DLLk", 0.0),), "Type", "P", x_bins=4, replicas=60),
    "structure": StructureOptions(neighbours=500, replicas=30),
    "correlation": CorrelationOptions(by="Type", replicas=60),
    "sigma": SigmaOptions(by="Type", replicas=60),
    "train_on_generated": TrainOnGeneratedOptions((Task("Type", ("K", "pi")),), trees=10),
    "boundaries": BoundariesOptions((Law("few large DLLk", "DLLk", "<=", 3.0),), replicas=100),
    "histograms": HistogramOptions(by="Type", bins=20, replicas=30),
    "differential": DifferentialOptions(x="P", bins=4, replicas=60),
    "tails": TailOptions(),
    "frechet": FrechetOptions(replicas=200),
    "kernel_distance": KernelDistanceOptions(replicas=200),
    "sliced": SlicedOptions(directions=20, replicas=200),
    "nplm": NplmOptions(toys=20),
    "prdc": PrdcOptions(rows=1500, replicas=60),
    "memorisation": MemorisationOptions(rows=1500, replicas=100),
    "amplification": AmplificationOptions(),
}
TRAIN = pid_toy.toy(3000, 99, first_id=10**8)
# What is not 0 where nothing differs: shares, ratios to the null, and what is fitted or trained.
RATIOS = ("classifier_weights", "boundaries", "nplm", "prdc", "memorisation")
# A posterior's draws are several generated rows for one of the reference, curves need vectors, and a resolution needs
# a positive observable; their tests are their own.
NAMES = [name for name in METRICS if name not in ("posterior", "curves", "resolution")]


def run(name, reference, generated, seed=1, **kwargs):
    if METRICS[name].needs_train:
        kwargs.setdefault("train", TRAIN)
    return evaluate(reference, generated, [(name, OPTIONS[name])], seed=seed, **kwargs)


@pytest.fixture(scope="module")
def reference(pid):
    return pid.toy(3000, 1)


@pytest.fixture(scope="module")
def generated(pid, reference):
    return pid.copy_of(reference, 2)


def test_options_are_given_for_every_metric():
    assert OPTIONS.keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_complete_plain_and_reproducible(name, reference, generated):
    first = run(name, reference, generated)
    assert [r.to_dict() for r in first] == [r.to_dict() for r in run(name, reference, generated)]
    assert len({r.on for r in first}) == len(first)
    for result in first:
        assert result.name == name
        assert set(METRICS[name].quantities) <= set(result.quantities)
        assert result.main == METRICS[name].quantities[0]
        for key in METRICS[name].quantities:
            found = result.quantity(key)
            assert np.isfinite([found.value, found.error, found.null, found.null_error]).all(), key
            assert 0 <= found.p_value <= 1
        text = json.dumps(result.to_dict(), allow_nan=False)
        assert json.loads(text)["value"] == result.value
        assert result.details["paired"] is True
        assert result.details["caption"].endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_signed_weights_and_independent_samples_are_welcome(name, pid):
    reference = pid.toy(3000, 1, signed=True)
    assert (reference.weight < 0).mean() > 0.2
    generated = pid.copy_of(pid.toy(2500, 2, first_id=10**6, signed=True), 2)
    options = OPTIONS[name]
    for result in evaluate(reference, generated, [(name, options)], seed=1, train=TRAIN):
        assert result.details["null_kind"] == "halves"
        keys = [k for k in METRICS[name].quantities if k != "differing"]
        for key in keys:
            found = result.quantity(key)
            assert np.isfinite([found.value, found.error, found.null]).all(), key
            # At 1e-4 a metric and quantity, the whole test fails by chance about once in 300.
            assert found.p_value > 1e-4 or found.p_value >= 1 / (1 + 200)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_sample_is_found(name, pid, reference):
    bad = pid.copy_of(reference, 2, shift=0.6, width=1.8)
    response = bad.response
    response[:, 1] += 1e-3 * np.random.default_rng(0).normal(size=len(bad))
    if name == "memorisation":
        response = TRAIN.response
    results = run(name, reference, bad.with_response(response, source="bad"))
    assert min(r.p_value for r in results) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_against_itself_differs_in_nothing(name, reference):
    for result in run(name, reference, reference):
        if name == "classifier":
            assert result.value == pytest.approx(0.5, abs=1e-9)
        elif name in RATIOS:
            assert result.p_value > 0.02
        elif name == "usable_size":
            assert result.quantity("bias").value == pytest.approx(0, abs=1e-9)
        else:
            assert all(q.value == pytest.approx(0, abs=1e-9) for q in result.quantities.values())
            assert all(q.p_value > 0.5 for q in result.quantities.values())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "classifier"])
def test_the_scale_of_weights_does_not_matter(name, reference, generated):
    heavy = run(name, reference.with_weight(7.0 * reference.weight), generated)
    for a, b in zip(run(name, reference, generated), heavy, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-6, abs=1e-12)
        assert a.error == pytest.approx(b.error, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_options_come_from_a_study_file(name):
    adapter = TypeAdapter(METRICS[name].options)
    again = adapter.validate_python(json.loads(adapter.dump_json(OPTIONS[name])))
    assert again == OPTIONS[name]
    with pytest.raises(ValidationError):
        adapter.validate_python(dict.fromkeys(("pairs", "cuts", "bins", "trees", "replicas", "toys", "quantiles"), "x"))


def test_second_reference_takes_the_place_of_the_null(pid, reference, generated):
    other = pid.toy(3000, 9, first_id=10**6)
    results = run("auc_map", reference, generated, null_reference=other)
    direct = run("auc_map", reference, other)
    assert results[0].null == direct[0].value
    assert results[0].null_error == direct[0].error
    assert results[0].details["null_kind"] == "independent reference"


def test_auc_map_is_the_difference_of_aucs_by_bin(reference, generated):
    from sklearn.metrics import roc_auc_score

    details = run("auc_map", reference, generated)[0].details
    x, y = details["x_edges"], details["y_edges"]
    for iy in range(2):
        for ix in range(2):
            rows = (reference["P"] >= x[ix]) & (reference["P"] < x[ix + 1])
            rows &= (reference["ETA"] >= y[iy]) & (reference["ETA"] < y[iy + 1])
            areas = [
                roc_auc_score(sample["Type"][rows] == 321, sample["DLLk"][rows]) for sample in (reference, generated)
            ]
            assert details["auc_reference"][iy][ix] == pytest.approx(areas[0], abs=1e-12)
            assert details["difference"][iy][ix] == pytest.approx(areas[1] - areas[0], abs=1e-12)
            assert details["error"][iy][ix] == pytest.approx(np.sqrt(2) * 0.012, rel=0.6)


def test_auc_map_leaves_out_poor_bins_and_says_so(reference, generated):
    options = replace(OPTIONS["auc_map"], x_edges=(3.0, 99.0, 100.0), y_edges=(2.0, 5.0))
    details = evaluate(reference, generated, [("auc_map", options)], seed=1)[0].details
    assert details["bins"] == 1
    assert details["difference"][0][1] is None
    assert 0 < details["signal_tracks"][0][1] < 100
    options = replace(options, min_tracks=1e6)
    nothing = evaluate(reference, generated, [("auc_map", options)], seed=1)[0]
    assert np.isnan(nothing.value)
    assert nothing.p_value is None


def test_efficiency_and_its_binomial_error(reference, generated):
    kaons = next(r for r in run("efficiency", reference, generated) if r.details["species"] == "K").details
    edges = kaons["edges"]
    rows = (reference["Type"] == 321) & (reference["P"] >= edges[0]) & (reference["P"] < edges[1])
    share = np.mean(reference["DLLk"][rows] > 0)
    assert kaons["reference"]["efficiency"][0] == pytest.approx(share, abs=1e-12)
    assert kaons["reference"]["error"][0] == pytest.approx(np.sqrt(share * (1 - share) / rows.sum()), rel=1e-9)


def test_histogram_shares_sum_to_one_and_agree_with_multinomial_errors(reference, generated):
    result = next(r for r in run("histograms", reference, generated) if r.on == "DLLk")
    for side, sample in (("reference", reference), ("generated", generated)):
        found = result.details[side]
        assert sum(found["share"]) + found["underflow"] + found["overflow"] == pytest.approx(1.0)
        share, n = found["share"][10], len(sample)
        assert found["error"][10] == pytest.approx(np.sqrt(share * (1 - share) / n), rel=1e-9)


def test_rows_lost_out_of_range_are_seen(reference):
    response = reference.response
    response[:600, 0] = 1e6
    lost = reference.with_response(response, source="lost")
    result = next(r for r in run("histograms", reference, lost) if r.on == "DLLk")
    assert result.details["generated"]["overflow"] == pytest.approx(0.2, abs=0.002)
    assert result.quantity("separation").value > 0.1
    assert result.p_value < 1e-10


@pytest.mark.parametrize("binning", ["uniform", "quantile"])
def test_histograms_of_atoms_integers_and_constants(binning):
    n = 2000
    rng = np.random.default_rng(0)
    schema = Schema((Field("x"),), (Field("atom"), Field("count", kind="integer"), Field("constant")))

    def sample(seed):
        g = np.random.default_rng(seed)
        atom = np.where(g.random(n) < 0.5, 0.0, g.normal(size=n))
        return {"atom": atom, "count": g.poisson(3, n), "constant": np.full(n, 4.0)}

    x = rng.normal(size=n)
    first, second = (Sample(schema, {"x": x, **sample(s)}) for s in (1, 2))
    results = evaluate(first, second, [("histograms", HistogramOptions(binning=binning))], seed=1)
    found = {r.on: r for r in results}
    assert found["atom"].p_value > 1e-3
    assert max(found["atom"].details["reference"]["share"]) > 0.45
    assert found["count"].details["edges"][0] == -0.5
    assert found["constant"].value == 0
    assert found["constant"].p_value == 1


def test_structure_names_patterns_and_sees_smeared_ties(pid, reference):
    exact = run("structure", reference, reference)[0]
    assert exact.details["patterns"] == ["none", "DLLk = DLLp", "all zero"]
    response = pid.copy_of(reference, 3).response
    response[:, 1] += 1e-9
    smeared = run("structure", reference, reference.with_response(response, source="smeared"))[0]
    assert smeared.details["smeared"] == 1.0
    assert smeared.value == pytest.approx(np.mean(reference["DLLk"] == reference["DLLp"]), abs=1e-12)
    assert smeared.p_value < 1e-6


def test_structure_null_is_the_chance_of_random_patterns(pid, reference, generated):
    result = run("structure", reference, generated)[0]
    # One row in twenty is all zero at random, in each sample: 2 x 0.05 x 0.95 differ.
    assert result.value == pytest.approx(0.095, abs=0.02)
    assert result.null == pytest.approx(0.095, abs=0.05)


def test_correlations_agree_with_numpy(reference, generated):
    details = run("correlation", reference, generated)[0].details
    columns = [reference[name] for name in details["fields"]]
    assert np.allclose(details["reference"], np.corrcoef(columns))
    assert details["error"][0][1] == pytest.approx(0, abs=1e-12)


def test_thin_keeps_groups_whole_and_samples_paired(pid):
    reference = pid.toy(4000, 1, group_size=4)
    generated = pid.copy_of(reference, 1)
    ours, theirs = thin(reference, 1000, 5), thin(generated, 1000, 5)
    assert np.array_equal(ours.event_id, theirs.event_id)
    assert 700 < len(ours) < 1300
    assert np.all(np.unique(ours.group, return_counts=True)[1] == 4)
    assert thin(reference, None, 5) is reference


def test_mistakes_in_options_are_told_in_one_sentence(reference, generated):
    def fails(name, options, message, error=ConfigError):
        with pytest.raises(error, match=message):
            evaluate(reference, generated, [(name, options)], seed=1)

    fails("auc", None, "metric auc is unknown; choose one of usable_size, classifier")
    fails("auc_map", HistogramOptions(), "options are HistogramOptions, expected AucMapOptions")
    pair = OPTIONS["auc_map"]
    fails("auc_map", replace(pair, pairs=(AucPair("K", "mu", "DLLk"),)), "Type has no value mu; choose one of pi, K")
    fails("auc_map", replace(pair, x="PT"), "no field PT; there are P, ETA, Type, DLLk, DLLp")
    fails("auc_map", replace(pair, category="P"), "field P is continuous, expected a category")
    fails("auc_map", replace(pair, x_edges=(3.0, 2.0)), "do not increase")
    fails("classifier", ClassifierOptions(differences=(("DLLk", "DLLmu"),)), "no field DLLmu")
    fails("structure", StructureOptions(fields=("DLLk",)), "1 scalar fields, expected 2 to 10")
    with pytest.raises(ConfigError, match="no pairs"):
        replace(pair, pairs=())
    with pytest.raises(ConfigError, match="trees 0"):
        ClassifierOptions(trees=0)
    pions = reference.take(reference["Type"] == 211)
    with pytest.raises(DataError, match="no rows for Type = K"):
        run("efficiency", pions, pions)
