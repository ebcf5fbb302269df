"""The C file answers as the surrogate does, compiled with every warning an error."""

from __future__ import annotations

import copy
import subprocess
from typing import Any

import numpy as np
import pytest
import torch
from cfile_toys import COMPILER, STRICT, Compiled, student

from parhelion.data import load as shipped
from parhelion.data import starts
from parhelion.deploy.cfile import RELATIVE_TOLERANCE, _normal_thresholds, c_source, write_c
from parhelion.deploy.models import SurrogateModel
from parhelion.errors import DataError
from parhelion.noise import normal
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import SURROGATES, Surrogate, load

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc) on this machine")


def gan(sample: Sample, **options: Any) -> Surrogate:
    generator = {"latent": 6, "width": 20, "depth": 2, **options.pop("generator", {})}
    config = {"codec": {"structure": {"thresholds": {"P": [9.3]}}}, "generator": generator, **options}
    made = SURROGATES["gan"](sample.schema, SURROGATES["gan"].Config.model_validate(config))
    made.prepare(sample, seed=1)
    return made


def cells(transform: dict[str, Any], threshold: float) -> tuple[Surrogate, Sample]:
    """A generator of images that takes a momentum."""
    rng = np.random.default_rng(5)
    p, slope = rng.uniform(10, 100, 800), rng.uniform(-0.1, 0.1, (800, 2))
    pz = p / np.sqrt(1 + (slope**2).sum(axis=1))
    energy = p[:, None, None] * rng.dirichlet(np.full(12, 0.3), 800).reshape(800, 3, 4)
    schema = Schema(
        (Field("px", "GeV"), Field("py", "GeV"), Field("pz", "GeV")), (Field("energy", "GeV", shape=(3, 4)),)
    )
    sample = Sample(
        schema, {"px": slope[:, 0] * pz, "py": slope[:, 1] * pz, "pz": pz, "energy": energy}, source="cells"
    )
    codec = {"response": [transform], "threshold": threshold, "directions": [["px", "py", "pz"]], "knots": 3}
    config = {"codec": codec, "generator": {"latent": 5, "width": 16, "depth": 1}}
    made = SURROGATES["gan"](schema, SURROGATES["gan"].Config.model_validate(config))
    made.prepare(sample, seed=1)
    return made, sample


def cascade(shape: tuple[int, ...], **options: Any) -> tuple[Surrogate, Sample]:
    """A cascade of images of tracks with slopes, or of volumes of an energy, that is not trained but has learned sizes.

    Half of the cells have less than the threshold, all of it in some corner.
    """
    rng = np.random.default_rng(6)
    n, cells = 400, int(np.prod(shape))
    e = np.exp(rng.uniform(0, 4, n))
    energy = e[:, None] * (1 + 0.1 * rng.normal(size=(n, 1))) * rng.dirichlet(np.full(cells, 0.1), n)
    fields, columns = [Field("e", "GeV")], {"e": e}
    if len(shape) == 2:
        slope = rng.uniform(-0.2, 0.2, (n, 2))
        pz = e / np.sqrt(1 + (slope**2).sum(axis=1))
        columns = {"px": slope[:, 0] * pz, "py": slope[:, 1] * pz, "pz": pz, "x": rng.normal(size=n), "y": slope[:, 0]}
        fields = [Field(name) for name in columns]
    schema = Schema(tuple(fields), (Field("cells", "GeV", shape),))
    sample = Sample(schema, {**columns, "cells": energy.reshape(n, *shape)}, source="showers")
    own = {"directions": [["px", "py", "pz"]]} if len(shape) == 2 else {"directions": []}
    codec = {"response": [], "knots": 0, "threshold": 1e-3, **own, **options.pop("codec", {})}
    defaults = {} if len(shape) == 2 else {"impact": None, "energy": "e"}
    config = {"core_width": 9, "ring_width": 12, "width": 5, "components": 3, **defaults, **options, "codec": codec}
    made = SURROGATES["cascade"](schema, SURROGATES["cascade"].Config.model_validate(config))
    made.prepare(sample, seed=1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for p in made.parameters():
            p += 0.2 * torch.randn_like(p)
    return made.eval(), sample


def compare(surrogate: Surrogate, compiled: Compiled, condition: np.ndarray, seed: int) -> np.ndarray:
    event = np.arange(len(condition), dtype=np.int64) + (1 << 40)
    model = SurrogateModel(surrogate)
    code, found, _, count = compiled.generate(condition, event, seed, 0)
    assert (code, count) == (0, 0)
    expected = model.respond(condition, model.noise(seed, event))
    spread = np.maximum(expected.std(axis=0), 1e-3 * np.abs(expected).max(axis=0)) + 1e-30
    close = np.abs(found - expected) <= RELATIVE_TOLERANCE * spread
    assert close.all(), (np.abs(found - expected) / spread).max()
    return found


@needs_compiler
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"generator": {"activation": "leaky_relu", "depth": 3, "width": 37}},
        {"generator": {"activation": "tanh"}, "codec": {"response": ["symlog", "affine"], "knots": 0}},
        {"generator": {"activation": "elu", "depth": 1}, "codec": {"response": ["affine"], "knots": 5}},
    ],
)
def test_a_gan_in_c_answers_as_in_python(toy, tmp_path, options):
    sample = toy.sample(2000, seed=1)
    surrogate = gan(sample, **options)
    compare(surrogate, Compiled(surrogate, tmp_path), sample.condition, seed=4)


