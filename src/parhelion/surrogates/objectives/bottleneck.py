"""Losses of autoencoders with a bounded information bottleneck, and of the cell spectrum of reconstructed showers."""

from __future__ import annotations

import torch
from torch import Tensor


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of diagonal normal distributions (n, d) from the standard one, (n,).

    Kingma and Welling, arXiv:1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)


def discrepancy(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of rows x and y (n, d) under signed weights (n,), a scalar.

    Gretton et al., J. Mach. Learn. Res. 13 (2012) 723, equation 3, where each mean over pairs i != j is of
    w_i w_j k; rows at the same place of x and y are left out too, so that a constant factor of both is none of one.
    The kernel exp(-|x - y|^2 / (2 d)) is as wide as the distances between standard normal rows; that of
    arXiv:2005.05334, exp(-|x - y|^2), is 0 for nearly all pairs in 24 dimensions.
    """
    n, d = x.shape
    pairs = weight[:, None] * weight[None] * (1.0 - torch.eye(n, device=x.device))

    def mean(a: Tensor, b: Tensor) -> Tensor:
        square = (a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None] - 2.0 * a @ b.T).clamp(min=0.0)
        return (pairs * torch.exp(-square / (2.0 * d))).sum() / max(n * (n - 1), 1)

    return mean(x, x) + mean(y, y) - 2.0 * mean(x, y)


def sorted_discrepancy(
    real: Tensor, fake: Tensor, *, top: int = 2000, window: int = 100, stride: int = 25, sharpness: float = 200.0
) -> Tensor:
    """Sorted-Kernel-MMD of the cells of each shower, (n,) (arXiv:2005.05334, section 3.4).

    Both lists of cells are sorted and gone through in windows of neighbours in rank: the mean over windows of the
    squared maximum mean discrepancy with the kernel exp(-sharpness (x - x')^2). A cell is thus compared with cells of
    like energy, wherever they are.

    Parameters
    ----------
    real, fake
        Cells, (n, cells).
    top
        Largest cells that are compared.
    window, stride
        Cells of a window, and between the starts of two.
    sharpness
        Of the kernel.
    """
    count = min(top, real.shape[1])
    size = min(window, count)
    a, b = (torch.topk(x, count, dim=1).values.unfold(1, size, stride) for x in (real, fake))

    def mean(left: Tensor, right: Tensor) -> Tensor:
        return torch.exp(-sharpness * (left[..., :, None] - right[..., None, :]).square()).mean(dim=(1, 2, 3))

    return mean(a, a) + mean(b, b) - 2.0 * mean(a, b)
