"""Conditions on their way into a package's network: what is smooth, and what is one of a few cases."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from parhelion.surrogates.codec import Codec
from parhelion.surrogates.structure import PatternModel

# Beyond all noise; an infinity would become NaN in a product with 0.
_NEVER = 1e30
# A tree with more comparisons than this is walked down, not looked up.
_WIDEST_TREE = 96
# Rise of a ramp for one standard deviation of its condition, above which single precision would blur it.
_STEEPEST = 256.0
# Keeps the logarithm of a condition outside the domain finite, as in `Codec.scaled`.
_LEAST = 1e-30


class Discrete(nn.Module):
    """Thresholds passed, and the state of the pattern: zeros and ones, exact in single precision.

    The state is the leaf of the pattern's tree where that settles the pattern, and the pattern's number otherwise,
    as one-hot. `codes` has the pattern's number of each state, shape (states,). Categories are differences of
    thresholds passed: one at the value, one just above it.

    Parameters
    ----------
    codec
        Of the surrogate.
    """

    column: Tensor
    threshold: Tensor

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        model = codec.pattern
        self.pattern = _Pattern(model) if model.patterns > 1 else None
        self.codes = torch.zeros(1, dtype=torch.long) if self.pattern is None else self.pattern.codes
        columns, thresholds = ([], []) if self.pattern is None else self.pattern.comparisons
        # Category number -> what it is in terms of thresholds passed.
        self.values: list[tuple[int, int]] = []
        for j, values in codec.categories:
            for value in values:
                self.values.append((len(columns), len(columns) + 1))
                columns, thresholds = [*columns, j, j], [*thresholds, value, np.nextafter(value, np.inf)]
        # Columns are picked by a product with ones and zeros, which is exact, and faster than an index.
        self.register_buffer("column", torch.eye(codec.schema.condition_width, dtype=torch.float64)[:, columns])
        self.register_buffer("threshold", torch.tensor(thresholds, dtype=torch.float64))
        self.width = len(columns) + (0 if self.pattern is None else len(self.codes))
        if self.pattern is not None:
            self.pattern.path = torch.nn.functional.pad(
                self.pattern.path, (0, 0, 0, len(columns) - self.pattern.compared)
            )

    def forward(self, condition: Tensor, noise: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Thresholds passed and state side by side (n, width), and the state alone (n, states)."""
        passed = None
        if len(self.threshold):
            passed = (condition @ self.column >= self.threshold).to(torch.float32)
        if self.pattern is None:
            return passed, None
        state: Tensor = self.pattern(passed, condition, noise)
        return (state if passed is None else torch.cat([passed, state], dim=1)), state

    def table(self, categories: Tensor, patterns: Tensor) -> Tensor:
        """Matrix (width, columns) that gives rows of `categories` and `patterns` added up, for one of each.

        Parameters
        ----------
        categories
            A row for each value of each category, in order.
        patterns
            A row for each pattern, if there are several.
        """
        made = torch.zeros(self.width, categories.shape[1])
        for (at, beyond), row in zip(self.values, categories, strict=True):
            made[at] += row
            made[beyond] -= row
        if self.pattern is not None:
            made[len(self.threshold) :] += patterns[self.codes]
        return made


class _Pattern(nn.Module):
    """State of the pattern (n, states): the tree as comparisons and products with constant matrices."""

    path: Tensor
    length: Tensor
    leaf_table: Tensor
    steps: Tensor
    base: Tensor

    def __init__(self, model: PatternModel) -> None:
        super().__init__()
        self.model = model
        feature = model.feature.numpy()
        inner, leaves = np.flatnonzero(feature >= 0), np.flatnonzero(feature < 0)
        self.random, self.walked = model.random, len(inner) > _WIDEST_TREE
        self.compared = 0 if self.walked else len(inner)
        columns = feature[inner][: self.compared].tolist()
        self.comparisons = (columns, model.threshold[torch.as_tensor(inner)][: self.compared].tolist())
        code = (model.cumulative[:, :-1].numpy() <= 0.5).sum(axis=1)
        # Leaves settle the pattern: they are states themselves.
        self.settled = not self.random and self.compared > 0
        number = code[leaves] if self.settled else np.arange(model.patterns)
        self.codes = torch.as_tensor(number, dtype=torch.long)
        path, length = _paths(model, inner, leaves)
        self.register_buffer("path", torch.as_tensor(path, dtype=torch.float32))
        # A row is in the leaf where as many of its steps up are taken as it has, and none of its steps down.
        self.register_buffer("length", torch.as_tensor(length - 0.5, dtype=torch.float32))
        table = _normal_edges(model.cumulative.numpy()) if self.random else np.eye(model.patterns)[code]
        rows = table if self.walked else table[leaves]
        self.register_buffer("leaf_table", torch.as_tensor(rows, dtype=torch.float32))
        # Passed edges come first: the last one passed is the pattern.
        unit = torch.eye(model.patterns)
        self.register_buffer("steps", unit[1:] - unit[:-1])
        self.register_buffer("base", unit[0].clone())

    def forward(self, passed: Tensor | None, condition: Tensor, noise: Tensor | None) -> Tensor:
        if self.walked:
            found = self.leaf_table[self._walk(condition)]
        elif self.compared and passed is not None:
            found = (passed @ self.path > self.length).to(torch.float32)
            if not self.settled:
                found = found @ self.leaf_table
        else:
            found = self.leaf_table.expand(condition.shape[0], -1)
        if not self.random or noise is None:
            return found
        return torch.addmm(self.base, (noise >= found).to(torch.float32), self.steps)

    def _walk(self, condition: Tensor) -> Tensor:
        model = self.model
        node = torch.zeros_like(condition[:, 0], dtype=torch.long)
        for _ in range(model.depth):
            feature = model.feature[node]
            value = condition.gather(1, feature.clamp(min=0)[:, None])[:, 0]
            below = torch.where(value < model.threshold[node], model.left[node], model.right[node])
            node = torch.where(feature >= 0, below, node)
        return node


