"""A tungsten and silicon calorimeter read out in cylinders, after data set 2 of the CaloChallenge (arXiv:2410.21611).

45 layers, each two times 1.4 mm of tungsten and 0.3 mm of silicon. Cells around the shower's axis: 16 in angle, 9
rings of 4.65 mm. Energies in silicon are divided by a sampling fraction of 0.033. Units, names and the order
(layer, alpha, r) are those of the challenge's files, so that its thresholds and binnings apply. Unlike there, the
layers are flat and wide (400 mm) instead of a barrel, particles come along the axis of the cells, and Geant4's version
and physics list differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option

from parhelion.sample import Array, Field, Schema
from parhelion.simulators.calorimeter import Calorimeter, EnergyConfig, FloatArray, head_on, power_law
from parhelion.simulators.geant4 import Deposits, Detector, Primaries, Segment, Slab, TubeGrid

LAYERS: Final = 45
ALPHA: Final = 16
RINGS: Final = 9
RING: Final = 4.65
SAMPLING_FRACTION: Final = 0.033
WIDTH: Final = 400.0


class CylinderConfig(EnergyConfig):
    """Options of the cylindrical readout."""

    energy_max: float = Option(1000.0, gt=0, description="Largest energy [GeV].")


class Cylinder(Calorimeter):
    """Tungsten and silicon read out in cylinders (Geant4), after the CaloChallenge's data set 2; electrons."""

    kind = "cylinder"
    Config = CylinderConfig
    config: CylinderConfig

    @property
    def detector(self) -> Detector:
        """45 layers of two sampling units."""
        unit = (Slab("G4_W", 1.4), Slab("G4_Si", 0.3, active=True))
        return Detector(WIDTH, (Segment(LAYERS, unit * 2, TubeGrid(ALPHA, RINGS, RING)),))

    @property
    def schema(self) -> Schema:
        """Kinetic energy [MeV]; calibrated energy in the cells [MeV]."""
        response = Field("showers", "MeV", (LAYERS, ALPHA, RINGS))
        return Schema((Field("incident_energy", "MeV"),), (response,))

    def condition(self, uniform: FloatArray) -> dict[str, Array]:
        """Energies uniform in their logarithm."""
        energy = power_law(uniform[:, 0], self.config.energy_min, self.config.energy_max, 1.0)
        return {"incident_energy": (energy * 1000.0).astype(np.float32)}

    def primaries(self, condition: Mapping[str, Array], seed: npt.NDArray[np.int64]) -> Primaries:
        """Electrons along the axis."""
        return head_on("e-", condition["incident_energy"].astype(np.float64) / 1000.0, seed)

    def response(self, deposits: Deposits) -> dict[str, Array]:
        """Energy in silicon over the sampling fraction [MeV]."""
        return {"showers": (deposits.active[0] / SAMPLING_FRACTION).astype(np.float32)}
