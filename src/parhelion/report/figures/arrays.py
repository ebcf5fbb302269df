"""Details of metric results, which are plain lists with None for what does not exist, as arrays again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def numbers(values: Any) -> FloatArray:
    """Float array of a (nested) list; None becomes NaN."""
    return np.asarray(values, dtype=np.float64)


def symmetric_limit(values: FloatArray, *, at_least: float) -> float:
    """Largest finite |value|, but no less than `at_least`: the end of a colour scale centred at 0."""
    finite = np.abs(values[np.isfinite(values)])
    return max(float(finite.max(initial=0.0)), at_least)


def measured(value: float | None, error: float | None = None, unit: str = "") -> str:
    """Value with its error, rounded to two digits of the error: ``0.5112 ± 0.0021 GeV``.

    A missing value is a dash; without a positive error the value has four significant digits.
    """
    suffix = f" {unit}" if unit else ""
    if value is None or not math.isfinite(value):
        return "–"
    if error is None or not math.isfinite(error) or error <= 0:
        return _sign(f"{value:.4g}") + suffix
    decimals = 1 - math.floor(math.log10(error))
    if decimals > 7 or max(abs(value), error) >= 1e6:
        return _sign(f"{value:.4g} ± {error:.2g}") + suffix
    decimals = max(decimals, 0)
    return _sign(f"{value:,.{decimals}f} ± {error:,.{decimals}f}") + suffix


def _sign(text: str) -> str:
    return text.replace("-", "−") if "e" not in text else text


def probability(value: float | None) -> str:
    """P-value with two digits; a dash where there is none."""
    return "–" if value is None else f"{value:.2g}"
