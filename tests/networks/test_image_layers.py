"""Layers of networks of images against their definitions: cut, local layers, attention, comparison of rows, mixture."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from parhelion.errors import ShapeError
from parhelion.networks.bottleneck import PostProcessor
from parhelion.networks.conv import Cut, Downsampling, Upsampling
from parhelion.networks.locally_connected import InPainting, LocallyConnected, resized
from parhelion.networks.minibatch import MinibatchDiscrimination
from parhelion.networks.mixture import NormalMixture


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((2, 2), (1, 1), (0, 0)), ((3, 3), (1, 2), (1, 1)), ((1, 3), (2, 1), (0, 1))]
)
def test_a_local_layer_with_the_same_filter_everywhere_is_a_convolution(kernel, stride, padding):
    local = LocallyConnected(2, 3, (5, 6), kernel=kernel, stride=stride, padding=padding)
    filters, bias = normal(3, 2, *kernel), normal(3, seed=1)
    with torch.no_grad():
        local.weight.copy_(filters.reshape(3, -1).T.expand_as(local.weight))
        local.bias.copy_(bias.expand_as(local.bias))
    x = normal(4, 2, 5, 6, seed=2)
    expected = nn.functional.conv2d(x, filters, bias, stride=stride, padding=padding)
    torch.testing.assert_close(local(x), expected, rtol=1e-4, atol=1e-5)


def test_the_filter_of_a_local_layer_acts_at_its_place_alone():
    local = LocallyConnected(1, 1, (4, 4), kernel=(2, 2))
    x = normal(2, 1, 4, 4)
    before = local(x).detach()
    with torch.no_grad():
        local.weight[5] += 1.0
    changed = (local(x) - before).abs().detach() > 1e-6
    assert changed[:, 0].nonzero()[:, 1:].unique(dim=0).tolist() == [[1, 2]]


def test_a_kernel_that_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="does not fit"):
        LocallyConnected(1, 1, (2, 2), kernel=(3, 3))


def test_resized_images_repeat_or_average_cells():
    x = torch.arange(8.0).reshape(1, 1, 2, 4)
    assert resized(x, (4, 2))[0, 0].tolist() == [[0.5, 2.5], [0.5, 2.5], [4.5, 6.5], [4.5, 6.5]]
    with pytest.raises(ShapeError, match="neither is a multiple"):
        resized(x, (3, 4))


def test_attention_starts_by_ignoring_the_layer_before():
    attention = InPainting((4, 2))
    before, image = normal(3, 1, 2, 4), normal(3, 1, 4, 2, seed=1)
    torch.testing.assert_close(attention(before, image), image, rtol=0, atol=0.2)
    with torch.no_grad():
        attention.choice.bias[..., 0] = 100.0
    torch.testing.assert_close(attention(before, image), resized(before, (4, 2)))


def test_minibatch_discrimination_is_its_formula_and_counts_signed_weights():
    compare = MinibatchDiscrimination(3, 2, 4)
    x, weight = normal(5, 3), torch.tensor([1.0, 2.0, -1.0, 0.5, 1.0])
    m = torch.tanh(x @ compare.project.weight.detach().T).reshape(5, 2, 4)
    expected = [
        [sum(weight[j] * torch.exp(-(m[i, k] - m[j, k]).abs().sum()) for j in range(5)) for k in range(2)]
        for i in range(5)
    ]
    torch.testing.assert_close(compare(x, weight).detach(), torch.tensor(expected))
    # A row and its copy of the opposite weight are nothing.
    more = compare(torch.cat([x, x[:1]]), torch.cat([weight, -weight[:1]]))[1:5]
    torch.testing.assert_close(more, compare(x, weight * torch.tensor([0.0, 1, 1, 1, 1]))[1:])


def test_a_cut_gives_exact_zeros_and_lets_empty_cells_learn():
    cut = Cut(5)
    cut.threshold.fill_(0.5)
    cut.ceiling.fill_(3.0)
    x = torch.tensor([[-4.0, -1.0, 0.4, 0.5, 7.0]], requires_grad=True)
    y = cut(x)
    assert y.tolist() == [[0.0, 0.0, 0.0, 0.5, 3.0]]
    y.sum().backward()
    assert x.grad is not None
    # Far below 0 there is none: nothing may drive a cell on that is empty already.
    torch.testing.assert_close(x.grad, torch.tensor([[0.0, 0.1, 1.0, 1.0, 1.0]]))


@pytest.mark.parametrize("shape", [(9,), (30, 30), (5, 6, 7)])
def test_images_of_one_to_three_axes_go_down_and_up(shape):
    down, up = Downsampling(shape, (3, 4)), Upsampling(5, shape, (4, 3, 2))
    x = up(normal(2, 5))
    assert x.shape == (2, torch.tensor(shape).prod())
    assert down(x).shape == (2, down.features)


def test_a_post_processor_starts_as_the_identity_and_treats_all_cells_alike():
    post = PostProcessor(2, 8, 2)
    x, condition = normal(3, 7).abs(), normal(3, 2)
    assert torch.equal(post(x, condition), x)
    nn.init.normal_(post.last.weight)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(post(x[:, order], condition), post(x, condition)[:, order])


def mixture() -> NormalMixture:
    made = NormalMixture(2, 3, 4)
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(0.7 * normal(*parameter.shape, seed=i))
    return made


def test_density_of_the_mixture_is_that_of_its_components():
    made = mixture()
    z, condition = normal(6, 3), normal(6, 2, seed=1)
    mean = made.mean(condition).reshape(6, 4, 3)
    each = MultivariateNormal(mean, scale_tril=made.factor.expand(6, -1, -1, -1)).log_prob(z[:, None])
    expected = torch.logsumexp(torch.log_softmax(made.share(condition), dim=1) + each, dim=1)
    torch.testing.assert_close(made.log_prob(z, condition), expected)


def test_draws_of_the_mixture_have_its_moments():
    made, n = mixture(), 40_000
    condition = torch.tensor([[0.5, -1.0]]).expand(n, -1)
    z = made.draw(condition, torch.rand(n, generator=torch.Generator().manual_seed(1)), normal(n, 3)).detach()
    share = torch.softmax(made.share(condition[:1]), dim=1)[0].detach()
    means = made.mean(condition[:1]).reshape(4, 3).detach()
    mean = share @ means
    second = made.factor.detach() @ made.factor.detach().transpose(1, 2) + means[:, :, None] * means[:, None]
    covariance = (share[:, None, None] * second).sum(dim=0) - mean[:, None] * mean[None]
    assert float(((z.mean(dim=0) - mean) / torch.sqrt(covariance.diagonal() / n)).abs().max()) < 4
    torch.testing.assert_close(torch.cov(z.T), covariance, rtol=0.05, atol=0.05)


def test_the_mixture_learns_a_density_it_can_represent():
    # Two modes whose shares follow the condition.
    n = 4000
    condition = (torch.arange(n) % 2).float()[:, None]
    right = torch.rand(n, generator=torch.Generator().manual_seed(2)) < 0.2 + 0.6 * condition[:, 0]
    z = 0.2 * normal(n, 1) + torch.where(right, 1.0, -1.0)[:, None]
    torch.manual_seed(0)
    made = NormalMixture(1, 1, 2)
    optimiser = torch.optim.Adam(made.parameters(), 0.05)
    for _ in range(150):
        optimiser.zero_grad()
        (-made.log_prob(z, condition).mean()).backward()
        optimiser.step()
    drawn = made.draw(condition, torch.rand(n, generator=torch.Generator().manual_seed(3)), normal(n, 1, seed=4))
    for value, share in ((0.0, 0.2), (1.0, 0.8)):
        found = (drawn[condition[:, 0] == value] > 0).float().mean()
        assert abs(float(found) - share) < 5 * (0.16 / 2000) ** 0.5
    assert abs(float(drawn.detach()[drawn > 0].std()) - 0.2) < 0.03
