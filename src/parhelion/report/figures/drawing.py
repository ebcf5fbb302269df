"""What several figures draw: points with errors, and panels with a comparison below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.report.figures.arrays import FloatArray
from parhelion.report.style import GENERATED, LABEL, REFERENCE, new_figure

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


def draw_pull(axes: Axes, edges: FloatArray, pull: FloatArray) -> None:
    """Draw the difference in standard errors, bands at 1 and 3; beyond the panel bars are cut."""
    for band, shade in ((3.0, "0.93"), (1.0, "0.84")):
        axes.axhspan(-band, band, color=shade, lw=0)
    limit = float(np.clip(1.15 * np.nanmax(np.abs(pull), initial=0.0), 3.6, 8.0))
    axes.stairs(np.nan_to_num(np.clip(pull, -limit, limit)), edges, fill=True, color=GENERATED, alpha=0.75)
    axes.axhline(0.0, color=REFERENCE, lw=0.9)
    axes.set_ylim(-limit, limit)
    axes.set_yticks([-3, 0, 3])
    axes.tick_params(axis="y", which="minor", left=False, right=False)


def panel_stacks(count: int, heights: Sequence[float], title: str, label: str = LABEL) -> tuple[Figure, list[Any]]:
    """Figure with `count` stacks of panels in up to three columns; the panels of a stack share their x axis.

    Parameters
    ----------
    count
        Number of stacks.
    heights
        Heights of the panels of a stack from above, inches.
    title, label
        As in `new_figure`.

    Returns
    -------
    tuple
        The figure, and the axes of each stack from above.
    """
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    width = _WIDTHS[columns]
    cell = sum(heights) + _SPLIT * (len(heights) - 1) + _ROW_GAP
    height = _TOP + rows * cell - _ROW_GAP + _BOTTOM
    figure = new_figure(width, height, title, label, arrange=False)
    wide = (width - columns * (_LEFT + _RIGHT)) / columns
    stacks = []
    for index in range(count):
        row, column = divmod(index, columns)
        left = _LEFT + column * (wide + _LEFT + _RIGHT)
        bottom = height - _TOP - row * cell + _SPLIT
        stack: list[Any] = []
        for tall in heights:
            bottom -= tall + _SPLIT
            first = stack[0] if stack else None
            axes = figure.add_axes(_box(left, bottom, wide, tall, width, height), sharex=first)
            axes.yaxis.set_label_coords(-0.62 / wide, 0.5 if stack else 1.0)
            stack.append(axes)
        for axes in stack[:-1]:
            axes.tick_params(labelbottom=False)
        stacks.append(tuple(stack))
    return figure, stacks


def _box(
    left: float, bottom: float, wide: float, tall: float, width: float, height: float
) -> tuple[float, float, float, float]:
    return left / width, bottom / height, wide / width, tall / height
