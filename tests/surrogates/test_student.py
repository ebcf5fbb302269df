"""One-pass students that learn quantile functions."""

from __future__ import annotations

import pytest
import torch

from parhelion import fit
from parhelion.errors import DataError
from parhelion.networks.quantiles import LATTICE, QuantileChain, on_lattice
from parhelion.noise import normal
from parhelion.sample import Sample
from parhelion.surrogates import Draws, Flow, Student, load
from parhelion.training import TrainingConfig

CHAIN = {"map": "quantiles", "width": 16, "blocks": 1, "knots": 6, "pieces": 8, "functions": 6, "steps": 2}


def teacher(sample: Sample, **options: object) -> Flow:
    made = Flow(
        sample.schema,
        Flow.Config.model_validate({"map": "spline_chain", "layers": 1, "width": 16, "depth": 1, "bins": 6, **options}),
    )
    made.prepare(sample, seed=1)
    torch.manual_seed(2)
    # Far from the identity, with curves that depend on everything before them.
    for name, parameter in made.flow_layers.named_parameters():
        if "last" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def chain(steps: int = 2) -> QuantileChain:
    torch.manual_seed(4)
    made = QuantileChain([0, 1, 2], 5, width=8, depth=1, knots=4, pieces=6, functions=5, steps=steps)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made.double()


@pytest.mark.parametrize("steps", [0, 2])
def test_curves_are_what_the_chain_answers_and_their_slopes_its_derivatives(steps):
    network = chain(steps)
    condition = torch.randn(20, 5, dtype=torch.float64)
    active = torch.ones(20, 3, dtype=torch.bool)
    # Between the ends of ramps, where slopes are unique.
    place = torch.randint(0, LATTICE, (20, 3, 2))
    noise = network.lattice[place[:, :, 0]].requires_grad_()
    x = network(condition, noise, active)
    values, rates = network.curves(condition, x, place)
    torch.testing.assert_close(values[:, :, 0], x)
    slopes = torch.stack([torch.autograd.grad(x[:, k].sum(), noise, retain_graph=True)[0][:, k] for k in range(3)], 1)
    torch.testing.assert_close(rates[:, :, 0], slopes)


def test_what_is_not_free_is_zero_and_no_other_entry_depends_on_its_noise():
    network = chain()
    condition, noise = torch.randn(10, 5, dtype=torch.float64), torch.randn(10, 3, dtype=torch.float64)
    active = torch.tensor([[True, False, True]]).expand(10, 3)
    first = network(condition, noise, active)
    noise[:, 1] += 3.0
    assert (first[:, 1] == 0).all()
    assert torch.equal(network(condition, noise, active), first)


def test_the_lattice_takes_the_nearest_value():
    noise = torch.randn(1000).clamp(-4.5, 4.5)
    lattice = chain().lattice.float()
    assert (lattice[on_lattice(noise)] - noise).abs().max() <= 4.5 / (LATTICE - 1) + 1e-6
    assert on_lattice(torch.tensor([-99.0, 99.0])).tolist() == [0, LATTICE - 1]


def test_a_chain_of_splines_gives_its_quantile_functions(toy):
    made = teacher(toy.sample(400))
    batch = made.encode(toy.sample(200))
    noise = torch.randn(200, made.noise_features, 3)
    values, slopes = made.flow_layers[0].quantiles(noise, batch.active, batch.condition)
    torch.testing.assert_close(values[:, :, 0], made.generate(batch.condition, noise[:, :, 0]), rtol=1e-4, atol=1e-4)
    assert (slopes[batch.active] > 0).all()
    _, log_det = made.flow_layers[0](values[:, :, 0], batch.active, batch.condition)
    logs = torch.where(batch.active, slopes[:, :, 0].clamp_min(1e-30).log(), torch.zeros(())).sum(dim=1)
    torch.testing.assert_close(-logs, log_det, rtol=1e-3, atol=1e-3)


def test_a_student_comes_close_to_its_teacher_noise_for_noise(toy, tmp_path):
    sample = toy.sample(4000)
    made = teacher(sample)
    student = Student(sample.schema, Student.Config.model_validate(CHAIN))
    student.learn_from(made, seed=3)
    before = float(student.loss("student", student.encode(sample), Draws(1)).events.detach().mean())
    config = TrainingConfig.model_validate({"steps": 300, "batch_size": 256, "optimiser": {"kind": "muon"}, "seed": 1})
    fit(student, sample, config=config, progress=lambda _: None)
    after = float(student.loss("student", student.encode(sample), Draws(1)).events.detach().mean())
    assert after < 0.2 * before
    noise = torch.as_tensor(normal(9, torch.arange(1000).numpy(), student.noise_width))
    condition = torch.as_tensor(toy.condition(1000, 9))
    ours, theirs = student.sample(condition, noise), made.sample(condition, noise)
    assert (ours - theirs).std() < 0.35 * theirs.std()
    assert (student.codec.pattern.code(ours) == made.codec.pattern.code(theirs)).all()
    student.save(tmp_path / "student.safetensors")
    assert torch.equal(load(tmp_path / "student.safetensors").sample(condition, noise), ours)


def test_quantile_functions_need_a_teacher_that_has_them(toy):
    sample = toy.sample(400)
    student = Student(sample.schema, Student.Config.model_validate(CHAIN))
    with pytest.raises(DataError, match=r"map: spline_chain and layers: 1; choose such a teacher"):
        student.learn_from(teacher(sample, layers=2), seed=1)
