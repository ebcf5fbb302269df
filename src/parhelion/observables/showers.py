"""Shapes of showers in a plane of cells: widths, asymmetries, shifts, containment, sparsity.

Every function takes energies of shape (n, k), one row a shower and one column a cell, and the positions of the cells'
centres, shape (k,), so that any grid will do; `grid` makes those of an image. Directions are defined by geometry: along
is the unit vector of the transverse momentum (px, py) / pT, across its normal, turned by +90 degrees. A shower without
energy has 0 in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Energies = npt.NDArray[np.floating]


def grid(shape: tuple[int, int], cell: float | tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Centres of the cells of an image around the origin, flattened as the image is.

    Parameters
    ----------
    shape
        Cells along the first axis (x) and the second axis (y).
    cell
        Size of a cell along both axes, or along each, mm.

    Returns
    -------
    tuple
        x and y of each cell, shapes (k,), mm.
    """
    sizes = cell if isinstance(cell, tuple) else (cell, cell)
    x, y = ((np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, sizes, strict=True))
    first, second = np.meshgrid(x, y, indexing="ij")
    return first.ravel(), second.ravel()


def total(energy: Energies) -> FloatArray:
    """Sum over the cells, shape (n,), in the unit of the cells."""
    found: FloatArray = energy.sum(axis=1, dtype=np.float64)
    return found


