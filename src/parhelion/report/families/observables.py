"""Figures of what analyses use: AUC maps, efficiencies, correlations and exact equalities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, bound_of, events, grouped, named, sentence, slug
from parhelion.report.figures import auc_map_figure, correlation_figure, efficiency_figure, structure_figure
from parhelion.report.figures.arrays import measured

MAPS: Final = "AUC-difference maps"
EFFICIENCIES: Final = "Efficiency and misidentification"
CORRELATIONS: Final = "Correlations"
STRUCTURE: Final = "Exact equalities"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metrics ``auc_map``, ``efficiency``, ``correlation`` and ``structure``."""
    yield from _maps(content)
    yield from _efficiencies(content)
    yield from _correlations(content)
    yield from _structures(content)


def _maps(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "auc_map"):
        d = result.details
        bound = bound_of(content, result, "max")
        caption = (
            f"{sentence(result)} Left: generated minus reference in thousandths of AUC; red cells separate the two "
            "species better than the reference does, blue cells worse. Middle: the same for reference against "
            "reference, the size of purely statistical fluctuations, on the same colours. Right: the left map divided "
            f"by its uncertainty (bootstrap by event, {d['replicas']} replicas). Cells are drawn equally large. A grey "
            f"cell has fewer than {float(d['min_tracks']):g} effective rows of one species in one of the samples; n is "
            f"the smaller number in the reference. {events(result)}"
        )
        if bound is not None:
            caption += f" Black frames mark cells beyond the allowed ±{bound:g}."
        figure = auc_map_figure(result, bound=bound, label=content.label)
        about = (d["variable"], d["signal"], d["background"])
        yield Entry(MAPS, slug("auc_map", result.on), caption, figure, about=about)


def _efficiencies(content: ReportContent) -> Iterator[Entry]:
    for group in grouped(named(content, "efficiency"), lambda r: (r.details["variable"], r.details["threshold"])):
        d = group[0].details
        cut = f"{d['variable']} > {float(d['threshold']):g}"
        bounds = {r.on: b for r in group if (b := bound_of(content, r, "max")) is not None}
        caption = (
            f"Share of each species that passes {cut}, against {d['x']}: the efficiency of the species that the cut "
            "selects, the misidentification of the others. Points: reference with statistical error and bin width. "
            "Line with band: generated with its statistical error. Lower panels: generated minus reference"
        )
        caption += "; the green band is what the requirement allows." if bounds else "."
        if d["paired"]:
            caption += " Both samples share their conditions row by row; the error of the difference accounts for it."
        figure = efficiency_figure(group, bounds=bounds, label=content.label)
        about = (d["variable"], *(str(r.details["species"]) for r in group))
        yield Entry(EFFICIENCIES, slug("efficiency", cut), f"{caption} {events(*group)}", figure, about=about)


def _correlations(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "correlation"):
        caption = (
            f"{sentence(result)} Left: weighted correlation coefficients of the reference. Right: generated minus "
            f"reference in thousandths. Both matrices are symmetric; the lower half is shown. {events(result)}"
        )
        figure = correlation_figure(result, label=content.label)
        yield Entry(CORRELATIONS, slug("correlation", result.on), caption, figure)


def _structures(content: ReportContent) -> Iterator[Entry]:
    for result in named(content, "structure"):
        caption = (
            f"{sentence(result)} Share of the weight in rows with each pattern. Points: reference; bars: generated; "
            "right: generated minus reference."
        )
        smeared = result.details["smeared"]
        if smeared is not None:
            caption += f" Of the reference's ties, {100 * float(smeared):.3g} % are not ties in the generated sample."
        figure = structure_figure(result, label=content.label)
        name = slug("structure", result.on)
        yield Entry(STRUCTURE, name, f"{caption} {events(result)}", figure, _ties(result))


def _ties(result: MetricResult) -> list[tuple[str, ...]]:
    d = result.details
    columns = (
        (d["reference"]["share"], d["reference"]["error"]),
        (d["generated"]["share"], d["generated"]["error"]),
        (d["difference"], d["difference_error"]),
    )
    table: list[tuple[str, ...]] = [("Pattern", "Reference [%]", "Generated [%]", "Difference [%]")]
    for index, pattern in enumerate(d["patterns"]):
        shares = [measured(100 * v[index], 100 * (e[index] or 0.0)) for v, e in columns]
        table.append((str(pattern), *shares))
    return table
