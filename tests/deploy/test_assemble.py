"""Events from particles: no energy appears or is lost unseen, whatever the order and the stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parhelion import io
from parhelion.deploy.assemble import Assembler, Assembly, Grid, place
from parhelion.deploy.chain import Chain, Step
from parhelion.errors import ConfigError, DataError, DomainError
from parhelion.noise import normal
from parhelion.sample import Field, Sample, Schema
from study_toys import CommandLine

PITCH, WIDTH = 20.0, 6


class Blob:
    """A Gaussian of the particle's energy around its impact point, integrated over 6 x 6 cells, times noise."""

    provenance: dict[str, Any] = {}  # noqa: RUF012
    noise_width = 1
    schema = Schema((Field("e", "GeV"), Field("x", "mm"), Field("y", "mm")), (Field("energy", "GeV", (WIDTH, WIDTH)),))

    def noise(self, seed, event_id, stage=0):
        return normal(seed, event_id, 1, stage=stage)

    def respond(self, condition, noise):
        from scipy.special import ndtr

        edges = (np.arange(WIDTH + 1) - WIDTH / 2) * PITCH
        shares = [np.diff(ndtr((edges - condition[:, 1 + axis, None]) / 15.0), axis=1) for axis in (0, 1)]
        scale = condition[:, 0] * np.exp(0.1 * noise[:, 0])
        return (scale[:, None, None] * shares[0][:, :, None] * shares[1][:, None, :]).reshape(-1, WIDTH**2)

    def outside(self, condition):
        half = np.array([np.inf, PITCH / 2 + 1e-9, PITCH / 2 + 1e-9])
        return np.abs(condition) > half

    def clamp(self, condition):
        return np.clip(condition, [-np.inf, -PITCH / 2, -PITCH / 2], [np.inf, PITCH / 2, PITCH / 2])

    def allowed(self, column):
        return "half a cell"


CHAIN = Chain([Step({None: Blob()})])
GRID = Grid((20, 16), PITCH, (-100.0, 40.0))


def _particles(events: int = 30, each: int = 7, reach: float = 1.2, seed: int = 1) -> Sample:
    g = np.random.default_rng(seed)
    n = events * each
    middle, half = np.array([100.0, 200.0]), np.array([200.0, 160.0])
    spot = middle + half * g.uniform(-reach, reach, (n, 2))
    columns = {"e": g.exponential(10, n), "x": spot[:, 0], "y": spot[:, 1], "n": np.tile(np.arange(each), events)}
    schema = Schema(Blob.schema.condition, (), (Field("n", kind="integer"),))
    return Sample(schema, columns, group=np.repeat(g.permutation(events), each), source="particles")


@pytest.fixture
def assembler() -> Assembler:
    return Assembler(CHAIN, GRID, particle="n")


@pytest.mark.parametrize("width", [5, 6])
def test_shift_and_offset_are_the_position(width: int) -> None:
    position = np.r_[np.random.default_rng(1).uniform(-300, 500, 1000), -100.0, -90.0, 0.0]
    first, offset = place(position, GRID, 0, width)
    assert (np.abs(offset) <= PITCH / 2).all()
    centre = -100.0 + PITCH * (first + width / 2)
    np.testing.assert_allclose(centre + offset, position, atol=1e-9)
    # A particle one cell further is the same image one cell further.
    again, same = place(position + PITCH, GRID, 0, width)
    assert np.array_equal(again, first + 1)
    np.testing.assert_allclose(same, offset, atol=1e-9)


def test_energy_on_the_grid_is_the_responses_less_what_falls_off(assembler: Assembler) -> None:
    tally = Assembly()
    made = assembler.assemble(_particles(), seed=3, assembly=tally)
    assert (tally.events, tally.particles) == (30, 210)
    np.testing.assert_allclose(tally.placed + tally.lost, tally.response, rtol=1e-12)
    np.testing.assert_allclose(made["energy"].sum(), tally.placed, rtol=1e-5)
    assert 0.05 < tally.lost / tally.response < 0.6
    well_inside = Assembly()
    made = assembler.assemble(_particles(reach=0.6), seed=3, assembly=well_inside)
    assert well_inside.lost == 0
    assert (made["lost"] == 0).all()


