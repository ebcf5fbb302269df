"""Figure of a mass fit: data, components, pulls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from parhelion.report.style import ALARM, GENERATED, style
from parhelion.splot import COMPONENTS, MassFit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 600
_COLOURS = {"signal": GENERATED, "background": ALARM}


def mass_figure(fit: MassFit, *, title: str = "", unit: str = "GeV") -> Figure:
    """Draw a mass spectrum with its fit.

    Above: data with Poisson errors, the sum and the components, yields with errors, chi-square. Below: pulls
    (data - fit) / sqrt(fit) with bands at 1 and 3.

    Parameters
    ----------
    fit
        The fit; it carries the histogram, so the masses are not needed.
    title
        Line at the upper right, e.g. the species.
    unit
        Unit of the mass.
    """
    import mplhep
    from matplotlib.figure import Figure

    counts = np.asarray(fit.counts, dtype=np.float64)
    edges = np.linspace(*fit.model.window, len(counts) + 1)
    centres, size = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    yields = np.asarray([fit.yields[c] for c in COMPONENTS])
    x = np.linspace(*fit.model.window, _POINTS)
    curves = fit.model.densities(x, fit.parameters) * yields * size
    expected = fit.model.expected(edges, fit.parameters) @ yields

    with style():
        figure = Figure(figsize=(7.5, 6.5))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3.5, 1), gridspec_kw={"hspace": 0.07})
        mplhep.histplot(
            counts, edges, yerr=np.sqrt(counts), histtype="errorbar", ax=top, color="black", markersize=4, label="data"
        )
        top.plot(x, curves.sum(axis=1), color="black", label="fit")
        for curve, name, dash in zip(curves.T, COMPONENTS, ("-", "--"), strict=True):
            label = f"{name}: {fit.yields[name]:,.0f} ± {fit.yield_errors[name]:,.0f}"
            top.plot(x, curve, dash, color=_COLOURS[name], label=label)
            top.fill_between(x, curve, color=_COLOURS[name], alpha=0.12, lw=0)
        top.set_ylabel(f"rows / {size:.2g} {unit}")
        top.set_ylim(0, 1.45 * max(counts.max(), expected.max()))
        handles, labels = top.get_legend_handles_labels()
        order = [labels.index("data"), *(i for i, label in enumerate(labels) if label != "data")]
        top.legend([handles[i] for i in order], [labels[i] for i in order], loc="upper left")
        note = f"{title}\n" if title else ""
        note += f"χ²/ndf = {fit.chi2:.1f}/{fit.ndf}, p = {fit.p_value:.2g}"
        top.text(0.97, 0.95, note, transform=top.transAxes, ha="right", va="top", linespacing=1.5)

        pulls = (counts - expected) / np.sqrt(np.maximum(expected, 1e-9))
        # Bins with next to nothing expected have no Gaussian pull.
        shown = expected > 1
        limit = max(4.5, math.ceil(float(np.abs(pulls[shown]).max(initial=0.0))) + 0.5)
        for band, shade in ((3, "0.92"), (1, "0.82")):
            bottom.axhspan(-band, band, color=shade, lw=0)
        bottom.errorbar(centres[shown], pulls[shown], yerr=1, fmt="ko", ms=3, lw=0.8)
        bottom.axhline(0, color="black", lw=1)
        bottom.set(ylim=(-limit, limit), xlim=fit.model.window, ylabel="pull", xlabel=f"mass [{unit}]")
        bottom.set_yticks([-3, 0, 3])
        figure.subplots_adjust(left=0.13, right=0.97, top=0.97, bottom=0.1)
        figure.align_ylabels()
    return figure
