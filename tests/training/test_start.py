"""Training that begins with another surrogate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_toys import line_sample

from parhelion.data import starts
from parhelion.errors import ConfigError, DataError
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates import SURROGATES, Surrogate, load
from parhelion.training import TrainingConfig, ValidationLoss, fit

STILL = {"batch_size": 64, "optimiser": {"kind": "sgd", "learning_rate": 1e-30}, "ema": 0.0}


def surrogate(kind: str = "matching", schema: Schema | None = None, **options) -> Surrogate:
    config = {"width": 16, "blocks": 1, **options} if kind == "matching" else options
    family = SURROGATES[kind]
    return family(schema or line_sample(10).schema, family.Config.model_validate(config))


def moved(sample: Sample, factor: float) -> Sample:
    columns = {name: factor * np.asarray(sample[name]) for name in ("a", "b", "x", "y")}
    return Sample(sample.schema, columns, weight=sample.weight, source="moved.npz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    made = surrogate()
    fit(made, line_sample(4000), config=TrainingConfig(steps=400, batch_size=256, ema=0.0), seed=1)
    path = tmp_path_factory.mktemp("start") / "first.safetensors"
    made.save(path)
    return str(path)


def test_it_answers_as_the_other_in_the_domain_of_the_new_sample(trained):
    sample = moved(line_sample(300, seed=5), 0.5)
    made, first = surrogate(), load(trained)
    fit(made, sample, config=TrainingConfig(steps=1, start=trained, **STILL))
    condition = torch.as_tensor(sample.condition)
    noise = torch.randn(len(sample), made.noise_width, generator=torch.Generator().manual_seed(1))
    assert torch.equal(made.eval().sample(condition, noise), first.sample(condition, noise))
    np.testing.assert_array_equal(made.codec.high.numpy(), sample.condition.max(axis=0))
    assert (first.codec.high > made.codec.high).all()
    assert made.provenance["start"]["file"] == "first.safetensors"
    assert len(made.provenance["start"]["sha256"]) == 64


def test_few_rows_and_steps_suffice_where_the_start_knows_most(trained):
    few, held = moved(line_sample(100, seed=5), 1.1), moved(line_sample(2000, seed=6), 1.1)
    config = {"steps": 30, "batch_size": 100, "ema": 0.0}
    found = {}
    for start in (None, trained):
        made = surrogate()
        fit(made, few, config=TrainingConfig(start=start, **config), seed=1)
        found[start] = ValidationLoss(made, held, player=next(iter(made.players())), seed=2)(made)
    assert found[trained] < 0.9 * found[None]


def test_what_does_not_fit_is_refused(trained, tmp_path):
    sample = line_sample(300)

    def refused(made: Surrogate, start: str, what: str, given: Sample = sample, error=ConfigError) -> None:
        with pytest.raises(error, match=what):
            fit(made, given, config=TrainingConfig(steps=1, start=start))

    refused(surrogate(width=17), trained, "that surrogate has options width 16, the one to train width 17")
    refused(surrogate("flow"), trained, "that surrogate is of family matching, the one to train flow")
    fields = Schema((Field("a", "GeV"), Field("b")), sample.schema.response)
    columns = {name: sample[name] for name in ("a", "b", "x", "y")}
    refused(
        surrogate(schema=fields),
        trained,
        r"has fields a, b, x, y, the one to train a \[GeV\], b",
        Sample(fields, columns),
    )
    refused(surrogate(), "nothere", f"there is no surrogate nothere; give a file, or one of {', '.join(starts())}")
    refused(surrogate(), str(tmp_path / "no.safetensors"), "there is no such file", error=DataError)
    library = surrogate("library")
    library.prepare(sample, seed=1)
    library.save(tmp_path / "library.safetensors")
    refused(surrogate("library"), str(tmp_path / "library.safetensors"), "a library surrogate is not trained in steps")
    refused(load(trained), trained, "this matching surrogate is prepared already; leave start out")


def test_a_condition_that_has_no_logarithm_is_refused():
    rng = np.random.default_rng(1)
    schema = Schema((Field("e", "GeV"),), (Field("x"),))

    def sample(low: float) -> Sample:
        return Sample(schema, {"e": np.geomspace(low, low + 100, 50), "x": rng.normal(size=50)}, source="rows.npz")

    first = surrogate(schema=schema)
    first.prepare(sample(1.0), seed=1)
    odd = sample(1.0)
    odd = Sample(schema, {"e": odd["e"] - 1.0, "x": odd["x"]}, source="rows.npz")
    with pytest.raises(DataError, match=r"rows.npz: condition e, row 0: 0, but its logarithm is learned"):
        surrogate(schema=schema).start_from(first, odd)


def test_the_packages_start_suits_its_study_and_answers_as_its_geant4():
    from parhelion.config import load_study
    from parhelion.data import load as shipped

    study, sample = load_study("ecal-tuned"), shipped()
    assert study.config.training.start in starts()
    made = SURROGATES[study.family](sample.schema, study.surrogate)
    made.start_from(load(starts()["ecal"]), sample)
    noise = torch.randn(len(sample), made.noise_width, generator=torch.Generator().manual_seed(1))
    cells = made.eval().sample(torch.as_tensor(sample.condition), noise).numpy()
    momentum = np.linalg.norm(sample.condition[:, :3], axis=1)
    # Other showers than those it was learned from, of the same simulation.
    true, drawn = (c.sum(axis=1) / momentum for c in (made.codec.above_threshold(sample_cells(sample)).numpy(), cells))
    error = np.sqrt((true.var() + drawn.var()) / len(sample))
    assert abs(true.mean() - drawn.mean()) < 5 * error
    assert abs(true.std() / drawn.std() - 1) < 0.15


def sample_cells(sample: Sample) -> torch.Tensor:
    return torch.as_tensor(sample.response)