def test_a_single_particle_is_seen_where_it_hit(assembler: Assembler) -> None:
    for x, y in ((83.0, 171.0), (-95.0, 45.0)):
        one = Sample(assembler.chain.schema, {"e": [5.0], "x": [x], "y": [y], "energy": np.zeros((1, 6, 6))}, group=[9])
        one = one.with_extra(Field("n", kind="integer"), [0])
        image = assembler.assemble(one, seed=3)["energy"][0]
        centres = [-100 + PITCH * (np.arange(20) + 0.5), 40 + PITCH * (np.arange(16) + 0.5)]
        hottest = np.unravel_index(np.argmax(image), image.shape)
        assert abs(centres[0][hottest[0]] - x) <= PITCH / 2
        assert abs(centres[1][hottest[1]] - y) <= PITCH / 2
        if x > 0:  # away from the edge the centroid is the impact point, whatever the shift
            mean = [np.average(c, weights=image.sum(axis=1 - a)) for a, c in enumerate(centres)]
            np.testing.assert_allclose(mean, [x, y], atol=0.3)


def test_order_of_particles_and_events_means_nothing(assembler: Assembler) -> None:
    particles = _particles()
    whole = assembler.assemble(particles, seed=3)
    assert np.array_equal(whole.event_id, np.arange(30))
    shuffled = particles.take(np.random.default_rng(5).permutation(len(particles)))
    again = assembler.assemble(shuffled, seed=3)
    for name in whole.columns:
        assert np.array_equal(whole[name], again[name])
    # An event does not depend on which others there are.
    some = assembler.assemble(particles.take(particles.group == 17), seed=3)
    np.testing.assert_allclose(some["energy"][0], whole["energy"][17], rtol=1e-6)
    assert not np.allclose(assembler.assemble(particles, seed=4)["energy"], whole["energy"])


def test_events_add(assembler: Assembler) -> None:
    """Two particles in one event give the sum of two events with one each."""
    pair = _particles(1, 2)
    together = assembler.assemble(pair, seed=3)["energy"][0]
    alone = [assembler.assemble(pair.take(slice(i, i + 1)), seed=3)["energy"][0] for i in (0, 1)]
    np.testing.assert_allclose(together, alone[0] + alone[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 4, 50, 1000])
def test_a_stream_is_the_whole(assembler: Assembler, rows: int) -> None:
    particles = _particles()
    assembler.events_at_once = 4
    tally = Assembly()
    chunks = (particles.take(slice(i, i + rows)) for i in range(0, len(particles), rows))
    parts = list(assembler.stream(chunks, seed=3, assembly=tally))
    whole = assembler.assemble(particles, seed=3)
    ids = np.concatenate([p.event_id for p in parts])
    order = np.argsort(ids)
    assert np.array_equal(ids[order], whole.event_id)
    energy = np.concatenate([p["energy"] for p in parts])[order]
    np.testing.assert_allclose(energy, whole["energy"], rtol=1e-6, atol=1e-9)
    assert (tally.events, tally.particles) == (30, 210)
    assert max(len(p) for p in parts) <= 4


def test_sparse_cells_are_the_dense_ones(assembler: Assembler) -> None:
    whole = assembler.assemble(_particles(), seed=3)
    cells = assembler.sparse(whole, threshold=0.01)
    dense = np.zeros((30, 320), dtype=np.float32)
    dense[cells.group, cells["cell"]] = cells["energy"]
    flat = whole["energy"].reshape(30, -1)
    assert np.array_equal(dense, np.where(flat > 0.01, flat, 0))
    assert len(np.unique(cells.event_id)) == len(cells)


