"""Observables of showers in the voxels of a cylinder: the set `calochallenge`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option

from parhelion.errors import ConfigError, DataError
from parhelion.io.binning import DATASETS
from parhelion.io.energies import find_cells, find_incident
from parhelion.observables.base import Array, Observables, ObservablesConfig, cells_in, energy_in
from parhelion.observables.calochallenge import cut, high_level
from parhelion.observables.showers import hits, share, spectrum
from parhelion.sample import Field, Sample, Schema

FloatArray = npt.NDArray[np.float64]


class CalochallengeConfig(ObservablesConfig):
    """Options of the set `calochallenge`.

    Attributes
    ----------
    dataset
        Which published geometry, with its threshold.
    response, incident
        Response with the voxels, and condition with the incident energy; found by shape and unit if not given.
    bins
        Logarithmic bins of the spectrum of voxel energies, from the threshold to 1 TeV.
    """

    dataset: Literal["1-photons", "1-pions", "2", "3"] = "2"
    response: str | None = None
    incident: str | None = None
    bins: Annotated[int, Option(ge=2)] = 49


class CalochallengeObservables(Observables):
    """High-level features of the CaloChallenge, see `parhelion.observables.calochallenge`; energies in GeV.

    Observables: `total`, `response` (total over incident energy), `hits` (voxels above the threshold), and with one
    number a layer `layer_energy`, `layer_sparsity`, `centre_r`, `width_r` (mm); with one a layer that is cut in
    angle `centre_eta`, `centre_phi`, `width_eta`, `width_phi` (mm); `depth` and `depth_width` (energy-weighted mean
    and spread of the position of the layers). Curves: `spectrum` and `longitudinal_profile`.
    """

    kind: ClassVar[str] = "calochallenge"
    Config: ClassVar[type[ObservablesConfig]] = CalochallengeConfig

    def __init__(self, schema: Schema, config: CalochallengeConfig | None = None) -> None:
        self.config = c = config or CalochallengeConfig()
        self.geometry = g = DATASETS[c.dataset]
        try:
            self._cells = find_cells(schema, [g.shape, (g.voxels,)], c.response)
            self._incident = find_incident(schema, c.incident)
        except DataError as error:
            msg = f"observables {self.kind} (data set {c.dataset}): {error}"
            raise ConfigError(msg) from None
        layers, angular = len(g.layers), sum(layer.alpha_bins > 1 for layer in g.layers)
        self._edges = np.geomspace(g.threshold, 1e6, c.bins + 1)
        self.fields = (
            Field("total", "GeV"),
            Field("response"),
            Field("depth"),
            Field("depth_width"),
            Field("hits", kind="integer"),
            Field("layer_energy", "GeV", (layers,)),
            Field("layer_sparsity", "", (layers,)),
            Field("centre_r", "mm", (layers,)),
            Field("width_r", "mm", (layers,)),
            *(Field(name, "mm", (angular,)) for name in ("centre_eta", "centre_phi", "width_eta", "width_phi")),
        )
        self.curves = (Field("spectrum", shape=(c.bins,)), Field("longitudinal_profile", shape=(layers,)))

    def compute(self, sample: Sample) -> dict[str, Array]:
        """See the class."""
        energies = cut(cells_in(sample, self._cells, "MeV"), self.geometry)
        features = high_level(energies, self.geometry)
        profile = share(features.layer_energy, features.total[:, None])
        layers: FloatArray = np.arange(profile.shape[1], dtype=np.float64)
        depth = profile @ layers
        return {
            "total": features.total * 1e-3,
            "response": share(features.total, energy_in(sample, self._incident, "MeV")),
            "depth": depth,
            "depth_width": np.sqrt(np.maximum(profile @ layers**2 - depth**2, 0.0)),
            "hits": hits(energies, 0.0),
            "layer_energy": features.layer_energy * 1e-3,
            "layer_sparsity": features.sparsity,
            "centre_r": features.centre_r,
            "width_r": features.width_r,
            "centre_eta": features.centre_eta,
            "centre_phi": features.centre_phi,
            "width_eta": features.width_eta,
            "width_phi": features.width_phi,
            "spectrum": spectrum(energies, self._edges),
            "longitudinal_profile": profile,
        }
