"""Geometry of the pyramid: sums over ever smaller blocks of cells, and the order in which blocks are divided."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Zeros around each map, so that every block has neighbours.
PAD = 2
# Parity of the rows and columns of the blocks in the middle, in the order in which they are divided.
CORNERS = ((0, 0), (1, 1), (0, 1), (1, 0))
# Maps up to this size are seen whole by every block of a level; of finer ones the centre.
WHOLE = 8


@dataclass(frozen=True)
class Phase:
    """Blocks of one level that are divided together, by the same network, B of them.

    The four blocks in the middle, where most energy is, are divided one after the other, each by a network of its own;
    then the ring of blocks around them, then all others, each in two turns as the two colours of a chessboard.
    What a block outside the middle sees, and its parts, are listed as seen from the centre: first inward, then outward,
    along the axis on which the block is farther out, then likewise along the other.

    Indices point into flat padded maps side by side: that of the level, (size + 2 PAD)^2 entries, and the next finer,
    (2 size + 2 PAD)^2.

    Attributes
    ----------
    see
        The block itself, its neighbours, and parts of neighbours that are divided before it, shape (B, S). Index
        0, a corner that is always 0, stands for parts that are not.
    parts
        Its own four parts, (0, 0), (0, 1), (1, 0), (1, 1), shape (B, 4); (0, 0) is the innermost.
    inside
        Which of these lie on the grid, shape (B, 4), bool.
    central
        Where most energy is: one of the four blocks in the middle, B is 1.
    ring
        The blocks touch those in the middle.
    places
        Number of each block's place, shape (B,): blocks of one number have the same parameters. None: a number each.
    """

    see: Tensor
    parts: Tensor
    inside: Tensor
    central: bool
    ring: bool
    places: Tensor | None = None

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.see)


@dataclass(frozen=True)
class Level:
    """One level: its size, and the entries that every block sees, as pairs of a map's number and indices in it."""

    shape: tuple[int, ...]
    phases: tuple[Phase, ...]
    seen: tuple[tuple[int, Tensor], ...]


class Pyramid(ABC):
    """Maps 0 to `depth` of a shower, from its total to its cells, and how each is divided into the next.

    Attributes
    ----------
    depth
        Number of levels; level k divides map k.
    cells
        Index in the last map of each cell of the shower, shape (cells,).
    levels
        The levels.
    """

    depth: int
    cells: Tensor
    levels: tuple[Level, ...]

    @abstractmethod
    def stride(self, k: int) -> int:
        """Entries of the flat map number k."""

    @abstractmethod
    def maps(self, cells: Tensor) -> list[Tensor]:
        """Flat maps 0 to depth, shape (n, stride), of showers (n, cells): each entry sums its parts."""


