"""What showers must obey whatever their format: no negative energies, and the unit that they are said to be in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.io.units import conversion_factor
from parhelion.sample import Field, Sample, Schema

FloatArray = npt.NDArray[np.float64]

# Fewer showers than these say nothing of a scale: one may have missed the calorimeter.
FEWEST = 10
# Calorimeters measure from a few percent (a scintillator's share) to somewhat more than the whole of the energy;
# a wrong unit is off by a thousand.
_SMALLEST_SHARE, _LARGEST_SHARE = 2e-3, 20.0


@dataclass(frozen=True)
class EnergyCheck:
    """Refuses showers with negative cells, and showers whose energy scale says that a unit is wrong.

    Attributes
    ----------
    cells
        Response fields with the energies of cells, one unit for all.
    incident
        Fields whose length is the incident energy: one energy, or the components of the momentum.
    low, high
        Incident energies that the format's data have, GeV; their median may lie a factor 2 outside.
    advice
        What to do about a wrong unit.
    """

    cells: tuple[str, ...]
    incident: tuple[str, ...]
    low: float
    high: float
    advice: str = "say the unit of the file's numbers"

    def __call__(self, sample: Sample) -> None:
        """Check one chunk of showers.

        Raises
        ------
        DataError
            A cell is negative, an incident energy is not positive, or the scale is off by about a thousand.
        """
        sums = np.zeros(len(sample))
        for name in self.cells:
            require_not_negative(sample, name)
            sums += sample[name].reshape(len(sample), -1).sum(axis=1, dtype=np.float64)
        incident = incident_energy(sample, self.incident)
        named = " and ".join(self.incident) if len(self.incident) < 3 else ", ".join(self.incident)
        if not (incident > 0).all():
            row = int(np.argmax(incident <= 0))
            msg = (
                f"{sample.source}: field {named}: shower {sample.event_id[row]} has the incident energy "
                f"{incident[row]:g} GeV, expected more than 0"
            )
            raise DataError(msg)
        if len(sample) >= FEWEST:
            self._require_scale(sample.source, float(np.median(sums / incident)), float(np.median(incident)), named)

    def _require_scale(self, source: str, share: float, incident: float, named: str) -> None:
        cells = ", ".join(self.cells)
        if not self.low / 2 <= incident <= self.high * 2:
            guess = "GeV were taken for MeV" if incident < self.low else "MeV were taken for GeV"
            msg = (
                f"{source}: the median incident energy ({named}) is {incident:.4g} GeV, expected {self.low:g} to "
                f"{self.high:g} GeV: probably {guess}; {self.advice}"
            )
            raise DataError(msg)
        require_share(f"{source}: the cells ({cells})", share, f"incident energy ({named})", self.advice)


def require_not_negative(sample: Sample, name: str) -> None:
    """Refuse negative numbers in a field with the energies of cells.

    Parameters
    ----------
    sample
        Showers; the message counts them, and numbers them by their event ids.
    name
        The field, shape (n, ...), any unit of energy.

    Raises
    ------
    DataError
        A cell is negative.
    """
    cells = sample[name].reshape(len(sample), -1)
    lowest = cells.min(axis=1, initial=0)
    if (lowest < 0).any():
        row = int(np.argmax(lowest < 0))
        msg = (
            f"{sample.source}: field {name}: shower {sample.event_id[row]} has a cell with the negative energy "
            f"{lowest[row]:g} {sample.schema[name].unit}, and so have {int((lowest < 0).sum())} of the "
            f"{len(cells)} showers around it; set such cells to 0, or leave these showers out"
        )
        raise DataError(msg)


def require_share(cells: str, share: float, incident: str, advice: str) -> None:
    """Refuse a share of the incident energy, in the median of some showers, that only a wrong unit gives.

    Parameters
    ----------
    cells, incident
        Words for the cells, with their source, and for the incident energy.
    share
        Sum of the cells over the incident energy, in the same unit.
    advice
        What to do about a wrong unit.

    Raises
    ------
    DataError
        It is off by about a thousand.
    """
    if not _SMALLEST_SHARE <= share <= _LARGEST_SHARE:
        less = "the two are in different units" if share > 0 else "these showers are empty"
        guess = "cells in MeV were taken for GeV" if share > 1 else less
        msg = (
            f"{cells} sum to {share:.3g} times the {incident} in the median, expected a few percent to about 1: "
            f"probably {guess}; {advice}"
        )
        raise DataError(msg)


def incident_energy(sample: Sample, names: Sequence[str]) -> FloatArray:
    """Length of the vector of some fields, shape (n,): an energy, or the size of a momentum."""
    squares = [np.asarray(sample[name], dtype=np.float64) ** 2 for name in names]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)), dtype=np.float64)


def energy_factor(field: Field, unit: str) -> float | None:
    """Factor from a field's unit to a unit of energy; None if the field is no energy."""
    try:
        return conversion_factor(field.unit, unit)
    except DataError:
        return None


def find_incident(schema: Schema, name: str | None = None) -> Field:
    """The condition that is the incident energy: the named one, or the only scalar condition that is an energy.

    Raises
    ------
    DataError
        There is no such condition, or several.
    """
    energies = [f for f in schema.condition if not f.shape and energy_factor(f, "GeV") is not None]
    found = energies if name is None else [f for f in energies if f.name == name]
    if len(found) != 1:
        known = ", ".join(f.title for f in schema.condition) or "none"
        wanted = f"condition {name} with a unit of energy" if name else "one condition that is the incident energy"
        msg = f"expected {wanted}; the conditions are {known}"
        raise DataError(msg)
    return found[0]


def find_cells(schema: Schema, shapes: Sequence[tuple[int, ...]], name: str | None = None) -> Field:
    """The response that holds the energies of cells: the named one, or the only one of one of these shapes.

    Raises
    ------
    DataError
        There is no such response, or several.
    """
    fitting = [f for f in schema.response if f.shape in shapes and energy_factor(f, "GeV") is not None]
    found = fitting if name is None else [f for f in fitting if f.name == name]
    if len(found) != 1:
        known = ", ".join(f"{f.title} {f.shape or ''}".rstrip() for f in schema.response) or "none"
        wanted = " or ".join(str(shape) for shape in shapes)
        bare = next((f.name for f in schema.response if f.shape in shapes and not f.unit), None)
        advice = f"; {bare} has no unit: give it in a study, or as the column's unit in the file" if bare else ""
        msg = (
            f"expected one response{f' {name}' if name else ''} of shape {wanted}, an energy; the responses are "
            f"{known}{advice}"
        )
        raise DataError(msg)
    return found[0]
