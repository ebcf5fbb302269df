"""What every simulator keeps: rows belong to (options, seed, number); files go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parhelion import io
from parhelion.errors import ConfigError, DataError, WriteError
from parhelion.sample import Sample, concatenate
from parhelion.simulators import SIMULATORS, Simulator, simulator
from parhelion.simulators.running import parts_folder, simulate_to_file
from parhelion.simulators.toy_sources import CamelToy

CHEAP = [name for name, kind in SIMULATORS.items() if kind.cheap]


def equal(one: Sample, other: Sample) -> None:
    assert one.schema == other.schema
    np.testing.assert_array_equal(one.event_id, other.event_id)
    for name, column in one.columns.items():
        np.testing.assert_array_equal(column, other[name])


@pytest.mark.parametrize("name", SIMULATORS)
def test_options_are_described_and_have_defaults(name: str) -> None:
    made = simulator(name)
    assert made.kind == name
    assert made.schema.condition
    assert made.schema.response
    assert (type(made).__doc__ or "").strip()
    for field in type(made).Config.model_fields.values():
        assert field.description
    assert made.identity()["simulator"] == name


@pytest.mark.parametrize("name", CHEAP)
def test_rows_belong_to_seed_and_number(name: str) -> None:
    made = simulator(name)
    whole = concatenate(made.simulate(40, seed=3, processes=1))
    assert len(whole) == 40
    np.testing.assert_array_equal(whole.event_id, np.arange(40))
    parts = list(made.simulate(40, seed=3, processes=2, chunk=7))
    assert [len(p) for p in parts] == [7] * 5 + [5]
    equal(concatenate(parts), whole)
    equal(concatenate(made.simulate(13, seed=3, first=20)), whole.take(slice(20, 33)))
    other = concatenate(made.simulate(40, seed=4))
    assert not np.array_equal(other.response, whole.response)


@pytest.mark.parametrize("name", CHEAP)
def test_progress_ends_with_all_rows(name: str) -> None:
    seen: list[tuple[int, int]] = []
    list(simulator(name).simulate(9, seed=1, chunk=4, progress=lambda done, n: seen.append((done, n))))
    assert seen[-1] == (9, 9)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", SIMULATORS)
@pytest.mark.parametrize("change", [{"n": 0}, {"seed": -1}, {"first": -1}, {"processes": 0}, {"chunk": 0}])
def test_numbers_out_of_range_are_refused_at_once(name: str, change: dict[str, int]) -> None:
    arguments = {"n": 3, "seed": 1} | change
    with pytest.raises(ConfigError, match=f"{next(iter(change))} is {next(iter(change.values()))}, expected a number"):
        simulator(name).simulate(arguments.pop("n"), **arguments)


@pytest.mark.parametrize("name", SIMULATORS)
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"simulator {name}: option colour is unknown; its options are"):
        simulator(name, {"colour": 1})


def test_unknown_simulators_are_refused() -> None:
    with pytest.raises(ConfigError, match="simulator 'rack' is unknown; choose one of"):
        simulator("rack")


class Stopping(CamelToy):
    """A camel that is interrupted after some parts."""

    part_rows = 10
    parts = 2

    def simulate(self, n: int, **options: object):  # type: ignore[no-untyped-def, override]
        for number, chunk in enumerate(super().simulate(n, **options)):  # type: ignore[arg-type]
            if number == self.parts:
                raise KeyboardInterrupt
            yield chunk


class Whole(CamelToy):
    part_rows = 10


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        simulate_to_file(Stopping(), 45, path, seed=2)
    assert not path.exists()
    assert sorted(p.name for p in parts_folder(path).iterdir()) == ["job.json", "part-0-10.h5", "part-10-20.h5"]
    return path


def test_resumed_and_uninterrupted_files_are_equal(stopped: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert simulate_to_file(Whole(), 45, stopped, seed=2, resume=True, progress=lambda *x: seen.append(x)) == 45
    assert seen[0] == (30, 45)
    assert seen[-1] == (45, 45)
    simulate_to_file(Whole(), 45, tmp_path / "b.h5", seed=2)
    equal(io.read(stopped), io.read(tmp_path / "b.h5"))
    assert io.provenance(stopped) == io.provenance(tmp_path / "b.h5")
    assert io.provenance(stopped)["options"] == {"centre": 4.0, "width": 1.0, "share": 0.5}
    assert not parts_folder(stopped).exists()


def test_parts_are_neither_lost_nor_mixed_by_accident(stopped: Path) -> None:
    with pytest.raises(WriteError, match="holds an interrupted simulation; go on with --resume"):
        simulate_to_file(Whole(), 45, stopped, seed=2)
    with pytest.raises(DataError, match="was begun with seed 2, now it is 3"):
        simulate_to_file(Whole(), 45, stopped, seed=3, resume=True)
    with pytest.raises(DataError, match=r"was begun with options .*'share': 0.5.* now it is .*'share': 0.1"):
        simulate_to_file(Whole.configured(share=0.1), 45, stopped, seed=2, resume=True)
    with pytest.raises(DataError, match="holds 20 rows already, more than the 15 asked for"):
        simulate_to_file(Whole(), 15, stopped, seed=2, resume=True)
    (parts_folder(stopped) / "job.json").write_text("{")
    with pytest.raises(DataError, match="is no interrupted simulation"):
        simulate_to_file(Whole(), 45, stopped, seed=2, resume=True)
    assert simulate_to_file(Whole(), 15, stopped, seed=2, overwrite=True) == 15
    assert len(io.read(stopped)) == 15


def test_a_lost_part_is_made_again(stopped: Path, tmp_path: Path) -> None:
    (parts_folder(stopped) / "part-0-10.h5").unlink()
    simulate_to_file(Whole(), 45, stopped, seed=2, resume=True)
    simulate_to_file(Whole(), 45, tmp_path / "b.h5", seed=2)
    equal(io.read(stopped), io.read(tmp_path / "b.h5"))


class Choosy(Whole):
    """Keeps the upper hump."""

    def simulate(self, n: int, **options: object):  # type: ignore[no-untyped-def, override]
        for chunk in super().simulate(n, **options):  # type: ignore[arg-type]
            yield chunk.take((chunk["x"] > 0) & (chunk.event_id >= 20))


def test_options_that_keep_some_rows_or_none(tmp_path: Path) -> None:
    rows = simulate_to_file(Choosy(), 45, tmp_path / "a.h5", seed=2)
    kept = io.read(tmp_path / "a.h5")
    assert 0 < rows == len(kept) < 25
    assert kept.event_id.min() >= 20
    with pytest.raises(DataError, match="keep none of the simulated rows"):
        simulate_to_file(Choosy(), 20, tmp_path / "b.h5", seed=2)


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"mine")
    with pytest.raises(WriteError, match="exists already"):
        simulate_to_file(Whole(), 5, path, seed=1)
    assert path.read_bytes() == b"mine"


def test_identity_tells_the_same_events() -> None:
    rich = SIMULATORS["rich"]
    signal = rich.configured(calibration=True, true_signal=True)
    assert signal.identity() == rich.configured(calibration=True).identity()
    assert signal.identity() != rich.configured().identity()


def test_every_simulator_is_a_simulator() -> None:
    assert all(issubclass(kind, Simulator) and kind.kind == name for name, kind in SIMULATORS.items())
