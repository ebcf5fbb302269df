"""Files of the CaloChallenge: voxels, round trips, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest

from parhelion import io
from parhelion.errors import DataError, ParhelionError, WriteError
from parhelion.io import calochallenge as files
from parhelion.io.binning import DATASETS, Layer, read_binning, write_binning
from parhelion.io.community import FORMATS
from parhelion.sample import Field, Sample, Schema

SIZES = {"1-photons": 368, "1-pions": 533, "2": 6480, "3": 40500}


def showers_of(geometry, n=12, *, seed=1, unit="MeV", dtype=np.float64):
    rng = np.random.default_rng(seed)
    incident = 10 ** rng.uniform(3.1, 5.9, n)
    share = rng.gamma(0.2, size=(n, geometry.voxels)) * (rng.random((n, geometry.voxels)) < 0.3)
    cells = share / share.sum(axis=1, keepdims=True) * 0.95 * incident[:, None]
    factor = 1.0 if unit == "MeV" else 1e-3
    schema = Schema((Field("incident_energy", unit),), (Field("energy", unit, geometry.shape),))
    columns = {"incident_energy": incident * factor, "energy": (cells * factor).reshape(n, *geometry.shape)}
    return Sample(schema, {k: v.astype(dtype) for k, v in columns.items()})


def raw(path, incident, showers, **more):
    with h5py.File(path, "w") as file:
        file["incident_energies"], file["showers"] = incident, showers
        for name, values in more.items():
            file[name] = values
    return path


@pytest.mark.parametrize("name", DATASETS)
def test_binning_files_give_back_the_geometry(tmp_path, name):
    geometry = DATASETS[name]
    assert geometry.voxels == SIZES[name]
    path = tmp_path / "binning.xml"
    write_binning(geometry, path)
    found = read_binning(path, geometry.particle, threshold=geometry.threshold, name=name)
    assert found == geometry
    # Layers that have no voxels are listed as in the published files.
    listed = len(re.findall("<Layer", path.read_text(encoding="utf-8")))
    assert listed == geometry.layers[-1].number + 1


def test_voxels_stand_radius_first_then_angle_then_layer():
    geometry = DATASETS["2"]
    at = np.arange(geometry.voxels).reshape(geometry.shape)[3, 5, 7]
    assert geometry.radius[at] == pytest.approx(7.5 * 4.65)
    assert geometry.alpha[at] == pytest.approx(-np.pi + 5.5 * 2 * np.pi / 16)
    assert geometry.eta[at] == pytest.approx(geometry.radius[at] * np.cos(geometry.alpha[at]))
    photons = DATASETS["1-photons"]
    assert photons.slices[1] == slice(8, 168)
    # Second angle, third radius of the layer with 10 angles.
    assert photons.radius[8 + 16 + 2] == pytest.approx(5.0)
    assert photons.alpha[8 + 16 + 2] == pytest.approx(-np.pi + 1.5 * 2 * np.pi / 10)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_in_the_files_unit_is_exact(tmp_path, name, dtype):
    geometry = DATASETS[name]
    sample = showers_of(geometry, 3 if name == "3" else 12, dtype=dtype)
    path = tmp_path / "showers.hdf5"
    assert files.write_showers(sample, path, geometry) == len(sample)
    with h5py.File(path) as file:
        assert sorted(file) == ["incident_energies", "showers"]
        assert file["showers"].shape == (len(sample), geometry.voxels)
        assert file["incident_energies"].shape == (len(sample), 1)
        assert file["showers"].dtype == dtype
        assert np.array_equal(file["showers"][:], sample["energy"].reshape(len(sample), -1))
        assert np.array_equal(file["incident_energies"][:, 0], sample["incident_energy"])
    found = files.read_showers(path, geometry)
    assert found.schema["energy"].unit == "GeV"
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert found["energy"] == pytest.approx(1e-3 * sample["energy"], rel=tolerance)


def test_gev_in_memory_and_mev_in_the_file(tmp_path):
    geometry = DATASETS["2"]
    sample, path = showers_of(geometry, unit="GeV"), tmp_path / "showers.hdf5"
    files.write_showers(sample, path, geometry)
    again = files.read_showers(path, geometry)
    assert again["energy"] == pytest.approx(sample["energy"], rel=1e-14)
    files.write_showers(again, tmp_path / "second.hdf5", geometry)
    with h5py.File(path) as one, h5py.File(tmp_path / "second.hdf5") as two:
        assert two["showers"][:] == pytest.approx(one["showers"][:], rel=1e-14)


def test_streams_are_written_and_read_in_chunks(tmp_path):
    geometry, path = DATASETS["2"], tmp_path / "showers.hdf5"
    parts = [showers_of(geometry, n, seed=n) for n in (5, 11, 4)]
    assert files.write_showers(iter(parts), path, geometry) == 20
    chunks = list(files.iterate_showers(path, geometry, chunk_rows=7))
    assert [len(c) for c in chunks] == [7, 7, 6]
    whole = np.concatenate([c["energy"] for c in chunks])
    assert whole == pytest.approx(1e-3 * np.concatenate([p["energy"] for p in parts]), rel=1e-14)


def test_study_format_reads_through_the_general_reader(tmp_path):
    geometry, path = DATASETS["1-pions"], tmp_path / "showers.hdf5"
    files.write_showers(showers_of(geometry), path, geometry)
    assert io.read(path, FORMATS["calochallenge-1-pions"]()).schema["energy"].shape == (533,)


def bad_files(tmp_path, geometry):
    good = showers_of(geometry, 20)
    incident, cells = good["incident_energy"][:, None], good["energy"].reshape(20, -1)
    negative, missing = cells.copy(), cells.copy()
    negative[7, 100], missing[5, 3] = -2.0, np.nan
    truncated = raw(tmp_path / "truncated.hdf5", incident, cells)
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    nothing = tmp_path / "empty.hdf5"
    nothing.touch()
    return [
        (
            raw(tmp_path / "negative.hdf5", incident, negative),
            "shower 7 has a cell with the negative energy -0.002",
        ),
        (raw(tmp_path / "nan.hdf5", incident, missing), "column showers .*row 5: NaN or infinity"),
        (raw(tmp_path / "gev.hdf5", incident * 1e-3, cells * 1e-3), "median incident energy .* GeV were taken for MeV"),
        (
            raw(tmp_path / "mixed.hdf5", incident, cells * 1e3),
            "sum to 9.* cells in MeV were taken for GeV",
        ),
        (raw(tmp_path / "zero.hdf5", 0 * incident, cells), "shower 0 has the incident energy 0 GeV"),
        (raw(tmp_path / "grid.hdf5", incident, cells[:, :368]), "368 voxels a shower, expected the 6480 .*1-photons"),
        (
            raw(tmp_path / "order.hdf5", incident, cells.reshape(20, 9, 16, 45)),
            r"a row has shape \(9, 16, 45\), expected \(45, 16, 9\)",
        ),
        (raw(tmp_path / "rows.hdf5", incident[:-1], cells), "column showers has 20 rows, column incident.* has 19"),
        (truncated, "truncated, corrupt or of another format"),
        (nothing, "the file is empty"),
        (tmp_path / "none.hdf5", "no such file"),
    ]


def test_each_bad_file_gets_one_sentence(tmp_path):
    geometry = DATASETS["2"]
    for path, words in bad_files(tmp_path, geometry):
        with pytest.raises(DataError, match=words) as caught:
            files.read_showers(path, geometry)
        assert "\n" not in str(caught.value), path


def test_half_precision_keeps_its_digits_in_another_unit(tmp_path):
    geometry, shower = DATASETS["2"], np.zeros((1, 6480), np.float16)
    shower[0, :2] = 7e-3, 60e3
    path = raw(tmp_path / "half.hdf5", np.full((1, 1), 60e3, np.float16), shower)
    found = files.read_showers(path, geometry)["energy"].reshape(-1)[:2]
    assert found == pytest.approx(1e-3 * shower[0, :2].astype(np.float64), rel=1e-6)
    assert files.read_showers(path, geometry, file_unit="TeV")["incident_energy"] == pytest.approx([6e7], rel=1e-3)


def test_another_program_s_file_is_named_as_such(tmp_path):
    path = tmp_path / "other.hdf5"
    with h5py.File(path, "w") as file:
        file["energies"] = np.ones((3, 2))
    with pytest.raises(DataError, match=r"no file of the CaloChallenge: incident_energies is missing; it has energies"):
        files.read_showers(path, DATASETS["2"])


def test_units_that_are_said_are_believed(tmp_path):
    geometry = DATASETS["2"]
    sample = showers_of(geometry, 20, unit="GeV")
    path = raw(tmp_path / "gev.hdf5", sample["incident_energy"][:, None], sample["energy"].reshape(20, -1))
    assert np.array_equal(files.read_showers(path, geometry, file_unit="GeV")["energy"], sample["energy"])


def test_what_the_format_cannot_hold_is_refused_and_nothing_is_left(tmp_path):
    geometry, path = DATASETS["2"], tmp_path / "showers.hdf5"
    sample = showers_of(geometry)
    with pytest.raises(DataError, match="weights differ"):
        files.write_showers(sample.with_weight(np.arange(12.0) + 1), path, geometry)
    with pytest.raises(DataError, match="data set 3: expected one response of shape"):
        files.write_showers(sample, path, DATASETS["3"])
    with pytest.raises(WriteError, match=r"ends in \.hdf5"):
        files.write_showers(sample, tmp_path / "showers.root", geometry)
    with pytest.raises(DataError, match="no showers"):
        files.write_showers(iter([]), path, geometry)
    assert not list(tmp_path.iterdir())
    files.write_showers(sample, path, geometry)
    with pytest.raises(WriteError, match="exists already"):
        files.write_showers(sample, path, geometry)


XML = '<Bins><Bin pid="11" name="electron">{}</Bin></Bins>'
BAD_XML = [
    ("<Bins><Bin", "is no XML"),
    ("", "is no XML"),
    ("<Bins/>", "0 elements <Bin> are named electron"),
    (XML.replace("electron", "pion").format(""), "named electron, expected one; the names are pion"),
    (XML.format(""), "no layer has voxels"),
    (XML.format('<Layer id="0" r_edges="0" n_bin_alpha="1"/>'), "no layer has voxels"),
    (XML.format('<Layer id="0" r_edges="0,5,4" n_bin_alpha="1"/>'), r"do not ascend \(5 is followed by 4\)"),
    (XML.format('<Layer id="0" r_edges="0,5,nan" n_bin_alpha="1"/>'), "expected at least 2 finite ones"),
    (XML.format('<Layer id="0" r_edges="0,five" n_bin_alpha="1"/>'), "expected numbers"),
    (XML.format('<Layer id="0" r_edges="0,5" n_bin_alpha="0"/>'), "0 bins in angle"),
    (XML.format('<Layer id="0" n_bin_alpha="2"/>'), "has no r_edges"),
    (XML.format('<Layer id="0" r_edges="0,5" n_bin_alpha="1"/>' * 2), "layer 0 is described 2 times"),
    (XML.format('<Layer id="0" r_edges="-5,5" n_bin_alpha="1"/>'), "begin at -5, expected 0 or more"),
    ('<?xml version="1.0" encoding="none"?><Bins/>', r"is no XML \(unknown encoding: none\)"),
    ('<!DOCTYPE a [<!ENTITY b "c">]>' + XML.format(""), "document type or entities"),
]


@pytest.mark.parametrize(("text", "words"), BAD_XML)
def test_each_bad_binning_gets_one_sentence(tmp_path, text, words):
    path = tmp_path / "binning.xml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParhelionError, match=words) as caught:
        read_binning(path, "electron")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_binning_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_binning(tmp_path / "none.xml", "electron")


def test_layer_without_bins_cannot_be_made():
    with pytest.raises(DataError, match="at least 2"):
        Layer(0, (1.0,), 3)