@needs_compiler
@pytest.mark.parametrize("form", ["displacement", "quantiles"])
def test_a_student_in_c_answers_as_in_python_with_exact_structure_and_guard(toy, tmp_path, form):
    sample = toy.sample(2000, seed=1)
    surrogate = student(sample, form)
    compiled = Compiled(surrogate, tmp_path)
    found = compare(surrogate, compiled, sample.condition, seed=(1 << 50) + 3)
    code = surrogate.codec.pattern.code
    model = SurrogateModel(surrogate)
    event = np.arange(len(found), dtype=np.int64) + (1 << 40)
    expected = model.respond(sample.condition, model.noise((1 << 50) + 3, event))
    assert (code(torch.as_tensor(found)) == code(torch.as_tensor(expected))).all()
    assert compiled.library.net_self_test() == 0

    odd = sample.condition[:50].copy()
    odd[3, 0] = 1e9
    odd[7, 0] = np.nan
    ids = np.arange(50)
    outside = model.outside(odd).any(axis=1)
    refused = compiled.generate(odd, ids, 1, 0)
    assert (refused[0], refused[3]) == (1, 2)
    assert np.isnan(refused[1]).all()
    flagged = compiled.generate(odd, ids, 1, 2)
    assert (flagged[0], flagged[3]) == (0, 2)
    assert (flagged[2].astype(bool) == outside).all()
    # Clamping gives a number a place, but not NaN.
    assert compiled.generate(odd, ids, 1, 1)[0] == 1
    odd[7] = odd[8]
    clamped = compiled.generate(odd, ids, 1, 1)
    assert (clamped[0], clamped[3]) == (0, 1)
    again = compiled.generate(model.clamp(odd), ids, 1, 0)
    np.testing.assert_array_equal(clamped[1], again[1])


@needs_compiler
def test_noise_in_c_has_the_same_bits(toy, tmp_path):
    surrogate = gan(toy.sample(500, seed=1), generator={"latent": 11})
    compiled = Compiled(surrogate, tmp_path)
    event = np.array([0, 1, 2, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, *range(5000, 8000)], dtype=np.int64)
    for seed, stage in ((0, 0), ((1 << 64) - 1, 3)):
        expected = normal(seed, event, surrogate.noise_width, stage=stage)
        np.testing.assert_array_equal(compiled.noise(seed, event, stage), expected)


