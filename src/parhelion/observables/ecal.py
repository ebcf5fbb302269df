"""Observables of showers in an image: the set `ecal`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option
from pydantic import field_validator

from parhelion.errors import ConfigError, DataError
from parhelion.io.energies import find_cells
from parhelion.io.units import conversion_factor
from parhelion.observables import showers
from parhelion.observables.base import Array, Observables, ObservablesConfig, cells_in, energy_in
from parhelion.sample import Field, Sample, Schema

FloatArray = npt.NDArray[np.float64]


class EcalConfig(ObservablesConfig):
    """Options of the set `ecal`.

    Attributes
    ----------
    response
        Response field with the image; the only one if not given.
    momentum, impact
        Conditions with px, py, pz, and with x, y at the front face, along the image's axes.
    cell
        Size of a cell, mm.
    depth
        Distance behind the front face at which the track's position is compared with the shower, mm: about the mean
        depth of the energy.
    threshold
        A cell with more is a hit, GeV.
    levels
        Thresholds of the sparsity, relative to the shower's energy.
    spectrum
        Lower and upper end, GeV, and number of logarithmic bins of the spectrum of cell energies.
    rings
        Edges of the rings of the radial profile around the track, mm.
    """

    response: str | None = None
    momentum: tuple[str, str, str] = ("px", "py", "pz")
    impact: tuple[str, str] = ("x", "y")
    cell: Annotated[float, Option(gt=0)] = 20.0
    depth: Annotated[float, Option(ge=0)] = 120.0
    threshold: Annotated[float, Option(ge=0)] = 1e-4
    levels: tuple[Annotated[float, Option(gt=0, lt=1)], ...] = tuple(float(v) for v in np.logspace(-5, -1, 20))
    spectrum: tuple[float, float, int] = (1e-4, 20.0, 40)
    rings: tuple[float, ...] = tuple(float(v) for v in range(0, 301, 20))

    @field_validator("spectrum")
    @classmethod
    def _bins(cls, value: tuple[float, float, int]) -> tuple[float, float, int]:
        if not 0 < value[0] < value[1] or value[2] < 2:
            msg = "expected lower end above 0, a larger upper end, and at least 2 bins"
            raise ValueError(msg)
        return value

    @field_validator("rings")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) < 2 or not (np.diff(value) > 0).all():
            msg = "expected at least two edges in ascending order"
            raise ValueError(msg)
        return value


class EcalObservables(Observables):
    """Observables of a shower in an image, relative to the particle's track.

    Condition: `incident_energy` (the size of the momentum, GeV). Observables: `total` (GeV), `response` (total over
    incident energy), `width_along`, `width_across` (mm; along the track's transverse direction, and its normal),
    `asymmetry_along`, `asymmetry_across`, `shift_x`, `shift_y` (centroid minus track, mm), `radius_90` (mm, around the
    centroid), `hottest` (share of the hottest cell), `hits`, `sparsity` (share of cells above each relative
    threshold). Curves: `spectrum` (cells in bins of energy), `radial_profile` (shares of the energy in rings around
    the track). For definitions see `parhelion.observables.showers`.
    """

    kind: ClassVar[str] = "ecal"
    Config: ClassVar[type[ObservablesConfig]] = EcalConfig

    def __init__(self, schema: Schema, config: EcalConfig | None = None) -> None:
        self.config = c = config or EcalConfig()
        images = [f.shape for f in schema.response if len(f.shape) == 2]
        try:
            self._cells = find_cells(schema, images or [(30, 30)], c.response)
        except DataError as error:
            msg = f"observables {self.kind}: {error}"
            raise ConfigError(msg) from None
        known = {f.name: f for f in schema.condition}
        for name in (*c.momentum, *c.impact):
            if name not in known:
                msg = f"observables {self.kind}: there is no condition {name}; there are {', '.join(known) or 'none'}"
                raise ConfigError(msg)
        self._momentum = tuple(known[name] for name in c.momentum)
        units = [known[name].unit or "mm" for name in c.impact]
        try:
            self._lengths = np.array([conversion_factor(unit, "mm") for unit in units])
        except DataError as error:
            msg = f"observables {self.kind}: conditions {' and '.join(c.impact)}: {error}"
            raise ConfigError(msg) from None
        self._x, self._y = showers.grid((self._cells.shape[0], self._cells.shape[1]), c.cell)
        self._edges = np.geomspace(c.spectrum[0], c.spectrum[1], c.spectrum[2] + 1)
        self.conditions = (Field("incident_energy", "GeV"),)
        self.fields = (
            Field("total", "GeV"),
            Field("response"),
            Field("width_along", "mm"),
            Field("width_across", "mm"),
            Field("asymmetry_along"),
            Field("asymmetry_across"),
            Field("shift_x", "mm"),
            Field("shift_y", "mm"),
            Field("radius_90", "mm"),
            Field("hottest"),
            Field("hits", kind="integer"),
            Field("sparsity", shape=(len(c.levels),)),
        )
        self.curves = (Field("spectrum", shape=(c.spectrum[2],)), Field("radial_profile", shape=(len(c.rings) - 1,)))

    def compute(self, sample: Sample) -> dict[str, Array]:
        """See the class."""
        c = self.config
        energy = cells_in(sample, self._cells)
        x, y = self._x, self._y
        momentum = np.stack([energy_in(sample, f) for f in self._momentum], axis=1)
        incident = np.sqrt(np.sum(momentum**2, axis=1))
        direction = showers.track_direction(momentum[:, 0], momentum[:, 1])
        normal = showers.across(direction)
        impact: Any = np.stack([np.asarray(sample[name], dtype=np.float64) for name in c.impact], axis=1)
        impact *= self._lengths
        slope = np.divide(momentum[:, :2], momentum[:, 2:], out=np.zeros_like(impact), where=momentum[:, 2:] != 0)
        point = showers.shower_point(impact, slope, c.depth)
        total, centre = showers.total(energy), showers.centroid(energy, x, y)
        shift = np.where(total[:, None] > 0, centre - point, 0.0)
        away = showers.distance(x, y, centre)
        return {
            "incident_energy": incident,
            "total": total,
            "response": showers.share(total, incident),
            "width_along": showers.width(energy, x, y, direction),
            "width_across": showers.width(energy, x, y, normal),
            "asymmetry_along": showers.asymmetry(energy, x, y, point, direction),
            "asymmetry_across": showers.asymmetry(energy, x, y, point, normal),
            "shift_x": shift[:, 0],
            "shift_y": shift[:, 1],
            "radius_90": showers.containment_radius(energy, away),
            "hottest": showers.share(showers.hottest(energy, 1)[:, 0], total),
            "hits": showers.hits(energy, c.threshold),
            "sparsity": showers.sparsity(energy, c.levels),
            "spectrum": showers.spectrum(energy, self._edges),
            "radial_profile": showers.radial_profile(energy, showers.distance(x, y, point), np.asarray(c.rings)),
        }
