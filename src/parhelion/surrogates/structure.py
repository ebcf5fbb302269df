"""Discrete structure of a response: exact ties, atoms, and the pattern that a condition gives.

A simulation's response is rarely a plain density. Hypotheses below the Cherenkov threshold give *exactly* equal
log-likelihoods (a tie), a track without information gives an all-zero row, a cell below threshold is exactly zero
(atoms). A continuous generator smears these. Here each row has a *pattern*: for each response component whether it is
free, tied to an earlier component, or at an atom. The pattern is drawn first, given the condition; the free components
follow from the continuous model; the others are then exact by construction.

Patterns are a function of the condition (thresholds) or random. A decision tree over the conditions finds thresholds
to the gap between neighbouring rows, and known thresholds (declared in the study) replace a found one that lies in the
same gap, so physical limits are exact. Where a leaf holds several patterns, its weighted shares are the probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FREE = -1
_CANDIDATE_ROWS = 200_000


@dataclass(frozen=True)
class Candidates:
    """Exact structure that may occur.

    Attributes
    ----------
    ties
        Pairs (i, j), i < j, of components that are sometimes exactly equal.
    atoms
        For each component, the values that it takes exactly with a finite probability.
    """

    ties: tuple[tuple[int, int], ...]
    atoms: tuple[tuple[float, ...], ...]


def find_candidates(
    response: FloatArray, *, ties: bool = True, atoms: bool = True, min_share: float = 5e-4
) -> Candidates:
    """Find ties and atoms that hold in at least `min_share` of the rows.

    Parameters
    ----------
    response
        Shape (n, d); the first 200,000 rows are looked at.
    ties, atoms
        What to look for.
    min_share
        Smallest share of rows; at least 20 rows are needed in any case.
    """
    x = response[:_CANDIDATE_ROWS]
    need = max(20, int(min_share * len(x)))
    width = x.shape[1]
    found_atoms: list[tuple[float, ...]] = []
    for j in range(width):
        found: tuple[float, ...] = ()
        if atoms:
            values, counts = np.unique(x[:, j], return_counts=True)
            # A column of counts has many repeated values and is not a density with atoms.
            heavy = values[counts >= need]
            if 0 < len(heavy) <= 8:
                found = tuple(float(v) for v in heavy)
        found_atoms.append(found)
    pairs = [(i, j) for j in range(width) for i in range(j) if ties and int(np.sum(x[:, i] == x[:, j])) >= need]
    return Candidates(ties=tuple(pairs), atoms=tuple(found_atoms))


def row_patterns(response: FloatArray, candidates: Candidates) -> IntArray:
    """Pattern of each row, shape (n, d).

    Entry (r, j) is -1 where component j is free, i >= 0 where it is tied to the earlier component i, and
    -2 - m where it sits at atom number m of component j.
    """
    pattern = np.full(response.shape, FREE, dtype=np.int64)
    for j, values in enumerate(candidates.atoms):
        for m, value in enumerate(values):
            pattern[response[:, j] == value, j] = -2 - m
    for i, j in sorted(candidates.ties):
        equal = (response[:, i] == response[:, j]) & (pattern[:, j] == FREE) & (pattern[:, i] == FREE)
        pattern[equal, j] = i
    return pattern


class PatternModel(nn.Module):
    """P(pattern | condition) as a decision tree with exact thresholds.

    Attributes
    ----------
    table
        Known patterns, shape (K, d), coded as in `row_patterns`.
    """

    table: Tensor
    atoms: Tensor
    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    cumulative: Tensor

    def __init__(self, width: int, *, patterns: int = 1, nodes: int = 1, atoms: int = 1) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("table", torch.full((patterns, width), FREE, dtype=torch.long))
        self.register_buffer("atoms", torch.zeros(width, atoms, dtype=torch.float64))
        self.register_buffer("feature", torch.full((nodes,), -1, dtype=torch.long))
        self.register_buffer("threshold", torch.zeros(nodes, dtype=torch.float64))
        self.register_buffer("left", torch.zeros(nodes, dtype=torch.long))
        self.register_buffer("right", torch.zeros(nodes, dtype=torch.long))
        self.register_buffer("cumulative", torch.ones(nodes, patterns, dtype=torch.float64))
        self.depth = 0

    @property
    def patterns(self) -> int:
        """Number of known patterns K."""
        return len(self.table)

    def sizes(self) -> dict[str, int]:
        """Sizes that rebuild this module before its state is loaded."""
        return {
            "width": self.width,
            "patterns": self.patterns,
            "nodes": len(self.feature),
            "atoms": self.atoms.shape[1],
            "depth": self.depth,
        }

    @classmethod
    def of_sizes(cls, sizes: Mapping[str, int]) -> PatternModel:
        """Empty module of given sizes."""
        model = cls(sizes["width"], patterns=sizes["patterns"], nodes=sizes["nodes"], atoms=sizes["atoms"])
        model.depth = sizes["depth"]
        return model

    @classmethod
    def fit(
        cls,
        condition: FloatArray,
        response: FloatArray,
        weight: FloatArray,
        candidates: Candidates,
        *,
        thresholds: Mapping[int, Sequence[float]] | None = None,
        min_rows: int = 20,
        seed: int = 0,
    ) -> PatternModel:
        """Learn which pattern each condition gives.

        Parameters
        ----------
        condition
            Shape (n, c), physical units.
        response
            Shape (n, d), physical units.
        weight
            Signed weights, shape (n,). The tree's splits ignore them (exact structure does not depend on a weight); the
            shares in its leaves use them, negative sums counting as zero.
        candidates
            Structure to look for.
        thresholds
            Known thresholds for each condition column; a found one in the same gap between rows snaps to it.
        min_rows
            Patterns seen in fewer rows are taken as accidental and counted as free.
        seed
            Seed of the tree's tie-breaking.
        """
        rows = row_patterns(response, candidates)
        table, code, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        code = code.reshape(-1)
        free = np.full((1, response.shape[1]), FREE)
        keep = (counts >= min_rows) | (table == free).all(axis=1)
        if not (table[keep] == free).all(axis=1).any() and not keep.all():
            table, keep = np.concatenate([table, free]), np.append(keep, True)
        kept = table[keep]
        index = np.cumsum(keep) - 1
        fallback = int(np.flatnonzero((kept == free).all(axis=1))[0]) if (kept == free).all(axis=1).any() else 0
        code = np.where(keep[code], index[code], fallback)
        model = _tree(cls, condition, code, weight, len(kept), thresholds or {}, seed)
        width = response.shape[1]
        model.width = width
        model.table = torch.as_tensor(kept, dtype=torch.long)
        values = torch.zeros(width, max(1, max(len(a) for a in candidates.atoms)), dtype=torch.float64)
        for j, found in enumerate(candidates.atoms):
            values[j, : len(found)] = torch.tensor(found, dtype=torch.float64)
        model.atoms = values
        return model

    @torch.no_grad()
    def draw(self, condition: Tensor, uniform: Tensor) -> Tensor:
        """Pattern number of each row, shape (n,).

        Parameters
        ----------
        condition
            Shape (n, c), physical units, float64 (a float32 threshold would move physical limits).
        uniform
            Shape (n,), in (0, 1): the noise that decides where a leaf holds several patterns.
        """
        node = torch.zeros(len(condition), dtype=torch.long, device=condition.device)
        for _ in range(self.depth):
            feature = self.feature[node]
            value = condition.gather(1, feature.clamp(min=0)[:, None])[:, 0]
            below = torch.where(value < self.threshold[node], self.left[node], self.right[node])
            node = torch.where(feature >= 0, below, node)
        return (uniform[:, None].to(torch.float64) > self.cumulative[node][:, :-1]).sum(dim=1)

    def code(self, response: Tensor) -> Tensor:
        """Known pattern number of given responses, shape (n,); those with an unknown pattern count as free.

        `response` has shape (n, d), physical units, with exact ties and atoms.
        """
        best = torch.zeros(len(response), dtype=torch.long, device=response.device)
        most = torch.full((len(response),), -1, dtype=torch.long, device=response.device)
        for k in range(self.patterns):
            holds = torch.ones(len(response), dtype=torch.bool, device=response.device)
            for j, code in enumerate(self.table[k].tolist()):
                if code >= 0:
                    holds &= response[:, j] == response[:, code]
                elif code < FREE:
                    holds &= response[:, j] == self.atoms[j, -2 - code].to(response.dtype)
            constraints = int((self.table[k] != FREE).sum())
            better = holds & (constraints > most)
            best = torch.where(better, k, best)
            most = torch.where(better, constraints, most)
        return best

    def active(self, pattern: Tensor) -> Tensor:
        """Which components are free, shape (n, d), bool, for pattern numbers of shape (n,)."""
        return (self.table == FREE)[pattern]

    @property
    def trivial(self) -> bool:
        """True where every component of every row is free."""
        return bool((self.table == FREE).all())

    @property
    def random(self) -> bool:
        """True where some condition leaves the pattern open."""
        inside = (self.cumulative > 1e-12) & (self.cumulative < 1 - 1e-12)
        return bool(inside.any())


def _tree(
    cls: type[PatternModel],
    condition: FloatArray,
    code: IntArray,
    weight: FloatArray,
    patterns: int,
    thresholds: Mapping[int, Sequence[float]],
    seed: int,
) -> PatternModel:
    if patterns == 1:
        return cls(1)
    from sklearn.tree import DecisionTreeClassifier

    rows = len(condition)
    # A split must sort out 20 rows' worth of impurity, more than the best of many chance splits does.
    fitted = DecisionTreeClassifier(min_impurity_decrease=20.0 / rows, random_state=seed)
    # sklearn works in float32; ranks keep neighbouring rows apart, and thresholds are put back in physical units.
    distinct = [np.unique(condition[:, j]) for j in range(condition.shape[1])]
    ranks = np.stack([np.searchsorted(d, condition[:, j]) for j, d in enumerate(distinct)], axis=1)
    leaf = fitted.fit(ranks, code).apply(ranks)
    tree = fitted.tree_
    model = cls(1, patterns=patterns, nodes=int(tree.node_count))
    for node in range(tree.node_count):
        j = int(tree.feature[node])
        if j < 0:
            continue
        below = int(np.floor(tree.threshold[node]))
        low, high = distinct[j][below], distinct[j][min(below + 1, len(distinct[j]) - 1)]
        known = [t for t in thresholds.get(j, ()) if low < t <= high]
        model.feature[node] = j
        model.threshold[node] = known[0] if known else 0.5 * (low + high)
        model.left[node] = int(tree.children_left[node])
        model.right[node] = int(tree.children_right[node])
    shares = np.zeros((tree.node_count, patterns))
    np.add.at(shares, (leaf, code), weight)
    shares = np.maximum(shares, 0.0)
    plain = np.zeros_like(shares)
    np.add.at(plain, (leaf, code), 1.0)
    # A leaf whose signed weights cancel still has patterns: count rows there.
    shares = np.where(shares.sum(axis=1, keepdims=True) > 0, shares, plain)
    total = shares.sum(axis=1, keepdims=True)
    probability = np.divide(shares, total, out=np.full_like(shares, 1.0 / patterns), where=total > 0)
    model.cumulative = torch.as_tensor(np.cumsum(probability, axis=1))
    # Inner nodes are never a row's last stop; mark them certain so that `random` speaks of leaves only.
    model.cumulative[model.feature >= 0] = 1.0
    model.depth = int(fitted.get_depth())
    return model
