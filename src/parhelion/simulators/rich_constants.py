"""Constants of the RICH simulator: every number with its unit and its source.

Sources
-------
[tdr]  LHCb, "The LHCb detector at the LHC", JINST 3 (2008) S08005, section 6.1.
[perf] LHCb RICH group, "Performance of the LHCb RICH detector at the LHC", EPJC 73 (2013) 2431, arXiv:1211.6759.
[run2] LHCb RICH group, "Performance of the LHCb RICH detectors during LHC Run 2", JINST 17 (2022) P07013,
       arXiv:2205.13400.
[pdg]  Particle Data Group, Review of Particle Physics (2024).
[fit]  Tuned by us so that the simulated efficiencies agree with the PIDCalib efficiencies of 2018 data
       (`benchmarks/rich_anchor.py`); the value is effective and not a measurement.

The named tuples are handed to the compiled kernel as arguments, so that a changed constant is never hidden by
numba's cache.
"""

from __future__ import annotations

import math
from typing import NamedTuple

HYPOTHESES = ("e", "mu", "pi", "K", "p")
"""Mass hypotheses in the order of all tables; below threshold is the sixth, with no photons."""

PDG_IDS = (11, 13, 211, 321, 2212)
"""|PDG id| of the hypotheses [pdg]."""

MASSES = (0.000510999, 0.105658, 0.139570, 0.493677, 0.938272)
"""Masses of the hypotheses [GeV, c = 1] [pdg]."""


class Radiator(NamedTuple):
    """One RICH detector with its gas, in the space of photon directions (rad)."""

    refraction: float
    """Refractive index n (no unit). C4F10 1.0014, CF4 1.0005 at the photon detectors' mean wavelength [tdr]."""
    photons: float
    """Detected photons of a saturated ring (beta = 1), no unit. Near [perf]: 20 (data) to 28 (simulation) for C4F10,
    16 to 23 for CF4; part of them is lost here to shared pixels and tails."""
    sigma: float
    """Resolution of one photon's Cherenkov angle [rad]: 1.62 mrad and 0.68 mrad [perf]."""
    sigma_track: float
    """Direction error of a track at high momentum [rad]: 0.3 and 0.17 mrad; part of `sigma` [fit]."""
    scattering: float
    """Direction error by multiple scattering times momentum [rad GeV] [fit]."""
    sigma_ring: float
    """Angle error common to all photons of a ring (alignment, refractive index, curvature) [rad] [fit]."""
    ring_bias: float
    """Mean error of a ring's radius against the one expected (refractive index, aberrations) [rad] [fit]."""
    sigma_assumed: float
    """Resolution that the likelihood assumes [rad] [fit]; smaller than the true one, as tails widen the latter."""
    pixel: float
    """Pixel side seen from the mirror's focus [rad]: 2.5 mm on focal lengths of 1.35 m and 4.3 m [tdr]."""
    angle_min: float
    """Smallest polar angle of a track in acceptance [rad]: 25 and 15 mrad [tdr]."""
    angle_max: float
    """Largest polar angle of a track in acceptance [rad]: 300 and 110 mrad (120 horizontal, 100 vertical) [tdr]."""
    p_min: float
    """Smallest momentum that reaches the detector [GeV]: 1.5, and 6 behind the magnet (effective)."""
    half_size: float
    """Half of the side of the photon plane: `angle_max` plus a ring with its tails [rad]."""
    clutter: float
    """Mean number of hits without a track, whatever the collision (noise, scattered light) [fit]."""
    clutter_per_track: float
    """The same per track of the collision [fit]."""

    @property
    def eta_range(self) -> tuple[float, float]:
        """Pseudorapidities between which a track is in acceptance."""
        return -math.log(math.tan(self.angle_max / 2.0)), -math.log(math.tan(self.angle_min / 2.0))

    def threshold(self, mass: float) -> float:
        """Momentum [GeV] above which a particle of `mass` [GeV] emits Cherenkov light here: m / sqrt(n^2 - 1)."""
        return mass / math.sqrt(self.refraction**2 - 1.0)


