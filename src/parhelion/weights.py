"""Signed weights: what they are worth, and the one scaling they get."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WeightSummary:
    """What a set of signed weights is worth.

    Attributes
    ----------
    rows
        Number of rows n.
    total
        Sum of weights W.
    effective
        Effective sample size (sum w)^2 / sum w^2 (Kish 1965).
    negative_share
        Share of rows with a negative weight.
    """

    rows: int
    total: float
    effective: float
    negative_share: float

    def __str__(self) -> str:
        """One line for terminals and reports."""
        return (
            f"{self.rows:,} rows, sum of weights {self.total:,.1f}, effective sample size "
            f"{self.effective:,.0f}, {100 * self.negative_share:.1f} % negative weights"
        )


def summarise(weight: npt.ArrayLike) -> WeightSummary:
    """Summarise signed weights, shape (n,).

    An empty or all-zero set has effective sample size 0.
    """
    w = np.asarray(weight, dtype=np.float64)
    squares = float(np.sum(w * w))
    total = float(np.sum(w))
    return WeightSummary(
        rows=len(w),
        total=total,
        effective=total * total / squares if squares > 0 else 0.0,
        negative_share=float(np.mean(w < 0)) if len(w) else 0.0,
    )


def scale_to_unit_mean(weight: npt.ArrayLike, *, source: str = "sample") -> FloatArray:
    """Scale signed weights to mean 1 over the whole sample.

    This is done once over the training sample and never over a batch: a batch's sum of signed weights
    comes near zero.

    Parameters
    ----------
    weight
        Signed weights, shape (n,).
    source
        Where they come from, for the message.

    Returns
    -------
    ndarray
        Shape (n,), mean 1.

    Raises
    ------
    DataError
        The sum of weights is not positive: no density exists that such a sample could stand for.
    """
    w = np.asarray(weight, dtype=np.float64)
    require_positive_total(w, source=source)
    return w * (len(w) / np.sum(w))


def require_positive_total(weight: npt.ArrayLike, *, source: str = "sample") -> None:
    """Refuse weights, shape (n,), whose sum is not positive.

    Raises
    ------
    DataError
        The sum is zero, negative or not finite.
    """
    total = float(np.sum(np.asarray(weight, dtype=np.float64)))
    if not total > 0 or not np.isfinite(total):
        msg = (
            f"{source}: the sum of weights is {total:.6g}, expected a positive number; "
            "check the weight column and the selection (sWeights of the background have this sign)"
        )
        raise DataError(msg)
