"""The mass fit and its sWeights: identities, closure on known truth, an oracle, and bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parhelion.errors import DataError
from parhelion.splot import MassFit, MassModel, MassSpectrum, fit_mass
from parhelion.splot.backgrounds import Chebyshev
from parhelion.splot.peaks import DoubleGaussian, Gaussian

WINDOW = (1.80, 1.93)


@pytest.fixture
def toy(make_toy):
    return make_toy(6_000, 9_000, 1)


@pytest.fixture
def fit(toy, model):
    return fit_mass(toy.mass, model)


def test_sweights_sum_to_the_yields_and_to_one(toy, fit):
    weights = fit.sweights(toy.mass)
    np.testing.assert_allclose(weights.sum(axis=0), list(fit.yields.values()), rtol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert sum(fit.yields.values()) == pytest.approx(len(toy.mass), rel=1e-12)
    assert (weights[:, 0] < 0).mean() > 0.15


def test_weight_matrix_is_the_covariance_of_yields_at_fixed_shapes(toy, fit):
    """Sum of squared sWeights is V_ss (Pivk & Le Diberder, eq. 18); free shapes can only add to the error."""
    weights = fit.sweights(toy.mass)
    np.testing.assert_allclose(weights.T @ weights, fit.weight_matrix, rtol=1e-10)
    assert fit.yield_errors["signal"] ** 2 >= 0.99 * fit.weight_matrix[0][0]


def test_sweighted_control_variable_is_that_of_true_signal(toy, fit):
    """Chi-square of the difference to an independent true-signal histogram, p > 1e-3 (the false-positive rate)."""
    from scipy.stats import chi2, norm

    edges = np.linspace(-2, 4, 13)
    weight = fit.sweights(toy.mass)[:, 0]
    have = np.histogram(toy.control, edges, weights=weight)[0]
    variance = np.histogram(toy.control, edges, weights=weight**2)[0]
    # The yield itself is free: compare shares, so one degree of freedom goes.
    want = np.diff(norm.cdf(edges, 1, 1))
    value = np.sum((have - want / want.sum() * have.sum()) ** 2 / variance)
    assert chi2.sf(value, len(want) - 1) > 1e-3
    naive = np.histogram(toy.control, edges)[0]
    bad = np.sum((naive - want / want.sum() * naive.sum()) ** 2 / naive)
    assert bad > 20 * value


def test_efficiency_pulls_over_toys(make_toy, model):
    """60 toys; mean within 3.3 errors of 0, width within the central 99.9 % of its distribution.

    False-positive rate 0.2 %.
    """
    from scipy.stats import chi2, norm

    truth = norm.sf(0.5, 1, 1)
    pulls, yields = [], []
    for seed in range(60):
        toy = make_toy(700, 900, 1000 + seed)
        fit = fit_mass(toy.mass, model)
        weight = fit.sweights(toy.mass)[:, 0]
        passed = toy.control > 0.5
        efficiency = np.sum(weight * passed) / weight.sum()
        pulls.append((efficiency - truth) / (np.sqrt(np.sum(weight**2 * (passed - efficiency) ** 2)) / weight.sum()))
        yields.append((fit.yields["signal"] - 700) / fit.yield_errors["signal"])
    low, high = np.sqrt(chi2.ppf([5e-4, 1 - 5e-4], 59) / 59)
    for values in (pulls, yields):
        assert abs(np.mean(values)) < 3.3 / np.sqrt(60)
        assert low < np.std(values, ddof=1) < high


def test_agrees_with_hepstats(toy, fit):
    compute_sweights = pytest.importorskip("hepstats.splot").compute_sweights

    class Parameter:
        def __init__(self, name):
            self.name = name

    class Component:
        is_extended = True
        space = None

        def __init__(self, pdf, parameter, parts=()):
            self._pdf, self._parameter, self._parts = pdf, parameter, parts

        def get_models(self):
            return self._parts

        def get_yield(self):
            return self._parameter

        def pdf(self, x, *_, **__):
            return self._pdf(np.asarray(x))

        def ext_pdf(self, x, *_, **__):
            return self._pdf(np.asarray(x))

        def integrate(self, *_, **__):
            return 1.0

        def sample(self, *_, **__):
            raise NotImplementedError

        def get_params(self, *_, **__):
            return []

        def update_integration_options(self, *_, **__):
            return None

        def create_extended(self, *_, **__):
            return self

    parts = [
        Component(lambda x, i=i: fit.model.densities(x, fit.parameters)[:, i], Parameter(name))
        for i, name in enumerate(("signal", "background"))
    ]
    yields = np.asarray(list(fit.yields.values()))
    total = Component(lambda x: fit.model.densities(x, fit.parameters) @ yields, Parameter("total"), parts)
    oracle = {p.name: w for p, w in compute_sweights(total, toy.mass).items()}
    weights = fit.sweights(toy.mass)
    np.testing.assert_allclose(weights[:, 0], oracle["signal"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(weights[:, 1], oracle["background"], rtol=0, atol=1e-10)


def test_binned_fit_of_a_stream_agrees_with_the_unbinned(toy, fit, model):
    stream = MassSpectrum(WINDOW, limit=2_000)
    for chunk in np.array_split(toy.mass, 7):
        stream.add(chunk)
    binned = fit_mass(stream, model)
    assert (fit.unbinned, binned.unbinned) == (True, False)
    assert binned.counts == fit.counts
    for name, value in fit.yields.items():
        assert abs(binned.yields[name] - value) < 0.01 * fit.yield_errors[name]
    np.testing.assert_allclose(binned.sweights(toy.mass), fit.sweights(toy.mass), atol=2e-3)
    np.testing.assert_allclose(binned.sweights(toy.mass).sum(axis=1), 1.0, atol=1e-12)


def test_json_round_trip_gives_identical_weights(toy, fit):
    again = MassFit.from_dict(json.loads(json.dumps(fit.to_dict())))
    assert again == fit
    assert np.array_equal(again.sweights(toy.mass), fit.sweights(toy.mass))


def test_broken_stored_fit_is_refused(fit):
    stored = fit.to_dict()
    del stored["yields"]
    with pytest.raises(DataError, match="not a stored mass fit"):
        MassFit.from_dict(stored)


def test_unit_of_mass_does_not_matter(toy, fit):
    in_mev = fit_mass(1000 * toy.mass, MassModel((1800.0, 1930.0), Gaussian()))
    np.testing.assert_allclose(in_mev.sweights(1000 * toy.mass), fit.sweights(toy.mass), atol=1e-3)


def test_needless_second_gaussian_does_no_harm(toy, fit):
    double = fit_mass(toy.mass, MassModel(WINDOW, DoubleGaussian()))
    assert abs(double.yields["signal"] - fit.yields["signal"]) < 3 * fit.yield_errors["signal"]


def test_wrong_shape_shows_in_the_p_value(toy):
    """A signal held twice too wide cannot describe the peak."""
    bad = fit_mass(toy.mass, MassModel(WINDOW, Gaussian(), fixed={"width": 0.016}))
    assert bad.p_value < 1e-6
    assert bad.errors["width"] == 0


def test_rows_outside_the_window_are_counted_and_left_out(toy, fit, model):
    wider = np.concatenate([toy.mass, [1.7, 2.0, 5.0]])
    assert fit_mass(wider, model).yields == fit.yields
    assert fit_mass(wider, model).rows_outside == 3
    with pytest.raises(DataError, match=r"row 14949: 1.7 is outside the fitted window 1.8 to 1.93"):
        fit.sweights(wider)


def test_str_tells_yields_and_quality(fit):
    text = str(fit)
    assert "signal" in text
    assert "+-" in text
    assert "chi2/ndf" in text
    assert "unbinned fit" in text


@pytest.mark.parametrize(
    ("mass", "message"),
    [
        (np.full(500, 3.1), "holds none of the 500 rows; check its unit"),
        (np.empty(0), "holds none of the 0 rows"),
        (np.linspace(1.81, 1.92, 49), "holds 49 of 49 rows, and a mass fit needs at least 50"),
        (np.full(500, 1.86), "all 500 rows have the mass 1.86, so there is no spectrum"),
        (np.array([1.86, 1.85, np.nan, np.inf]), r"row 2: the mass is NaN or infinite"),
        (np.ones((5, 2)), r"expected one mass a row, shape (n,), got (5, 2)"),
    ],
)
def test_bad_masses_are_refused(mass, message, model):
    with pytest.raises(DataError) as caught:
        fit_mass(mass, model, source="calib.root")
    assert str(caught.value).startswith("calib.root")
    assert message in str(caught.value)


def test_no_signal_is_refused(model, make_toy):
    with pytest.raises(DataError, match="no significant signal among"):
        fit_mass(make_toy(0, 5_000, 3).mass, model)


def test_no_background_is_refused(model, make_toy):
    with pytest.raises(DataError, match="at its limit of zero"):
        fit_mass(make_toy(5_000, 0, 3).mass, model)


def test_window_of_spectrum_and_model_must_agree(model):
    with pytest.raises(DataError, match="is not that of the collected masses"):
        fit_mass(MassSpectrum((1.0, 2.0)), model)


def test_negative_polynomial_is_refused(make_toy):
    """Held at coefficients that are negative in the middle of the window."""
    toy = make_toy(3_000, 3_000, 4)
    held = MassModel(WINDOW, Gaussian(), Chebyshev(2), fixed={"c1": 0.0, "c2": 1.4})
    with pytest.raises(DataError, match="background shape chebyshev becomes negative"):
        fit_mass(toy.mass, held)
