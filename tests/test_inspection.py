from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
from safetensors import safe_open
from safetensors.torch import save_file

from parhelion import io
from parhelion.config import load_study
from parhelion.errors import DataError
from parhelion.inspection import describe_file
from parhelion.sample import Sample
from parhelion.surrogates import Matching
from parhelion.surrogates.matching import MatchingConfig
from parhelion.template import study_template
from parhelion.yamlfile import parse_yaml
from study_toys import columns, root_file


def test_a_foreign_file(tmp_path: Path) -> None:
    found = describe_file(root_file(tmp_path / "x.root", columns(20)))
    assert found.data["rows"] == 20
    assert {c["name"]: c["type"] for c in found.data["columns"]}["pid"] == "int64"
    assert "20 rows" in found.text
    assert "weights" not in found.data


def test_a_file_of_ours_shows_roles_weights_and_provenance(tmp_path: Path, signed_toy) -> None:
    sample: Sample = signed_toy.sample(300)
    io.write(sample, tmp_path / "x.h5", provenance={"seed": 5})
    found = describe_file(tmp_path / "x.h5")
    roles = {c["name"]: c["role"] for c in found.data["columns"]}
    assert roles == {
        "x": "condition",
        "y": "response",
        "weight": "weight",
        "event_id": "event id",
        "group": "group",
    }
    assert found.data["weights"]["effective"] == pytest.approx(sample.weights.effective)
    assert found.data["weights"]["negative_share"] == pytest.approx(sample.weights.negative_share)
    assert found.data["provenance"]["seed"] == 5
    assert "negative weights" in found.text


def test_a_surrogate_shows_the_domain_that_it_saw(tmp_path: Path, toy) -> None:
    sample = toy.sample(400)
    made = Matching(toy.schema, MatchingConfig(width=8, blocks=1))
    made.prepare(sample.take(sample["SPECIES"] == 211), seed=1)
    made.provenance = {"study": "x"}
    made.save(tmp_path / "s.safetensors")
    found = describe_file(tmp_path / "s.safetensors")
    assert found.data["domain"]["SPECIES"] == [211]
    assert found.data["domain"]["P"][0] == pytest.approx(sample["P"][sample["SPECIES"] == 211].min())
    assert found.data["condition"] == ["P [GeV]", "ETA", "SPECIES"]
    assert "study: x" in found.text


