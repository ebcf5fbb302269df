"""Electromagnetic tables for Geant4 where its own data files are not installed.

Geant4's standard electromagnetic physics reads three tables for each element: bremsstrahlung, photoelectric effect,
Rayleigh scattering. All else (ionisation, pair production, Compton and multiple scattering, annihilation) it computes.
This module writes stand-ins in the layout that Geant4 reads:

- bremsstrahlung: the screened Bethe-Heitler formula of Tsai (Rev. Mod. Phys. 46 (1974) 815, eqs. 3.82 and 3.38 to
  3.41) with the Coulomb correction of Davies, Bethe and Maximon, and below some 15 MeV a correction for heavy elements
  fitted to the tables of Seltzer and Berger (NIM B 12 (1985) 95) for lead. The radiated energy agrees with these tables
  within 2 % from 2 MeV up in argon, tungsten and lead and within 4 % in carbon above 5 MeV;
- photoelectric effect and Rayleigh scattering: tables of Elam, Ravel and Sieber (Radiat. Phys. Chem. 63 (2002) 121)
  through ``xraydb``; above 0.7 MeV the photoelectric effect follows the K-shell formula of Sauter. One shell stands for
  all, and there is no fluorescence.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parhelion.errors import MissingDependencyError, WriteError

FloatArray = npt.NDArray[np.float64]

VERSION = 1
"""Part of the folder's name: raised whenever the numbers change."""

NAME = "stand-in tables: bremsstrahlung after Tsai, photoelectric and Rayleigh after Elam"

ELEMENTS = (1, 6, 14, 18, 74, 82)
"""Elements of all detectors in the library."""

_ELECTRON_MASS = 0.51099895  # MeV
_ALPHA = 1 / 137.035999
_RADIUS_SQUARED = 79.4078  # classical electron radius squared, mb
_AVOGADRO = 6.02214076e23
_BARN = 1e-22  # mm^2, Geant4's unit of area
_LARGEST_TABLE_ENERGY = 7e5  # eV; up to here the photoelectric table is used
_SMALLEST_ENERGY = 110.0  # eV

_FRACTIONS = np.array(
    [0, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85,
     0.9, 0.925, 0.95, 0.97, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0]
)  # fmt: skip
_ENERGIES = np.concatenate([np.outer(10.0 ** np.arange(-3, 4), [1, 1.5, 2, 3, 4, 5, 6, 8]).ravel(), [1e4]])


def bremsstrahlung(z: int, energy: float, fraction: npt.ArrayLike) -> FloatArray:
    """Scaled cross section (beta^2 / Z^2) k dsigma/dk [mb], same shape as the fractions.

    Parameters
    ----------
    z
        Atomic number.
    energy
        Kinetic energy of the electron [MeV].
    fraction
        Energy k of the photon over the electron's kinetic energy.
    """
    m = _ELECTRON_MASS
    before = energy + m
    k = np.clip(np.asarray(fraction, dtype=np.float64), 1e-9, 0.99999) * energy
    y, after = k / before, before - k
    momentum = np.sqrt(energy * (energy + 2 * m))
    momentum_transfer = 100 * m * k / (before * after)
    gamma, epsilon = momentum_transfer / z ** (1 / 3), momentum_transfer / z ** (2 / 3)
    phi1 = (
        20.863
        - 2 * np.log(1 + (0.55846 * gamma) ** 2)
        - 4 * (1 - 0.6 * np.exp(-0.9 * gamma) - 0.4 * np.exp(-1.5 * gamma))
    )
    phi12 = 2 / 3 / (1 + 6.5 * gamma + 6 * gamma**2)
    psi1 = (
        28.340
        - 2 * np.log(1 + (3.621 * epsilon) ** 2)
        - 4 * (1 - 0.7 * np.exp(-8 * epsilon) - 0.3 * np.exp(-29.2 * epsilon))
    )
    psi12 = 2 / 3 / (1 + 40 * epsilon + 400 * epsilon**2)
    a = (_ALPHA * z) ** 2
    coulomb = a * (1 / (1 + a) + 0.20206 - 0.0369 * a + 0.0083 * a**2 - 0.002 * a**3)
    log_z = np.log(z)
    screened = np.maximum(phi1 / 4 - log_z / 3 - coulomb, 0) + np.maximum(psi1 / 4 - 2 * log_z / 3, 0) / z
    scaled = 16 / 3 * _ALPHA * _RADIUS_SQUARED * ((1 - y + 0.75 * y**2) * screened + (1 - y) / 8 * (phi12 + psi12 / z))
    slow = 1 + 0.55 * (z / 82) ** 2 * energy**-0.68 * np.exp(-energy / 15)
    found: FloatArray = np.maximum(scaled * (momentum / before) ** 2 * slow, 1e-6)
    return found


