"""Replicas: rivals with known worth, resuming, fits of toys, what a study may ask for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import ks_2samp

from parhelion import Study
from parhelion.config import load_study
from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.model.replicated import Deviations, Exceedance, amplification_result, exceedance_result
from parhelion.replicas import run_replicas
from parhelion.report.families import replicas as figures
from parhelion.simulators.toy_fits import fitted
from parhelion.simulators.toys import Camel, LogNormalTerms, Pareto, Shell, draw, simulate

STUDY = """\
title: replicas
seed: 3
data:
  train: {simulator: camel, rows: 100, seed: 10}
  test: {simulator: camel, rows: 5000, seed: 1}
surrogate: {kind: library, k: 100, codec: {structure: {ties: false, atoms: false}}}
training: {steps: 1}
metrics: [histograms]
requirements:
  - {metric: replicas, "on": "amplification, fit", quantity: factor_20, min: 0.01}
replicas:
  count: 8
  rows: 4000
  amplification: {splits: [[10], [20]], generated: [100, 4000]}
  exceedance: {fields: [x], levels: [0.05, 0.005]}
  rivals:
    fit: {draw: fit, count: 20}
    resampling: {draw: resampling, count: 20}
    library:
      surrogate: {kind: library, k: 100, codec: {structure: {ties: false, atoms: false}}}
      training: {steps: 1}
      count: 2
