"""The global log-likelihood of both RICH detectors over all tracks of a collision (compiled).

ln L = - sum_j mu_j + sum_i ln(exp(sum_j a_ij + b_i) - 1), j over tracks, i over pixels with a hit, a_ij the photons
expected in pixel i from track j, b_i the background: R. Forty and O. Schneider, LHCb/98-040; [perf] section 5.1
(arXiv:1211.6759). Starting from pions for all tracks, every track is given its best hypothesis while the others are
kept, and this is repeated.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from parhelion.simulators.rich_constants import Radiator
from parhelion.simulators.rich_photons import PION
from parhelion.simulators.rich_random import compiled

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CELLS = 32
"""Cells along one side of the plane, for the search of hits and for the background."""
WINDOW = 4.0
"""Half width of a ring in units of the assumed resolution; photons beyond it are not counted as its own."""
_RING_POINTS = 16
_NEAREST = 5.0e-3
_SMALLEST = 1.0e-5
_TIE = 1.0e-9
_LARGE = 1.0e100


@compiled
def _cell(value: float, radiator: Radiator) -> int:
    return min(CELLS - 1, max(0, int((value + radiator.half_size) * (0.5 * CELLS / radiator.half_size))))


@compiled
def sort_hits(hits: Floats, count: int, radiator: Radiator, ordered: Floats, first: Integers) -> None:
    """Order hits by cell, row after row of cells.

    Parameters
    ----------
    hits
        Hit positions [rad], shape (capacity, 2).
    count
        Number of hits.
    radiator
        Constants.
    ordered
        Filled with the ordered positions, shape (capacity, 2).
    first
        Filled with the index of the first hit of each cell, shape (CELLS * CELLS + 1,).
    """
    first[:] = 0
    for i in range(count):
        first[_cell(hits[i, 1], radiator) * CELLS + _cell(hits[i, 0], radiator) + 1] += 1
    for c in range(CELLS * CELLS):
        first[c + 1] += first[c]
    for i in range(count):
        c = _cell(hits[i, 1], radiator) * CELLS + _cell(hits[i, 0], radiator)
        ordered[first[c], 0], ordered[first[c], 1] = hits[i, 0], hits[i, 1]
        first[c] += 1
    for c in range(CELLS * CELLS, 0, -1):
        first[c] = first[c - 1]
    first[0] = 0


@compiled
def grow(pair_hit: Integers, pair_signal: Floats) -> tuple[Integers, Floats]:
    """Twice as much room for pairs of track and hit."""
    size = len(pair_hit)
    more_hit, more_signal = np.empty(2 * size, np.int64), np.empty((2 * size, 5))
    more_hit[:size], more_signal[:size] = pair_hit, pair_signal
    return more_hit, more_signal


@compiled
def find_pairs(
    track: int,
    x: float,
    y: float,
    theta: Floats,
    mu: Floats,
    radiator: Radiator,
    ordered: Floats,
    first: Integers,
    pair_hit: Integers,
    pair_signal: Floats,
    count: int,
) -> tuple[Integers, Floats, int]:
    """Add the hits near the rings of one track, with the photons that each hypothesis expects in their pixels.

    Parameters
    ----------
    track
        Row of `theta` and `mu`.
    x, y
        Reconstructed ring centre [rad].
    theta, mu
        Cherenkov angle [rad] and expected photons of each hypothesis, shape (tracks, 5).
    radiator, ordered, first
        Constants, and the hits from `sort_hits`.
    pair_hit, pair_signal
        Hit index, shape (capacity,), and expected photons, shape (capacity, 5), of the pairs; the first `count` are
        filled.
    count
        Pairs so far.

    Returns
    -------
    tuple
        `pair_hit`, `pair_signal` (larger ones if needed) and the number of pairs now.
    """
    sigma = radiator.sigma_assumed
    low, high = 1.0, 0.0
    for h in range(5):
        if mu[track, h] > 0.0:
            low, high = min(low, theta[track, h]), max(high, theta[track, h])
    low, high = max(0.0, low - WINDOW * sigma), high + WINDOW * sigma
    density = radiator.pixel**2 / ((2.0 * math.pi) ** 1.5 * sigma)
    for row in range(_cell(y - high, radiator), _cell(y + high, radiator) + 1):
        bottom = row * 2.0 * radiator.half_size / CELLS - radiator.half_size
        nearest = max(0.0, bottom - y, y - bottom - 2.0 * radiator.half_size / CELLS)
        reach = math.sqrt(max(0.0, high * high - nearest * nearest))
        start = first[row * CELLS + _cell(x - reach, radiator)]
        stop = first[row * CELLS + _cell(x + reach, radiator) + 1]
        if count + stop - start > len(pair_hit):
            pair_hit, pair_signal = grow(pair_hit, pair_signal)
        for i in range(start, stop):
            dx, dy = ordered[i, 0] - x, ordered[i, 1] - y
            squared = dx * dx + dy * dy
            if low * low < squared < high * high:
                distance = math.sqrt(squared)
                scale = density / max(distance, _NEAREST)
                seen = False
                for h in range(5):
                    u = (distance - theta[track, h]) / sigma
                    if mu[track, h] > 0.0 and -WINDOW < u < WINDOW:
                        pair_signal[count, h] = mu[track, h] * scale * math.exp(-0.5 * u * u)
                        seen = True
                    else:
                        pair_signal[count, h] = 0.0
                if seen:
                    pair_hit[count] = i
                    count += 1
    return pair_hit, pair_signal, count


@compiled
def expect_background(
    directions: Floats,
    theta: Floats,
    mu: Floats,
    best: Integers,
    radiator: Radiator,
    first: Integers,
    floor: float,
    background: Floats,
) -> None:
    """Background in the pixels of each cell: hits less the photons expected from the tracks' best hypotheses.

    `directions` [rad] has shape (tracks, 2), `best` (tracks,), `background` (CELLS * CELLS,) is filled; the rest as in
    `find_pairs`.
    """
    for c in range(CELLS * CELLS):
        background[c] = first[c + 1] - first[c]
    for j in range(len(best)):
        photons, radius = mu[j, best[j]], theta[j, best[j]]
        if photons > 0.0:
            for q in range(_RING_POINTS):
                azimuth = 2.0 * math.pi * q / _RING_POINTS
                x = directions[j, 0] + radius * math.cos(azimuth)
                y = directions[j, 1] + radius * math.sin(azimuth)
                if abs(x) < radiator.half_size and abs(y) < radiator.half_size:
                    background[_cell(y, radiator) * CELLS + _cell(x, radiator)] -= photons / _RING_POINTS
    pixels = (2.0 * radiator.half_size / (CELLS * radiator.pixel)) ** 2
    for c in range(CELLS * CELLS):
        background[c] = max(background[c] / pixels, floor)


@compiled
def add_likelihood(
    tracks: int,
    mu: Floats,
    best: Integers,
    first: Integers,
    background: Floats,
    pair_start: Integers,
    pair_hit: Integers,
    pair_signal: Floats,
    expected: Floats,
    likelihood: Floats,
) -> None:
    """Add one detector's ln L to the first `tracks` rows of `likelihood`, relative to the track emitting no light.

    Parameters
    ----------
    tracks
        Tracks whose likelihood is wanted; all tracks contribute light.
    mu, best, first, background
        As in `expect_background`.
    pair_start
        First pair of each track, shape (all tracks + 1,).
    pair_hit, pair_signal
        From `find_pairs`.
    expected
        Room for the photons expected in each hit pixel, shape (capacity,).
    likelihood
        Shape (all tracks, 5), no unit.
    """
    for c in range(CELLS * CELLS):
        for i in range(first[c], first[c + 1]):
            expected[i] = background[c]
    for j in range(len(best)):
        for k in range(pair_start[j], pair_start[j + 1]):
            expected[pair_hit[k]] += pair_signal[k, best[j]]
    product = np.empty(5)
    for j in range(tracks):
        product[:] = 1.0
        for h in range(5):
            likelihood[j, h] -= mu[j, h]
        for k in range(pair_start[j], pair_start[j + 1]):
            others = max(expected[pair_hit[k]] - pair_signal[k, best[j]], _SMALLEST)
            for h in range(5):
                signal = pair_signal[k, h]
                if signal > 0.0:
                    # ln(e^(b+s) - 1) - ln(e^b - 1), with ln(e^x - 1) = ln x + x/2 + x^2/24 - x^4/2880 ...; the
                    # logarithms of many hits are taken at once.
                    product[h] *= 1.0 + signal / others
                    likelihood[j, h] += 0.5 * signal + signal * (2.0 * others + signal) / 24.0
                    if product[h] > _LARGE:
                        likelihood[j, h] += math.log(product[h])
                        product[h] = 1.0
        for h in range(5):
            likelihood[j, h] += math.log(product[h])


@compiled
def choose_best(likelihood: Floats, best: Integers) -> None:
    """Give every track its best hypothesis; the pion where hypotheses tie, as in LHCb's reconstruction."""
    for j in range(len(best)):
        best[j] = PION
        for h in range(5):
            if likelihood[j, h] > likelihood[j, best[j]] + _TIE:
                best[j] = h
