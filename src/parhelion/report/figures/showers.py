"""Images of showers side by side, on one logarithmic colour scale an energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from parhelion.report.figures.arrays import FloatArray
from parhelion.report.showers import ShowerPictures
from parhelion.report.style import DIVERGING, LABEL, new_figure, plain_text, pretty, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PALETTE: Final = "viridis"
_DECADES: Final = 4.0
_RATIO: Final = 0.3


def single_showers_figure(pictures: ShowerPictures, *, label: str = LABEL) -> Figure:
    """One shower of each sample at each energy: reference above, generated below; empty cells are white."""
    titles = [[f"{energy:.3g} GeV" for energy in pictures.single_energies[:, side]] for side in range(2)]
    return _rows(pictures, pictures.single, titles, ["reference", "generated"], f"{_name(pictures)}, single", label)


def average_showers_figure(pictures: ShowerPictures, *, label: str = LABEL) -> Figure:
    """Average shower of each sample at each energy, and below the ratio of generated to reference."""
    around = [f"{energy:.3g} GeV (±20 %)" for energy in pictures.energies]
    titles = [around, [""] * len(around)]
    heading = f"{_name(pictures)}, averages"
    return _rows(pictures, pictures.average, titles, ["reference", "generated"], heading, label, ratio=True)


def _name(pictures: ShowerPictures) -> str:
    return f"{pictures.field} {pictures.view.words}".strip()


def _rows(
    pictures: ShowerPictures,
    images: FloatArray,
    titles: list[list[str]],
    names: list[str],
    heading: str,
    label: str,
    *,
    ratio: bool = False,
) -> Figure:
    import matplotlib as mpl
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    columns, rows = len(images), 3 if ratio else 2
    with style():
        figure = new_figure(4.3 * columns + 0.9, 3.6 * rows + 0.5, pretty(heading), label)
        panels: Any = figure.subplots(rows, columns, squeeze=False)
        for k in range(columns):
            top = float(max(images[k].max(), 1e-12))
            norm = LogNorm(top * 10**-_DECADES, top)
            shown: Any = None
            for side in range(2):
                axes = panels[side][k]
                shown = axes.imshow(
                    np.ma.masked_less_equal(images[k, side], 0).T,
                    origin="lower",
                    cmap=mpl.colormaps[_PALETTE].with_extremes(bad="white"),
                    norm=norm,
                    aspect=_aspect(pictures),
                    interpolation="nearest",
                )
                axes.set_title(titles[side][k])
            unit = f" [{pictures.unit}]" if pictures.unit else ""
            figure.colorbar(shown, ax=list(panels[:2, k]), label=f"Energy{plain_text(unit)}", pad=0.02, aspect=30)
            if ratio:
                _ratio(figure, panels[2][k], images[k], norm.vmin or 0.0, _aspect(pictures))
        for row, name in enumerate([*names, "generated / reference"][:rows]):
            panels[row][0].set_ylabel(f"{name}\n{pictures.view.axes[1]}")
        for axes in panels[-1]:
            axes.set_xlabel(pictures.view.axes[0])
        for axes in panels.flat:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _aspect(pictures: ShowerPictures) -> Literal["auto", "equal"]:
    """Cells are square where the image's axes are of one kind and it is not far longer than wide."""
    rows, columns = pictures.single.shape[2:]
    return "equal" if pictures.view.summed is None and max(rows, columns) <= 3 * min(rows, columns) else "auto"


def _ratio(figure: Figure, axes: Any, images: FloatArray, least: float, aspect: Literal["auto", "equal"]) -> None:
    """Ratio of the averages where the reference is on the colour scale; elsewhere too few showers say anything."""
    import matplotlib as mpl

    reference, generated = images
    found = np.divide(generated, reference, out=np.full_like(reference, np.nan), where=reference >= least)
    shown = axes.imshow(
        np.ma.masked_invalid(found).T,
        origin="lower",
        cmap=mpl.colormaps[DIVERGING].with_extremes(bad="white"),
        vmin=1 - _RATIO,
        vmax=1 + _RATIO,
        aspect=aspect,
        interpolation="nearest",
    )
    figure.colorbar(shown, ax=axes, label="Ratio", pad=0.02, extend="both")
