"""Geometry of the pyramid: sums over ever smaller blocks of cells, and the order in which blocks are divided."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Zeros around each map, so that every block has neighbours.
PAD = 2
# Parity of the rows and columns of the blocks that are divided together. Edge neighbours of the last two kinds are all
# divided before them.
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))
# Maps up to this size are seen whole by every block of a level; of finer ones the centre.
WHOLE = 8


@dataclass(frozen=True)
class Phase:
    """Blocks of one level that are divided by the same network, B of them.

    The four blocks in the middle, where most energy is, have networks of their own.

    Indices point into flat padded maps: of the level (size + 2 PAD)^2, and of the next (2 size + 2 PAD)^2.

    Attributes
    ----------
    own
        The block itself in the map of its level, shape (B,).
    around
        Its eight neighbours there, shape (B, 8).
    known
        Parts of neighbours that are divided already, in the next map, shape (B, M).
    parts
        Its own four parts in the next map, (0, 0), (0, 1), (1, 0), (1, 1), shape (B, 4).
    inside
        Which of these lie on the grid, shape (B, 4), bool.
    central
        It is the one of the four blocks in the middle that has this parity.
    """

    own: Tensor
    around: Tensor
    known: Tensor
    parts: Tensor
    inside: Tensor
    central: bool

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.own)


@dataclass(frozen=True)
class Level:
    """One level: its size, and what of this and coarser maps every block sees."""

    size: int
    phases: tuple[Phase, ...]
    centre: Tensor


class Pyramid:
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

    @staticmethod
    def stride(k: int) -> int:
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
        near = torch.arange(size)
        near = (near >= size // 2 - 1) & (near <= size // 2)
        core = near[:, None] & near[None, :]
        phases: list[Phase] = []
        done: list[tuple[int, int]] = []
        for parity in PHASES:
            here = blocks & _parity(size, parity[0])[:, None] & _parity(size, parity[1])[None, :]
            for part, central in ((here & core, True), (here & ~core, False)):
                i, j = torch.nonzero(part, as_tuple=True)
                if len(i):
                    phases.append(_phase(size, i, j, parity, done, occupied, central))
            done.append(parity)
        low = max(0, size - WHOLE) // 2
        centre = self._flat(k)[low : size - low, low : size - low].reshape(-1)
        return Level(size, tuple(phases), centre)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Flat padded maps 0 to depth, shape (n, stride), of images (n, cells): each entry sums its four parts."""
        n = len(image)
        size = 2**self.depth
        finest = image.new_zeros(n, self.stride(self.depth))
        finest[:, self.cells.to(image.device)] = image
        maps = [finest]
        inner = finest.view(n, size + 2 * PAD, -1)[:, PAD:-PAD, PAD:-PAD]
        for _ in range(self.depth):
            size //= 2
            inner = inner.reshape(n, size, 2, size, 2).sum(dim=(2, 4))
            maps.append(torch.nn.functional.pad(inner, (PAD, PAD, PAD, PAD)).flatten(1))
        return maps[::-1]


def _parity(size: int, odd: int) -> Tensor:
    return torch.arange(size) % 2 == odd


def _phase(
    size: int,
    i: Tensor,
    j: Tensor,
    parity: tuple[int, int],
    done: list[tuple[int, int]],
    occupied: Tensor,
    central: bool,
) -> Phase:
    def flat(row: Tensor, column: Tensor, width: int) -> Tensor:
        return (row + PAD) * (width + 2 * PAD) + column + PAD

    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    around = torch.stack([flat(i + a, j + b, size) for a, b in steps], dim=1)
    known: list[Tensor] = []
    for a in range(-2, 4):
        for b in range(-2, 4):
            step = (a // 2, b // 2)
            if step != (0, 0) and ((parity[0] + step[0]) % 2, (parity[1] + step[1]) % 2) in done:
                known.append(flat(2 * i + a, 2 * j + b, 2 * size))
    parts = [(2 * i + a, 2 * j + b) for a in (0, 1) for b in (0, 1)]
    return Phase(
        own=flat(i, j, size),
        around=around,
        known=torch.stack(known, dim=1) if known else torch.zeros(len(i), 0, dtype=torch.long),
        parts=torch.stack([flat(a, b, 2 * size) for a, b in parts], dim=1),
        inside=torch.stack([occupied[a, b] for a, b in parts], dim=1),
        central=central,
    )
