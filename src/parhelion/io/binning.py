"""Cylindrical voxels of the CaloChallenge: which layers there are, and how each is cut in angle and radius.

The files hold the voxels of a shower in one row: radius fastest, then angle, then layer. Which voxel is where is said
by an XML file beside them (``<Bins><Bin name pid><Layer id r_edges n_bin_alpha/>``), read and written here; the four
published geometries are built in as `DATASETS`.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.files import atomic_path

FloatArray = npt.NDArray[np.float64]

PARTICLES: Final[Mapping[str, int]] = {"photon": 22, "pion": 211, "electron": 11}
_LARGEST_XML: Final = 1 << 22


def midpoints(edges: FloatArray) -> FloatArray:
    """Middle of each bin, shape (bins,), of edges of shape (bins + 1,)."""
    found: FloatArray = (edges[1:] + edges[:-1]) / 2
    return found


@dataclass(frozen=True)
class Layer:
    """One layer of voxels.

    Attributes
    ----------
    number
        Its id in the binning file.
    r_edges
        Edges of the radial bins, ascending, mm.
    alpha_bins
        Number of equal bins in angle over the full turn.
    """

    number: int
    r_edges: tuple[float, ...]
    alpha_bins: int

    def __post_init__(self) -> None:
        """Check that there are bins."""
        if len(self.r_edges) < 2 or not np.isfinite(self.r_edges).all():
            msg = f"layer {self.number}: {len(self.r_edges)} edges in radius, expected at least 2 finite ones"
            raise DataError(msg)
        if self.r_edges[0] < 0:
            msg = f"layer {self.number}: the edges in radius begin at {self.r_edges[0]:g}, expected 0 or more"
            raise DataError(msg)
        at = next((i for i, (a, b) in enumerate(pairwise(self.r_edges)) if b <= a), None)
        if at is not None:
            low, high = self.r_edges[at : at + 2]
            msg = f"layer {self.number}: the edges in radius do not ascend ({low:g} is followed by {high:g})"
            raise DataError(msg)
        if self.alpha_bins < 1:
            msg = f"layer {self.number}: {self.alpha_bins} bins in angle, expected at least 1"
            raise DataError(msg)

    @property
    def r_bins(self) -> int:
        """Number of radial bins."""
        return len(self.r_edges) - 1

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return self.r_bins * self.alpha_bins

    @property
    def r_centres(self) -> FloatArray:
        """Midpoints of the radial bins, shape (r_bins,), mm."""
        return midpoints(np.asarray(self.r_edges))

    @property
    def alpha_centres(self) -> FloatArray:
        """Midpoints of the bins in angle from -pi to pi, shape (alpha_bins,), rad."""
        return midpoints(np.linspace(-np.pi, np.pi, self.alpha_bins + 1))


@dataclass(frozen=True)
class Geometry:
    """Voxels of a calorimeter.

    Attributes
    ----------
    name
        Name for messages and files.
    particle
        ``photon``, ``pion`` or ``electron``: which showers the binning is of.
    layers
        The layers that have voxels, in the file's order.
    threshold
        Voxels below it count as empty in the evaluation of the challenge, MeV.
    """

    name: str
    particle: str
    layers: tuple[Layer, ...]
    threshold: float

    def __post_init__(self) -> None:
        """Check that there are layers, each once."""
        if not self.layers:
            msg = f"binning {self.name}: no layer has voxels"
            raise DataError(msg)
        numbers = [layer.number for layer in self.layers]
        doubled = next((n for n in numbers if numbers.count(n) > 1), None)
        if doubled is not None:
            msg = f"binning {self.name}: layer {doubled} is described {numbers.count(doubled)} times, expected once"
            raise DataError(msg)

    @property
    def voxels(self) -> int:
        """Numbers in one row of a file."""
        return sum(layer.voxels for layer in self.layers)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a shower: (layers, alpha, r) where all layers are alike, else (voxels,)."""
        alike = {(layer.alpha_bins, layer.r_bins) for layer in self.layers}
        return (len(self.layers), *alike.pop()) if len(alike) == 1 else (self.voxels,)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where the voxels of each layer stand in a row."""
        ends = np.cumsum([layer.voxels for layer in self.layers])
        return tuple(slice(int(end) - layer.voxels, int(end)) for layer, end in zip(self.layers, ends, strict=True))

    @cached_property
    def radius(self) -> FloatArray:
        """Distance of each voxel's centre from the axis, shape (voxels,), mm."""
        return np.concatenate([np.tile(layer.r_centres, layer.alpha_bins) for layer in self.layers])

    @cached_property
    def alpha(self) -> FloatArray:
        """Angle of each voxel's centre, shape (voxels,), rad."""
        return np.concatenate([np.repeat(layer.alpha_centres, layer.r_bins) for layer in self.layers])

    @property
    def eta(self) -> FloatArray:
        """First transverse coordinate r cos(alpha) of each voxel's centre, shape (voxels,), mm."""
        return self.radius * np.cos(self.alpha)

    @property
    def phi(self) -> FloatArray:
        """Second transverse coordinate r sin(alpha) of each voxel's centre, shape (voxels,), mm."""
        return self.radius * np.sin(self.alpha)


