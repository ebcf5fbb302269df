"""The package's graph: exact structure of every kind, as the surrogate makes it."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from parhelion.deploy.exporting import trace
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import SURROGATES, Student

ROWS = 4000


def structured(width: int, *, random: bool, columns: int = 2) -> Sample:
    """Below P = 9.3 the second response is tied to the first, or at 1.5; the third is near the second."""
    rng = np.random.default_rng(5)
    condition = {"P": rng.uniform(2.0, 30.0, ROWS), "kind": rng.choice([-3.0, 7.0], ROWS)}
    response = rng.normal(size=(ROWS, width))
    response[:, 2] += 3.0 * response[:, 1]
    low = condition["P"] < 9.3
    share = rng.uniform(size=ROWS) < 0.4 if random else condition["kind"] < 0
    response[low & share, 1] = response[low & share, 0]
    response[low & ~share, 1] = 1.5
    response[low, 2] = response[low, 1]
    fields = (Field("P", "GeV"), Field("kind", kind="category", values=(-3, 7), labels=("a", "b")))
    names = [f"y{k}" for k in range(width)]
    return Sample(
        Schema(fields[:columns], tuple(Field(n) for n in names)),
        {**{f.name: condition[f.name] for f in fields[:columns]}, **{n: response[:, k] for k, n in enumerate(names)}},
    )


def answers(surrogate, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Of the graph, and of the surrogate."""
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(ROWS, surrogate.noise_width)).astype(np.float32)
    condition = np.ascontiguousarray(sample.condition)
    condition[:3, 0] = np.nextafter(9.3, -np.inf), 9.3, np.nextafter(9.3, np.inf)
    session = onnxruntime.InferenceSession(trace(surrogate).SerializeToString(), providers=["CPUExecutionProvider"])
    given = {"noise": noise, "condition": condition}
    got = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})[0]
    return got, surrogate.sample(torch.as_tensor(condition), torch.as_tensor(noise)).numpy()


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("width", [3, 18])
@pytest.mark.parametrize("differences", [{}, {"y2": {"y1": 3.0}}, {"y2": {"y1": 2.0, "y0": 0.5}}])
def test_ties_atoms_and_differences(random, width, differences):
    sample = structured(width, random=random)
    codec = {"structure": {"thresholds": {"P": [9.3]}, "differences": differences}}
    surrogate = SURROGATES["gan"](sample.schema, SURROGATES["gan"].Config.model_validate({"codec": codec}))
    surrogate.prepare(sample, seed=1)
    assert surrogate.codec.pattern.random is random
    got, expected = answers(surrogate.eval(), sample)
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-4)
    for i, j in ((0, 1), (1, 2)):
        assert np.array_equal(got[:, i] == got[:, j], expected[:, i] == expected[:, j])
    assert np.array_equal(got == 1.5, expected == 1.5)
    assert 0.05 < np.mean(got[:, 1] == 1.5) < 0.4


@pytest.mark.parametrize(("steps", "knots", "plain"), [(0, 3, False), (2, 3, False), (1, 0, True)])
def test_a_folded_chain_answers_as_its_student(steps, knots, plain):
    """Plain: one condition, no category, no ramps, no structure."""
    sample = structured(3, random=False, columns=1 if plain else 2)
    structure = {"ties": False, "atoms": False} if plain else {"thresholds": {"P": [9.3]}}
    codec = {"structure": structure, "knots": 0 if plain else 4}
    config = {"map": "spline_chain", "layers": 1, "bins": 4, "width": 8, "depth": 1, "codec": codec}
    flow = SURROGATES["flow"](sample.schema, SURROGATES["flow"].Config.model_validate(config))
    flow.prepare(sample, seed=1)
    options = {"map": "quantiles", "width": 8, "blocks": 2, "knots": knots, "pieces": 4, "functions": 5, "steps": steps}
    student = Student(sample.schema, Student.Config.model_validate(options))
    student.learn_from(flow, seed=2)
    with torch.no_grad():
        for p in student.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    got, expected = answers(student.eval(), sample)
    np.testing.assert_allclose(got, expected, rtol=5e-4, atol=5e-4)
    assert np.array_equal(got[:, 0] == got[:, 1], expected[:, 0] == expected[:, 1])
    assert np.any(got[:, 0] == got[:, 1]) != plain


def test_a_step_of_the_condition_is_followed_in_double_precision():
    """A count whose quantiles coincide gives ramps as steep as steps."""
    rng = np.random.default_rng(7)
    count = np.where(rng.uniform(size=ROWS) < 0.7, 5.0, rng.integers(0, 400, ROWS))
    sample = Sample(
        Schema((Field("count"),), (Field("y"),)), {"count": count, "y": rng.normal(size=ROWS) + (count > 5)}
    )
    config = {"codec": {"condition": {"count": "linear"}}}
    surrogate = SURROGATES["gan"](sample.schema, SURROGATES["gan"].Config.model_validate(config))
    surrogate.prepare(sample, seed=1)
    ends = surrogate.codec.ramp_ends
    assert float((ends[1] - ends[0]).min()) < 1e-6
    got, expected = answers(surrogate.eval(), sample)
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-4)