"""


@pytest.fixture
def study(tmp_path):
    def made(*changes):
        text = STUDY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "replicas.yaml").write_text(text, encoding="utf-8")
        return load_study(tmp_path / "replicas.yaml")

    return made


def test_rivals_are_worth_what_they_must_be(study, tmp_path):
    truth = simulate(Camel(), 5000, 1)
    said = []
    results = {r.on: r for r in run_replicas(study(), truth, tmp_path / "r", say=said.append)}
    assert len(results) == len(said) == 6
    fit, same = (results[f"amplification, {name}"].quantity("factor_20") for name in ("fit", "resampling"))
    # Resampled events are worth the training sample; five parameters of 100 events are worth more.
    assert abs(same.value - 1) < 4 * np.hypot(same.error, same.null_error)
    assert fit.value - 3 * fit.error > 1
    assert fit.p_value is not None
    assert fit.p_value < 0.01
    level = results["exceedance, fit"].quantity("ratio_0.05")
    assert abs(level.value - 1) < 4 * level.error
    assert results["amplification, library"].details["replicas"] == 2
    # What was done is not done again, and a line that was cut off is.
    files = sorted((tmp_path / "r").glob("*.jsonl"))
    before = [f.read_text() for f in files]
    files[0].write_text(before[0][:-40])
    again = {r.on: r for r in run_replicas(study(), truth, tmp_path / "r", say=said.append)}
    assert [f.read_text().count("\n") for f in files] == [text.count("\n") for text in before]
    assert again["amplification, fit"].quantities == results["amplification, fit"].quantities
    # Another training sample is another rival.
    run_replicas(study(("seed: 10}", "seed: 400}")), truth, tmp_path / "r", say=said.append)
    assert json.loads(files[0].read_text().splitlines()[1])["seed"] == 401


def test_a_surrogate_may_learn_from_permutations(study, tmp_path):
    changes = (
        ("simulator: camel", "simulator: log-normal"),
        ("[[10], [20]]", "[[2, 2, 2, 2]]"),
        ("factor_20, min", "factor_16, min"),
        ("fields: [x]", "fields: [x0, x3]"),
        ("      count: 2", "      permuted: 300\n      validated: true\n      count: 2"),
        ("draw: resampling", "draw: permutations"),
    )
    truth = simulate(LogNormalTerms(), 5000, 1)
    results = run_replicas(study(*changes), truth, tmp_path, say=lambda text: None)
    assert [r.on for r in results][-2:] == ["amplification, library", "exceedance, library"]
    assert all(np.isfinite(q.value) for r in results for q in r.quantities.values())


def test_the_study_runs_and_reports(study, tmp_path):
    run = Study(study(("count: 20", "count: 2"))).run(tmp_path / "run")
    assert run.passed
    page = run.report.read_text(encoding="utf-8")
    assert "Mean squared deviation of the shares of quantiles" in page
    assert "Share of events with x above a threshold" in page


def test_what_a_study_may_not_ask_for(study):
    wrong = [
        (
            ("fields: [x]", "fields: [y]"),
            r"line 15: replicas.exceedance.fields.0: y is no scalar response; these are x",
        ),
        (("[[10], [20]]", "[[20], [5, 5]]"), r"splits.1: expected one number of parts, at least 1, for each of x"),
        (("{draw: fit, count: 20}", "{draw: fit, validated: true}"), "expected either draw, or surrogate and training"),
        (("{draw: fit, count: 20}", "{count: 20}"), "expected either draw, or surrogate and training"),
        (("generated: [100, 4000]", "generated: [100, 9000]"), "9000 generated events needs as many rows"),
        (("{simulator: camel, rows: 100, seed: 10}", "{files: toy.h5}"), "only a simulator makes new training samples"),
        (
            ("      training: {steps: 1}\n      count", "      training: {step: 1}\n      count"),
            "rivals.library.training",
        ),
        (('"amplification, fit"', '"fit"'), "requirements.0.on: expected one rival, as in on: 'amplification, fit'"),
        (("factor_20, min", "factor_30, min"), "replicas has no quantity factor_30; choose one of factor_10"),
        (("quantity: factor_20, ", ""), "expected a quantity, one of factor_10, factor_20, ratio_0.05, ratio_0.005"),
        (("      surrogate: {kind: library, k", "      surrogate: {kind: libary, k"), "'libary' is no family"),
    ]
    for change, message in wrong:
        with pytest.raises(ConfigError, match=message):
            study(change)
    with pytest.raises(ConfigError, match="the form of simulator rich is not known"):
        study(("train: {simulator: camel", "train: {simulator: rich"), ("fields: [x]", "fields: [RichDLLk]"))


@pytest.mark.parametrize(
    "toy", [Camel(3.0, 0.8, 0.3), Shell(2, 5.0, 1.0), Shell(4), LogNormalTerms(3), Pareto(2.5, 2.0)]
)
def test_fits_find_the_form(toy):
    points = draw(toy, 4000, 1)
    made = toy.to_unit(fitted(toy, points)(4000, np.random.default_rng(1)))
    for column in made.T:
        assert ks_2samp(column, np.random.default_rng(2).random(20000)).pvalue > 1e-3


def test_numbers_of_true_events():
    """Events of the truth itself: worth their number, and exceedances of 1, both within errors."""
    toy = Shell(2)
    deviations = Deviations(((4, 4), (6, 6)), (50, 1000))
    measured = [deviations.measure(toy.to_unit(draw(toy, 1000, seed))) for seed in range(30)]
    found = amplification_result("truth", deviations, measured, 100, seconds=0.0)
    for cells in (16, 36):
        q = found.quantity(f"factor_{cells}")
        assert abs(q.value - 10) < 4 * q.error
    # Cells from a holdout are the same but for its size, which is subtracted.
    nested = Deviations(((4, 4),), (1000,), draw(toy, 50_000, 99))
    value = nested.combined([nested.measure(draw(toy, 1000, seed)) for seed in range(30)], 100)[0]
    assert abs(value.factor - 10) < 4 * value.factor_error
    true = draw(LogNormalTerms(), 50_000, 7).sum(axis=1)
    exceedance = Exceedance.of(true, (0.01, 0.001))
    samples = [draw(LogNormalTerms(), 4000, 100 + seed).sum(axis=1) for seed in range(20)]
    result = exceedance_result(
        "truth",
        exceedance,
        [exceedance.measure(s, s[:100]) for s in samples],
        name="sum",
        training=100,
        rows=4000,
        seconds=0.0,
    )
    for q in result.quantities.values():
        assert abs(q.value - 1) < 4 * q.error
        assert q.error == pytest.approx(np.hypot(q.null_error, q.null_error), rel=0.5)
    assert figures.exceedance_figure([result]).axes
    with pytest.raises(DataError, match="expected at least 10"):
        Exceedance.of(true, (1e-5,))
