"""A shipped study that learns from the user's file instead of its own data."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from parhelion import io
from parhelion.adapted import adapted_study
from parhelion.config import load_study, shipped_studies
from parhelion.data import load
from parhelion.errors import ConfigError, DataError
from parhelion.sample import Field, Sample, Schema
from parhelion.sections import FilesSource, SimulatorSource


@pytest.fixture
def showers(tmp_path: Path) -> Path:
    io.write(load("ecal-electrons").take(slice(0, 20)), tmp_path / "showers.h5")
    return tmp_path / "showers.h5"


def adapted(study: str, path: Path, folder: Path) -> Path:
    out = folder / "mine" / "study.yaml"
    out.parent.mkdir(exist_ok=True)
    out.write_text(adapted_study(study, path, None, out), encoding="utf-8")
    return out


def test_only_the_source_changes(showers, tmp_path):
    study, mine = load_study("ecal"), load_study(adapted("ecal", showers, tmp_path))
    source = mine.config.data.train
    assert isinstance(source, FilesSource)
    assert len(io.read(mine.folder / str(source.files), source.layout())) == 20
    rest = mine.config.model_copy(update={"data": study.config.data})
    assert rest == study.config
    assert (mine.surrogate, mine.metrics, mine.requirements) == (study.surrogate, study.metrics, study.requirements)
    assert mine.config.data.model_copy(update={"train": study.config.data.train}) == study.config.data
    comments = [line.partition("#")[2] for line in study.text.splitlines()]
    assert [line.partition("#")[2] for line in mine.text.splitlines() if "#" in line] == [c for c in comments if c]


def test_a_foreign_file_is_given_the_fields_of_the_simulator(tmp_path):
    sample = load("ecal-electrons").take(slice(0, 20))
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["energy"] = np.asarray(sample["energy"]) * 1000
        file["p"] = np.stack([np.asarray(sample[name]) for name in ("px", "py", "pz")], axis=1)
        file["x"], file["y"] = np.asarray(sample["x"]), np.asarray(sample["y"])
    out = adapted("ecal", tmp_path / "theirs.h5", tmp_path)
    text = out.read_text()
    assert "# CHOOSE: the file has the columns energy, p, x, y." in text
    for i, name in enumerate(("px", "py", "pz")):
        text = text.replace(f"{name}: {{unit: GeV}}", f'{name}: {{column: "p[{i}]", unit: GeV}}')
    text = text.replace("energy: {unit: GeV", "energy: {file_unit: MeV, unit: GeV")
    out.write_text(text)
    mine = load_study(out)
    source = mine.config.data.train
    assert isinstance(source, FilesSource)
    read = io.read(mine.folder / str(source.files), source.layout())
    for name in ("px", "pz", "y", "energy"):
        np.testing.assert_allclose(read[name], sample[name], rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in shipped_studies() if not load_study(n).config.replicas])
def test_each_study_can_be_adapted(name, tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["a"] = np.arange(9.0)
    study, mine = load_study(name), load_study(adapted(name, tmp_path / "foreign.h5", tmp_path))
    source, theirs = mine.config.data.train, study.config.data.train
    assert isinstance(source, FilesSource)
    rows = theirs.schema_of_rows if isinstance(theirs, SimulatorSource) else load("ecal-electrons").schema
    layout = source.layout()
    assert layout is not None
    assert layout.schema == rows


def test_a_study_judged_on_files_of_its_own_keeps_them(showers, tmp_path):
    text = load_study("ecal-demo").text.replace("  test_share: 0.3\n", "  test: {files: mine.h5}\n")
    (tmp_path / "two.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"two\.yaml: has files of its own to be judged on .data\.test.; copy it"):
        adapted(str(tmp_path / "two.yaml"), showers, tmp_path)


def test_a_file_of_other_fields_says_which_ones_the_study_needs(tmp_path):
    schema = Schema((Field("energy", "GeV"),), (Field("cells", "GeV", (2, 2)),))
    sample = Sample(schema, {"energy": np.arange(1.0, 4.0), "cells": np.ones((3, 2, 2))})
    io.write(sample, tmp_path / "other.h5")
    out = tmp_path / "study.yaml"
    text = adapted_study("ecal", tmp_path / "other.h5", None, out)
    assert "# CHOOSE: the file's fields are not those of this study; change one of them: " in text
    assert "px is no such field; there are energy" in text
    out.write_text(text)
    load_study(out)


def test_a_file_without_columns_is_refused(tmp_path):
    with h5py.File(tmp_path / "none.h5", "w"):
        pass
    with pytest.raises(DataError, match=r"none\.h5: there are no columns in the file"):
        adapted("ecal", tmp_path / "none.h5", tmp_path)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"nothere\.h5: no such file"):
        adapted("ecal", tmp_path / "nothere.h5", tmp_path)
