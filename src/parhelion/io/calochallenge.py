"""Showers in the CaloChallenge's HDF5 files: ``incident_energies`` (n, 1) and ``showers`` (n, voxels), in MeV.

The voxels are those of a `parhelion.io.binning.Geometry`; the four published ones are `DATASETS`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, WriteError
from parhelion.files import atomic_path
from parhelion.io.binning import DATASETS, Geometry, read_binning, write_binning
from parhelion.io.energies import EnergyCheck, find_cells, find_incident
from parhelion.io.formats import PathLike
from parhelion.io.hdf5 import Hdf5Writer
from parhelion.io.layout import FieldSource, Layout
from parhelion.io.reading import columns, iterate, read
from parhelion.io.units import conversion_factor
from parhelion.sample import Field, Sample

__all__ = [
    "DATASETS",
    "INCIDENT",
    "RESPONSE",
    "Geometry",
    "iterate_showers",
    "layout",
    "read_binning",
    "read_showers",
    "shower_fields",
    "write_binning",
    "write_showers",
]

INCIDENT: Final = "incident_energy"
RESPONSE: Final = "energy"
_INCIDENT_COLUMN: Final = "incident_energies"
_SHOWER_COLUMN: Final = "showers"
# Lowest and highest incident energies of the published samples, GeV.
_RANGES: Final = {"1-photons": (0.256, 4194.304), "1-pions": (0.256, 4194.304), "2": (1.0, 1000.0), "3": (1.0, 1000.0)}


def shower_fields(geometry: Geometry) -> tuple[Field, Field]:
    """Fields of such showers: the incident energy (condition) and the voxels (response), both in GeV."""
    return Field(INCIDENT, "GeV"), Field(RESPONSE, "GeV", geometry.shape)


def layout(geometry: Geometry, *, file_unit: str = "MeV", check: bool = True) -> Layout:
    """Layout for `parhelion.io.read` and `iterate`; studies name it ``format: calochallenge-2`` and so on.

    Parameters
    ----------
    geometry
        Voxels of the file.
    file_unit
        Unit of the file's numbers; the challenge's files are in MeV.
    check
        Refuse negative voxels and energies on the scale of a wrong unit.
    """
    incident, response = shower_fields(geometry)
    low, high = _RANGES.get(geometry.name, (1e-3, 1e4))
    advice = "give the unit of the file's numbers (file_unit)"
    return Layout(
        condition=(FieldSource(incident, (_INCIDENT_COLUMN,), file_unit),),
        response=(FieldSource(response, (_SHOWER_COLUMN,), file_unit),),
        check=EnergyCheck((RESPONSE,), (INCIDENT,), low, high, advice) if check else None,
    )


def read_showers(
    path: PathLike | Iterable[PathLike], geometry: Geometry, *, file_unit: str = "MeV", limit: int | None = None
) -> Sample:
    """Read showers into one sample: condition `incident_energy`, response `energy` of the geometry's shape, in GeV.

    Parameters
    ----------
    path
        File, pattern or several.
    geometry
        Voxels of the file.
    file_unit
        Unit of the file's numbers.
    limit
        Stop after so many showers.

    Raises
    ------
    DataError
        The file cannot be read, is truncated, or has other columns or another number of voxels; a number is NaN, a
        voxel negative, or the energies are on the scale of a wrong unit.
    """
    _require_columns(path, geometry)
    return read(path, layout(geometry, file_unit=file_unit), limit=limit)


def iterate_showers(
    path: PathLike | Iterable[PathLike], geometry: Geometry, *, file_unit: str = "MeV", chunk_rows: int = 10_000
) -> Iterator[Sample]:
    """Read showers as a stream of samples, see `read_showers`; never more than a chunk is in memory."""
    _require_columns(path, geometry)
    yield from iterate(path, layout(geometry, file_unit=file_unit), chunk_rows=chunk_rows)


def _require_columns(path: PathLike | Iterable[PathLike], geometry: Geometry) -> None:
    """Say what the file is rather than which column is missing."""
    for file in [path] if isinstance(path, str | os.PathLike) else list(path):
        if not Path(file).is_file():
            continue  # a pattern, or missing: the reader says it
        found = {info.name: info for info in columns(file)}
        missing = [name for name in (_INCIDENT_COLUMN, _SHOWER_COLUMN) if name not in found]
        if missing:
            msg = (
                f"{file}: is no file of the CaloChallenge: {missing[0]} is missing; it has "
                f"{', '.join(found) or 'no data'}"
            )
            raise DataError(msg)
        shape = found[_SHOWER_COLUMN].shape
        if shape is not None and int(np.prod(shape, dtype=int)) != geometry.voxels:
            fits = [name for name, known in DATASETS.items() if (known.voxels,) == shape]
            hint = f"; data set {fits[0]} has so many" if fits else ""
            msg = (
                f"{file}: {int(np.prod(shape, dtype=int))} voxels a shower, expected the {geometry.voxels} of data set "
                f"{geometry.name}{hint}"
            )
            raise DataError(msg)


def write_showers(
    samples: Sample | Iterable[Sample],
    path: PathLike,
    geometry: Geometry,
    *,
    file_unit: str = "MeV",
    overwrite: bool = False,
) -> int:
    """Write showers as the challenge's tools read them.

    Numbers keep their precision; where the samples are in another unit than the file, the factor is applied in double
    precision and rounded once. The format has no place for weights, event ids and provenance.

    Parameters
    ----------
    samples
        A sample, or a stream: the condition that is an energy, and the response of the geometry's shape, are written.
    path
        The file, ``.hdf5`` or ``.h5``.
    geometry
        Voxels of the showers.
    file_unit
        Unit to write.
    overwrite
        Replace a file that exists.

    Returns
    -------
    int
        Showers written.

    Raises
    ------
    DataError
        There are no showers, a field is missing or of another shape, or the weights differ.
    WriteError
        The file exists, or cannot be written. Nothing is left behind.
    """
    target = Path(path)
    if target.suffix.lower() not in (".h5", ".hdf5"):
        msg = f"{target}: files of the CaloChallenge are HDF5; choose a name that ends in .hdf5"
        raise WriteError(msg)
    if target.exists() and not overwrite:
        msg = f"{target}: exists already; choose another name, remove it, or ask to overwrite it"
        raise WriteError(msg)
    stream = iter((samples,) if isinstance(samples, Sample) else samples)
    first = next((s for s in stream if len(s)), None)
    if first is None:
        msg = f"{target}: there are no showers to write"
        raise DataError(msg)
    begun = _stored(first, geometry, file_unit)
    types = {name: (values.dtype, values.shape[1:]) for name, values in begun.items()}
    rows = 0
    with atomic_path(target) as temporary, Hdf5Writer(temporary, types, "", "") as out:
        for part in chain([begun], (_stored(s, geometry, file_unit) for s in stream)):
            out.append({name: values.astype(types[name][0], copy=False) for name, values in part.items()})
            rows += len(part[_SHOWER_COLUMN])
    return rows


def _stored(sample: Sample, geometry: Geometry, file_unit: str) -> dict[str, npt.NDArray[Any]]:
    try:
        incident = find_incident(sample.schema)
        cells = find_cells(sample.schema, [geometry.shape, (geometry.voxels,)])
    except DataError as error:
        msg = f"{sample.source}: data set {geometry.name}: {error}"
        raise DataError(msg) from None
    if len(sample) and np.ptp(sample.weight) > 1e-9 * np.abs(sample.weight).max():
        msg = f"{sample.source}: the weights differ, and files of the CaloChallenge hold none; write another format"
        raise DataError(msg)
    parts = {}
    for field, column, width in ((incident, _INCIDENT_COLUMN, 1), (cells, _SHOWER_COLUMN, geometry.voxels)):
        values = sample[field.name].reshape(len(sample), width)
        factor = conversion_factor(field.unit, file_unit)
        kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
        scaled = values if factor == 1 else values.astype(np.float64) * factor
        parts[column] = np.ascontiguousarray(scaled, dtype=kind)
    return parts
