"""Figures of density ratios from a classifier, with the regions that they blame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, named, sentence, slug
from parhelion.report.figures.arrays import measured, numbers
from parhelion.report.figures.drawing import points
from parhelion.report.style import ALARM, GENERATED, LABEL, NULL, REFERENCE, new_figure, note, pretty, style, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECTION: Final = "Weights that a classifier gives"

_FEATURES: Final = 3


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metric ``classifier_weights``, one a result, each with the table of blamed regions."""
    for result in named(content, "classifier_weights"):
        d = result.details
        caption = (
            f"{sentence(result)} Top left: the ratio w = p(reference) / p(generated) of rows that the classifier "
            f"({d['learner']}) had not seen. Generated rows far to the left lie where the reference has next to "
            "nothing; reference rows far to the right lie where the surrogate hardly goes; beyond the lines they count "
            "as tails. Top right: observed minus predicted share of the reference among rows with similar w; points on "
            "the line say that the weights mean what they claim. Bottom: mean weight of the generated rows against the "
            "features that show most; below 1 there are too many generated rows, above 1 too few. The table "
            "lists the regions that a decision tree on w cuts out, those with the most misplaced weight first; "
            f"reference / generated is counted without the classifier. {events(result)}"
        )
        figure = classifier_weights_figure(result, label=content.label)
        yield Entry(SECTION, slug("classifier_weights", result.on), caption, figure, _table(result))


def classifier_weights_figure(result: MetricResult, *, label: str = LABEL) -> Figure:
    """Histogram of the weights on both samples, their reliability, and their mean against features.

    Parameters
    ----------
    result
        Result of the metric ``classifier_weights``.
    label
        Text above the figure.
    """
    shown = list(result.details["by_feature"].items())[:_FEATURES]
    with style():
        figure = new_figure(14.0, 8.4, result.on, label)
        grid = figure.add_gridspec(2, 6)
        _histogram(figure.add_subplot(grid[0, :3]), result)
        _reliability(figure.add_subplot(grid[0, 3:]), result.details["reliability"])
        wide = 6 // max(len(shown), 1)
        first: Any = None
        for i, (name, found) in enumerate(shown):
            axes = figure.add_subplot(grid[1, i * wide : (i + 1) * wide], sharey=first)
            _feature(axes, name, found)
            first = first or axes
            if i == 0:
                axes.set_ylabel("Mean weight of generated rows")
            else:
                axes.tick_params(labelleft=False)
    return figure


def _histogram(axes: Axes, result: MetricResult) -> None:
    d = result.details
    histogram = d["histogram"]
    edges = numbers(histogram["edges"])
    middle = 0.5 * (edges[1:] + edges[:-1])
    generated, reference = numbers(histogram["generated"]), numbers(histogram["reference"])
    smallest = min((float(np.min(c[c > 0])) for c in (generated, reference) if np.any(c > 0)), default=1e-6)
    axes.stairs(np.maximum(generated, 0.0), edges, fill=True, color=GENERATED, alpha=0.22, lw=0)
    axes.stairs(np.maximum(generated, 0.0), edges, baseline=None, color=GENERATED, lw=1.6, label="generated")
    error = numbers(histogram["reference_error"])
    seen = reference > 0
    # On a logarithmic axis an error bar ends above zero.
    points(
        axes,
        middle[seen],
        reference[seen],
        np.minimum(error[seen], 0.999 * reference[seen]),
        color=REFERENCE,
        label="reference",
    )
    axes.set_yscale("log")
    top = float(np.max(np.concatenate([generated, reference])))
    axes.set_ylim(0.5 * smallest, 60.0 * top)
    for cut in (d["low"], d["high"]):
        at = float(np.log10(float(cut)))
        if edges[0] < at < edges[-1]:
            axes.axvline(at, color=ALARM, lw=1.2, ls="--")
    axes.axvline(0.0, color=NULL, lw=1.0, ls=":")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(r"$\log_{10}$ w (reference / generated density)")
    axes.set_ylabel("Share of weight per bin")
    q = result.quantities
    lines = [
        f"spread = {measured(q['spread'].value, q['spread'].error)}",
        f"null = {measured(q['spread'].null, q['spread'].null_error)}",
        f"AUC after reweighting = {measured(q['closure'].value, q['closure'].error)}",
    ]
    note(axes, "\n".join(lines), size=10.5)
    axes.legend(loc="upper right")


def _reliability(axes: Axes, reliability: Any) -> None:
    predicted, observed, error = (numbers(reliability[key]) for key in ("predicted", "observed", "error"))
    axes.axhline(0.0, color=NULL, lw=1.2, ls="--")
    points(axes, predicted, observed - predicted, error, color=GENERATED, ms=4.5)
    reach = float(np.nanmax(np.abs(observed - predicted) + np.nan_to_num(error), initial=1e-3))
    axes.set_ylim(-1.3 * reach, 1.3 * reach)
    axes.set_xlabel("Predicted share of the reference, w / (1 + w)")
    axes.set_ylabel("Observed − predicted share")


def _feature(axes: Axes, name: str, found: Any) -> None:
    mean, error = numbers(found["mean"]), numbers(found["error"])
    axes.axhline(1.0, color=NULL, lw=1.2, ls="--")
    if found.get("labels"):
        at = np.arange(len(mean), dtype=float)
        points(axes, at, mean, error, np.full(len(mean), 0.5), color=GENERATED, ms=4.5)
        axes.set_xticks(at, [pretty(str(text)) for text in found["labels"]])
        axes.tick_params(axis="x", which="minor", bottom=False, top=False)
        axes.set_xlabel(pretty(name))
        return
    edges = numbers(found["edges"])
    points(axes, 0.5 * (edges[1:] + edges[:-1]), mean, error, 0.5 * np.diff(edges), color=GENERATED, ms=4.5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(with_unit(name, str(found.get("unit") or "")))


def _table(result: MetricResult) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        ("Region", "Reference [%]", "Generated [%]", "Reference / generated", "Mean weight of generated rows")
    ]
    table += [
        (
            str(region["cuts"]),
            f"{100 * float(region['reference']):.2f}",
            f"{100 * float(region['generated']):.2f}",
            measured(region["ratio"], region["ratio_error"]),
            measured(region["weight"], region["weight_error"]),
        )
        for region in result.details["regions"]
    ]
    return table
