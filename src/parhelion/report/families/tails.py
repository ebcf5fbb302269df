"""Figures of tails: exceedance curves with the ratio of generated to reference below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, grouped, named, slug
from parhelion.report.figures.arrays import FloatArray, measured, numbers
from parhelion.report.figures.drawing import panel_stacks, points
from parhelion.report.style import ALARM, GENERATED, LABEL, NULL, REFERENCE, note, pretty, style, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TAILS: Final = "Tails"


def entries(content: ReportContent) -> Iterator[Entry]:
    """One figure a field, with a panel for each side and category."""
    # A field of a few values may have nothing beyond any threshold; the table has it.
    shown = [r for r in named(content, "tails") if _has_tail(r)]
    for group in grouped(shown, lambda r: r.details["field"]):
        name = str(group[0].details["field"])
        rows = float(group[0].details["min_rows"])
        intervals = " of the conditional binomial" if group[0].details["counted"] else ""
        caption = (
            f"Probability that {name} lies beyond a threshold, against the threshold; for a lower tail, below it. "
            "Points: reference. Line with band: generated. Lower panels: generated over reference on a logarithmic "
            f"scale; error bars are central intervals of 68.27 %{intervals}; triangles point to ratios outside the "
            f"panel. In the grey region the reference has fewer than {rows:g} effective rows beyond the threshold: "
            "there is no power to say anything. A dashed line marks the last event of the training sample, beyond "
            "which the surrogate extrapolates. ξ is the index of the generalised Pareto distribution fitted to the "
            f"tail: 0 for an exponential, positive for a power law. {events(*group)}"
        )
        figure = tails_figure(group, label=content.label)
        yield Entry(TAILS, slug("tails", name), caption, figure, _table(group))


def _has_tail(result: MetricResult) -> bool:
    curve = result.details["curve"]
    return any(bool((_side(curve[key])[0] > 0).any()) for key in ("reference", "generated"))


def tails_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Exceedance curves of one field, a panel with a ratio for each result.

    Parameters
    ----------
    results
        Results of the metric ``tails`` for one field.
    label
        Text above the figure.
    """
    with style():
        figure, pairs = panel_stacks(len(results), (2.9, 1.15), str(results[0].details["field"]), label)
        for index, (result, (upper, lower)) in enumerate(zip(results, pairs, strict=True)):
            _exceedances(upper, result, legend=index == 0)
            _ratio(lower, result)
            _limits(upper, lower, result)
    return figure


def _exceedances(axes: Axes, result: MetricResult, *, legend: bool) -> None:
    d = result.details
    curve = d["curve"]
    at, reference, generated = numbers(curve["at"]), _side(curve["reference"]), _side(curve["generated"])
    positive = np.concatenate([side[0][side[0] > 0] for side in (reference, generated)])
    floor = 0.4 * float(positive.min(initial=1.0))
    share, low, high = (np.where(v > floor, v, floor) for v in generated)
    axes.fill_between(at, low, high, color=GENERATED, alpha=0.3, lw=0)
    axes.plot(at, np.where(generated[0] > floor, share, np.nan), color=GENERATED, lw=1.6, label="generated")
    share, low, high = reference
    shown = share > floor
    axes.vlines(at[shown], np.maximum(low[shown], floor), high[shown], color=REFERENCE, lw=1.0)
    axes.plot(at[shown], share[shown], "o", ms=3.0, color=REFERENCE, label="reference")
    axes.set_yscale("log")
    top = float(positive.max(initial=floor))
    axes.set_ylim(floor, top * (top / floor) ** 0.42)
    upper = d["side"] == "upper"
    axes.set_ylabel(f"P({pretty(str(d['field']))} {'>' if upper else '<'} t)")
    side = f"{d['side']} tail"
    axes.set_title(pretty(side if d["category"] is None else f"{side}, {d['category']}"), loc="right", fontsize=13)
    note(axes, "\n".join(_lines(result)), "upper right" if upper else "upper left", size=10)
    if legend:
        axes.legend(loc="lower left" if upper else "lower right", fontsize=10)


def _side(values: dict[str, Any]) -> tuple[FloatArray, FloatArray, FloatArray]:
    return numbers(values["share"]), numbers(values["low"]), numbers(values["high"])


def _lines(result: MetricResult) -> list[str]:
    d = result.details
    chi2 = result.quantities["chi2_ndf"]
    lines = []
    if d["ndf"]:
        probability = "" if chi2.p_value is None else f", p = {chi2.p_value:.2g}"
        lines.append(f"χ²/ndf = {float(d['chi2']):.1f}/{int(d['ndf'])}{probability}")
    for name, side in (("ref.", "reference"), ("gen.", "generated")):
        index = d["pareto"][side]
        lines.append(f"ξ {name} = {measured(index['value'], index['error'])}")
    return lines