class Squares(Pyramid):
    """Levels over an image of `rows` x `columns` cells, which lies in the middle of a square of 2^depth cells.

    Map number k has 2^k x 2^k entries; map `depth` is the image.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.depth = max(1, (max(rows, columns) - 1).bit_length())
        side = 2**self.depth
        top, left = (side - rows) // 2, (side - columns) // 2
        grid = torch.zeros(side, side, dtype=torch.bool)
        grid[top : top + rows, left : left + columns] = True
        self.cells = self._flat(self.depth)[top : top + rows, left : left + columns].reshape(-1)
        self.levels = tuple(self._level(k, grid) for k in range(self.depth))

    def stride(self, k: int) -> int:
        """Entries of the flat padded map number k."""
        return int((2**k + 2 * PAD) ** 2)

    @staticmethod
    def _flat(k: int) -> Tensor:
        """Index in the flat padded map of each entry, shape (2^k, 2^k)."""
        size = 2**k
        i = torch.arange(size) + PAD
        flat: Tensor = i[:, None] * (size + 2 * PAD) + i[None, :]
        return flat

    def _level(self, k: int, grid: Tensor) -> Level:
        size = 2**k
        scale = 2 ** (self.depth - k - 1)
        occupied = grid.reshape(2 * size, scale, 2 * size, scale).any(dim=3).any(dim=1)
        blocks = occupied.reshape(size, 2, size, 2).any(dim=3).any(dim=1)
        core, around = _middle(size, 1), _middle(size, 2)
        colour = (torch.arange(size)[:, None] + torch.arange(size)[None, :]) % 2
        turns = [(core & _parity(size, i)[:, None] & _parity(size, j)[None, :], True, False) for i, j in CORNERS]
        turns += [
            (part & (colour == c), False, ring)
            for part, ring in ((around & ~core, True), (~around, False))
            for c in (0, 1)
        ]
        phases: list[Phase] = []
        done: set[tuple[int, int]] = set()
        for mask, central, ring in turns:
            here = [(int(i), int(j)) for i, j in torch.nonzero(mask & blocks)]
            if here:
                phases.append(_phase(size, here, done, occupied, central=central, ring=ring))
                done |= set(here)
        low = max(0, size - WHOLE) // 2
        seen = [(k, self._flat(k)[low : size - low, low : size - low].reshape(-1))]
        if size > WHOLE:
            whole = WHOLE.bit_length() - 1
            seen.append((whole, self._flat(whole).reshape(-1)))
        return Level((size, size), tuple(phases), tuple(seen))

    def maps(self, cells: Tensor) -> list[Tensor]:
        """Flat padded maps 0 to depth, shape (n, stride), of images (n, cells): each entry sums its four parts."""
        n = len(cells)
        size = 2**self.depth
        finest = cells.new_zeros(n, self.stride(self.depth))
        finest[:, self.cells.to(cells.device)] = cells
        maps = [finest]
        inner = finest.view(n, size + 2 * PAD, -1)[:, PAD:-PAD, PAD:-PAD]
        for _ in range(self.depth):
            size //= 2
            inner = inner.reshape(n, size, 2, size, 2).sum(dim=(2, 4))
            maps.append(torch.nn.functional.pad(inner, (PAD, PAD, PAD, PAD)).flatten(1))
        return maps[::-1]


def _parity(size: int, odd: int) -> Tensor:
    return torch.arange(size) % 2 == odd


def _middle(size: int, reach: int) -> Tensor:
    """Which entries of a square lie within so many rows and columns of its centre, shape (size, size)."""
    near = torch.arange(size)
    near = (near >= size // 2 - reach) & (near < size // 2 + reach)
    return near[:, None] & near[None, :]


def _phase(
    size: int, here: list[tuple[int, int]], done: set[tuple[int, int]], occupied: Tensor, *, central: bool, ring: bool
) -> Phase:
    fine = (size + 2 * PAD) ** 2

    def flat(row: int, column: int, width: int) -> int:
        return (row + PAD) * (width + 2 * PAD) + column + PAD

    # Far blocks see the four neighbours beside them, and of those that are divided the parts that touch.
    wide = central or ring
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0) and (wide or a * b == 0)]
    reach = 2 if central else 1
    beside = [
        (a, b)
        for a in range(-reach, 2 + reach)
        for b in range(-reach, 2 + reach)
        if (a // 2, b // 2) != (0, 0) and (wide or a // 2 * (b // 2) == 0)
    ]
    see: list[list[int]] = []
    parts: list[list[tuple[int, int]]] = []
    for i, j in here:
        turned = (lambda a, b: (a, b)) if central else _outward(2 * i + 1 - size, 2 * j + 1 - size)
        # Twice the distance of a neighbour's centre, and of a part's, from the block's: odd for parts.
        coarse = [turned(2 * a, 2 * b) for a, b in steps]
        touching = [turned(2 * a - 1, 2 * b - 1) for a, b in beside]
        known = [
            fine + flat(2 * i + (a + 1) // 2, 2 * j + (b + 1) // 2, 2 * size)
            if (i + (a + 1) // 4, j + (b + 1) // 4) in done
            else 0
            for a, b in touching
        ]
        see.append([flat(i, j, size), *(flat(i + a // 2, j + b // 2, size) for a, b in coarse), *known])
        own = [turned(2 * a - 1, 2 * b - 1) for a in (0, 1) for b in (0, 1)]
        parts.append([(2 * i + (a + 1) // 2, 2 * j + (b + 1) // 2) for a, b in own])
    index = torch.tensor(see)
    # What no block of the phase sees is left out.
    index = index[:, (index > 0).any(dim=0)]
    return Phase(
        see=index,
        parts=torch.tensor([[fine + flat(a, b, 2 * size) for a, b in four] for four in parts]),
        inside=torch.tensor([[bool(occupied[a, b]) for a, b in four] for four in parts]),
        central=central,
        ring=ring,
    )


def _outward(row: int, column: int) -> Callable[[int, int], tuple[int, int]]:
    """How steps along a block's farther and nearer axis, away from the centre, are steps along rows and columns.

    The block lies `row` and `column` from the centre.
    """
    down, right = (1 if row > 0 else -1), (1 if column > 0 else -1)
    if abs(column) > abs(row):
        return lambda a, b: (down * b, right * a)
    return lambda a, b: (down * a, right * b)
