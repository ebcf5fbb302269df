"""Layouts of the community's shower files, by the name that studies use (``format: calogan``)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from parhelion.errors import ConfigError
from parhelion.io.binning import DATASETS
from parhelion.io.calochallenge import INCIDENT, layout
from parhelion.io.energies import EnergyCheck
from parhelion.io.layout import FieldSource, Layout
from parhelion.sample import Field

CALOGAN_LAYERS: Final = ((3, 96), (12, 12), (12, 6))


def calogan_layout(*, cell_unit: str = "MeV", energy_unit: str = "GeV", check: bool = True) -> Layout:
    """Layout of the public CaloGAN files (Mendeley 10.17632/pvn3xc3wy5.1): ``layer_0`` ... ``layer_2``, ``energy``.

    Gives the condition `incident_energy` and the responses `layer_0` (3, 96), `layer_1` (12, 12), `layer_2` (12, 6),
    all in GeV. The overflow cells are not read.

    Parameters
    ----------
    cell_unit, energy_unit
        Units of the file's cells and of its incident energies.
    check
        Refuse negative cells and energies on the scale of a wrong unit.
    """
    names = tuple(f"layer_{i}" for i in range(len(CALOGAN_LAYERS)))
    fields = [Field(name, "GeV", shape) for name, shape in zip(names, CALOGAN_LAYERS, strict=True)]
    advice = "give the units of the file's numbers (cell_unit, energy_unit)"
    return Layout(
        condition=(FieldSource(Field(INCIDENT, "GeV"), ("energy",), energy_unit),),
        response=tuple(FieldSource(field, (field.name,), cell_unit) for field in fields),
        check=EnergyCheck(names, (INCIDENT,), 1.0, 1000.0, advice) if check else None,
    )


def lhcb_layout(
    *,
    energy_unit: str = "GeV",
    momentum_unit: str = "GeV",
    point_unit: float = 20.0,
    particles: bool = False,
    side: int = 30,
    check: bool = True,
) -> Layout:
    """Layout of the LHCb calorimeter challenge: EnergyDeposit, ParticleMomentum, ParticlePoint, ParticlePDG.

    Gives the conditions px, py, pz [GeV] and x, y [mm], and the response `energy` (side, side) [GeV], axes (x, y). The
    files count positions in cells of 2 cm and do not say the units of their energies; a wrong one is noticed.

    Parameters
    ----------
    energy_unit, momentum_unit
        Units of the file's cells and momenta.
    point_unit
        Length in which the file gives the impact point, mm: the size of a cell.
    particles
        Whether the particle (electron or photon) is a condition too, as category `pdg`.
    side
        Cells along each axis.
    check
        Refuse negative cells and energies on the scale of a wrong unit.
    """
    momentum = tuple(
        FieldSource(Field(name, "GeV"), (f"ParticleMomentum[{i}]",), momentum_unit)
        for i, name in enumerate(("px", "py", "pz"))
    )
    point = tuple(
        FieldSource(Field(name, "mm"), (f"ParticlePoint[{i}]",), scale=point_unit) for i, name in enumerate(("x", "y"))
    )
    pdg = Field("pdg", kind="category", values=(11.0, 22.0), labels=("electron", "photon"))
    advice = "give the units of the file's numbers (energy_unit, momentum_unit)"
    return Layout(
        condition=(*momentum, *point, *((FieldSource(pdg, ("ParticlePDG",)),) if particles else ())),
        response=(FieldSource(Field("energy", "GeV", (side, side)), ("EnergyDeposit",), energy_unit),),
        check=EnergyCheck(("energy",), ("px", "py", "pz"), 0.1, 1000.0, advice) if check else None,
    )


# Options of each are the keywords of its function, see there.
FORMATS: Final[Mapping[str, Callable[..., Layout]]] = {
    **{f"calochallenge-{name}": partial(layout, geometry) for name, geometry in DATASETS.items()},
    "calogan": calogan_layout,
    "lhcb": lhcb_layout,
}


def layout_of_format(chosen: str | Mapping[str, Any]) -> Layout:
    """Layout of a format by name, or by a mapping with its ``name`` and options.

    Raises
    ------
    ConfigError
        There is no such format, or it has no such option.
    """
    options = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in FORMATS:
        msg = f"format {name!r} is not known; choose one of {', '.join(FORMATS)}"
        raise ConfigError(msg)
    parameters = inspect.signature(FORMATS[name], eval_str=True).parameters
    known = {key: p.annotation for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    unknown = next((key for key in options if key not in known), None)
    if unknown is not None:
        msg = f"format {name}: there is no option {unknown}; there are {', '.join(known)}"
        raise ConfigError(msg)
    for key, value in options.items():
        try:
            TypeAdapter(known[key]).validate_python(value, strict=True)
        except ValidationError as error:
            text = error.errors(include_url=False)[0]["msg"]
            msg = f"format {name}: option {key}: {text[0].lower()}{text[1:]}, got {value!r}"
            raise ConfigError(msg) from None
    return FORMATS[name](**options)
