"""sWeights for samples: one fit a category, streaming, and bad input; and the check of factorisation."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.errors import DataError, ShapeError
from parhelion.sample import concatenate
from parhelion.splot import MassModel, apply_fits, factorisation_check, fit_mass, fit_stream, splot
from parhelion.splot.peaks import Gaussian

WINDOW = (1.80, 1.93)
LAMBDA = (1.10, 1.13)


@pytest.fixture
def toy(make_toy):
    return make_toy(3_000, 4_000, 5)


@pytest.fixture
def two_lines(toy, as_sample):
    """Kaons at the D0, and "pions" with masses moved to a window of another length."""
    pid = np.where(np.arange(len(toy.mass)) % 3 == 0, 321, 211)
    mass = np.where(pid == 321, toy.mass, 1.10 + (toy.mass - 1.80) * 0.03 / 0.13)
    mass[:5] = 9.0
    return as_sample(mass, toy.control, pid)


@pytest.fixture
def models():
    return {321.0: MassModel(WINDOW, Gaussian()), 211.0: MassModel(LAMBDA, Gaussian())}


def test_each_category_gets_its_fit(two_lines, models):
    weighted, fits = splot(two_lines, models, by="pid")
    assert set(fits) == {321.0, 211.0}
    assert len(weighted) == len(two_lines) - 5
    assert np.array_equal(weighted.event_id, two_lines.event_id[5:])
    for code, fit in fits.items():
        rows = weighted["pid"] == code
        assert weighted.weight[rows].sum() == pytest.approx(fit.yields["signal"], rel=1e-11)
        assert np.array_equal(weighted.weight[rows], fit.sweights(weighted["mass"][rows])[:, 0])
        alone = fit_mass(two_lines["mass"][two_lines["pid"] == code], models[code])
        assert alone.yields == fit.yields


def test_one_fit_for_all(toy, model, as_sample):
    sample = as_sample(toy.mass, toy.control, np.full(len(toy.mass), 321))
    weighted, fits = splot(sample, {None: model})
    assert list(fits) == [None]
    assert weighted.weight.sum() == pytest.approx(fits[None].yields["signal"], rel=1e-11)
    assert weighted.weights.negative_share > 0.15


@pytest.mark.parametrize("limit", [200_000, 500])
def test_chunks_give_the_same_weights_as_the_whole(two_lines, models, limit):
    """Binned once the limit is passed, whatever the chunks."""
    cuts = [slice(0, 10), slice(10, 2_000), slice(2_000, None)]
    chunks = [two_lines.take(c) for c in cuts]
    fits = fit_stream(iter(chunks), models, by="pid", limit=limit)
    parts = concatenate(apply_fits(c, fits, by="pid") for c in chunks)
    whole = apply_fits(two_lines, fit_stream([two_lines], models, by="pid", limit=limit), by="pid")
    assert np.array_equal(parts.event_id, whole.event_id)
    np.testing.assert_allclose(parts.weight, whole.weight, rtol=0, atol=1e-12)


def test_categories_without_rows_are_passed_over(toy, models, as_sample):
    sample = as_sample(toy.mass, toy.control, np.full(len(toy.mass), 321))
    assert list(splot(sample, models, by="pid")[1]) == [321.0]


def test_bad_input_is_refused(two_lines, models, model):
    cases = [
        (
            two_lines,
            models,
            {"mass": "m", "by": "pid"},
            "calib.root: there is no mass field m; the fields are pid, dll",
        ),
        (
            two_lines,
            {321.0: model},
            {"by": "pid"},
            "calib.root: pid 211 (pi) has no mass model; there are models for 321",
        ),
        (two_lines, models, {}, "2 mass models and no category field to choose by"),
        (two_lines, models, {"by": "dll"}, "dll is not a category field; the category fields are pid"),
        (two_lines.with_weight(np.full(len(two_lines), 2.0)), models, {"by": "pid"}, "row 0: weight 2, expected 1"),
        (two_lines.take(slice(0, 40)), models, {"by": "pid"}, "calib.root, pid 321 (K): the window 1.8 to 1.93 holds"),
    ]
    for sample, chosen, options, message in cases:
        with pytest.raises(DataError) as caught:
            splot(sample, chosen, **options)
        assert message in str(caught.value)
    with pytest.raises(DataError, match="no rows to fit"):
        fit_stream([], models, by="pid")


def test_independent_control_variable_passes(make_toy, model):
    """20 toys, 3 contrasts each: p-values are uniform within a Kolmogorov test at 1e-3 (the false-positive rate)."""
    from scipy.stats import kstest

    values = []
    for seed in range(20):
        toy = make_toy(3_000, 4_000, 50 + seed)
        check = factorisation_check(toy.control, toy.mass, fit_mass(toy.mass, model))
        values += [c.p_value for c in check.contrasts]
    assert kstest(values, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("component", "dependence", "contrast"),
    [
        (False, lambda pull: 0.1 * pull, "lower against upper sideband"),
        (True, lambda pull: 0.3 * pull, "signal below against above the peak"),
        (True, lambda pull: 0.6 * np.abs(pull), "signal core against wings"),
    ],
)
def test_dependence_on_the_mass_is_found(make_toy, model, component, dependence, contrast):
    toy = make_toy(6_000, 8_000, 7)
    control = toy.control + np.where(toy.is_signal == component, dependence((toy.mass - 1.865) / 0.008), 0.0)
    check = factorisation_check(control, toy.mass, fit_mass(toy.mass, model))
    warning = check.warning("DLLK")
    assert warning is not None
    assert warning.startswith(f"DLLK depends on the mass ({contrast}")
    clean = factorisation_check(toy.control, toy.mass, fit_mass(toy.mass, model))
    assert clean.warning("DLLK") is None


def test_check_refuses_what_it_cannot_compare(toy, model):
    fit = fit_mass(toy.mass, model)
    with pytest.raises(ShapeError, match="expected two arrays of shape"):
        factorisation_check(toy.control[1:], toy.mass, fit)
    with pytest.raises(DataError, match="is 0 in nearly all rows"):
        factorisation_check(np.zeros(len(toy.mass)), toy.mass, fit)
    with pytest.raises(DataError, match="rows outside the fitted window"):
        factorisation_check(toy.control, toy.mass + 1, fit)
    with pytest.raises(DataError, match=r"rows in the .*, at least 100 are needed"):
        factorisation_check(toy.control[:200], toy.mass[:200], fit)
