"""What several figures draw: points with errors, and panels with a comparison below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.report.figures.arrays import FloatArray
from parhelion.report.style import LABEL, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS: Final = 3
_WIDTHS: Final = {1: 7.2, 2: 10.8, 3: 14.4}
# Inches around and between panels; fixed, since measuring every tick label takes longer than drawing the figure.
_LEFT: Final = 0.95
_RIGHT: Final = 0.2
_TOP: Final = 0.72
_BOTTOM: Final = 0.7
_ROW_GAP: Final = 1.0
_SPLIT: Final = 0.07


def points(
    axes: Axes, x: FloatArray, y: FloatArray, yerr: FloatArray, xerr: FloatArray | None = None, **style: Any
) -> None:
    """Points with error bars; NaN leaves a point out, an error that is not finite counts as 0.

    All bars are one path: a drawing with one path a bar is several times larger.
    """
    seen = np.isfinite(y)
    x, y, height = x[seen], y[seen], np.nan_to_num(yerr[seen], posinf=0.0, neginf=0.0)
    gap = np.full(len(x), np.nan)
    across, along = [np.stack([x, x, gap])], [np.stack([y - height, y + height, gap])]
    if xerr is not None:
        across.append(np.stack([x - xerr[seen], x + xerr[seen], gap]))
        along.append(np.stack([y, y, gap]))
    bars = {"color": style.get("color"), "lw": 1.0, "zorder": style.get("zorder", 3)}
    axes.plot(np.concatenate([a.T.ravel() for a in across]), np.concatenate([a.T.ravel() for a in along]), **bars)
    axes.plot(x, y, "o", **{"ms": 3.2, "zorder": 3, **style})


def panel_pairs(count: int, heights: tuple[float, float], title: str, label: str = LABEL) -> tuple[Figure, list[Any]]:
    """Figure with `count` panels in up to three columns, each with a smaller one below.

    Parameters
    ----------
    count
        Number of pairs.
    heights
        Heights of the two panels, inches.
    title, label
        As in `new_figure`.

    Returns
    -------
    tuple
        The figure, and one (upper axes, lower axes) a pair.
    """
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    width = _WIDTHS[columns]
    cell = sum(heights) + _SPLIT + _ROW_GAP
    height = _TOP + rows * cell - _ROW_GAP + _BOTTOM
    figure = new_figure(width, height, title, label, arrange=False)
    wide = (width - columns * (_LEFT + _RIGHT)) / columns
    pairs = []
    for index in range(count):
        row, column = divmod(index, columns)
        left = _LEFT + column * (wide + _LEFT + _RIGHT)
        top = height - _TOP - row * cell
        upper = figure.add_axes(_box(left, top - heights[0], wide, heights[0], width, height))
        bottom = top - heights[0] - _SPLIT - heights[1]
        lower = figure.add_axes(_box(left, bottom, wide, heights[1], width, height), sharex=upper)
        upper.tick_params(labelbottom=False)
        for axes in (upper, lower):
            axes.yaxis.set_label_coords(-0.62 / wide, 1.0 if axes is upper else 0.5)
        pairs.append((upper, lower))
    return figure, pairs


def _box(
    left: float, bottom: float, wide: float, tall: float, width: float, height: float
) -> tuple[float, float, float, float]:
    return left / width, bottom / height, wide / width, tall / height