@needs_compiler
@pytest.mark.parametrize("transform", [{"kind": "voxels", "linear": 1e-3, "top": 50}])
def test_an_image_in_c_has_exact_zeros_and_its_momentum_is_guarded(tmp_path, transform):
    surrogate, sample = cells(transform, 0.1)
    compiled = Compiled(surrogate, tmp_path)
    found = compare(surrogate, compiled, sample.condition, seed=2)
    assert (found == 0).any()
    assert found[found != 0].min() >= np.float32(0.1)
    # Each component is in its range, but no such magnitude occurred.
    low = sample.condition.min(axis=0)
    assert compiled.generate(low[None], np.zeros(1), 1, 2)[3] == int(SurrogateModel(surrogate).outside(low[None]).any())


@needs_compiler
@pytest.mark.parametrize("flags", [(), ("-O3", "-march=native", "-ffp-contract=off")], ids=["plain", "native"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((7, 7), {}),
        ((3, 20), {"symmetric": False, "codec": {"knots": 3}, "components": 1}),
        ((5, 7, 3), {"polar": True}),
        ((6, 6, 6), {"codec": {"condition": {"e": "linear"}}}),
        ((2, 3, 5), {"symmetric": False, "energy": None, "core_width": 24, "context_width": 10}),
    ],
    ids=["image", "strip", "angles", "cube", "plain volume"],
)
def test_a_cascade_in_c_divides_energies_as_in_python(tmp_path, shape, options, flags):
    surrogate, sample = cascade(shape, **options)
    compiled = Compiled(surrogate, tmp_path, *flags)
    assert compiled.library.net_self_test() == 0
    model = SurrogateModel(surrogate)
    # More rows than a group has, and not a multiple of it.
    event = np.arange(len(sample) - 1, dtype=np.int64)
    condition = sample.condition[:-1]
    code, found, _, _ = compiled.generate(condition, event, 5, 0)
    expected = model.respond(condition, model.noise(5, event))
    assert code == 0
    error = np.abs(found - expected) / (expected.std(axis=0) + np.abs(expected) + 1e-30)
    odd = (error > 1e-3).any(axis=1)
    # Rounding may decide a choice otherwise.
    assert odd.mean() <= surrogate.undecided
    assert ((found > 0) == (expected > 0))[~odd].all()
    np.testing.assert_allclose(found.sum(axis=1), expected.sum(axis=1), rtol=1e-5)
    # A row does not depend on the others of its group.
    np.testing.assert_array_equal(compiled.generate(condition[5:6], event[5:6], 5, 0)[1][0], found[5])


@needs_compiler
def test_a_trained_cascade_answers_its_golden_block_and_the_shipped_showers_conditions(tmp_path):
    surrogate, sample = load(starts()["ecal"]), shipped().take(slice(0, 300))
    compiled, model = Compiled(surrogate, tmp_path), SurrogateModel(surrogate)
    assert compiled.library.net_self_test() == 0
    event = np.arange(300, dtype=np.int64)
    found = compiled.generate(sample.condition, event, 3, 2)[1]
    expected = model.respond(sample.condition, model.noise(3, event))
    odd = (np.abs(found - expected) > 1e-3 * (expected.std(axis=0) + np.abs(expected))).any(axis=1)
    assert odd.mean() <= surrogate.undecided


@needs_compiler
def test_a_cascade_in_c_takes_conditions_far_outside_and_extreme_noise(tmp_path):
    surrogate, sample = cascade((7, 7))
    compiled, model = Compiled(surrogate, tmp_path), SurrogateModel(surrogate)
    odd = np.stack([np.full(5, np.nan), np.zeros(5), np.full(5, 1e30), np.full(5, np.inf), np.full(5, -3.0)])
    code, found, outside, _ = compiled.generate(odd, np.arange(5), 1, 2)
    assert code == 0
    assert np.isfinite(found).all()
    assert outside.all()
    for z in (-7.0, 0.0, 7.0):
        noise = np.full((1, surrogate.noise_width), z, dtype=np.float32)
        answer = compiled.respond(sample.condition[:1], noise)
        np.testing.assert_allclose(answer, model.respond(sample.condition[:1], noise), rtol=1e-3, atol=1e-6)


