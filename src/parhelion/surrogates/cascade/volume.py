"""Pyramids over three axes: layers of a calorimeter with cells in two lengths, or in angle and radius."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from parhelion.surrogates.cascade.pyramid import Level, Phase, Pyramid

# Maps up to so many entries are seen whole by every block of a level, the largest of them by those of finer levels.
WHOLE = 64
# Levels of up to so many blocks get the widest networks.
FEW = 64
# Cells from the shower's axis that count as near.
NEAR = 2


class Volume(Pyramid):
    """Levels over `shape` = (layers, rows, columns) cells, or (layers, angles, radii) where `polar`.

    Each level halves the blocks along the two axes along which they are longest, in cells, so that where a shower lies
    along every axis is decided of few large blocks, and all others know. Angles close: the last is the neighbour of the
    first. Places that differ by the angle alone share their parameters.

    Entry 0 of each flat map is always 0 and stands for what lies outside.
    """

    def __init__(self, shape: tuple[int, int, int], *, polar: bool) -> None:
        self.shape, self.polar = shape, polar
        bits = [(n - 1).bit_length() for n in shape]
        self.axes = tuple(_halvings(bits)) or ((0,),)
        self.depth = len(self.axes)
        self.shapes = [(1, 1, 1)]
        for axes in self.axes:
            last = self.shapes[-1]
            self.shapes.append((last[0] * _times(axes, 0), last[1] * _times(axes, 1), last[2] * _times(axes, 2)))
        grid = torch.zeros(self.shapes[-1], dtype=torch.bool)
        # In lengths the shower's axis is in the middle; angles and radii begin at 0, like layers.
        low = [0 if axis == 0 or polar else (self.shapes[-1][axis] - shape[axis]) // 2 for axis in range(3)]
        grid[tuple(slice(a, a + n) for a, n in zip(low, shape, strict=True))] = True
        self.cells = 1 + torch.nonzero(grid.flatten())[:, 0]
        occupied = [grid]
        for axes in reversed(self.axes):
            finer = occupied[-1]
            for axis in axes:
                finer = _pairs(finer, axis).any(dim=axis + 1)
            occupied.append(finer)
        occupied.reverse()
        self.levels = tuple(self._level(k, occupied[k], occupied[k + 1]) for k in range(self.depth))

    def stride(self, k: int) -> int:
        """Entries of the flat map number k, with the one that is always 0."""
        a, b, c = self.shapes[k]
        return 1 + a * b * c

    def maps(self, cells: Tensor) -> list[Tensor]:
        """Flat maps 0 to depth, shape (n, stride), of showers (n, cells): each entry sums its two or four parts."""
        finest = cells.new_zeros(len(cells), self.stride(self.depth))
        finest[:, self.cells.to(cells.device)] = cells
        maps = [finest]
        inner = finest[:, 1:].reshape(-1, *self.shapes[-1])
        for axes in reversed(self.axes):
            for axis in axes:
                inner = _pairs(inner, 1 + axis).sum(dim=2 + axis)
            maps.append(torch.nn.functional.pad(inner.flatten(1), (1, 0)))
        return maps[::-1]

    def turned(self, cells: Tensor, uniform: Tensor) -> Tensor:
        """Showers (n, cells) turned about their axis and mirrored at random, by uniform numbers (n, 3).

        By multiples of a cell's angle, or of a quarter where rows and columns are as many, or else of a half.
        """
        grid = cells.view(-1, *self.shape)
        mirror, second, third = (uniform[:, i, None, None, None] for i in range(3))
        if self.polar:
            angles = self.shape[1]
            at = torch.arange(angles, device=cells.device)[None, None, :, None]
            at = torch.where(mirror < 0.5, at, -at) + (second * angles).long()
            return grid.gather(2, (at % angles).expand(grid.shape)).flatten(1)
        grid = torch.where(mirror < 0.5, grid, grid.flip(2))
        grid = torch.where(second < 0.5, grid, grid.flip(3))
        if self.shape[1] == self.shape[2]:
            grid = torch.where(third < 0.5, grid, grid.transpose(2, 3))
        return grid.flatten(1)

    # ----------------------------------------------------------------- what a block sees
    def _flat(self, at: Tensor, k: int) -> Tensor:
        """Index in the flat map k of coordinates (..., 3), 0 for those outside."""
        a, b, c = self.shapes[k]
        inside = ((at >= 0) & (at < torch.tensor([a, b, c]))).all(dim=-1)
        return torch.where(inside, 1 + (at[..., 0] * b + at[..., 1]) * c + at[..., 2], 0)

    def _level(self, k: int, blocks: Tensor, finer: Tensor) -> Level:
        central = int(blocks.sum()) <= FEW
        near = torch.ones_like(blocks) if central else self._near(k)
        at = torch.nonzero(blocks)
        # The turn in which each block is divided: near the axis or far from it, and in two colours.
        order = 2 * (~near[blocks]).long() + at.sum(dim=1) % 2
        turn = torch.full(blocks.shape, 4)
        turn[blocks] = order
        phases = [
            self._phase(k, at[order == i], turn, finer, central=central, ring=not central and i < 2)
            for i in range(4)
            if (order == i).any()
        ]
        whole = max(i for i in range(k + 1) if self.stride(i) <= WHOLE + 1)
        seen = ((whole, torch.arange(1, self.stride(whole))),)
        return Level(self.shapes[k], tuple(phases), seen)

    def _near(self, k: int) -> Tensor:
        """Which blocks of map k lie near the shower's axis, shape of the map."""
        last = self.shapes[-1]
        found: list[Tensor] = []
        for axis in (1, 2):
            size = last[axis] // self.shapes[k][axis]
            low = size * torch.arange(self.shapes[k][axis])
            # The shower's axis between two cells, or at the first.
            middle = 0 if self.polar else last[axis] // 2
            near = (low < middle + NEAR) & (low + size > middle - NEAR)
            found.append(near | (self.polar and axis == 1))
        near = found[0][:, None] & found[1][None, :]
        return near[None].expand(self.shapes[k]).clone()

    def _neighbours(self, at: Tensor, k: int, axis: int, step: int) -> Tensor:
        """Coordinates (B, 3) of the blocks beside; outside of the map where there is none."""
        found = at.clone()
        found[:, axis] += step
        if self.polar and axis == 1:
            size = self.shapes[-1][1] // self.shapes[k][1]
            around = -(-self.shape[1] // size)
            found[:, 1] = found[:, 1] % around if around > 1 else -1
        return found

    def _phase(self, k: int, at: Tensor, turn: Tensor, finer: Tensor, *, central: bool, ring: bool) -> Phase:
        axes = self.axes[k]
        start = self.stride(k)
        mine = turn[tuple(at[0])]
        see, known = [self._flat(at, k)], []
        for axis, step in itertools.product(range(3), (-1, 1)):
            beside = self._neighbours(at, k, axis, step)
            index = self._flat(beside, k)
            see.append(index)
            divided = (index > 0) & (turn.flatten()[(index - 1).clamp(min=0)] < mine)
            for corner in _corners(axes):
                # Of those that are divided before it, the parts that touch.
                if axis in axes and corner[axis] != (0 if step > 0 else 1):
                    continue
                part = self._flat(self._part(beside, axes, corner), k + 1)
                known.append(torch.where(divided & (part > 0), start + part, 0))
        index = torch.stack([*see, *known], dim=1)
        parts = [self._part(at, axes, corner) for corner in _corners(axes)]
        own = torch.stack([self._flat(p, k + 1) for p in parts], dim=1)
        inside = torch.stack([finer[tuple(p.unbind(dim=1))] for p in parts], dim=1)
        if len(axes) == 1:
            # Two parts only: the second of each pair lies nowhere.
            own, inside = (torch.stack([x, torch.zeros_like(x)], dim=2).flatten(1) for x in (own, inside))
        places = None
        if self.polar:
            places = torch.unique(at[:, 0] * self.shapes[k][2] + at[:, 2], return_inverse=True)[1]
        return Phase(
            # What no block of the phase sees is left out.
            see=index[:, (index > 0).any(dim=0)],
            parts=torch.where(own > 0, start + own, start),
            inside=inside,
            central=central,
            ring=ring,
            places=places,
        )

    @staticmethod
    def _part(at: Tensor, axes: Sequence[int], corner: Sequence[int]) -> Tensor:
        """Coordinates (B, 3) in the finer map of one part of each block."""
        factor = torch.tensor([_times(axes, axis) for axis in range(3)])
        return torch.where(at >= 0, at * factor + torch.tensor(corner), -1)


def _pairs(x: Tensor, axis: int) -> Tensor:
    """The same entries with an axis of pairs after the one whose length is halved."""
    return x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])


def _times(axes: Sequence[int], axis: int) -> int:
    return 2 if axis in axes else 1


def _corners(axes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Steps from a block's first part to its two or four parts, along each axis."""
    for steps in itertools.product((0, 1), repeat=len(axes)):
        corner = [0, 0, 0]
        for axis, step in zip(axes, steps, strict=True):
            corner[axis] = step
        yield corner[0], corner[1], corner[2]


def _halvings(bits: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The axes, two or at last one, that each level halves."""
    left = list(bits)
    while any(left):
        order = sorted(range(3), key=lambda axis: -left[axis])
        axes = [axis for axis in order if left[axis]][:2]
        for axis in axes:
            left[axis] -= 1
        yield tuple(sorted(axes))
