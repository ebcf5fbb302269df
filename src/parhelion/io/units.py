"""Unit conversion for file columns: exact within a dimension, refused between dimensions."""

from __future__ import annotations

import math
import re

from parhelion.errors import DataError

# In units of the first name of each row. Momentum and mass share the dimension of energy (natural units, c = 1).
_DIMENSIONS: tuple[dict[str, float], ...] = (
    {"eV": 1.0, "keV": 1e3, "MeV": 1e6, "GeV": 1e9, "TeV": 1e12},
    {"nm": 1.0, "um": 1e3, "mm": 1e6, "cm": 1e7, "m": 1e9, "km": 1e12},
    {"fs": 1.0, "ps": 1e3, "ns": 1e6, "us": 1e9, "ms": 1e12, "s": 1e15},
    {"urad": 1e-6, "mrad": 1e-3, "rad": 1.0, "deg": math.pi / 180},
    {"fb": 1.0, "pb": 1e3, "nb": 1e6, "ub": 1e9, "mb": 1e12, "b": 1e15},
    {"": 1.0, "1": 1.0, "%": 1e-2},
)
_POWER = re.compile(r"(?P<base>.+?)(?:\^|\*\*)(?P<power>[1-9])")
_LIGHT = re.compile(r"/c(?:(?:\^|\*\*)?2)?$")


def _resolve(unit: str) -> tuple[int, int, float] | None:
    """Dimension, power and size of a unit; None if it is unknown."""
    name = _LIGHT.sub("", unit.strip()).replace("µ", "u").replace("μ", "u")
    power = 1
    match = _POWER.fullmatch(name)
    if match:
        name, power = match["base"], int(match["power"])
    for index, sizes in enumerate(_DIMENSIONS):
        if name in sizes and (index == 0 or not _LIGHT.search(unit.strip())):
            return index, power, sizes[name]
    return None


def conversion_factor(have: str, want: str) -> float:
    """Factor that takes a number in unit `have` to unit `want`.

    Known are the usual units of energy (also momentum and mass, as ``GeV/c`` or ``GeV/c^2``), length, time, angle,
    cross-section and pure numbers, and whole powers of them such as ``MeV^2``. Two equal names always convert by 1.

    Raises
    ------
    DataError
        A unit is unknown, or the two have different dimensions.
    """
    if have == want:
        return 1.0
    source, target = _resolve(have), _resolve(want)
    for unit, resolved in ((have, source), (want, target)):
        if resolved is None:
            msg = f"unit {unit!r} is not known, so {have!r} cannot be converted to {want!r}; give a scale instead"
            raise DataError(msg)
    if source is None or target is None or source[:2] != target[:2]:
        msg = f"unit {have!r} cannot be converted to {want!r}: they measure different quantities"
        raise DataError(msg)
    ratio = source[2] / target[2]
    # 1/1000 is closer to the decimal factor than 1e-15 * 1e12.
    return float(ratio ** source[1]) if ratio >= 1 else float(1.0 / (target[2] / source[2]) ** source[1])
