"""Shares of the total weight in cells (bins, patterns): values, errors, and how two samples' shares vary together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import chi2 as chi2_distribution

from parhelion.evaluation.results.null import safe_ratio
from parhelion.evaluation.results.result import Quantity
from parhelion.evaluation.samples.comparison import Comparison, Influence
from parhelion.evaluation.statistics.one_dimensional import Chi2

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def shares(cell: IntArray, cells: int, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shares of the total weight, their errors, and the effective number of rows in each cell, shapes (cells,)."""
    total = np.sum(weight)
    content, squares = np.bincount(cell, weight, cells), np.bincount(cell, weight**2, cells)
    share = content / total
    # Variance of a normalised cell: [s_b^2 - 2 p_b s_b^2 + p_b^2 sum w^2] / W^2.
    variance = squares * (1 - 2 * share) + share**2 * np.sum(weight**2)
    effective = np.divide(np.maximum(content, 0.0) ** 2, squares, out=np.zeros(cells), where=squares > 0)
    return share, np.sqrt(np.maximum(variance, 0.0)) / total, effective


def joint_influence(comparison: Comparison, cells: tuple[IntArray, IntArray], count: int) -> Influence:
    """Influence on the uncentred shares of both samples, for `difference_of_shares` and `ratio_of_shares` to combine.

    Columns: `count` of the reference (with a minus sign, as in a difference), `count` of the generated sample, and
    the relative weight of the row in each.
    """
    parts = []
    for position, (sample, cell) in enumerate(zip((comparison.reference, comparison.generated), cells, strict=True)):
        rows = np.arange(len(cell))
        relative = sample.weight / np.sum(sample.weight)
        parts.append(
            sparse.csr_matrix(
                (
                    np.concatenate([relative, relative]),
                    (
                        np.concatenate([rows, rows]),
                        np.concatenate([cell + position * count, np.full(len(cell), 2 * count + position)]),
                    ),
                ),
                shape=(len(cell), 2 * count + 2),
            )
        )
    return Influence(comparison, *parts)


def difference_of_shares(p: FloatArray, q: FloatArray) -> FloatArray:
    """Map of the columns of `joint_influence` to q - p, shape (2 B + 2, B); the last rows centre the shares."""
    one = np.eye(len(p))
    return np.concatenate([one, one, -p[None, :], -q[None, :]])


def exchanged_shares(comparison: Comparison, p: FloatArray, q: FloatArray) -> FloatArray:
    """Map of the columns of `joint_influence` to q - p as it varies in the null, shape (2 B + 2, B).

    With p and q for centres the covariance is that of the difference around its measured value, which is itself small
    in the directions in which the difference happens to be large: a chi2 of B shares from n groups comes out too large
    by a part B / n, as Hotelling's T^2 does. Pairs need no centre, since the weights of the two rows cancel; any
    common one stands for that. Their covariance then is the same for all exchanges of responses, over which the mean of
    the chi2 is its ndf exactly. Independent samples keep their own centres.
    """
    centre = 0.5 * (p + q)
    return difference_of_shares(centre, centre) if comparison.paired else difference_of_shares(p, q)


def ratio_of_shares(p: FloatArray, q: FloatArray) -> FloatArray:
    """Map of the columns of `joint_influence` to q / p by (dq - r dp) / p, shape (2 B + 2, B); 0 where p <= 0."""
    ratio = safe_ratio(q, p)
    inverse = safe_ratio(np.ones_like(p), p)
    return np.concatenate([np.diag(ratio * inverse), np.diag(inverse), -ratio[None, :], -ratio[None, :]])


def shape_quantity(chi2: Chi2) -> Quantity:
    """Chi2/ndf of two shapes with the null of the chi2 distribution: 1 with spread sqrt(2 / ndf)."""
    value, ndf = chi2.value, chi2.ndf
    if ndf == 0:
        # No row could differ: the distributions are one and the same.
        return Quantity(0.0, 0.0, 0.0, 0.0, 1.0)
    return Quantity(
        value=value / ndf,
        error=float(np.sqrt(max(4 * value - 2 * ndf, 2.0 * ndf)) / ndf),
        null=1.0,
        null_error=float(np.sqrt(2.0 / ndf)),
        p_value=float(chi2_distribution.sf(value, ndf)),
    )


def score_histogram(name: str, score: FloatArray, weight: FloatArray, edges: FloatArray) -> dict[str, FloatArray]:
    """Shares of the weight in bins of a score and their errors for independent rows.

    Parameters
    ----------
    name
        Key of the shares; that of the errors has ``_error`` behind it.
    score, weight
        Shapes (n,); signed weights with a positive sum.
    edges
        Shape (B + 1,).

    Returns
    -------
    dict
        Two arrays of shape (B,).
    """
    total = np.sum(weight)
    content = np.histogram(score, edges, weights=weight)[0]
    squares = np.histogram(score, edges, weights=weight**2)[0]
    return {name: content / total, f"{name}_error": np.sqrt(squares) / total}
