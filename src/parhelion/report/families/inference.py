"""Figures of what matters to an analysis: the usable sample size, and distributions with model uncertainty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from parhelion.evaluation.inference.parameters import NAME
from parhelion.evaluation.inference.usable import ALL, rounded
from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, grouped, least_of, named, sentence, slug
from parhelion.report.figures.arrays import measured, numbers
from parhelion.report.figures.drawing import panel_stacks, points
from parhelion.report.style import (
    ALARM,
    BAND,
    GENERATED,
    LABEL,
    NULL,
    REFERENCE,
    new_figure,
    note,
    pretty,
    style,
    with_unit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

USABLE: Final = "Usable sample size"
ENSEMBLE: Final = "Model uncertainty"
_MOST: Final = 20
_LEAST_EVENTS: Final = 0.5
_SEEN: Final = 0.05


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metric ``usable_size`` and of ensembles."""
    yield from _usable(content)
    yield from _ensembles(content)


def headline_sentence(results: Sequence[MetricResult]) -> str:
    """How many generated events an analysis may use, in one or two sentences; empty without ``usable_size``.

    Parameters
    ----------
    results
        All results of a judgement.
    """
    found = [r for r in results if r.name == NAME and r.on == ALL]
    if not found:
        return ""
    d = found[0].details
    worst = f"; worst: {d['parameter']}" if len(d["parameters"]) > 1 else f", for the {d['parameter']}"
    limit = float(d["limit"])
    count = f"up to {rounded(limit)} generated events" if limit >= 1 else "not even one generated event"
    text = (
        f"An analysis may use {count} "
        f"({100 * float(d['confidence']):g} % lower limit{worst}) before the surrogate's bias exceeds "
        f"{float(d['tolerance']):g} of its statistical error."
    )
    bias, error = float(d["bias"]), float(d["bias_error"])
    if error > 0 and abs(bias) < 2 * error:
        text += (
            f" The bias is compatible with zero: the size of the test sample sets this limit, and no surrogate could "
            f"be certified for more than about {rounded(float(d['best']))} events with it."
        )
    return text


def usable_figure(result: MetricResult, *, bound: float | None = None, label: str = LABEL) -> Figure:
    """Lower limit on the usable number of events of each parameter, on a logarithmic axis, smallest on top.

    Parameters
    ----------
    result
        The result of ``usable_size`` on all parameters.
    bound
        Least number that a requirement asks for.
    label
        Text above the figure.
    """
    d = result.details
    limits, centrals, bests = (np.maximum(numbers(d[key]), _LEAST_EVENTS) for key in ("limits", "centrals", "bests"))
    order = np.argsort(limits, kind="stable")[:_MOST]
    titles = [str(d["parameters"][i]) for i in order]
    seen = numbers(d["p_values"])[order] < _SEEN
    limits, centrals, bests = limits[order], centrals[order], bests[order]
    place = np.arange(len(order))
    # Without a bias the estimate may be anything: it becomes an arrow at the edge.
    right = 30 * float(max(limits.max(), bests.max()))
    left = 0.1 * float(min(limits.min(), bests.min()))
    if bound is not None:
        left, right = min(left, 0.5 * bound), max(right, 2 * bound)
    from matplotlib.ticker import NullLocator

    with style():
        figure = new_figure(11.0, 1.75 + 0.4 * len(order), "usable sample size", label)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.barh(place, limits - left, left=left, height=0.62, color=GENERATED, alpha=0.35)
        text = f"lower limit ({100 * float(d['confidence']):g} %)"
        for chosen, colour, what in ((~seen, GENERATED, text), (seen, ALARM, f"{text}, bias seen (p < {_SEEN:g})")):
            if chosen.any():
                axes.plot(limits[chosen], place[chosen], "|", ms=14, mew=2.4, color=colour, label=what)
        for at, limit in zip(place, limits, strict=True):
            axes.text(0.93 * float(limit), float(at), rounded(float(limit)), ha="right", va="center", fontsize=10.5)
        axes.plot(bests, place, "D", ms=5.5, mfc="none", mec=NULL, label="what this test sample could certify")
        inside = centrals < right
        axes.plot(centrals[inside], place[inside], "o", ms=5.5, color=REFERENCE, label="by the measured bias")
        axes.plot(np.full(int(np.sum(~inside)), 0.93 * right), place[~inside], ">", ms=6, color=REFERENCE)
        if bound is not None:
            axes.axvline(bound, color=BAND, lw=1.6, ls="--", label=f"required: {rounded(bound)}")
        axes.set_yticks(place, [pretty(title) for title in titles], fontsize=11.5)
        axes.tick_params(axis="y", which="both", length=0)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlim(left, right)
        axes.set_xlabel("Generated events that an analysis may use")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=10.5)
    return figure


def ensemble_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """One field's distribution with statistical and model bands, a panel for each result, pulls below.

    Parameters
    ----------
    results
        Results called ``ensemble`` for one field.
    label
        Text above the figure.
    """
    with style():
        figure, pairs = panel_stacks(len(results), (2.9, 0.95), str(results[0].details["field"]), label)
        for index, (result, (upper, lower)) in enumerate(zip(results, pairs, strict=True)):
            _distribution(upper, result, legend=index == 0)
            _pulls(lower, result)
    return figure


