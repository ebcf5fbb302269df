"""Splits by hash: a row's part depends on its group, the seed and the fractions, never on the other rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.noise import uniform
from parhelion.sample import Sample

# "splt" in ASCII, so that no stage of a generation shares its random numbers with a split.
_STAGE = 0x73706C74


def assign(ids: npt.ArrayLike, fractions: Mapping[str, float], seed: int) -> npt.NDArray[np.int64]:
    """Part of each id: the index of its name in `fractions`.

    The part of an id never changes when rows are added, removed or reordered, which makes it fit for streams.

    Parameters
    ----------
    ids
        Integers, shape (n,): a sample's `group`.
    fractions
        Share of each part, in order; they sum to 1.
    seed
        0 to 2^64 - 1; another seed gives an independent split.

    Returns
    -------
    ndarray
        Shape (n,), values 0 to len(fractions) - 1.

    Raises
    ------
    DataError
        The fractions are not positive or do not sum to 1, the ids are not integers, or the seed is out of range.
    """
    shares = np.array(list(fractions.values()), dtype=np.float64)
    if not len(shares) or not np.all(shares > 0) or abs(shares.sum() - 1) > 1e-9:
        listed = ", ".join(f"{name}: {share:g}" for name, share in fractions.items()) or "none"
        msg = f"split: the fractions are {listed}; expected positive numbers that sum to 1"
        raise DataError(msg)
    position = uniform(seed, ids, 1, stage=_STAGE)[:, 0]
    return np.searchsorted(np.cumsum(shares)[:-1], position, side="right").astype(np.int64)


def split(sample: Sample, fractions: Mapping[str, float], seed: int) -> dict[str, Sample]:
    """Split a sample by hash of its groups (event ids where it has no groups).

    Rows of one group stay together. Parts of a small sample may be empty.

    Parameters
    ----------
    sample
        The rows.
    fractions
        Share of each part by name, e.g. ``{"train": 0.7, "validation": 0.1, "test": 0.2}``; they sum to 1.
    seed
        0 to 2^64 - 1.

    Returns
    -------
    dict of str to Sample
        The parts, in the order of `fractions`.

    Raises
    ------
    DataError
        As in `assign`.
    """
    part = assign(sample.group, fractions, seed)
    return {name: sample.take(part == index) for index, name in enumerate(fractions)}
