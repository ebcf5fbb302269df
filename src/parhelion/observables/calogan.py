"""Shower shapes of CaloGAN (Paganini, de Oliveira, Nachman, arXiv:1712.10321, section 5) for layers of any shape.

Layers are a sequence of arrays (n, rows, columns), from the front to the back; rows run along eta, columns along phi.
A shower or layer without energy has 0 in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from parhelion.io.binning import midpoints
from parhelion.observables.showers import hottest, share, total

FloatArray = npt.NDArray[np.float64]
Layers = Sequence[npt.NDArray[np.floating]]


def layer_energies(layers: Layers) -> FloatArray:
    """E_i: energy of each layer, shape (n, layers), in the unit of the cells."""
    return np.stack([total(flat(layer)) for layer in layers], axis=1)


def flat(layer: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Cells of a layer side by side, shape (n, cells)."""
    return layer.reshape(len(layer), -1)


def depth(energies: FloatArray) -> npt.NDArray[np.int64]:
    """d: number of the deepest layer with energy, shape (n,); 0 also where there is none.

    Parameters
    ----------
    energies
        Energy of each layer, shape (n, layers).
    """
    numbers = np.arange(energies.shape[1])
    return np.asarray(np.max(np.where(energies > 0, numbers, 0), axis=1), dtype=np.int64)


def depth_weighted(energies: FloatArray) -> FloatArray:
    """l_d = sum_i i E_i, shape (n,), in the unit of the energies."""
    return np.asarray(energies @ np.arange(energies.shape[1]), dtype=np.float64)


def shower_depth(energies: FloatArray) -> FloatArray:
    """s_d = l_d / E_tot, shape (n,), in layers."""
    return share(depth_weighted(energies), energies.sum(axis=1))


def shower_depth_width(energies: FloatArray) -> FloatArray:
    """sigma_sd = sqrt(sum_i i^2 E_i / E_tot - s_d^2), shape (n,), in layers."""
    square = share(energies @ np.arange(energies.shape[1]) ** 2.0, energies.sum(axis=1))
    return np.sqrt(np.maximum(square - shower_depth(energies) ** 2, 0.0))


def lateral_width(layer: npt.NDArray[np.floating], half: float = 240.0) -> FloatArray:
    """sigma_i = sqrt(<h^2> - <h>^2) with h the centre of a cell's row, shape (n,), in the unit of `half`.

    Parameters
    ----------
    layer
        Cells, shape (n, rows, columns).
    half
        Half of the layer's extent along eta, mm.
    """
    rows = layer.shape[1]
    h = midpoints(np.linspace(-half, half, rows + 1))
    by_row = layer.sum(axis=2, dtype=np.float64)
    whole = by_row.sum(axis=1)
    return np.sqrt(np.maximum(share(by_row @ h**2, whole) - share(by_row @ h, whole) ** 2, 0.0))


def two_cell_ratio(layer: npt.NDArray[np.floating]) -> FloatArray:
    """E_ratio_i = (I_1 - I_2) / (I_1 + I_2) of the two hottest cells, shape (n,)."""
    first, second = hottest(flat(layer), 2).T
    return share(first - second, first + second)


def cell_sparsity(layer: npt.NDArray[np.floating], threshold: float = 0.0) -> FloatArray:
    """sparsity_i: share of a layer's cells above a threshold (in their unit), shape (n,)."""
    return np.asarray(np.mean(flat(layer) > threshold, axis=1), dtype=np.float64)
