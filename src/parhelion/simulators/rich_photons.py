"""One collision in the RICH detectors: tracks, photons, pixel hits (compiled).

A photon lands in the plane of photon directions at the track's direction plus the Cherenkov angle in a random azimuth:
the mirrors focus parallel light to one point, so a ring is a circle of radius theta_c around the track.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from parhelion.simulators.rich_constants import Environment, PhaseSpace, Radiator
from parhelion.simulators.rich_random import (
    State,
    compiled,
    exponential,
    gamma,
    normal,
    poisson,
    uniform,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ELECTRON, MUON, PION, KAON, PROTON = range(5)
_LOSS_NONE, _LOSS_FIRST, _LOSS_SECOND = range(3)


@compiled
def cherenkov_angle(p: float, mass: float, index: float) -> float:
    """Cherenkov angle [rad], cos(theta) = 1 / (n beta); 0 below threshold. `p` and `mass` in GeV."""
    cosine = math.sqrt(p * p + mass * mass) / (p * index)
    return math.acos(cosine) if cosine < 1.0 else 0.0


@compiled
def acceptance(p: float, eta: float, radiator: Radiator) -> float:
    """Share of a ring that the detector sees, 0 to 1: a function of P [GeV] and ETA alone, linear near the edges."""
    angle = 2.0 * math.atan(math.exp(-eta))
    if angle <= radiator.angle_min or angle >= radiator.angle_max or p <= radiator.p_min:
        return 0.0
    inner = (angle - radiator.angle_min) / (0.25 * radiator.angle_min) + 0.4
    outer = (radiator.angle_max - angle) / (0.12 * radiator.angle_max) + 0.4
    return min(1.0, inner, outer)


@compiled
def expected_photons(theta: float, accepted: float, radiator: Radiator) -> float:
    """Expected photons of a ring: proportional to sin^2(theta) (Frank and Tamm)."""
    return radiator.photons * accepted * math.sin(theta) ** 2 / (1.0 - 1.0 / radiator.refraction**2)


@compiled
def draw_probe(state: State, space: PhaseSpace) -> tuple[float, float]:
    """Momentum [GeV] and pseudorapidity of a probe track, both representable in single precision."""
    while True:
        eta = space.eta_low + (space.eta_high - space.eta_low) * uniform(state)
        if uniform(state) < space.flat_share:
            p = space.p_low * (space.p_high / space.p_low) ** uniform(state)
        else:
            p = space.pt_median * math.exp(space.pt_spread * normal(state)) * math.cosh(eta)
        p, eta = np.float64(np.float32(p)), np.float64(np.float32(eta))
        if space.p_low < p < space.p_high and p > space.pt_low * math.cosh(eta):
            return p, eta


@compiled
def draw_species(state: State, environment: Environment) -> int:
    """Species of a track of the underlying event."""
    u = uniform(state)
    if u < environment.pion:
        return PION
    u -= environment.pion
    if u < environment.kaon:
        return KAON
    u -= environment.kaon
    if u < environment.proton:
        return PROTON
    return ELECTRON if u - environment.proton < environment.electron else MUON


@compiled
def draw_underlying(state: State) -> tuple[float, float]:
    """Momentum [GeV] and pseudorapidity of an underlying-event track: exponential pT above 0.15 GeV, mean 0.6 GeV."""
    eta = 1.8 + 3.4 * uniform(state)
    pt = 0.15 + exponential(state, 0.45)
    return min(max(pt * math.cosh(eta), 1.0), 250.0), eta


@compiled
def draw_track_count(state: State, probes: int, environment: Environment) -> tuple[int, int]:
    """Number of tracks of a collision (nTracks), and how many of them cross the RICH detectors (more than `probes`)."""
    drawn = gamma(state, environment.tracks_shape, environment.tracks_mean)
    count = int(min(max(drawn, environment.tracks_min, 2.0 * probes), environment.tracks_max))
    crossing = 0
    for _ in range(count):
        if uniform(state) < environment.long_fraction:
            crossing += 1
    return count, max(crossing, probes + 1)


@compiled
def draw_fate(
    state: State, p: float, species: int, masses: Floats, ctau: Floats, environment: Environment
) -> tuple[int, int, float]:
    """What befalls a track: where its ring is lost, where it decays (0 nowhere, 1 RICH1, 2 RICH2), its kick [rad]."""
    loss, decay, kick = _LOSS_NONE, _LOSS_NONE, 0.0
    if species < PION:
        return loss, decay, kick
    u = uniform(state)
    if u < environment.lost_first:
        loss = _LOSS_FIRST
    elif u < environment.lost_first + environment.lost_second:
        loss = _LOSS_SECOND
    if ctau[species] > 0.0:
        rate = masses[species] / (p * ctau[species])
        u = uniform(state)
        first = 1.0 - math.exp(-environment.decay_first * rate)
        if u < first:
            decay = _LOSS_FIRST
        elif u < first + 1.0 - math.exp(-environment.decay_second * rate):
            decay = _LOSS_SECOND
    if uniform(state) < environment.wrong_probability:
        kick = environment.wrong_kick / p
    return loss, decay, kick


@compiled
def throw_ring(
    state: State,
    x: float,
    y: float,
    theta: float,
    mean: float,
    spread: float,
    radiator: Radiator,
    environment: Environment,
    grid: npt.NDArray[np.bool_],
    hits: Floats,
    count: int,
) -> int:
    """Throw the photons of one ring on the pixels.

    Parameters
    ----------
    state
        Random state.
    x, y
        Ring centre [rad].
    theta
        Radius [rad].
    mean
        Expected photons.
    spread
        Gaussian resolution of one photon's radius [rad].
    radiator, environment
        Constants.
    grid
        Which pixels have a hit, shape (side, side).
    hits
        Centres of the pixels hit [rad], shape (capacity, 2); the first `count` rows are filled.
    count
        Hits so far.

    Returns
    -------
    int
        Hits now.
    """
    side = grid.shape[0]
    for _ in range(poisson(state, mean)):
        azimuth = 2.0 * math.pi * uniform(state)
        width = spread
        if uniform(state) < environment.photon_tail:
            width = environment.photon_tail_width * radiator.sigma
        radius = theta + width * normal(state)
        column = math.floor((x + radius * math.cos(azimuth) + radiator.half_size) / radiator.pixel)
        row = math.floor((y + radius * math.sin(azimuth) + radiator.half_size) / radiator.pixel)
        if 0 <= column < side and 0 <= row < side and not grid[column, row]:
            grid[column, row] = True
            hits[count, 0] = (column + 0.5) * radiator.pixel - radiator.half_size
            hits[count, 1] = (row + 0.5) * radiator.pixel - radiator.half_size
            count += 1
    return count


@compiled
def throw_clutter(
    state: State, mean: float, radiator: Radiator, grid: npt.NDArray[np.bool_], hits: Floats, count: int
) -> int:
    """Throw hits without a ring, evenly over the plane; arguments and result as in `throw_ring`."""
    side = grid.shape[0]
    for _ in range(poisson(state, mean)):
        column, row = int(side * uniform(state)), int(side * uniform(state))
        if not grid[column, row]:
            grid[column, row] = True
            hits[count, 0] = (column + 0.5) * radiator.pixel - radiator.half_size
            hits[count, 1] = (row + 0.5) * radiator.pixel - radiator.half_size
            count += 1
    return count


@compiled
def clear_grid(grid: npt.NDArray[np.bool_], hits: Floats, count: int, radiator: Radiator) -> None:
    """Empty the pixels of the first `count` hits (cheaper than all pixels)."""
    for i in range(count):
        column = int((hits[i, 0] + radiator.half_size) / radiator.pixel)
        row = int((hits[i, 1] + radiator.half_size) / radiator.pixel)
        grid[column, row] = False
