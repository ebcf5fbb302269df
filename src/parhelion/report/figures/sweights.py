"""The sWeight of the signal as a function of the mass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parhelion.report.style import ALARM, GENERATED, LABEL, NULL, new_figure, plain_text, style, with_unit
from parhelion.splot import COMPONENTS, MassFit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS: Final = 600


def sweight_figure(fit: MassFit, *, title: str = "", unit: str = "GeV", label: str = LABEL) -> Figure:
    """Signal and background sWeight against the mass; their sum is 1.

    Parameters
    ----------
    fit
        The fit.
    title
        What was fitted, e.g. the species.
    unit
        Unit of the mass.
    label
        Text above the figure.
    """
    low, high = fit.model.window
    mass = np.linspace(low, high, _POINTS)
    weights = np.asarray(fit.sweights(mass), dtype=np.float64)
    with style():
        figure = new_figure(7.0, 4.2, title, label)
        axes = figure.subplots()
        axes.axhline(0.0, color=NULL, lw=0.9)
        for name, colour, dash in zip(COMPONENTS, (GENERATED, ALARM), ("-", "--"), strict=True):
            axes.plot(mass, weights[:, COMPONENTS.index(name)], dash, color=colour, label=plain_text(name))
        axes.set_xlim(low, high)
        axes.margins(y=0.12)
        axes.set_xlabel(with_unit("Mass", unit))
        axes.set_ylabel("sWeight")
        axes.legend(loc="best")
    return figure
