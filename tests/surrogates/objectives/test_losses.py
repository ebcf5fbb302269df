"""Losses against numbers worked out by hand, and against what theory says of their optimum."""

from __future__ import annotations

import math

import pytest
import torch

from parhelion.errors import ShapeError
from parhelion.surrogates.objectives import OBJECTIVES, Judged
from parhelion.surrogates.objectives.adversarial import (
    jensen_shannon_critic,
    jensen_shannon_generator,
    least_squares,
    wasserstein_critic,
    wasserstein_generator,
)
from parhelion.surrogates.objectives.base import norm
from parhelion.surrogates.objectives.cramer import cramer_function, cramer_generator, cramer_surrogate
from parhelion.surrogates.objectives.energy_based import energy_critic, energy_generator, pulling_away


def close(a, b, **options):
    torch.testing.assert_close(a, torch.as_tensor(b, dtype=a.dtype), **options)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_jensen_shannon_by_hand():
    real, fake = torch.tensor([0.0, math.log(3.0)]), torch.tensor([0.0, -math.log(3.0)])
    # D = 1/2 and 1/2, then D = 3/4 and 1/4.
    close(jensen_shannon_critic(real, fake), [2 * math.log(2), -2 * math.log(0.75)])
    close(jensen_shannon_generator(fake, saturating=True), [math.log(0.5), math.log(0.75)])
    close(jensen_shannon_generator(fake, saturating=False), [-math.log(0.5), -math.log(0.25)])


def test_least_squares_by_hand():
    close(least_squares(torch.tensor([0.0, 3.0]), 1.0), [0.5, 2.0])


def test_wasserstein_by_hand():
    close(wasserstein_critic(torch.tensor([1.0]), torch.tensor([4.0])), [3.0])
    close(wasserstein_generator(torch.tensor([4.0])), [-4.0])


def test_cramer_by_hand():
    x, g, other = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    close(cramer_generator(x, g, other), [5.0 + 4.0 - 3.0], atol=1e-5, rtol=0)
    close(cramer_function(x, other), [4.0 - 5.0], atol=1e-5, rtol=0)
    close(cramer_surrogate(x, g, other), [(4.0 - 5.0) - (3.0 - 0.0)], atol=1e-5, rtol=0)


def test_energy_based_by_hand():
    close(energy_critic(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 7.0]), 2.0), [2.5, 1.0])
    close(energy_generator(torch.tensor([0.5])), [0.5])


def test_pulling_away_equals_the_sum_over_pairs():
    code = draw(0, 7, 3)
    cosine = torch.nn.functional.cosine_similarity(code[:, None], code[None], dim=2) ** 2
    expected = (cosine.sum(dim=1) - cosine.diagonal()) / 6
    torch.testing.assert_close(pulling_away(code), expected)
    close(pulling_away(torch.eye(3)), [0.0, 0.0, 0.0])
    close(pulling_away(torch.ones(4, 2)), [1.0] * 4)
    close(pulling_away(torch.ones(1, 2)), [0.0])


