"""A surrogate as one graph of plain operations, from (noise, condition) to response in physical units."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from parhelion.surrogates.base import Surrogate
from parhelion.surrogates.codec import Codec
from parhelion.surrogates.structure import FREE, PatternModel
from parhelion.transforms import Quantile, Transform

# Beyond all noise; an infinity would become NaN in a product with 0.
_NEVER = 1e30
# A tree with more comparisons than this is walked down, not looked up.
_WIDEST_TREE = 96
# Rise of a ramp for one standard deviation of its condition, above which single precision would blur it.
_STEEPEST = 256.0


class PackageGraph(nn.Module):
    """What `Surrogate.sample` does, rewritten for speed and for plain operators; the family's network is its own.

    Thresholds of conditions are compared in double precision; all else is in single precision. Where the pattern is
    random, its noise is compared with normal quantiles of the cumulative probabilities, rounded so that each noise
    number gives the same pattern as in `Surrogate.sample`.

    Parameters
    ----------
    surrogate
        Trained surrogate; a copy of it is used.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = copy.deepcopy(surrogate).cpu().eval()
        codec = self.surrogate.codec
        self.split = self.surrogate.noise_width - self.surrogate.noise_features
        self.pattern = _Pattern(codec.pattern) if codec.pattern.patterns > 1 else None
        self.encoder = _Encoder(codec)
        self.decoder = nn.ModuleList(
            _Lookup(step) if isinstance(step, Quantile) else _Inverse(step) for step in reversed(codec.transform.each())
        )
        self.ties = _Ties(codec)

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Responses (n, d) float32 of noise (n, k) float32 and conditions (n, c) float64."""
        one_hot = None if self.pattern is None else self.pattern(condition, noise[:, :1] if self.split else None)
        encoded = self.encoder(condition, one_hot)
        y = self.surrogate.graph(encoded, noise[:, self.split :])
        for step in self.decoder:
            y = step(y)
        return self.surrogate.codec.above_threshold(self.ties(y, one_hot))


class _Inverse(nn.Module):
    """The inverse of a transform as a module."""

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, y: Tensor) -> Tensor:
        return self.transform.inverse(y)


class _Lookup(nn.Module):
    """`Quantile.inverse` with its tables as constants."""

    first: Tensor
    density: Tensor
    start: Tensor
    rise: Tensor
    column: Tensor

    def __init__(self, quantile: Quantile) -> None:
        super().__init__()
        first, last = quantile.y_knots[:, 0], quantile.y_knots[:, -1]
        x = quantile.x_knots
        self.knots = quantile.knots
        self.register_buffer("first", first.clone())
        self.register_buffer("density", (self.knots - 1) / (last - first))
        self.register_buffer("start", x[:, :-1].reshape(-1).clone())
        self.register_buffer("rise", (x[:, 1:] - x[:, :-1]).reshape(-1))
        self.register_buffer("column", (self.knots - 1) * torch.arange(len(first)))

    def forward(self, y: Tensor) -> Tensor:
        place = (y - self.first) * self.density
        # The index is cut as an integer: a NaN must not leave the table.
        index = torch.floor(place).to(torch.long).clamp(0, self.knots - 2)
        table = index + self.column
        return self.start[table] + self.rise[table] * (place - index.to(torch.float32))


class _Pattern(nn.Module):
    """The pattern's number as one-hot (n, K) float32: the tree as comparisons and products with constant matrices."""

    features: Tensor
    thresholds: Tensor
    path: Tensor
    length: Tensor
    leaf_table: Tensor

    def __init__(self, model: PatternModel) -> None:
        super().__init__()
        self.model = model
        feature = model.feature.numpy()
        inner, leaves = np.flatnonzero(feature >= 0), np.flatnonzero(feature < 0)
        self.walked = len(inner) > _WIDEST_TREE
        self.random = model.random
        edges = _normal_edges(model.cumulative.numpy())
        code = (model.cumulative[:, :-1].numpy() <= 0.5).sum(axis=1)
        table = edges if self.random else np.eye(model.patterns)[code]
        # Rows of `path`: +1 where the leaf lies above a threshold, -1 where below.
        place = {int(node): i for i, node in enumerate(inner)}
        path = np.zeros((len(inner), len(leaves)))
        length = np.zeros(len(leaves))
        column = {int(node): i for i, node in enumerate(leaves)}
        pending: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
        while pending:
            node, way = pending.pop()
            if feature[node] < 0:
                for i, sign in way:
                    path[i, column[node]] = sign
                length[column[node]] = sum(sign > 0 for _, sign in way)
                continue
            for child, sign in ((model.left, -1), (model.right, 1)):
                pending.append((int(child[node]), [*way, (place[node], sign)]))
        self.register_buffer("features", torch.as_tensor(feature[inner]))
        self.register_buffer("thresholds", model.threshold[torch.as_tensor(inner)].clone())
        self.register_buffer("path", torch.as_tensor(path, dtype=torch.float32))
        # A row is in the leaf where as many of its steps up are taken as it has, and none of its steps down.
        self.register_buffer("length", torch.as_tensor(length - 0.5, dtype=torch.float32))
        rows = table if self.walked else table[leaves]
        self.register_buffer("leaf_table", torch.as_tensor(rows, dtype=torch.float32))

    def forward(self, condition: Tensor, noise: Tensor | None) -> Tensor:
        if self.walked:
            found = self.leaf_table[self._walk(condition)]
        elif len(self.features):
            above = (condition.index_select(1, self.features) >= self.thresholds).to(torch.float32)
            found = (above @ self.path > self.length).to(torch.float32) @ self.leaf_table
        else:
            found = self.leaf_table.expand(condition.shape[0], -1)
        if not self.random or noise is None:
            return found
        passed = (noise >= found).to(torch.float32)
        # Passed edges come first: the last one passed is the pattern.
        return torch.nn.functional.pad(passed, (1, 0), value=1.0) - torch.nn.functional.pad(passed, (0, 1))

    def _walk(self, condition: Tensor) -> Tensor:
        model = self.model
        node = torch.zeros_like(condition[:, 0], dtype=torch.long)
        for _ in range(model.depth):
            feature = model.feature[node]
            value = condition.gather(1, feature.clamp(min=0)[:, None])[:, 0]
            below = torch.where(value < model.threshold[node], model.left[node], model.right[node])
            node = torch.where(feature >= 0, below, node)
        return node


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