@needs_compiler
def test_a_random_pattern_is_decided_by_the_same_noise(tmp_path):
    rng = np.random.default_rng(8)
    x, y = rng.uniform(1, 2, 4000), rng.normal(size=(4000, 2))
    y[rng.uniform(size=4000) < np.where(x < 1.5, 0.3, 0.8), 1] = 0.0
    schema = Schema((Field("x"),), (Field("a"), Field("b")))
    sample = Sample(schema, {"x": x, "a": y[:, 0], "b": y[:, 1]}, source="atoms")
    config = SURROGATES["gan"].Config.model_validate({"generator": {"latent": 4, "width": 8, "depth": 1}})
    surrogate = SURROGATES["gan"](schema, config)
    surrogate.prepare(sample, seed=1)
    assert surrogate.codec.pattern.random
    found = compare(surrogate, Compiled(surrogate, tmp_path), sample.condition, seed=3)
    for inside, share in ((x < 1.5, 0.3), (x >= 1.5, 0.8)):
        # Five standard errors, of training and generated rows together.
        assert abs((found[inside, 1] == 0).mean() - share) < 5 * np.sqrt(2 * share * (1 - share) / inside.sum())


def test_a_limit_on_noise_decides_as_the_probability_does():
    cumulative = np.concatenate([[0.0, 1e-300, 1e-9, 0.5, 1 - 1e-12, 1.0], np.random.default_rng(1).uniform(size=400)])
    limit = _normal_thresholds(cumulative[None])[0].astype(np.float32)
    for z in (limit, np.nextafter(limit, np.float32(-np.inf)), np.nextafter(limit, np.float32(np.inf))):
        inner = np.abs(z) < 8
        u = torch.special.ndtr(torch.as_tensor(z.astype(np.float64))).numpy()
        np.testing.assert_array_equal((z >= limit)[inner], (u >= cumulative)[inner])


@needs_compiler
def test_the_golden_block_is_a_program_and_finds_an_edited_weight(toy, tmp_path):
    surrogate = gan(toy.sample(500, seed=1))
    write_c(surrogate, tmp_path / "net.c")
    program = tmp_path / "net"

    def replay() -> subprocess.CompletedProcess[str]:
        command = [str(COMPILER), *STRICT, "-Dnet_SELF_TEST", str(tmp_path / "net.c"), "-o", str(program), "-lm"]
        subprocess.run(command, check=True)
        return subprocess.run([str(program)], capture_output=True, text=True, check=False)

    assert replay().returncode == 0
    changed = copy.deepcopy(surrogate)
    with torch.no_grad():
        next(iter(changed.generator.parameters()))[0, 0] += 0.5
    golden = c_source(surrogate, name="net").split("static const double golden_condition")[1]
    other = c_source(changed, name="net").split("static const double golden_condition")[0]
    (tmp_path / "net.c").write_text(other + "static const double golden_condition" + golden)
    edited = replay()
    assert edited.returncode == 1
    assert "8 of 8 golden rows differ" in edited.stdout


def test_what_is_no_dense_network_is_refused_by_name(toy, tmp_path):
    sample = toy.sample(500, seed=1)
    library = SURROGATES["library"](sample.schema)
    library.prepare(sample, seed=1)
    with pytest.raises(DataError, match=r"library surrogate cannot be written as C.*student"):
        write_c(library, tmp_path / "net.c")
    with pytest.raises(DataError, match="not been trained"):
        write_c(SURROGATES["gan"](sample.schema), tmp_path / "net.c")
    with pytest.raises(DataError, match="letters, digits and _"):
        write_c(gan(sample), tmp_path / "net.c", name="2 nets")
    assert list(tmp_path.iterdir()) == []