def test_norm_has_finite_derivatives_at_zero():
    x = torch.zeros(2, 3, requires_grad=True)
    (first,) = torch.autograd.grad(norm(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(norm(first).sum(), x)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()


def test_optimal_jensen_shannon_critic_gives_the_divergence():
    # p = N(0, 1), q = N(1.5, 1); the optimal score is log p/q. JS by quadrature.
    grid = torch.linspace(-12, 14, 20001, dtype=torch.float64)
    p, q = (torch.exp(-0.5 * (grid - m) ** 2) / math.sqrt(2 * math.pi) for m in (0.0, 1.5))
    mix, step = 0.5 * (p + q), grid[1] - grid[0]
    js = 0.5 * ((torch.xlogy(p, p / mix)).nansum() + (torch.xlogy(q, q / mix)).nansum()) * step
    n = 200_000
    x, g = draw(1, n), draw(2, n) + 1.5
    losses = jensen_shannon_critic(0.5 * ((x - 1.5) ** 2 - x**2), 0.5 * ((g - 1.5) ** 2 - g**2))
    expected, error = 2 * math.log(2) - 2 * js, losses.std() / math.sqrt(n)
    # Four standard errors: false-positive rate 6e-5, and the seed is fixed.
    assert abs(losses.mean() - expected) < 4 * error
    # Any other critic does worse, the one that cannot tell gives 2 log 2.
    assert losses.mean() < 2 * math.log(2)
    worse = jensen_shannon_critic(torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64))
    close(worse.mean(), 2 * math.log(2))


def test_optimal_wasserstein_critic_gives_the_distance():
    # Between N(0, 1) and N(1.5, 1) it is 1.5, with the critic D(x) = -x.
    n = 100_000
    losses = wasserstein_critic(-draw(3, n), -(draw(4, n) + 1.5))
    assert abs(-losses.mean() - 1.5) < 4 * math.sqrt(2 / n)


def test_least_squares_optimum():
    # With equal densities the best score is (a + b) / 2, and the critic's loss there is ((b - a) / 2)^2.
    objective = OBJECTIVES["least_squares"]()
    half = Judged(torch.full((3, 1), 0.5), torch.zeros(3, 1))
    close(objective.critic_events(half, [half]), [0.25] * 3)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_cramer_generator_loss_is_unbiased(shift):
    # In one dimension E|N(m, 2)| = 2/sqrt(pi) exp(-m^2/4) + m erf(m/2), with m the difference of the means.
    n = 400_000
    x, g, other = draw(5, n, 1), draw(6, n, 1) + shift, draw(7, n, 1) + shift
    losses = cramer_generator(x, g, other)
    same = 2 / math.sqrt(math.pi)
    across = same * math.exp(-(shift**2) / 4) + shift * math.erf(shift / 2)
    expected = 2 * across - same
    error = losses.std() / math.sqrt(n)
    assert abs(losses.mean() - expected) < 4 * error
    # Above its minimum, the real events' own spread, by the energy distance.
    assert expected - same >= 0


def test_cramer_generator_loss_is_least_for_the_true_law():
    n = 400_000
    x = draw(5, n, 1)
    means = [
        float(cramer_generator(x, scale * draw(6, n, 1), scale * draw(7, n, 1)).mean()) for scale in (0.6, 1.0, 1.5)
    ]
    assert means[1] < min(means[0], means[2]) - 0.01


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_losses_are_per_event(kind):
    objective = OBJECTIVES[kind]()
    b, width = 6, 4 if kind == "cramer" else 1
    judged = [Judged(draw(s, b, width).abs(), draw(s, b, 3)) for s in range(3)]
    for losses in (objective.critic_events, objective.generator_events):
        together = losses(judged[0], judged[1:])
        assert together.shape == (b,)
        alone = losses(*_rows(judged, slice(2, 3)))
        torch.testing.assert_close(alone, together[2:3])


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_weight_is_a_number_of_repetitions(kind):
    objective = OBJECTIVES[kind]()
    b, width = 5, 4 if kind == "cramer" else 1
    judged = [Judged(draw(s, b, width), draw(s, b, 3)) for s in range(3)]
    # Row 3 occurs with weight -1 and once more with weight 1: it cancels.
    rows, weight = torch.tensor([0, 1, 2, 3, 4, 3]), torch.tensor([2.0, 1.0, 3.0, -1.0, 1.0, 1.0])
    repeated = torch.tensor([0, 0, 1, 2, 2, 2, 4])
    for losses in (objective.critic_events, objective.generator_events):
        weighted = (weight * losses(*_rows(judged, rows))).sum()
        torch.testing.assert_close(weighted, losses(*_rows(judged, repeated)).sum())


def test_cramer_generator_asks_for_the_real_events():
    judged = Judged(draw(0, 2, 4), draw(0, 2, 4))
    with pytest.raises(ShapeError, match="real events: give them"):
        OBJECTIVES["cramer"]().generator_events(None, [judged, judged])


def _rows(judged, index):
    real, *fakes = (Judged(j.value[index], j.code[index]) for j in judged)
    return real, fakes
