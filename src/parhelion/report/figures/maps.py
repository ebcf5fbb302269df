"""Maps in cells: AUC differences of two species, and differences of correlation matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.figures.arrays import FloatArray, measured, numbers, symmetric_limit
from parhelion.report.style import DIVERGING, EMPTY, LABEL, new_figure, pretty, style, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_DARK: Final = 0.62


def auc_map_figure(result: MetricResult, *, bound: float | None = None, label: str = LABEL) -> Figure:
    """AUC difference of one pair of species: in units of 0.001 AUC, the same for the null, and in standard errors.

    All bins are drawn equally large, so that each number can be read; their edges are on the axes. A grey cell has
    too few tracks of one species, and says how many.

    Parameters
    ----------
    result
        Result of the metric ``auc_map``.
    bound
        Largest |AUC difference| that a requirement allows; cells beyond it get a frame.
    label
        Text above the figure.
    """
    d = result.details
    difference, null, pull = (numbers(d[key]) for key in ("difference", "null_map", "pull"))
    fewest = np.minimum(numbers(d["signal_tracks"]), numbers(d["background_tracks"]))
    rows = len(difference)
    with style():
        figure = new_figure(14.5, float(np.clip(1.9 + 0.62 * rows, 4.2, 11.0)), result.on, label)
        first, second, third = figure.subplots(1, 3, sharey=True)
        limit = symmetric_limit(1e3 * np.stack([difference, null]), at_least=0.1)
        image = _cells(first, 1e3 * difference, limit, fewest)
        _cells(second, 1e3 * null, limit, fewest)
        pulls = _cells(third, pull, symmetric_limit(pull, at_least=3.0), fewest)
        if bound is not None:
            _frame(first, np.abs(difference) > bound)
        figure.colorbar(image, ax=[first, second], label=r"$\Delta$AUC × 1000", pad=0.01, aspect=25)
        figure.colorbar(pulls, ax=third, label=r"$\Delta$AUC / standard error", pad=0.02, aspect=25)
        mean, chi2 = (result.quantities.get(name) for name in ("mean", "chi2_ndf"))
        _title(
            first, "generated − reference", "" if mean is None else f"mean |Δ| = {_thousandths(mean.value, mean.error)}"
        )
        _title(
            second,
            "null: reference − reference",
            "" if mean is None else f"mean |Δ| = {_thousandths(mean.null, mean.null_error)}",
        )
        _title(
            third,
            "in units of its uncertainty",
            "" if chi2 is None else f"χ²/ndf = {chi2.value:.2f} (null {measured(chi2.null, chi2.null_error)})",
        )
        for axes in (first, second, third):
            _edge_ticks(axes, numbers(d["x_edges"]), numbers(d["y_edges"]))
            axes.set_xlabel(with_unit(str(d["x"]), str(d["x_unit"])))
        first.set_ylabel(with_unit(str(d["y"]), str(d["y_unit"])))
    return figure


def correlation_figure(result: MetricResult, *, label: str = LABEL) -> Figure:
    """Correlation matrix of the reference, and difference generated minus reference in units of 0.001.

    Parameters
    ----------
    result
        Result of the metric ``correlation``.
    label
        Text above the figure.
    """
    d = result.details
    fields = [str(f) for f in d["fields"]]
    reference, difference = numbers(d["reference"]), numbers(d["difference"])
    size = len(fields)
    lower = np.tril(np.ones((size, size), dtype=bool), k=-1)
    with style():
        figure = new_figure(14.0, float(np.clip(2.2 + 0.52 * size, 3.6, 11.0)), result.on, label)
        first, second = figure.subplots(1, 2)
        left = _cells(first, np.where(lower, reference, np.nan), 1.0, None, digits=2)
        scaled = np.where(lower, 1e3 * difference, np.nan)
        right = _cells(second, scaled, symmetric_limit(scaled, at_least=1.0), None, digits=1)
        figure.colorbar(left, ax=first, label="Correlation", pad=0.02)
        figure.colorbar(right, ax=second, label="Difference × 1000", pad=0.02)
        _title(first, "reference", "")
        main = result.quantities.get("max")
        _title(
            second, "generated − reference", "" if main is None else f"max |Δ| = {_thousandths(main.value, main.error)}"
        )
        for axes in (first, second):
            _name_ticks(axes, fields)
    return figure


def _cells(
    axes: Axes, values: FloatArray, limit: float, fewest: FloatArray | None, digits: int | None = None
) -> ScalarMappable:
    """Coloured cells of equal size with their numbers; NaN is grey, with the tracks there if given."""
    import matplotlib as mpl

    rows, columns = values.shape
    palette = mpl.colormaps[DIVERGING].with_extremes(bad=EMPTY if fewest is not None else "white")
    image = axes.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(values),
        cmap=palette,
        vmin=-limit,
        vmax=limit,
        edgecolors="white",
        linewidth=0.8,
    )
    axes.set_facecolor(EMPTY if fewest is not None else "white")
    places = digits if digits is not None else (1 if limit < 99.95 else 0)
    size = float(np.clip(72.0 / max(columns, 1), 7.0, 11.0))
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            # Adding 0 turns a rounded -0.0 into 0.0.
            rounded = round(float(value), places) + 0.0
            text = f"{rounded:{'+' if rounded else ''}.{places}f}".replace("-", "−")
            colour = "white" if abs(value) > _DARK * limit else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
        elif fewest is not None:
            text = f"n={fewest[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=0.8 * size, color="#555555")
    axes.tick_params(which="both", top=False, right=False, direction="out", length=3)
    axes.minorticks_off()
    return image


def _frame(axes: Axes, cells: Any) -> None:
    from matplotlib.patches import Rectangle

    for row, column in np.argwhere(cells):
        axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, ec="black", lw=2.2, zorder=5))


def _edge_ticks(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    axes.set_xticks(np.arange(len(x)) - 0.5, _numbers(x), rotation=45 if len(x) > 7 else 0)
    axes.set_yticks(np.arange(len(y)) - 0.5, _numbers(y))


def _numbers(values: FloatArray) -> list[str]:
    """Edges as short as they can be while all differ."""
    texts = [f"{v:g}" for v in values]
    for digits in range(3, 7):
        texts = [f"{v:.{digits}g}" for v in values]
        if len(set(texts)) == len(texts):
            break
    return [t.replace("-", "−") for t in texts]


def _name_ticks(axes: Axes, names: Sequence[str]) -> None:
    at = np.arange(len(names))
    axes.set_xticks(at, [pretty(n) for n in names], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(at, [pretty(n) for n in names])
    axes.invert_yaxis()


def _title(axes: Axes, text: str, number: str) -> None:
    axes.set_title(text if not number else f"{text}\n{number}", fontsize=12, loc="left", linespacing=1.3)


def _thousandths(value: float, error: float) -> str:
    return f"({measured(1e3 * value, 1e3 * error)})" + r" × $10^{-3}$"
