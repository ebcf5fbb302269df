"""Small samples that come with the package, so that tests and demonstrations run without Geant4.

``ecal-electrons``: 3,000 electrons in the calorimeter of `parhelion.simulators.ecal`, made by::

    parhelion simulate ecal -n 3000 --seed 2026 -o ecal-electrons.h5

No threshold is applied to the cells. The file itself says what made it: ``parhelion inspect``.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from parhelion.errors import DataError
from parhelion.sample import Sample


def names() -> tuple[str, ...]:
    """Samples that there are."""
    return tuple(sorted(path.stem for path in _folder().glob("*.h5")))


def path(name: str) -> Path:
    """File of a sample.

    Raises
    ------
    DataError
        There is no such sample.
    """
    found = _folder() / f"{name}.h5"
    if not found.is_file():
        msg = f"there is no sample {name} in the package; there are {', '.join(names())}"
        raise DataError(msg)
    return found


def load(name: str = "ecal-electrons") -> Sample:
    """Read a sample whole (see `path` for errors)."""
    from parhelion import io

    return io.read(path(name))


def starts() -> dict[str, Path]:
    """Surrogates that training may begin with (`training.start`), files by name."""
    return {path.stem.removesuffix("-start"): path for path in sorted(_folder().glob("*-start.safetensors"))}


def _folder() -> Path:
    return Path(str(resources.files("parhelion") / "data"))