def _edges(result: MetricResult) -> np.ndarray:
    """Edges of the joined bins; under- and overflow are drawn as wide as their neighbours are on average."""
    d = result.details
    edges, joined = numbers(d["edges"]), np.asarray(d["bins"], dtype=np.int64)
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    full = np.concatenate([[edges[0] - width], edges, [edges[-1] + width]])
    return np.concatenate([full[:-1][np.flatnonzero(np.diff(joined, prepend=-1))], full[-1:]])


def _distribution(axes: Axes, result: MetricResult, *, legend: bool) -> None:
    d = result.details
    edges = _edges(result)
    per = np.mean(np.diff(numbers(d["edges"]))) / np.diff(edges)
    reference, generated = numbers(d["reference"]) * per, numbers(d["generated"]) * per
    statistical, model = numbers(d["statistical_error"]) * per, numbers(d["model_error"]) * per
    total = np.hypot(statistical, model)
    for size, alpha, text in ((total, 0.22, "statistics and model"), (model, 0.45, "model")):
        axes.stairs(
            generated + size,
            edges,
            baseline=generated - size,
            fill=True,
            color=GENERATED,
            alpha=alpha,
            lw=0,
            label=text,
        )
    axes.stairs(generated, edges, baseline=None, color=GENERATED, lw=1.4, label="generated")
    centres = 0.5 * (edges[1:] + edges[:-1])
    points(axes, centres, reference, np.zeros(len(centres)), color=REFERENCE, label="reference")
    axes.set_ylim(0.0, 1.5 * float(np.max(np.concatenate([reference, generated + total]))))
    axes.set_ylabel("Share / bin")
    axes.set_title(pretty(str(d["category"] or "all")), loc="right", fontsize=13)
    share, covered = result.quantity("model_share"), result.quantity("coverage")
    lines = [
        f"χ²/ndf = {float(d['chi2']):.1f}/{int(d['ndf'])}",
        f"statistics alone: {float(d['chi2_statistical']):.1f}",
        f"model {100 * share.value:.0f} % of variance",
        f"within 1σ: {100 * covered.value:.0f} %",
    ]
    note(axes, "\n".join(lines), size=10.5)
    if legend:
        axes.legend(loc="upper right", fontsize=10.5, borderaxespad=0.3)


def _pulls(axes: Axes, result: MetricResult) -> None:
    edges, pull = _edges(result), numbers(result.details["pull"])
    axes.axhspan(-1, 1, color=BAND, alpha=0.18, lw=0)
    axes.axhline(0.0, color=REFERENCE, lw=0.9)
    shown = np.clip(pull, -4.5, 4.5)
    points(axes, 0.5 * (edges[1:] + edges[:-1]), shown, np.zeros(len(pull)), 0.5 * np.diff(edges), color=GENERATED)
    axes.set_ylim(-4.9, 4.9)
    axes.set_yticks([-3, 0, 3])
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylabel("Pull", loc="center", fontsize=11.5)
    axes.set_xlabel(with_unit(str(result.details["field"]), str(result.details["unit"])))


def _usable(content: ReportContent) -> Iterator[Entry]:
    results = named(content, NAME)
    for result in results:
        if result.on != ALL:
            continue
        d = result.details
        count = len(d["parameters"])
        caption = (
            f"{headline_sentence([result])} For each parameter: the bar ends at the {100 * float(d['confidence']):g} % "
            f"lower limit on the number of events at which the bias reaches {float(d['tolerance']):g} of the "
            "statistical error; the point is that number by the measured bias as it is, an arrow where it lies beyond "
            "the axis; the diamond is the limit that this test sample would give if no bias were measured. Where the "
            f"limit is orange a bias was seen (p < {_SEEN:g}), and only a better surrogate helps; elsewhere a larger "
            f"test sample may allow more. {events(result)}"
        )
        if count > _MOST:
            caption += f" The {_MOST} smallest of {count} are shown."
        if d["left_out"]:
            caption += f" Left out, since events carry no measurable information: {', '.join(d['left_out'])}."
        figure = usable_figure(result, bound=least_of(content, result, "usable"), label=content.label)
        yield Entry(USABLE, "usable_size", caption, figure, _table(results))


def _table(results: Sequence[MetricResult]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("Parameter", "Bias", "Error of one event", "p", "Usable events (lower limit)")]
    for result in sorted((r for r in results if r.on != ALL), key=lambda r: r.value):
        d, unit = result.details, str(result.details["unit"])
        p = "–" if result.p_value is None else f"{result.p_value:.2g}"
        table.append(
            (
                pretty(result.on),
                measured(d["bias"], d["bias_error"], unit),
                measured(d["event_error"], None, unit),
                p,
                rounded(float(d["limit"])),
            )
        )
    return table


def _ensembles(content: ReportContent) -> Iterator[Entry]:
    for group in grouped(named(content, "ensemble"), lambda r: r.details["field"]):
        d = group[0].details
        caption = (
            f"{sentence(group[0])} Line: generated; dark band: model uncertainty, by the finite training sample and "
            f"the random course of training, from {int(d['members'])} members; pale band: with the statistical error "
            "of generated minus reference. Points: reference. Lower panels: (generated − reference) / total error; two "
            f"thirds of the points lie in the green band if the errors are right. {events(*group)}"
        )
        figure = ensemble_figure(group, label=content.label)
        yield Entry(ENSEMBLE, slug("ensemble", str(d["field"])), caption, figure)
