"""Discrete structure of a response: exact ties, atoms, and the pattern that a condition gives.

A simulation's response is rarely a plain density. Hypotheses below the Cherenkov threshold give *exactly* equal
log-likelihoods (a tie), a track without information gives an all-zero row, a cell below threshold is exactly zero
(atoms). A continuous generator smears these. Here each row has a *pattern*: for each response component whether it is
free, tied to an earlier component, or at an atom. The pattern is drawn first, given the condition; the free components
follow from the continuous model; the others are then exact by construction.

Patterns are a function of the condition (thresholds) or random. A decision tree over the conditions finds thresholds
to the gap between neighbouring rows, and known thresholds (declared in the study) replace a found one where they
divide the rows as well, so physical limits are exact. Where a leaf holds several patterns, its weighted shares are
the probabilities.
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
# A split must raise the log-likelihood of the patterns by more than the best of many chance splits does.
_LEAST_GAIN = 8.0
# A known threshold replaces a found one unless that loses more log-likelihood.
_SNAP_LOSS = 3.0


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
        Shape (n, d); at most 200,000 evenly spaced rows are looked at.
    ties, atoms
        What to look for.
    min_share
        Smallest share of rows; at least 20 rows are needed in any case.
    """
    # Evenly spaced: a file may be sorted, by species for instance.
    x = response[:: -(-len(response) // _CANDIDATE_ROWS) or 1]
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
            Known thresholds for each condition column; a found one snaps to the known one that divides as well.
        min_rows
            Patterns seen in fewer rows are taken as accidental: their rows count as the known pattern with the most
            constraints that hold, as in `code`.
        seed
            Seed of the tree's tie-breaking.
        """
        width = response.shape[1]
        found, counts = np.unique(row_patterns(response, candidates), axis=0, return_counts=True)
        # The free pattern is always known: a response that fits no other has it.
        table = np.unique(np.concatenate([found[counts >= min_rows], np.full((1, width), FREE)]), axis=0)
        model = cls(width, patterns=len(table), atoms=max(1, *(len(a) for a in candidates.atoms)))
        model.table = torch.as_tensor(table, dtype=torch.long)
        for j, values in enumerate(candidates.atoms):
            model.atoms[j, : len(values)] = torch.tensor(values, dtype=torch.float64)
        if len(table) > 1:
            code = model.code(torch.as_tensor(response)).numpy()
            model._grow(condition, code, weight, thresholds or {}, seed)
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
        # A normal number beyond 8.3 rounds to a uniform 1, which belongs to the last possible pattern.
        u = uniform[:, None].to(torch.float64).clamp(max=1.0 - 2.0**-53)
        return (u >= self.cumulative[node][:, :-1]).sum(dim=1)

    def code(self, response: Tensor) -> Tensor:
        """Known pattern number of given responses, shape (n,): the one with the most constraints that hold.

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
                    # In single precision, which generated responses have.
                    holds &= response[:, j].to(torch.float32) == self.atoms[j, -2 - code].to(torch.float32)
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

    def _grow(
        self,
        condition: FloatArray,
        code: IntArray,
        weight: FloatArray,
        thresholds: Mapping[int, Sequence[float]],
        seed: int,
    ) -> None:
        """Grow the tree on conditions (n, c) with pattern numbers (n,)."""
        from sklearn.tree import DecisionTreeClassifier

        fitted = DecisionTreeClassifier(
            criterion="entropy",
            min_impurity_decrease=_LEAST_GAIN / np.log(2.0) / len(condition),
            random_state=seed % 2**32,
        )
        # sklearn works in float32; ranks keep neighbouring rows apart, and thresholds are put back in physical units.
        ranks = np.stack([np.unique(column, return_inverse=True)[1].reshape(-1) for column in condition.T], axis=1)
        tree = fitted.fit(ranks, code).tree_
        nodes = int(tree.node_count)
        self.feature = torch.as_tensor(tree.feature.astype(np.int64)).clamp(min=-1)
        self.left = torch.as_tensor(np.maximum(tree.children_left, 0).astype(np.int64))
        self.right = torch.as_tensor(np.maximum(tree.children_right, 0).astype(np.int64))
        self.threshold = torch.zeros(nodes, dtype=torch.float64)
        self.depth = int(fitted.get_depth())
        leaf = np.zeros(len(condition), dtype=np.int64)
        pending = [(0, np.arange(len(condition)))]
        while pending:
            node, rows = pending.pop()
            j = int(tree.feature[node])
            if j < 0:
                leaf[rows] = node
                continue
            below = ranks[rows, j] <= tree.threshold[node]
            self.threshold[node], below = _snap(condition[rows, j], code[rows], below, thresholds.get(j, ()))
            pending += [(int(tree.children_left[node]), rows[below]), (int(tree.children_right[node]), rows[~below])]
        shares = _leaf_shares(leaf, code, weight, nodes, self.patterns)
        # Where snapping took a leaf's last row, the rows for which it was grown speak.
        grown = _leaf_shares(fitted.apply(ranks), code, np.ones(len(code)), nodes, self.patterns)
        shares = np.where(shares.sum(axis=1, keepdims=True) > 0, shares, grown)
        cumulative = np.cumsum(shares, axis=1)
        # Inner nodes are never a row's last stop; mark them certain so that `random` speaks of leaves only.
        inner = tree.feature >= 0
        cumulative[inner] = 1.0
        self.cumulative = torch.as_tensor(cumulative / cumulative[:, -1:])


def _snap(
    values: FloatArray, code: IntArray, below: npt.NDArray[np.bool_], known: Sequence[float]
) -> tuple[float, npt.NDArray[np.bool_]]:
    """Threshold of a node's split, and which of its rows lie below: a known one if it divides about as well.

    `values` and pattern numbers `code` are those of the node's rows, shape (n,), which the tree parts as in `below`.
    """
    options = [(_log_likelihood(code, values < t), t, values < t) for t in known]
    if options:
        gain, best, side = max(options, key=lambda option: option[0])
        if gain > _log_likelihood(code, below) - _SNAP_LOSS:
            return best, side
    # The middle of the gap between the rows of this node, which may hold rows of other nodes.
    return float(0.5 * (np.max(values[below], initial=-np.inf) + np.min(values[~below], initial=np.inf))), below


def _log_likelihood(code: IntArray, below: npt.NDArray[np.bool_]) -> float:
    """Log-likelihood of pattern numbers (n,) with one set of probabilities on each side."""
    total = 0.0
    for side in (below, ~below):
        counts = np.bincount(code[side])
        counts = counts[counts > 0]
        total += float(np.sum(counts * np.log(counts / counts.sum())))
    return total


def _leaf_shares(leaf: IntArray, code: IntArray, weight: FloatArray, nodes: int, patterns: int) -> FloatArray:
    """Signed sums of weights of each pattern in each leaf, shape (nodes, patterns), negative ones as zero.

    A leaf whose weights cancel counts rows.
    """
    shares, rows = np.zeros((nodes, patterns)), np.zeros((nodes, patterns))
    np.add.at(shares, (leaf, code), weight)
    np.add.at(rows, (leaf, code), 1.0)
    shares = np.maximum(shares, 0.0)
    result: FloatArray = np.where(shares.sum(axis=1, keepdims=True) > 0, shares, rows)
    return result
