"""Curves against a condition: response, resolution and averages in bins, each with its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, ShapeError
from parhelion.observables.showers import share

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BinnedResponse:
    """Mean and relative spread of the response in bins; NaN in bins with fewer than two rows.

    Attributes
    ----------
    edges
        Edges of the bins, shape (b + 1,).
    rows
        Rows in each bin, shape (b,).
    mean, mean_error
        Weighted mean of the response and its standard error, shape (b,).
    resolution, resolution_error
        Standard deviation over mean, and its standard error by the delta method, shape (b,).
    """

    edges: FloatArray
    rows: npt.NDArray[np.int64]
    mean: FloatArray
    mean_error: FloatArray
    resolution: FloatArray
    resolution_error: FloatArray


def binned_response(
    response: npt.ArrayLike, energy: npt.ArrayLike, edges: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> BinnedResponse:
    """Response and resolution against the incident energy.

    Errors are those of weighted moments (rows independent): with z = (r - m) / m and v = <z^2> the mean has variance
    sum (w (r - m))^2 / W^2, and the resolution s = sqrt(v) that of its influence (z^2 - v) / (2 s) - s z.

    Parameters
    ----------
    response
        Measured over true energy, shape (n,).
    energy
        Incident energy, shape (n,).
    edges
        Ascending edges of the bins, shape (b + 1,), in the unit of `energy`.
    weight
        Signed weights, shape (n,); ones if not given.

    Raises
    ------
    ShapeError
        The arrays have different lengths.
    ConfigError
        The edges do not ascend.
    """
    values, at, limits = (np.asarray(v, dtype=np.float64) for v in (response, energy, edges))
    w = np.ones_like(values) if weight is None else np.asarray(weight, dtype=np.float64)
    if not values.shape == at.shape == w.shape:
        msg = f"response, energy and weight have shapes {values.shape}, {at.shape} and {w.shape}, expected equal ones"
        raise ShapeError(msg)
    if limits.ndim != 1 or len(limits) < 2 or not (np.diff(limits) > 0).all():
        msg = f"edges of energy bins are {limits.tolist()}, expected at least two in ascending order"
        raise ConfigError(msg)
    bins = len(limits) - 1
    place = np.searchsorted(limits, at, side="right") - 1
    rows = np.zeros(bins, dtype=np.int64)
    found = np.full((4, bins), np.nan)
    for b in range(bins):
        inside = place == b
        rows[b] = np.sum(inside)
        r, u = values[inside], w[inside]
        whole = np.sum(u)
        if rows[b] < 2 or whole <= 0:
            continue
        u = u / whole
        mean = float(u @ r)
        # With signed weights, or no energy at all, a mean or a variance may not be positive: there is no resolution.
        found[0, b], found[1, b] = mean, np.sqrt(np.sum((u * (r - mean)) ** 2))
        z = (r - mean) / mean if mean > 0 else np.zeros_like(r)
        spread = float(u @ z**2)
        if mean > 0 and spread > 0:
            s = np.sqrt(spread)
            influence = (z**2 - spread) / (2 * s) - s * z
            found[2, b], found[3, b] = s, np.sqrt(np.sum((u * influence) ** 2))
    return BinnedResponse(limits, rows, *found)


def central_moments(values: npt.ArrayLike, contained: float = 0.9) -> tuple[float, float]:
    """Mean and standard deviation of the shortest interval that holds a part of the rows (mu_90 and sigma_90).

    Parameters
    ----------
    values
        Shape (n,).
    contained
        Part of the rows.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    keep = max(round(contained * len(ordered)), 1)
    start = int(np.argmin(ordered[keep - 1 :] - ordered[: len(ordered) - keep + 1]))
    core = ordered[start : start + keep]
    return float(core.mean()), float(core.std())


def longitudinal_profile(energy: npt.NDArray[np.floating]) -> FloatArray:
    """Share of the energy in each layer, shape (n, layers), of showers of shape (n, layers, ...)."""
    by_layer = energy.reshape(len(energy), energy.shape[1], -1).sum(axis=2, dtype=np.float64)
    whole = by_layer.sum(axis=1, keepdims=True)
    return share(by_layer, whole)
