"""Figures of showers: single ones and averages, reference beside generated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, slug
from parhelion.report.figures.showers import average_showers_figure, single_showers_figure

SECTION: Final = "Showers"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Two figures for each response that is an image, and for both views of each that is a volume."""
    for pictures in content.showers:
        view, sums = pictures.view.words, ""
        if view:
            across = {0: "layers", 1: "the second axis of cells"}[pictures.view.summed or 0]
            sums = f" Seen {view}: energies are summed over {across}."
        name = f"{pictures.field} {view}".strip()
        how = "made at the same condition" if pictures.paired else "of the nearest incident energy"
        caption = (
            f"Single showers ({pictures.field}) of the reference (above) and the surrogate (below), {how}. One "
            "logarithmic colour scale a column, over four decades; white cells hold nothing, and cells in the scale's "
            f"darkest colour may hold less than its lower end.{sums}"
        )
        figure = single_showers_figure(pictures, label=content.label)
        yield Entry(SECTION, slug("showers", name), caption, figure, about=(pictures.field,))
        counts = ", ".join(
            f"{a:,} and {b:,} at {energy:.3g} GeV"
            for (a, b), energy in zip(pictures.counts, pictures.energies, strict=True)
        )
        caption = (
            f"Average showers ({pictures.field}) within a factor 1.2 of the incident energy, and the ratio of "
            "generated to reference where the reference is on the colour scale. Reference and generated showers: "
            f"{counts}.{sums}"
        )
        figure = average_showers_figure(pictures, label=content.label)
        yield Entry(SECTION, slug("average_showers", name), caption, figure, about=(pictures.field,))
