"""The CaloChallenge's high-level features (Krause et al., arXiv:2410.21611), as its evaluation defines them.

Showers are rows of voxels (n, voxels) in the order of the files, in MeV, after `cut`: voxels below the geometry's
threshold are empty. Centres and widths in eta and phi are lengths (mm), those of a layer without energy are 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.io.binning import Geometry

FloatArray = npt.NDArray[np.float64]
Showers = npt.NDArray[np.floating]

# As published: keeps an empty layer from dividing by zero, and is nothing beside any energy in MeV.
_TINY = 1e-16
_EMPTY = 1e-8
_LENGTH = 100.0


def cut(showers: Showers, geometry: Geometry) -> Showers:
    """Showers with voxels below the threshold set to 0 (strictly below), shape (n, voxels), MeV."""
    return np.where(showers < geometry.threshold, showers.dtype.type(0), showers)


@dataclass(frozen=True)
class HighLevel:
    """High-level features of n showers.

    Attributes
    ----------
    layer_energy, sparsity, centre_r, width_r
        Per layer, shape (n, layers): energy (MeV), share of empty voxels, mean radius and its spread (mm).
    centre_eta, centre_phi, width_eta, width_phi
        Per layer with more than one bin in angle, shape (n, l): energy-weighted mean and spread, mm.
    angular
        Positions of these l layers among all.
    """

    layer_energy: FloatArray
    sparsity: FloatArray
    centre_r: FloatArray
    width_r: FloatArray
    centre_eta: FloatArray
    centre_phi: FloatArray
    width_eta: FloatArray
    width_phi: FloatArray
    angular: tuple[int, ...]

    @property
    def total(self) -> FloatArray:
        """Energy of all layers, shape (n,), MeV."""
        found: FloatArray = self.layer_energy.sum(axis=1)
        return found


def high_level(showers: Showers, geometry: Geometry) -> HighLevel:
    """High-level features of showers after `cut`, shape (n, voxels), MeV.

    E_l = sum e; sparsity_l = 1 - mean(e > 0); EC = sum c e / (sum e + 1e-16); width = sqrt(max(0, sum c^2 e / (sum e +
    1e-16) - EC^2)), for c = r, r cos(alpha), r sin(alpha) at the voxels' centres.
    """
    n, layers = len(showers), len(geometry.layers)
    coordinates = np.stack([geometry.radius, geometry.eta, geometry.phi], axis=1)
    energy, sparsity = np.empty((n, layers)), np.empty((n, layers))
    centre, width = np.empty((n, layers, 3)), np.empty((n, layers, 3))
    for position, where in enumerate(geometry.slices):
        cells, at = showers[:, where].astype(np.float64), coordinates[where]
        energy[:, position] = cells.sum(axis=1)
        sparsity[:, position] = 1 - np.mean(cells > 0, axis=1)
        whole = energy[:, position, None] + _TINY
        centre[:, position] = cells @ at / whole
        square = cells @ at**2 / whole
        width[:, position] = np.sqrt(np.maximum(square - centre[:, position] ** 2, 0.0))
    angular = [i for i, layer in enumerate(geometry.layers) if layer.alpha_bins > 1]
    return HighLevel(
        layer_energy=energy,
        sparsity=sparsity,
        centre_r=centre[:, :, 0],
        width_r=width[:, :, 0],
        centre_eta=centre[:, angular, 1],
        centre_phi=centre[:, angular, 2],
        width_eta=width[:, angular, 1],
        width_phi=width[:, angular, 2],
        angular=tuple(angular),
    )


def feature_vector(features: HighLevel, incident: FloatArray) -> FloatArray:
    """Vector of the high-level classifier and of FPD and KPD, shape (n, d): d is 30, 46, 362, 362 for the data sets.

    [log10 E_inc, log10(E_l + 1e-8), EC_eta / 100, EC_phi / 100, width_eta / 100, width_phi / 100, log10(E_tot + 1e-8),
    sparsity_l, EC_r / 100, width_r / 100], energies in MeV.

    Parameters
    ----------
    features
        Of `high_level`.
    incident
        Incident energies, shape (n,), MeV.
    """
    f = features
    return np.concatenate(
        [
            np.log10(incident)[:, None],
            np.log10(f.layer_energy + _EMPTY),
            f.centre_eta / _LENGTH,
            f.centre_phi / _LENGTH,
            f.width_eta / _LENGTH,
            f.width_phi / _LENGTH,
            np.log10(f.total + _EMPTY)[:, None],
            f.sparsity,
            f.centre_r / _LENGTH,
            f.width_r / _LENGTH,
        ],
        axis=1,
    )


def voxel_vector(showers: Showers, incident: FloatArray) -> FloatArray:
    """Input of the low-level classifier, shape (n, 1 + voxels): log10 E_inc (MeV), voxels / E_inc."""
    scaled = showers.astype(np.float64) / incident[:, None]
    return np.concatenate([np.log10(incident)[:, None], scaled], axis=1)


def normed_voxel_vector(showers: Showers, incident: FloatArray, geometry: Geometry) -> FloatArray:
    """Input of the low-level classifier with normalised layers, shape (n, 1 + voxels + layers).

    log10 E_inc (MeV), voxels (without threshold) over the energy of their layer after `cut`, log10(E_l + 1e-8).

    Parameters
    ----------
    showers
        Before `cut`, shape (n, voxels), MeV.
    incident
        Incident energies, shape (n,), MeV.
    geometry
        The voxels.
    """
    kept, cells = cut(showers, geometry), showers.astype(np.float64)
    parts, energies = [np.log10(incident)[:, None]], []
    for where in geometry.slices:
        layer = kept[:, where].sum(axis=1, dtype=np.float64)[:, None]
        parts.append(cells[:, where] / (layer + _TINY))
        energies.append(np.log10(layer + _EMPTY))
    return np.concatenate([*parts, *energies], axis=1)
