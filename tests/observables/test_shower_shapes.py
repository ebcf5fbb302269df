"""Shapes of showers against showers whose shape is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parhelion.errors import ConfigError, ShapeError
from parhelion.observables import EcalObservables, calogan, showers
from parhelion.observables.compatibility import line_width
from parhelion.observables.curves import binned_response, central_moments, longitudinal_profile
from parhelion.observables.ecal import EcalConfig
from parhelion.sample import Field, Sample, Schema

CELL = 10.0


def tilted(angle, *, along=45.0, across=25.0, centre=(7.0, -13.0), side=61):
    """Gaussian shower whose long axis lies at an angle, in cells small beside it."""
    x, y = showers.grid((side, side), CELL)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = -(x - centre[0]) * np.sin(angle) + (y - centre[1]) * np.cos(angle)
    return np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2)), x, y


@pytest.mark.parametrize("angle", np.deg2rad([0.0, 30.0, 90.0, 135.0, 200.0, -60.0]))
def test_widths_follow_the_track_not_the_axes_of_the_image(angle):
    image, x, y = tilted(angle)
    energy = 3.0 * image[None]
    direction = showers.track_direction([2.0 * np.cos(angle)], [2.0 * np.sin(angle)])
    assert showers.width(energy, x, y, direction)[0] == pytest.approx(45.0, rel=1e-3)
    assert showers.width(energy, x, y, showers.across(direction))[0] == pytest.approx(25.0, rel=1e-3)
    assert showers.centroid(energy, x, y)[0] == pytest.approx([7.0, -13.0], abs=0.05)


@pytest.mark.parametrize("angle", np.deg2rad([10.0, 100.0, 190.0, 280.0]))
@pytest.mark.parametrize("shift", [-20.0, 35.0])
def test_asymmetry_is_positive_where_the_energy_lies_ahead_of_the_point(angle, shift):
    from scipy.special import erf

    image, x, y = tilted(angle, side=121)
    direction = showers.track_direction([np.cos(angle)], [np.sin(angle)])
    normal = showers.across(direction)
    for unit, sigma in ((direction, 45.0), (normal, 25.0)):
        # The shower's centre is `shift` ahead of the point: the part ahead is a Gaussian's above -shift.
        point = np.array([[7.0, -13.0]]) - shift * unit
        found = showers.asymmetry(image[None], x, y, point, unit)[0]
        assert found == pytest.approx(erf(shift / sigma / np.sqrt(2)), abs=0.02)


def test_a_shower_that_turns_with_its_track_keeps_its_shape():
    """Rotation of image, track and point by 90 degrees is exact on a square grid."""
    rng = np.random.default_rng(3)
    image = rng.gamma(0.3, size=(1, 20, 20))
    x, y = showers.grid((20, 20), CELL)
    px, py, point = np.array([1.3]), np.array([0.4]), np.array([[11.0, -6.0]])
    turned = np.rot90(image, axes=(1, 2))  # (x, y) -> (-y, x)
    first, second = showers.track_direction(px, py), showers.track_direction(-py, px)
    turned_point = np.stack([-point[:, 1], point[:, 0]], axis=1)
    for make in (lambda d: d, showers.across):
        for function in (
            lambda e, p, d: showers.width(e, x, y, d),
            lambda e, p, d: showers.asymmetry(e, x, y, p, d),
        ):
            before = function(image.reshape(1, -1), point, make(first))
            after = function(np.ascontiguousarray(turned).reshape(1, -1), turned_point, make(second))
            assert after == pytest.approx(before, rel=1e-10)


def test_shower_point_follows_the_slope():
    found = showers.shower_point(np.array([[1.0, 2.0]]), np.array([[0.1, -0.2]]), 120.0)
    assert found[0] == pytest.approx([13.0, -22.0])


def test_no_transverse_momentum_and_no_energy_have_defined_values():
    x, y = showers.grid((4, 4), CELL)
    direction = showers.track_direction([0.0], [0.0])
    empty = np.zeros((1, 16), dtype=np.float32)
    assert direction[0] == pytest.approx([1.0, 0.0])
    assert showers.width(empty, x, y, direction) == 0
    assert showers.asymmetry(empty, x, y, np.zeros((1, 2)), direction) == 0
    assert showers.containment_radius(empty, np.hypot(x, y)) == 0
    assert not showers.sparsity(empty, [1e-3]).any()
    assert not showers.radial_profile(empty, np.hypot(x, y), np.array([0.0, 20.0])).any()


def test_sparsity_hits_and_spectrum_count_cells():
    energy = np.array([[0.0, 1.0, 3.0, 6.0]])
    assert showers.sparsity(energy, [0.05, 0.1, 0.3, 0.6, 0.9])[0] == pytest.approx([0.75, 0.75, 0.5, 0.25, 0.0])
    assert showers.hits(energy, 1.0)[0] == 2
    counts = showers.spectrum(energy, np.array([0.5, 1.0, 4.0, 6.0]))
    assert counts.tolist() == [[0.0, 2.0, 1.0]]
    assert showers.hottest(energy, 2).tolist() == [[6.0, 3.0]]


@given(st.integers(0, 2**32 - 1))
def test_counting_agrees_with_numpy_histograms(seed):
    rng = np.random.default_rng(seed)
    energy = rng.gamma(0.2, size=(3, 50)).astype(np.float32)
    edges = np.geomspace(1e-4, 5, 12)
    counts = showers.spectrum(energy, edges)
    profile = showers.radial_profile(energy, np.arange(50.0), np.arange(0.0, 51.0, 5.0))
    for row in range(3):
        assert counts[row].tolist() == np.histogram(energy[row], edges)[0].tolist()
    assert profile.sum(axis=1) == pytest.approx(np.ones(3))


def test_containment_radius_of_a_gaussian_shower():
    x, y = showers.grid((121, 121), 2.0)
    energy = np.exp(-0.5 * (x**2 + y**2) / 20.0**2)[None]
    radius = np.hypot(x, y)
    for contained in (0.5, 0.9):
        expected = 20.0 * np.sqrt(-2 * np.log(1 - contained))
        assert showers.containment_radius(energy, radius, contained)[0] == pytest.approx(expected, rel=0.01)
    assert showers.containment_radius(np.ones_like(energy), radius, 1.0)[0] == pytest.approx(radius.max(), rel=1e-3)


def test_public_width_is_wrong_off_the_diagonal():
    """The compatibility form agrees with the second moment of a round shower on the diagonal, and not elsewhere."""
    image, _, _ = tilted(0.0, along=30.0, across=30.0, centre=(0.0, 0.0))
    images = np.repeat(image.reshape(1, 61, 61), 2, axis=0)
    found = line_width(images, CELL, np.zeros((2, 2)), np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    assert found[0] == pytest.approx(30.0, rel=0.01)
    assert abs(found[1] / 30.0 - 1) > 0.5


def test_layers_of_calogan_follow_their_definitions():
    energies = np.array([[2.0, 6.0, 0.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert calogan.depth(energies).tolist() == [1, 2, 0]
    assert calogan.depth_weighted(energies).tolist() == [6.0, 8.0, 0.0]
    assert calogan.shower_depth(energies) == pytest.approx([0.75, 8 / 6, 0.0])
    # <i^2> of the second row is (2 + 12) / 6.
    assert calogan.shower_depth_width(energies) == pytest.approx([np.sqrt(0.75 - 0.75**2), np.sqrt(14 / 6 - 16 / 9), 0])
    layer = np.zeros((1, 3, 4))
    layer[0, 0, 1], layer[0, 2, 3] = 3.0, 1.0
    # Rows at -160, 0 and 160 mm.
    assert calogan.lateral_width(layer)[0] == pytest.approx(160 * np.sqrt(1 - 0.25))
    assert calogan.two_cell_ratio(layer)[0] == pytest.approx(0.5)
    assert calogan.cell_sparsity(layer)[0] == pytest.approx(2 / 12)
    assert calogan.layer_energies([layer, 2 * layer]).tolist() == [[4.0, 8.0]]


def test_response_and_resolution_errors_cover_repeated_samples():
    rng = np.random.default_rng(11)
    means, spreads, errors = [], [], []
    for _ in range(400):
        energy = rng.uniform(1, 3, 800)
        response = np.where(energy < 2, rng.normal(0.8, 0.08, 800), rng.normal(1.1, 0.05, 800))
        found = binned_response(response, energy, [1, 2, 3])
        means.append(found.mean)
        spreads.append(found.resolution)
        errors.append((found.mean_error, found.resolution_error))
    assert np.mean(means, axis=0) == pytest.approx([0.8, 1.1], abs=1e-3)
    assert np.mean(spreads, axis=0) == pytest.approx([0.1, 0.05 / 1.1], rel=0.01)
    stated = np.sqrt(np.mean(np.square(errors), axis=0))
    # Spread of 400 repetitions: known to 3.5 %.
    assert np.std(means, axis=0) == pytest.approx(stated[0], rel=0.15)
    assert np.std(spreads, axis=0) == pytest.approx(stated[1], rel=0.15)


def test_bins_without_rows_have_no_response():
    found = binned_response([0.9, 1.0, 1.1], [1.0, 1.0, 5.0], [0, 2, 4, 6])
    assert found.rows.tolist() == [2, 0, 1]
    assert np.isnan(found.mean).tolist() == [False, True, True]
    with pytest.raises(ConfigError, match="ascending"):
        binned_response([1.0], [1.0], [2, 1])
    with pytest.raises(ShapeError, match="equal"):
        binned_response([1.0], [1.0, 2.0], [0, 3])


def test_central_moments_leave_out_the_tail():
    rng = np.random.default_rng(5)
    values = np.r_[rng.normal(10, 1, 9000), rng.uniform(20, 100, 500)]
    mean, spread = central_moments(values, 0.9)
    assert mean == pytest.approx(10, abs=0.1)
    assert spread < 1.0


def test_longitudinal_profile_sums_to_one():
    rng = np.random.default_rng(6)
    energy = rng.gamma(1.0, size=(4, 5, 2, 3))
    found = longitudinal_profile(energy)
    assert found.shape == (4, 5)
    assert found.sum(axis=1) == pytest.approx(np.ones(4))
    assert found[2, 3] == pytest.approx(energy[2, 3].sum() / energy[2].sum())


def test_impact_points_are_taken_in_their_unit():
    image, *_ = tilted(0.0, side=61)
    found = {}
    for unit, size in (("mm", 1.0), ("cm", 0.1)):
        condition = (*(Field(n, "GeV") for n in ("px", "py", "pz")), Field("x", unit), Field("y", unit))
        schema = Schema(condition, (Field("energy", "GeV", (61, 61)),))
        columns = {
            "px": [0.0],
            "py": [0.0],
            "pz": [5.0],
            "x": [7.0 * size],
            "y": [-13.0 * size],
            "energy": image.reshape(1, 61, 61),
        }
        sample = Sample(schema, {name: np.asarray(value) for name, value in columns.items()})
        found[unit] = EcalObservables(schema, EcalConfig(cell=CELL)).compute(sample)
    for name in ("shift_x", "shift_y", "asymmetry_across"):
        assert found["cm"][name] == pytest.approx(found["mm"][name])
    assert found["cm"]["shift_x"][0] == pytest.approx(0.0, abs=0.05)
    odd = Schema((*condition[:3], Field("x", "GeV"), Field("y", "mm")), schema.response)
    with pytest.raises(
        ConfigError, match="observables ecal: conditions x and y: unit 'GeV' cannot be converted to 'mm'"
    ):
        EcalObservables(odd)
