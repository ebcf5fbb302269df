"""Showers for the report: single ones and averages of both samples at some incident energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.io.energies import energy_factor, find_incident, incident_energy
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]

# The energies at which showers of the LHCb calorimeter have been shown (Chekalina et al., arXiv:1812.01319).
ENERGIES: Final = (6.5, 15.6, 63.7)
_MOMENTUM: Final = ("px", "py", "pz")
_WINDOW: Final = 1.2
_FEWEST: Final = 5


@dataclass(frozen=True)
class View:
    """How cells become an image: all of an image, or a volume's sums along one of its axes.

    Attributes
    ----------
    summed
        The axis of a volume along which cells are summed; None for images.
    words
        The view's name; empty for images.
    axes
        What the image's two axes are.
    """

    summed: int | None
    words: str
    axes: tuple[str, str]

    def of(self, cells: npt.NDArray[np.generic]) -> FloatArray:
        """Images (..., rows, columns) of cells (..., rows, columns) or (..., layers, rows, columns)."""
        seen = np.asarray(cells, dtype=np.float64)
        return seen if self.summed is None else seen.sum(axis=self.summed - 3)


_PLANE: Final = (View(None, "", ("cell in x", "cell in y")),)
_VOLUME: Final = (
    View(1, "from the side", ("layer", "third axis of cells")),
    View(0, "from the front", ("second axis of cells", "third axis of cells")),
)


@dataclass(frozen=True)
class ShowerPictures:
    """Images of one response field at k incident energies.

    Attributes
    ----------
    field, unit
        Name and unit of the field.
    view
        How its cells are seen.
    energies
        Incident energy asked for, GeV, shape (k,).
    single_energies
        Incident energies of the single showers, GeV, shape (k, 2): reference, generated.
    single
        Single showers, shape (k, 2, rows, columns): reference, generated.
    average
        Weighted averages over showers within a factor 1.2 of the energy, same shape.
    counts
        Showers behind the averages, shape (k, 2).
    paired
        Whether the single showers of a column were made at one condition.
    """

    field: str
    unit: str
    view: View
    energies: FloatArray
    single_energies: FloatArray
    single: FloatArray
    average: FloatArray
    counts: npt.NDArray[np.int64]
    paired: bool


def shower_pictures(
    reference: Sample, generated: Sample, energies: Sequence[float] = ENERGIES
) -> tuple[ShowerPictures, ...]:
    """Pictures of each response that is an image of energies, and two views of each that is a volume of them.

    There are none where there is no incident energy.

    Energies with fewer than five showers of either sample around them are left out; if none is left, the incident
    energies that 20, 50 and 80 % of the reference lie below take their place.

    Parameters
    ----------
    reference, generated
        Samples with equal fields.
    energies
        Incident energies, GeV.
    """
    views = {2: _PLANE, 3: _VOLUME}
    seen = [
        (f, view)
        for f in reference.schema.response
        if energy_factor(f, "GeV") is not None
        for view in views.get(len(f.shape), ())
    ]
    names = _incident_names(reference)
    if not seen or names is None:
        return ()
    samples = (reference, generated)
    incident = [incident_energy(s, names) * (energy_factor(reference.schema[names[0]], "GeV") or 1.0) for s in samples]
    chosen = [e for e in energies if _near(incident, e)] or [
        e for e in map(float, np.quantile(incident[0], [0.2, 0.5, 0.8])) if _near(incident, e)
    ]
    if not chosen:
        return ()
    # Files without ids have their rows numbered, so equal ids are not enough.
    paired = np.array_equal(reference.event_id, generated.event_id) and np.allclose(
        reference.condition, generated.condition, rtol=1e-5
    )
    return tuple(_pictures(samples, incident, field, view, chosen, paired) for field, view in seen)


def _incident_names(sample: Sample) -> tuple[str, ...] | None:
    if {*_MOMENTUM} <= {f.name for f in sample.schema.condition}:
        return _MOMENTUM
    try:
        return (find_incident(sample.schema).name,)
    except DataError:
        return None


def _near(incident: Sequence[FloatArray], energy: float) -> bool:
    return all(np.sum(_inside(values, energy)) >= _FEWEST for values in incident)


def _inside(values: FloatArray, energy: float) -> npt.NDArray[np.bool_]:
    return np.asarray((values > energy / _WINDOW) & (values < energy * _WINDOW))


def _pictures(
    samples: tuple[Sample, Sample],
    incident: Sequence[FloatArray],
    field: Field,
    view: View,
    energies: list[float],
    paired: bool,
) -> ShowerPictures:
    shape = (len(energies), 2, *view.of(np.zeros(field.shape)).shape)
    single, average = np.zeros(shape), np.zeros(shape)
    at, counts = np.zeros((len(energies), 2)), np.zeros((len(energies), 2), dtype=np.int64)
    for k, energy in enumerate(energies):
        first = int(np.argmin(np.abs(np.log(incident[0] / energy))))
        for side, (sample, values) in enumerate(zip(samples, incident, strict=True)):
            row = first if paired else int(np.argmin(np.abs(np.log(values / energy))))
            rows = np.flatnonzero(_inside(values, energy))
            weight = sample.weight[rows]
            single[k, side], at[k, side] = view.of(sample[field.name][row]), values[row]
            total = float(np.sum(weight))
            images = view.of(sample[field.name][rows])
            average[k, side] = np.tensordot(weight / total, images, axes=1) if total > 0 else images.mean(axis=0)
            counts[k, side] = len(rows)
    return ShowerPictures(field.name, field.unit, view, np.asarray(energies), at, single, average, counts, paired)
