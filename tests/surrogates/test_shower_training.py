"""Short trainings of the papers' calorimeter models on toys with known truth, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from shower_toys import THRESHOLD, LayeredToy, ShowerToy

from parhelion import generate
from parhelion.errors import ConfigError
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import SURROGATES, BibAe, CaloGan, Draws, ImageGan, Surrogate
from parhelion.training import TrainingConfig, fit

TOY = ShowerToy()
VOXELS = {"response": [{"kind": "voxels", "linear": 1e-3, "top": 1.0}], "knots": 0, "threshold": THRESHOLD}
VOXELS["structure"] = {"ties": False, "atoms": False}
GAN = {
    "generator": {"latent": 8, "channels": [16, 8]},
    "critic": {"channels": [8, 16], "width": 48},
    "critic_steps": 2,
    "auxiliary": [{"kind": "image_regressor", "channels": [8, 16], "width": 32, "learning_steps": 80}],
}
BIBAE = {
    "latent": 4,
    "noise": 8,
    "encoder_channels": [8, 16],
    "decoder_channels": [16, 8],
    "critic_channels": [8, 16],
    "width": 64,
    "critic_width": 64,
    "latent_critic_width": 16,
    "post_width": 8,
    "post_depth": 2,
    "components": 4,
    "critic_steps": 2,
    "adversarial_steps": 300,
}
LAYERED = {"latent": 64, "seeds": 3, "channels": [4, 3], "critic_channels": [4, 3, 2, 2]}


def trained(kind: str, options: dict, steps: int, betas: list[float]) -> tuple[Sample, Sample]:
    codec = {**VOXELS, "directions": [["px", "py", "pz"]]}
    family = SURROGATES[kind]
    surrogate = family(TOY.schema, family.Config.model_validate({"codec": codec, **options}))
    training = {
        "steps": steps,
        "batch_size": 64,
        "schedule": "constant",
        "optimiser": {"kind": "adam", "learning_rate": 1e-3, "betas": betas},
    }
    fit(surrogate, TOY.sample(2000), config=TrainingConfig.model_validate(training), seed=1)
    held_out = TOY.sample(1000, seed=9)
    return held_out, generate(surrogate, held_out, seed=1, outside="flag")


def assert_alike(real: Sample, made: Sample) -> None:
    """More energy where the particle has more, and in the same cells, as far as a few seconds teach it."""
    totals = [np.log(s.response.sum(axis=1) + THRESHOLD) for s in (real, made)]
    assert np.corrcoef(*totals)[0, 1] > 0.5
    assert abs(totals[1].mean() - totals[0].mean()) < 1.0
    # The track's slope and point of impact move the shower.
    cells = np.arange(6) - 2.5
    centre = [(s["energy"].sum(axis=2) @ cells) / (s.response.sum(axis=1) + THRESHOLD) for s in (real, made)]
    assert np.corrcoef(*centre)[0, 1] > 0.5
    assert np.corrcoef(*(s["energy"].mean(axis=0).ravel() for s in (real, made)))[0, 1] > 0.8


def test_the_calorimeter_gan_learns_energy_and_place():
    assert_alike(*trained("image_gan", GAN, 260, [0.0, 0.9]))


@pytest.mark.slow
def test_the_autoencoder_learns_energy_and_place():
    assert_alike(*trained("bibae", BIBAE, 400, [0.5, 0.9]))


def test_stages_of_training_follow_the_step():
    gan = make("image_gan", TOY, {**GAN, "codec": {**VOXELS, "directions": [["px", "py", "pz"]]}})
    assert gan.turns(79) == ("auxiliary",)
    assert gan.turns(80) == ("critic", "critic", "generator")
    bibae = make("bibae", TOY, {**BIBAE, "codec": VOXELS})
    assert bibae.turns(299) == ("critic", "latent_critic", "critic", "latent_critic", "autoencoder")
    assert bibae.turns(300) == ("density", "post")
    layered = make("calogan", LayeredToy(), LAYERED)
    assert layered.turns(0) == ("critic", "generator", "generator")


def make(kind: str, toy, options: dict, rows: int = 400) -> Surrogate:
    sample, family = toy.sample(rows), SURROGATES[kind]
    surrogate = family(sample.schema, family.Config.model_validate(options))
    surrogate.prepare(sample, seed=1)
    return surrogate


def test_the_energy_term_makes_the_layers_sum_to_the_incident_energy():
    toy = LayeredToy()
    surrogate = make("calogan", toy, {**LAYERED, "energy_weight": 100.0})
    batch = surrogate.encode(toy.sample(64))
    incident = surrogate.incident(batch.condition)
    torch.testing.assert_close(incident, torch.as_tensor(toy.sample(64)["energy"], dtype=torch.float32))

    def off() -> float:
        z = torch.randn(64, 64, generator=torch.Generator().manual_seed(7))
        with torch.no_grad():
            total = surrogate.generate(batch.condition, z).sum(dim=1)
        return float((total - incident).abs().mean() / incident.mean())

    # Too small throughout, so that the term has something to do.
    with torch.no_grad():
        surrogate.generator.unit *= 0.2
    before = off()
    optimiser = torch.optim.Adam(surrogate.generator.parameters(), 2e-3)
    for step in range(120):
        optimiser.zero_grad()
        surrogate.loss("generator", batch, Draws(step)).events.mean().backward()
        optimiser.step()
    assert before > 0.5
    assert off() < 0.2


def test_layers_start_from_their_own_energies():
    toy = LayeredToy()
    sample = toy.sample(400)
    scale = dict(zip(("layer_0", "layer_1", "layer_2"), (1.0, 1.0, 1e-2), strict=True))
    columns = {"energy": sample["energy"], **{name: sample[name] * k for name, k in scale.items()}}
    sample = Sample(sample.schema, columns, source="uneven layers")
    codec = {"response": [], "knots": 0, "threshold": 1e-6}
    surrogate = CaloGan(sample.schema, CaloGan.Config.model_validate({**LAYERED, "codec": codec}))
    surrogate.prepare(sample, seed=1)
    batch = surrogate.encode(sample)
    z = torch.randn(400, surrogate.noise_features, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        made = surrogate.generate(batch.condition, z)
    sizes = [math.prod(shape) for shape in toy.shapes]
    for i, (real, first) in enumerate(zip(batch.response.split(sizes, 1), made.split(sizes, 1), strict=True)):
        energy = float(real.sum(dim=1).mean())
        assert float(first.sum(dim=1).mean()) == pytest.approx(energy, rel=0.25)
        assert float(surrogate.critic.energy_unit[i]) == pytest.approx(energy)
        hit = real[real > 0]
        assert float(surrogate.critic.cell_unit[i]) == pytest.approx(float(hit.square().mean().sqrt()))


def test_cubes_are_images_too():
    schema = Schema((Field("energy", "GeV"),), (Field("cells", "GeV", (5, 6, 4)),))
    g = np.random.default_rng(1)
    energy = g.uniform(10, 100, 40)
    cells = energy[:, None, None, None] * g.dirichlet(np.ones(120), 40).reshape(40, 5, 6, 4)
    sample = Sample(schema, {"energy": energy, "cells": cells}, source="toy cube")
    surrogate = BibAe(schema, BibAe.Config.model_validate({"codec": VOXELS, **BIBAE}))
    surrogate.prepare(sample, seed=1)
    batch = surrogate.encode(sample)
    for player in surrogate.players():
        loss = surrogate.loss(player, batch, Draws(1))
        assert loss.events.shape == (40,)
        assert bool(loss.events.isfinite().all())
    made = generate(surrogate, sample, seed=1)
    assert made["cells"].shape == (40, 5, 6, 4)
    assert not (made["cells"] < 0).any()


def test_no_row_of_the_training_sample_is_in_the_autoencoder():
    few, many = (make("bibae", TOY, {"codec": VOXELS, **BIBAE}, rows) for rows in (200, 400))
    sizes = [sum(t.numel() for t in s.state_dict().values()) for s in (few, many)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("family", "schema", "options", "match"),
    [
        (CaloGan, TOY.schema, {}, "only condition"),
        (CaloGan, LayeredToy().schema, {"codec": VOXELS}, "response: \\[\\]"),
        (CaloGan, Schema(LayeredToy().schema.condition, (Field("e", "GeV"),)), {}, "layers of shape"),
        (BibAe, LayeredToy().schema, {}, "one response field that is an image"),
        (ImageGan, LayeredToy().schema, {"codec": VOXELS}, "one response field that is an image"),
    ],
)
def test_showers_that_do_not_fit_a_family_are_refused(family, schema, options, match):
    surrogate = family(schema, family.Config.model_validate(options))
    with pytest.raises(ConfigError, match=match):
        surrogate.build(surrogate.codec.features, schema.response_width)
