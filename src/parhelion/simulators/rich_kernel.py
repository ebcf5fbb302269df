"""From a range of collision numbers to probe tracks with their DLLs (compiled)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from parhelion.simulators.rich_constants import Environment, PhaseSpace, Radiator
from parhelion.simulators.rich_likelihood import (
    CELLS,
    add_likelihood,
    choose_best,
    expect_background,
    find_pairs,
    sort_hits,
)
from parhelion.simulators.rich_photons import (
    ELECTRON,
    MUON,
    PION,
    acceptance,
    cherenkov_angle,
    clear_grid,
    draw_fate,
    draw_probe,
    draw_species,
    draw_track_count,
    draw_underlying,
    expected_photons,
    throw_clutter,
    throw_ring,
)
from parhelion.simulators.rich_random import (
    State,
    compiled,
    exponential,
    normal,
    poisson,
    seed_state,
    uniform,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_ITERATIONS = 2
_PAIRS = 1 << 15


@compiled
def _throw_tracks(
    state: State,
    r: int,
    radiator: Radiator,
    environment: Environment,
    masses: Floats,
    p: Floats,
    eta: Floats,
    phi: Floats,
    species: Integers,
    fate: Integers,
    kick: Floats,
    ring_error: Floats,
    directions: Floats,
    theta: Floats,
    mu: Floats,
    grid: npt.NDArray[np.bool_],
    hits: Floats,
) -> int:
    """Photons of all tracks in detector `r`; fills `directions`, `theta`, `mu` with what the likelihood knows."""
    rest = math.sqrt(radiator.sigma**2 - radiator.sigma_track**2 - radiator.pixel**2 / 12.0)
    count = 0
    for j in range(len(p)):
        angle = 2.0 * math.atan(math.exp(-eta[j]))
        x, y = angle * math.cos(phi[j]), angle * math.sin(phi[j])
        error = math.sqrt(radiator.sigma_track**2 + (radiator.scattering / p[j]) ** 2)
        width = math.sqrt(error**2 + kick[j] ** 2)
        directions[j, 0] = x + width * normal(state)
        directions[j, 1] = y + width * normal(state)
        accepted = acceptance(p[j], eta[j], radiator)
        for h in range(5):
            theta[j, h] = cherenkov_angle(p[j], masses[h], radiator.refraction)
            mu[j, h] = expected_photons(theta[j, h], accepted, radiator)
        if accepted <= 0.0:
            continue
        true_p = p[j] * (1.0 + environment.momentum_error * normal(state))
        mass = masses[species[j]]
        if fate[j, 1] == 1 or fate[j, 1] == r + 1:
            true_p, mass = environment.decay_fraction * true_p, masses[MUON]
        kept = 1.0
        if fate[j, 0] == r + 1:
            kept = uniform(state)
        elif fate[j, 0] == 1:
            kept = 0.0
        angle = cherenkov_angle(true_p, mass, radiator.refraction)
        if angle > 0.0 and kept > 0.0:
            light = max(0.2, 1.0 + environment.yield_spread * normal(state))
            mean = kept * light * expected_photons(angle, accepted, radiator)
            angle += radiator.ring_bias + radiator.sigma_ring * ring_error[j] * normal(state)
            count = throw_ring(state, x, y, angle, mean, rest, radiator, environment, grid, hits, count)
    return count


@compiled
def _throw_conversions(
    state: State,
    number: int,
    radiator: Radiator,
    environment: Environment,
    masses: Floats,
    grid: npt.NDArray[np.bool_],
    hits: Floats,
    count: int,
) -> int:
    """Rings of electrons without a track: mean momentum 3.3 GeV."""
    rest = math.sqrt(radiator.sigma**2 - radiator.sigma_track**2 - radiator.pixel**2 / 12.0)
    for _ in range(number):
        eta = 1.8 + 3.4 * uniform(state)
        p, phi = 0.3 + exponential(state, 3.0), 2.0 * math.pi * uniform(state)
        accepted = acceptance(p, eta, radiator)
        if accepted > 0.0:
            angle = 2.0 * math.atan(math.exp(-eta))
            theta = cherenkov_angle(p, masses[ELECTRON], radiator.refraction)
            mean = expected_photons(theta, accepted, radiator)
            x, y = angle * math.cos(phi), angle * math.sin(phi)
            count = throw_ring(state, x, y, theta, mean, rest, radiator, environment, grid, hits, count)
    return count


@compiled
def simulate_collisions(
    seed: np.uint64,
    first_collision: int,
    condition: Floats,
    category: Integers,
    response: Floats,
    probes: int,
    signal_share: float,
    spaces: tuple[PhaseSpace, ...],
    mixture: Floats,
    masses: Floats,
    ctau: Floats,
    radiators: tuple[Radiator, ...],
    environment: Environment,
) -> None:
    """Simulate collisions and fill `condition`, `category` and `response`, `probes` rows each.

    Parameters
    ----------
    seed
        Seed; with the collision number it fixes all random numbers of a collision.
    first_collision
        Number of the first collision.
    condition
        Filled with P [GeV], ETA, nTracks; shape (collisions * probes, 3).
    category
        Filled with calibration line, true species (0 to 4) and whether it is signal (0, 1); same rows, 3 columns.
    response
        Filled with DLLs of e, mu, K, p and below threshold, relative to the pion; same rows, 5 columns.
    probes
        Probe tracks a collision.
    signal_share
        Probability that a probe is of its line's species; otherwise it is background.
    spaces
        Phase space of the five lines, and of the background.
    mixture
        Cumulative shares of the species in the background, shape (5,).
    masses, ctau
        Masses [GeV] and mean proper decay lengths [m], 0 if stable, shape (5,).
    radiators, environment
        Constants.
    """
    state = np.empty(4, np.uint64)
    side = np.empty(2, np.int64)
    for r in range(2):
        side[r] = int(2.0 * radiators[r].half_size / radiators[r].pixel) + 1
    grids = (np.zeros((side[0], side[0]), np.bool_), np.zeros((side[1], side[1]), np.bool_))
    # A hit takes a pixel of its own, so there are never more hits than pixels.
    hits = np.empty((side.max() ** 2, 2))
    expected = np.empty(side.max() ** 2)
    ordered = (np.empty((side[0] ** 2, 2)), np.empty((side[1] ** 2, 2)))
    first = np.zeros((2, CELLS * CELLS + 1), np.int64)
    background = np.empty(CELLS * CELLS)
    pair_hit = [np.empty(_PAIRS, np.int64), np.empty(_PAIRS, np.int64)]
    pair_signal = [np.empty((_PAIRS, 5)), np.empty((_PAIRS, 5))]
    for start in range(0, len(condition), probes):
        seed_state(state, seed, np.uint64(first_collision + start // probes))
        count, tracks = draw_track_count(state, probes, environment)
        p, eta, phi = np.empty(tracks), np.empty(tracks), np.empty(tracks)
        species, kick, ring_error = np.empty(tracks, np.int64), np.empty(tracks), np.empty(tracks)
        fate = np.empty((tracks, 2), np.int64)
        for j in range(tracks):
            if j < probes:
                line = int(5.0 * uniform(state))
                species[j], signal, space = line, 1, line
                if uniform(state) >= signal_share:
                    signal, space, u = 0, 5, uniform(state)
                    species[j] = 0
                    while u > mixture[species[j]]:
                        species[j] += 1
                for s in range(6):
                    if s == space:
                        p[j], eta[j] = draw_probe(state, spaces[s])
                condition[start + j, 0], condition[start + j, 1] = p[j], eta[j]
                condition[start + j, 2] = count
                category[start + j, 0], category[start + j, 1] = line, species[j]
                category[start + j, 2] = signal
            else:
                species[j] = draw_species(state, environment)
                p[j], eta[j] = draw_underlying(state)
            phi[j] = 2.0 * math.pi * uniform(state)
            fate[j, 0], fate[j, 1], kick[j] = draw_fate(state, p[j], species[j], masses, ctau, environment)
            ring_error[j] = environment.ring_tail_width if uniform(state) < environment.ring_tail else 1.0
        conversions = poisson(state, environment.conversions * count)
        directions = np.empty((2, tracks, 2))
        theta, mu = np.empty((2, tracks, 5)), np.empty((2, tracks, 5))
        pair_start = np.zeros((2, tracks + 1), np.int64)
        for r in range(2):
            radiator, grid = radiators[r], grids[r]
            n = _throw_tracks(
                state, r, radiator, environment, masses, p, eta, phi, species, fate, kick, ring_error,
                directions[r], theta[r], mu[r], grid, hits,
            )  # fmt: skip
            n = _throw_conversions(state, conversions, radiator, environment, masses, grid, hits, n)
            clutter = radiator.clutter + radiator.clutter_per_track * count
            n = throw_clutter(state, clutter, radiator, grid, hits, n)
            clear_grid(grid, hits, n, radiator)
            sort_hits(hits, n, radiator, ordered[r], first[r])
            pairs = 0
            for j in range(tracks):
                if mu[r, j, ELECTRON] > 0.0:
                    pair_hit[r], pair_signal[r], pairs = find_pairs(
                        j, directions[r, j, 0], directions[r, j, 1], theta[r], mu[r], radiator, ordered[r],
                        first[r], pair_hit[r], pair_signal[r], pairs,
                    )  # fmt: skip
                pair_start[r, j + 1] = pairs
        best = np.full(tracks, PION, np.int64)
        likelihood = np.empty((tracks, 5))
        for iteration in range(_ITERATIONS):
            last = iteration == _ITERATIONS - 1
            likelihood[:] = 0.0
            for r in range(2):
                expect_background(
                    directions[r], theta[r], mu[r], best, radiators[r], first[r],
                    environment.background_floor, background,
                )  # fmt: skip
                add_likelihood(
                    probes if last else tracks, mu[r], best, first[r], background, pair_start[r],
                    pair_hit[r], pair_signal[r], expected, likelihood,
                )  # fmt: skip
            if not last:
                choose_best(likelihood, best)
        for j in range(probes):
            pion = likelihood[j, PION]
            response[start + j, 0] = likelihood[j, 0] - pion
            response[start + j, 1] = likelihood[j, 1] - pion
            response[start + j, 2] = likelihood[j, 3] - pion
            response[start + j, 3] = likelihood[j, 4] - pion
            response[start + j, 4] = -pion
