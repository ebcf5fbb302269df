"""Counter-based random numbers keyed by (seed, event id, stage).

The same key gives the same bits whatever the batch size, the order of rows or the number of workers, so a response
belongs to its event and not to the job that happened to make it.

The generator is Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11,
section 3.3). Key: the two halves of the seed. Counter: the two halves of the event id, the stage, the block number.

Normal numbers are the same bits in every language too: a word of 32 bits picks a row of a table and a polynomial gives
the number, with products and sums of doubles alone. A mathematical library's logarithm differs in its last bit from
one machine to the next; IEEE products and sums do not, provided that the compiler fuses none (-ffp-contract=off).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError

_ROUND = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# Blocks worked on at once: what fits into a core's fast memory.
_CHUNK = 1 << 13
_SEGMENT_BITS = 5


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
    p0, p1 = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(rounds):
        np.multiply(c0, _ROUND[0], out=p0)
        np.multiply(c2, _ROUND[1], out=p1)
        np.right_shift(p1, _HALF, out=c0)
        c0 ^= c1
        c0 ^= k0
        np.right_shift(p0, _HALF, out=c2)
        c2 ^= c3
        c2 ^= k1
        np.bitwise_and(p1, _LOW, out=c1)
        np.bitwise_and(p0, _LOW, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    out = np.empty((len(c0), 4), dtype=np.uint32)
    for i, word in enumerate((c0, c1, c2, c3)):
        out[:, i] = word
    return out


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


@cache
def normal_table() -> npt.NDArray[np.float64]:
    """Coefficients of the normal numbers, shape (4, 1024): row k belongs to t^k (see `normal_of_words`)."""
    table: npt.NDArray[np.float64] = np.load(Path(__file__).with_name("normal_table.npy"), allow_pickle=False)
    return table


def normal_of_words(raw: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """Standard normal numbers of 32-bit words w of any shape: the normal quantile of (w + 1/2) / 2^32.

    With D = 2 w + 1 - 2^32 and m = 2^32 - |D|, twice the probability of the nearer tail is m / 2^32. The exponent of
    m as a double and the first 5 bits of its fraction number a row of `normal_table`; the other bits of the fraction,
    put behind the exponent of 1, are t in [1, 2). The number is D (((a3 t + a2) t + a1) t + a0), rounded to single
    precision. Its error is below 0.51 units of the last place, and the tails reach 6.34.
    """
    flat = np.ascontiguousarray(raw).reshape(-1)
    out = np.empty(len(flat), dtype=np.float32)
    table = normal_table()
    shift = 52 - _SEGMENT_BITS
    step = 4 * _CHUNK
    for start in range(0, len(flat), step):
        signed = flat[start : start + step].astype(np.float64)
        signed *= 2.0
        signed += 1.0 - 2.0**32
        tail = np.abs(signed)
        np.subtract(2.0**32, tail, out=tail)
        bits = tail.view(np.int64)
        row = bits >> shift
        row -= 1023 << _SEGMENT_BITS
        bits &= (1 << shift) - 1
        bits <<= _SEGMENT_BITS
        bits |= 1023 << 52
        number = table[3].take(row)
        coefficient = np.empty_like(number)
        for k in (2, 1, 0):
            number *= tail
            # Rows are in range by construction; the other modes of take copy.
            number += table[k].take(row, out=coefficient, mode="clip")
        number *= signed
        out[start : start + step] = number
    return out.reshape(raw.shape)


def normal(seed: int, event_id: npt.ArrayLike, width: int, *, stage: int = 0) -> npt.NDArray[np.float32]:
    """Standard normal numbers, shape (n, width): one for each word of `words`, the same bits on every machine."""
    return normal_of_words(words(seed, event_id, width, stage=stage))
