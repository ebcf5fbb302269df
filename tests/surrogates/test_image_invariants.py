"""What every surrogate of images keeps. The registry drives these tests: a new family inherits them all."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from shower_toys import THRESHOLD, LayeredToy, ShowerToy, VolumeToy
from torch import Tensor

from parhelion.deploy.exporting import export
from parhelion.deploy.runtime import Package
from parhelion.errors import DataError, ShapeError
from parhelion.sample import Sample
from parhelion.surrogates import SURROGATES, Batch, Draws, Surrogate, load
from parhelion.weights import scale_to_unit_mean

ROWS = 400
TOY = ShowerToy()
# Options of small networks, one test case each; a family or a case of other fields names a toy of its own in TOYS.
SMALL: dict[str, list[dict[str, Any]]] = {
    "cascade": [
        {"core_width": 8, "ring_width": 8, "width": 8, "components": 2},
        {"core_width": 8, "width": 8, "symmetric": False},
        {"width": 8, "polar": True, "energy": "energy"},
        {"width": 8, "symmetric": False},
    ],
    "image_gan": [
        {
            "generator": {"latent": 6, "channels": [8, 6, 4]},
            "critic": {"channels": [4, 6], "width": 16},
            "critic_steps": 2,
            "auxiliary": [
                {"kind": "image_regressor", "channels": [4], "width": 8, "learning_steps": 2},
                {"kind": "statistics"},
            ],
        }
    ],
    "calogan": [
        {"latent": 6, "seeds": 3, "channels": [4, 3], "critic_channels": [4, 3, 2, 2], "minibatch": m}
        for m in (False, True)
    ],
}
_SMALL_BIBAE = {
    "latent": 3,
    "noise": 2,
    "encoder_channels": [3, 4],
    "decoder_channels": [6, 4],
    "critic_channels": [3, 4],
    "width": 8,
    "critic_width": 8,
    "latent_critic_width": 4,
    "post_width": 4,
    "post_depth": 2,
    "components": 2,
    "critic_steps": 1,
    "adversarial_steps": 3,
}
SMALL["bibae"] = [_SMALL_BIBAE]
TOYS: dict[Any, Any] = {
    "calogan": LayeredToy(),
    ("cascade", 2): VolumeToy(),
    ("cascade", 3): VolumeToy((3, 4, 5), polar=False),
}
CASES = [(kind, i) for kind, family in SURROGATES.items() if family.images for i in range(len(SMALL.get(kind, [{}])))]


def toy_of(case: tuple[str, int]) -> Any:
    return TOYS.get(case, TOYS.get(case[0], TOY))


def make(case: tuple[str, int], sample: Sample, seed: int = 1) -> Surrogate:
    kind, i = case
    options = SMALL.get(kind, [{}])[i]
    default = SURROGATES[kind].Config().codec.model_dump()
    config = SURROGATES[kind].Config.model_validate(
        {"codec": {**default, "directions": [], **toy_of(case).codec}, **options}
    )
    surrogate = SURROGATES[kind](sample.schema, config)
    surrogate.prepare(sample, seed=seed)
    return surrogate


def rows(batch: Batch, index: Tensor | slice) -> Batch:
    return Batch(batch.response[index], batch.condition[index], batch.active[index], batch.weight[index])


def train(surrogate: Surrogate, sample: Sample, steps: int, size: int = 32) -> list[Tensor]:
    batch = surrogate.encode(sample)
    weight = torch.as_tensor(scale_to_unit_mean(sample.weight), dtype=torch.float32)
    optimisers = {k: torch.optim.Adam(p, 1e-3) for k, p in surrogate.players().items()}
    values: list[Tensor] = []
    for step in range(steps):
        part = slice(size * step, size * (step + 1))
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
def prepared():
    """Prepared and shortly trained surrogates, which tests do not change."""

    @cache
    def get(case: tuple[str, int]) -> Surrogate:
        sample = toy_of(case).sample(ROWS)
        surrogate = make(case, sample)
        train(surrogate, sample, 3)
        return surrogate.eval()

    return get


@pytest.fixture
def ask(prepared):
    """Surrogate, conditions and noise for a case."""

    def get(case: tuple[str, int], n: int = 60) -> tuple[Surrogate, Tensor, Tensor]:
        surrogate = prepared(case)
        noise = torch.randn(n, surrogate.noise_width, generator=torch.Generator().manual_seed(5))
        return surrogate, torch.as_tensor(toy_of(case).condition(n, 9)), noise

    return get


each = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1]}")


@each
def test_rows_of_images_are_independent_of_batch_and_order(case, ask):
    surrogate, condition, noise = ask(case)
    whole = surrogate.sample(condition, noise)
    parts = [surrogate.sample(c, z) for c, z in zip(condition.split(7), noise.split(7), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)
    order = torch.randperm(len(condition), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(surrogate.sample(condition[order], noise[order]), whole[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(surrogate.sample(condition[:1], noise[:1]), whole[:1], rtol=1e-4, atol=1e-5)


@each
def test_cells_are_at_least_the_threshold_or_exactly_zero(case, ask):
    surrogate, condition, noise = ask(case)
    cells = surrogate.sample(condition, 2 * noise)
    assert cells.shape == (60, surrogate.schema.response_width)
    assert cells.dtype == torch.float32
    assert cells.isfinite().all()
    assert bool(((cells == 0) | (cells >= THRESHOLD * (1 - 1e-6))).all())


@each
def test_same_input_same_image_and_nothing_else_changes(case, ask):
    surrogate, condition, noise = ask(case)
    state = {k: v.clone() for k, v in surrogate.state_dict().items()}
    before, rng = (condition.clone(), noise.clone()), torch.get_rng_state()
    surrogate.train()
    first = surrogate.sample(condition, noise)
    surrogate.eval()
    assert torch.equal(first, surrogate.sample(condition, noise))
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(v, state[k]) for k, v in surrogate.state_dict().items())
    assert torch.equal(condition, before[0])
    assert torch.equal(noise, before[1])
    assert not first.requires_grad
    assert not torch.equal(first, surrogate.sample(condition.flip(0), noise))


@each
def test_training_on_images_is_finite_and_moves_every_parameter(case):
    sample = toy_of(case).sample(ROWS)
    surrogate = make(case, sample)
    players = surrogate.players()
    owned = [id(p) for parameters in players.values() for p in parameters]
    assert len(owned) == len(set(owned)), "a parameter belongs to two players"
    assert set(owned) == {id(p) for p in surrogate.parameters() if p.requires_grad}
    assert {id(p) for p in surrogate.averaged()} <= set(owned)
    before = {name: p.detach().clone() for name, p in surrogate.named_parameters() if p.requires_grad}
    values = train(surrogate, sample, 8)
    assert all(v.isfinite() for v in values)
    after = dict(surrogate.named_parameters())
    still = [name for name, p in before.items() if torch.equal(after[name], p)]
    assert not still, f"no gradient reached {still}"


@each
def test_images_with_signed_weights_train(case):
    weight = np.where(np.random.default_rng(1).uniform(size=ROWS) < 0.2, -1.0, 1.0)
    sample = toy_of(case).sample(ROWS, weight=weight)
    surrogate = make(case, sample)
    assert all(v.isfinite() for v in train(surrogate, sample, 5))
    noise = torch.randn(20, surrogate.noise_width, generator=torch.Generator().manual_seed(1))
    assert surrogate.sample(torch.as_tensor(toy_of(case).condition(20, 4)), noise).isfinite().all()


@each
def test_a_loss_of_images_is_per_event_and_random_through_its_draws_alone(case, prepared):
    surrogate = copy.deepcopy(prepared(case))
    batch = rows(surrogate.encode(toy_of(case).sample(ROWS)), slice(16))
    rng = torch.get_rng_state()
    for player in surrogate.players():
        first, second = (surrogate.loss(player, batch, Draws(3)) for _ in range(2))
        assert first.events.shape == (16,)
        assert torch.equal(first.events, second.events)
        assert first.penalty is None or first.penalty.ndim == 0
        assert all(value.ndim == 0 and not value.requires_grad for value in first.logs.values())
    assert torch.equal(torch.get_rng_state(), rng)


@each
def test_two_processes_share_the_loss_of_images(case, prepared):
    surrogate = copy.deepcopy(prepared(case))
    if getattr(surrogate.config, "minibatch", False):
        pytest.skip("rows meet in the critic: those of one process")
    batch = rows(surrogate.encode(toy_of(case).sample(ROWS)), slice(16))
    for player in surrogate.players():
        one = surrogate.loss(player, batch, Draws(3)).events
        for rank in (0, 1):
            half = surrogate.loss(player, rows(batch, slice(rank, None, 2)), Draws(3, rank=rank, world=2)).events
            torch.testing.assert_close(half, one[rank::2], rtol=1e-3, atol=1e-4)


@each
def test_saved_and_loaded_surrogates_of_images_answer_the_same_bits(case, ask, tmp_path):
    surrogate, condition, noise = ask(case)
    path = tmp_path / "toy.surrogate"
    surrogate.save(path)
    again = load(path)
    assert type(again) is type(surrogate)
    assert again.config == surrogate.config
    assert torch.equal(again.sample(condition, noise), surrogate.sample(condition, noise))


@each
def test_wrong_shapes_and_untrained_surrogates_of_images_are_refused(case, ask):
    surrogate, condition, noise = ask(case)
    with pytest.raises(ShapeError, match="condition: expected shape"):
        surrogate.sample(condition[:, :-1], noise)
    with pytest.raises(ShapeError, match="noise: expected shape"):
        surrogate.sample(condition, noise[:, 1:])
    untrained = SURROGATES[case[0]](toy_of(case).schema, surrogate.config)
    with pytest.raises(DataError, match="not been trained"):
        untrained.sample(condition, noise)


@each
def test_particles_outside_the_domain_are_flagged_and_stay_finite(case, ask):
    surrogate, condition, noise = ask(case, 3)
    condition = condition.clone()
    condition[1, 0] = 1e4
    condition[2] *= float("nan")
    outside = surrogate.codec.outside(condition)
    assert outside[1, 0]
    assert outside[2].all()
    assert not outside[0].any()
    assert surrogate.sample(condition[:2], noise[:2]).isfinite().all()


@each
def test_images_export_to_a_package_that_answers_alike(case, ask, tmp_path):
    surrogate, condition, noise = ask(case)
    trial = export(surrogate, tmp_path / "it.onnx", rows=100)
    assert trial.beyond == 0.0
    package = Package.load(tmp_path / "it.onnx")
    got = package.respond(condition.numpy(), noise.numpy())
    np.testing.assert_allclose(got, surrogate.sample(condition, noise).numpy(), rtol=1e-3, atol=1e-3)
