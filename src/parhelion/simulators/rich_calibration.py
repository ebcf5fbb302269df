"""Calibration lines of the RICH: decays that give tracks of known species with background under a mass peak.

LHCb selects calibration tracks without PID by the kinematics of these decays and removes the background with sWeights:
R. Aaij et al., EPJ Techn. Instrum. 6 (2019) 1, arXiv:1803.00824, table 1 and section 3. The spectra of the D0 daughters
follow the momentum spectra of PIDCalib samples within 20 to 60 % a bin; the other spectra and the background shares are
typical values of ours, since sWeights, not they, are what the mode is there to exercise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion import noise
from parhelion.simulators.rich_constants import PDG_IDS, PhaseSpace
from parhelion.splot.model import MassModel
from parhelion.splot.presets import rich_calibration_models

SIGNAL_SHARE = 0.6
"""Share of true signal in each calibration line."""

BACKGROUND_MIXTURE = (0.05, 0.03, 0.75, 0.11, 0.06)
"""Shares of e, mu, pi, K, p among background tracks: mostly pions from the primary vertex."""

BACKGROUND_SPACE = PhaseSpace(1.20, 0.55, 0.10, 1.85, 4.95, 2.0, 150.0, 0.30)
"""Phase space of background tracks: softer than the signal's."""

# Keeps the mass numbers apart from those of other users of `noise` with the same seed and event ids.
_MASS_STAGE = 0x52494348
_GRID = 8001


@dataclass(frozen=True)
class CalibrationLine:
    """One calibration line.

    Attributes
    ----------
    pid
        |PDG id| of the signal.
    decay
        The decay in words.
    space
        Phase space of signal tracks.
    model
        Mass window [GeV] and shapes, as the sWeights' fit takes them.
    truth
        The parameters that the masses are drawn with, by the model's names.
    """

    pid: int
    decay: str
    space: PhaseSpace
    model: MassModel
    truth: Mapping[str, float]


_D0 = {"mean": 1.86484, "width": 0.007, "ratio": 1.9, "fraction": 0.7, "slope": 0.6}
_TRUTH: dict[int, tuple[str, PhaseSpace, dict[str, float]]] = {
    11: (
        "B -> J/psi(ee) K",
        PhaseSpace(1.70, 0.55, 0.10, 1.85, 4.95, 3.0, 150.0, 0.50),
        {"mean": 3.0969, "width": 0.060, "alpha": 0.9, "n": 3.0, "slope": 0.7},
    ),
    13: (
        "J/psi -> mu mu",
        PhaseSpace(1.90, 0.50, 0.10, 1.85, 4.95, 3.0, 150.0, 0.80),
        {"mean": 3.0969, "width": 0.012, "ratio": 1.8, "fraction": 0.75, "slope": 0.3},
    ),
    211: (
        "D* -> D0(K pi) pi, the pion of the D0",
        PhaseSpace(2.30, 0.55, 0.05, 1.85, 4.95, 2.0, 150.0, 0.40),
        _D0,
    ),
    321: (
        "D* -> D0(K pi) pi, the kaon of the D0",
        PhaseSpace(2.50, 0.50, 0.05, 1.85, 4.95, 2.0, 150.0, 0.40),
        _D0,
    ),
    2212: (
        "Lambda -> p pi",
        PhaseSpace(1.10, 0.65, 0.20, 1.85, 4.95, 2.0, 150.0, 0.40),
        {"mean": 1.115683, "width": 0.0011, "ratio": 2.0, "fraction": 0.7, "c1": 0.15},
    ),
}
CALIBRATION_LINES: Mapping[int, CalibrationLine] = {
    pid: CalibrationLine(pid, *_TRUTH[pid][:2], rich_calibration_models()[pid], _TRUTH[pid][2]) for pid in PDG_IDS
}
"""Line by |PDG id|. Masses: [pdg] in `rich_constants`; widths are typical of LHCb's mass resolution."""


def draw_mass(
    pid: npt.NDArray[np.integer],
    is_signal: npt.NDArray[np.integer],
    event_id: npt.NDArray[np.int64],
    *,
    seed: int,
) -> npt.NDArray[np.float64]:
    """Mass [GeV] of each candidate, shape (n,), by the inverse distribution function of its line and component.

    The mass depends on nothing else, so within a component it is independent of phase space and DLLs, as the sPlot
    method demands.

    Parameters
    ----------
    pid
        |PDG id| of the line, shape (n,).
    is_signal
        1 for signal, 0 for background, shape (n,).
    event_id
        Event ids, shape (n,); with `seed` they fix the random numbers.
    seed
        Seed.
    """
    u = noise.uniform(seed, event_id, 1, stage=_MASS_STAGE)[:, 0]
    mass = np.empty(len(pid))
    for line in CALIBRATION_LINES.values():
        window = line.model.window
        grid = np.linspace(*window, _GRID)
        for signal, shape in ((1, line.model.signal), (0, line.model.background)):
            rows = (pid == line.pid) & (is_signal == signal)
            values = [line.truth[name] for name in shape.parameters]
            mass[rows] = np.interp(u[rows], shape.cdf(grid, window, values), grid)
    return mass
