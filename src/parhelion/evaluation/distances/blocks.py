"""Blocks of whole groups: jackknife errors, and nulls of squared distances by random signs on blocks.

A squared distance |B / V - A / W|^2 between the means of some vector over two samples is, with the sums a_k, b_k of the
vector over K blocks of rows, a quadratic form in the Gram matrix of these 2K sums. Everything that resampling whole
blocks can tell follows from that matrix, whose size does not depend on the number of rows:

- with u_k the influence of a block on the difference, the estimate from finite samples is too large by sum_k |u_k|^2;
- a draw from the null of the corrected estimate is sum_{k != l} s_k s_l u_k . u_l with random signs s_k. Where the
  samples are paired, u_k holds the rows of both and a sign exchanges them; otherwise each sample has its own signs,
  which divide it into halves (see `comparison`);
- the jackknife over blocks (Quenouille 1956; Tukey 1958) gives the error.

Blocks are of whole groups, so groups need not be independent within; they are of equal numbers of groups drawn at
random, so that an order in the file does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.evaluation.results.null import tail_probability
from parhelion.evaluation.results.result import Quantity
from parhelion.evaluation.samples.bootstrap import random_signs
from parhelion.evaluation.samples.comparison import Comparison

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MINIMUM = 4
_HISTOGRAM_BINS = 40


@dataclass(frozen=True)
class Blocks:
    """Block of each row of two samples.

    Attributes
    ----------
    reference, generated
        0 to `count` - 1, shapes (n,) and (m,).
    count
        Number of blocks of each sample.
    paired
        True if a block of the reference and the same block of the generated sample hold the same groups.
    """

    reference: IntArray
    generated: IntArray
    count: int
    paired: bool


def deal_blocks(
    reference_group: IntArray, generated_group: IntArray, *, paired: bool, count: int, rng: np.random.Generator
) -> Blocks:
    """Deal groups to blocks at random, equally many to each.

    Parameters
    ----------
    reference_group, generated_group
        Group of each row, shapes (n,) and (m,).
    paired
        Whether equal groups of the samples belong together.
    count
        Number of blocks; less if a sample has fewer groups.
    rng
        Source of the order.

    Raises
    ------
    DataError
        A sample has fewer than 4 groups.
    """
    ours, theirs = np.unique(reference_group, return_inverse=True), np.unique(generated_group, return_inverse=True)
    least = min(len(ours[0]), len(theirs[0]))
    if least < MINIMUM:
        msg = (
            f"{least} independent groups of rows in a sample, expected at least {MINIMUM}: fewer give no error; "
            "compare more rows"
        )
        raise DataError(msg)
    used = min(count, least)
    first = rng.permutation(len(ours[0])) % used
    second = first if paired else rng.permutation(len(theirs[0])) % used
    return Blocks(first[ours[1]], second[theirs[1]], used, paired)


def blocks_of(comparison: Comparison, count: int, rng: np.random.Generator) -> Blocks:
    """Deal the groups of two samples to blocks.

    Raises
    ------
    DataError
        A sample has fewer than 4 groups.
    """
    return deal_blocks(
        comparison.reference_group, comparison.generated_group, paired=comparison.paired, count=count, rng=rng
    )


def blocks_of_rows(n: int, m: int, *, paired: bool = False, count: int = 50, seed: int = 0) -> Blocks:
    """Blocks for arrays of n and m rows, each row a group of its own.

    Parameters
    ----------
    n, m
        Numbers of rows.
    paired
        Row i of one belongs to row i of the other.
    count
        Number of blocks.
    seed
        Seed of the order of rows.

    Raises
    ------
    DataError
        Paired arrays have different lengths, or there are fewer than 4 rows.
    """
    if paired and n != m:
        msg = f"paired arrays have {n} and {m} rows, expected equal numbers"
        raise DataError(msg)
    return deal_blocks(np.arange(n), np.arange(m), paired=paired, count=count, rng=np.random.default_rng(seed))


class Contrasts:
    """Linear maps from the 2K block sums (those of the reference first) to differences of means.

    Parameters
    ----------
    reference, generated
        Sums of weights of the blocks, shape (K,) each.
    paired
        Whether the blocks belong together.

    Attributes
    ----------
    difference
        Generated minus reference, shape (2K,).
    deleted
        The same without the rows of block k of both samples, shape (K, 2K).
    units
        Influence of the independent units on the difference, shape (K, 2K) if paired, (2K, 2K) if not. It is centred,
        so that a true difference does not enter, and scaled by sqrt(K / (K - 1)) for that.

    Raises
    ------
    DataError
        Without one of the blocks a sum of weights is not positive.
    """

    def __init__(self, reference: FloatArray, generated: FloatArray, paired: bool) -> None:
        count = len(reference)
        for weights in (reference, generated):
            if np.any(np.sum(weights) - weights <= 0):
                msg = (
                    f"the weights of a sample do not sum to a positive number without one of its {count} blocks; "
                    "compare more rows, or lower `blocks`"
                )
                raise DataError(msg)
        means = [-1.0 / np.sum(reference), 1.0 / np.sum(generated)]
        self.difference = np.repeat(means, count)
        keep = 1.0 - np.eye(count)
        self.deleted = np.concatenate([-keep / (keep @ reference)[:, None], keep / (keep @ generated)[:, None]], axis=1)
        stretch = np.sqrt(count / (count - 1))
        ours, theirs = (
            stretch * mean * (np.eye(count) - (weights / np.sum(weights))[:, None])
            for mean, weights in zip(means, (reference, generated), strict=True)
        )
        zero = np.zeros((count, count))
        self.units = np.concatenate([ours, theirs], axis=1) if paired else np.block([[ours, zero], [zero, theirs]])

    def jackknife_error(self, gram: FloatArray) -> float:
        """Standard error of the squared distance by the jackknife, from the scalar products of the sums, (2K, 2K)."""
        deleted = np.einsum("ki,ij,kj->k", self.deleted, gram, self.deleted, optimize=True)
        return float(jackknife(0.0, deleted)[1])


class SignNull:
    """Null of a squared distance whose bias is taken off, by random signs on the influences of its units.

    Parameters
    ----------
    gram
        Scalar products of the units' influences, shape (k, k).

    Attributes
    ----------
    bias
        What finite samples add to the squared distance before it is corrected.
    variance
        Variance of the corrected distance in the null, exact for the signs; the mean is 0.
    """

    def __init__(self, gram: FloatArray) -> None:
        self._gram = gram
        self.bias = float(np.trace(gram))
        self.variance = 2.0 * float(np.sum(gram**2) - np.sum(np.diag(gram) ** 2))

    def draws(self, replicas: int, rng: np.random.Generator) -> FloatArray:
        """Draws of the corrected distance, shape (replicas,)."""
        signs = np.concatenate(list(random_signs(len(self._gram), replicas, rng)), axis=1)
        found: FloatArray = np.einsum("kr,kr->r", signs, self._gram @ signs) - self.bias
        return found

    def error(self, jackknife: float) -> float:
        """Standard error from that of the jackknife.

        The variance of a squared distance is Var_1 + Var_0, with Var_0 the null's and Var_1 proportional to the true
        distance. The jackknife gives Var_1 + 2 Var_0: the noise of the difference itself counts as a difference.
        """
        return float(np.sqrt(self.variance + max(jackknife**2 - 2 * self.variance, 0.0)))

    def quantity(self, value: float, jackknife: float, draws: FloatArray, rounding: float) -> Quantity:
        """The corrected distance with its error and its null, whose mean is 0 by construction.

        What is below `rounding` in size counts as 0, so that samples that agree have a p-value of 1.
        """
        settled = value if abs(value) > rounding else 0.0
        return Quantity(
            value=float(settled),
            error=self.error(jackknife),
            null=0.0,
            null_error=float(np.sqrt(self.variance)),
            p_value=tail_probability(settled, np.where(np.abs(draws) > rounding, draws, 0.0)),
        )


def jackknife(whole: npt.ArrayLike, deleted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Take off the bias of order 1/n by deleting blocks, and give the standard error.

    Parameters
    ----------
    whole
        Estimates from all rows, shape (...).
    deleted
        The same without one block at a time, shape (K, ...).

    Returns
    -------
    tuple
        K T - (K - 1) mean(T_-k), and sqrt((K - 1) / K sum (T_-k - mean)^2); shape (...) each.
    """
    count, mean = len(deleted), deleted.mean(axis=0)
    error = np.sqrt((count - 1) / count * np.sum((deleted - mean) ** 2, axis=0))
    return count * np.asarray(whole, dtype=np.float64) - (count - 1) * mean, error


def by_block(block: IntArray, count: int) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Order that sorts rows by block, and where each block starts in it, shape (count + 1,)."""
    # Small integers are sorted by radix, in linear time.
    order = np.argsort(block.astype(np.uint16), kind="stable")
    return order, np.concatenate([[0], np.cumsum(np.bincount(block, minlength=count))])


def draws_histogram(draws: FloatArray) -> dict[str, FloatArray]:
    """Histogram of draws for a figure: ``edges``, shape (41,), and ``density``, shape (40,)."""
    low, high = float(draws.min()), float(draws.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    density, edges = np.histogram(draws, bins=_HISTOGRAM_BINS, range=(low, high), density=True)
    return {"edges": edges, "density": density}
