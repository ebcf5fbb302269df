"""Figures of one-dimensional distributions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, events, grouped, named, slug
from parhelion.report.figures import distribution_figure

SECTION: Final = "Distributions"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metric ``histograms``, one a field with a panel for each category."""
    for group in grouped(named(content, "histograms"), lambda r: r.details["field"]):
        name = str(group[0].details["field"])
        caption = (
            f"Weighted distribution of {name}{', for all rows and by category' if len(group) > 1 else ''}. Points: "
            "reference. Filled line: generated; the dark band is its statistical error. Below: ratio of generated to "
            "reference, where triangles at the edge point to bins outside the panel; and pull, the difference in "
            "standard errors, with bands at 1 and 3. On logarithmic axes, open triangles at the bottom stand for bins "
            "whose weighted content is zero or negative. χ²/ndf compares the shapes with the full covariance of the "
            f"bins. {events(*group)}"
        )
        figure = distribution_figure(group, label=content.label)
        yield Entry(SECTION, slug("distribution", name), caption, figure, about=(name,))
