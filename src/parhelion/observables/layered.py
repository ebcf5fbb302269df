"""Observables of showers in three layers of different cells: the set `calogan`."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option

from parhelion.errors import ConfigError, DataError
from parhelion.io.energies import energy_factor, find_incident
from parhelion.observables import calogan
from parhelion.observables.base import Array, Observables, ObservablesConfig, cells_in, energy_in
from parhelion.observables.showers import hits, hottest, share
from parhelion.sample import Field, Sample, Schema

FloatArray = npt.NDArray[np.float64]


class CaloganConfig(ObservablesConfig):
    """Options of the set `calogan`.

    Attributes
    ----------
    layers
        Response fields, from the front to the back; all images among the responses, in their order, if not given.
    incident
        Condition with the incident energy; the only energy among the conditions if not given.
    half
        Half of the extent of each layer along its first axis (eta), mm.
    threshold
        A cell with more is a hit, GeV.
    brightest
        Number of hottest cells whose shares are observables.
    """

    layers: tuple[str, ...] = ()
    incident: str | None = None
    half: Annotated[float, Option(gt=0)] = 240.0
    threshold: Annotated[float, Option(ge=0)] = 0.0
    brightest: Annotated[int, Option(ge=2, le=20)] = 5


class CaloganObservables(Observables):
    """CaloGAN's shower shapes, see `parhelion.observables.calogan`.

    Observables: `total` (GeV), `response`, `depth` (deepest layer with energy), `depth_weighted` (l_d, GeV),
    `shower_depth` (s_d), `shower_depth_width` (sigma_sd), and of layer i: `energy_i` (GeV), `fraction_i`, `width_i`
    (mm), `ratio_i` (of the two hottest cells), `sparsity_i` (share of cells above the threshold), `brightest_i` (shares
    of the hottest cells in the layer's energy); `hits` of all layers.
    """

    kind: ClassVar[str] = "calogan"
    Config: ClassVar[type[ObservablesConfig]] = CaloganConfig

    def __init__(self, schema: Schema, config: CaloganConfig | None = None) -> None:
        self.config = c = config or CaloganConfig()
        known = {f.name: f for f in schema.response}
        images = [f for f in schema.response if len(f.shape) == 2 and energy_factor(f, "GeV") is not None]
        missing = [name for name in c.layers if name not in known or len(known[name].shape) != 2]
        if missing or not (c.layers or len(images) > 1):
            listed = ", ".join(f"{f.title} {f.shape}" for f in schema.response) or "none"
            wanted = f"an image {missing[0]}" if missing else "an image with a unit of energy for each layer"
            msg = f"observables {self.kind}: expected {wanted} among the responses; they are {listed}"
            raise ConfigError(msg)
        self._layers = tuple(known[name] for name in c.layers) or tuple(images)
        try:
            self._incident = find_incident(schema, c.incident)
        except DataError as error:
            msg = f"observables {self.kind}: {error}"
            raise ConfigError(msg) from None
        numbers = range(len(self._layers))
        self.fields = (
            Field("total", "GeV"),
            Field("response"),
            Field("depth", kind="integer"),
            Field("depth_weighted", "GeV"),
            Field("shower_depth"),
            Field("shower_depth_width"),
            Field("hits", kind="integer"),
            *(Field(f"energy_{i}", "GeV") for i in numbers),
            *(Field(f"fraction_{i}") for i in numbers),
            *(Field(f"width_{i}", "mm") for i in numbers),
            *(Field(f"ratio_{i}") for i in numbers),
            *(Field(f"sparsity_{i}") for i in numbers),
            *(Field(f"brightest_{i}", shape=(c.brightest,)) for i in numbers),
        )

    def compute(self, sample: Sample) -> dict[str, Array]:
        """See the class."""
        c, n = self.config, len(sample)
        layers = [cells_in(sample, f).reshape(n, *f.shape) for f in self._layers]
        energies = calogan.layer_energies(layers)
        total: FloatArray = energies.sum(axis=1)
        found: dict[str, Array] = {
            "total": total,
            "response": share(total, energy_in(sample, self._incident)),
            "depth": calogan.depth(energies),
            "depth_weighted": calogan.depth_weighted(energies),
            "shower_depth": calogan.shower_depth(energies),
            "shower_depth_width": calogan.shower_depth_width(energies),
            "hits": np.sum([hits(calogan.flat(layer), c.threshold) for layer in layers], axis=0),
        }
        for i, layer in enumerate(layers):
            found[f"energy_{i}"] = energies[:, i]
            found[f"fraction_{i}"] = share(energies[:, i], total)
            found[f"width_{i}"] = calogan.lateral_width(layer, c.half)
            found[f"ratio_{i}"] = calogan.two_cell_ratio(layer)
            found[f"sparsity_{i}"] = calogan.cell_sparsity(layer, c.threshold)
            found[f"brightest_{i}"] = share(hottest(calogan.flat(layer), c.brightest), energies[:, i : i + 1])
        return found
