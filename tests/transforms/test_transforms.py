"""What every transform keeps. The registry drives these tests: a new transform inherits them all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from parhelion.errors import ConfigError, DataError
from parhelion.transforms import TRANSFORMS, Chain, Transform, build_transform
from parhelion.transforms.quantile import monotone_distribution

# Options and the range of values of kinds that need them; others take the defaults and any number.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "symlog": [{"linear": 0.5}],
    "logit": [{"low": -3.0, "high": 4.0}],
    "quantile": [{}, {"knots": 16, "reach": 2.5}],
    "voxels": [{"linear": 0.1}],
}
BOUNDED = {"logit": (-3.0, 4.0)}
POSITIVE = {"voxels"}
SPECS: list[dict[str, Any]] = [{"kind": k, **o} for k in TRANSFORMS for o in OPTIONS.get(k, [{}])]
SPECS += [
    {"kind": "chain", "steps": ["symlog", "affine"]},
    {"kind": "chain", "steps": [{"kind": "symlog"}, "quantile"]},
]
WIDTH = 3


def make(spec: dict[str, Any], width: int = WIDTH) -> Transform:
    return Chain(width, steps=spec["steps"]) if spec["kind"] == "chain" else build_transform(spec, width)


def data(spec: dict[str, Any], n: int = 4000, seed: int = 1) -> np.ndarray:
    g = np.random.default_rng(seed)
    if spec["kind"] in POSITIVE:
        return np.stack([g.gamma(9.0, 0.5, n), g.exponential(20.0, n), g.lognormal(1.0, 1.0, n)], axis=1)
    if spec["kind"] in BOUNDED:
        low, high = BOUNDED[spec["kind"]]
        return low + (high - low) * g.beta(2.0, 3.0, (n, WIDTH))
    return np.stack([g.normal(3.0, 0.5, n), g.exponential(20.0, n), 40.0 * g.standard_t(4, n)], axis=1)


def fitted(spec: dict[str, Any]) -> tuple[Transform, np.ndarray]:
    x = data(spec)
    transform = make(spec)
    transform.fit(x, np.ones(len(x)))
    return transform, x


def same(first: Transform, second: Transform, **tolerance: float) -> None:
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], **tolerance)


each = pytest.mark.parametrize("spec", SPECS, ids=lambda s: "-".join(str(v) for v in s.values()))


@each
def test_inverse_undoes_forward_within_and_beyond_the_fitted_range(spec):
    transform, x = fitted(spec)
    inside = torch.as_tensor(x, dtype=torch.float32)
    spread = torch.as_tensor(np.ptp(x, axis=0), dtype=torch.float32)
    torch.testing.assert_close(transform.inverse(transform(inside)) / spread, inside / spread, rtol=1e-4, atol=1e-5)
    if spec["kind"] in BOUNDED:
        low, high = BOUNDED[spec["kind"]]
        y = torch.linspace(-60.0, 60.0, 101)[:, None].expand(-1, WIDTH)
        assert bool(((transform.inverse(y) >= low) & (transform.inverse(y) <= high)).all())
        assert bool(transform(torch.tensor([[low, high, high + 1.0]])).isfinite().all())
        return
    if spec["kind"] in POSITIVE:
        y = torch.linspace(-60.0, 0.0, 101)[:, None].expand(-1, WIDTH)
        assert bool((transform.inverse(y) == 0).all())
        assert bool((transform(-inside) == 0).all())
        return
    beyond = torch.cat([inside[:50] + 3 * spread, inside[:50] - 3 * spread])
    torch.testing.assert_close(transform.inverse(transform(beyond)) / spread, beyond / spread, rtol=1e-4, atol=1e-4)
    y = torch.linspace(-8.0, 8.0, 101)[:, None].expand(-1, WIDTH)
    torch.testing.assert_close(transform(transform.inverse(y)), y, rtol=1e-3, atol=1e-3)


@each
def test_log_det_is_the_derivative(spec):
    transform, x = fitted(spec)
    point = torch.as_tensor(x[:500], dtype=torch.float32).requires_grad_()
    (slope,) = torch.autograd.grad(transform(point).sum(), point)
    torch.testing.assert_close(transform.log_det(point.detach()), torch.log(slope), rtol=1e-4, atol=1e-4)


@each
def test_strictly_increasing(spec):
    transform, x = fitted(spec)
    grid = np.sort(x, axis=0)[::40]
    assert bool((transform(torch.as_tensor(grid, dtype=torch.float32)).diff(dim=0) > 0).all())
    y = torch.linspace(0.0 if spec["kind"] in POSITIVE else -5.0, 5.0, 200)[:, None].expand(-1, WIDTH)
    assert bool((transform.inverse(y).diff(dim=0) > 0).all())


@each
def test_columns_are_independent(spec):
    transform, x = fitted(spec)
    other = x.copy()
    other[:, 1] = data(spec, seed=2)[:, 1]
    again = make(spec)
    again.fit(other, np.ones(len(x)))
    grid = torch.as_tensor(x[:100], dtype=torch.float32)
    assert torch.equal(again(grid)[:, [0, 2]], transform(grid)[:, [0, 2]])


@each
def test_an_integer_weight_equals_repetition(spec):
    x = data(spec, 1000)
    weight = np.random.default_rng(2).integers(1, 4, len(x))
    weighted, repeated = make(spec), make(spec)
    weighted.fit(x, weight.astype(float))
    many = np.repeat(x, weight, axis=0)
    repeated.fit(many, np.ones(len(many)))
    y = torch.as_tensor(np.sort(x, axis=0)[50:-50], dtype=torch.float32)
    torch.testing.assert_close(weighted(y), repeated(y), rtol=1e-3, atol=2e-3)


@each
def test_a_factor_on_all_weights_changes_nothing(spec):
    x = data(spec)
    weight = np.random.default_rng(2).normal(1.0, 0.8, len(x))
    first, second = make(spec), make(spec)
    first.fit(x, weight)
    second.fit(x, 1e3 * weight)
    same(first, second, rtol=1e-5, atol=1e-5)


@each
def test_inactive_entries_are_left_out(spec):
    x = data(spec)
    active = np.random.default_rng(3).uniform(size=x.shape) < 0.7
    transform, again = make(spec), make(spec)
    transform.fit(x, np.ones(len(x)), active)
    again.fit(np.where(active, x, 3.0), np.ones(len(x)), active)
    same(transform, again, rtol=0.0, atol=0.0)
    alone = make(spec)
    alone.fit(np.stack([x[active[:, 0], 0]] * WIDTH, axis=1), np.ones(int(active[:, 0].sum())))
    grid = torch.as_tensor(x[:100], dtype=torch.float32)
    torch.testing.assert_close(transform(grid)[:, 0], alone(grid)[:, 0])
    nothing = make(spec)
    nothing.fit(x, np.ones(len(x)), np.zeros(x.shape, dtype=bool))
    assert bool(nothing(grid).isfinite().all())


@each
@pytest.mark.parametrize("value", [0.0, 0.1, 3.25])
def test_a_constant_column_stays_finite_and_small(spec, value):
    transform = make(spec)
    transform.fit(np.full((300, WIDTH), value), np.ones(300))
    x = torch.full((4, WIDTH), value)
    y = transform(x)
    assert bool((y.abs() < 5).all())
    torch.testing.assert_close(transform.inverse(y), x, rtol=1e-5, atol=1e-5)
    near = torch.as_tensor(np.full((4, WIDTH), value))
    assert bool((transform(near).abs() < 5).all())


@each
def test_state_and_options_rebuild_it(spec):
    transform, x = fitted(spec)
    again = TRANSFORMS[spec["kind"]](WIDTH, **transform.options) if spec["kind"] in TRANSFORMS else make(spec)
    again.load_state_dict(transform.state_dict())
    grid = torch.as_tensor(x[:100], dtype=torch.float32)
    assert torch.equal(again(grid), transform(grid))


@each
def test_signed_weights_give_the_signal(spec):
    """Background subtracted by negative weights: the fit follows the signal, not all rows."""
    if not make(spec).state_dict():
        pytest.skip("nothing is fitted")
    g = np.random.default_rng(4)
    n = 20000
    signal, copy, other = g.normal(0, 1, (n, 1)), g.normal(2, 0.5, (n, 1)), g.normal(2, 0.5, (n, 1))
    x = np.concatenate([signal, copy, other])
    weight = np.repeat([1.0, 1.0, -1.0], n)
    transform, truth = make(spec, 1), make(spec, 1)
    transform.fit(x, weight)
    truth.fit(signal, np.ones(n))
    grid = torch.linspace(-2.0, 2.0, 41)[:, None]
    # The background adds 2 n to the variance of counts: 4 sigma of a distribution function is 4 * 0.5 * sqrt(3 / n),
    # in units of a normal variable at most 20 times the density's inverse there.
    torch.testing.assert_close(transform(grid), truth(grid), rtol=0.0, atol=0.2)


def test_affine_gives_weighted_mean_0_and_variance_1():
    x, w = data({"kind": "affine"}), np.random.default_rng(1).uniform(-0.2, 1.0, 4000)
    transform = build_transform("affine", WIDTH)
    transform.fit(x, w)
    y = transform(torch.as_tensor(x, dtype=torch.float32)).double().numpy()
    np.testing.assert_allclose(np.average(y, axis=0, weights=w), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.average(y**2, axis=0, weights=w), 1.0, atol=1e-3)


def test_quantile_gives_a_standard_normal():
    transform, x = fitted({"kind": "quantile"})
    y = transform(torch.as_tensor(data({"kind": "quantile"}, seed=9), dtype=torch.float32)).numpy()
    # The fit's own error adds to the test's: the two-sample bound, false-positive rate 1e-3 a column.
    for j in range(WIDTH):
        assert kstest(y[:, j], norm.cdf).statistic < 1.95 * np.sqrt(2 / len(x))


def test_quantile_extrapolates_with_a_positive_slope_of_its_data():
    transform, x = fitted({"kind": "quantile"})
    step = transform.inverse(torch.tensor([[6.0] * WIDTH])) - transform.inverse(torch.tensor([[5.0] * WIDTH]))
    spread = np.ptp(x, axis=0)
    assert bool((step[0] > 0).all())
    assert bool((step[0].numpy() < spread).all())


def test_quantile_takes_repeated_values_and_integers():
    x = np.random.default_rng(1).poisson(3.0, (2000, 1)).astype(float)
    transform = build_transform("quantile", 1)
    transform.fit(x, np.ones(2000))
    grid = torch.arange(0.0, 9.0)[:, None]
    y = transform(grid)
    assert bool((y.diff(dim=0) > 0).all())
    torch.testing.assert_close(transform.inverse(y), grid, rtol=1e-3, atol=1e-3)


def test_quantile_with_weights_that_cancel_almost_everywhere():
    g = np.random.default_rng(1)
    x = g.normal(size=(500, 1))
    transform = build_transform("quantile", 1)
    transform.fit(x, g.choice([-1.0, 1.0], 500, p=[0.49, 0.51]))
    y = transform(torch.linspace(-5, 5, 200)[:, None])
    assert bool(y.isfinite().all())
    assert bool((y.diff(dim=0) > 0).all())


def test_large_offset_with_small_spread_keeps_its_resolution():
    x = 1e4 + np.random.default_rng(1).normal(size=(3000, 1))
    transform = build_transform("quantile", 1)
    transform.fit(x, np.ones(3000))
    y = transform(torch.as_tensor(x, dtype=torch.float32)).numpy()
    assert abs(y.std() - 1.0) < 0.05


def test_distribution_function_with_signed_weights_is_the_closest_monotone_one():
    support, probability = monotone_distribution(np.array([3.0, 1.0, 2.0, 2.0]), np.array([1.0, 1.0, -0.5, 0.5]))
    np.testing.assert_allclose(support, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(probability, [0.25, 0.5, 0.75])
    _, probability = monotone_distribution(np.arange(5.0), np.array([1.0, 1.0, -1.0, 1.0, 1.0]))
    assert (np.diff(probability) >= 0).all()
    assert (probability >= 0).all()
    assert (probability <= 1).all()


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("rank", ConfigError, "transform 'rank' is unknown; there are affine, logit, quantile, symlog"),
        ({"kind": "quantile", "knot": 3}, ConfigError, "transform quantile: .*'knot'"),
        ({"kind": "symlog", "linear": 0}, DataError, "linear is 0, expected a positive number"),
        ({"kind": "logit", "low": 1, "high": 1}, DataError, "bounds are 1 and 1, expected low < high"),
    ],
)
def test_wrong_specifications_are_named(spec, error, message):
    with pytest.raises(error, match=message):
        build_transform(spec, 1)


def test_logit_names_the_row_out_of_bounds():
    transform = build_transform({"kind": "logit", "low": 0.0, "high": 1.0}, 2)
    x = np.full((5, 2), 0.5)
    x[3, 1] = 1.5
    with pytest.raises(DataError, match=r"row 3, response column 1: 1\.5 is outside the declared bounds 0 to 1"):
        transform.fit(x, np.ones(5))
    active = np.ones((5, 2), dtype=bool)
    active[3, 1] = False
    transform.fit(x, np.ones(5), active)


def test_the_inverse_of_quantiles_ends_where_no_sample_reaches():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5000, 2)) * [1.0, 40.0]
    transform = TRANSFORMS["quantile"](2)
    transform.fit(x, np.ones(5000))
    far = transform.inverse(torch.tensor([[1e30, -1e30], [torch.inf, -torch.inf], [7.0, -7.0]]))
    assert torch.isfinite(far).all()
    assert torch.equal(far[0], far[1])
    # Ten times as far beyond the ends of what was seen as these lie apart.
    low, high = torch.as_tensor(x.min(axis=0)), torch.as_tensor(x.max(axis=0))
    assert high[0] < far[0, 0] <= high[0] + 10.001 * (high - low)[0]
    assert low[1] > far[0, 1] >= low[1] - 10.001 * (high - low)[1]