def _paths(
    model: PatternModel, inner: npt.NDArray[np.intp], leaves: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """+1 where a leaf lies above a threshold, -1 where below, (inner, leaves), and steps up of each leaf."""
    place = {int(node): i for i, node in enumerate(inner)}
    column = {int(node): i for i, node in enumerate(leaves)}
    path, length = np.zeros((len(inner), len(leaves))), np.zeros(len(leaves))
    pending: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    while pending:
        node, way = pending.pop()
        if node in column:
            for i, sign in way:
                path[i, column[node]] = sign
            length[column[node]] = sum(sign > 0 for _, sign in way)
            continue
        for child, sign in ((model.left, -1), (model.right, 1)):
            pending.append((int(child[node]), [*way, (place[node], sign)]))
    return path, length


def _normal_edges(cumulative: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Least float32 noise whose uniform number reaches each cumulative probability, shape (nodes, K - 1)."""
    wanted = torch.as_tensor(cumulative[:, :-1])
    found = np.nextafter(ndtri(np.clip(cumulative[:, :-1], 1e-300, 1.0)).astype(np.float32), np.float32(-np.inf))

    def reaches(z: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        u = torch.special.ndtr(torch.as_tensor(z).to(torch.float64)).clamp(max=1.0 - 2.0**-53)
        answer: npt.NDArray[np.bool_] = (u >= wanted).numpy()
        return answer

    # From below upwards: the quantile itself is a few units of the last place off at most.
    for _ in range(8):
        found = np.where(reaches(found), found, np.nextafter(np.minimum(found, _NEVER), np.float32(np.inf)))
    edges: npt.NDArray[np.float64] = np.where(reaches(found), found, _NEVER).astype(np.float64)
    edges[cumulative[:, :-1] >= 1.0] = _NEVER
    edges[cumulative[:, :-1] <= 0.0] = -_NEVER
    return np.clip(edges, -_NEVER, _NEVER)


class Encoder(nn.Module):
    """Encoded conditions as `Codec.encode_condition` gives them, in parts that `joined` adds up.

    Standardised columns; ramps in their places of the encoding; and the discrete part, of which `cases` is the matrix
    to the encoding, as `columns` is that of the standardised columns.

    Parameters
    ----------
    codec
        Of the surrogate.
    discrete
        The discrete part.
    """

    scaling: Tensor
    shift: Tensor
    spread: Tensor
    offset: Tensor
    columns: Tensor
    cases: Tensor

    def __init__(self, codec: Codec, discrete: Discrete) -> None:
        super().__init__()
        self.codec = codec
        count, features = len(codec.continuous), codec.features
        between = sum(len(values) for _, values in codec.categories)
        one_hot = torch.eye(features)
        patterns = one_hot[features - codec.pattern.patterns :] if codec.pattern.patterns > 1 else one_hot[:0]
        self.register_buffer("columns", one_hot[:count].clone())
        self.register_buffer("cases", discrete.table(one_hot[count : count + between], patterns))
        mean, scale = (t.to(torch.float64) for t in (codec.scale.mean, codec.scale.scale))
        self.logs = bool(codec.log_scale.any()) and not codec.directions
        width = codec.schema.condition_width
        scaling = torch.zeros(count if codec.directions else width * (1 + self.logs), count, dtype=torch.float64)
        for k, j in enumerate(codec.continuous):
            scaling[k if codec.directions else j + (width if codec.log_scale[k] else 0), k] = 1.0 / scale[k]
        column, (low, high) = codec.ramp_column, codec.ramp_ends
        slope = scale[column] / (high - low).clamp(min=1e-9)
        ramps = torch.arange(len(column)) + count + between
        spread = torch.zeros(count, features, dtype=torch.float64)
        spread[column, ramps] = slope
        offset = torch.zeros(features, dtype=torch.float64)
        offset[ramps] = -(low - mean[column]) / scale[column] * slope
        self.ramps, self.fine = bool(len(column)), bool((slope > _STEEPEST).any())
        kind = torch.float64 if self.fine else torch.float32
        self.register_buffer("scaling", scaling)
        self.register_buffer("shift", -mean / scale)
        self.register_buffer("spread", spread.to(kind))
        self.register_buffer("offset", offset.to(kind))

    def forward(self, condition: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Standardised columns (n, continuous), and ramps (n, features); None where there are none."""
        if not self.codec.continuous:
            return None, None
        if self.codec.directions:
            x = self.codec.scaled(condition)
        elif self.logs:
            x = torch.cat([condition, torch.log(condition.clamp(min=_LEAST))], dim=1)
        else:
            x = condition
        exact = torch.addmm(self.shift, x, self.scaling)
        z = exact.to(torch.float32)
        if not self.ramps:
            return z, None
        ramps = torch.addmm(self.offset, exact if self.fine else z, self.spread)
        return z, ramps.clamp(0.0, 1.0).to(torch.float32)

    def joined(self, z: Tensor | None, ramps: Tensor | None, discrete: Tensor | None) -> Tensor:
        """The whole encoding, (n, features)."""
        if discrete is None and z is not None and ramps is None:
            return z
        made = None if discrete is None else discrete @ self.cases
        if z is not None:
            made = z @ self.columns if made is None else torch.addmm(made, z, self.columns)
        assert made is not None
        return made if ramps is None else made + ramps
