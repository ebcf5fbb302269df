"""Averages of vectors, and response and resolution in bins, against toys of known truth."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import CurveOptions, Requirement, ResolutionOptions, evaluate, judge
from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema((Field("incident_energy", "GeV"),), (Field("response"), Field("spectrum", shape=(5,))))
EDGES = (1.0, 10.0, 100.0)


def toy(n=2000, *, seed=1, scale=1.0, smear=1.0, tilt=0.0, signed=False, first=0) -> Sample:
    rng = np.random.default_rng(seed)
    energy = np.exp(np.random.default_rng(99).uniform(0, np.log(100), n))
    response = 0.18 * scale * (1 + 0.1 * smear * rng.normal(size=n))
    # What rows share makes components depend on each other.
    common = rng.gamma(4, 0.25, (n, 1))
    counts = rng.poisson(common * np.array([20.0, 10.0, 5.0, 2.0, 0.0]) * np.exp(tilt * np.arange(5)))
    weight = rng.choice([1.5, -0.5], n, p=[0.8, 0.2]) if signed else None
    columns = {"incident_energy": energy, "response": response, "spectrum": counts.astype(float)}
    return Sample(SCHEMA, columns, weight=weight, event_id=np.arange(first, first + n))


def curve(a, b, seed=1):
    return evaluate(a, b, [("curves", CurveOptions(replicas=60))], seed=seed)[0]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("first", [0, 10**6])
def test_curves_that_do_not_differ_stay_at_their_null(signed, first):
    pulls, values = [], []
    for seed in range(40):
        found = curve(toy(400, seed=seed, signed=signed), toy(400, seed=1000 + seed, signed=signed, first=first))
        pulls.append(found.details["difference"][1] / found.details["difference_error"][1])
        values.append(found.p_value)
    # 40 toys: the spread of pulls is known to 11 %, the share of p-values below 0.1 to 5 %.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.35)
    assert np.mean(np.array(values) < 0.1) < 0.3


def test_separation_is_that_of_the_pooled_spectra():
    a, b = toy(), toy(seed=2, tilt=0.5, first=10**6)
    found = curve(a, b)
    p, q = (s["spectrum"].sum(axis=0) / s["spectrum"].sum() for s in (a, b))
    expected = 0.5 * np.sum((p - q)[:4] ** 2 / (p + q)[:4])
    separation = found.quantity("separation")
    assert separation.value == pytest.approx(expected)
    assert separation.value > separation.null + 10 * separation.null_error
    # The last component is 0 in both: it has no ratio and no bin.
    assert found.details["ratio"][4] is None
    assert [b.label for b in found.bins] == [f"spectrum[{k}]" for k in range(4)]
    json.dumps(found.to_dict(), allow_nan=False)


def test_figures_show_the_averages():
    from parhelion.report import ReportContent
    from parhelion.report.gallery import figures_of

    a, b = toy(), toy(seed=2, first=10**6)
    content = ReportContent(title="t", results=[curve(a, b), *resolutions(a, b)])
    entries = list(figures_of(content))
    assert [e.name for e in entries] == ["resolution_response", "curve_spectrum"]
    drawn = entries[1].figure.axes[0].lines[0].get_ydata()
    assert drawn == pytest.approx(b["spectrum"].mean(axis=0))


def test_curves_need_vectors():
    with pytest.raises(ConfigError, match="response is no vector; vectors are spectrum"):
        evaluate(toy(), toy(seed=2), [("curves", CurveOptions(fields=("response",)))], seed=1)


def resolutions(a, b, **options):
    return evaluate(a, b, [("resolution", ResolutionOptions(edges=EDGES, **options))], seed=1)


def test_shifts_of_mean_and_resolution_are_found():
    mean, width, core = resolutions(toy(20_000), toy(20_000, seed=2, scale=1.02, smear=1.1))
    assert [r.on for r in (mean, width, core)] == [
        "mean of response",
        "resolution of response",
        "effective resolution of response",
    ]
    assert mean.details["difference"] == pytest.approx([0.02, 0.02], abs=0.006)
    assert width.details["difference"] == pytest.approx([0.1, 0.1], abs=0.04)
    assert mean.details["reference"] == pytest.approx([0.18, 0.18], rel=0.01)
    assert width.details["reference"] == pytest.approx([0.1, 0.1], rel=0.03)
    assert core.details["difference"] == pytest.approx([0.1, 0.1], abs=0.05)
    assert core.details["reference"] == pytest.approx([0.1, 0.1], rel=0.04)
    bounds = [
        Requirement("resolution", on="mean of response", bins="every", max=0.005),
        Requirement("resolution", on="resolution of response", bins="every", max=0.2),
    ]
    assert [o.passed for o in judge([mean, width], bounds).outcomes] == [False, True]


def test_a_few_rows_far_out_do_not_move_the_effective_resolution():
    a, b = toy(20_000), toy(20_000, seed=2)
    far = np.array(b["response"])
    far[:60] = 0.01
    _, width, core = resolutions(a, b.with_response(np.column_stack([far, b["spectrum"]]), source="far"))
    assert min(width.details["difference"]) > 0.08
    assert np.abs(core.details["difference"]).max() < 0.05


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("first", [0, 10**6])
def test_errors_of_resolutions_cover(first, signed):
    pulls = []
    for seed in range(60):
        found = resolutions(toy(600, seed=seed, signed=signed), toy(600, seed=1000 + seed, signed=signed, first=first))
        pulls.append([np.array(r.details["difference"]) / r.details["difference_error"] for r in found])
    # 120 pulls of each of the three: the spread is known to 7 %.
    assert np.std(pulls, axis=(0, 2)) == pytest.approx([1.0, 1.0, 1.0], abs=0.25)


def test_resolution_needs_a_positive_observable():
    with pytest.raises(DataError, match=r"bin 1 has mean -0\.179 .* expected positive"):
        resolutions(toy(), toy(seed=2, scale=-1.0))
    with pytest.raises(ConfigError, match="eta"):
        resolutions(toy(), toy(seed=2), x="eta")
