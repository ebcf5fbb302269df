"""Statistics of showers that a loss can compare: differentiable forms of the observables of the set `ecal`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from parhelion.errors import ConfigError
from parhelion.observables.showers import grid
from parhelion.surrogates.codec import Codec

Statistic = Literal[
    "total",
    "response",
    "width_along",
    "width_across",
    "asymmetry_along",
    "asymmetry_across",
    "shift_x",
    "shift_y",
    "hits",
    "sparsity",
]

# Sums of energy in a denominator are at least this, GeV: below what a shower of 1 GeV leaves, so that only nearly empty
# images, whose means would otherwise jump with every cell, are scaled differently.
_FLOOR = 0.02


@dataclass(frozen=True)
class Track:
    """The particle of each row.

    Attributes
    ----------
    momentum
        Size of the momentum, shape (n,), GeV.
    point
        Where the track crosses the reference plane, shape (n, 2), mm.
    along
        Unit vector of the transverse momentum, shape (n, 2).
    """

    momentum: Tensor
    point: Tensor
    along: Tensor

    @property
    def across(self) -> Tensor:
        """Unit vector turned by +90 degrees, shape (n, 2)."""
        return torch.stack([-self.along[:, 1], self.along[:, 0]], dim=1)


class Plane:
    """One image of square cells behind a momentum and a point of impact, as a codec describes them.

    Parameters
    ----------
    codec
        It has one `directions` triple.
    impact
        Conditions with the point of impact at the front face, along the image's axes.
    cell, depth
        Size of a cell, and distance of the plane in which track and shower are compared from the front face, mm.

    Raises
    ------
    ConfigError
        The response is not one image of two axes, or a condition is missing.
    """

    def __init__(self, codec: Codec, impact: tuple[str, str], cell: float, depth: float) -> None:
        shapes = [f.shape for f in codec.schema.response]
        names = [f.name for f in codec.schema.condition]
        if len(shapes) != 1 or len(shapes[0]) != 2:
            msg = f"statistics of showers need one image of shape (rows, columns), got response fields of {shapes}"
            raise ConfigError(msg)
        if len(codec.directions) != 1 or any(n not in names for n in impact):
            msg = (
                "statistics of showers need codec.directions with one momentum and the conditions "
                f"{' and '.join(impact)}; the conditions are {', '.join(names)}"
            )
            raise ConfigError(msg)
        self.codec, self.depth = codec, depth
        self._impact = [codec.continuous.index(names.index(n)) for n in impact]
        x, y = grid((shapes[0][0], shapes[0][1]), cell)
        self._x, self._y = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.float32)

    def track(self, condition: Tensor) -> Track:
        """Tracks of encoded conditions (n, features)."""
        columns = self.codec.kinematics(condition)
        a, b, c = self.codec.directions[0]
        slope = torch.stack([columns[:, b], columns[:, c]], dim=1)
        size = slope.norm(dim=1, keepdim=True)
        first = torch.tensor([1.0, 0.0], dtype=slope.dtype, device=slope.device)
        along = torch.where(size > 0, slope / size.clamp(min=1e-12), first)
        point = columns[:, self._impact] + self.depth * slope
        found = [torch.exp(columns[:, a]), point, along]
        return Track(*(t.to(torch.float32) for t in found))

    def energies(self, x: Tensor) -> Tensor:
        """Energies of the cells (n, cells), GeV, of network-space responses (n, cells)."""
        return self.codec.transform.inverse(x)

    def moments(self, energy: Tensor) -> Tensor:
        """Means of x, y, xx, xy, yy with the energies as weights, shape (n, 5), mm and mm^2."""
        x, y = self._x.to(energy.device), self._y.to(energy.device)
        return (energy @ torch.stack([x, y, x * x, x * y, y * y], dim=1)) / energy.sum(dim=1, keepdim=True).clamp(
            min=_FLOOR
        )

    def asymmetry(self, energy: Tensor, point: Tensor, direction: Tensor) -> Tensor:
        """Energy ahead of a point minus energy behind it, over their sum, shape (n,)."""
        x, y = self._x.to(energy.device), self._y.to(energy.device)
        at = (point * direction).sum(dim=1, keepdim=True)
        side = torch.sign(direction[:, :1] * x + direction[:, 1:] * y - at)
        return (energy * side).sum(dim=1) / energy.sum(dim=1).clamp(min=_FLOOR)


def _width(plane: Plane, energy: Tensor, direction: Tensor) -> Tensor:
    mean_x, mean_y, xx, xy, yy = plane.moments(energy).unbind(dim=1)
    c, s = direction.unbind(dim=1)
    variance = c * c * (xx - mean_x**2) + 2 * c * s * (xy - mean_x * mean_y) + s * s * (yy - mean_y**2)
    # One hot cell has no width, and a root no slope there.
    return torch.sqrt(variance.clamp(min=1e-2))


def _soft_count(log_ratio: Tensor) -> Tensor:
    """Share of cells whose log of energy over threshold is positive: a step of one e-fold instead of a sharp one."""
    return torch.sigmoid(4.0 * log_ratio).mean(dim=1)


def _sparsity(energy: Tensor) -> Tensor:
    total = energy.sum(dim=1, keepdim=True).clamp(min=_FLOOR)
    # Empty cells must not matter, whatever the level.
    part = torch.log((energy / total).clamp(min=1e-9))
    return torch.stack([_soft_count(part - level * math.log(10.0)) for level in (-5, -4, -3, -2, -1)], dim=1)


_FORMS: dict[str, Callable[[Plane, Tensor, Track], Tensor]] = {
    "total": lambda _, e, t: torch.log(e.sum(dim=1) + _FLOOR),
    "response": lambda _, e, t: e.sum(dim=1) / t.momentum,
    "width_along": lambda p, e, t: _width(p, e, t.along),
    "width_across": lambda p, e, t: _width(p, e, t.across),
    "asymmetry_along": lambda p, e, t: p.asymmetry(e, t.point, t.along),
    "asymmetry_across": lambda p, e, t: p.asymmetry(e, t.point, t.across),
    "shift_x": lambda p, e, t: p.moments(e)[:, 0] - t.point[:, 0],
    "shift_y": lambda p, e, t: p.moments(e)[:, 1] - t.point[:, 1],
    "hits": lambda _, e, t: _soft_count(torch.log(e.clamp(min=1e-9) / 1e-4)),
    "sparsity": lambda _, e, t: _sparsity(e),
}


def statistics(names: tuple[Statistic, ...], plane: Plane, x: Tensor, condition: Tensor) -> Tensor:
    """Statistics of network-space responses, side by side.

    They are the observables of the same names (see `parhelion.observables.EcalObservables`), with these changes that
    make them smooth: `total` is the logarithm of its sum with 20 MeV, `hits` and `sparsity` (at 10^-5 to 10^-1) count
    with soft steps, and no image counts as having less than 20 MeV.

    Parameters
    ----------
    names
        Which.
    plane
        Geometry.
    x
        Responses, shape (n, cells).
    condition
        Encoded conditions, shape (n, features).

    Returns
    -------
    Tensor
        Shape (n, m), one column a number.
    """
    energy, track = plane.energies(x), plane.track(condition)
    found = [_FORMS[name](plane, energy, track) for name in names]
    return torch.cat([f if f.ndim == 2 else f[:, None] for f in found], dim=1)


def energy_score(real: Tensor, fake: Tensor, other: Tensor) -> Tensor:
    """Sum over columns of |r - f| + |r - f'| - |f - f'|, (n, m) each, shape (n,).

    Twice the energy score of each number under its own condition (Gneiting, Raftery, J. Am. Stat. Assoc. 102 (2007)
    359, equations 20 and 21), estimated without bias from two independent fakes: its expectation is least where the
    generated distribution is the real one, for every condition. It is a loss of one row, so signed weights multiply it.
    """
    return ((real - fake).abs() + (real - other).abs() - (fake - other).abs()).sum(dim=1)
