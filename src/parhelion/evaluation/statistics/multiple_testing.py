"""P-values of several tests, adjusted for their number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def holm(p: npt.ArrayLike) -> FloatArray:
    """P-values adjusted by Holm's step-down rule, shape (k,): below a level with at most that chance of any error."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(adjusted, 1.0)


def benjamini_hochberg(p: npt.ArrayLike) -> FloatArray:
    """P-values adjusted by the step-up rule of Benjamini & Hochberg, shape (k,).

    Among those below a level, the expected share of false ones is at most that level.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)[::-1]
    adjusted = np.empty_like(values)
    scaled = values[order] * len(values) / np.arange(len(values), 0, -1)
    adjusted[order] = np.minimum.accumulate(scaled)
    return np.minimum(adjusted, 1.0)
