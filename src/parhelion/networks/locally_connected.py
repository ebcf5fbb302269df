"""Locally connected layers: convolutions whose weights differ from place to place, for detectors that do too."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from parhelion.errors import ShapeError


class LocallyConnected(nn.Module):
    """A filter of its own for every place of an image, (n, inputs, rows, columns) -> (n, outputs, rows', columns').

    rows' = (rows + 2 padding - kernel) // stride + 1, and so the columns. All places are one batched matrix product.

    Parameters
    ----------
    inputs, outputs
        Channels.
    shape
        Rows and columns of the image.
    kernel, stride, padding
        As those of a convolution; pairs for rows and columns.
    bias
        One a place and output channel.
    slope
        Of the leaky rectifier that follows; it sets the size of the first weights (arXiv:1502.01852, equation 14).

    Raises
    ------
    ShapeError
        The kernel is larger than the padded image.
    """

    places: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shape: tuple[int, int],
        *,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        bias: bool = True,
        slope: float = 0.3,
    ) -> None:
        super().__init__()
        padded = tuple(s + 2 * p for s, p in zip(shape, padding, strict=True))
        if any(k > s for k, s in zip(kernel, padded, strict=True)):
            msg = f"locally connected layer: a kernel of {kernel} does not fit an image of {padded} with its padding"
            raise ShapeError(msg)
        self.inputs, self.outputs, self.padding = inputs, outputs, padding
        self.shape = tuple((s - k) // t + 1 for s, k, t in zip(padded, kernel, stride, strict=True))
        rows, columns = (
            torch.arange(n)[:, None] * t + torch.arange(k) for n, k, t in zip(self.shape, kernel, stride, strict=True)
        )
        # Flat index of each place's kernel cells, (rows', columns', k rows, k columns).
        places = rows[:, None, :, None] * padded[1] + columns[None, :, None, :]
        self.register_buffer("places", places.reshape(-1), persistent=False)
        count, cells = math.prod(self.shape), inputs * math.prod(kernel)
        self.weight = nn.Parameter(torch.randn(count, cells, outputs) * math.sqrt(2.0 / (1.0 + slope**2) / cells))
        self.bias = nn.Parameter(torch.zeros(count, 1, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, rows, columns)."""
        (a, b), (count, cells, _) = self.padding, self.weight.shape
        flat = pad(x, (b, b, a, a)).flatten(2)
        seen = flat.index_select(2, self.places).reshape(-1, self.inputs, count, cells // self.inputs)
        seen = seen.permute(2, 0, 1, 3).reshape(count, -1, cells)
        out = torch.bmm(seen, self.weight)
        if self.bias is not None:
            out = out + self.bias
        return out.permute(1, 2, 0).reshape(-1, self.outputs, *self.shape)


def resized(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images (n, c, rows, columns) on another grid (n, c, *shape): cells repeated or averaged along each axis.

    Raises
    ------
    ShapeError
        Along an axis neither number of cells is a multiple of the other.
    """
    for axis, size in enumerate(shape, start=2):
        now = x.shape[axis]
        if size % now == 0:
            if size != now:
                sizes = [-1] * (x.ndim + 1)
                sizes[axis + 1] = size // now
                x = x.unsqueeze(axis + 1).expand(sizes).flatten(axis, axis + 1)
        elif now % size == 0:
            x = x.reshape(*x.shape[:axis], size, now // size, *x.shape[axis + 1 :]).mean(dim=axis + 1)
        else:
            msg = f"an image with {now} cells along an axis cannot be resized to {size}: neither is a multiple"
            raise ShapeError(msg)
    return x


class InPainting(nn.Module):
    """Attention between a layer and the one before it (arXiv:1712.10321, section 4): which to take, cell by cell.

    Weights of the image before, brought to this grid, and of this one come from a locally connected layer with a 3 x 3
    kernel and a softmax. It starts with a bias of -10 on the image before, which is thus ignored at first.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.choice = LocallyConnected(2, 2, shape, kernel=(3, 3), padding=(1, 1), slope=1.0)
        if self.choice.bias is not None:
            with torch.no_grad():
                self.choice.bias[..., 0] = -10.0

    def forward(self, before: Tensor, image: Tensor) -> Tensor:
        """Mix (n, 1, rows, columns) before and (n, 1, *shape) to (n, 1, *shape)."""
        both = torch.cat([resized(before, self.shape), image], dim=1)
        share = torch.softmax(self.choice(both), dim=1)
        return (share * both).sum(dim=1, keepdim=True)
