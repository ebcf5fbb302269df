"""Sums of the kernel (x . y / d + 1)^4 over pairs of rows, without the pairs.

The kernel is the scalar product of vectors of monomials: with z = (x / sqrt(d), 1), of D = d + 1 numbers, it is
(z . z')^4 = sum over the monomials of degree 4 of (permutations) z^a z'^a. The sum of the kernel over all pairs of two
sets of rows is then the scalar product of two sums over rows, of C(D + 3, 4) numbers each, which cost n D^4 / 4
operations and no pairs.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.distances.blocks import by_block

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LARGEST_WIDTH: Final = 40
_CHUNK: Final = 2048
# Permutations of four indices in ascending order, by which neighbours are equal: first two, middle two, last two.
_PERMUTATIONS: Final = np.array([24, 12, 12, 4, 12, 6, 4, 1], dtype=np.float64)


def fits_tensors(width: int) -> bool:
    """Whether sums of monomials of so many features are small enough to keep: up to 40 features."""
    return width <= LARGEST_WIDTH


def quartic(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kernel (x . y / d + 1)^4 of equal rows of two arrays of shape (n, d); shape (n,)."""
    base = np.einsum("ij,ij->i", x, y) / x.shape[1] + 1.0
    found: FloatArray = np.square(np.square(base))
    return found


class Quartic:
    """The vector of monomials of the kernel (x . y / d + 1)^4.

    Parameters
    ----------
    width
        Number of features d.

    Attributes
    ----------
    size
        Number of monomials, C(d + 4, 4).
    """

    def __init__(self, width: int) -> None:
        self._width = width
        powers = np.array(list(combinations_with_replacement(range(width + 1), 4)), dtype=np.int64)
        equal = powers[:, 1:] == powers[:, :-1]
        self._factor = np.sqrt(_PERMUTATIONS[equal @ np.array([4, 2, 1])])
        count = width + 1
        # Products z_i z_j with i <= j, in the order i = 0, 1, ...
        self._starts = np.concatenate([[0], np.cumsum(np.arange(count, 0, -1))])
        first, second = (self._starts[i] + (j - i) for i, j in (powers.T[:2], powers.T[2:]))
        self._entries = first * self._starts[-1] + second
        self.size = len(powers)

    def sum(self, rows: FloatArray, weight: FloatArray | None = None) -> FloatArray:
        """Sum of the vectors of rows, shape (size,).

        Parameters
        ----------
        rows
            Shape (n, d).
        weight
            Signed weights, shape (n,); ones if not given.
        """
        pairs = int(self._starts[-1])
        total = np.zeros((pairs, pairs))
        products = np.empty((pairs, min(_CHUNK, max(len(rows), 1))))
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            z = np.ones((self._width + 1, len(part)))
            np.divide(part.T, np.sqrt(self._width), out=z[:-1])
            filled = products[:, : len(part)]
            for i in range(len(z)):
                np.multiply(z[i], z[i:], out=filled[self._starts[i] : self._starts[i + 1]])
            total += filled @ (filled if weight is None else filled * weight[start : start + _CHUNK]).T
        found: FloatArray = total.ravel()[self._entries] * self._factor
        return found


class BlockTensors:
    """Sums of weights and of the kernel's monomials by block; rows can be added chunk by chunk.

    Parameters
    ----------
    count
        Number of blocks K.
    width
        Number of features d, at most 40.

    Attributes
    ----------
    weight, sums
        Shapes (K,) and (K, C(d + 4, 4)).
    """

    def __init__(self, count: int, width: int) -> None:
        self.kernel = Quartic(width)
        self.weight = np.zeros(count)
        self.sums = np.zeros((count, self.kernel.size))

    def add(self, rows: FloatArray, block: IntArray, weight: FloatArray | None = None) -> None:
        """Add rows; parameters as those of `BlockMoments.add`."""
        order, starts = by_block(block, len(self.weight))
        for k in np.flatnonzero(np.diff(starts)):
            chosen = order[starts[k] : starts[k + 1]]
            w = None if weight is None else weight[chosen]
            self.weight[k] += float(len(chosen)) if w is None else np.sum(w)
            self.sums[k] += self.kernel.sum(rows[chosen], w)


def dense_sums(rows: FloatArray, weight: FloatArray) -> FloatArray:
    """Sums of the kernel over all pairs of rows, from the kernel itself, for any number of features.

    Parameters
    ----------
    rows
        Shape (n, d).
    weight
        One column of signed weights a set, shape (n, k); 0 where a row is not in the set.

    Returns
    -------
    ndarray
        Sums over pairs of sets, shape (k, k). Cost O(n^2 (d + k)); the kernel is held for at most 512 rows at once.
    """
    total = np.zeros((weight.shape[1], weight.shape[1]))
    for start in range(0, len(rows), 512):
        part = slice(start, start + 512)
        kernel = rows[part] @ rows.T / rows.shape[1] + 1.0
        np.square(kernel, out=kernel)
        np.square(kernel, out=kernel)
        total += weight[part].T @ (kernel @ weight)
    return total
