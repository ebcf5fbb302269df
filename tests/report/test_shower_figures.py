"""Showers in the report show the rows they say they show."""

from __future__ import annotations

import numpy as np
import pytest

from parhelion.report import ReportContent
from parhelion.report.gallery import figures_of
from parhelion.report.showers import shower_pictures
from parhelion.sample import Field, Sample, Schema


def sample(n=400, *, seed=1, first=0, shape=(6, 6), momentum=True) -> Sample:
    rng = np.random.default_rng(seed)
    energy = np.exp(rng.uniform(0, np.log(100), n))
    images = rng.gamma(0.3, size=(n, int(np.prod(shape))))
    images = (images * (energy / images.sum(axis=1))[:, None]).reshape(n, *shape)
    if momentum:
        condition = tuple(Field(name, "GeV") for name in ("px", "py", "pz"))
        values = {"px": 0.6 * energy, "py": 0.0 * energy, "pz": 0.8 * energy}
    else:
        condition, values = (Field("E", "MeV"),), {"E": 1e3 * energy}
    schema = Schema(condition, (Field("cells", "GeV", shape),))
    return Sample(schema, {**values, "cells": images}, event_id=np.arange(first, first + n))


@pytest.mark.parametrize("momentum", [True, False])
def test_pictures_are_of_the_energies_asked_for(momentum):
    ours, theirs = sample(momentum=momentum), sample(seed=2, first=1000, momentum=momentum)
    (found,) = shower_pictures(ours, theirs)
    assert found.energies.tolist() == [6.5, 15.6, 63.7]
    assert not found.paired
    assert np.abs(np.log(found.single_energies / found.energies[:, None])).max() < 0.1
    # The toy's cells sum to the incident energy.
    assert found.single.sum(axis=(2, 3)) == pytest.approx(found.single_energies, rel=1e-6)
    assert found.average.sum(axis=(2, 3)) == pytest.approx(np.repeat(found.energies[:, None], 2, axis=1), rel=0.15)
    assert found.counts.min() >= 5


def test_paired_samples_show_one_condition():
    ours = sample()
    theirs = ours.with_response(np.full((400, 36), 0.5), source="generated")
    (found,) = shower_pictures(ours, theirs)
    assert found.paired
    assert np.array_equal(found.single_energies[:, 0], found.single_energies[:, 1])
    assert found.average[:, 1] == pytest.approx(np.full((3, 6, 6), 0.5))
    assert (found.single[:, 1] == 0.5).all()


def test_rows_with_equal_numbers_and_other_conditions_are_no_pairs():
    (found,) = shower_pictures(sample(), sample(seed=2))
    assert not found.paired
    assert np.abs(np.log(found.single_energies / found.energies[:, None])).max() < 0.1


def test_other_energies_take_the_place_of_those_out_of_range():
    low = sample()
    energy = np.sqrt(low["px"] ** 2 + low["pz"] ** 2)
    low = low.take(energy < 5)
    (found,) = shower_pictures(low, low)
    assert len(found.energies) == 3
    assert found.energies.max() < 5


def test_samples_without_images_or_energy_have_no_pictures():
    schema = Schema((Field("P", "GeV"),), (Field("a"),))
    table = Sample(schema, {"P": np.ones(9), "a": np.ones(9)})
    assert shower_pictures(table, table) == ()
    odd = Schema((Field("eta"),), (Field("cells", "GeV", (2, 2)),))
    images = Sample(odd, {"eta": np.ones(9), "cells": np.ones((9, 2, 2))})
    assert shower_pictures(images, images) == ()


def test_a_volume_is_seen_from_the_side_and_from_the_front():
    ours, theirs = sample(shape=(5, 6, 3)), sample(seed=2, first=1000, shape=(5, 6, 3))
    side, front = shower_pictures(ours, theirs)
    assert (side.view.words, side.single.shape[2:]) == ("from the side", (5, 3))
    assert (front.view.words, front.average.shape[2:]) == ("from the front", (6, 3))
    energy = np.hypot(ours["px"], ours["pz"])
    cells = ours["cells"][np.argmin(np.abs(np.log(energy / 15.6)))]
    np.testing.assert_allclose(side.single[1, 0], cells.sum(axis=1))
    np.testing.assert_allclose(front.single[1, 0], cells.sum(axis=0))
    np.testing.assert_allclose(side.average.sum(axis=(2, 3)), front.average.sum(axis=(2, 3)))
    entries = list(figures_of(ReportContent(title="t", showers=(side, front))))
    assert [e.name for e in entries] == [
        f"{kind}_cells_from_the_{where}" for where in ("side", "front") for kind in ("showers", "average_showers")
    ]
    assert "summed over the second axis of cells" in entries[0].caption
    assert "summed over layers" in entries[3].caption
    assert entries[0].figure.axes[3].get_xlabel() == "layer"


@pytest.mark.parametrize("shape", [(6, 6), (3, 24)])
def test_report_has_single_and_average_showers(shape):
    ours, theirs = sample(shape=shape), sample(seed=2, first=1000, shape=shape)
    empty = theirs.with_response(np.zeros((400, shape[0] * shape[1])), source="generated")
    for other in (theirs, empty):
        content = ReportContent(title="t", showers=shower_pictures(ours, other))
        entries = list(figures_of(content))
        assert [e.name for e in entries] == ["showers_cells", "average_showers_cells"]
        assert {e.page for e in entries} == {"physics"}
        assert "at 63.7 GeV" in entries[1].caption
        images = [axes.images[0] for axes in entries[0].figure.axes if axes.images]
        expected = content.showers[0].single[0, 0]
        assert np.array_equal(np.ma.filled(images[0].get_array(), 0.0).T, expected)
        assert len(entries[1].figure.axes) == 9 + 6
