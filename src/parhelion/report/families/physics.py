"""Figures of physics: sigma by class, training on generated rows, and laws that rows must obey."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, bound_of, events, grouped, named, sentence, slug
from parhelion.report.figures.arrays import FloatArray, measured, numbers, probability
from parhelion.report.figures.drawing import panel_stacks, points
from parhelion.report.style import ALARM, GENERATED, LABEL, NULL, REFERENCE, new_figure, note, pretty, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGMA: Final = "Largest distance over classes"
TRANSFER: Final = "Training on generated rows"
LAWS: Final = "Laws that every row must obey"

_SEEN: Final = 0.05


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metrics ``sigma``, ``train_on_generated`` and ``boundaries``."""
    for group in grouped(named(content, "sigma"), lambda r: (r.details["by"], r.details["distance"])):
        kind = "energy" if group[0].details["distance"] == "energy" else "Wasserstein"
        caption = (
            f"{_joined(group)} Points: the {kind} distance between generated and reference rows of each class of "
            f"{group[0].details['by']}, in standard deviations of the reference there; orange where the p-value of the "
            f"class alone is below {_SEEN:g}. Grey: what reference against reference gives at these sizes, mean and "
            f"95 % quantile. σ is the largest point; its p-value is against the null of the largest. {events(*group)}"
        )
        yield Entry(
            SIGMA, slug("sigma", str(group[0].details["by"])), caption, sigma_figure(group, label=content.label)
        )
    for result in named(content, "train_on_generated"):
        score = result.details["score"]
        caption = (
            f"{sentence(result)} Left: {score} on held-out reference rows of boosted trees that reference rows or as "
            "many generated rows have taught, against the number of these rows. Lower panel: reference-taught minus "
            "generated-taught; grey is the spread of reference-taught against reference-taught. Above 0, an analysis "
            f"that trains on generated rows loses. Right: {score} for each teacher and test. {events(result)}"
        )
        bound = bound_of(content, result, "gap")
        yield Entry(
            TRANSFER, slug("transfer", result.on), caption, transfer_figure(result, bound=bound, label=content.label)
        )
    laws = named(content, "boundaries")
    if laws:
        caption = (
            "Share of the weight in rows that break each law. Bars: generated; points: reference. A side on which no "
            "row breaks a law shows the share of one row as an upper error (triangle). The table has the laws and the "
            "worst row. "
            f"{events(*laws)}"
        )
        yield Entry(LAWS, "boundaries", caption, boundaries_figure(laws, label=content.label), _law_table(laws))
    for result in laws:
        if result.details["relation"] != "==":
            continue
        caption = (
            f"{sentence(result)} Residual (expression minus bound) of reference (points) and generated rows (filled); "
            "dashed: the tolerance. Rows beyond the axis are in the noted shares. "
            f"{events(result)}"
        )
        yield Entry(LAWS, slug("residual", result.on), caption, residual_figure(result, label=content.label))


