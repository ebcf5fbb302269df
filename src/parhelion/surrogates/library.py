"""The library: a surrogate that looks up training rows with neighbouring conditions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.spatial import cKDTree
from torch import Tensor

from parhelion.sample import Sample
from parhelion.surrogates.base import Surrogate, SurrogateConfig
from parhelion.surrogates.cells import positive_weights, threshold_sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_CHUNK = 1 << 15
# A pattern decides which entries mean anything; a row of another category is a lesser evil than one of another pattern.
_PATTERN_COST, _CATEGORY_COST = 1000.0, 1.0
_RIDGE = 1e-3
# Squared distance of a row of another cell.
_FAR = 1e12


class LibraryConfig(SurrogateConfig):
    """Options of a library.

    Attributes
    ----------
    k
        Neighbours in condition; 1 always gives the row of the nearest condition.
    mode
        ``resample``: the response of one neighbour, drawn by weight. ``interpolate``: the same, moved along the local
        linear regression of response on condition to the condition asked for (Beaumont, Zhang, Balding, Genetics 162
        (2002) 2025): the neighbours' spread is kept and their difference in condition is taken out.
    max_rows
        Most rows to keep; all if none is given.
    """

    k: int = Field(16, ge=1)
    mode: Literal["resample", "interpolate"] = "resample"
    max_rows: int | None = Field(None, ge=1)


class Library(Surrogate):
    """k nearest neighbours in condition among stored training rows: the baseline for every trained surrogate.

    Neighbours have the same category and pattern; distance is Euclidean in the standardised continuous conditions.
    Without a continuous condition, all rows of the category and pattern are neighbours. A row's own exact structure
    is that of its pattern. One noise number chooses among the neighbours, ordered by distance.

    The rows are stored, unlike in any other family: a file of a library contains training data.
    """

    kind: ClassVar[str] = "library"
    Config = LibraryConfig
    config: LibraryConfig
    stored_position: Tensor
    stored_response: Tensor
    stored_weight: Tensor
    stored_cell: Tensor
    cell_code: Tensor
    _sizes: tuple[int, int] = (0, 0)

    def build(self, features: int, width: int) -> None:
        """Make empty storage; of the right size when a file is loaded."""
        rows, cells = self._sizes
        continuous = len(self.codec.continuous)
        self.register_buffer("stored_position", torch.zeros(rows, continuous))
        self.register_buffer("stored_response", torch.zeros(rows, width))
        self.register_buffer("stored_weight", torch.zeros(rows))
        self.register_buffer("stored_cell", torch.zeros(rows, dtype=torch.long))
        self.register_buffer("cell_code", torch.zeros(cells, features - continuous - len(self.codec.ramp_column)))
        self._shelves: dict[int, _Shelf] = {}

    def sizes(self) -> dict[str, Any]:
        """Numbers of stored rows and of (category, pattern) cells."""
        return {"rows": len(self.stored_weight), "cells": len(self.cell_code)}

    def set_sizes(self, sizes: dict[str, Any]) -> None:
        """Take the sizes that `sizes` gave."""
        self._sizes = (sizes["rows"], sizes["cells"])

    def prepare(self, sample: Sample, *, seed: int) -> None:
        """Store the rows of a training sample, with weights made non-negative (see `positive_weights`).

        Raises
        ------
        DataError
            The sum of weights is not positive, or the sample is empty.
        """
        super().prepare(sample, seed=seed)
        batch = self.encode(sample)
        position, code = self.codec.split_condition(batch.condition)
        group = np.unique(code.numpy(), axis=0, return_inverse=True)[1].reshape(-1)
        joint = torch.cat([position, batch.response], dim=1).to(torch.float64).numpy()
        weight = positive_weights(joint, sample.weight, group)
        limit = None if self.config.max_rows is None else min(self.config.max_rows, len(weight))
        if self.config.k == 1:
            # The nearest row is taken whatever its weight: rows are thinned to equal weights instead.
            heavy = np.quantile(weight[weight > 0], 0.99)
            weight = np.minimum(weight, heavy)
            equal = max(1, int(weight.sum() / heavy))
            limit = equal if limit is None else min(limit, equal)
        rows, weight = threshold_sample(weight, limit, seed=seed)
        self.stored_position, self.stored_response = position[rows].clone(), batch.response[rows].clone()
        self.stored_weight = torch.as_tensor(weight, dtype=torch.float32)
        cell_code, cell = np.unique(code[rows].numpy(), axis=0, return_inverse=True)
        self.cell_code, self.stored_cell = torch.as_tensor(cell_code), torch.as_tensor(cell.reshape(-1))
        self._shelves = {}

    @property
    def noise_features(self) -> int:
        """One number, which chooses among the neighbours."""
        return 1

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Responses of neighbours in network space, (n, d), from conditions (n, features) and noise (n, 1)."""
        near, code = self.codec.split_condition(condition.detach())
        position, cell = near.cpu().to(torch.float64).numpy(), self._cells(code).cpu().numpy()
        u = torch.special.ndtr(noise[:, 0].detach().cpu().to(torch.float64)).numpy()
        out = np.empty((len(position), self.schema.response_width), dtype=np.float32)
        for c in np.unique(cell):
            shelf, rows = self._shelf(int(c)), np.flatnonzero(cell == c)
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                out[part] = shelf.draw(position[part], u[part], interpolate=self.config.mode == "interpolate")
        return torch.as_tensor(out).to(condition.device)

    def graph(self, condition: Tensor, noise: Tensor) -> Tensor:
        """As `generate`, by looking at every stored row: memory and time are rows times stored rows."""
        near, code = self.codec.split_condition(condition)
        cell = (code[:, None] - self.cell_code).abs() * self._cost(code)
        same = cell.sum(dim=2).argmin(dim=1)[:, None] == self.stored_cell
        weight = self.stored_weight.to(torch.float64)
        k = len(weight)
        if near.shape[1]:
            x, k = near.to(torch.float64), min(self.config.k, k)
            stored = self.stored_position.to(torch.float64)
            # |x - s|^2 without |x|^2, which is the same for all stored rows.
            distance = (stored**2).sum(dim=1) - 2.0 * (x @ stored.T)
            far = torch.full_like(distance, _FAR)
            found, neighbour = torch.topk(torch.where(same, distance, far), k, dim=1, largest=False)
            mass = torch.where(found < 0.5 * _FAR, weight[neighbour], torch.zeros_like(found))
        else:
            neighbour = torch.arange(k).expand(near.shape[0], -1)
            mass = torch.where(same, weight, torch.zeros_like(weight))
        cumulative = mass.cumsum(dim=1)
        u = torch.special.ndtr(noise[:, :1].to(torch.float64)) * cumulative[:, -1:]
        place = (u >= cumulative[:, :-1]).to(torch.long).sum(dim=1, keepdim=True)
        chosen = neighbour.gather(1, place)[:, 0]
        response = self.stored_response[chosen]
        if self.config.mode == "resample" or not near.shape[1]:
            return response
        share = (mass / cumulative[:, -1:])[:, :, None]
        xs, ys = stored[neighbour], self.stored_response.to(torch.float64)[neighbour]
        xs, ys = xs - (share * xs).sum(dim=1, keepdim=True), ys - (share * ys).sum(dim=1, keepdim=True)
        weighted = (share * xs).transpose(1, 2)
        square = weighted @ xs
        scale = torch.stack([square[:, i, i] for i in range(xs.shape[2])]).sum(dim=0)[:, None, None] + 1e-12
        slopes = _solve(square + _RIDGE * scale * torch.eye(xs.shape[2], dtype=torch.float64), weighted @ ys)
        moved = ((x - stored[chosen])[:, None] @ slopes)[:, 0]
        return (response.to(torch.float64) + moved).to(torch.float32)

    def _cost(self, code: Tensor) -> Tensor:
        """What a difference in each number of (category, pattern) codes costs."""
        cost = torch.full((code.shape[1],), _CATEGORY_COST, device=code.device)
        if self.codec.pattern.patterns > 1:
            cost[-self.codec.pattern.patterns :] = _PATTERN_COST
        return cost

    def _cells(self, code: Tensor) -> Tensor:
        """Number of the stored cell with most in common with each (category, pattern) code, shape (n,)."""
        cost = self._cost(code)
        return torch.cdist(code * cost, self.cell_code * cost, p=1).argmin(dim=1)

    def _shelf(self, cell: int) -> _Shelf:
        if cell not in self._shelves:
            rows = self.stored_cell == cell
            self._shelves[cell] = _Shelf(
                self.stored_position[rows].cpu().to(torch.float64).numpy(),
                self.stored_response[rows].cpu().to(torch.float64).numpy(),
                self.stored_weight[rows].cpu().to(torch.float64).numpy(),
                self.config.k,
            )
        return self._shelves[cell]


