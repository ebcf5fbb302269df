"""Means and covariances by block, and the Frechet distance between Gaussians."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.distances.blocks import by_block

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class BlockMoments:
    """Sums of (w, w x, w x x^T) over the rows of each block; rows can be added chunk by chunk.

    Parameters
    ----------
    count
        Number of blocks K.
    width
        Number of features d.

    Attributes
    ----------
    weight, first, second
        The sums, shapes (K,), (K, d), (K, d, d). For features whose mean is large beside their spread, subtract a
        common vector first, which changes no distance.
    """

    def __init__(self, count: int, width: int) -> None:
        self.weight = np.zeros(count)
        self.first = np.zeros((count, width))
        self.second = np.zeros((count, width, width))

    def add(self, rows: FloatArray, block: IntArray, weight: FloatArray | None = None) -> None:
        """Add rows.

        Parameters
        ----------
        rows
            Shape (n, d).
        block
            Block of each row, 0 to K - 1, shape (n,). All rows of a group belong to one block, whichever chunk they
            come with, and the choice must not depend on their values; ``group % K`` does for events numbered
            at random.
        weight
            Signed weights, shape (n,); ones if not given.
        """
        order, starts = by_block(block, len(self.weight))
        for k in np.flatnonzero(np.diff(starts)):
            chosen = order[starts[k] : starts[k + 1]]
            x = rows[chosen]
            if weight is None:
                self.weight[k] += len(x)
                self.first[k] += x.sum(axis=0)
                self.second[k] += x.T @ x
            else:
                w = weight[chosen]
                self.weight[k] += np.sum(w)
                self.first[k] += w @ x
                self.second[k] += (x * w[:, None]).T @ x

    def moments(self, contrast: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means and covariances of combinations of blocks.

        Parameters
        ----------
        contrast
            Factor of each block's sums, shape (..., K); 1 / W for all rows.

        Returns
        -------
        tuple
            Shapes (..., d) and (..., d, d); the covariance is that of the weighted sample, without n / (n - 1).
        """
        mean = contrast @ self.first
        second = np.tensordot(contrast, self.second, axes=1)
        return mean, second - mean[..., :, None] * mean[..., None, :]

    def centred(self, mean: FloatArray) -> FloatArray:
        """Sums of w (x - mean)(x - mean)^T, shape (K, d, d)."""
        cross = self.first[:, :, None] * mean
        return self.second - cross - cross.transpose(0, 2, 1) + self.weight[:, None, None] * np.outer(mean, mean)


def gaussian_frechet(
    x_mean: npt.ArrayLike, x_covariance: npt.ArrayLike, y_mean: npt.ArrayLike, y_covariance: npt.ArrayLike
) -> FloatArray:
    """Squared Frechet distance of Gaussians, |mu_x - mu_y|^2 + Tr(S_x + S_y - 2 (S_x S_y)^(1/2)).

    It is the squared 2-Wasserstein distance of the Gaussians (Dowson & Landau 1982, J. Multivar. Anal. 12). The trace
    of the root is the sum of the singular values of S_x^(1/2) S_y^(1/2), which are the roots of the eigenvalues of
    S_x^(1/2) S_y S_x^(1/2), without the loss of digits that taking roots of small eigenvalues brings. Negative
    eigenvalues of a covariance, which signed weights can cause, are taken for 0: the nearest covariance.

    Parameters
    ----------
    x_mean, y_mean
        Shape (..., d).
    x_covariance, y_covariance
        Symmetric, shape (..., d, d).

    Returns
    -------
    ndarray
        Shape (...), in the squared unit of the features.
    """
    shift = np.sum((np.asarray(x_mean, dtype=np.float64) - np.asarray(y_mean, dtype=np.float64)) ** 2, axis=-1)
    (x_root, x_trace), (y_root, y_trace) = (
        _root(np.asarray(c, dtype=np.float64)) for c in (x_covariance, y_covariance)
    )
    overlap = np.linalg.svd(np.swapaxes(x_root, -1, -2) @ y_root, compute_uv=False).sum(axis=-1)
    found: FloatArray = np.maximum(shift + x_trace + y_trace - 2 * overlap, 0.0)
    return found


def _root(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """R with R R^T the covariance without its negative part, and the trace of that."""
    values, vectors = np.linalg.eigh(covariance)
    kept = np.maximum(values, 0.0)
    return vectors * np.sqrt(kept)[..., None, :], kept.sum(axis=-1)
