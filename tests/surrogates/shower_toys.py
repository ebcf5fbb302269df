"""Toy showers with known truth: a Gaussian spot of hits about the track, on few cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from parhelion.sample import Field, Sample, Schema

THRESHOLD = 1e-3


class LayeredToy:
    """Showers of 1 to 100 GeV in three layers of different cells, whose sum is the incident energy within 2 %.

    The layers have 20, 75 and 5 % of it, shared out by a Dirichlet distribution whose mean falls from the middle.
    """

    shapes = ((3, 8), (6, 4), (6, 2))

    def __init__(self) -> None:
        self.schema = Schema(
            condition=(Field("energy", "GeV"),),
            response=tuple(Field(f"layer_{i}", "GeV", shape) for i, shape in enumerate(self.shapes)),
        )
        self.codec: dict[str, Any] = {"threshold": THRESHOLD}

    def condition(self, n: int, seed: int) -> np.ndarray:
        return np.random.default_rng([seed, 1]).uniform(1.0, 100.0, (n, 1))

    def sample(self, n: int, seed: int = 1, weight: np.ndarray | None = None) -> Sample:
        g = np.random.default_rng([seed, 2])
        energy = self.condition(n, seed)[:, 0]
        total = energy * (1 + 0.02 * g.normal(size=n))
        columns: dict[str, np.ndarray] = {"energy": energy}
        for i, (shape, share) in enumerate(zip(self.shapes, (0.2, 0.75, 0.05), strict=True)):
            axes = np.meshgrid(*(np.arange(s) - (s - 1) / 2 for s in shape), indexing="ij")
            mean = np.exp(-sum(np.abs(a) for a in axes)).ravel()
            cells = g.dirichlet(4 * mean / mean.sum() * len(mean), n)
            columns[f"layer_{i}"] = (total * share)[:, None, None] * cells.reshape(n, *shape)
        return Sample(self.schema, columns, weight=weight, source="toy layers")


class VolumeToy:
    """Showers of 1 to 30 GeV in layers of cells in angle and radius, or in rows and columns.

    Nine tenths of the energy with 20 % / sqrt(E) of normal spread, shared out by a Dirichlet distribution, 200 cells'
    worth of it. Its mean has a depth of its own along the layers, falls with the radius, and leans to an angle of the
    shower's own, the same in all layers, by an amount of its own.
    """

    def __init__(self, shape: tuple[int, int, int] = (5, 6, 3), *, polar: bool = True) -> None:
        self.shape, self.polar = shape, polar
        self.schema = Schema((Field("energy", "GeV"),), (Field("cells", "GeV", shape),))
        self.codec: dict[str, Any] = {"threshold": THRESHOLD}

    def condition(self, n: int, seed: int) -> np.ndarray:
        g = np.random.default_rng([seed, 1])
        return np.exp(g.uniform(0.0, np.log(30.0), (n, 1)))

    def sample(self, n: int, seed: int = 1, weight: np.ndarray | None = None) -> Sample:
        g = np.random.default_rng([seed, 2])
        energy = self.condition(n, seed)[:, 0]
        total = 0.9 * energy * np.clip(1 + 0.2 / np.sqrt(energy) * g.normal(size=n), 0.2, None)
        layer, a, b = np.meshgrid(*(np.arange(size) for size in self.shape), indexing="ij")
        if self.polar:
            radius, angle = b / max(self.shape[2] - 1, 1), 2 * np.pi * (a + 0.5) / self.shape[1]
        else:
            x, y = (2 * (c + 0.5) / size - 1 for c, size in zip((a, b), self.shape[1:], strict=True))
            radius, angle = np.hypot(x, y), np.arctan2(y, x)
        depth = (0.4 + 0.1 * g.normal(size=(n, 1, 1, 1))) * self.shape[0]
        own, lean = g.uniform(0.0, 2 * np.pi, (n, 1, 1, 1)), g.uniform(0.0, 1.5, (n, 1, 1, 1))
        mean = np.exp(-0.5 * ((layer - depth) / 1.2) ** 2 - 2 * radius + lean * np.cos(angle - own))
        share = g.gamma(200 * mean / mean.sum(axis=(1, 2, 3), keepdims=True))
        cells = total[:, None, None, None] * share / share.sum(axis=(1, 2, 3), keepdims=True)
        return Sample(self.schema, {"energy": energy, "cells": cells}, weight=weight, source="toy volumes")


class ShowerToy:
    """Electrons of 1 to 30 GeV on a grid of square cells of 20 mm.

    The response is a fifth of the energy with 20 % / sqrt(E) of normal spread, given out in equal hits of 5 MeV, each
    at x + 60 mm px / pz with 20 mm of normal spread along both axes. Cells under threshold occur: each hit of the last
    ten in a row is divided by ten.
    """

    def __init__(self, shape: tuple[int, int] = (6, 6)) -> None:
        self.shape = shape
        self.schema = Schema(
            condition=(*(Field(n, "GeV") for n in ("px", "py", "pz")), *(Field(n, "mm") for n in ("x", "y"))),
            response=(Field("energy", "GeV", shape),),
        )
        self.codec: dict[str, Any] = {"directions": [["px", "py", "pz"]], "threshold": THRESHOLD}

    def condition(self, n: int, seed: int) -> np.ndarray:
        g = np.random.default_rng([seed, 1])
        p = np.exp(g.uniform(0.0, np.log(30.0), n))
        slope = np.clip(0.1 * g.normal(size=(n, 2)), -0.3, 0.3)
        pz = p / np.sqrt(1 + (slope**2).sum(axis=1))
        return np.stack([slope[:, 0] * pz, slope[:, 1] * pz, pz, *g.uniform(-5, 5, (2, n))], axis=1)

    def response(self, condition: np.ndarray, seed: int) -> np.ndarray:
        g = np.random.default_rng([seed, 2])
        p = np.linalg.norm(condition[:, :3], axis=1)
        total = 0.2 * p * np.clip(1 + 0.2 / np.sqrt(p) * g.normal(size=len(p)), 0.2, None)
        hits = np.ceil(total / 0.005).astype(int)
        row = np.repeat(np.arange(len(p)), hits)
        number = np.arange(len(row)) - np.repeat(np.cumsum(hits) - hits, hits)
        energy = np.where(hits[row] - number <= 10, 0.0005, 0.005)
        cells = np.zeros((len(p), *self.shape))
        where = []
        for axis in (0, 1):
            centre = condition[:, 3 + axis] + 60.0 * condition[:, axis] / condition[:, 2]
            at = np.floor((centre[row] + 20.0 * g.normal(size=len(row))) / 20.0).astype(int) + self.shape[axis] // 2
            where.append(np.clip(at, 0, self.shape[axis] - 1))
        np.add.at(cells, (row, *where), energy)
        return cells

    def sample(self, n: int, seed: int = 1, weight: np.ndarray | None = None) -> Sample:
        condition = self.condition(n, seed)
        columns = dict(zip(("px", "py", "pz", "x", "y"), condition.T, strict=True))
        return Sample(
            self.schema, {**columns, "energy": self.response(condition, seed)}, weight=weight, source="toy showers"
        )
