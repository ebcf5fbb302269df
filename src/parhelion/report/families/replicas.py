"""Figures of replicas: rivals trained on many training samples, against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.model.replicated import NAME
from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, named
from parhelion.report.figures.arrays import numbers
from parhelion.report.style import BAND, LABEL, NULL, REFERENCE, SERIES, new_figure, note, pretty, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REPLICAS: Final = "Replicas"
_COLUMNS: Final = 3
_LEAST_RATIO: Final = 0.03


def entries(content: ReportContent) -> Iterator[Entry]:
    """One figure of quantile deviations, and one of exceedances."""
    results = named(content, NAME)
    worth = [r for r in results if r.details["kind"] == "amplification"]
    beyond = [r for r in results if r.details["kind"] == "exceedance"]
    if worth:
        d = worth[0].details
        caption = (
            f"Mean squared deviation of the shares of quantiles of the truth from their expectation, for events of "
            f"rivals that were each trained on {int(d['training']):,} events; means over replicas of the training, "
            "bands: standard error. Dotted: as many true events; dashed: the training sample itself. A rival below the "
            "dashed line is worth more than what it was trained on. Where its line turns flat, more generated events "
            "say nothing new. The amplification factor is the number of true events with the same deviation, over the "
            "training events."
        )
        yield Entry(
            REPLICAS, "replicas_amplification", caption, worth_figure(worth, label=content.label), _worth(worth)
        )
    if beyond:
        d = beyond[0].details
        caption = (
            f"Share of events with {d['title']} above a threshold, for rivals that were each trained on "
            f"{int(d['training']):,} events and generated {int(d['generated']):,}; means over replicas of the "
            f"training, bands: standard error. Black: the truth, {int(d['events']):,} events, whose own error is the "
            "grey band below. Dotted line: median of the last training event; beyond it a rival extrapolates. Lower "
            "panel: over truth."
        )
        figure = exceedance_figure(beyond, label=content.label)
        yield Entry(REPLICAS, "replicas_exceedance", caption, figure, _beyond(beyond))


def worth_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Quantile deviations against the number of generated events, a panel a number of quantiles.

    Parameters
    ----------
    results
        Results ``replicas`` of the kind amplification.
    label
        Text above the figure.
    """
    panels = len(results[0].details["curves"])
    rows = -(-panels // _COLUMNS)
    with style():
        width = 4.6 * min(panels, _COLUMNS) + 0.6
        figure = new_figure(width, 4.2 * rows + 1.0, f"{int(results[0].details['training']):,} training events", label)
        axes = figure.subplots(rows, min(panels, _COLUMNS), squeeze=False).ravel()
        for index in range(panels):
            _worth_panel(axes[index], results, index)
        for spare in axes[panels:]:
            spare.set_axis_off()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=11)
    return figure


def _worth_panel(axes: Axes, results: Sequence[MetricResult], index: int) -> None:
    first = results[0].details["curves"][index]
    x = numbers(first["generated"])
    axes.plot(x, numbers(first["true_mse"]), ":", color=REFERENCE, lw=1.3, label="true events")
    axes.axhline(float(first["training_mse"]), color=NULL, lw=1.4, ls="--", label="training sample")
    lowest = float(first["training_mse"])
    for number, result in enumerate(results):
        curve, colour = result.details["curves"][index], SERIES[number % len(SERIES)]
        y, error = numbers(curve["mse"]), numbers(curve["mse_error"])
        axes.plot(x, y, color=colour, label=pretty(str(result.details["rival"])))
        axes.fill_between(x, np.maximum(y - error, 1e-12), y + error, color=colour, alpha=0.25, lw=0)
        lowest = min(lowest, float(np.min(y)))
    axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(0.6 * lowest, 4 * float(first["training_mse"])))
    axes.set_xlabel("Generated events")
    axes.set_ylabel("Quantile deviation (MSE)")
    note(axes, f"{' × '.join(map(str, first['parts']))} quantiles", "upper right")


