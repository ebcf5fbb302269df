"""Figures of averages: curves, response and resolution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, grouped, named, slug
from parhelion.report.figures.averages import curve_figure, resolution_figure

CURVES: Final = "Spectra and profiles"
RESOLUTION: Final = "Response and resolution"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metrics ``resolution``, one a field, and ``curves``, one a field."""
    for group in grouped(named(content, "resolution"), lambda r: r.details["field"]):
        d = group[0].details
        caption = (
            f"Mean of {d['field']}, its standard deviation over its mean, and half the width of its central 68.3 % "
            f"over its median (effective resolution), in bins of {d['x']}. Points: reference. "
            "Line: generated. Below: ratio of generated to reference with the standard error of the ratio. "
            f"{events(*group)}"
        )
        figure = resolution_figure(group, label=content.label)
        yield Entry(RESOLUTION, slug("resolution", d["field"]), caption, figure, about=(d["field"],))
    for result in named(content, "curves"):
        caption = (
            f"Average of {result.on} over rows, component by component. Points: reference. Line with band: generated "
            "with its standard error. Below: ratio, with the error of the difference; components of one row are not "
            f"independent, which errors and null account for. {events(result)}"
        )
        figure = curve_figure(result, label=content.label)
        yield Entry(CURVES, slug("curve", result.on), caption, figure, about=(result.on,))
