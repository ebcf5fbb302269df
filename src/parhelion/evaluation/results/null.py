"""Quantities from a measured vector of differences and draws of the same vector from the null."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.results.result import NAN, Quantity

FloatArray = npt.NDArray[np.float64]


def tail_probability(value: float, null: FloatArray) -> float:
    """P-value of `value` against draws of the null: (1 + number at least as large) / (1 + number of draws).

    This form never gives 0 and keeps the level exact for exchangeable draws (Phipson & Smyth 2010, eq. 2).
    """
    return float((1 + np.sum(null >= value)) / (1 + len(null)))


def against_null(
    value: float, error: float, null: FloatArray, *, unit: str = "", limit: float | None = None
) -> Quantity:
    """Quantity whose null, null error and p-value come from draws of the null, shape (replicas,)."""
    return Quantity(
        value=float(value),
        error=float(error),
        null=float(np.mean(null)),
        null_error=float(np.std(null, ddof=1)),
        p_value=tail_probability(value, null),
        unit=unit,
        limit=limit,
    )


def difference_quantities(
    difference: FloatArray, error: FloatArray, null: FloatArray, draws: FloatArray | None = None
) -> dict[str, Quantity]:
    """Mean, maximum, chi2/ndf and largest pull of a set of differences.

    Finite samples alone give mean |d| and max |d| a value above zero; the null says how much. The p-value of the
    maximum is that of the largest of all k differences, so it accounts for having looked k times.

    Parameters
    ----------
    difference
        Measured differences, shape (k,), finite.
    error
        Their standard errors, shape (k,). Where an error is 0 no row could differ, and the entry is left out of
        chi2 and pulls.
    null
        Draws from the null, shape (replicas, k).
    draws
        Bootstrap replicas of `difference`, shape (replicas, k), for the errors of mean and maximum; the measured
        differences plus null draws if not given.

    Returns
    -------
    dict
        Quantities "mean", "max", "chi2_ndf", "max_pull". With k = 0 all are NaN.
    """
    if difference.size == 0:
        return {name: Quantity(NAN) for name in ("mean", "max", "chi2_ndf", "max_pull")}
    null = np.where(error > 0, null, 0.0)
    size, null_size = np.abs(difference), np.abs(null)
    replicas = np.abs(difference + null if draws is None else draws)
    spread = np.std(null, axis=0, ddof=1)
    pull = np.abs(safe_ratio(difference, error))
    null_pull = np.abs(safe_ratio(null, spread))
    ndf = max(int(np.sum(error > 0)), 1)
    chi2 = float(np.sum(pull**2)) / ndf
    return {
        "mean": against_null(float(np.mean(size)), _spread(replicas.mean(axis=1)), null_size.mean(axis=1), limit=0.0),
        "max": against_null(np.max(size), _spread(replicas.max(axis=1)), null_size.max(axis=1), limit=0.0),
        # A chi2 of measured pulls z varies as 2 ndf + 4 (sum z^2 - ndf) where the true differences are not zero.
        "chi2_ndf": against_null(
            chi2, float(np.sqrt(max(4 * chi2 - 2, 2.0) / ndf)), np.sum(null_pull**2, axis=1) / ndf
        ),
        "max_pull": against_null(np.max(pull), 1.0, null_pull.max(axis=1)),
    }


def safe_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient, 0 where the denominator is 0 or below: a difference that could not vary has no pull."""
    out = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    np.divide(numerator, denominator, out=out, where=np.broadcast_to(denominator > 0, out.shape))
    return out


def _spread(values: FloatArray) -> float:
    return float(np.std(values, ddof=1))