def exceedance_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Exceedances of the rivals and of the truth, and their ratio.

    Parameters
    ----------
    results
        Results ``replicas`` of the kind exceedance.
    label
        Text above the figure.
    """
    d = results[0].details
    at, truth, events = numbers(d["at"]), numbers(d["truth"]), float(d["events"])
    with style():
        figure = new_figure(11.5, 8.4, f"{int(d['training']):,} training events", label)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1.5))
        upper.plot(at, truth, color=REFERENCE, lw=2.2, label="truth", zorder=5)
        error = 1 / np.sqrt(truth * events)
        lower.fill_between(at, np.maximum(1 - error, _LEAST_RATIO), 1 + error, color=NULL, alpha=0.35, lw=0)
        lower.axhline(1.0, color=REFERENCE, lw=1.0)
        for index, result in enumerate(results):
            _exceedance(upper, lower, result, truth, index)
        for axes in (upper, lower):
            axes.axvline(float(d["last"]), color=BAND, lw=1.3, ls=":")
            axes.set_yscale("log")
            axes.set_xscale("log")
        upper.set_ylim(0.3 / events, 1.0)
        upper.set_xlim(at[0], at[-1])
        lower.set_ylim(_LEAST_RATIO, 10)
        upper.set_ylabel("Share above threshold")
        lower.set_ylabel("Over truth")
        lower.set_xlabel(pretty(f"Threshold on {d['title']}"))
        upper.legend(loc="lower left", fontsize=10.5, ncols=2)
        note(upper, "dotted: median last training event", "upper right", size=10.5)
    return figure


def _exceedance(upper: Axes, lower: Axes, result: MetricResult, truth: np.ndarray, index: int) -> None:
    d = result.details
    at, mean, error = numbers(d["at"]), numbers(d["curve"]), numbers(d["curve_error"])
    colour, line = SERIES[index % 6], "-" if index < 6 else "--"
    seen = mean > 0
    upper.plot(at[seen], mean[seen], line, color=colour, lw=1.5, label=pretty(str(d["rival"])))
    ratio, width = (mean / truth)[seen], (error / truth)[seen]
    lower.plot(at[seen], ratio, line, color=colour, lw=1.5)
    lower.fill_between(at[seen], np.maximum(ratio - width, 1e-4), ratio + width, color=colour, alpha=0.2, lw=0)


def _pm(value: Any, error: Any) -> str:
    if value is None:
        return "–"
    return f"{float(value):.2f}" if error is None else f"{float(value):.2f} ± {float(error):.2f}"


def _worth(results: Sequence[MetricResult]) -> list[tuple[str, ...]]:
    shown = [0, len(results[0].details["curves"][0]["generated"]) - 1]
    generated = [int(results[0].details["curves"][0]["generated"][i]) for i in shown]
    table: list[tuple[str, ...]] = [
        (
            "Rival",
            "Replicas",
            "Quantiles",
            *(f"Factor, {n:,} events" for n in generated),
            "Factor, in the limit",
            "CPU s",
        )
    ]
    for result in results:
        d = result.details
        for curve in d["curves"]:
            factors = [_pm(curve["factor"][i], curve["factor_error"][i]) for i in shown]
            limit = _pm(curve["limit"][-1], curve["limit_error"][-1])
            cells, seconds = str(curve["cells"]), f"{float(d['seconds']):.1f}"
            table.append((str(d["rival"]), str(d["replicas"]), cells, *factors, limit, seconds))
    return table


def _beyond(results: Sequence[MetricResult]) -> list[tuple[str, ...]]:
    d = results[0].details
    table: list[tuple[str, ...]] = [
        ("Rival", "Replicas", *(f"Over truth at {float(level):g}" for level in d["levels"]), "CPU s")
    ]
    for result in results:
        d = result.details
        ratios = [_pm(v, e) for v, e in zip(d["ratio"], d["ratio_error"], strict=True)]
        table.append((str(d["rival"]), str(d["replicas"]), *ratios, f"{float(d['seconds']):.1f}"))
    return table
