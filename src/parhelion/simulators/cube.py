"""A highly granular silicon and tungsten calorimeter after the ILD's, read out as a cube of 30 x 30 x 30 cells.

20 layers with 2.1 mm and 10 with 4.2 mm of tungsten, each before 0.5 mm of silicon; cells of 5 mm; photons head on at
the corner of the four central cells (the task of arXiv:2005.05334). The response is the energy deposited in silicon:
axes (layer, x, y). Unlike there, no electronics, gaps or material in front are built, and the layers end with the
cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option

from parhelion.sample import Array, Field, Schema
from parhelion.simulators.calorimeter import Calorimeter, EnergyConfig, FloatArray, head_on, power_law
from parhelion.simulators.geant4 import BoxGrid, Deposits, Detector, Primaries, Segment, Slab

CELLS: Final = 30
CELL_SIZE: Final = 5.0
SECTIONS: Final = ((20, 2.1), (10, 4.2))
"""Layers and the thickness of their tungsten [mm], front to back."""


class CubeConfig(EnergyConfig):
    """Options of the cube."""

    energy_min: float = Option(10.0, gt=0, description="Smallest energy [GeV].")


class Cube(Calorimeter):
    """Silicon and tungsten cube of 30 x 30 x 30 cells (Geant4), after the ILD's; photons."""

    kind = "cube"
    Config = CubeConfig
    config: CubeConfig

    @property
    def detector(self) -> Detector:
        """Thin and thick layers."""
        silicon, grid = Slab("G4_Si", 0.5, active=True), BoxGrid(CELLS, CELLS)
        segments = tuple(Segment(layers, (Slab("G4_W", tungsten), silicon), grid) for layers, tungsten in SECTIONS)
        return Detector(CELLS * CELL_SIZE, segments)

    @property
    def schema(self) -> Schema:
        """Energy of the photon; energy in the cells."""
        return Schema((Field("energy", "GeV"),), (Field("cells", "GeV", (CELLS, CELLS, CELLS)),))

    def condition(self, uniform: FloatArray) -> dict[str, Array]:
        """Uniform energies."""
        energy = power_law(uniform[:, 0], self.config.energy_min, self.config.energy_max, 0.0)
        return {"energy": energy.astype(np.float32)}

    def primaries(self, condition: Mapping[str, Array], seed: npt.NDArray[np.int64]) -> Primaries:
        """Photons head on."""
        return head_on("gamma", condition["energy"], seed)

    def response(self, deposits: Deposits) -> dict[str, Array]:
        """Energy in silicon [GeV]."""
        return {"cells": (np.concatenate(deposits.active, axis=1) / 1000.0).astype(np.float32)}
