"""Counter-based random numbers keyed by (seed, event id, stage).

The same key gives the same bits whatever the batch size, the order of rows or the number of workers, so a response
belongs to its event and not to the job that happened to make it.

The generator is Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11,
section 3.3). Key: the two halves of the seed. Counter: the two halves of the event id, the stage, the block number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from parhelion.errors import DataError

_ROUND = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_CHUNK = 1 << 16


def philox4x32(counter: npt.NDArray[np.uint32], key: tuple[int, int], rounds: int = 10) -> npt.NDArray[np.uint32]:
    """Philox 4x32 block function.

    Parameters
    ----------
    counter
        Shape (n, 4), one 128-bit counter a row.
    key
        Two 32-bit words.
    rounds
        10 in the standard variant.

    Returns
    -------
    ndarray
        Shape (n, 4), four random 32-bit words a row.
    """
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(rounds):
        p0, p1 = _ROUND[0] * c0, _ROUND[1] * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def words(seed: int, event_id: npt.ArrayLike, width: int, *, stage: int = 0) -> npt.NDArray[np.uint32]:
    """Random 32-bit words, shape (n, width), for n event ids.

    Raises
    ------
    DataError
        The seed is outside 0 to 2^64 - 1, the stage outside 0 to 2^32 - 1, or the event ids are not a list of
        integers.
    """
    if not 0 <= seed < 1 << 64:
        msg = f"seed {seed}: expected an integer from 0 to 2^64 - 1"
        raise DataError(msg)
    if not 0 <= stage < 1 << 32:
        msg = f"stage {stage}: expected an integer from 0 to 2^32 - 1"
        raise DataError(msg)
    ids = np.asarray(event_id)
    if ids.ndim != 1:
        msg = f"event ids have shape {ids.shape}, expected (n,)"
        raise DataError(msg)
    if ids.dtype.kind not in "iu":
        msg = f"event ids have type {ids.dtype}, expected integers"
        raise DataError(msg)
    ids = ids.astype(np.uint64)
    key = (seed & 0xFFFFFFFF, seed >> 32)
    blocks = -(-width // 4)
    out = np.empty((len(ids), blocks * 4), dtype=np.uint32)
    rows = max(1, _CHUNK // max(blocks, 1))
    for start in range(0, len(ids), rows):
        part = ids[start : start + rows]
        counter = np.empty((len(part), blocks, 4), dtype=np.uint32)
        counter[:, :, 0] = (part & _LOW).astype(np.uint32)[:, None]
        counter[:, :, 1] = (part >> _HALF).astype(np.uint32)[:, None]
        counter[:, :, 2] = np.uint32(stage)
        counter[:, :, 3] = np.arange(blocks, dtype=np.uint32)[None, :]
        out[start : start + len(part)] = philox4x32(counter.reshape(-1, 4), key).reshape(len(part), -1)
    return out[:, :width]


def uniform(seed: int, event_id: npt.ArrayLike, width: int, *, stage: int = 0) -> npt.NDArray[np.float64]:
    """Uniform numbers in the open interval (0, 1), shape (n, width).

    Each is the centre of one of 2^32 equal cells, so neither 0 nor 1 occurs.
    """
    raw = words(seed, event_id, width, stage=stage)
    return (raw.astype(np.float64) + 0.5) * 2.0**-32


def normal(seed: int, event_id: npt.ArrayLike, width: int, *, stage: int = 0) -> npt.NDArray[np.float32]:
    """Standard normal numbers, shape (n, width), by the inverse distribution function of `uniform`."""
    numbers: npt.NDArray[np.float64] = ndtri(uniform(seed, event_id, width, stage=stage))
    return numbers.astype(np.float32)
