"""Two samples side by side: which rows belong together, and what that means for errors and nulls.

A metric that is smooth in the empirical distribution is, to first order, a sum over rows of its influence function
(Hampel 1974; for weighted survey data Deville 1999). The rows of one group are not independent, so influences are
summed within groups first. With u_g that sum for the difference between generated and reference,

- the covariance of the difference is sum_g u_g u_g^T (cluster-robust; no assumption on weights but independence of
  groups, so signed weights need nothing special);
- a draw from the null is sum_g s_g u_g with independent random signs s_g.

Where the generated rows were made at the reference's own conditions, u_g holds both rows, so their common part
cancels, and a random sign is a random exchange of the two responses (null "exchange"). Otherwise the samples are
independent and each group is of one of them: random signs divide each sample into random halves, and the draw is the
difference of the reference's halves plus that of the generated sample's halves, at the sizes of the whole samples (null
"halves"). Either way the null has the fluctuations of the samples at hand and no true difference.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from parhelion.errors import DataError
from parhelion.evaluation.samples.bootstrap import random_signs
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """A reference and a generated sample, checked and aligned.

    Attributes
    ----------
    reference, generated
        The samples; generated is in the reference's order where they are paired.
    paired
        True if both have the same event ids, conditions, groups and (up to a factor) weights: the generated
        responses were made at the reference's conditions.
    reference_group, generated_group
        Group of each row as 0, 1, 2, ...; shared between the samples if they are paired, disjoint if not.
    """

    reference: Sample
    generated: Sample
    paired: bool
    reference_group: IntArray
    generated_group: IntArray

    @property
    def groups(self) -> int:
        """Number of groups in both samples together."""
        return int(max(self.reference_group.max(), self.generated_group.max())) + 1

    @property
    def null_kind(self) -> str:
        """How nulls are made: "exchange" or "halves" (see the module's text)."""
        return "exchange" if self.paired else "halves"

    def describe(self) -> dict[str, Any]:
        """Entries common to the details of all metrics."""
        r, g = self.reference.weights, self.generated.weights
        return {
            "paired": self.paired,
            "null_kind": self.null_kind,
            "rows": {"reference": r.rows, "generated": g.rows},
            "effective": {"reference": r.effective, "generated": g.effective},
        }

    def select(self, reference: BoolArray, generated: BoolArray) -> Comparison:
        """Rows by mask in each sample, shapes (n,) and (m,).

        The pairing is kept only if the masks are equal, as they are for a cut on conditions.
        """
        paired = self.paired and bool(np.array_equal(reference, generated))
        return _grouped(self.reference.take(reference), self.generated.take(generated), paired)


def compare(reference: Sample, generated: Sample) -> Comparison:
    """Check two samples and find out whether their rows belong together.

    Parameters
    ----------
    reference, generated
        Samples with the same condition and response fields and positive sums of weights.

    Raises
    ------
    DataError
        A sample is empty, has no positive sum of weights, or lacks a field of the other.
    """
    for sample in (reference, generated):
        if len(sample) == 0:
            msg = f"{sample.source}: no rows to compare; check the file and the selection"
            raise DataError(msg)
        sample.require_positive_total()
    for role in ("condition", "response"):
        ours = [f.name for f in getattr(reference.schema, role)]
        theirs = [f.name for f in getattr(generated.schema, role)]
        if ours != theirs:
            msg = (
                f"{generated.source}: {role} fields are {', '.join(theirs) or 'none'}, expected those of "
                f"{reference.source}: {', '.join(ours) or 'none'}"
            )
            raise DataError(msg)
    aligned = _align(reference, generated)
    if aligned is not None:
        return _grouped(reference, aligned, paired=True)
    return _grouped(reference, generated, paired=False)


def _align(reference: Sample, generated: Sample) -> Sample | None:
    if len(reference) != len(generated):
        return None
    if not np.array_equal(reference.event_id, generated.event_id):
        ours, theirs = np.argsort(reference.event_id), np.argsort(generated.event_id)
        if not np.array_equal(reference.event_id[ours], generated.event_id[theirs]):
            return None
        order = np.empty_like(ours)
        order[ours] = theirs
        generated = generated.take(order)
    ratio = np.sum(generated.weight) / np.sum(reference.weight)
    if not np.allclose(generated.weight, reference.weight * ratio, rtol=1e-5):
        return None
    # Files may hold single precision: conditions that agree to it are the same conditions.
    for field in reference.schema.condition:
        known = np.asarray(reference.columns[field.name], dtype=np.float64)
        given = np.asarray(generated.columns[field.name], dtype=np.float64)
        if not np.allclose(known, given, rtol=1e-5, atol=1e-6 * float(np.max(np.abs(known)))):
            return None
    return generated


def _grouped(reference: Sample, generated: Sample, paired: bool) -> Comparison:
    _, first = np.unique(reference.group, return_inverse=True)
    if paired:
        return Comparison(reference, generated, True, first, first)
    _, second = np.unique(generated.group, return_inverse=True)
    offset = int(first.max(initial=-1)) + 1
    return Comparison(reference, generated, False, first, second + offset)


class Influence:
    """Group-wise influence of the rows on a vector of k differences, generated minus reference.

    Parameters
    ----------
    comparison
        The samples.
    reference, generated
        Sparse matrices, shapes (n, c) and (m, c): influence of each row on the reference's and on the generated
        sample's own c numbers.
    transform
        Linear map from these c differences to the k wanted ones, shape (c, k); none if not given. It keeps the
        matrices sparse where a centring term would fill them.
    """

    def __init__(
        self,
        comparison: Comparison,
        reference: sparse.csr_matrix,
        generated: sparse.csr_matrix,
        transform: FloatArray | None = None,
    ) -> None:
        groups = comparison.groups
        ours = _sum_groups(reference, comparison.reference_group, groups)
        theirs = _sum_groups(generated, comparison.generated_group, groups)
        self._difference = (theirs - ours).tocsr()
        self._transform = np.eye(self._difference.shape[1]) if transform is None else transform
        self._difference = self._difference[np.diff(self._difference.indptr) > 0]

    def mapped(self, transform: FloatArray) -> Influence:
        """Influence on other combinations of the same c numbers; `transform` has shape (c, k)."""
        new = copy(self)
        new._transform = transform
        return new

    def covariance(self) -> FloatArray:
        """Covariance of the k differences, shape (k, k)."""
        inner = (self._difference.T @ self._difference).toarray()
        found: FloatArray = self._transform.T @ inner @ self._transform
        # What cancels exactly leaves rounding behind, which must not pass for a variance.
        size = np.abs(self._transform)
        dead = np.diag(found) <= 1e-12 * np.einsum("ck,cd,dk->k", size, np.abs(inner), size, optimize=True)
        found[dead, :] = 0.0
        found[:, dead] = 0.0
        return found

    def error(self) -> FloatArray:
        """Standard errors of the k differences, shape (k,)."""
        return np.sqrt(np.diag(self.covariance()))

    def null(self, replicas: int, rng: np.random.Generator) -> FloatArray:
        """Draws of the k differences from the null, shape (replicas, k)."""
        columns = self._difference.T.tocsr()
        draws = [(columns @ signs).T for signs in random_signs(columns.shape[1], replicas, rng)]
        return np.asarray(np.concatenate(draws, axis=0) @ self._transform, dtype=np.float64)


def _sum_groups(rows: sparse.csr_matrix, group: IntArray, groups: int) -> sparse.csr_matrix:
    n = len(group)
    collect = sparse.csr_matrix((np.ones(n), (group, np.arange(n))), shape=(groups, n))
    return (collect @ rows).tocsr()