def test_what_cannot_be_assembled_is_said(assembler: Assembler) -> None:
    particles = _particles()
    scattered = particles.take(np.argsort(particles["n"], kind="stable"))
    with pytest.raises(DataError, match=r"the particles of event \d+ do not follow each other"):
        list(assembler.stream([scattered], seed=1))
    twice = Sample(particles.schema, {**particles.columns, "n": np.zeros(210)}, group=particles.group)
    with pytest.raises(DataError, match="two particles with n 0"):
        assembler.assemble(twice, seed=1)
    with pytest.raises(DataError, match="field q is missing"):
        Assembler(CHAIN, GRID, x="q").assemble(particles, seed=1)
    with pytest.raises(ConfigError, match="expected one response that is an image zz"):
        Assembler(CHAIN, GRID, image="zz")
    with pytest.raises(ConfigError, match="at least 1"):
        Grid((0, 3), 1.0)
    with pytest.raises(ConfigError, match="would lose particles"):
        Assembler(Chain([Step({None: Blob()})], keep="e > 1"), GRID)


def test_the_guard_holds_for_the_offset(assembler: Assembler) -> None:
    narrow = Blob()
    narrow.outside = lambda condition: np.abs(condition) > [np.inf, 1.0, 1.0]
    chained = Assembler(Chain([Step({None: narrow})]), GRID)
    particles = _particles()
    with pytest.raises(DomainError, match="lie outside the domain"):
        chained.assemble(particles, seed=1)
    tally = Assembly()
    made = chained.assemble(particles, seed=1, outside="flag", assembly=tally)
    assert made["outside_domain"].sum() == tally.counts.beyond > 100


@pytest.fixture
def parhelion(tmp_path: Path, monkeypatch, capsys) -> Iterator[CommandLine]:
    from parhelion.surrogates import Library

    monkeypatch.chdir(tmp_path)
    g = np.random.default_rng(1)
    n = 300
    columns = {"e": g.uniform(1, 30, n), "x": g.uniform(-10, 10, n), "y": g.uniform(-10, 10, n)}
    matrix = np.stack(list(columns.values()), axis=1)
    images = Blob().respond(matrix, np.zeros((n, 1))).reshape(n, WIDTH, WIDTH)
    train = Sample(Blob.schema, {**columns, "energy": images.astype(np.float32)})
    config = Library.Config.model_validate({"codec": {"response": [], "knots": 0, "threshold": 1e-6}})
    library = Library(Blob.schema, config)
    library.prepare(train, seed=1)
    library.save("library.safetensors")
    return CommandLine(monkeypatch, capsys)


def test_the_command(parhelion: CommandLine) -> None:
    particles = _particles(40, 5, reach=0.9)
    e = np.clip(particles["e"], 2, 25)
    sample = Sample(
        particles.schema, {**particles.columns, "e": e}, group=particles.group, event_id=np.arange(200)
    )  # fmt: skip
    io.write(sample.with_extra(Field("event", kind="integer"), sample.group), "p.h5")
    words = ("assemble", "library.safetensors", "p.h5", "--cells", "20x16", "--pitch", "20", "--corner", "-100,40")
    named = (*words, "--event", "event", "--particle", "n", "--outside", "clamp")
    code, out, _ = parhelion(*named, "-o", "events.h5")
    assert code == 0
    assert "events.h5: 40 events of 200 particles" in out
    assert "fell off its edge" in out
    events = io.read("events.h5")
    assert events["energy"].shape == (40, 20, 16)
    assert parhelion(*named, "-o", "cells.root", "--sparse", "0.001", "-q")[0] == 0
    cells = io.read("cells.root")
    for event in (0, 17, 39):
        whole = events["energy"][events.event_id == event]
        assert cells["energy"][cells.group == event].sum() == pytest.approx(whole[whole > 0.001].sum(), rel=1e-5)
    assert "expected two numbers" in parhelion.refuse(*words, "--event", "event", "-o", "z.h5", "--cells", "20")
    assert "column zz is missing" in parhelion.refuse(*words, "--event", "zz", "-o", "z.h5")
    assert "exists already" in parhelion.refuse(*named, "-o", "events.h5")
    assert not Path("z.h5").exists()
