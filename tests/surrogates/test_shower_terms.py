"""Terms of losses of showers: statistics are the observables, discrepancies are zero where they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from shower_toys import THRESHOLD, LayeredToy, ShowerToy
from torch.distributions import Normal, kl_divergence

from parhelion.errors import ConfigError
from parhelion.observables.ecal import EcalConfig, EcalObservables
from parhelion.surrogates.codec import Codec, CodecConfig
from parhelion.surrogates.objectives import Scene
from parhelion.surrogates.objectives.bottleneck import discrepancy, divergence, sorted_discrepancy
from parhelion.surrogates.objectives.images import IMAGE_AUXILIARY
from parhelion.surrogates.objectives.statistics import Plane, energy_score, statistics

TOY = ShowerToy()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoded(toy, response: list[object], n: int = 200):
    sample = toy.sample(n)
    codec = Codec(sample.schema, CodecConfig.model_validate({"knots": 0, "response": response, **toy.codec}))
    codec.fit(sample)
    x, _, pattern = codec.encode_response(torch.as_tensor(sample.response))
    return sample, codec, x, codec.encode_condition(torch.as_tensor(sample.condition), pattern)


NAMES = ("response", "width_along", "width_across", "asymmetry_along", "asymmetry_across", "shift_x", "shift_y")


def test_smooth_statistics_are_the_observables_of_their_names():
    sample, codec, x, condition = encoded(TOY, [{"kind": "voxels", "linear": 1e-3, "top": 1.0}])
    found = statistics(("total", *NAMES), Plane(codec, ("x", "y"), 20.0, 120.0), x, condition).numpy()
    sample.columns["energy"] = np.where(sample["energy"] >= THRESHOLD, sample["energy"], 0.0)
    expected = EcalObservables(sample.schema, EcalConfig()).compute(sample)
    np.testing.assert_allclose(np.exp(found[:, 0]) - 0.02, expected["total"], rtol=1e-3)
    for i, name in enumerate(NAMES, start=1):
        np.testing.assert_allclose(found[:, i], expected[name], rtol=2e-3, atol=2e-3 * np.std(expected[name]))


def test_soft_counts_follow_the_observables_that_they_stand_for():
    sample, codec, x, condition = encoded(TOY, [])
    found = statistics(("hits", "sparsity"), Plane(codec, ("x", "y"), 20.0, 120.0), x, condition).numpy()
    expected = EcalObservables(sample.schema, EcalConfig(levels=(1e-3, 1e-2))).compute(sample)
    assert found.shape == (200, 6)
    assert np.corrcoef(found[:, 0] * 36, expected["hits"])[0, 1] > 0.99
    assert np.corrcoef(found[:, 4], expected["sparsity"][:, 1])[0, 1] > 0.7
    assert abs(found[:, 4].mean() - expected["sparsity"][:, 1].mean()) < 0.05


def test_the_energy_score_is_least_for_the_true_distribution():
    n = 40_000
    real, one, two = (normal(n, 1, seed=i) for i in range(3))
    true = energy_score(real, one, two)
    error = float(true.std()) / math.sqrt(n)
    # E|r - f| of standard normal numbers is 2 / sqrt(pi), and so are all three terms.
    assert abs(float(true.mean()) - 2 / math.sqrt(math.pi)) < 4 * error
    for scale, shift in ((0.8, 0.0), (1.25, 0.0), (1.0, 0.3)):
        other = energy_score(real, scale * one + shift, scale * two + shift) - true
        assert float(other.mean()) > 3 * float(other.std()) / math.sqrt(n)


def test_divergence_is_that_of_normal_distributions():
    mean, log_variance = normal(5, 3), normal(5, 3, seed=1)
    expected = kl_divergence(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_discrepancy_is_unbiased_and_sees_a_shift():
    one = torch.ones(50)
    null = torch.stack([discrepancy(normal(50, 4, seed=2 * i), normal(50, 4, seed=2 * i + 1), one) for i in range(200)])
    assert abs(float(null.mean())) < 4 * float(null.std()) / math.sqrt(200)
    assert float(discrepancy(normal(50, 4) + 0.7, normal(50, 4, seed=1), one)) > 5 * float(null.std())


def test_discrepancy_takes_rows_of_negative_weight_away():
    x, y, weight = normal(40, 2), normal(40, 2, seed=1), torch.ones(40)
    # Each x of the second half cancels its copy in the first.
    both = torch.cat([x, x + 5.0, x + 5.0]), torch.cat([y, y + 3.0, y + 3.0])
    signs = torch.cat([weight, weight, -weight])
    n = 120 * 119
    expected = discrepancy(x, y, weight) * 40 * 39 / n
    # Copies at different rows are a pair, which the mean over pairs i != j has and one row does not.
    extra = 2.0 * -40.0 * (1.0 + 1.0) / n + 4.0 * float(torch.exp(-(x + 2.0 - y).square().sum(dim=1) / 4.0).sum()) / n
    torch.testing.assert_close(discrepancy(*both, signs), expected + extra, rtol=1e-3, atol=1e-5)


def test_the_sorted_discrepancy_compares_spectra_alone():
    cells = torch.rand(3, 300, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(sorted_discrepancy(cells, cells[:, order]), torch.zeros(3), rtol=0, atol=1e-5)
    # One cell: 2 - 2 exp(-sharpness d^2).
    found = sorted_discrepancy(torch.tensor([[0.1]]), torch.tensor([[0.15]]), sharpness=200.0)
    torch.testing.assert_close(found, torch.tensor([2 - 2 * math.exp(-200 * 0.05**2)]))
    small = [float(sorted_discrepancy(cells, cells + shift).mean()) for shift in (0.01, 0.03, 0.1)]
    assert 0 < small[0] < small[1] < small[2]
    # Cells beyond the hottest `top` do not count.
    worse = torch.where(cells < 0.5, 0.0, cells)
    assert float(sorted_discrepancy(cells, worse, top=100).abs().max()) < 1e-5


def scene(fake: torch.Tensor, condition: torch.Tensor) -> Scene:
    return Scene(fake, fake, condition, torch.ones_like(fake), fake, fake)


def test_the_energy_term_is_the_distance_to_the_incident_energy():
    toy = LayeredToy()
    sample, codec, x, condition = encoded(toy, [])
    term = IMAGE_AUXILIARY["incident_energy"]().make(x.shape[1], condition.shape[1], codec)
    expected = np.abs(np.where(sample.response >= THRESHOLD, sample.response, 0).sum(axis=1) - sample["energy"])
    np.testing.assert_allclose(term.events(scene(x, condition)), expected, rtol=1e-3, atol=1e-4)


def test_the_slope_of_enforced_statistics_is_theirs_but_at_most_one():
    _, codec, x, condition = encoded(TOY, [{"kind": "voxels", "linear": 1e-3, "top": 1.0}])
    term = IMAGE_AUXILIARY["statistics"]().make(x.shape[1], condition.shape[1], codec)
    term.fit(x, condition, torch.ones(len(x)))
    real, made, other = x, x.roll(1, 0).requires_grad_(), x.roll(2, 0)
    seen = [
        torch.asinh((statistics(term.names, term.plane, y, condition) - term.centre) / term.scale)
        for y in (real, made, other)
    ]
    score = energy_score(*seen) / 2
    (expected,) = torch.autograd.grad(score.sum(), made)
    events = term.events(Scene(real, made, condition, torch.ones_like(x), made, other))
    torch.testing.assert_close(events, score)
    (found,) = torch.autograd.grad((0.7 * events).sum(), made)
    size = expected.norm(dim=1, keepdim=True)
    assert float(size.max()) > 2.0
    assert float(size.min()) < 0.9
    torch.testing.assert_close(found, 0.7 * expected / size.clamp(min=1.0))
    with torch.no_grad():
        torch.testing.assert_close(term.events(Scene(real, made, condition, torch.ones_like(x), made, other)), score)


def test_terms_name_what_they_compare_and_need_their_fields():
    assert IMAGE_AUXILIARY["statistics"].model_validate({"names": ["shift_x"]}).compared == ("shift_x",)
    assert all(IMAGE_AUXILIARY[kind]().kind == kind for kind in IMAGE_AUXILIARY)
    _, layers, x, condition = encoded(LayeredToy(), [])
    for kind in ("statistics", "image_regressor"):
        with pytest.raises(ConfigError, match="image"):
            IMAGE_AUXILIARY[kind]().make(x.shape[1], condition.shape[1], layers)
    _, image, x, condition = encoded(TOY, [])
    with pytest.raises(ConfigError, match="only condition"):
        IMAGE_AUXILIARY["incident_energy"]().make(x.shape[1], condition.shape[1], image)