def test_a_damaged_surrogate(tmp_path: Path, toy) -> None:
    made = Matching(toy.schema, MatchingConfig(width=8, blocks=1))
    made.prepare(toy.sample(400), seed=1)
    made.save(tmp_path / "s.safetensors")
    whole = (tmp_path / "s.safetensors").read_bytes()
    for size in (0, 7, len(whole) // 2, len(whole) - 1):
        (tmp_path / "s.safetensors").write_bytes(whole[:size])
        with pytest.raises(DataError, match="not a surrogate file, or it is damaged"):
            describe_file(tmp_path / "s.safetensors")


def test_a_surrogate_of_a_version_with_other_networks(tmp_path: Path, toy) -> None:
    """Not damaged, but of no use here: the sentence says what to do."""
    made = Matching(toy.schema, MatchingConfig(width=8, blocks=1))
    made.prepare(toy.sample(400), seed=1)
    made.save(path := tmp_path / "s.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(n for n, t in tensors.items() if t.shape == (8, 8))
    for change, detail in (
        ({name: torch.zeros(8, 9)}, rf"{name}: of shape \(8, 9\) in the file, of shape \(8, 8\) here"),
        ({"more": torch.zeros(2)}, r"more: of shape \(2,\) in the file, is missing here"),
    ):
        save_file({**tensors, **change}, path, metadata=metadata)
        with pytest.raises(DataError, match=f"other networks from the same options .{detail}.; train it anew"):
            describe_file(path)


# --------------------------------------------------------------------------- templates
def _template(tmp_path: Path, data: dict[str, np.ndarray]):
    path = root_file(tmp_path / "my data.root", data)
    study = tmp_path / "sub" / "s.yaml"
    study.parent.mkdir(exist_ok=True)
    text = study_template(path, None, study)
    study.write_text(text)
    return text, load_study(study)


def test_the_template_is_a_study_that_loads(tmp_path: Path) -> None:
    text, study = _template(tmp_path, columns(500))
    source = study.config.data.train
    assert source.files == "../my data.root"
    assert list(source.condition) == ["P", "pid"]
    assert list(source.response) == ["a", "b"]
    assert list(source.extra) == ["mass"]
    assert source.weight == "w"
    assert source.condition["pid"].values == {"pi": 211, "K": 321}
    assert 'P: {unit: ""}   # in MeV? then: {unit: GeV, file_unit: MeV}' in text
    assert "CHOOSE" in text
    assert study.config.training.batch_size == 125
    sample = io.read(study.folder / source.files, source.layout())
    assert len(sample) == 500


def test_columns_that_cannot_be_fields_are_left_out_and_named(tmp_path: Path) -> None:
    data = columns(60)
    with uproot.recreate(tmp_path / "x.root") as file:
        tree = {k: data[k] for k in ("P", "pid", "a")}
        tree["hits"] = ak.Array([[1.0] * (i % 3) for i in range(60)])
        tree["year"] = np.full(60, 2018)
        tree["vector"] = np.random.default_rng(1).normal(size=(60, 3))
        file["T"] = tree
    text = study_template(tmp_path / "x.root", None, tmp_path / "s.yaml")
    document = parse_yaml(text, "s").data["data"]["train"]
    assert list(document["condition"]) == ["P", "pid"]
    assert set(document["response"]) == {"a", "vector"}
    assert document["response"]["vector"]["shape"] == [3]
    assert "# left out: hits (its length varies from row to row)" in text
    assert "# left out: year (the same value in all rows)" in text


def test_names_that_yaml_would_misread_are_quoted(tmp_path: Path) -> None:
    g = np.random.default_rng(1)
    names = ("on", "null", "1st", "a:b", "x y", "true")
    np.savez(tmp_path / "x.npz", **{n: g.normal(size=40) for n in names})
    (tmp_path / "s.yaml").write_text(study_template(tmp_path / "x.npz", None, tmp_path / "s.yaml"))
    source = load_study(tmp_path / "s.yaml").config.data.train
    assert sorted([*source.condition, *source.response]) == sorted(names)


def test_rows_with_nan_are_selected_away(tmp_path: Path) -> None:
    data = columns(500)
    data["a"][7] = np.nan
    _, study = _template(tmp_path, data)
    source = study.config.data.train
    assert source.selection == "isfinite(a)"
    assert len(io.read(study.folder / source.files, source.layout())) == 499


def test_event_numbers_make_an_id_where_they_are_unique_and_a_group_where_not(tmp_path: Path) -> None:
    data = columns(60)
    unique = {"runNumber": np.repeat([1, 2], 30), "eventNumber": np.tile(np.arange(30), 2)}
    assert _template(tmp_path, data | unique)[1].config.data.train.event_id == ["runNumber", "eventNumber"]
    shared = {"runNumber": np.repeat([1, 2], 30), "eventNumber": np.arange(60) // 3}
    source = _template(tmp_path, data | shared)[1].config.data.train
    assert source.event_id is None
    assert source.group == ["runNumber", "eventNumber"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": np.arange(9.0)}, "1 columns with numbers that vary"),
        ({"a": np.arange(9.0), "b": np.ones(9)}, "1 columns with numbers that vary"),
        ({"a": np.arange(0.0), "b": np.arange(0.0)}, "no rows in the file"),
        ({"a": np.full(9, np.nan), "b": np.arange(9.0)}, "1 columns with numbers that vary"),
    ],
)
def test_files_that_no_study_can_use(tmp_path: Path, data: dict[str, np.ndarray], message: str) -> None:
    path = root_file(tmp_path / "x.root", data)
    with pytest.raises(DataError, match=message):
        study_template(path, None, tmp_path / "s.yaml")
