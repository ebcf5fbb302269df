"""What the Geant4 calorimeters share: batches of events, their seeds, energies in options."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option
from pydantic import model_validator

from parhelion import noise
from parhelion.sample import Array, Sample
from parhelion.simulators.base import Progress, Simulator, SimulatorConfig, checked_run
from parhelion.simulators.geant4 import Deposits, Detector, Engine, Primaries, engine, run

FloatArray = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

MASSES: Final = {"e-": 0.51099895e-3, "e+": 0.51099895e-3, "gamma": 0.0, "pi+": 0.13957039}
"""Masses [GeV] by Geant4's name (PDG 2024)."""

OFF_CENTRE: Final = 1e-3
"""Particles aimed at the centre hit beside it [mm], since they would run along the faces of cells otherwise."""

_CONDITION_STAGE, _SEED_STAGE = 0, 1
_BATCH = 10
_START = -1e-3  # mm in front of the first slab


class EnergyConfig(SimulatorConfig):
    """A range of energies in GeV."""

    largest: ClassVar[float] = 1000.0

    energy_min: float = Option(1.0, gt=0, description="Smallest energy [GeV].")
    energy_max: float = Option(100.0, gt=0, description="Largest energy [GeV].")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_energies("energy", self.energy_min, self.energy_max, self.largest)
        return self


def check_energies(name: str, low: float, high: float, largest: float) -> None:
    """Refuse ranges that are empty or in other units.

    Raises
    ------
    ValueError
        For pydantic.
    """
    if high > largest:
        msg = f"{name}_max is {high:g} GeV, expected at most {largest:g} GeV (energies are in GeV, not in MeV)"
        raise ValueError(msg)
    if low > high:
        msg = f"{name}_min is {low:g} GeV, expected at most {name}_max, {high:g} GeV"
        raise ValueError(msg)


class Calorimeter(Simulator):
    """A calorimeter in Geant4.

    Conditions come from random numbers keyed by (seed, row number), and Geant4's generator is seeded for each event by
    another such number.
    """

    cheap = False
    part_rows = 100

    @property
    @abstractmethod
    def detector(self) -> Detector:
        """What is built."""

    @property
    def hadrons(self) -> bool:
        """Whether the particles need hadronic physics."""
        return False

    @abstractmethod
    def condition(self, uniform: FloatArray) -> dict[str, Array]:
        """Condition columns, each with n rows, from uniform numbers (n, 8)."""

    @abstractmethod
    def primaries(self, condition: Mapping[str, Array], seed: npt.NDArray[np.int64]) -> Primaries:
        """Particles to shoot."""

    @abstractmethod
    def response(self, deposits: Deposits) -> dict[str, Array]:
        """Response and extra columns, each with n rows."""

    def engine(self) -> Engine:
        """Geant4 for these particles (see `geant4.engine` for errors)."""
        return engine(hadrons=self.hadrons)

    def provenance(self) -> dict[str, Any]:
        """Versions, physics list, cut, tables."""
        return self.engine().provenance()

    def simulate(
        self,
        n: int,
        *,
        seed: int,
        first: int = 0,
        processes: int | None = None,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Sample]:
        """Simulate showers: see `Simulator.simulate`; one Geant4 process a core."""
        used, rows = checked_run(self, n, seed, first, processes, chunk)
        return self._stream(self.engine(), n, seed, first, min(used, -(-n // _BATCH)), rows, progress)

    def _stream(
        self, geant4: Engine, n: int, seed: int, first: int, processes: int, chunk: int, progress: Progress | None
    ) -> Iterator[Sample]:
        pending: deque[dict[str, Array]] = deque()

        def batches() -> Iterator[Primaries]:
            for start in range(first, first + n, _BATCH):
                ids = np.arange(start, min(start + _BATCH, first + n))
                condition = self.condition(noise.uniform(seed, ids, 8, stage=_CONDITION_STAGE))
                pending.append({"event_id": ids, **condition})
                yield self.primaries(condition, event_seeds(seed, ids))

        parts: list[dict[str, Array]] = []
        made = held = 0
        for deposits in run(geant4, self.detector, batches(), processes):
            part = {**pending.popleft(), **self.response(deposits)}
            parts.append(part)
            made += len(part["event_id"])
            held += len(part["event_id"])
            if progress is not None:
                progress(made, n)
            while held >= chunk or (made == n and held):
                whole = {name: np.concatenate([p[name] for p in parts]) for name in part}
                size = min(chunk, held)
                yield self._sample({name: column[:size] for name, column in whole.items()}, seed)
                parts = [{name: column[size:] for name, column in whole.items()}]
                held -= size

    def _sample(self, columns: dict[str, Array], seed: int) -> Sample:
        return Sample(self.schema, columns, event_id=columns["event_id"], source=f"{self.kind} simulation, seed {seed}")


def event_seeds(seed: int, ids: Ids) -> npt.NDArray[np.int64]:
    """Seeds of Geant4's generator for events, positive and below 2^63, shape (n,)."""
    high, low = noise.words(seed, ids, 2, stage=_SEED_STAGE).astype(np.uint64).T
    seeds: npt.NDArray[np.int64] = (((high << np.uint64(31)) ^ low) | np.uint64(1)).astype(np.int64)
    return seeds


def head_on(particle: str, energy: Array, seed: npt.NDArray[np.int64]) -> Primaries:
    """Particles of one kind along the z axis.

    Parameters
    ----------
    particle
        Geant4's name.
    energy
        Kinetic energies [GeV], shape (n,).
    seed
        Seeds of the events, shape (n,).
    """
    n = len(seed)
    return Primaries(
        seed=seed,
        particle=(particle,) * n,
        energy=np.asarray(energy, dtype=np.float64) * 1000.0,
        position=np.tile([OFF_CENTRE, OFF_CENTRE, _START], (n, 1)),
        direction=np.tile([0.0, 0.0, 1.0], (n, 1)),
    )


def slanted(particle: tuple[str, ...], momentum: FloatArray, xy: FloatArray, seed: npt.NDArray[np.int64]) -> Primaries:
    """Particles with momenta [GeV], shape (n, 3), at points of the front face [mm], shape (n, 2)."""
    mass = np.array([MASSES[name] for name in particle])
    kinetic = np.sqrt((momentum**2).sum(axis=1) + mass**2) - mass
    return Primaries(
        seed=seed,
        particle=particle,
        energy=kinetic * 1000.0,
        position=np.column_stack([xy, np.full(len(seed), _START)]),
        direction=momentum,
    )


def power_law(uniform: FloatArray, low: float, high: float, index: float) -> FloatArray:
    """Numbers distributed as x^-index between low and high, from uniform numbers of the same shape."""
    rest = 1.0 - index
    if low == high:
        return np.full_like(uniform, low)
    if abs(rest) < 1e-9:
        return np.asarray(low * (high / low) ** uniform)
    return np.asarray((low**rest + uniform * (high**rest - low**rest)) ** (1.0 / rest))
