"""Observables of showers in a block of cells: the set `cube`."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option

from parhelion.errors import ConfigError, DataError
from parhelion.io.energies import find_cells, find_incident
from parhelion.observables import showers
from parhelion.observables.base import Array, Observables, ObservablesConfig, cells_in, energy_in
from parhelion.observables.curves import longitudinal_profile
from parhelion.sample import Field, Sample, Schema

FloatArray = npt.NDArray[np.float64]


class CubeConfig(ObservablesConfig):
    """Options of the set `cube`.

    Attributes
    ----------
    response, incident
        Response with the cells, axes (layer, x, y), and condition with the incident energy; found by shape and unit
        if not given.
    cell
        Size of a cell along x and y, mm.
    threshold
        Cells with less are dropped before everything (half a minimum ionising particle), GeV.
    top, bins
        Upper end, GeV, and number of the logarithmic bins of the spectrum, which starts at the threshold.
    rings
        Edges of the rings of the radial profile around the centroid, mm.
    """

    response: str | None = None
    incident: str | None = None
    cell: Annotated[float, Option(gt=0)] = 5.0
    threshold: Annotated[float, Option(gt=0)] = 1e-4
    top: Annotated[float, Option(gt=0)] = 1.0
    bins: Annotated[int, Option(ge=2)] = 40
    rings: tuple[float, ...] = tuple(float(v) for v in range(0, 76, 5))


class CubeObservables(Observables):
    """Observables of a shower in a block of cells (Buhmann et al., arXiv:2005.05334, section 5).

    Observables: `total` (GeV), `response`, `hits`, `hottest` (share of the hottest cell), `centre_x`, `centre_y` (mm),
    `centre_z` (layers), `width_x`, `width_y` (mm), `width_z` (layers), `radius_90` (mm, around the shower's axis),
    `front`, `middle`, `back` (shares of the energy in the thirds of the depth). Curves: `spectrum`,
    `longitudinal_profile`, `radial_profile`.
    """

    kind: ClassVar[str] = "cube"
    Config: ClassVar[type[ObservablesConfig]] = CubeConfig

    def __init__(self, schema: Schema, config: CubeConfig | None = None) -> None:
        self.config = c = config or CubeConfig()
        blocks = [f.shape for f in schema.response if len(f.shape) == 3]
        try:
            self._cells = find_cells(schema, blocks or [(30, 30, 30)], c.response)
            self._incident = find_incident(schema, c.incident)
        except DataError as error:
            msg = f"observables {self.kind}: {error}"
            raise ConfigError(msg) from None
        if c.top <= c.threshold or len(c.rings) < 2 or not (np.diff(c.rings) > 0).all():
            msg = (
                f"observables {self.kind}: top {c.top:g} GeV, threshold {c.threshold:g} GeV, {len(c.rings)} edges of "
                "rings; expected top above the threshold and at least two ascending edges"
            )
            raise ConfigError(msg)
        layers, *plane = self._cells.shape
        self._x, self._y = showers.grid((plane[0], plane[1]), c.cell)
        self._edges = np.geomspace(c.threshold, c.top, c.bins + 1)
        self.fields = (
            Field("total", "GeV"),
            Field("response"),
            Field("hits", kind="integer"),
            Field("hottest"),
            Field("centre_x", "mm"),
            Field("centre_y", "mm"),
            Field("centre_z"),
            Field("width_x", "mm"),
            Field("width_y", "mm"),
            Field("width_z"),
            Field("radius_90", "mm"),
            Field("front"),
            Field("middle"),
            Field("back"),
        )
        self.curves = (
            Field("spectrum", shape=(c.bins,)),
            Field("longitudinal_profile", shape=(layers,)),
            Field("radial_profile", shape=(len(c.rings) - 1,)),
        )

    def compute(self, sample: Sample) -> dict[str, Array]:
        """See the class."""
        c, n = self.config, len(sample)
        given = cells_in(sample, self._cells)
        energy = np.where(given < c.threshold, given.dtype.type(0), given)
        layers = self._cells.shape[0]
        profile = longitudinal_profile(energy.reshape(n, layers, -1))
        number: FloatArray = np.arange(layers, dtype=np.float64)
        depth = profile @ number
        plane = energy.reshape(n, layers, -1).sum(axis=1, dtype=np.float64)
        x, y = self._x, self._y
        total, centre = showers.total(plane), showers.centroid(plane, x, y)
        spread = np.sqrt(np.maximum(showers.covariance(plane, x, y), 0.0))
        away = showers.distance(x, y, centre)
        thirds = [profile[:, part].sum(axis=1) for part in np.array_split(np.arange(layers), 3)]
        return {
            "total": total,
            "response": showers.share(total, energy_in(sample, self._incident)),
            "hits": showers.hits(energy, 0.0),
            "hottest": showers.share(showers.hottest(energy, 1)[:, 0], total),
            "centre_x": centre[:, 0],
            "centre_y": centre[:, 1],
            "centre_z": depth,
            "width_x": spread[:, 0],
            "width_y": spread[:, 2],
            "width_z": np.sqrt(np.maximum(profile @ number**2 - depth**2, 0.0)),
            "radius_90": showers.containment_radius(plane, away),
            "front": thirds[0],
            "middle": thirds[1],
            "back": thirds[2],
            "spectrum": showers.spectrum(energy, self._edges),
            "longitudinal_profile": profile,
            "radial_profile": showers.radial_profile(plane, away, np.asarray(c.rings)),
        }
