"""Figures of comparisons within bins of a condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, grouped, named, slug
from parhelion.report.figures.arrays import FloatArray, numbers
from parhelion.report.figures.drawing import panel_stacks, points
from parhelion.report.style import ALARM, GENERATED, LABEL, NULL, REFERENCE, note, pretty, style, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECTION: Final = "Distributions in bins of a condition"

_DISTANCES: Final = {
    "chi2": "χ² of the shapes",
    "w1": "Wasserstein distance",
    "ks": "Kolmogorov-Smirnov distance",
    "energy": "energy distance",
}
# Beyond this a p-value is as good as 0, and would squeeze the others.
_HIGHEST: Final = 12.0


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metric ``differential``, one a field."""
    for group in grouped(named(content, "differential"), lambda r: (r.details["field"], r.details["x"])):
        d = group[0].details
        caption = (
            f"{d['field']} in bins of {d['x']}{', for all rows and by category' if len(group) > 1 else ''}. Top: "
            "median and the quantiles 0.16 and 0.84 of each bin; points with bars are the reference, lines with bands "
            "generated. Middle: Wasserstein distance of each bin, and what finite samples alone give it (grey, one "
            f"standard deviation). Bottom: p-value of each bin from its {_DISTANCES[str(d['distance'])]}; the dashed "
            f"line is the level of {100 * float(d['level']):g} % divided by the number of bins, and bins that Holm's "
            f"rule rejects are orange; below 1e-{_HIGHEST:g} it is drawn there. {_counts(group)} {events(*group)}"
        )
        name = slug("differential", str(d["field"]), str(d["x"]))
        yield Entry(SECTION, name, caption, differential_figure(group, label=content.label))


def differential_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Quantiles, distances and p-values of one field against a condition, three panels for each result.

    Parameters
    ----------
    results
        Results of the metric ``differential`` for one field (all rows, then each category).
    label
        Text above the figure.
    """
    d = results[0].details
    with style():
        figure, stacks = panel_stacks(len(results), (2.6, 1.1, 1.1), f"{d['field']} in bins of {d['x']}", label)
        for index, (result, stack) in enumerate(zip(results, stacks, strict=True)):
            _stack(stack, result, legend=index == 0)
    return figure


def _stack(stack: Sequence[Axes], result: MetricResult, *, legend: bool) -> None:
    d = result.details
    low, high = numbers(d["low"]), numbers(d["high"])
    if d["x_is_category"]:
        low, high = (numbers(range(len(low))) + shift for shift in (-0.5, 0.5))
    middle: FloatArray = 0.5 * (low + high)
    half: FloatArray = 0.5 * (high - low)
    upper, centre, lower = stack
    _quantiles(upper, d, low, high)
    upper.set_ylabel(with_unit(str(d["field"]), str(d["unit"])))
    upper.set_title(pretty(str(d["category"] or "all")), loc="right", fontsize=13)
    chi2 = result.quantities["chi2_ndf"]
    note(upper, f"χ²/ndf = {chi2.value:.3g}, p = {chi2.p_value or 0.0:.2g}", size=10.5)
    if legend:
        upper.legend(loc="upper right", fontsize=10.5, borderaxespad=0.3)

    null, spread = numbers(d["w1_null"]), numbers(d["w1_null_error"])
    for at in range(len(low)):
        centre.fill_between([low[at], high[at]], null[at] - spread[at], null[at] + spread[at], color=NULL, alpha=0.4)
    points(centre, middle, numbers(d["w1"]), np.zeros(len(low)), half, color=GENERATED)
    centre.set_ylim(0.0, 1.15 * max(float(np.max(numbers(d["w1"]))), float(np.max(null + spread)), 1e-300))
    centre.set_ylabel(rf"$W_1$ [{pretty(str(d['unit']))}]" if d["unit"] else "$W_1$", loc="center", fontsize=11.5)

    p, rejected = numbers(d["p"]), numbers(d["p_holm"]) < float(d["level"])
    height = np.minimum(-np.log10(np.maximum(p, 10**-_HIGHEST)), _HIGHEST)
    line = -np.log10(float(d["level"]) / len(p))
    lower.axhline(line, color=NULL, lw=1.2, ls="--")
    for which, colour in ((~rejected, GENERATED), (rejected, ALARM)):
        points(lower, middle[which], height[which], np.zeros(int(which.sum())), half[which], color=colour, ms=4.5)
    lower.set_ylim(0.0, 1.2 * max(float(height.max()), line))
    lower.set_ylabel(r"$-\log_{10} p$", loc="center", fontsize=11.5)
    lower.set_xlabel(with_unit(str(d["x"]), str(d["x_unit"])))
    lower.set_xlim(low.min(), high.max())
    if d["x_is_category"]:
        lower.set_xticks(middle, [pretty(str(text)) for text in d["labels"]])
        lower.tick_params(axis="x", which="minor", bottom=False, top=False)


def _quantiles(axes: Axes, d: Any, low: FloatArray, high: FloatArray) -> None:
    ours, theirs = (numbers(d[side]["quantiles"]) for side in ("reference", "generated"))
    for at in range(len(low)):
        axes.fill_between([low[at], high[at]], theirs[at, 0], theirs[at, 2], color=GENERATED, alpha=0.25, lw=0)
        axes.plot([low[at], high[at]], [theirs[at, 1]] * 2, color=GENERATED, label="generated" if at == 0 else None)
    middle = 0.5 * (low + high)
    axes.errorbar(
        middle,
        ours[:, 1],
        yerr=np.maximum([ours[:, 1] - ours[:, 0], ours[:, 2] - ours[:, 1]], 0.0),
        fmt="o",
        ms=4.0,
        color=REFERENCE,
        elinewidth=1.0,
        capsize=3,
        label="reference",
    )
    bottom, top = (float(f([f(ours), f(theirs)])) for f in (np.min, np.max))
    room = (top - bottom) or 1.0
    axes.set_ylim(bottom - 0.08 * room, top + 0.4 * room)


def _counts(results: Sequence[MetricResult]) -> str:
    d = results[0].details
    rejected, bins = int(d["rejected"]["holm"]), len(d["p"])
    text = f"{rejected} of {bins} bins are rejected"
    if len(results) > 1:
        text += " for all rows"
    text += "."
    if d["joined"] or d["left_out"]:
        text += f" {int(d['joined'])} bins were joined to a neighbour, {int(d['left_out'])} left out for lack of rows."
    return text
