"""CaloGAN's files, the LHCb challenge's archives, and elements of vector columns."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from parhelion import io
from parhelion.errors import ConfigError, DataError
from parhelion.io import plan
from parhelion.io.community import CALOGAN_LAYERS, calogan_layout, layout_of_format, lhcb_layout
from parhelion.io.energies import find_cells
from parhelion.io.layout import FieldSource, Layout
from parhelion.sample import Field, Schema

N = 24


def lhcb_file(path, *, cells=1.0, momentum=1.0, **changes):
    rng = np.random.default_rng(4)
    p = np.stack([rng.normal(0, 0.5, N), rng.normal(0, 0.5, N), rng.uniform(2, 60, N)], axis=1)
    energy = rng.gamma(0.1, size=(N, 30, 30))
    energy *= 0.18 * np.linalg.norm(p, axis=1)[:, None, None] / energy.sum(axis=(1, 2), keepdims=True)
    columns = {
        "EnergyDeposit": energy * cells,
        "ParticleMomentum": p * momentum,
        "ParticlePoint": np.concatenate([rng.uniform(-0.25, 0.25, (N, 2)), np.zeros((N, 1))], axis=1),
        "ParticlePDG": rng.choice([11.0, 22.0], N),
    }
    columns |= changes
    np.savez(path, **columns)
    return columns


def test_lhcb_archives_become_conditions_and_images(tmp_path):
    path = tmp_path / "showers.npz"
    written = lhcb_file(path)
    found = io.read(path, lhcb_layout(particles=True))
    assert [f.name for f in found.schema.condition] == ["px", "py", "pz", "x", "y", "pdg"]
    assert np.array_equal(found["energy"], written["EnergyDeposit"])
    assert np.array_equal(found["py"], written["ParticleMomentum"][:, 1])
    assert np.array_equal(found["x"], 20.0 * written["ParticlePoint"][:, 0])
    assert np.array_equal(found["pdg"], written["ParticlePDG"])


def test_units_of_the_archive_are_taken_as_told(tmp_path):
    path = tmp_path / "showers.npz"
    written = lhcb_file(path, cells=1e3)
    found = io.read(path, lhcb_layout(energy_unit="MeV"))
    assert found["energy"] == pytest.approx(1e-3 * written["EnergyDeposit"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cells": 1e3}, "sum to 180 times .* cells in MeV were taken for GeV; give the units"),
        ({"momentum": 1e3}, "median incident energy .* MeV were taken for GeV"),
        ({"cells": 1e-3}, "the two are in different units"),
        ({"EnergyDeposit": np.zeros((N, 20, 20))}, r"a row has shape \(20, 20\), expected \(30, 30\)"),
        ({"EnergyDeposit": np.zeros((N, 20, 45))}, r"a row has shape \(20, 45\), expected \(30, 30\)"),
        ({"ParticleMomentum": np.ones((N, 2))}, r"2 elements a row, so there is no ParticleMomentum\[2\]"),
        ({"ParticlePDG": np.full(N, 13.0)}, "13 is not one of 11, 22"),
        ({"EnergyDeposit": np.full((N, 30, 30), -1.0)}, "negative energy -1 GeV"),
        ({"ParticlePoint": np.full((N, 3), np.inf)}, "NaN or infinity"),
    ],
)
def test_each_bad_archive_gets_one_sentence(tmp_path, changes, words):
    path = tmp_path / "showers.npz"
    lhcb_file(path, **changes)
    with pytest.raises(DataError, match=words) as caught:
        io.read(path, lhcb_layout(particles=True))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"point_unit": "mm"}, "option point_unit: input should be a valid number, got 'mm'"),
        ({"side": "30"}, "option side: input should be a valid integer, got '30'"),
        ({"energy_unit": 5}, "option energy_unit: input should be a valid string, got 5"),
        ({"depth": 1}, "there is no option depth; there are energy_unit"),
    ],
)
def test_options_of_a_format_are_checked(options, words):
    with pytest.raises(ConfigError, match=words):
        layout_of_format({"name": "lhcb", **options})


def calogan_file(path, *, unit=1e3, cells=None):
    rng = np.random.default_rng(5)
    incident = rng.uniform(1, 100, (N, 1))
    with h5py.File(path, "w") as file:
        for i, shape in enumerate(CALOGAN_LAYERS):
            layer = rng.gamma(0.2, size=(N, *shape))
            layer *= (0.2, 0.7, 0.05)[i] * incident[:, :, None] / layer.sum(axis=(1, 2), keepdims=True)
            file[f"layer_{i}"] = layer * unit if cells is None else cells
        file["energy"], file["overflow"] = incident, np.zeros((N, 3))
    return incident[:, 0]


def test_calogan_files_are_in_mev_and_come_in_gev(tmp_path):
    path = tmp_path / "eplus.hdf5"
    incident = calogan_file(path)
    found = io.read(path, calogan_layout())
    assert np.array_equal(found["incident_energy"], incident)
    assert [found.schema[f"layer_{i}"].shape for i in range(3)] == list(CALOGAN_LAYERS)
    assert found["layer_1"].sum(axis=(1, 2)) == pytest.approx(0.7 * incident)


def test_calogan_files_in_gev_are_noticed_and_can_be_said(tmp_path):
    path = tmp_path / "eplus.hdf5"
    incident = calogan_file(path, unit=1.0)
    with pytest.raises(DataError, match=r"sum to 0.00095 times the incident energy .* different units; give the units"):
        io.read(path, calogan_layout())
    found = io.read(path, calogan_layout(cell_unit="GeV"))
    assert found["layer_1"].sum(axis=(1, 2)) == pytest.approx(0.7 * incident)


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_elements_of_vector_columns_become_fields(tmp_path, suffix):
    path, values = tmp_path / f"vectors.{suffix}", np.arange(24.0).reshape(6, 2, 2)
    if suffix == "npz":
        np.savez(path, v=values, r=np.arange(6.0))
    else:
        with h5py.File(path, "w") as file:
            file["v"], file["r"] = values, np.arange(6.0)
    wanted = Layout(
        condition=(FieldSource(Field("a", "GeV"), ("v[3]",), "MeV"),),
        response=(FieldSource(Field("b", shape=(2,)), ("v[0]", "r")),),
        selection="r > 1",
    )
    found = io.read(path, wanted)
    assert found["a"] == pytest.approx(1e-3 * values.reshape(6, 4)[2:, 3])
    assert found["b"].tolist() == [[8, 2], [12, 3], [16, 4], [20, 5]]
    with pytest.raises(DataError, match=r"4 elements a row, so there is no v\[4\]"):
        io.read(path, Layout(condition=(), response=(FieldSource(Field("a"), ("v[4]",)),)))
    with pytest.raises(DataError, match=r"column w\[0\] is missing"):
        io.read(path, Layout(condition=(), response=(FieldSource(Field("a"), ("w[0]",)),)))


def test_chunks_of_large_rows_are_bounded_by_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_CHUNK_BYTES", 3 * 900 * 8)
    path = tmp_path / "showers.npz"
    lhcb_file(path)
    sizes = [len(chunk) for chunk in io.iterate(path, lhcb_layout())]
    assert sum(sizes) == N
    assert max(sizes) <= 3


def test_cells_without_a_unit_are_named():
    schema = Schema((Field("p", "GeV"),), (Field("hits"), Field("cells", shape=(3, 3))))
    words = r"the responses are hits, cells \(3, 3\); cells has no unit: give it in a study, or as the column's unit"
    with pytest.raises(DataError, match=words):
        find_cells(schema, [(3, 3)])
