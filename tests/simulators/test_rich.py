from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest

from parhelion.errors import ConfigError, MissingDependencyError
from parhelion.sample import Sample, concatenate
from parhelion.simulators import rich
from parhelion.simulators import rich_constants as constants

pytest.importorskip("numba")

from parhelion.simulators import rich_photons as photons
from parhelion.simulators import rich_random as random


@pytest.fixture(scope="module")
def plain() -> Sample:
    return concatenate(rich.simulate(20_000, seed=11))


@pytest.fixture(scope="module")
def calibration() -> Sample:
    return concatenate(rich.simulate(20_000, seed=12, calibration=True))


def auc(positive, negative) -> float:
    """Probability that a positive lies above a negative, ties counting half."""
    order = np.sort(negative)
    below = np.searchsorted(order, positive, side="left") + np.searchsorted(order, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


def select(sample: Sample, pid: int, low: float, high: float):
    known = (sample.response != 0).any(axis=1)
    return known & (sample["pid"] == pid) & (sample["P"] > low) & (sample["P"] < high)


class TestReproducible:
    @pytest.mark.parametrize(("processes", "chunk"), [(1, 700), (2, 10_000), (3, 1), (2, 2999)])
    def test_rows_do_not_depend_on_processes_or_chunk(self, processes, chunk):
        n = 700 if chunk == 1 else 3000
        one = concatenate(rich.simulate(n, seed=5, processes=1, chunk=50_000, calibration=True))
        parts = list(rich.simulate(n, seed=5, processes=processes, chunk=chunk, calibration=True))
        assert [len(p) for p in parts] == [chunk] * (n // chunk) + ([n % chunk] if n % chunk else [])
        other = concatenate(parts)
        for name, column in one.columns.items():
            assert column.dtype == other[name].dtype
            np.testing.assert_array_equal(column, other[name])
        np.testing.assert_array_equal(one.event_id, other.event_id)
        np.testing.assert_array_equal(one.group, other.group)

    def test_a_later_range_continues_an_earlier_one(self):
        whole = concatenate(rich.simulate(500, seed=5))
        tail = concatenate(rich.simulate(293, seed=5, first=207))
        np.testing.assert_array_equal(whole.response[207:], tail.response)
        np.testing.assert_array_equal(whole.event_id[207:], tail.event_id)
        np.testing.assert_array_equal(whole.group[207:], tail.group)

    def test_seeds_differ(self):
        a, b = (next(rich.simulate(100, seed=s)) for s in (1, 2))
        assert (a["P"] != b["P"]).all()

    def test_groups_are_collisions(self):
        sample = concatenate(rich.simulate(100, seed=5, tracks_per_event=8))
        np.testing.assert_array_equal(sample.event_id, np.arange(100))
        np.testing.assert_array_equal(sample.group, np.arange(100) // 8)
        for g in np.unique(sample.group):
            assert len(set(sample["nTracks"][sample.group == g])) == 1

    def test_progress_reaches_the_end(self):
        calls = []
        list(rich.simulate(1500, seed=5, progress=lambda done, total: calls.append((done, total))))
        assert calls[-1] == (1500, 1500)
        assert calls == sorted(calls)

    def test_a_reader_may_stop_early(self):
        stream = rich.simulate(10_000_000, seed=5, chunk=100)
        assert len(next(stream)) == 100
        stream.close()

    def test_first_rows_do_not_need_the_rest(self):
        """Memory is bounded: the first chunk of a huge run comes at once."""
        assert len(next(rich.simulate(2**50, seed=1, chunk=10))) == 10


class TestTies:
    """Exact equality of DLLs is a function of P and ETA, without exception in 40,000 tracks."""

    @pytest.mark.parametrize("mode", ["plain", "calibration"])
    def test_ties_follow_from_momentum_and_pseudorapidity(self, mode, request):
        sample = request.getfixturevalue(mode)
        above = rich.above_threshold(sample["P"], sample["ETA"])
        above = np.column_stack([above, np.zeros(len(sample), bool)])
        dll = np.insert(sample.response, 2, 0.0, axis=1)
        for i, j in itertools.combinations(range(6), 2):
            np.testing.assert_array_equal(dll[:, i] == dll[:, j], ~above[:, i] & ~above[:, j])
        zero = (sample.response == 0).all(axis=1)
        np.testing.assert_array_equal(zero, ~above[:, 0])
        assert 0.01 < zero.mean() < 0.06

    def test_single_precision_is_exact(self, plain):
        for name in ("P", "ETA", "RichDLLk"):
            assert plain[name].dtype == np.float32

    def test_known_patterns(self):
        eta_both, eta_second, outside = 3.5, 4.6, 5.2
        p = [5.0, 12.0, 18.0, 12.0, 16.0, 25.0, 50.0]
        eta = [eta_both] * 3 + [eta_second] * 3 + [outside]
        expected = [
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
            [1, 1, 1, 1, 1],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
            [1, 1, 1, 1, 0],
            [0, 0, 0, 0, 0],
        ]
        np.testing.assert_array_equal(rich.above_threshold(p, eta), np.array(expected, bool))


class TestCherenkov:
    def test_threshold_momenta(self):
        """m / sqrt(n^2 - 1), the values quoted for C4F10 and CF4."""
        found = {(t.hypothesis, t.detector): t.p for t in rich.thresholds()}
        assert found["K", 1] == pytest.approx(9.327, abs=2e-3)
        assert found["p", 1] == pytest.approx(17.726, abs=2e-3)
        assert found["K", 2] == pytest.approx(15.610, abs=2e-3)
        assert found["p", 2] == pytest.approx(29.667, abs=2e-3)
        assert found["pi", 1] == pytest.approx(2.637, abs=2e-3)
        assert found["pi", 2] == constants.RICH2.p_min

    def test_pseudorapidity_ranges(self):
        (low1, high1), (low2, high2) = (r.eta_range for r in constants.RADIATORS)
        assert (low1, high1) == pytest.approx((1.89, 4.38), abs=0.01)
        assert (low2, high2) == pytest.approx((2.90, 4.89), abs=0.01)

    def test_saturated_angles(self):
        """53 mrad and 32 mrad, as published."""
        angles = [photons.cherenkov_angle(1e4, constants.MASSES[2], r.refraction) for r in constants.RADIATORS]
        assert angles[0] == pytest.approx(52.9e-3, abs=2e-4)
        assert angles[1] == pytest.approx(31.6e-3, abs=2e-4)

    @pytest.mark.parametrize("radiator", constants.RADIATORS)
    @pytest.mark.parametrize("mass", constants.MASSES)
    def test_angle_starts_at_the_threshold(self, radiator, mass):
        threshold = radiator.threshold(mass)
        assert photons.cherenkov_angle(0.999 * threshold, mass, radiator.refraction) == 0.0
        assert photons.cherenkov_angle(1.001 * threshold, mass, radiator.refraction) > 0.0

    @pytest.mark.parametrize("p", [3.0, 10.0, 40.0, 100.0])
    def test_yield_follows_the_threshold_law(self, p):
        """N / N_saturated = 1 - (p_threshold / p)^2, which sin^2(theta) of cos(theta) = 1 / (n beta) implies."""
        for radiator, mass in itertools.product(constants.RADIATORS, constants.MASSES):
            theta = photons.cherenkov_angle(p, mass, radiator.refraction)
            expected = max(0.0, 1.0 - (radiator.threshold(mass) / p) ** 2) * radiator.photons
            assert photons.expected_photons(theta, 1.0, radiator) == pytest.approx(expected, rel=1e-6, abs=1e-6)

    def test_photons_lie_on_the_ring(self):
        """Mean radius and spread of thrown photons agree with angle and resolution within 5 standard errors."""
        radiator = constants.RICH1
        environment = constants.ENVIRONMENT._replace(photon_tail=0.0)
        state = np.empty(4, np.uint64)
        random.seed_state(state, np.uint64(3), np.uint64(0))
        side = int(2 * radiator.half_size / radiator.pixel) + 1
        radii = []
        for _ in range(300):
            grid, hits = np.zeros((side, side), np.bool_), np.empty((1000, 2))
            n = photons.throw_ring(state, 0.1, -0.05, 0.05, 25.0, 1e-3, radiator, environment, grid, hits, 0)
            radii.append(np.hypot(hits[:n, 0] - 0.1, hits[:n, 1] + 0.05))
        counts, radius = [len(r) for r in radii], np.concatenate(radii)
        # Photons that share a pixel count once, about 1.5 % of them.
        assert np.mean(counts) == pytest.approx(25.0, abs=5 * 5 / math.sqrt(300) + 0.6)
        spread = math.sqrt(1e-6 + radiator.pixel**2 / 12)
        assert radius.mean() == pytest.approx(0.05, abs=5 * spread / math.sqrt(len(radius)) + 2e-5)
        assert radius.std() == pytest.approx(spread, rel=0.06)


class TestRandom:
    def test_xoshiro_reference(self):
        """First outputs of xoshiro256++ from state (1, 2, 3, 4), as in the generators of other libraries."""
        state = np.array([1, 2, 3, 4], np.uint64)
        words = [41943041, 58720359, 3588806011781223, 3591011842654386]
        for word in words:
            assert random.uniform(state) == ((word >> 12) + 0.5) * 2.0**-52

    def test_moments(self):
        """Mean and variance within 4.5 standard errors: a false alarm once in 10,000 seeds."""
        state = np.empty(4, np.uint64)
        random.seed_state(state, np.uint64(7), np.uint64(8))
        n = 20_000
        for draw, mean, variance in (
            (lambda: random.uniform(state), 0.5, 1 / 12),
            (lambda: random.normal(state), 0.0, 1.0),
            (lambda: random.exponential(state, 2.0), 2.0, 4.0),
            (lambda: random.poisson(state, 3.0), 3.0, 3.0),
            (lambda: random.poisson(state, 700.0), 700.0, 700.0),
            (lambda: random.gamma(state, 3.6, 180.0), 180.0, 180.0**2 / 3.6),
        ):
            x = np.array([draw() for _ in range(n)])
            assert abs(x.mean() - mean) < 4.5 * math.sqrt(variance / n)
            assert x.var() == pytest.approx(variance, rel=0.1)

    def test_no_photons_without_light(self):
        state = np.array([1, 2, 3, 4], np.uint64)
        assert random.poisson(state, 0.0) == 0


class TestPhysics:
    def test_sign_of_the_dlls(self, plain):
        for pid, name in ((321, "RichDLLk"), (2212, "RichDLLp")):
            own = plain[name][select(plain, pid, 20, 30)]
            pions = plain[name][select(plain, 211, 20, 30)]
            assert (own > 0).mean() > 0.95
            assert (pions > 0).mean() < 0.06

    def test_separation_falls_with_momentum(self, plain):
        bins = [(20, 35), (45, 65), (75, 100), (115, 150)]
        values = [
            auc(plain["RichDLLk"][select(plain, 321, *b)], plain["RichDLLk"][select(plain, 211, *b)]) for b in bins
        ]
        assert values[0] > 0.98
        assert all(a > b + 0.01 for a, b in itertools.pairwise(values))
        assert values[-1] > 0.5

    def test_electrons_stand_out_at_low_momentum(self, plain):
        assert auc(plain["RichDLLe"][select(plain, 11, 3, 8)], plain["RichDLLe"][select(plain, 211, 3, 8)]) > 0.95

    def test_busier_collisions_separate_worse(self, plain):
        quiet, busy = plain["nTracks"] < 130, plain["nTracks"] > 220
        kaon, pion = select(plain, 321, 20, 80), select(plain, 211, 20, 80)
        dll = plain["RichDLLk"]
        assert auc(dll[kaon & quiet], dll[pion & quiet]) > auc(dll[kaon & busy], dll[pion & busy]) + 0.01

    def test_conditions_do_not_tell_the_species(self, plain):
        """Outside the calibration mode all species share one phase space: AUC of P is 0.5 within 4 standard errors."""
        kaon, pion = plain["P"][plain["pid"] == 321], plain["P"][plain["pid"] == 211]
        error = math.sqrt(1 / 12 * (1 / len(kaon) + 1 / len(pion)))
        assert abs(auc(kaon, pion) - 0.5) < 4 * error


class TestCalibration:
    def test_signal_share_and_windows(self, calibration):
        assert calibration.schema == rich.CALIBRATION_SCHEMA
        for pid, line in rich.CALIBRATION_LINES.items():
            rows = calibration["pid"] == pid
            assert calibration["is_signal"][rows].mean() == pytest.approx(0.6, abs=0.03)
            mass = calibration["mass"][rows]
            assert line.model.window[0] <= mass.min()
            assert mass.max() <= line.model.window[1]

    def test_masses_follow_the_declared_shapes(self, calibration):
        """Kolmogorov-Smirnov distance, ten tests at p > 1e-4 each: false alarms once in 1,000 seeds."""
        from scipy.stats import kstest

        for pid, line in rich.CALIBRATION_LINES.items():
            for signal, shape in ((1, line.model.signal), (0, line.model.background)):
                mass = calibration["mass"][(calibration["pid"] == pid) & (calibration["is_signal"] == signal)]
                values = [line.truth[name] for name in shape.parameters]
                window = line.model.window
                assert kstest(mass, lambda x, s=shape, v=values, w=window: s.cdf(x, w, v)).pvalue > 1e-4

    def test_mass_is_independent_of_the_dlls_in_each_component(self, calibration):
        """Rank correlation with DLLs and P below 4 standard errors in each of 10 components: 1 false alarm in 500."""
        from scipy.stats import spearmanr

        for pid, signal in itertools.product(rich.CALIBRATION_LINES, (0, 1)):
            rows = (calibration["pid"] == pid) & (calibration["is_signal"] == signal)
            for name in ("RichDLLk", "RichDLLe", "P"):
                rank = spearmanr(calibration["mass"][rows], calibration[name][rows]).statistic
                assert abs(rank) < 4 / math.sqrt(rows.sum())

    def test_background_is_other_particles(self, calibration):
        """Background under the kaon line is mostly pions, so its DLLk is mostly negative."""
        rows = select(calibration, 321, 20, 40)
        signal = calibration["is_signal"] == 1
        dll = calibration["RichDLLk"]
        assert (dll[rows & signal] > 0).mean() > 0.93
        assert (dll[rows & ~signal] > 0).mean() < 0.4

    def test_species_differ_in_phase_space(self, calibration):
        signal = calibration["is_signal"] == 1
        medians = [np.median(calibration["P"][signal & (calibration["pid"] == pid)]) for pid in (13, 2212)]
        assert medians[0] > 1.1 * medians[1]

    def test_optimal_weights_are_negative_often_enough(self, calibration):
        """sWeights from the true shapes (Pivk and Le Diberder, NIM A 555 (2005) 356, eqs. 10 and 11)."""
        for pid, line in rich.CALIBRATION_LINES.items():
            mass = calibration["mass"][calibration["pid"] == pid]
            f = line.model.densities(mass, line.truth)
            share = f / (f @ [0.6, 0.4])[:, None]
            weight = share @ np.linalg.inv(share.T @ share / len(mass))[:, 0]
            assert 0.15 < (weight < 0).mean() < 0.5


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n": 0}, "n is 0, expected a number from 1"),
            ({"n": -5}, "n is -5"),
            ({"seed": -1}, "seed is -1, expected a number from 0"),
            ({"seed": 2**64}, "seed is 18446744073709551616"),
            ({"processes": 0}, "processes is 0"),
            ({"chunk": 0}, "chunk is 0"),
            ({"tracks_per_event": 0}, "tracks_per_event is 0"),
            ({"tracks_per_event": 101}, "tracks_per_event is 101, expected a number from 1 to 100"),
            ({"first": -1}, "first is -1"),
        ],
    )
    def test_refused_at_once(self, change, message):
        arguments = {"n": 10, "seed": 1} | change
        with pytest.raises(ConfigError, match=message):
            rich.simulate(arguments.pop("n"), **arguments)

    def test_without_numba(self, monkeypatch):
        for name in [m for m in sys.modules if m.startswith("parhelion.simulators.rich_")]:
            if name.rsplit("_", 1)[1] in ("kernel", "photons", "likelihood", "random"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "numba", None)
        with pytest.raises(MissingDependencyError, match=r"needs numba; install it with: pip install"):
            rich.simulate(10, seed=1)

    def test_dense_and_sparse_collisions_work(self):
        for tracks in (1, 100):
            sample = concatenate(rich.simulate(300, seed=1, tracks_per_event=tracks))
            assert len(sample) == 300
