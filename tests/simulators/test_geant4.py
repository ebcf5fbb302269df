"""Geant4 calorimeters: seeds, energy, geometry, resumption, errors."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import constants

from parhelion import io
from parhelion.errors import ConfigError, MissingDependencyError, SimulationError, WriteError
from parhelion.sample import Sample, concatenate
from parhelion.simulators import simulator
from parhelion.simulators.calorimeter import event_seeds, power_law
from parhelion.simulators.ecal import Ecal
from parhelion.simulators.geant4 import BoxGrid, Detector, Engine, Primaries, Segment, Slab, TubeGrid, engine, run
from parhelion.simulators.geant4.environment import environment
from parhelion.simulators.geant4.tables import bremsstrahlung, sauter, standin_tables
from parhelion.simulators.geant4.workers import _Worker
from parhelion.simulators.running import parts_folder, simulate_to_file
from study_toys import CommandLine

needs_geant4 = pytest.mark.skipif(
    importlib.util.find_spec("geant4_pybind") is None, reason="Geant4 (geant4_pybind) is not installed"
)

OPTIONS = {"momentum_min": 1.0, "momentum_max": 3.0, "profile": True}
ROWS, SEED = 36, 5
DATA_DIR = os.environ.get("GEANT4_DATA_DIR")


@pytest.fixture(scope="module")
def showers() -> Sample:
    """Electrons of 1 to 3 GeV from one process."""
    return concatenate(simulator("ecal", OPTIONS).simulate(ROWS, seed=SEED, processes=1))


@pytest.fixture
def parhelion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


def equal(one: Sample, other: Sample) -> None:
    np.testing.assert_array_equal(one.event_id, other.event_id)
    for name, column in one.columns.items():
        np.testing.assert_array_equal(column, other[name])


def momentum(sample: Sample) -> np.ndarray:
    return np.linalg.norm([sample[name] for name in ("px", "py", "pz")], axis=0)


@needs_geant4
class TestSeeds:
    def test_showers_do_not_depend_on_processes_or_chunks(self, showers: Sample) -> None:
        parts = list(simulator("ecal", OPTIONS).simulate(16, seed=SEED, first=17, processes=2, chunk=5))
        assert [len(p) for p in parts] == [5, 5, 5, 1]
        equal(concatenate(parts), showers.take(slice(17, 33)))

    def test_interrupted_and_resumed(self, showers: Sample, tmp_path: Path) -> None:
        class Ten(Ecal):
            part_rows = 10

        def stop(done: int, n: int) -> None:
            if done >= 20:
                raise KeyboardInterrupt

        made, path = Ten(Ten.Config(**OPTIONS)), tmp_path / "a.h5"
        with pytest.raises(KeyboardInterrupt):
            simulate_to_file(made, ROWS, path, seed=SEED, processes=1, progress=stop)
        assert sorted(p.name for p in parts_folder(path).iterdir()) == ["job.json", "part-0-10.h5"]
        simulate_to_file(made, ROWS, path, seed=SEED, processes=1, resume=True)
        equal(io.read(path), showers)
        found = io.provenance(path)
        assert found["geant4"].startswith("geant4-11")
        assert found["physics_list"] == "G4EmStandardPhysics"
        assert found["production_cut_mm"] == 0.7
        assert found["em_tables"]
        assert found["options"]["profile"] is True

    def test_event_seeds_are_positive_and_distinct(self) -> None:
        seeds = event_seeds(1, np.arange(20_000))
        assert seeds.min() > 0
        assert len(np.unique(seeds)) == 20_000
        assert not np.array_equal(seeds, event_seeds(2, np.arange(20_000)))

    def test_this_process_stays_clean(self, showers: Sample) -> None:
        assert len(showers) == ROWS
        assert "geant4_pybind" not in sys.modules
        assert os.environ.get("GEANT4_DATA_DIR") == DATA_DIR


@needs_geant4
class TestEcal:
    def test_energy_is_conserved(self, showers: Sample) -> None:
        """Lead and scintillator hold what came in, but for some per cent that leaks out."""
        visible = showers["energy"].sum(axis=(1, 2))
        share = (visible + showers["absorber"]) / momentum(showers)
        assert showers["energy"].min() >= 0
        assert share.max() < 1.002  # electrons bring their mass along, and single precision rounds
        assert share.mean() > 0.96

    def test_layers_and_cells_hold_the_same_energy(self, showers: Sample) -> None:
        np.testing.assert_allclose(showers["layers"].sum(axis=1), showers["energy"].sum(axis=(1, 2)), rtol=1e-5)

    def test_sampling_fraction(self, showers: Sample) -> None:
        """0.1753 measured over 1 to 100 GeV; resolution 7.6 % / sqrt(E) a shower, four standard errors."""
        share = showers["energy"].sum(axis=(1, 2)) / momentum(showers)
        assert share.mean() == pytest.approx(0.1753, rel=4 * 0.076 / np.sqrt(1.7 * ROWS))

    def test_centroid_follows_the_track(self, showers: Sample) -> None:
        """Along x with px / pz, along y with py / pz, to a depth of some 13 cm, without an offset."""
        energy, centres = showers["energy"], np.arange(30) * 2.0 - 29.0
        total = energy.sum(axis=(1, 2))
        for axis, name in ((2, "x"), (1, "y")):
            centroid = energy.sum(axis=axis) @ centres / total - showers[name] / 10
            slope = showers[f"p{name}"] / showers["pz"]
            depth, offset = np.polyfit(slope, centroid, 1)
            assert 9 < depth < 17
            assert abs(offset) < 0.4

    def test_conditions_lie_where_they_were_asked_for(self, showers: Sample) -> None:
        p = momentum(showers)
        assert p.min() + 1e-6 >= 1
        assert p.max() <= 3 + 1e-6
        for name in ("x", "y"):
            assert np.abs(showers[name]).max() <= 5
            angle = np.degrees(np.arctan(showers[f"p{name}"] / showers["pz"]))
            assert np.abs(angle).max() <= 15.001


def test_spectrum_and_angles() -> None:
    """Kolmogorov-Smirnov against the declared distributions, p > 1e-4 each."""
    from scipy.stats import kstest

    g = np.random.default_rng(1)
    made = simulator("ecal", {"particles": ["e-", "gamma"]})
    columns = made.condition(g.uniform(size=(5000, 8)))  # type: ignore[attr-defined]
    p = np.linalg.norm([columns[name] for name in ("px", "py", "pz")], axis=0)
    assert kstest(p, lambda x: (1 - x**-0.5) / 0.9).pvalue > 1e-4
    angle = np.degrees(np.arctan(columns["px"] / columns["pz"]))
    assert kstest(angle, "norm", args=(0, 5)).pvalue > 1e-4
    assert abs((columns["pdg"] == 22).mean() - 0.5) < 0.03
    for index in (0.0, 1.0, 2.5):
        u = np.linspace(0, 1, 11)
        x = power_law(u, 2.0, 30.0, index)
        assert x[0] == pytest.approx(2)
        assert x[-1] == pytest.approx(30)
        assert np.all(np.diff(x) > 0)


@needs_geant4
def test_cells_lie_where_their_axes_say() -> None:
    """Electrons through thin silicon deposit most in the cell that they are aimed at."""
    silicon = (Slab("G4_Si", 0.2, active=True),)
    detector = Detector(100.0, (Segment(2, silicon, BoxGrid(10, 5)), Segment(1, silicon, TubeGrid(8, 4, 10.0))))
    g = np.random.default_rng(3)
    n = 24
    radius, alpha = g.uniform(3, 36, n), g.uniform(-np.pi, np.pi, n)
    xy = np.column_stack([radius * np.cos(alpha), radius * np.sin(alpha)])
    shot = Primaries(
        seed=np.arange(1, n + 1),
        particle=("e-",) * n,
        energy=np.full(n, 20_000.0),
        position=np.column_stack([xy, np.full(n, -1e-3)]),
        direction=np.tile([0.0, 0.0, 1.0], (n, 1)),
    )
    (found,) = run(engine(), detector, iter([shot]), 1)
    box, tube = found.active
    assert box.shape == (n, 2, 10, 5)
    assert tube.shape == (n, 1, 8, 4)
    hottest = box.sum(axis=1).reshape(n, -1).argmax(axis=1)
    expected = np.floor((xy[:, 0] + 50) / 10) * 5 + np.floor((xy[:, 1] + 50) / 20)
    np.testing.assert_array_equal(hottest, expected)
    hottest = tube.reshape(n, -1).argmax(axis=1)
    expected = np.floor((alpha + np.pi) / (2 * np.pi / 8)) * 4 + np.floor(radius / 10)
    np.testing.assert_array_equal(hottest, expected)
    assert (found.passive == 0).mean() > 0.9  # nothing is outside the cells but beyond the rings


@needs_geant4
@pytest.mark.parametrize(
    ("name", "options", "low", "high"),
    [
        ("calogan", {"energy_min": 2, "energy_max": 2}, 0.9, 1.001),
        ("calogan", {"energy_min": 2, "energy_max": 2, "scored": "active", "particle": "gamma"}, 0.1, 0.3),
        ("cylinder", {"energy_min": 2, "energy_max": 2}, 0.6, 1.4),
        ("cube", {"energy_min": 2, "energy_max": 2}, 0.01, 0.06),
    ],
)
def test_other_calorimeters(name: str, options: dict[str, object], low: float, high: float) -> None:
    made = simulator(name, options)
    sample = concatenate(made.simulate(4, seed=1, processes=1))
    unit = 2000 if made.schema.condition[0].unit == "MeV" else 2
    np.testing.assert_allclose(sample.condition, unit)
    share = sample.response.sum(axis=1) / unit
    assert sample.response.min() >= 0
    assert low < share.mean() < high
    assert share.max() < 1.5 * high


class TestTables:
    def test_radiation_length_of_lead(self) -> None:
        """Radiated energy at 10 GeV against 6.37 g/cm2 (PDG): the stand-in stays within 3 %."""
        fraction = np.linspace(0, 1, 2001)
        millibarn = np.trapezoid(bremsstrahlung(82, 1e4, fraction), fraction) * 82**2
        per_gram = constants.N_A / 207.2 * millibarn * 1e-27
        # In complete screening the energy loss is E / X0 (4/3 - 1/3 + ... = 1 within 2 %).
        assert 1 / per_gram == pytest.approx(6.37, rel=0.03)

    def test_cross_sections_are_positive_and_fall(self) -> None:
        for z in (1, 6, 14, 18, 74, 82):
            for energy in (1e-3, 1.0, 1e4):
                assert bremsstrahlung(z, energy, np.linspace(0, 1, 31)).min() > 0
        energy = np.geomspace(0.5, 1e3, 50)
        assert np.all(np.diff(sauter(energy)) < 0)
        # Far above threshold the photoelectric cross section falls as 1 / E.
        assert sauter(1e4) / sauter(2e4) == pytest.approx(2, rel=1e-3)

    def test_made_once_and_complete(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("xraydb")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        folder = standin_tables()
        assert folder.is_relative_to(tmp_path)
        lead = (folder / "brem_SB" / "br82").read_text().split()
        assert lead[:3] == ["2", "30", "57"]
        assert len(lead) == 3 + 30 + 57 + 30 * 57
        assert [p.name for p in folder.parent.iterdir()] == [folder.name]
        (folder / "brem_SB" / "br82").touch()
        assert standin_tables() == folder

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(WriteError, match=r"tables for Geant4 cannot be written .* set XDG_CACHE_HOME"):
            standin_tables()

    @needs_geant4
    def test_own_tables_come_first_and_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = tmp_path / "G4EMLOW8.8"
        (own / "brem_SB").mkdir(parents=True)
        monkeypatch.setenv("G4LEDATA", str(own))
        with environment() as variables:
            assert variables["G4LEDATA"] == str(own)
        assert engine().provenance()["em_tables"] == "G4EMLOW, G4EMLOW8.8"
        monkeypatch.delenv("G4LEDATA")
        monkeypatch.setenv("GEANT4_DATA_DIR", str(tmp_path))
        with environment() as variables:
            assert variables["G4LEDATA"] == str(own)


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("ecal", {"momentum_min": -1}, "momentum_min: input should be greater than 0, got -1"),
            ("ecal", {"momentum_min": 0}, "momentum_min: input should be greater than 0, got 0"),
            ("ecal", {"momentum_max": 100_000}, r"momentum_max is 100000 GeV, expected at most 1000 GeV .*not in MeV"),
            ("ecal", {"momentum_min": 50, "momentum_max": 5}, "momentum_min is 50 GeV, expected at most momentum_max"),
            ("ecal", {"momentum_min": float("nan")}, "momentum_min: input should be greater than 0"),
            ("ecal", {"particles": ["tau-"]}, "input should be 'e-' or 'gamma', got 'tau-'"),
            ("ecal", {"particles": ["e-", "e-"]}, "a particle is named twice"),
            ("ecal", {"particles": []}, "particles: tuple should have at least 1 item"),
            ("ecal", {"angle": 45}, "angle: input should be less than or equal to 20, got 45"),
            ("calogan", {"energy_max": 50_000}, "energy_max is 50000 GeV, expected at most 1000 GeV"),
            ("calogan", {"particle": "mu-"}, "particle: input should be 'e[+]', 'e-', 'gamma' or 'pi[+]', got 'mu-'"),
            ("cylinder", {"energy_min": -5}, "energy_min: input should be greater than 0, got -5"),
            ("cube", {"energy": 5}, "option energy is unknown; its options are energy_min, energy_max"),
        ],
    )
    def test_options(self, name: str, options: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            simulator(name, options)

    @pytest.mark.parametrize("name", ["ecal", "calogan", "cylinder", "cube"])
    def test_without_geant4(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parhelion: CommandLine
    ) -> None:
        monkeypatch.setitem(sys.modules, "geant4_pybind", None)
        with pytest.raises(MissingDependencyError, match=r"needs Geant4; install it with: pip install 'parhelion\[gea"):
            simulator(name).simulate(2, seed=1)
        monkeypatch.chdir(tmp_path)
        assert "install it with" in parhelion.refuse("simulate", name, "-n", "2", "-o", "a.h5")
        assert list(tmp_path.iterdir()) == []

    @needs_geant4
    def test_pions_without_hadronic_data(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("G4PARTICLEXSDATA", raising=False)
        with pytest.raises(MissingDependencyError, match=r"hadrons need Geant4's own data files.* G4PARTICLEXSDATA"):
            simulator("calogan", {"particle": "pi+"}).simulate(1, seed=1)

    @needs_geant4
    def test_an_engine_that_dies_leaves_its_last_words(self) -> None:
        detector = Detector(10.0, (Segment(1, (Slab("G4_Pb", 1.0, active=True),), BoxGrid(1, 1)),))
        shot = Primaries(np.ones(1, np.int64), ("e-",), np.ones(1), np.zeros((1, 3)), np.ones((1, 3)))
        with pytest.raises(SimulationError, match=r"Geant4 ended with code 1 .*NoSuchPhysics.* go on with --resume"):
            list(run(Engine("NoSuchPhysics", hadronic=False, cut=0.7), detector, iter([shot]), 1))

    def test_an_engine_ended_from_outside_has_no_last_words(self, tmp_path: Path) -> None:
        with (tmp_path / "log").open("w+b") as log:
            log.write(b"WWW : http://geant4.org/")
            worker = _Worker(dict(os.environ), {}, log)
            worker.process.kill()
            words = str(worker.died())
            worker.end()
        assert re.search(r"ended from outside \(SIGKILL\).* go on with --resume", words)
        assert "http" not in words

    def test_detectors_that_cannot_be_built(self) -> None:
        lead = Slab("G4_Pb", 1.0)
        with pytest.raises(ConfigError, match="rings up to 40 mm do not fit into a width of 60 mm"):
            Detector(60.0, (Segment(1, (Slab("G4_Si", 1.0, active=True),), TubeGrid(4, 4, 10.0)),))
        with pytest.raises(ConfigError, match="no active slab"):
            Detector(60.0, (Segment(1, (lead,), BoxGrid(1, 1)),))

    def test_command_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parhelion: CommandLine) -> None:
        monkeypatch.chdir(tmp_path)
        words = ("simulate", "ecal", "-n", "2", "-o", "a.h5")
        assert "--momentum-min: input should be greater than 0" in parhelion.refuse(*words, "--momentum-min", "-3")
        assert "--particles.0: input should be 'e-' or 'gamma'" in parhelion.refuse(*words, "--particles", "tau-")
        assert "cannot write files with suffix .txt" in parhelion.refuse("simulate", "ecal", "-n", "2", "-o", "a.txt")
        assert list(tmp_path.iterdir()) == []
