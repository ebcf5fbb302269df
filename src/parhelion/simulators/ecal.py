"""A sampling electromagnetic calorimeter after LHCb's: 66 layers of 2 mm lead and 4 mm polystyrene, cells of 2 cm.

24 radiation lengths in 396 mm, 60 x 60 cm wide. The response is the energy deposited in the polystyrene, summed over
depth: axes (x, y), both increasing, centres of cells from -29 to 29 cm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option
from pydantic import field_validator, model_validator
from scipy.special import ndtr, ndtri

from parhelion.sample import Array, Field, Schema
from parhelion.simulators.base import SimulatorConfig
from parhelion.simulators.calorimeter import Calorimeter, FloatArray, check_energies, power_law, slanted
from parhelion.simulators.geant4 import BoxGrid, Deposits, Detector, Primaries, Segment, Slab

CELLS: Final = 30
CELL_SIZE: Final = 20.0
LAYERS: Final = 66
LARGEST: Final = 1000.0

Particle = Literal["e-", "gamma"]

_PDG: Final = {"e-": 11, "gamma": 22}
_SIGMAS: Final = 3.0


class EcalConfig(SimulatorConfig):
    """Options of the ECAL."""

    particles: tuple[Particle, ...] = Option(("e-",), description="e-, gamma, or both in equal shares.", min_length=1)
    momentum_min: float = Option(1.0, gt=0, description="Smallest momentum [GeV].")
    momentum_max: float = Option(100.0, gt=0, description="Largest momentum [GeV].")
    index: float = Option(1.5, ge=0, le=10, description="The spectrum falls as momentum to minus this power.")
    angle: float = Option(
        5.0, ge=0, le=20, description="Standard deviation of each of the two slopes [degrees], cut at three."
    )
    impact: float = Option(10.0, ge=0, le=400, description="Side of the square at the centre that is hit [mm].")
    profile: bool = Option(False, description="Also the visible energy of each layer and the energy in the lead.")

    @field_validator("particles")
    @classmethod
    def _once(cls, value: tuple[Particle, ...]) -> tuple[Particle, ...]:
        if len(set(value)) < len(value):
            msg = f"{', '.join(value)}: a particle is named twice"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_energies("momentum", self.momentum_min, self.momentum_max, LARGEST)
        return self


class Ecal(Calorimeter):
    """Electromagnetic calorimeter after LHCb's (Geant4): 30 x 30 cells, electrons and photons."""

    kind = "ecal"
    Config = EcalConfig
    config: EcalConfig

    @property
    def detector(self) -> Detector:
        """66 layers, cells summed over depth unless the profile is asked for."""
        slabs = (Slab("G4_Pb", 2.0), Slab("G4_POLYSTYRENE", 4.0, active=True))
        segment = Segment(LAYERS, slabs, BoxGrid(CELLS, CELLS), summed=not self.config.profile)
        return Detector(CELLS * CELL_SIZE, (segment,))

    @property
    def schema(self) -> Schema:
        """Momentum and point of impact; energy in the cells."""
        condition = [Field(name, "GeV") for name in ("px", "py", "pz")] + [Field(name, "mm") for name in ("x", "y")]
        if len(self.config.particles) > 1:
            names = self.config.particles
            codes = tuple(float(_PDG[name]) for name in names)
            condition.append(Field("pdg", kind="category", values=codes, labels=names))
        extra = (Field("layers", "GeV", (LAYERS,)), Field("absorber", "GeV")) if self.config.profile else ()
        return Schema(tuple(condition), (Field("energy", "GeV", (CELLS, CELLS)),), extra)

    def condition(self, uniform: FloatArray) -> dict[str, Array]:
        """Momenta from the spectrum, slopes and impact points."""
        options = self.config
        p = power_law(uniform[:, 0], options.momentum_min, options.momentum_max, options.index)
        outside = ndtr(-_SIGMAS)
        slopes = np.tan(np.radians(options.angle) * ndtri(outside + (1 - 2 * outside) * uniform[:, 1:3]))
        pz = p / np.sqrt(1 + (slopes**2).sum(axis=1))
        values = [pz * slopes[:, 0], pz * slopes[:, 1], pz, *((uniform[:, 3:5] - 0.5) * options.impact).T]
        # In single precision: what the file says is what was simulated.
        columns: dict[str, Array] = {
            name: value.astype(np.float32) for name, value in zip(("px", "py", "pz", "x", "y"), values, strict=True)
        }
        if len(options.particles) > 1:
            columns["pdg"] = np.array([_PDG[name] for name in self._names(uniform[:, 5])], np.int32)
        else:
            columns["pdg"] = np.full(len(p), _PDG[options.particles[0]], np.int32)
        return columns

    def _names(self, uniform: FloatArray) -> list[str]:
        return [self.config.particles[int(u * len(self.config.particles))] for u in uniform]

    def primaries(self, condition: Mapping[str, Array], seed: npt.NDArray[np.int64]) -> Primaries:
        """Particles at the front face."""
        names = {code: name for name, code in _PDG.items()}
        momentum = np.column_stack([condition[name] for name in ("px", "py", "pz")]).astype(np.float64)
        xy = np.column_stack([condition["x"], condition["y"]]).astype(np.float64)
        return slanted(tuple(names[int(code)] for code in condition["pdg"]), momentum, xy, seed)

    def response(self, deposits: Deposits) -> dict[str, Array]:
        """Energy in the cells [GeV], and of each layer and the lead if asked for."""
        cells = deposits.active[0] / 1000.0
        columns: dict[str, Array] = {"energy": cells.sum(axis=1).astype(np.float32)}
        if self.config.profile:
            columns["layers"] = cells.sum(axis=(2, 3)).astype(np.float32)
            columns["absorber"] = (deposits.passive[:, 0] / 1000.0).astype(np.float32)
        return columns
