"""Simulators make reference samples: the expensive simulation that a surrogate copies.

One class a simulator, with a config class of its own options; `SIMULATORS` names them for study files and the command
line. Engines (numba, Geant4) are imported when rows are made, not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parhelion.errors import ConfigError
from parhelion.simulators.base import Progress, Simulator, SimulatorConfig
from parhelion.simulators.calogan import Calogan
from parhelion.simulators.cube import Cube
from parhelion.simulators.cylinder import Cylinder
from parhelion.simulators.ecal import Ecal
from parhelion.simulators.rich import Rich
from parhelion.simulators.toy_sources import CamelToy, LogNormalToy, ParetoToy, RingToy, ShellToy

_CALORIMETERS: tuple[type[Simulator], ...] = (Ecal, Calogan, Cylinder, Cube)
_TOYS: tuple[type[Simulator], ...] = (CamelToy, RingToy, ShellToy, LogNormalToy, ParetoToy)

_ALL: tuple[type[Simulator], ...] = (Rich, *_CALORIMETERS, *_TOYS)

SIMULATORS: dict[str, type[Simulator]] = {s.kind: s for s in _ALL}


def simulator(kind: str, options: Mapping[str, Any] | None = None) -> Simulator:
    """Build a simulator from its name and plain options.

    Raises
    ------
    ConfigError
        There is no such simulator, or an option is unknown or has no allowed value.
    """
    return find(kind).configured(**(options or {}))


def find(kind: str) -> type[Simulator]:
    """Class of a simulator by name.

    Raises
    ------
    ConfigError
        There is no such simulator.
    """
    if kind not in SIMULATORS:
        msg = f"simulator {kind!r} is unknown; choose one of {', '.join(sorted(SIMULATORS))}"
        raise ConfigError(msg)
    return SIMULATORS[kind]


__all__ = ["SIMULATORS", "Progress", "Simulator", "SimulatorConfig", "find", "simulator"]