def _solve(square: Tensor, right: Tensor) -> Tensor:
    """Solution (n, c, d) of positive definite systems (n, c, c), right sides (n, c, d), by elimination."""
    width = square.shape[1]
    table = torch.cat([square, right], dim=2)
    lines = [table[:, i : i + 1] for i in range(width)]
    for i in range(width):
        lines[i] = lines[i] / lines[i][:, :, i : i + 1]
        lines = [line if j == i else line - line[:, :, i : i + 1] * lines[i] for j, line in enumerate(lines)]
    return torch.cat(lines, dim=1)[:, :, width:]


class _Shelf:
    """Rows of one cell, in a k-d tree."""

    def __init__(self, position: FloatArray, response: FloatArray, weight: FloatArray, k: int) -> None:
        self.position, self.response, self.weight = position, response, weight
        self.k = min(k, len(weight))
        self.tree = cKDTree(position) if position.shape[1] else None
        self.cumulative = np.cumsum(weight)

    def draw(self, position: FloatArray, u: FloatArray, *, interpolate: bool) -> FloatArray:
        """Responses (n, d) at positions (n, c) chosen by uniform numbers (n,)."""
        if self.tree is None:
            chosen = np.searchsorted(self.cumulative, u * self.cumulative[-1], side="right")
            rows: FloatArray = self.response[np.minimum(chosen, len(self.weight) - 1)]
            return rows
        neighbour = self.tree.query(position, k=np.arange(1, self.k + 1))[1]
        cumulative = np.cumsum(self.weight[neighbour], axis=1)
        place = (u[:, None] * cumulative[:, -1:] >= cumulative[:, :-1]).sum(axis=1)
        chosen = np.take_along_axis(neighbour, place[:, None], axis=1)[:, 0]
        response: FloatArray = self.response[chosen]
        if not interpolate:
            return response
        moved: FloatArray = response + np.einsum(
            "nc,ncd->nd", position - self.position[chosen], self._slopes(neighbour)
        )
        return moved

    def _slopes(self, neighbour: IntArray) -> FloatArray:
        """Weighted local regression of response on condition, shape (n, c, d), with a small ridge."""
        w = self.weight[neighbour] / self.weight[neighbour].sum(axis=1, keepdims=True)
        x, y = self.position[neighbour], self.response[neighbour]
        x = x - np.einsum("nk,nkc->nc", w, x)[:, None]
        y = y - np.einsum("nk,nkd->nd", w, y)[:, None]
        square = np.einsum("nk,nka,nkb->nab", w, x, x)
        scale = np.einsum("naa->n", square)[:, None, None] + 1e-12
        slopes: FloatArray = np.linalg.solve(
            square + _RIDGE * scale * np.eye(x.shape[2]), np.einsum("nk,nkc,nkd->ncd", w, x, y)
        )
        return slopes
