"""The calorimeter of CaloGAN (arXiv:1705.02355): lead and liquid argon, three segments of unlike cells.

80 layers of 2 mm lead and 4 mm argon, 480 mm wide: 15 layers read out by 3 x 96 cells, 58 by 12 x 12, 7 by 12 x 6
(90, 348 and 42 mm deep; the paper has 90, 347 and 43). As there, particles hit the centre head on and the energy in the
lead counts too, so that a shower's cells sum to about the particle's energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option

from parhelion.sample import Array, Field, Schema
from parhelion.simulators.calorimeter import Calorimeter, EnergyConfig, FloatArray, head_on, power_law
from parhelion.simulators.geant4 import BoxGrid, Deposits, Detector, Primaries, Segment, Slab

WIDTH: Final = 480.0
SEGMENTS: Final = ((15, (3, 96)), (58, (12, 12)), (7, (12, 6)))
"""Layers of each segment and its cells along the axes (x, y)."""


class CaloganConfig(EnergyConfig):
    """Options of CaloGAN's calorimeter."""

    particle: Literal["e+", "e-", "gamma", "pi+"] = Option(
        "e+", description="e+, e-, gamma, or pi+ (which needs Geant4's own hadronic data files)."
    )
    scored: Literal["all", "active"] = Option(
        "all", description="all: energy in lead and argon, as CaloGAN; active: in the argon alone."
    )


class Calogan(Calorimeter):
    """CaloGAN's lead and liquid argon calorimeter (Geant4): cells of 3 x 96, 12 x 12 and 12 x 6."""

    kind = "calogan"
    Config = CaloganConfig
    config: CaloganConfig

    @property
    def detector(self) -> Detector:
        """Three segments, cells summed over the layers of each."""
        lead = Slab("G4_Pb", 2.0, active=self.config.scored == "all")
        slabs = (lead, Slab("G4_lAr", 4.0, active=True))
        segments = tuple(Segment(layers, slabs, BoxGrid(*grid), summed=True) for layers, grid in SEGMENTS)
        return Detector(WIDTH, segments)

    @property
    def hadrons(self) -> bool:
        """For pions."""
        return self.config.particle == "pi+"

    @property
    def schema(self) -> Schema:
        """Kinetic energy; energy in the cells of each segment."""
        response = tuple(Field(f"layer_{i}", "GeV", grid) for i, (_, grid) in enumerate(SEGMENTS))
        return Schema((Field("energy", "GeV"),), response)

    def condition(self, uniform: FloatArray) -> dict[str, Array]:
        """Uniform energies."""
        energy = power_law(uniform[:, 0], self.config.energy_min, self.config.energy_max, 0.0)
        return {"energy": energy.astype(np.float32)}

    def primaries(self, condition: Mapping[str, Array], seed: npt.NDArray[np.int64]) -> Primaries:
        """Particles head on."""
        return head_on(self.config.particle, condition["energy"], seed)

    def response(self, deposits: Deposits) -> dict[str, Array]:
        """Energy in the cells [GeV]."""
        return {f"layer_{i}": (cells[:, 0] / 1000.0).astype(np.float32) for i, cells in enumerate(deposits.active)}
