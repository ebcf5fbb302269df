"""Figures of the distances between vectors of features: measured value, null, and which features make it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, bound_of, events, named, sentence, slug
from parhelion.report.figures.arrays import FloatArray, measured, numbers
from parhelion.report.style import GENERATED, LABEL, NULL, REFERENCE, SERIES, new_figure, note, pretty, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECTION: Final = "Multivariate distances"

_MOST_BARS: Final = 14
_TITLES: Final = {
    "fpd": "Frechet physics distance",
    "kpd": "Kernel physics distance",
    "energy": "Sliced energy distance",
    "w1": "Sliced Wasserstein distance",
}
_READ: Final = (
    "Grey: the distance in the null, reference against reference at these sizes. Blue: the measured value with its "
    "standard error; where it stands in the grey, no difference was found."
)


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metrics ``frechet``, ``kernel_distance`` and ``sliced``."""
    for metric, explain in (("frechet", _frechet_text), ("kernel_distance", _kernel_text), ("sliced", _sliced_text)):
        for result in named(content, metric):
            caption = f"{sentence(result)} {_READ} {explain(result)} {_nulls(result)} {events(result)}"
            bound = bound_of(content, result, result.main)
            figure = distance_figure(result, bound=bound, label=content.label)
            yield Entry(SECTION, slug(metric, result.on), caption, figure)


def distance_figure(result: MetricResult, *, bound: float | None = None, label: str = LABEL) -> Figure:
    """Measured distance with its null, and the features that make it where the metric tells.

    Parameters
    ----------
    result
        Result of the metric ``frechet``, ``kernel_distance`` or ``sliced``.
    bound
        Largest value of the main quantity that a requirement allows.
    label
        Text above the figure.
    """
    drawn = [(result.main, result.details["null"])]
    if result.name == "sliced":
        drawn.append(("w1", result.details["w1_null"]))
    bars = {"frechet": _parts, "sliced": _worst}.get(result.name)
    with style():
        count = len(drawn) + (bars is not None)
        figure = new_figure({1: 7.2, 2: 12.0, 3: 15.6}[count], 5.0, result.on, label)
        axes = np.atleast_1d(figure.subplots(1, count))
        for panel, (key, null) in zip(axes, drawn, strict=False):
            _against_null(panel, key, result.quantity(key), null, bound if key == result.main else None)
        if bars is not None:
            bars(axes[-1], result)
    return figure


def _against_null(axes: Axes, key: str, quantity: Quantity, null: dict[str, Any], bound: float | None) -> None:
    edges, density = numbers(null["edges"]), numbers(null["density"])
    top = float(density.max()) or 1.0
    axes.stairs(density / top, edges, fill=True, color=NULL, alpha=0.4, lw=0, label="null")
    axes.errorbar(
        [quantity.value], [0.5], xerr=[[quantity.error]] * 2, fmt="o", ms=6, color=GENERATED, label="measured"
    )
    axes.plot([quantity.value] * 2, [0, 1.1], color=GENERATED, lw=1.2)
    reach = [edges[0], edges[-1], quantity.value - quantity.error, quantity.value + quantity.error]
    if bound is not None:
        axes.plot([bound] * 2, [0, 1.1], color=REFERENCE, lw=1.2, ls="--", label=f"largest allowed: {bound:g}")
        reach.append(bound)
    low, high = min(reach), max(reach)
    pad = 0.05 * (high - low)
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(0, 1.75)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(_TITLES[key])
    axes.set_ylabel("Density of draws")
    text = [measured(quantity.value, quantity.error), f"null: {measured(quantity.null, quantity.null_error)}"]
    if quantity.p_value is not None:
        text.append(f"p = {quantity.p_value:.2g}")
    note(axes, "\n".join(text))
    axes.legend(loc="upper right")


def _parts(axes: Axes, result: MetricResult) -> None:
    d = result.details
    shift, width = numbers(d["shift"]), numbers(d["width"])
    shown = _largest(shift + width)
    at = np.arange(len(shown))
    for offset, values, errors, colour, name in (
        (-0.19, shift, numbers(d["shift_error"]), SERIES[0], "mean"),
        (0.19, width, numbers(d["width_error"]), SERIES[1], "standard deviation"),
    ):
        axes.barh(at + offset, values[shown], height=0.36, color=colour, alpha=0.8, label=name)
        axes.errorbar(values[shown], at + offset, xerr=errors[shown], fmt="none", ecolor=REFERENCE, elinewidth=1.0)
    names = [pretty(d["features"][i]) for i in shown]
    rest = "rest: correlations" if d["mode"] == "unbiased" else "rest: bias, correlations"
    total = float(result.value) - float(np.sum(shift + width))
    axes.barh(len(shown), total, height=0.36, color=SERIES[2], alpha=0.8, label=rest)
    _name_bars(axes, [*names, "all"])
    axes.set_xlabel("Part of the distance")
    # Room for the legend above the bars.
    axes.set_ylim(len(names) + 0.6, -1.5)
    axes.legend(loc="upper right", fontsize=10.5, ncols=3)


def _worst(axes: Axes, result: MetricResult) -> None:
    d = result.details
    worst = numbers(d["worst"])
    shown = _largest(np.abs(worst))
    axes.barh(np.arange(len(shown)), worst[shown], height=0.6, color=GENERATED, alpha=0.8)
    _name_bars(axes, [pretty(d["features"][i]) for i in shown])
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel("Direction of the largest distance")


def _name_bars(axes: Axes, names: list[str]) -> None:
    axes.plot([0.0, 0.0], [-0.7, len(names) - 0.3], color=REFERENCE, lw=0.9)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", which="both", left=False, right=False)
    axes.locator_params(axis="x", nbins=5)


def _largest(size: FloatArray) -> npt.NDArray[np.intp]:
    """Indices of the largest values, at most as many as fit into a panel, largest first."""
    return np.argsort(-size, kind="stable")[:_MOST_BARS]


def _frechet_text(result: MetricResult) -> str:
    d = result.details
    text = (
        "Right: squared differences of each feature's mean and standard deviation, bias removed; what is left of the "
    )
    if d["mode"] == "calochallenge":
        return (
            f"The value is that of the published estimator, which keeps the bias of finite samples. {text}distance is "
            "that bias and correlations."
        )
    text += "distance stands in the correlations."
    text += f" The samples' own moments give {float(d['plain']):.3g}; finite samples alone give {float(d['bias']):.2g}."
    if float(d["clipped"]) > 0:
        text += (
            f" Signed weights made {100 * float(d['clipped']):.2g} % of the covariances negative; that part was taken "
            "for 0."
        )
    return text


def _kernel_text(result: MetricResult) -> str:
    d = result.details
    if d["mode"] == "calochallenge":
        return "The value is that of the published estimator, which keeps the bias; its bar is the spread of one batch."
    text = "The kernel is (x · y / d + 1)⁴; the distance has no bias and can be negative."
    return f"{text} With so many features a random part of the rows was used." if d["thinned"] else text


def _sliced_text(result: MetricResult) -> str:
    return (
        f"Means over {int(result.details['directions'])} random directions. The energy distance has no bias; finite "
        "samples alone give the Wasserstein distance the size of its null. Right: components of the direction along "
        "which the energy distance is largest."
    )


def _nulls(result: MetricResult) -> str:
    kind = "exchange of the two responses" if result.details["paired"] else "random halves of each sample"
    return f"The null is drawn by {kind}, in blocks of whole groups."
