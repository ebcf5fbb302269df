"""Calibration under the null: p-values uniform, chi2/ndf 1, pulls of width 1; and power against a shift.

Each uniformity test is a Kolmogorov-Smirnov test at level 1e-3 on fixed seeds. Statistics of few discrete values have
conservative p-values by construction, so continuous ones are tested.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from parhelion.evaluation import (
    METRICS,
    AucMapOptions,
    AucPair,
    ClassifierOptions,
    CorrelationOptions,
    Cut,
    EfficiencyOptions,
    HistogramOptions,
    StructureOptions,
)

LEVEL = 1e-3
TOYS = 120

OPTIONS = {
    "histograms": HistogramOptions(fields=("DLLk",), bins=12, replicas=60),
    "auc_map": AucMapOptions(
        (AucPair("K", "pi", "DLLk"),), "Type", "P", "ETA", x_bins=3, y_bins=2, min_tracks=20, replicas=60
    ),
    "efficiency": EfficiencyOptions(
        (Cut("DLLk", 0.0),), "Type", "P", x_bins=4, species=("pi",), min_tracks=20, replicas=60
    ),
    "structure": StructureOptions(neighbours=50, replicas=30),
    "correlation": CorrelationOptions(replicas=60),
}
TESTED = {
    "histograms": ("chi2_ndf", "separation", "w1"),
    "auc_map": ("mean", "max", "chi2_ndf"),
    "efficiency": ("mean", "max", "chi2_ndf"),
    "structure": ("chi2_ndf",),
    "correlation": ("mean", "max", "chi2_ndf"),
}


def experiments(pid, name, toys, *, paired, signed, options=None, group_size=1, n=1200, **shift):
    metric = METRICS[name]
    found = []
    for seed in range(toys):
        reference = pid.toy(n, seed, signed=signed, group_size=group_size)
        at = reference if paired else pid.toy(n, 10_000 + seed, first_id=10**7, signed=signed, group_size=group_size)
        generated = pid.copy_of(at, seed, **shift)
        found.append(metric.compute(reference, generated, options or OPTIONS[name], seed=seed)[0])
    return found


def uniform(values):
    return kstest(values, "uniform").pvalue > LEVEL


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("paired", "signed"), [(True, False), (True, True), (False, True)])
def test_p_values_are_uniform(pid, name, paired, signed):
    # A bin of the map needs more rows for its AUC to be normal than the other statistics do.
    n = 3000 if name == "auc_map" else 1200
    results = experiments(pid, name, TOYS, paired=paired, signed=signed, n=n)
    for key in TESTED[name]:
        p = np.array([r.quantity(key).p_value for r in results])
        assert uniform(p), (key, np.quantile(p, [0.1, 0.5, 0.9]))
        # 120 toys at 5 %: 6 expected; at most 15 with probability 0.9995.
        assert np.sum(p <= 0.05) <= 15


@pytest.mark.parametrize("signed", [False, True])
def test_differences_of_auc_have_pulls_of_width_one(pid, signed):
    results = experiments(pid, "auc_map", TOYS, paired=True, signed=signed)
    pulls = np.array([r.details["pull"] for r in results], dtype=float).ravel()
    pulls = pulls[np.isfinite(pulls)]
    # 720 pulls: mean known to 0.037, width to 0.026; four sigma, and 3 % for the bootstrap of 60 replicas.
    assert abs(pulls.mean()) < 0.15
    assert pulls.std() == pytest.approx(1.0, abs=0.13)
    chi2 = np.mean([r.quantity("chi2_ndf").value for r in results])
    assert chi2 == pytest.approx(1.0, abs=0.25)


def test_null_values_are_the_mean_over_experiments(pid):
    results = experiments(pid, "auc_map", TOYS, paired=True, signed=False)
    for key in ("mean", "max"):
        value = np.array([r.quantity(key).value for r in results])
        null = np.mean([r.quantity(key).null for r in results])
        width = np.mean([r.quantity(key).null_error for r in results])
        assert null == pytest.approx(value.mean(), abs=4 * value.std() / np.sqrt(TOYS))
        assert width == pytest.approx(value.std(ddof=1), rel=0.27)


def test_chi2_of_histograms_has_mean_and_width_of_its_distribution(pid):
    results = experiments(pid, "histograms", 200, paired=True, signed=True)
    chi2 = np.array([r.details["chi2"] for r in results])
    ndf = np.array([r.details["ndf"] for r in results])
    pull = (chi2 - ndf) / np.sqrt(2 * ndf)
    assert abs(pull.mean()) < 4 / np.sqrt(200)
    assert pull.std() == pytest.approx(1.0, abs=0.25)


def test_groups_keep_the_level(pid):
    # Rows of one group are repeated four times: without groups the chi2 would be four times too large.
    metric = METRICS["histograms"]
    p = []
    for seed in range(TOYS):
        reference = pid.toy(400, seed)
        generated = pid.copy_of(reference, seed)
        rows = np.repeat(np.arange(400), 4)

        def four(sample, rows=rows):
            columns = {name: column[rows] for name, column in sample.columns.items()}
            return type(sample)(sample.schema, columns, group=rows, source=sample.source)

        options = replace(OPTIONS["histograms"], bins=6, min_effective=80.0)
        p.append(metric.compute(four(reference), four(generated), options, seed=seed)[0].p_value)
    assert uniform(p)


@pytest.mark.parametrize("name", ["histograms", "auc_map", "efficiency", "correlation"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_shifted_sample_is_found(pid, name, signed):
    results = experiments(pid, name, 10, paired=True, signed=signed, shift=0.25, width=1.6)
    assert np.median([min(q.p_value for q in r.quantities.values()) for r in results]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_classifier_is_calibrated(pid, signed):
    # Folds counted as independent would give pulls of width sqrt(2).
    options = ClassifierOptions(learners=("trees",), trees=20, train_null=False, importance=False)
    results = experiments(pid, "classifier", 60, paired=True, signed=signed, options=options)
    pull = np.array([(r.value - 0.5) / r.error for r in results])
    assert abs(pull.mean()) < 4 / np.sqrt(60)
    assert pull.std() == pytest.approx(1.0, abs=0.3)
    assert uniform([r.p_value for r in results])