def read_binning(path: str | os.PathLike[str], particle: str, *, threshold: float = 0.0, name: str = "") -> Geometry:
    """Geometry from a binning file.

    Parameters
    ----------
    path
        XML file.
    particle
        Name of the ``Bin`` to take: ``photon``, ``pion`` or ``electron``.
    threshold
        See `Geometry`; the file does not say it.
    name
        See `Geometry`; the name of the file if empty.

    Raises
    ------
    DataError
        The file is missing, no XML or no binning; it has no or several bins of this particle; or a layer's edges are
        no numbers or do not ascend.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{file}: no such file; expected the XML file that describes the voxels"
        raise DataError(msg)
    if file.stat().st_size > _LARGEST_XML:
        msg = f"{file}: {file.stat().st_size:,} bytes are too many for a description of voxels; expected an XML file"
        raise DataError(msg)
    data = file.read_bytes()
    if b"<!ENTITY" in data or b"<!DOCTYPE" in data:
        # Entities can grow without bound when they are expanded; a description of voxels has none.
        msg = f"{file}: declares a document type or entities, which a description of voxels does not need; remove them"
        raise DataError(msg)
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: encodings that are not known
        msg = f"{file}: is no XML ({error}); expected <Bins> with a <Bin> for each particle"
        raise DataError(msg) from None
    bins = list(root.iter("Bin"))
    found = [b for b in bins if b.get("name") == particle]
    if len(found) != 1:
        names = ", ".join(str(b.get("name")) for b in bins) or "none"
        msg = f"{file}: {len(found)} elements <Bin> are named {particle}, expected one; the names are {names}"
        raise DataError(msg)
    layers = [layer for element in found[0].iter("Layer") if (layer := _layer(element, file)) is not None]
    try:
        return Geometry(name or file.stem, particle, tuple(layers), threshold)
    except DataError as error:
        msg = f"{file}: {error}"
        raise DataError(msg) from None


def _layer(element: ElementTree.Element, file: Path) -> Layer | None:
    """Layer of an element; None for one without voxels, whose edges are a single number."""
    values = {key: element.get(key) for key in ("id", "r_edges", "n_bin_alpha")}
    missing = next((key for key, value in values.items() if value is None), None)
    if missing is not None:
        msg = f"{file}: an element <Layer> has no {missing}; expected id, r_edges and n_bin_alpha"
        raise DataError(msg)
    try:
        edges = tuple(float(text) for text in str(values["r_edges"]).split(","))
        number, alpha = int(str(values["id"])), int(str(values["n_bin_alpha"]))
    except ValueError as error:
        msg = f"{file}: layer {values['id']}: expected numbers in id, r_edges and n_bin_alpha ({error})"
        raise DataError(msg) from None
    if len(edges) == 1:
        return None
    try:
        return Layer(number, edges, alpha)
    except DataError as error:
        msg = f"{file}: {error}"
        raise DataError(msg) from None


def write_binning(geometry: Geometry, path: str | os.PathLike[str]) -> None:
    """Write a geometry as a binning file; layers that it skips are written without voxels, as in the published files.

    Raises
    ------
    WriteError
        The file cannot be written.
    """
    root = ElementTree.Element("Bins")
    pid = PARTICLES.get(geometry.particle, 0)
    inside = ElementTree.SubElement(root, "Bin", {"pid": str(pid), "name": geometry.particle})
    known = {layer.number: layer for layer in geometry.layers}
    order = [layer.number for layer in geometry.layers]
    for number in range(max(order) + 1) if order == sorted(order) else order:
        layer = known.get(number)
        edges = "0" if layer is None else ",".join(f"{edge:.17g}" for edge in layer.r_edges)
        values = {"id": str(number), "r_edges": edges, "n_bin_alpha": str(1 if layer is None else layer.alpha_bins)}
        ElementTree.SubElement(inside, "Layer", values)
    ElementTree.indent(root)
    with atomic_path(path) as temporary:
        temporary.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _regular(name: str, alpha_bins: int, r_bins: int, step: float) -> Geometry:
    # Round to what the published files say: 4.65 k and 2.325 k.
    edges = tuple(round(step * k, 6) for k in range(r_bins + 1))
    return Geometry(name, "electron", tuple(Layer(k, edges, alpha_bins) for k in range(45)), 0.5e-3 / 0.033)


_FRONT = (0.0, 5.0, 10.0, 30.0, 50.0, 100.0, 200.0, 400.0, 600.0)
_BACK = (0.0, 50.0, 100.0, 200.0, 400.0, 600.0)
_PHOTON_1 = (0, 2, 4, 6, 8, 10, 12, 15, 20, 30, 40, 50, 70, 90, 120, 150, 200)
_PHOTON_2 = (0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400)
_PHOTON_12 = (0, 100, 200, 400, 1000, 2000)
_PION_1 = (0, 1, 4, 7, 10, 15, 30, 50, 90, 150, 200)
_PION_2 = (0, 5, 10, 20, 30, 50, 80, 130, 200, 300, 400)
_PION_12 = (0, 10, 20, 30, 50, 80, 100, 130, 160, 200, 250, 300, 350, 400, 1000, 2000)
_PION_13 = (*_PION_12[:-2], 600, 1000, 2000)
_PION_14 = (0, 50, 100, 150, 200, 250, 300, 400, 600, 1000, 2000)


def _layers(*described: tuple[int, tuple[float, ...], int]) -> tuple[Layer, ...]:
    return tuple(Layer(number, tuple(map(float, edges)), alpha) for number, edges, alpha in described)


# Binning and thresholds as published (arXiv:2410.21611); the threshold of data set 1 was 10 MeV before November 2023.
DATASETS: Final[Mapping[str, Geometry]] = {
    "1-photons": Geometry(
        "1-photons",
        "photon",
        _layers(
            (0, _FRONT, 1), (1, _PHOTON_1, 10), (2, _PHOTON_2, 10), (3, _BACK, 1), (12, _PHOTON_12, 1)
        ),
        1.0,
    ),
    "1-pions": Geometry(
        "1-pions",
        "pion",
        _layers(
            (0, _FRONT, 1), (1, _PION_1, 10), (2, _PION_2, 10), (3, _BACK, 1), (12, _PION_12, 10), (13, _PION_13, 10),
            (14, _PION_14, 1),
        ),
        1.0,
    ),
    "2": _regular("2", 16, 9, 4.65),
    "3": _regular("3", 50, 18, 2.325),
}  # fmt: skip
