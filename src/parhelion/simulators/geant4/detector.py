"""A sampling calorimeter as plain numbers: segments of equal layers, layers of slabs, slabs cut into cells.

The front face is the plane z = 0, particles come from z < 0, x and y are 0 at the centre. Lengths in mm.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from parhelion.errors import ConfigError


@dataclass(frozen=True)
class Slab:
    """A plate.

    Attributes
    ----------
    material
        Name in Geant4's NIST list (``G4_Pb``).
    thickness
        Thickness [mm].
    active
        Whether its energy goes to cells. The energy of the others is summed over the whole segment.
    """

    material: str
    thickness: float
    active: bool = False


@dataclass(frozen=True)
class BoxGrid:
    """Equal rectangular cells over the whole width: axes (x, y), both increasing.

    Attributes
    ----------
    nx, ny
        Number of cells.
    """

    nx: int
    ny: int

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along the axes (x, y)."""
        return self.nx, self.ny


@dataclass(frozen=True)
class TubeGrid:
    """Rings around the z axis, cut at equal angles: axes (alpha, r), alpha from -pi to pi.

    Attributes
    ----------
    n_alpha, n_r
        Number of cells in angle, and of rings.
    ring
        Width of a ring [mm].
    """

    n_alpha: int
    n_r: int
    ring: float

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along the axes (alpha, r)."""
        return self.n_alpha, self.n_r


@dataclass(frozen=True)
class Segment:
    """Equal layers behind each other, read out with one grid.

    Attributes
    ----------
    layers
        Their number.
    slabs
        The slabs of one layer, front to back.
    grid
        Cells of the active slabs.
    summed
        Whether cells sum over the layers.
    """

    layers: int
    slabs: tuple[Slab, ...]
    grid: BoxGrid | TubeGrid
    summed: bool = False

    @property
    def depth(self) -> float:
        """Length along z [mm]."""
        return self.layers * sum(slab.thickness for slab in self.slabs)


@dataclass(frozen=True)
class Detector:
    """Segments behind each other in vacuum.

    Attributes
    ----------
    width
        Length of each side in x and y [mm].
    segments
        Front to back.
    """

    width: float
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        """Check that the detector can be built."""
        for segment in self.segments:
            grid = segment.grid
            if isinstance(grid, TubeGrid) and 2 * grid.n_r * grid.ring > self.width:
                msg = f"detector: rings up to {grid.n_r * grid.ring:g} mm do not fit into a width of {self.width:g} mm"
                raise ConfigError(msg)
            if not any(slab.active for slab in segment.slabs):
                msg = "detector: a segment has no active slab; nothing would be read out"
                raise ConfigError(msg)

    @property
    def depth(self) -> float:
        """Length along z [mm]."""
        return sum(segment.depth for segment in self.segments)

    @property
    def materials(self) -> tuple[str, ...]:
        """All materials, each once."""
        return tuple(dict.fromkeys(slab.material for segment in self.segments for slab in segment.slabs))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the worker; each grid says its kind."""
        plain = asdict(self)
        for segment, original in zip(plain["segments"], self.segments, strict=True):
            segment["grid"]["kind"] = "tube" if isinstance(original.grid, TubeGrid) else "box"
        return plain
