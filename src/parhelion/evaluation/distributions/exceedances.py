"""Shares of the weight beyond thresholds in two samples, their ratio, and how they vary together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.samples.comparison import Comparison
from parhelion.evaluation.statistics.intervals import binomial_interval, ratio_interval
from parhelion.evaluation.statistics.one_dimensional import Chi2, effective_rows, merge_bins, shape_chi2
from parhelion.evaluation.statistics.shares import difference_of_shares, exchanged_shares, joint_influence

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Bins are joined for the chi2 until each can expect this effective number of rows in both samples.
_MERGE_ROWS: Final = 25.0
# A sample without any weight beyond a threshold leaves the logarithm of its share open by about this much.
_OPEN: Final = float(np.log(3.0))
_ROUNDING: Final = 1e-12
_LARGEST_LOG: Final = 50.0


@dataclass(frozen=True)
class Tail:
    """One tail of one field, turned so that it is an upper one.

    Attributes
    ----------
    comparison
        The samples.
    ours, theirs, trained
        Values of the field in reference (n,), generated (m,) and training sample, each times `sign`.
    sign
        1 for an upper, -1 for a lower tail.
    """

    comparison: Comparison
    ours: FloatArray
    theirs: FloatArray
    trained: FloatArray | None
    sign: float

    @property
    def weights(self) -> tuple[FloatArray, FloatArray]:
        """Signed weights of reference and generated sample."""
        return self.comparison.reference.weight, self.comparison.generated.weight

    @property
    def groups(self) -> tuple[IntArray, IntArray]:
        """Group of each row of reference and generated sample."""
        return self.comparison.reference_group, self.comparison.generated_group

    def sides(self) -> Iterator[tuple[str, FloatArray, FloatArray, IntArray]]:
        """Yield name, values, weights and groups of the reference, then of the generated sample."""
        yield from zip(("reference", "generated"), (self.ours, self.theirs), self.weights, self.groups, strict=True)


class Exceedances:
    """Shares of the weight beyond thresholds in both samples, and how they vary together."""

    def __init__(self, tail: Tail, cuts: FloatArray) -> None:
        self.tail, self.cuts = tail, cuts
        self.count = len(cuts) + 1
        # A value is beyond a cut if it is above it, so cell c holds the values beyond exactly c cuts.
        cells = (np.searchsorted(cuts, tail.ours, side="left"), np.searchsorted(cuts, tail.theirs, side="left"))
        self.totals = [float(np.sum(w)) for w in tail.weights]
        self.content = [np.bincount(c, w, self.count) for c, w in zip(cells, tail.weights, strict=True)]
        self.squares = [np.bincount(c, w**2, self.count) for c, w in zip(cells, tail.weights, strict=True)]
        self.p, self.q = (c / total for c, total in zip(self.content, self.totals, strict=True))
        joint = joint_influence(tail.comparison, cells, self.count)
        self.covariance = joint.mapped(difference_of_shares(self.p, self.q)).covariance()
        self._assumed = joint.mapped(exchanged_shares(tail.comparison, self.p, self.q)).covariance()
        self._inner = joint.mapped(np.eye(2 * self.count + 2)).covariance()
        alone = all(int(np.bincount(group).max()) == 1 for group in tail.groups)
        self.counting = alone and all(bool(np.all(w >= 0)) for w in tail.weights)

    def beyond(self, thresholds: FloatArray) -> FloatArray:
        """Matrix that sums the cells beyond thresholds (k of the cuts), shape (k, cells)."""
        first = np.searchsorted(self.cuts, thresholds) + 1
        found: FloatArray = (np.arange(self.count) >= first[:, None]).astype(np.float64)
        return found

    def _error(self, transform: FloatArray) -> FloatArray:
        """Errors, shape (k,), of combinations of the columns of `joint_influence`: `transform` (2 C + 2, k)."""
        variance = np.sum(transform * (self._inner @ transform), axis=0)
        size = np.sum(np.abs(transform) * (np.abs(self._inner) @ np.abs(transform)), axis=0)
        # What cancels exactly leaves rounding behind, which must not pass for a variance.
        return np.sqrt(np.where(variance > _ROUNDING * size, variance, 0.0))

    def chi2(self, edges: FloatArray) -> tuple[Chi2, FloatArray]:
        """Chi2 of the shares of bins beyond edges[0], and the inner edges of the bins after joining poor ones."""
        lower = self.beyond(edges)
        bins = lower - np.concatenate([lower[1:], np.zeros((1, self.count))])
        # Joining by what the generated sample has in a bin would join the bins that fluctuate down.
        ours, theirs = (
            float(total**2 / np.sum(squares)) for total, squares in zip(self.totals, self.squares, strict=True)
        )
        effective = effective_rows(bins @ self.content[0], bins @ self.squares[0]) * min(1.0, theirs / ours)
        merged = merge_bins(effective[:, None], _MERGE_ROWS)
        join = np.equal.outer(np.arange(merged.max() + 1), merged).astype(np.float64) @ bins
        chi2 = shape_chi2(join @ (self.q - self.p), join @ self._assumed @ join.T)
        first = np.flatnonzero(np.diff(merged, prepend=merged[0]))
        return chi2, edges[first]

    def log_ratio(self, thresholds: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Log ratio of exceedances, its error, its error in the null, and pull of the difference; shapes (k,)."""
        beyond = self.beyond(thresholds)
        shares, blank = [], np.zeros(len(thresholds))
        for content, squares, total in zip(self.content, self.squares, self.totals, strict=True):
            above, square = beyond @ content, beyond @ squares
            row = np.divide(square, above, out=np.full(len(above), np.sum(squares) / total), where=above > 0)
            shares.append((np.maximum(above, 0.0) + 0.5 * row) / total)
            blank += np.where(above > 0, 0.0, _OPEN**2)
        p, q = shares
        one = beyond.T
        # d ln(q / p) = dq / q - dp / p; the reference's columns carry a minus sign already.
        centre = np.stack([-(one.T @ self.p) / p, -(one.T @ self.q) / q])
        error = self._error(np.concatenate([one / p, one / q, centre]))
        spread = np.sqrt(np.maximum(np.einsum("kc,cd,kd->k", beyond, self.covariance, beyond), 0.0))
        difference = beyond @ (self.q - self.p)
        pull = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)
        alike = np.abs(difference) <= _ROUNDING
        return (
            np.where(alike, 0.0, np.log(q / p)),
            np.where(alike & (spread == 0), 0.0, np.sqrt(error**2 + blank)),
            spread / (0.5 * (p + q)),
            pull,
        )

    def describe(self, thresholds: FloatArray) -> dict[str, Any]:
        """Exceedances and their ratio at thresholds (k of the cuts), for tables and figures."""
        beyond = self.beyond(thresholds)
        one, zero = beyond.T, np.zeros_like(beyond.T)
        centre, no_centre = np.stack([beyond @ self.p, beyond @ self.q]), np.zeros(len(thresholds))
        errors = (
            self._error(np.concatenate([one, zero, [-centre[0], no_centre]])),
            self._error(np.concatenate([zero, one, [no_centre, -centre[1]]])),
        )
        (ours, our_row), (theirs, their_row) = (
            _one_side(
                beyond @ content, beyond @ squares, total, float(np.sum(squares)), None if self.counting else error
            )
            for content, squares, total, error in zip(self.content, self.squares, self.totals, errors, strict=True)
        )
        seen = (ours["share"] > 0) & (ours["effective"] > 0)
        ratio = np.divide(theirs["share"], ours["share"], out=np.full(len(thresholds), np.nan), where=seen)
        value, error, _, _ = self.log_ratio(thresholds)
        if self.counting:
            low, high = ratio_interval(theirs["effective"], ours["effective"], their_row / our_row)
        else:
            low, high = (np.exp(np.clip(v, -_LARGEST_LOG, _LARGEST_LOG)) for v in (value - error, value + error))
        return {
            "at": self.tail.sign * thresholds,
            "reference": ours,
            "generated": theirs,
            "ratio": ratio,
            "ratio_low": np.where(seen, low, np.nan),
            "ratio_high": np.where(seen, high, np.nan),
        }


def _one_side(
    above: FloatArray, square: FloatArray, total: float, squares: float, error: FloatArray | None
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Shares beyond thresholds with interval and effective number of rows, and the share of one effective row."""
    effective, share = effective_rows(above, square), above / total
    row = np.divide(square, above * total, out=np.full(len(above), squares / total**2), where=above > 0)
    if error is None:
        low, high = binomial_interval(effective, np.maximum(1.0 / row, effective))
    else:
        low, high = share - error, share + error
    return {"share": share, "low": low, "high": high, "effective": effective}, row
