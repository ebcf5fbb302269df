"""Every shape in the registry: normalised, its integral is that of its density, and a fit finds its parameters."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import crystalball, norm

from parhelion.errors import ConfigError
from parhelion.splot import SHAPES, MassModel, fit_mass, rich_calibration_models
from parhelion.splot.backgrounds import Chebyshev, Exponential
from parhelion.splot.peaks import CrystalBall, DoubleCrystalBall, DoubleGaussian, Gaussian
from parhelion.splot.shapes import shape_from

WINDOW = (2.5, 3.5)
CASES = [
    (Gaussian(), (3.1, 0.05)),
    (Gaussian(), (2.55, 0.2)),
    (DoubleGaussian(), (3.1, 0.03, 2.0, 0.7)),
    (CrystalBall("low"), (3.1, 0.05, 0.9, 3.0)),
    (CrystalBall("low"), (3.1, 0.05, 0.3, 1.05)),
    (CrystalBall("high"), (2.9, 0.05, 1.2, 40.0)),
    (DoubleCrystalBall(), (3.0, 0.04, 1.0, 2.0, 1.7, 4.0)),
    (Exponential(), (0.8,)),
    (Exponential(), (0.0,)),
    (Exponential(), (1e-10,)),
    (Exponential(), (-3.0,)),
    (Chebyshev(0), ()),
    (Chebyshev(1), (-0.6,)),
    (Chebyshev(3), (-0.5, 0.1, 0.05)),
]
RECOVER = [
    (Gaussian(), {"mean": 3.1, "width": 0.05}),
    (DoubleGaussian(), {"mean": 3.1, "width": 0.03, "ratio": 2.2, "fraction": 0.6}),
    (CrystalBall("low"), {"mean": 3.1, "width": 0.05, "alpha": 1.0, "n": 3.0}),
    (CrystalBall("high"), {"mean": 2.9, "width": 0.05, "alpha": 1.0, "n": 3.0}),
    (
        DoubleCrystalBall(),
        {"mean": 3.0, "width": 0.03, "alpha_low": 1.2, "n_low": 3.0, "alpha_high": 1.5, "n_high": 3.0},
    ),
    (Exponential(), {"slope": 1.2}),
    (Chebyshev(1), {"c1": -0.4}),
    (Chebyshev(2), {"c1": -0.4, "c2": 0.15}),
]


def test_cases_cover_the_registry():
    assert {s.name for s, _ in CASES} == set(SHAPES) == {s.name for s, _ in RECOVER}


@pytest.mark.parametrize(("shape", "values"), CASES)
def test_is_normalised_and_integral_matches_density(shape, values):
    def pdf(x):
        return shape.pdf(np.asarray([x]), WINDOW, values)[0]

    breaks = [2.9, 3.0, 3.05, 3.1, 3.15]
    assert quad(pdf, *WINDOW, points=breaks, epsabs=1e-11, limit=400)[0] == pytest.approx(1.0, abs=1e-9)
    for x in (2.7, 3.02, 3.3):
        inner = [b for b in breaks if b < x] or None
        part = quad(pdf, WINDOW[0], x, points=inner, epsabs=1e-11, limit=400)[0]
        assert shape.cdf(np.asarray([x]), WINDOW, values)[0] == pytest.approx(part, abs=1e-9)
    ends = shape.cdf(np.asarray(WINDOW), WINDOW, values)
    np.testing.assert_allclose(ends, [0.0, 1.0], atol=1e-14)


def test_crystal_ball_agrees_with_scipy():
    x = np.linspace(*WINDOW, 300)
    norm_ = np.diff(crystalball.cdf(WINDOW, 0.9, 3.0, loc=3.1, scale=0.05))
    expected = crystalball.pdf(x, 0.9, 3.0, loc=3.1, scale=0.05) / norm_
    np.testing.assert_allclose(CrystalBall("low").pdf(x, WINDOW, (3.1, 0.05, 0.9, 3.0)), expected, rtol=1e-10)


def test_crystal_ball_with_far_tail_is_a_gaussian():
    x = np.linspace(*WINDOW, 300)
    expected = norm.pdf(x, 3.1, 0.05) / np.diff(norm.cdf(WINDOW, 3.1, 0.05))
    both = DoubleCrystalBall().pdf(x, WINDOW, (3.1, 0.05, 50.0, 3.0, 50.0, 3.0))
    np.testing.assert_allclose(both, expected, rtol=1e-12)


def test_mirrored_crystal_balls_are_mirror_images():
    x = np.linspace(2.5, 3.5, 101)
    low = CrystalBall("low").pdf(x, WINDOW, (3.0, 0.05, 0.9, 3.0))
    high = CrystalBall("high").pdf(x, WINDOW, (3.0, 0.05, 0.9, 3.0))
    np.testing.assert_allclose(low, high[::-1], rtol=1e-10)


@pytest.mark.parametrize(("shape", "truth"), RECOVER)
def test_fit_recovers_parameters(shape, truth):
    """One fit of 30,000 rows a shape: |pull| < 4.4 for each parameter and yield.

    At most 8 Gaussian pulls a shape, 36 in all: false-positive rate 4e-4. Tail powers are held, as the data does
    not determine them.
    """
    rng = np.random.default_rng(20)
    fixed = {k: v for k, v in truth.items() if k.startswith("n")}
    if shape.role == "signal":
        model = MassModel(WINDOW, shape, Exponential(), fixed=fixed)
        truth = {**truth, "slope": 0.7}
    else:
        model = MassModel(WINDOW, Gaussian(), shape)
        truth = {"mean": 3.1, "width": 0.05, **truth}
    grid = np.linspace(*WINDOW, 20_001)
    masses = []
    for part, n in ((model.signal, 15_000), (model.background, 15_000)):
        values = [truth[p] for p in part.parameters]
        masses.append(np.interp(rng.random(rng.poisson(n)), part.cdf(grid, WINDOW, values), grid))
    fit = fit_mass(np.concatenate(masses), model)
    for name, value in truth.items():
        if name in fixed:
            assert fit.parameters[name] == value
            assert fit.errors[name] == 0
        else:
            assert abs(fit.parameters[name] - value) < 4.4 * fit.errors[name], name
    for yield_, error in zip(fit.yields.values(), fit.yield_errors.values(), strict=True):
        assert abs(yield_ - 15_000) < 4.4 * error
    assert fit.p_value > 1e-4


@pytest.mark.parametrize(("shape", "values"), CASES)
def test_plain_form_round_trip(shape, values):
    assert shape_from(json.loads(json.dumps(shape.to_dict())), shape.role) == shape
    assert len(values) == len(shape.parameters)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"window": [2, 3], "signal": "gausian"},
            "unknown signal mass shape 'gausian'; there are gaussian, double_gaussian",
        ),
        (
            {"window": [2, 3], "background": "gaussian"},
            "gaussian is a signal shape and cannot stand for the background",
        ),
        (
            {"window": [2, 3], "background": {"shape": "chebyshev", "order": 2}},
            "no option order; its options are degree",
        ),
        ({"window": [2, 3], "background": {"shape": "exponential", "k": 2}}, "no option k; it has none"),
        ({"window": [2, 3], "background": {"shape": "chebyshev", "degree": 9}}, "expected an integer from 0 to 6"),
        ({"window": [2, 3], "signal": {"shape": "crystal_ball", "tail": "left"}}, "expected low or high"),
        ({"window": [3, 2]}, "window 3 to 2, expected a lower end below an upper end"),
        ({"window": 3}, "window 3, expected two numbers"),
        ({}, "window None, expected two numbers"),
        ({"window": [2, 3], "peak": "gaussian"}, "unknown key peak; the keys are window"),
        ({"window": [2, 3], "fixed": {"mean": "x"}}, "fixed {'mean': 'x'}, expected parameter names with numbers"),
        ({"window": [2, 3], "start": "mean"}, "start 'mean', expected parameter names with numbers"),
        ({"window": [2, 3], "background": {"shape": "exponential", "name": "k"}}, "no option name; it has none"),
        ({"window": [2, 3], "fixed": {"alpha": 2}}, "no parameter alpha; there are mean, width"),
    ],
)
def test_wrong_model_is_refused_with_what_would_do(spec, message):
    with pytest.raises(ConfigError) as caught:
        MassModel.from_dict(spec)
    assert message in str(caught.value)


def test_calibration_models_hold_the_masses_of_their_lines():
    lines = {321.0: 1.86484, 211.0: 1.86484, 2212.0: 1.115683, 13.0: 3.0969, 11.0: 3.0969}
    models = rich_calibration_models()
    assert set(models) == set(lines)
    for pid, mass in lines.items():
        low, high = models[pid].window
        assert low < mass < high
        assert MassModel.from_dict(json.loads(json.dumps(models[pid].to_dict()))) == models[pid]