def share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Part over whole, 0 where the whole is not positive; shapes that broadcast."""
    size = np.broadcast_shapes(part.shape, whole.shape)
    found = np.zeros(size)
    np.divide(part, whole, out=found, where=np.broadcast_to(whole > 0, size))
    return found


def track_direction(px: npt.ArrayLike, py: npt.ArrayLike) -> FloatArray:
    """Unit vectors of the transverse momentum, shape (n, 2); the first axis where there is none.

    Parameters
    ----------
    px, py
        Components of the momentum along the two axes of the image, shapes (n,), any unit.
    """
    vector = np.stack([np.asarray(px, dtype=np.float64), np.asarray(py, dtype=np.float64)], axis=1)
    size = np.hypot(vector[:, 0], vector[:, 1])[:, None]
    return np.where(size > 0, share(vector, size), np.array([1.0, 0.0]))


def across(direction: FloatArray) -> FloatArray:
    """Directions turned by +90 degrees, shape (n, 2)."""
    return np.stack([-direction[:, 1], direction[:, 0]], axis=1)


def shower_point(position: FloatArray, slope: FloatArray, depth: float) -> FloatArray:
    """Where the track crosses a plane at some depth behind the front face, shape (n, 2), mm.

    Parameters
    ----------
    position
        Impact at the front face, shape (n, 2), mm.
    slope
        px / pz and py / pz, shape (n, 2).
    depth
        Distance of the plane from the front face, mm.
    """
    return np.asarray(position + depth * slope, dtype=np.float64)


def centroid(energy: Energies, x: FloatArray, y: FloatArray) -> FloatArray:
    """Energy-weighted mean position, shape (n, 2), in the unit of the positions."""
    sums = np.asarray(energy @ np.stack([x, y], axis=1), dtype=np.float64)
    return share(sums, total(energy)[:, None])


def covariance(energy: Energies, x: FloatArray, y: FloatArray) -> FloatArray:
    """Energy-weighted central second moments (xx, xy, yy), shape (n, 3), square of the unit of the positions."""
    # Powers of small numbers: moments about the plane's own centre lose the fewest digits.
    at = np.array([x.mean(), y.mean()])
    u, v = x - at[0], y - at[1]
    moments = np.asarray(energy.astype(np.float64) @ np.stack([u, v, u * u, u * v, v * v], axis=1))
    mean = share(moments, total(energy)[:, None])
    products = np.stack([mean[:, 0] ** 2, mean[:, 0] * mean[:, 1], mean[:, 1] ** 2], axis=1)
    return np.asarray(mean[:, 2:] - products, dtype=np.float64)


def width(energy: Energies, x: FloatArray, y: FloatArray, direction: FloatArray) -> FloatArray:
    """Standard deviation of the energy along a direction, shape (n,), in the unit of the positions.

    The plain energy-weighted second moment: sqrt(<u^2> - <u>^2) with u the component of the cell's position along the
    unit vector `direction`, shape (n, 2). The public analysis of the LHCb challenge samples the image along a line
    instead, see `compatibility.line_width`.
    """
    c, s = direction[:, 0], direction[:, 1]
    xx, xy, yy = covariance(energy, x, y).T
    return np.asarray(np.sqrt(np.maximum(c * c * xx + 2 * c * s * xy + s * s * yy, 0.0)), dtype=np.float64)


def asymmetry(energy: Energies, x: FloatArray, y: FloatArray, point: FloatArray, direction: FloatArray) -> FloatArray:
    """Energy ahead of a point minus energy behind it, over their sum, shape (n,), in [-1, 1].

    Ahead is where the component along `direction` relative to `point` is positive; a cell whose centre lies on the
    dividing line counts for neither side.

    Parameters
    ----------
    energy, x, y
        Cells.
    point
        Where the track crosses the plane, shape (n, 2), in the unit of the positions.
    direction
        Unit vectors, shape (n, 2).
    """
    at = np.sum(point * direction, axis=1)
    along = direction[:, :1] * x + direction[:, 1:] * y - at[:, None]
    return share(np.einsum("nk,nk->n", energy, np.sign(along), dtype=np.float64), total(energy))


def sparsity(energy: Energies, levels: Sequence[float] | FloatArray) -> FloatArray:
    """Share of the cells that hold at least a part of the shower's energy, shape (n, len(levels)).

    Parameters
    ----------
    energy
        Cells.
    levels
        Thresholds relative to the shower's total energy.
    """
    whole = total(energy)
    found = [np.mean((energy >= level * whole[:, None]) & (energy > 0), axis=1) for level in levels]
    return np.stack(found, axis=1)


def hits(energy: Energies, threshold: float) -> npt.NDArray[np.int64]:
    """Number of cells above a threshold (in the unit of the cells), shape (n,)."""
    return np.asarray(np.sum(energy > threshold, axis=1), dtype=np.int64)


def spectrum(energy: Energies, edges: FloatArray) -> FloatArray:
    """Number of cells in bins of their energy, shape (n, bins); cells below the first and above the last are left out.

    Averaged over showers it is the cell-energy spectrum.
    """
    bins = len(edges) - 1
    place = np.searchsorted(edges, energy, side="right") - 1
    # The last edge belongs to the last bin, as in numpy's histogram.
    place[energy == edges[-1]] = bins - 1
    inside = (place >= 0) & (place < bins)
    row = np.broadcast_to(np.arange(len(energy))[:, None], energy.shape)[inside]
    counts = np.bincount(row * bins + place[inside], minlength=len(energy) * bins)
    return np.asarray(counts.reshape(len(energy), bins), dtype=np.float64)


def hottest(energy: Energies, count: int) -> FloatArray:
    """Energies of the hottest cells in descending order, shape (n, count), in the unit of the cells."""
    top = np.partition(energy, energy.shape[1] - count, axis=1)[:, -count:]
    return np.sort(top, axis=1)[:, ::-1].astype(np.float64)


def distance(x: FloatArray, y: FloatArray, point: FloatArray) -> FloatArray:
    """Distance of each cell from a point of each shower (n, 2), shape (n, k)."""
    return np.hypot(x - point[:, :1], y - point[:, 1:])


def containment_radius(energy: Energies, radius: FloatArray, contained: float = 0.9) -> FloatArray:
    """Radius that holds a part of the energy, shape (n,), in the unit of `radius`.

    The energy is summed outward over the cells' centres; between two of them the sum is taken as linear.

    Parameters
    ----------
    energy
        Cells.
    radius
        Distance of the cells from the axis, shape (n, k) or (k,).
    contained
        Part of the energy, above 0 and at most 1.
    """
    away = np.broadcast_to(radius, energy.shape)
    order = np.argsort(away, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(energy, order, axis=1), axis=1, dtype=np.float64)
    ordered = np.take_along_axis(away, order, axis=1)
    # Rounding in the sum must not push the part of 1 past the last cell.
    wanted = contained * sums[:, -1:] * (1 - 1e-12)
    rows = np.arange(len(energy))
    at = np.argmax(sums >= wanted, axis=1)
    before = np.maximum(at - 1, 0)
    low, high = np.where(at > 0, sums[rows, before], 0.0), sums[rows, at]
    start = np.where(at > 0, ordered[rows, before], 0.0)
    step = share(wanted[:, 0] - low, high - low)
    return np.where(sums[:, -1] > 0, start + step * (ordered[rows, at] - start), 0.0)


def radial_profile(energy: Energies, radius: FloatArray, edges: FloatArray) -> FloatArray:
    """Share of the energy in rings, shape (n, rings); what lies outside the last edge is left out.

    Parameters
    ----------
    energy
        Cells.
    radius
        Distance of the cells from the axis, shape (n, k) or (k,).
    edges
        Edges of the rings, shape (rings + 1,), in the unit of `radius`.
    """
    rings = len(edges) - 1
    place = np.searchsorted(edges, np.broadcast_to(radius, energy.shape), side="right") - 1
    inside = (place >= 0) & (place < rings)
    row = np.broadcast_to(np.arange(len(energy))[:, None], energy.shape)[inside]
    sums = np.bincount(row * rings + place[inside], energy[inside], minlength=len(energy) * rings)
    return share(np.asarray(sums.reshape(len(energy), rings), dtype=np.float64), total(energy)[:, None])