def sigma_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Distance in each class with the band of its null, a panel for each field.

    Parameters
    ----------
    results
        Results of the metric ``sigma`` with the same classes.
    label
        Text above the figure.
    """
    columns = min(len(results), 3)
    rows = -(-len(results) // columns)
    tall = max(0.36 * max(len(r.details["classes"]) for r in results), 1.6)
    with style():
        by = str(results[0].details["by"])
        figure = new_figure(1.8 + 4.3 * columns, 0.9 + rows * (tall + 1.35), f"by {by}", label)
        grid = figure.subplots(rows, columns, squeeze=False)
        for index, axes in enumerate(grid.ravel()):
            if index < len(results):
                _classes(axes, results[index], named_classes=index % columns == 0)
            else:
                axes.set_axis_off()
        handles, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=11)
    return figure


def transfer_figure(result: MetricResult, *, bound: float | None = None, label: str = LABEL) -> Figure:
    """Scores of both teachers against the training size with their difference, and all four teachers and tests.

    Parameters
    ----------
    result
        Result of the metric ``train_on_generated``.
    bound
        Largest gap that a requirement allows.
    label
        Text above the figure.
    """
    d = result.details
    curve = {key: np.atleast_1d(numbers(values)) for key, values in d["curve"].items()}
    score = str(d["score"])
    from matplotlib.ticker import NullFormatter

    with style():
        figure = new_figure(13.0, 6.0, result.on, label)
        grid = figure.add_gridspec(2, 2, width_ratios=[1.5, 1.0], height_ratios=[2.0, 1.0])
        upper = figure.add_subplot(grid[0, 0])
        lower = figure.add_subplot(grid[1, 0], sharex=upper)
        right = figure.add_subplot(grid[:, 1])
        upper.set_xscale("log")
        for side, colour, shift in (("reference", REFERENCE, 0.985), ("generated", GENERATED, 1.015)):
            points(
                upper,
                curve["sizes"] * shift,
                curve[side],
                curve[f"{side}_error"],
                color=colour,
                ms=5,
                ls="-",
                lw=1.0,
                label=f"taught by {side} rows",
            )
        upper.set_ylabel(f"{score} on reference rows")
        upper.legend(loc="lower right")
        upper.set_xticks(curve["sizes"], [f"{int(size):,}" for size in curve["sizes"]])
        upper.xaxis.set_minor_formatter(NullFormatter())
        upper.tick_params(which="both", labelbottom=False)
        spread = np.nan_to_num(curve["null_error"])
        lower.fill_between(curve["sizes"], -spread, spread, color=NULL, alpha=0.25, lw=0)
        lower.axhline(0.0, color=REFERENCE, lw=0.9)
        points(lower, curve["sizes"], curve["gap"], curve["gap_error"], color=GENERATED, ms=5)
        if bound is not None:
            lower.axhline(bound, color=REFERENCE, lw=1.2, ls="--")
        reach = np.abs(curve["gap"]) + np.nan_to_num(curve["gap_error"])
        limit = 1.25 * max(float(np.nanmax(np.concatenate([reach, spread]))), bound or 0.0, 1e-6)
        lower.set_ylim(-limit, limit)
        lower.set_xlim(curve["sizes"].min() / 1.6, curve["sizes"].max() * 1.6)
        lower.set_ylabel("Gap")
        lower.set_xlabel("Rows in training")
        _scores(right, d["scores"], score)
        note(upper, f"gap = {measured(result.value, result.error)}\np = {probability(result.p_value)}")
    return figure


def boundaries_figure(results: Sequence[MetricResult], *, label: str = LABEL) -> Figure:
    """Share of rows that break each law, on a logarithmic axis.

    Parameters
    ----------
    results
        Results of the metric ``boundaries``.
    label
        Text above the figure.
    """
    at = np.arange(len(results), dtype=float)
    found = {side: _shares(results, side) for side in ("reference", "generated")}
    with style():
        figure = new_figure(11.0, 1.9 + 0.45 * max(len(results), 2), "laws", label)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        floor = 0.3 * min(float(np.min(error)) for _, error in found.values())
        filled = np.maximum(found["generated"][0], floor) - floor
        axes.barh(at, filled, left=floor, height=0.6, color=GENERATED, alpha=0.35)
        for side, colour, shift in (("generated", GENERATED, -0.1), ("reference", REFERENCE, 0.1)):
            share, error = found[side]
            left, right = np.maximum(share - error, floor), share + error
            _bars(axes, at + shift, share, left, right, color=colour, label=side)
        axes.set_yticks(at, [pretty(r.on) for r in results])
        axes.set_ylim(len(results) - 0.4, -0.6)
        top = max(float(np.max(share + error)) for share, error in found.values())
        axes.set_xlim(floor, max(min(3.0 * top, 1.5), 10 * floor))
        axes.tick_params(axis="y", which="both", left=False, right=False)
        axes.set_xlabel("Share of the weight in rows that break the law")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=11)
    return figure


def residual_figure(result: MetricResult, *, label: str = LABEL) -> Figure:
    """Residual of an equality in both samples, with the tolerance.

    Parameters
    ----------
    result
        Result of the metric ``boundaries`` for an equality.
    label
        Text above the figure.
    """
    d = result.details
    edges = numbers(d["edges"])
    shares = {side: numbers(d[side]["share"]) for side in ("reference", "generated")}
    lines = []
    with style():
        figure, pairs = panel_stacks(1, (3.2, 1.0), result.on, label)
        upper, lower = pairs[0]
        upper.stairs(shares["generated"], edges, fill=True, color=GENERATED, alpha=0.25, lw=0)
        upper.stairs(shares["generated"], edges, baseline=None, color=GENERATED, label="generated")
        middle = 0.5 * (edges[1:] + edges[:-1])
        points(upper, middle, shares["reference"], np.zeros(len(middle)), color=REFERENCE, label="reference")
        for axes in (upper, lower):
            for place in (-float(d["tolerance"]), float(d["tolerance"])):
                axes.axvline(place, color=ALARM, lw=1.2, ls="--")
        top = float(max(np.max(v) for v in shares.values()))
        upper.set_yscale("symlog", linthresh=max(1e-3 * top, 1e-12))
        upper.set_ylim(0, 300 * top)
        upper.set_ylabel("Share / bin")
        upper.legend(loc="upper right")
        for side in ("reference", "generated"):
            mean = measured(d[side]["mean"], d[side]["mean_error"])
            lines.append(f"{side}: mean {mean}, width {measured(d[side]['width'], d[side]['width_error'])}")
            if float(d[side]["outside"]) > 5e-4:
                lines.append(f"{side} beyond the axis: {100 * float(d[side]['outside']):.2g} %")
        note(upper, "\n".join(lines), size=10.5)
        lower.axhline(0.0, color=REFERENCE, lw=0.9)
        lower.stairs(shares["generated"] - shares["reference"], edges, baseline=None, color=GENERATED)
        lower.set_ylabel("Difference", loc="center", fontsize=11.5)
        bound = float(d["bound"])
        lower.set_xlabel(pretty(str(d["expression"]) if bound == 0 else f"{d['expression']} − ({bound:g})"))
        lower.set_xlim(edges[0], edges[-1])
    return figure


def _classes(axes: Axes, result: MetricResult, *, named_classes: bool) -> None:
    d = result.details
    labels = [pretty(str(c)) for c in d["classes"]]
    at = np.arange(len(labels), dtype=float)
    value, error, null, high = (numbers(d[key]) for key in ("values", "errors", "null", "null_95"))
    seen = numbers(d["p_values"]) < _SEEN
    axes.barh(at, high, height=0.7, color=NULL, alpha=0.25, label="null, 95 %")
    axes.plot(null, at, "|", ms=13, mew=2.0, color=NULL, label="null, mean")
    for chosen, colour, text in ((~seen, GENERATED, "measured"), (seen, ALARM, f"measured, p < {_SEEN:g}")):
        axes.errorbar(
            value[chosen], at[chosen], xerr=np.nan_to_num(error[chosen]), fmt="o", ms=5, color=colour, label=text
        )
    axes.set_yticks(at, labels if named_classes else [])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0.0, 1.45 * float(max(np.max(value + np.nan_to_num(error)), np.max(high), 1e-9)))
    axes.tick_params(axis="y", which="both", left=False, right=False)
    axes.locator_params(axis="x", nbins=5)
    unit = str(d["by_unit"])
    if named_classes:
        axes.set_ylabel(pretty(str(d["by"]) + (f" [{unit}]" if unit else "")))
    axes.set_xlabel("Distance [standard deviations]")
    axes.set_title(pretty(str(d["field"])), loc="left", fontsize=13)
    note(
        axes,
        f"σ = {measured(result.value, result.error)}\np = {probability(result.p_value)}",
        "lower right",
        size=10.5,
    )


def _scores(axes: Axes, scores: dict[str, Any], score: str) -> None:
    names = list(scores)
    at = np.arange(len(names), dtype=float)
    value = numbers([scores[name]["value"] for name in names])
    error = np.nan_to_num(numbers([scores[name]["error"] for name in names]))
    colours = [REFERENCE if name.startswith("reference") else GENERATED for name in names]
    for place, centre, half, colour in zip(at, value, error, colours, strict=True):
        axes.errorbar([centre], [place], xerr=[half], fmt="o", ms=6, color=colour)
    axes.set_yticks(at, [name.replace(" to ", "\n→ ") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", which="both", left=False, right=False)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(f"{score} (teacher → test)")


def _bars(
    axes: Axes, at: FloatArray, share: FloatArray, left: FloatArray, right: FloatArray, *, color: str, label: str
) -> None:
    seen = share > 0
    axes.hlines(at, left, right, color=color, lw=1.3)
    axes.plot(right[~seen], at[~seen], "<", ms=6, mfc="none", color=color)
    axes.plot(share[seen], at[seen], "o", ms=5, color=color, label=label)
    if not seen.any():
        axes.plot([], [], "o", ms=5, color=color, label=label)


def _shares(results: Sequence[MetricResult], side: str) -> tuple[FloatArray, FloatArray]:
    return (
        numbers([r.details[side]["violating"] for r in results]),
        numbers([r.details[side]["violating_error"] for r in results]),
    )


def _law_table(results: Sequence[MetricResult]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        ("Law", "Statement", "Generated rows", "Reference rows", "Share generated [%]", "p-value", "Worst generated")
    ]
    for result in results:
        d, found = result.details, result.quantity("violating")
        table.append(
            (
                result.on,
                str(d["law"]),
                f"{int(d['generated']['violating_rows']):,}",
                f"{int(d['reference']['violating_rows']):,}",
                measured(100 * found.value, 100 * found.error),
                probability(found.p_value),
                measured(d["generated"]["largest"]),
            )
        )
    return table


def _joined(results: Sequence[MetricResult]) -> str:
    return " ".join(sentence(r) for r in results) if len(results) <= 2 else sentence(results[0])