class _Encoder(nn.Module):
    """Encoded conditions as `Codec.encode_condition` gives them, ramps in single precision."""

    selector: Tensor
    gentle: Tensor
    offset: Tensor
    steep_selector: Tensor
    steep_start: Tensor
    steep_slope: Tensor
    steep_place: Tensor

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec
        mean, scale = (t.to(torch.float64) for t in (codec.scale.mean, codec.scale.scale))
        column = codec.ramp_column
        low, high = codec.ramp_ends[0], codec.ramp_ends[1]
        self.register_buffer("selector", torch.eye(max(len(mean), 1))[:, column] if len(column) else torch.zeros(1, 0))
        start = (low - mean[column]) / scale[column]
        slope = scale[column] / (high - low).clamp(min=1e-9)
        steep = slope > _STEEPEST
        # A gentle ramp is a product and a sum; of a steep one the difference is taken first, rounded once.
        gentle = torch.where(steep, torch.zeros_like(slope), slope)
        self.register_buffer("gentle", (self.selector * gentle).to(torch.float32))
        self.register_buffer("offset", (-start * gentle).to(torch.float32))
        self.register_buffer("steep_selector", self.selector[:, steep].clone())
        self.register_buffer("steep_start", -start[steep].to(torch.float32))
        self.register_buffer("steep_slope", slope[steep].to(torch.float32))
        self.register_buffer("steep_place", torch.eye(len(column))[steep])

    def forward(self, condition: Tensor, one_hot: Tensor | None) -> Tensor:
        codec = self.codec
        parts: list[Tensor] = []
        if codec.continuous:
            z = codec.scale(self._scaled(condition)).to(torch.float32)
            parts.append(z)
        for j, values in codec.categories:
            codes = torch.tensor(values, dtype=torch.float64)
            parts.append((condition[:, j : j + 1] == codes).to(torch.float32))
        if len(self.offset):
            ramps = torch.addmm(self.offset, z, self.gentle)
            if len(self.steep_start):
                difference = torch.addmm(self.steep_start, z, self.steep_selector)
                ramps = torch.addmm(ramps, (difference * self.steep_slope).clamp(0.0, 1.0), self.steep_place)
            parts.append(ramps.clamp(0.0, 1.0))
        if one_hot is not None:
            parts.append(one_hot)
        return torch.cat(parts, dim=1)

    def _scaled(self, condition: Tensor) -> Tensor:
        codec = self.codec
        if codec.directions or (codec.log_scale.any() and codec.log_scale.all()):
            return codec.scaled(condition)
        columns = [condition[:, j : j + 1] for j in codec.continuous]
        logs = codec.log_scale.tolist()
        made = [torch.log(x.clamp(min=1e-30)) if log else x for x, log in zip(columns, logs, strict=True)]
        return torch.cat(made, dim=1)


class _Ties(nn.Module):
    """Exact ties, atoms and differences, as `Codec.decode_response` makes them."""

    chosen: Tensor

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.base: Sequence[Sequence[tuple[int, float]]] = codec.base
        table = codec.pattern.table.numpy()
        # (component, code): the component is tied, or at an atom, in some patterns.
        self.cases = [(j, int(c)) for j in range(table.shape[1]) for c in np.unique(table[:, j]) if c != FREE]
        self.atoms = [float(codec.pattern.atoms[j, -2 - c]) if c < FREE else 0.0 for j, c in self.cases]
        masks = [table[:, j] == c for j, c in self.cases]
        shape = (len(table), len(self.cases))
        self.register_buffer("chosen", torch.as_tensor(np.reshape(np.transpose(masks), shape), dtype=torch.float32))

    def forward(self, y: Tensor, one_hot: Tensor | None) -> Tensor:
        if not any(self.base) and not self.cases:
            return y
        chosen = one_hot @ self.chosen > 0.5 if self.cases and one_hot is not None else None
        columns: list[Tensor] = []
        for j in range(y.shape[1]):
            value = y[:, j : j + 1]
            for i, factor in self.base[j]:
                value = value + columns[i] if factor == 1.0 else value + factor * columns[i]
            for k, (component, code) in enumerate(self.cases):
                if component == j and chosen is not None:
                    exact = columns[code] if code >= 0 else torch.full_like(value, self.atoms[k])
                    value = torch.where(chosen[:, k : k + 1], exact, value)
            columns.append(value)
        return torch.cat(columns, dim=1)
