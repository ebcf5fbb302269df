"""What every surrogate keeps. The registry drives these tests: a new family inherits them all."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parhelion.deploy.exporting import export
from parhelion.deploy.runtime import Package
from parhelion.errors import DataError, ShapeError
from parhelion.sample import Sample
from parhelion.surrogates import SURROGATES, Batch, Draws, Surrogate, load
from parhelion.weights import scale_to_unit_mean

ROWS = 3000
SMALL: dict[str, list[dict[str, Any]]] = {
    "matching": [{"width": 16, "blocks": 1, "solver_steps": 3}],
    "student": [
        {"width": 16, "blocks": 1},
        {"map": "quantiles", "width": 8, "blocks": 1, "knots": 4, "pieces": 6, "functions": 4, "steps": 2},
    ],
    "flow": [
        {"map": m, "width": 16, "depth": 1, "layers": 2, "bins": 4}
        for m in (
            "spline_chain",
            "spline_coupling",
            "affine_coupling",
            "spline_autoregressive",
            "affine_autoregressive",
            "planar",
        )
    ],
    "library": [{"k": 1}, {"k": 8}, {"k": 8, "mode": "interpolate"}, {"k": 8, "max_rows": 500}],
    "gan": [
        {
            "generator": {"latent": 8, "width": 16, "depth": 2},
            "critic": {"width": 16, "depth": 2},
            "critic_steps": 2,
        }
    ],
}
CASES = [
    (kind, i) for kind, family in SURROGATES.items() if not family.images for i in range(len(SMALL.get(kind, [{}])))
]


def make(kind: str, i: int, sample: Sample, seed: int = 1, **changes: Any) -> Surrogate:
    """Prepared surrogate of the toy."""
    codec = {"structure": {"thresholds": {"P": [9.3]}}}
    if kind == "student":
        # The first flow is a spline chain, with two layers.
        teacher = make("matching", 0, sample, seed) if i == 0 else make("flow", 0, sample, seed, layers=1)
        # An untouched teacher is the identity, which a student is from the start.
        train(teacher, sample, 5)
        student = SURROGATES[kind](sample.schema, SURROGATES[kind].Config.model_validate(SMALL[kind][i]))
        student.learn_from(teacher, seed=seed)
        return student
    config = SURROGATES[kind].Config.model_validate({"codec": codec, **SMALL.get(kind, [{}])[i], **changes})
    surrogate = SURROGATES[kind](sample.schema, config)
    surrogate.prepare(sample, seed=seed)
    return surrogate


def rows(batch: Batch, index: Tensor | slice) -> Batch:
    return Batch(batch.response[index], batch.condition[index], batch.active[index], batch.weight[index])


def train(surrogate: Surrogate, sample: Sample, steps: int) -> list[Tensor]:
    batch = surrogate.encode(sample)
    weight = torch.as_tensor(scale_to_unit_mean(sample.weight), dtype=torch.float32)
    optimisers = {k: torch.optim.Adam(p, 1e-3) for k, p in surrogate.players().items()}
    values: list[Tensor] = []
    for step in range(steps):
        part = slice(64 * step, 64 * (step + 1))
        for turn, player in enumerate(surrogate.turns(step)):
            loss = surrogate.loss(player, rows(batch, part), Draws(1000 * step + turn))
            total = (weight[part] * loss.events).mean() + (0.0 if loss.penalty is None else loss.penalty)
            optimisers[player].zero_grad()
            total.backward()
            optimisers[player].step()
            values.append(total.detach())
        surrogate.after_step(step)
    return values


@pytest.fixture(scope="module")
def prepared(toy):
    """Prepared and shortly trained surrogates, which tests do not change."""

    @cache
    def get(case: tuple[str, int]) -> Surrogate:
        surrogate = make(*case, toy.sample(ROWS))
        train(surrogate, toy.sample(ROWS), 3)
        return surrogate.eval()

    return get


@pytest.fixture
def ask(toy, prepared):
    """Conditions and noise for a case."""

    def get(case: tuple[str, int], n: int = 200) -> tuple[Surrogate, Tensor, Tensor]:
        surrogate = prepared(case)
        noise = torch.randn(n, surrogate.noise_width, generator=torch.Generator().manual_seed(5))
        return surrogate, torch.as_tensor(toy.condition(n, 9)), noise

    return get


each = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1]}")


@each
def test_rows_are_independent_of_batch_and_order(case, ask):
    surrogate, condition, noise = ask(case)
    whole = surrogate.sample(condition, noise)
    parts = [surrogate.sample(c, z) for c, z in zip(condition.split(7), noise.split(7), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-5)
    order = torch.randperm(len(condition), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(surrogate.sample(condition[order], noise[order]), whole[order], rtol=1e-5, atol=1e-5)
    alone = surrogate.sample(condition[:1], noise[:1])
    torch.testing.assert_close(alone, whole[:1], rtol=1e-5, atol=1e-5)


@each
def test_same_input_same_bits_and_nothing_else_changes(case, ask):
    surrogate, condition, noise = ask(case)
    state = {k: v.clone() for k, v in surrogate.state_dict().items()}
    before = condition.clone(), noise.clone()
    surrogate.train()
    rng, numpy_rng = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = surrogate.sample(condition, noise)
    assert surrogate.training
    surrogate.eval()
    second = surrogate.sample(condition, noise)
    assert not surrogate.training
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), rng)
    assert np.array_equal(np.random.get_state()[1], numpy_rng)  # noqa: NPY002
    assert all(torch.equal(v, state[k]) for k, v in surrogate.state_dict().items())
    assert torch.equal(condition, before[0])
    assert torch.equal(noise, before[1])
    assert not first.requires_grad


@each
def test_response_depends_on_condition(case, ask):
    surrogate, condition, noise = ask(case)
    other = condition.clone()
    other[:, 2] = 211 + 321 - other[:, 2]
    assert not torch.equal(surrogate.sample(condition, noise), surrogate.sample(other, noise))


@each
def test_ties_thresholds_and_atoms_are_exact(case, ask, toy):
    surrogate, condition, noise = ask(case, 4000)
    response = surrogate.sample(condition, noise)
    zero = (response == 0).all(dim=1)
    below = condition[:, 0] < toy.threshold
    tie = response[:, 1] == response[:, 2]
    assert torch.equal(tie & ~zero, below & ~zero)
    assert torch.equal((response == 0).any(dim=1), zero)
    expected = toy.zero_probability(condition[:, 0].numpy())
    spread = np.sqrt(np.sum(expected * (1 - expected)) + ROWS * np.mean(expected) * (4000 / ROWS) ** 2)
    # Two sources of binomial noise, training and test; false-positive rate 6e-5 at 4 standard deviations.
    assert abs(int(zero.sum()) - expected.sum()) < 4 * spread


@each
def test_training_is_finite_and_moves_every_parameter(case, toy):
    sample = toy.sample(ROWS)
    surrogate = make(*case, sample)
    players = surrogate.players()
    owned = [id(p) for parameters in players.values() for p in parameters]
    assert len(owned) == len(set(owned)), "a parameter belongs to two players"
    assert set(owned) == {id(p) for p in surrogate.parameters() if p.requires_grad}
    assert {id(p) for p in surrogate.averaged()} <= set(owned)
    names = {id(p): name for name, p in surrogate.named_parameters()}
    before = {name: p.detach().clone() for name, p in surrogate.named_parameters()}
    values = train(surrogate, sample, 10)
    assert all(v.isfinite() for v in values)
    after = dict(surrogate.named_parameters())
    still = [names[i] for i in owned if torch.equal(after[names[i]], before[names[i]])]
    assert not still, f"no gradient reached {still}"
    surrogate.sample(torch.as_tensor(toy.condition(50, 2)), torch.randn(50, surrogate.noise_width))


@each
def test_signed_weights_train(case, toy):
    weight = np.where(np.random.default_rng(1).uniform(size=ROWS) < 0.2, -1.0, 1.0)
    sample = toy.sample(ROWS, weight=weight)
    surrogate = make(*case, sample)
    assert all(v.isfinite() for v in train(surrogate, sample, 10))
    noise = torch.randn(100, surrogate.noise_width, generator=torch.Generator().manual_seed(1))
    response = surrogate.sample(torch.as_tensor(toy.condition(100, 4)), noise)
    assert response.shape == (100, 3)
    assert response.isfinite().all()


@each
def test_a_loss_is_per_event_and_random_through_its_draws_alone(case, toy, prepared):
    surrogate = copy.deepcopy(prepared(case)) if case[0] != "student" else make(*case, toy.sample(ROWS))
    batch = rows(surrogate.encode(toy.sample(ROWS)), slice(16))
    rng = torch.get_rng_state()
    for player in surrogate.players():
        first, second = (surrogate.loss(player, batch, Draws(3)) for _ in range(2))
        assert first.events.shape == (16,)
        assert torch.equal(first.events, second.events)
        if first.penalty is not None:
            assert first.penalty.ndim == 0
        for value in first.logs.values():
            assert value.ndim == 0
            assert not value.requires_grad
    assert torch.equal(torch.get_rng_state(), rng)


@each
def test_two_processes_share_the_loss_of_one(case, toy, prepared):
    surrogate = copy.deepcopy(prepared(case)) if case[0] != "student" else make(*case, toy.sample(ROWS))
    batch = rows(surrogate.encode(toy.sample(ROWS)), slice(16))
    for player in surrogate.players():
        one = surrogate.loss(player, batch, Draws(3)).events
        for rank in (0, 1):
            half = surrogate.loss(player, rows(batch, slice(rank, None, 2)), Draws(3, rank=rank, world=2)).events
            torch.testing.assert_close(half, one[rank::2], rtol=1e-4, atol=1e-5)


class Repeated(Draws):
    """Draws in which repeated rows get the same numbers."""

    def __init__(self, seed: int, base: int, index: Tensor) -> None:
        super().__init__(seed)
        self.base, self.index = base, index

    def normal(self, rows: int, width: int) -> Tensor:
        return super().normal(self.base, width)[self.index]

    def uniform(self, rows: int, width: int) -> Tensor:
        return super().uniform(self.base, width)[self.index]


@each
def test_an_integer_weight_equals_repetition(case, toy, prepared):
    surrogate = copy.deepcopy(prepared(case)) if case[0] != "student" else make(*case, toy.sample(ROWS))
    batch = rows(surrogate.encode(toy.sample(ROWS)), slice(8))
    weight = torch.tensor([1, 2, 3, 1, 1, 4, 1, 2])
    index = torch.arange(8).repeat_interleave(weight)
    for player in surrogate.players():
        weighted = (weight * surrogate.loss(player, batch, Draws(3)).events).sum()
        repeated = surrogate.loss(player, rows(batch, index), Repeated(3, 8, index)).events.sum()
        torch.testing.assert_close(repeated, weighted, rtol=1e-4, atol=1e-4)


@each
def test_preparation_depends_on_its_seed_alone(case, toy):
    sample = toy.sample(ROWS)
    rng = torch.get_rng_state()
    first, second = make(*case, sample, seed=7), make(*case, sample, seed=7)
    assert torch.equal(torch.get_rng_state(), rng)
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


@each
def test_saved_and_loaded_surrogates_answer_the_same_bits(case, ask, tmp_path):
    surrogate, condition, noise = ask(case)
    path = tmp_path / "toy.surrogate"
    surrogate.provenance = {"rows": ROWS}
    surrogate.save(path)
    again = load(path)
    assert type(again) is type(surrogate)
    assert again.schema == surrogate.schema
    assert again.config == surrogate.config
    assert again.provenance == {"rows": ROWS}
    assert again.noise_width == surrogate.noise_width
    assert not again.training
    assert torch.equal(again.sample(condition, noise), surrogate.sample(condition, noise))
    assert [p.name for p in tmp_path.iterdir()] == ["toy.surrogate"]


@each
def test_wrong_shapes_are_refused(case, ask):
    surrogate, condition, noise = ask(case)
    with pytest.raises(ShapeError, match=r"condition: expected shape \(n, 3\), got \(200, 2\)"):
        surrogate.sample(condition[:, :2], noise)
    with pytest.raises(ShapeError, match=rf"noise: expected shape \(200, {noise.shape[1]}\)"):
        surrogate.sample(condition, noise[:, 1:])
    with pytest.raises(ShapeError, match="noise: expected shape"):
        surrogate.sample(condition, noise[1:])


@each
def test_an_untrained_surrogate_and_hopeless_samples_are_refused(case, toy):
    kind = case[0]
    surrogate = SURROGATES[kind](toy.schema)
    with pytest.raises(DataError, match="not been trained"):
        surrogate.sample(torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 1))
    with pytest.raises(DataError, match="sum of weights is -100"):
        surrogate.prepare(toy.sample(100, weight=-np.ones(100)), seed=1)
    with pytest.raises(DataError, match="no row"):
        surrogate.prepare(toy.sample(100).take(slice(0)), seed=1)


@each
def test_conditions_outside_the_domain_are_flagged_and_stay_finite(case, ask):
    surrogate, condition, noise = ask(case, 4)
    condition = condition.clone()
    condition[1, 0], condition[2, 1], condition[3, 2] = 1e4, float("nan"), 2212.0
    outside = surrogate.codec.outside(condition)
    expected = torch.zeros(4, 3, dtype=torch.bool)
    expected[1, 0] = expected[2, 1] = expected[3, 2] = True
    assert torch.equal(outside, expected)
    assert surrogate.sample(condition[[0, 1, 3]], noise[[0, 1, 3]]).isfinite().all()


@each
def test_densities_exist_where_they_are_promised(case, toy, prepared):
    surrogate, sample = prepared(case), toy.sample(50, seed=3)
    condition, response = torch.as_tensor(sample.condition), torch.as_tensor(sample.response)
    if not surrogate.has_density:
        with pytest.raises(DataError, match="has no density; choose a flow"):
            surrogate.log_prob(condition, response)
        return
    log_prob = surrogate.log_prob(condition, response)
    assert log_prob.shape == (50,)
    assert log_prob.isfinite().all()
    # A row without a free component has probability 1 given its pattern.
    zero = (response == 0).all(dim=1)
    assert zero.any()
    torch.testing.assert_close(log_prob[zero], torch.zeros(int(zero.sum())))


@each
def test_density_agrees_with_the_jacobian_of_sampling(case, toy, prepared):
    surrogate = prepared(case)
    if not surrogate.has_density:
        return
    batch = rows(surrogate.encode(toy.sample(15, seed=3)), slice(15))
    z = torch.randn(15, surrogate.noise_features, generator=torch.Generator().manual_seed(2))
    for i in range(15):
        free, one = batch.active[i], batch.condition[i : i + 1]
        if not free.any():
            continue

        def response(noise: Tensor, one: Tensor = one, free: Tensor = free) -> Tensor:
            full = torch.zeros(1, len(free)).masked_scatter(free[None], noise)
            return surrogate.generate(one, full)[0][free]

        noise = z[i][free]
        jacobian = torch.autograd.functional.jacobian(response, noise)
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum() - torch.linalg.slogdet(jacobian)[1]
        x = torch.zeros(1, len(free)).masked_scatter(free[None], response(noise))
        found = surrogate.network_log_prob(x, free[None], one)[0]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)


@each
def test_it_exports_to_a_package_that_answers_alike(case, ask, tmp_path):
    surrogate, condition, noise = ask(case)
    trial = export(surrogate, tmp_path / "it.onnx", rows=300)
    assert trial.beyond == 0.0
    package = Package.load(tmp_path / "it.onnx")
    got = package.respond(condition.numpy(), noise.numpy())
    np.testing.assert_allclose(got, surrogate.sample(condition, noise).numpy(), rtol=1e-3, atol=1e-3)