def _ratio(axes: Axes, result: MetricResult) -> None:
    curve = result.details["curve"]
    at, ratio = numbers(curve["at"]), numbers(curve["ratio"])
    low, high = numbers(curve["ratio_low"]), numbers(curve["ratio_high"])
    judged = numbers(curve["reference"]["effective"]) >= float(result.details["min_rows"])
    axes.axhline(1.0, color=REFERENCE, lw=0.9)
    axes.set_yscale("log")
    reach = np.concatenate([np.abs(np.log(v[judged & (v > 0) & np.isfinite(v)])) for v in (ratio, low, high)])
    span = float(np.clip(1.15 * reach.max(initial=0.0), np.log(1.25), np.log(20.0)))
    axes.set_ylim(np.exp(-span), np.exp(span))
    inside = np.abs(np.log(np.where(ratio > 0, ratio, 1e-30))) < span
    for mask, colour in ((judged & inside, GENERATED), (~judged & inside, NULL)):
        y = np.where(mask, ratio, np.nan)
        seen = np.isfinite(y)
        axes.vlines(
            at[seen], np.clip(low[seen], np.exp(-span), None), np.clip(high[seen], None, np.exp(span)), colour, lw=1
        )
        points(axes, at, y, np.zeros_like(y), color=colour, ms=3.0)
    for outside, marker, place in ((ratio >= np.exp(span), "^", 0.93), (ratio <= np.exp(-span), "v", 0.07)):
        for mask, colour in ((judged & outside, GENERATED), (~judged & outside, NULL)):
            axes.plot(
                at[mask],
                np.full(int(mask.sum()), place),
                marker,
                ms=4.5,
                color=colour,
                transform=axes.get_xaxis_transform(),
            )
    _log_ticks(axes, span)
    axes.set_ylabel("Gen. / ref.", loc="center", fontsize=11.5)
    axes.set_xlabel(with_unit(f"Threshold on {result.details['field']}", str(result.details["unit"])))


def _log_ticks(axes: Axes, span: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    sets = ((0.1, 0.3, 1.0, 3.0, 10.0), (0.5, 1.0, 2.0), (0.8, 1.0, 1.25), (0.9, 1.0, 1.1))
    chosen = next((ticks for ticks in sets if np.log(ticks[-1]) < span), sets[-1])
    axes.yaxis.set_major_locator(FixedLocator(list(chosen)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _limits(upper: Axes, lower: Axes, result: MetricResult) -> None:
    """Shade where the reference has too few rows, and mark the last training event."""
    d = result.details
    at, effective = numbers(d["curve"]["at"]), numbers(d["curve"]["reference"]["effective"])
    outwards = 1.0 if d["side"] == "upper" else -1.0
    pad = 0.03 * float(np.ptp(at)) if np.ptp(at) > 0 else 0.5
    low, high = float(at.min()) - pad, float(at.max()) + pad
    poor = at[effective < float(d["min_rows"])]
    end = high if outwards > 0 else low
    for axes in (upper, lower):
        if poor.size:
            axes.axvspan(float((outwards * poor).min() * outwards), end, color=NULL, alpha=0.14, lw=0)
        for place, level in zip(numbers(d["thresholds"]["at"]), d["thresholds"]["level"], strict=True):
            if level is None and low < place < high:
                axes.axvline(float(place), color=ALARM, lw=1.2, ls="--")
    upper.set_xlim(low, high)


def _table(results: Sequence[MetricResult]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        (
            "Tail",
            "Beyond",
            "Threshold",
            "Reference rows",
            "Generated / reference",
            "Seen at 2σ from",
            "Exponential, χ²/ndf",
        )
    ]
    for result in results:
        d = result.details
        rows = d["thresholds"]
        fits = d["fits"]["exponential"]
        shape = ", ".join(f"{side[:3]}. {_chi2(fits[side])}" for side in ("reference", "generated"))
        name = str(d["side"]) if d["category"] is None else f"{d['side']}, {d['category']}"
        for i, level in enumerate(rows["level"]):
            ratio, low, high = (rows[key][i] for key in ("ratio", "ratio_low", "ratio_high"))
            usable, resolution = bool(rows["usable"][i]), rows["resolution"][i]
            table.append(
                (
                    name,
                    "last training event" if level is None else f"quantile {float(level):g}",
                    f"{float(rows['at'][i]):.4g}",
                    f"{float(rows['reference']['effective'][i]):.0f}",
                    "–" if ratio is None else f"{ratio:.2f} ({low:.2f} to {_end(high)})",
                    f"factor {np.exp(2 * float(resolution)):.2f}" if usable and resolution is not None else "no power",
                    shape if i == 0 else "",
                )
            )
    return table


def _end(value: float | None) -> str:
    return "∞" if value is None else f"{value:.2f}"


def _chi2(fit: dict[str, Any]) -> str:
    return "–" if fit["chi2"] is None or not fit["ndf"] else f"{float(fit['chi2']):.1f}/{int(fit['ndf'])}"
