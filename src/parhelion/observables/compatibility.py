"""The widths of the public analysis of the LHCb calorimeter challenge, for comparison with its plots only.

The public copies are inconsistent: they follow a line of slope px / py (the mirror image of the track's direction about
the diagonal) but measure the distance along it as if its slope were py / px. `showers.width` is what to use.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parhelion.observables.showers import share

FloatArray = npt.NDArray[np.float64]


def line_width(
    energy: npt.NDArray[np.floating], cell: float, point: FloatArray, px: FloatArray, py: FloatArray, points: int = 100
) -> FloatArray:
    """Width along a line through the shower as the public analysis takes it, shape (n,), in the unit of `cell`.

    The image is sampled (cubic interpolation) at `points` equally spaced x on the line y = y0 + (x - x0) px / py; with
    t = x sqrt(1 + (py / px)^2), the width is sqrt(<t^2> - <t>^2), weighted by the samples. For the width along the
    other direction exchange px and -py. Where px or py is 0 the form is not defined, and the width is 0.

    Parameters
    ----------
    energy
        Images, shape (n, a, a), axes (x, y).
    cell
        Size of a cell, mm.
    point
        Where the track crosses the plane, shape (n, 2), mm.
    px, py
        Components of the momentum, shapes (n,).
    points
        Samples on the line.
    """
    from scipy.ndimage import map_coordinates

    side = energy.shape[1]
    half = (side - 1) / 2
    x = np.linspace(-half, half, points) * cell
    found = np.zeros(len(energy))
    for row in np.flatnonzero((px != 0) & (py != 0)):
        y = point[row, 1] + (x - point[row, 0]) * px[row] / py[row]
        places = np.stack([x / cell + half, y / cell + half])
        weight = np.maximum(map_coordinates(energy[row].astype(np.float64), places, order=3, mode="constant"), 0.0)
        t = x * np.sqrt(1 + (py[row] / px[row]) ** 2)
        whole = np.sum(weight, keepdims=True)
        mean, square = (share(np.sum(weight * t**power, keepdims=True), whole)[0] for power in (1, 2))
        found[row] = np.sqrt(max(square - mean**2, 0.0))
    return found
