"""Figures of amplification: what the surrogate is worth in true events, against the number of quantiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, named
from parhelion.report.figures.arrays import numbers
from parhelion.report.figures.drawing import points
from parhelion.report.style import BAND, LABEL, NULL, REFERENCE, SERIES, new_figure, note, pretty, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AMPLIFICATION: Final = "Amplification"


def entries(content: ReportContent) -> Iterator[Entry]:
    """One figure for all fields."""
    results = named(content, "amplification")
    if not results:
        return
    training = float(results[0].details["training"])
    caption = (
        "What the surrogate is worth in true events, field by field. The squared deviation of the shares of N "
        "quantiles, with the fluctuations of both samples taken out, over that which the training sample itself has: "
        f"1 means that many generated events describe the field as well as the {training:,.0f} effective training "
        "events do, below 1 (green) better. Open points are not two standard deviations above zero: the test sample "
        "cannot resolve them, and the upper end of the bar is what it excludes. The scatter between trainings is not "
        f"contained. {events(*results)}"
    )
    figure = amplification_figure(results, label=content.label)
    yield Entry(AMPLIFICATION, "amplification", caption, figure, _table(results))


def amplification_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Inverse amplification factor against the number of quantiles, a series a field.

    Parameters
    ----------
    results
        Results of the metric ``amplification``.
    label
        Text above the figure.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    with style():
        figure = new_figure(10.8, 4.6, "", label)
        axes = figure.subplots()
        count = len(results)
        for index, result in enumerate(results):
            d = result.details
            order = np.argsort(numbers(d["quantiles"]))
            x = numbers(d["quantiles"])[order] * 1.035 ** (index - 0.5 * (count - 1))
            y = numbers(d["inverse_factor"])[order]
            error = np.maximum(numbers(d["error"]), numbers(d["null_error"]))[order]
            resolved = np.asarray(d["resolved"], dtype=bool)[order]
            colour = SERIES[index % len(SERIES)]
            points(axes, x, y, error, color=colour, ms=5.5, label=pretty(str(d["field"])))
            axes.plot(x[~resolved], y[~resolved], "o", ms=5.5, mfc="white", mec=colour, zorder=4)
        axes.axhline(1.0, color=REFERENCE, lw=1.0)
        axes.axhline(0.0, color=NULL, lw=1.0, ls="--")
        axes.set_xscale("log")
        cuts = sorted({int(n) for r in results for n in r.details["quantiles"]})
        axes.set_xticks(cuts, labels=[str(n) for n in cuts], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_locator(FixedLocator([0.0, 0.5, 1.0, 3.0, *(10.0**k for k in range(1, 8))]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -0.3), max(1.4 * high, 2.5))
        axes.axhspan(min(low, -0.3), 1.0, color=BAND, alpha=0.1, lw=0)
        axes.set_xlabel("Quantiles")
        axes.set_ylabel("1 / amplification factor")
        note(axes, "below 1: worth more than the training sample", "lower right", size=10.5)
        axes.legend(loc="upper right", ncols=min(count, 4), fontsize=10.5)
    return figure


def _table(results: Sequence[MetricResult]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("Field", "Quantiles", "Worth in true events", "Amplification factor")]
    for result in results:
        d = result.details
        for i, quantiles in enumerate(d["quantiles"]):
            factor, low = d["factor"][i], d["factor_low"][i]
            resolved = bool(d["resolved"][i]) and factor is not None
            bound = "not resolved" if low is None else f"above {float(low) * float(d['training']):,.0f}"
            table.append(
                (
                    str(d["field"]),
                    str(quantiles),
                    f"{float(d['equivalent'][i]):,.0f}" if resolved else bound,
                    f"{float(factor):.2f}" if resolved else ("–" if low is None else f"above {float(low):.2f}"),
                )
            )
    return table
