"""Toys with known truth: their maps, densities, tails, and their random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from parhelion.errors import ConfigError, ShapeError
from parhelion.simulators.toys import (
    Camel,
    LogNormalTerms,
    Pareto,
    Shell,
    as_sample,
    draw,
    simulate,
)

TOYS = [Camel(), Camel(share=0.3, width=0.7), Shell(), Shell(5), LogNormalTerms(3), Pareto(2.5)]


@pytest.mark.parametrize("toy", TOYS, ids=repr)
def test_unit_cube_and_events_are_one_to_one(toy):
    unit = np.random.default_rng(0).uniform(0.001, 0.999, (500, toy.dimension))
    assert np.allclose(toy.to_unit(toy.from_unit(unit)), unit, atol=1e-9)


@pytest.mark.parametrize("toy", TOYS, ids=repr)
def test_true_events_are_uniform_and_independent_in_the_cube(toy):
    unit = toy.to_unit(draw(toy, 4000, 3))
    for column in unit.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    if toy.dimension > 1:
        correlation = np.corrcoef(unit.T)[np.triu_indices(toy.dimension, 1)]
        assert np.abs(correlation).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("toy", TOYS, ids=repr)
def test_density_is_the_jacobian_of_the_map(toy):
    points = draw(toy, 30, 5)
    step = 1e-5
    for x in points:
        jacobian = np.column_stack(
            [
                (toy.to_unit((x + step * e)[None]) - toy.to_unit((x - step * e)[None]))[0] / (2 * step)
                for e in np.eye(toy.dimension)
            ]
        )
        assert abs(np.linalg.det(jacobian)) == pytest.approx(toy.density(x[None])[0], rel=2e-4)


def test_camel_agrees_with_scipy():
    x = np.linspace(-8, 8, 33)
    mixture = 0.5 * (stats.norm.cdf(x, -4) + stats.norm.cdf(x, 4))
    assert np.allclose(Camel().cdf(x), mixture, atol=1e-15)
    assert Camel().quantile(0.5) == pytest.approx(0.0, abs=1e-6)
    assert Camel().quantile([1e-12])[0] == pytest.approx(stats.norm.ppf(2e-12) - 4, rel=1e-9)


def test_shell_density_integrates_to_one():
    value, _ = integrate.quad(lambda r: 4 * np.pi * r**2 * Shell(3).density([[r, 0.0, 0.0]])[0], 0, 15)
    assert value == pytest.approx(1.0, abs=1e-8)


def test_tail_of_one_and_two_log_normal_terms():
    t = np.array([1.0, 5.0, 30.0, 100.0])
    assert np.allclose(LogNormalTerms(1, 0.2, 0.8).exceedance(t), stats.lognorm.sf(t, 0.8, scale=np.exp(0.2)))
    two = LogNormalTerms(2).exceedance(t)
    for threshold, found in zip(t, two, strict=True):
        inside, _ = integrate.quad(
            lambda x, s=threshold: stats.lognorm.pdf(x, 1.0) * stats.lognorm.sf(s - x, 1.0), 0, threshold, limit=200
        )
        assert found == pytest.approx(inside + stats.lognorm.sf(threshold, 1.0), rel=2e-4)


def test_tail_of_many_terms_agrees_with_simulation():
    toy = LogNormalTerms(4)
    total = draw(toy, 200_000, 1).sum(axis=1)
    assert total.mean() == pytest.approx(toy.mean, abs=5 * np.sqrt(toy.variance / 2e5))
    t = np.array([5.0, 15.0, 30.0, 60.0])
    p = toy.exceedance(t)
    seen = (total[:, None] > t).mean(axis=0)
    assert np.all(np.abs(seen - p) < 5 * np.sqrt(p * (1 - p) / 2e5))


def test_pareto_tail():
    toy = Pareto(3.0, 2.0)
    assert np.allclose(toy.exceedance([1.0, 2.0, 4.0]), [1.0, 1.0, 0.125])
    assert toy.density([[1.0]])[0] == 0


def test_an_event_belongs_to_its_seed_and_id():
    toy = Shell(3)
    assert np.array_equal(draw(toy, 10, 7)[4:], draw(toy, 6, 7, first_id=4))
    assert not np.array_equal(draw(toy, 10, 7), draw(toy, 10, 8))
    sample = simulate(toy, 10, 7, first_id=5)
    assert np.array_equal(sample.event_id, np.arange(5, 15))
    assert [f.name for f in sample.schema.response] == ["x0", "x1", "x2"]
    assert [f.name for f in as_sample(np.zeros(3)).schema.response] == ["x"]


def test_mistakes_are_told_in_one_sentence():
    with pytest.raises(ConfigError, match="camel: centre -1"):
        Camel(centre=-1)
    with pytest.raises(ConfigError, match="shell: dimension 1"):
        Shell(1)
    with pytest.raises(ConfigError, match="sigma 0"):
        LogNormalTerms(sigma=0.0)
    with pytest.raises(ConfigError, match="exponent -1"):
        Pareto(-1.0)
    with pytest.raises(ConfigError, match="rows 0"):
        draw(Camel(), 0, 1)
    with pytest.raises(ShapeError, match=r"expected shape \(n, 2\), got \(3,\)"):
        Shell().to_unit([1.0, 2.0, 3.0])