def sauter(energy: npt.ArrayLike) -> FloatArray:
    """Photoelectric cross section of the K shell, up to a constant, at energies [MeV], same shape.

    Sauter, Ann. Phys. 403 (1931) 454.
    """
    e = np.asarray(energy, dtype=np.float64)
    g = 1 + e / _ELECTRON_MASS
    q = np.sqrt(g * g - 1)
    found: FloatArray = (
        (_ELECTRON_MASS / e) ** 5
        * q**3
        * (4 / 3 + g * (g - 2) / (g + 1) * (1 - np.log((g + q) / (g - q)) / (2 * g * q)))
    )
    return found


def cache_folder() -> Path:
    """Where the tables are kept: below XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "parhelion" / f"geant4-tables-{VERSION}"


def standin_tables() -> Path:
    """Folder with the tables, made on first use.

    Raises
    ------
    MissingDependencyError
        xraydb is not installed.
    WriteError
        The cache cannot be written.
    """
    folder = cache_folder()
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tables-", dir=folder.parent) as temporary:
            made = Path(temporary) / "made"
            write_tables(made, ELEMENTS)
            try:
                made.rename(folder)
            except OSError:
                # Another process was faster, with the same tables.
                if not folder.is_dir():
                    raise
    except OSError as error:
        msg = f"{folder}: tables for Geant4 cannot be written ({error.strerror}); set XDG_CACHE_HOME to another place"
        raise WriteError(msg) from error
    return folder


def write_tables(folder: Path, elements: Sequence[int]) -> None:
    """Write the tables of some elements, given by atomic number, into a new folder.

    Raises
    ------
    MissingDependencyError
        xraydb is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its dependencies warn of their own future
            import xraydb
    except ModuleNotFoundError as error:
        msg = "tables for Geant4 need xraydb; install it with: pip install 'parhelion[geant4]'"
        raise MissingDependencyError(msg) from error
    names = ("brem_SB", "epics2017/phot", "epics2017/rayl")
    brem, photo, rayleigh = (folder / name for name in names)
    for path in (brem, photo, rayleigh):
        path.mkdir(parents=True)
    for z in elements:
        _write_bremsstrahlung(brem / f"br{z}", z)
        symbol = xraydb.atomic_symbol(z)
        barn = xraydb.atomic_mass(z) / _AVOGADRO * 1e24  # from cm^2/g
        edges = sorted({edge.energy for edge in xraydb.xray_edges(symbol).values()})
        energy = _around(np.geomspace(_SMALLEST_ENERGY, _LARGEST_TABLE_ENERGY, 500), edges)
        _write_photoelectric(photo, z, energy * 1e-6, np.array(xraydb.mu_elam(symbol, energy, kind="photo")) * barn)
        energy = np.geomspace(_SMALLEST_ENERGY, 7.9e5, 300)
        coherent = np.array(xraydb.mu_elam(symbol, energy, kind="coh")) * barn
        _write_vector(rayleigh / f"re-cs-{z}.dat", energy * 1e-6, coherent * (energy * 1e-6) ** 2 * _BARN)


def _around(grid: FloatArray, edges: Sequence[float]) -> FloatArray:
    """A grid with two more points at each absorption edge inside it."""
    inside = np.array([edge for edge in edges if _SMALLEST_ENERGY < edge < _LARGEST_TABLE_ENERGY])
    return np.sort(np.concatenate([grid, inside * (1 - 1e-4), inside * (1 + 1e-4)]))


def _write_bremsstrahlung(path: Path, z: int) -> None:
    lines = [f"2 {len(_FRACTIONS)} {len(_ENERGIES)}", _words(_FRACTIONS), _words(np.log(_ENERGIES))]
    lines += [_words(bremsstrahlung(z, energy, _FRACTIONS)) for energy in _ENERGIES]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _write_photoelectric(folder: Path, z: int, energy: FloatArray, cross_section: FloatArray) -> None:
    """One shell of tiny binding energy; above the table a polynomial in 1/E fitted to Sauter's formula.

    Energies in MeV, cross sections in barn.
    """
    limit = energy[-1]
    high = np.geomspace(limit, 1e5, 200)
    wanted = sauter(high) * cross_section[-1] / sauter(limit)
    powers = np.stack([high ** -(j + 1.0) for j in range(6)], axis=1)
    fitted = np.linalg.lstsq(powers / wanted[:, None], np.ones(len(high)), rcond=None)[0]
    _write_vector(folder / f"pe-cs-{z}.dat", energy, cross_section * energy**3)
    for name in ("high", "low"):
        text = f"1 1 {limit:.9g}\n{1.1e-4:.6g} {_words(fitted)}\n"
        (folder / f"pe-{name}-{z}.dat").write_text(text, encoding="ascii")
    _write_vector(folder / f"pe-le-cs-{z}.dat", np.array([5e-6, 1e-4]), np.array([1e-20, 1e-20]))


def _write_vector(path: Path, x: FloatArray, y: FloatArray) -> None:
    lines = [f"{x[0]:.9g} {x[-1]:.9g} {len(x)}", str(len(x)), *(f"{a:.9g} {b:.9g}" for a, b in zip(x, y, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _words(numbers: FloatArray) -> str:
    return " ".join(f"{number:.9g}" for number in numbers)
