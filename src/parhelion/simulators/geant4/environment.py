"""Which Geant4 there is, which tables it reads, and the environment that its processes need."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parhelion.errors import MissingDependencyError, SimulationError
from parhelion.simulators.geant4 import tables

_HADRONIC = ("G4PARTICLEXSDATA", "G4LEVELGAMMADATA", "G4ENSDFSTATEDATA")


@dataclass(frozen=True)
class Engine:
    """Geant4 with its physics.

    Attributes
    ----------
    physics
        Physics list or constructor.
    hadronic
        Whether it is a whole list with hadronic physics.
    cut
        Production cut as a range [mm].
    """

    physics: str
    hadronic: bool
    cut: float

    def provenance(self) -> dict[str, Any]:
        """Versions, list, cut and tables, for the file."""
        own = _own_tables()
        return {
            "geant4": version(),
            "physics_list": self.physics,
            "production_cut_mm": self.cut,
            "em_tables": tables.NAME if own is None else f"G4EMLOW, {own.name}",
        }


def engine(*, hadrons: bool = False, cut: float = 0.7) -> Engine:
    """Geant4 for a simulation.

    Parameters
    ----------
    hadrons
        Whether the particles need hadronic physics.
    cut
        Production cut as a range [mm].

    Raises
    ------
    MissingDependencyError
        Geant4 is not installed, or hadrons are asked for and its hadronic data are not.
    """
    require_geant4()
    if not hadrons:
        return Engine("G4EmStandardPhysics", hadronic=False, cut=cut)
    missing = [name for name in _HADRONIC if not Path(os.environ.get(name, "/nowhere")).is_dir()]
    if missing or _own_tables() is None:
        msg = (
            "hadrons need Geant4's own data files, which are not free to be shipped; install them and set "
            f"{', '.join(missing or ['G4LEDATA'])} to their folders, or simulate electrons or photons"
        )
        raise MissingDependencyError(msg)
    return Engine("FTFP_BERT", hadronic=True, cut=cut)


def require_geant4() -> None:
    """Find out, without importing it, whether Geant4 is there.

    Raises
    ------
    MissingDependencyError
        It is not.
    """
    if importlib.util.find_spec("geant4_pybind") is None:
        msg = "this simulator needs Geant4; install it with: pip install 'parhelion[geant4]'"
        raise MissingDependencyError(msg)


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Environment for a process that imports Geant4; the folder that it names lasts as long as the block.

    Without ``GEANT4_DATA_DIR`` the bindings ask on the terminal whether to download gigabytes.
    """
    with tempfile.TemporaryDirectory(prefix="parhelion-geant4-") as stub:
        (Path(stub) / "ENSDFSTATE.dat").touch()
        found = dict(os.environ)
        for name in ("GEANT4_DATA_DIR", "G4LEVELGAMMADATA", "G4ENSDFSTATEDATA", "G4PARTICLEXSDATA"):
            found.setdefault(name, stub)
        own = _own_tables()
        found["G4LEDATA"] = str(tables.standin_tables() if own is None else own)
        yield found


@functools.cache
def version() -> str:
    """Version of Geant4 and of its Python bindings.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    SimulationError
        It cannot be loaded.
    """
    from importlib.metadata import version as package_version

    require_geant4()
    code = "import geant4_pybind, sys; sys.stderr.write('version ' + geant4_pybind.G4Version)"
    with environment() as variables:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    name = done.stderr.rpartition("version ")[2].replace("$Name:", "").replace("$", "").strip()
    if done.returncode or not name:
        msg = f"Geant4 cannot be loaded ({(done.stderr.strip().splitlines() or ['no message'])[-1]}); reinstall it"
        raise SimulationError(msg)
    return f"{name} (geant4_pybind {package_version('geant4_pybind')})"


def _own_tables() -> Path | None:
    """The user's own electromagnetic data files, if they are there."""
    named = os.environ.get("G4LEDATA")
    if named and (Path(named) / "brem_SB").is_dir():
        return Path(named)
    downloaded = os.environ.get("GEANT4_DATA_DIR")
    if downloaded and Path(downloaded).is_dir():
        for path in sorted(Path(downloaded).glob("G4EMLOW*"), reverse=True):
            if (path / "brem_SB").is_dir():
                return path
    return None
