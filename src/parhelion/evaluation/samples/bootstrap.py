"""Random multiplicities and signs, one a group of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import poisson

FloatArray = npt.NDArray[np.float64]

_BLOCK_BYTES = 1 << 26
_TABLE = 1 << 16


def poisson_counts(
    groups: int, replicas: int, rng: np.random.Generator, *, block: int = 20
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield how often each group occurs in each bootstrap replica, in blocks of shape (groups, at most `block`).

    Counts are Poisson with mean 1, the limit of the multinomial bootstrap for many groups (Chamandy et al. 2012), so
    that samples that share groups share their counts and groups need not be held together. They are drawn from a
    table of 2^16 equal probabilities; the mean is 1 to 1e-5.
    """
    steps = (np.arange(_TABLE) + 0.5) / _TABLE
    table = np.searchsorted(poisson.cdf(np.arange(12), 1.0), steps).astype(np.uint8)
    for start in range(0, replicas, block):
        width = min(block, replicas - start)
        yield table[rng.integers(0, _TABLE, size=(groups, width), dtype=np.uint16)]


def random_signs(groups: int, replicas: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Yield independent random signs in blocks of shape (groups, at most `replicas`)."""
    block = max(1, min(replicas, _BLOCK_BYTES // (8 * max(groups, 1))))
    for start in range(0, replicas, block):
        width = min(block, replicas - start)
        bits = rng.integers(0, 2, size=(groups, width), dtype=np.int8)
        yield (2 * bits - 1).astype(np.float64)