RICH1 = Radiator(
    refraction=1.0014, photons=28.0, sigma=1.62e-3, sigma_track=0.30e-3, scattering=0.9e-3, sigma_ring=0.20e-3,
    ring_bias=-0.15e-3, sigma_assumed=0.90e-3, pixel=1.85e-3, angle_min=0.025, angle_max=0.300, p_min=1.5,
    half_size=0.37, clutter=40.0, clutter_per_track=0.3,
)  # fmt: skip
RICH2 = Radiator(
    refraction=1.0005, photons=24.0, sigma=0.68e-3, sigma_track=0.17e-3, scattering=2.0e-3, sigma_ring=0.09e-3,
    ring_bias=-0.05e-3, sigma_assumed=0.43e-3, pixel=0.58e-3, angle_min=0.015, angle_max=0.110, p_min=6.0,
    half_size=0.155, clutter=40.0, clutter_per_track=0.3,
)  # fmt: skip
RADIATORS = (RICH1, RICH2)


class Environment(NamedTuple):
    """The collision around the probe tracks and what may befall a track."""

    tracks_mean: float = 180.0
    """Mean of nTracks (LHCb collisions in Run 2 have 100 to 250) [fit]."""
    tracks_shape: float = 3.6
    """Shape of the gamma distribution of nTracks (width 53 %) [fit]."""
    tracks_min: float = 24.0
    """Smallest nTracks."""
    tracks_max: float = 740.0
    """Largest nTracks."""
    long_fraction: float = 0.5
    """Share of nTracks that cross both RICH detectors."""
    pion: float = 0.74
    """Share of pions among tracks of the underlying event (rounded shares of soft collisions) [fit]."""
    kaon: float = 0.12
    """Share of kaons; the rest after protons and electrons are muons."""
    proton: float = 0.06
    """Share of protons."""
    electron: float = 0.06
    """Share of electrons."""
    conversions: float = 0.27
    """Photon conversions without a reconstructed track, per track of the collision [fit]."""
    momentum_error: float = 0.005
    """Relative error of the recorded momentum, no unit: 0.5-1 % [tdr]."""
    lost_first: float = 0.005
    """Probability that a hadron interacts in RICH1: it gives a part of that ring and none in RICH2 [fit]."""
    lost_second: float = 0.01
    """Probability that a hadron interacts in RICH2: it gives a part of that ring [fit]."""
    wrong_probability: float = 0.055
    """Probability that a hadron's direction is wrong by a large-angle scatter or a wrong track segment [fit]."""
    wrong_kick: float = 0.055
    """Scale of the transverse momentum in such a scatter [GeV] [fit]."""
    decay_first: float = 0.06
    """Path before RICH1 on which a decay in flight leaves a good track [m] [fit]; most decays spoil the track."""
    decay_second: float = 0.2
    """The same between RICH1 and RICH2 [m] [fit]."""
    decay_fraction: float = 0.8
    """Momentum of the decay muon divided by that of its parent: mean 0.79 for pi -> mu nu [pdg masses]."""
    yield_spread: float = 0.06
    """Relative spread of the photon yield from track to track (gas, mirrors, gaps between detectors) [fit]."""
    photon_tail: float = 0.03
    """Share of photons in the tail of the angle resolution (reflections, scattering) [fit]."""
    photon_tail_width: float = 6.0
    """Width of that tail in units of `Radiator.sigma` [fit]."""
    ring_tail: float = 0.08
    """Share of tracks with an enlarged common angle error [fit]."""
    ring_tail_width: float = 4.0
    """Factor by which it is enlarged [fit]."""
    background_floor: float = 4.0e-4
    """Smallest background expected in a pixel (photoelectrons), so that no single hit decides."""


ENVIRONMENT = Environment()

CTAU = (0.0, 0.0, 7.8045, 3.711, 0.0)
"""Mean proper decay lengths of the hypotheses [m], 0 where none decays on its way (muons: 659 m, neglected) [pdg]."""


class PhaseSpace(NamedTuple):
    """Spectrum of probe tracks of one species: log-normal pT, flat eta, with a share flat in log P."""

    pt_median: float
    """Median transverse momentum of the log-normal part [GeV]."""
    pt_spread: float
    """Standard deviation of log(pT)."""
    flat_share: float
    """Share of tracks flat in log(P) instead, which fills the high momenta."""
    eta_low: float
    """Smallest pseudorapidity."""
    eta_high: float
    """Largest pseudorapidity."""
    p_low: float
    """Smallest momentum [GeV]."""
    p_high: float
    """Largest momentum [GeV]."""
    pt_low: float
    """Smallest transverse momentum [GeV]."""


PROBES = PhaseSpace(1.57, 0.60, 0.30, 1.85, 4.95, 2.0, 150.0, 0.40)
"""Phase space of probes outside the calibration mode, the same for all species: the range of LHCb's calibration
tracks [run2], slightly wider than the acceptance, so that some tracks have no RICH information."""
