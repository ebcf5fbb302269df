"""Event ids from columns, and a guard against duplicates that needs bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

UIntArray = npt.NDArray[np.uint64]


def mix64(words: UIntArray) -> UIntArray:
    """Bijective mixing of 64-bit words, shape (n,): the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    z = words + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def combine(columns: Sequence[npt.NDArray[np.integer[Any]]]) -> npt.NDArray[np.int64]:
    """One 64-bit id a row from integer columns, each of shape (n,).

    A single column is kept as it is. Several are hashed one after the other, so the id depends on the values and
    their order alone. The chance that any two of n different rows collide is n^2 / 2^65: 3e-8 for a million rows,
    3e-4 for a hundred million.
    """
    if len(columns) == 1:
        return columns[0].astype(np.int64)
    state = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        state = mix64(state ^ mix64(column.astype(np.int64).view(np.uint64)))
    return state.view(np.int64)


class DuplicateGuard:
    """Finds event ids that come a second time in a stream, with a bound on memory.

    Up to `limit` ids are all remembered, and every duplicate is found. Beyond that only the ids whose hash falls
    below a threshold are, and the threshold is halved whenever the store is full. Equal ids have equal hashes, so a
    duplicate is found if its hash is below the threshold: of m duplicated ids with a share s remembered, all are
    missed with probability (1 - s)^m. Files read twice or ids that start again in each file are found practically
    always; a lone duplicate in a stream much longer than `limit` may not be.

    Parameters
    ----------
    limit
        Number of ids to remember, 8 bytes each.
    """

    def __init__(self, limit: int = 1 << 22) -> None:
        self._limit = limit
        self._seen: UIntArray = np.empty(0, dtype=np.uint64)
        self._shift = 0

    def first_duplicate(self, ids: npt.NDArray[np.int64]) -> int | None:
        """Index of the first of `ids`, shape (n,), that occurred before; None if there is none found."""
        hashes = mix64(ids.view(np.uint64))
        kept = self._below(hashes)
        candidates = hashes[kept]
        order = np.argsort(candidates, kind="stable")
        ordered = candidates[order]
        again = np.zeros(len(ordered), dtype=bool)
        again[1:] = ordered[1:] == ordered[:-1]
        position = np.searchsorted(self._seen, ordered)
        inside = position < len(self._seen)
        again[inside] |= self._seen[position[inside]] == ordered[inside]
        if again.any():
            return int(np.flatnonzero(kept)[order[again]].min())
        self._seen = np.insert(self._seen, position, ordered)
        while len(self._seen) > self._limit:
            self._shift += 1
            self._seen = self._seen[self._below(self._seen)]
        return None

    def _below(self, hashes: UIntArray) -> npt.NDArray[np.bool_]:
        return hashes <= np.uint64((1 << 64) - 1 >> self._shift)
