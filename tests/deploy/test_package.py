"""Packages: what is written, what is refused, and that they answer as the surrogate does."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch

from parhelion import noise
from parhelion.deploy import generate
from parhelion.deploy import manifest as manifests
from parhelion.deploy.exporting import Origin, export, require_plain, trace
from parhelion.deploy.models import load_model
from parhelion.deploy.runtime import Package
from parhelion.deploy.trial import Trial, _tests, conditions_to_try, edge_conditions
from parhelion.errors import DataError, DomainError, ShapeError
from parhelion.sample import Field, Schema
from parhelion.surrogates import SURROGATES


@pytest.fixture(scope="module")
def trained(toy):
    sample = toy.sample(3000)
    config = {
        "codec": {"structure": {"thresholds": {"P": [9.3]}}},
        "generator": {"latent": 4, "width": 16, "depth": 2},
        "critic": {"width": 8, "depth": 1},
    }
    surrogate = SURROGATES["gan"](sample.schema, SURROGATES["gan"].Config.model_validate(config))
    surrogate.prepare(sample, seed=1)
    surrogate.provenance = {"study": "toy", "seed": 1}
    return surrogate.eval()


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "toy.onnx"
    origin = Origin("toy", {"status": "pass", "outcomes": []}, {"train": "ab" * 32}, "CC0-1.0", "Somebody")
    seen: list[tuple[int, int]] = []
    export(trained, path, origin=origin, rows=2000, progress=lambda done, rows: seen.append((done, rows)))
    assert seen[-1][0] == seen[-1][1] > 2000
    assert sorted(seen) == seen
    return path


@pytest.fixture
def package(written):
    return Package.load(written)


# --------------------------------------------------------------------------- what is in it
def test_the_manifest_is_as_its_schema_says(package):
    manifests.check(dict(package.manifest))
    assert package.manifest["condition"][0] == {
        "name": "P", "unit": "GeV", "shape": [], "kind": "continuous", "values": [], "labels": [],
    }  # fmt: skip
    assert package.manifest["verdict"]["status"] == "pass"
    assert package.manifest["data"] == {"train": "ab" * 32}
    assert (package.manifest["licence"], package.manifest["author"]) == ("CC0-1.0", "Somebody")
    assert package.provenance["study"] == "toy"
    assert package.manifest["verification"]["beyond"] == 0.0


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(manifests.schema())


def test_plain_operators_of_the_stated_opset(written, package):
    model = onnx.load(written)
    assert [(o.domain, o.version) for o in model.opset_import if o.domain == ""] == [("", 17)]
    assert require_plain(model, "gan") == package.manifest["graph"]["operators"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"


def test_a_random_operator_is_refused(written):
    model = onnx.load(written)
    model.graph.node.append(onnx.helper.make_node("RandomNormal", [], ["z"], shape=[3]))
    with pytest.raises(DataError, match="its graph needs RandomNormal, and packages hold plain operators alone"):
        require_plain(model, "gan")


def test_no_training_row_is_inside(written, toy):
    content = written.read_bytes()
    for column in toy.sample(50).response.T:
        assert not any(np.float64(x).tobytes() in content for x in column if x != 0)


# --------------------------------------------------------------------------- same answers
def test_it_answers_as_the_surrogate(package, trained, toy):
    condition = toy.condition(4000, 8)
    noise = package.noise(3, np.arange(4000))
    expected = trained.sample(torch.as_tensor(condition), torch.as_tensor(noise)).numpy()
    got = package.respond(condition, noise)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    # Exact structure is exact.
    assert np.array_equal(got == 0, expected == 0)
    assert np.array_equal(got[:, 1] == got[:, 2], expected[:, 1] == expected[:, 2])


def test_rows_do_not_depend_on_the_batch(package, toy):
    condition = toy.condition(700, 8)
    noise = package.noise(3, np.arange(700))
    whole = package.respond(condition, noise)
    parts = [package.respond(condition[i : i + 1], noise[i : i + 1]) for i in range(0, 700, 50)]
    np.testing.assert_allclose(np.concatenate(parts), whole[::50], rtol=1e-5, atol=1e-5)
    assert package.respond(condition[:0], noise[:0]).shape == (0, 3)


def test_generation_takes_it_for_a_surrogate(written, trained, toy):
    sample = toy.sample(500)
    one = generate(trained, sample, seed=4, outside="flag")
    two = generate(load_model(written), sample, seed=4, outside="flag")
    assert one.schema == two.schema
    np.testing.assert_allclose(one.response, two.response, rtol=1e-4, atol=1e-4)


def test_outside_is_told_alike(package, trained, toy):
    condition = toy.condition(300, 9)
    condition[::3, 0] *= 3.0
    condition[::5, 1] = np.nan
    condition[::7, 2] = 13.0
    expected = trained.codec.outside(torch.as_tensor(condition)).numpy()
    np.testing.assert_array_equal(package.outside(condition), expected)
    with pytest.raises(DomainError, match=r"rows 0 to 299 lie outside the domain .* expected 2\.\d+ to 99\.\d+ GeV"):
        package.sample(condition, np.arange(300), seed=1)
    clean = toy.condition(300, 9)
    clean[::3, 0] *= 30.0
    response, beyond = package.sample(clean, np.arange(300), seed=1, outside="clamp")
    assert beyond.sum() == package.outside(clean).any(axis=1).sum() > 0
    assert np.isfinite(response).all()


def test_golden_rows_are_answered_and_their_noise_is_the_same_bits(package):
    found = package.verify()
    assert found.noise_equal
    assert found.beyond == 0.0
    assert found.rows == 64


def test_edges_are_tried(trained):
    edges = edge_conditions(trained)
    below, at, above = (np.nextafter(9.3, side) for side in (-np.inf, 9.3, np.inf))
    assert {below, at, above} <= set(edges[:, 0])
    assert {trained.codec.low[0].item(), trained.codec.high[0].item()} <= set(edges[:, 0])
    random = conditions_to_try(trained, 500, 1)
    assert not trained.codec.outside(torch.as_tensor(random)).any()


# --------------------------------------------------------------------------- refusals
def test_a_graph_that_answers_otherwise_is_not_written(trained, tmp_path, monkeypatch):
    def wrong(surrogate):
        model = trace(surrogate)
        weight = next(t for t in model.graph.initializer if len(t.dims) == 2 and t.data_type == 1)
        array = onnx.numpy_helper.to_array(weight) * 1.01
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        return model

    monkeypatch.setattr("parhelion.deploy.exporting.trace", wrong)
    with pytest.raises(DataError, match=r"answers otherwise than the surrogate in .* nothing was written"):
        export(trained, tmp_path / "wrong.onnx", rows=500)
    assert not list(tmp_path.iterdir())


def test_another_distribution_is_refused():
    numbers = {"rows": 10, "edge_rows": 2, "largest": 0.0, "beyond": 0.0}
    for p, far, allowed in (
        (0.0025, 20.0, False),
        (0.0025, float("nan"), False),
        (0.0025, 4.0, True),
        (0.5, 9.0, True),
    ):
        trial = Trial(**numbers, p_values={"sliced w1": p}, deviations={"sliced w1": far})
        if allowed:
            trial.require("the graph")
        else:
            with pytest.raises(DataError, match=r"gives another distribution .* \(sliced w1: p = 0.003, "):
                trial.require("the graph")


class Rare:
    """A model of images of 400 cells, each with energy in a few of a thousand rows."""

    schema = Schema((Field("P"),), (Field("energy", "GeV", (20, 20)),))

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def noise(self, seed, event_id, *, stage=0):
        return noise.normal(seed, event_id, 400, stage=stage)

    def respond(self, condition, z):
        return self.factor * np.where(z > 2.7, z, 0.0)


def test_the_test_of_distributions_knows_rare_cells_and_sees_a_difference():
    """Cells with one hit are in one sample only: in its units they would tell two samples of one model apart."""
    condition = np.linspace(0, 1, 800)[:, None]
    same = [_tests(Rare(), Rare(), condition, seed) for seed in range(6)]
    assert np.mean([p < 0.1 for found in same for p, _ in found.values()]) < 0.5
    assert max(far for found in same for _, far in found.values()) < 5
    other = _tests(Rare(1.5), Rare(), condition, 0)
    assert any(p < 0.01 and far > Trial.LARGEST_DEVIATION for p, far in other.values())


def changed(written, tmp_path, change) -> Path:
    path = tmp_path / "changed.onnx"
    path.write_bytes(change(written.read_bytes()))
    return path


def resealed(manifest_change):
    def change(content: bytes) -> bytes:
        model = onnx.load_model_from_string(content)
        for entry in model.metadata_props:
            if entry.key == manifests.MANIFEST_KEY:
                found = json.loads(entry.value)
                manifest_change(found)
                entry.value = json.dumps(found)
            if entry.key == manifests.CHECKSUM_KEY:
                entry.value = manifests.empty_checksum()
        return manifests.seal(model.SerializeToString())

    return change


def drop_metadata(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    return model.SerializeToString()


def edit(content: bytes) -> bytes:
    return content.replace(b'"author": "Somebody"', b'"author": "Nobody.."')


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda c: c[: len(c) // 2], "not an ONNX file, or it is damaged or truncated"),
        (lambda c: b"no graph at all", "not an ONNX file, or it is damaged or truncated"),
        (edit, r"the checksum differs"),
        (drop_metadata, "is an ONNX file without a manifest of parhelion"),
        (resealed(lambda m: m.update(version=2)), r"newer version \(2; this parhelion reads 1\): update parhelion"),
        (resealed(lambda m: m.update(version=0)), r"older version \(0; .*\): export it again"),
        (resealed(lambda m: m.pop("domain")), "manifest: domain is missing"),
        (resealed(lambda m: m["noise"].update(width="5")), r'manifest, noise, width: expected integer, got "5"'),
        (resealed(lambda m: m["noise"].update(map="box-muller")), "manifest, noise, map: 'box-muller' is not known"),
    ],
)
def test_damaged_packages_are_one_sentence(written, tmp_path, change, detail):
    path = changed(written, tmp_path, change)
    with pytest.raises(DataError, match=detail) as caught:
        Package.load(path)
    assert str(path) in str(caught.value)


def test_a_golden_block_that_fails_is_refused(written, tmp_path):
    strict = resealed(lambda m: m["tolerance"].update(relative=-1.0))
    with pytest.raises(DataError, match=r"100.0% of the 64 rows of its golden block are answered otherwise"):
        Package.load(changed(written, tmp_path, strict)).verify()
    other = resealed(lambda m: m["noise"].update(table_sha256="0" * 64))
    with pytest.raises(DataError, match="noise of its golden block has other bits here"):
        Package.load(changed(written, tmp_path, other)).verify()


def test_missing_files_and_wrong_shapes(package, tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        Package.load(tmp_path / "none.onnx")
    with pytest.raises(ShapeError, match=r"condition: expected shape \(4, 3\), got \(4, 2\)"):
        package.sample(np.ones((4, 2)), np.arange(4), seed=1)
    with pytest.raises(ShapeError, match=r"noise: expected shape \(4, \d\), got \(4, 1\)"):
        package.respond(np.ones((4, 3)), np.ones((4, 1), np.float32))


def test_the_runtime_needs_numpy_and_onnxruntime_alone():
    code = (
        "import sys, parhelion.deploy.runtime\n"
        "heavy = ('torch', 'scipy', 'pydantic', 'h5py', 'uproot', 'onnx', 'pandas', 'typer')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_surrogate_that_answers_with_nan_is_refused(trained, tmp_path):
    broken = copy.deepcopy(trained)
    with torch.no_grad():
        next(p for p in broken.generator.parameters() if p.ndim == 1)[0] = torch.nan
    with pytest.raises(DataError, match=r"cannot be exported: its answers to \d+ of 2\d\d\d conditions .* infinity"):
        export(broken, tmp_path / "x.onnx", rows=2000)
    assert not list(tmp_path.iterdir())


def test_a_library_is_asked_few_rows_at_a_time(toy, tmp_path):
    """Its graph compares each row with all stored ones: memory must not grow with the rows that are asked for."""
    library = SURROGATES["library"](toy.schema)
    library.prepare(toy.sample(3000), seed=1)
    export(library.eval(), tmp_path / "library.onnx", rows=2000)
    package = Package.load(tmp_path / "library.onnx")
    stored = len(library.stored_weight)
    assert package.manifest["graph"]["row_numbers"] >= stored > 1000
    assert package._rows * stored <= 1 << 23
