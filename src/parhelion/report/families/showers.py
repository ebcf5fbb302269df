"""Figures of showers: single ones and averages, reference beside generated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, slug
from parhelion.report.figures.showers import average_showers_figure, single_showers_figure

SECTION: Final = "Showers"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Two figures for each response that is an image."""
    for pictures in content.showers:
        how = "made at the same condition" if pictures.paired else "of the nearest incident energy"
        caption = (
            f"Single showers ({pictures.field}) of the reference (above) and the surrogate (below), {how}. One "
            "logarithmic colour scale a column, over four decades; white cells hold nothing, and cells in the scale's "
            "darkest colour may hold less than its lower end."
        )
        figure = single_showers_figure(pictures, label=content.label)
        yield Entry(SECTION, slug("showers", pictures.field), caption, figure, about=(pictures.field,))
        counts = ", ".join(
            f"{a:,} and {b:,} at {energy:.3g} GeV"
            for (a, b), energy in zip(pictures.counts, pictures.energies, strict=True)
        )
        caption = (
            f"Average showers ({pictures.field}) within a factor 1.2 of the incident energy, and the ratio of "
            "generated to reference where the reference is on the colour scale. Reference and generated showers: "
            f"{counts}."
        )
        figure = average_showers_figure(pictures, label=content.label)
        yield Entry(SECTION, slug("average_showers", pictures.field), caption, figure, about=(pictures.field,))
