"""Random numbers for compiled simulators: one small generator per collision, seeded by (seed, collision number).

The state is an array of four 64-bit words owned by the caller, so a collision has the same history whichever thread
simulates it. Generator: xoshiro256++ 1.0 (Blackman and Vigna, ACM Trans. Math. Softw. 47, 36 (2021)), its state filled
by SplitMix64 as the authors advise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])
State = npt.NDArray[np.uint64]

# Above this mean the product of uniform numbers in `poisson` would come near the smallest double.
_LARGEST_MEAN = 300.0


def compiled(function: Function) -> Function:
    """Compile with numba: cached on disk, and without the interpreter lock so that threads run side by side.

    Numba renews a cached function when its own file changes, but not when a function that it calls changes in another
    file: after such an edit remove the ``*.nbi`` files beside the sources.
    """
    return cast(Function, njit(cache=True, nogil=True)(function))


@compiled
def _rotate(x: np.uint64, k: np.uint64) -> np.uint64:
    return (x << k) | (x >> (np.uint64(64) - k))


@compiled
def _split_mix(x: np.uint64) -> np.uint64:
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def seed_state(state: State, seed: np.uint64, collision: np.uint64) -> None:
    """Fill the four words of `state` from (seed, collision number)."""
    word = _split_mix(_split_mix(seed) ^ collision)
    for i in range(4):
        word = _split_mix(word)
        state[i] = word


@compiled
def uniform(state: State) -> float:
    """Uniform number in the open interval (0, 1)."""
    word = _rotate(state[0] + state[3], np.uint64(23)) + state[0]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = _rotate(state[3], np.uint64(45))
    return (np.float64(word >> np.uint64(12)) + 0.5) * 2.0**-52


@compiled
def normal(state: State) -> float:
    """Standard normal number (Box and Muller)."""
    return math.sqrt(-2.0 * math.log(uniform(state))) * math.cos(2.0 * math.pi * uniform(state))


@compiled
def exponential(state: State, mean: float) -> float:
    """Exponential number of the given mean."""
    return -mean * math.log(uniform(state))


@compiled
def poisson(state: State, mean: float) -> int:
    """Poisson number of the given mean, by products of uniform numbers (Knuth)."""
    total = 0
    while mean > 0.0:
        part = min(mean, _LARGEST_MEAN)
        limit = math.exp(-part)
        product = uniform(state)
        while product > limit:
            total += 1
            product *= uniform(state)
        mean -= part
    return total


@compiled
def gamma(state: State, shape: float, mean: float) -> float:
    """Gamma number with `shape` >= 1 and the given mean (Marsaglia and Tsang, ACM TOMS 26, 363 (2000))."""
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(state)
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(uniform(state)) < 0.5 * x * x + d - d * v + d * math.log(v):
            return d * v * mean / shape
