"""Model covariance of ensembles: known covariances, parts, coverage on a toy whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.errors import ConfigError, ShapeError
from parhelion.evaluation.model.ensemble import binned_covariance, covered_share, ensemble_result
from parhelion.evaluation.samples.comparison import compare
from parhelion.report.content import ReportContent
from parhelion.report.families.inference import entries
from parhelion.report.style import render
from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema((Field("c"),), (Field("x", "GeV"),))
EDGES = np.linspace(-3, 3, 16)
QUANTITIES = ("chi2_ndf", "model_share", "coverage")


def line(rng, rows, weight=None):
    """x = 0.8 c + 0.6 noise, and the maximum-likelihood fit of its three numbers to rows with weights."""
    c = rng.normal(size=rows)
    x = 0.8 * c + 0.6 * rng.normal(size=rows)

    def fit(w):
        root = np.sqrt(w)
        design = np.stack([root, root * c], axis=1)
        a = np.linalg.lstsq(design, root * x, rcond=None)[0]
        return (*a, np.sqrt(np.average((x - a[0] - a[1] * c) ** 2, weights=w)))

    return fit


def experiment(rng, *, members=12, train=1000, test=4000, jitter=0.0, seeds=0):
    """A surrogate fitted to `train` rows and its bootstrapped members, judged on `test` rows."""
    fit = line(rng, train)
    c, u = rng.normal(size=test), rng.normal(size=test)
    half = rng.random(test) < 0.5

    def make(a, b, s):
        return a + b * c + s * u + jitter * rng.normal()

    def shares(x):
        cell = np.searchsorted(EDGES, x, side="right")
        return [np.bincount(cell[h], minlength=len(EDGES) + 1) / h.sum() for h in (half, ~half)]

    nominal = fit(np.ones(train))
    reference = Sample(SCHEMA, {"c": c, "x": 0.8 * c + 0.6 * rng.normal(size=test)})
    generated = reference.with_response(make(*nominal)[:, None], source="generated")
    predictions = np.array([shares(make(*fit(rng.poisson(1.0, train).astype(float)))) for _ in range(members)])
    others = np.array([shares(make(*nominal)) for _ in range(seeds)]) if seeds else None
    comparison = compare(reference, generated)
    return ensemble_result(comparison, SCHEMA.response[0], EDGES, predictions, others)


def test_covariance_of_members():
    rng = np.random.default_rng(1)
    p = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4))
    found = binned_covariance(p, shrink=False)
    assert found.mean == pytest.approx(p.mean(axis=0))
    assert found.total == pytest.approx(np.cov(p.T))
    assert found.trace == pytest.approx(np.trace(np.cov(p.T)))
    assert found.seed_part is None
    drawn = binned_covariance(p)
    assert np.diag(drawn.total) == pytest.approx(np.diag(found.total))
    off = ~np.eye(4, dtype=bool)
    ratio = drawn.total[off] / found.total[off]
    assert np.ptp(ratio) < 1e-9
    assert 0 < ratio[0] < 1


def test_halves_free_the_covariance_of_generation():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        model = rng.normal(size=(10, 1, 1)) * np.array([0.5, -0.5, 0.0])
        found.append(binned_covariance(model + rng.normal(size=(10, 2, 3)), shrink=False).trace)
    # The noise alone has a trace of 3, ten times what 200 ensembles know of it.
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / np.sqrt(200))
    assert np.std(found) / np.sqrt(200) < 0.08


def test_parts_by_seed_and_by_data():
    rng = np.random.default_rng(3)
    seed, data = 0.3 * rng.normal(size=(2, 2000, 2, 1)), np.array([[1.0, 0.0], [0.0, 1.0]])
    bootstrap = np.repeat(seed[0], 2, axis=1)[:, :2] * data[0] + rng.normal(size=(2000, 1, 1)) * data[1]
    alone = np.repeat(seed[1], 1, axis=1) * data[0]
    bootstrap = np.stack([bootstrap[:, 0], bootstrap[:, 0]], axis=1)
    alone = np.stack([alone[:, 0], alone[:, 0]], axis=1)
    found = binned_covariance(bootstrap, alone)
    assert np.diag(found.total) == pytest.approx([0.09, 1.0], rel=0.15)
    assert np.diag(found.seed_part) == pytest.approx([0.09, 0.0], abs=0.015)
    assert np.diag(found.data_part) == pytest.approx([0.0, 1.0], abs=0.15)
    assert np.linalg.eigvalsh(found.data_part).min() >= -1e-12


def test_covered_share():
    assert covered_share([0.5, 2.0, 0.0, 1.0], np.diag([1.0, 1.0, 0.0, 4.0])) == pytest.approx(2 / 3)
    assert covered_share([1.0], [[0.0]]) == 1.0


def test_refusals():
    with pytest.raises(ConfigError, match="train at least 2"):
        binned_covariance(np.zeros((1, 2, 5)))
    with pytest.raises(ShapeError, match="members, 2, bins"):
        binned_covariance(np.zeros((4, 3, 5)))


def test_total_errors_cover_where_statistics_alone_do_not():
    rng = np.random.default_rng(4)
    results = [experiment(rng, train=500) for _ in range(40)]
    values = {name: np.array([r.quantity(name).value for r in results]) for name in QUANTITIES}
    alone = np.array([r.details["chi2_statistical"] / r.details["ndf"] for r in results])
    assert alone.mean() > 1.25
    # 40 toys with about 15 bins, and shrinkage, which is conservative.
    assert values["chi2_ndf"].mean() == pytest.approx(0.95, abs=0.2)
    assert values["coverage"].mean() == pytest.approx(0.683, abs=0.08)
    assert np.mean([r.p_value for r in results]) > 0.35
    assert 0.05 < values["model_share"].mean() < 0.4
    for r in results[:3]:
        for name in QUANTITIES:
            q = r.quantity(name)
            assert np.isfinite([q.value, q.error, q.null, q.null_error]).all()
            assert 0 < q.p_value <= 1


def test_a_wrong_surrogate_is_not_excused():
    rng = np.random.default_rng(5)
    result = experiment(rng, train=20_000)
    moved = result.details
    assert result.p_value > 1e-3
    reference = Sample(SCHEMA, {"c": np.zeros(4000), "x": rng.normal(size=4000)})
    wrong = reference.with_response(rng.normal(0.3, 1, (4000, 1)), source="wrong")
    flat = np.tile(np.full(len(EDGES) + 1, 1 / (len(EDGES) + 1)), (5, 2, 1))
    flat = flat * (1 + 1e-3 * rng.normal(size=flat.shape))
    found = ensemble_result(compare(reference, wrong), SCHEMA.response[0], EDGES, flat)
    assert found.p_value < 1e-4
    assert found.quantity("coverage").value < 0.5
    assert len(moved["pull"]) == len(moved["reference"])


def test_figure():
    rng = np.random.default_rng(6)
    results = [experiment(rng, members=5, seeds=4)]
    assert results[0].details["seed_members"] == 4
    assert len(results[0].details["seed_error"]) == len(results[0].details["model_error"])
    (entry,) = entries(ReportContent(title="t", results=results))
    assert entry.caption.endswith(".")
    assert render(entry.figure, "png")[:4] == b"\x89PNG"
