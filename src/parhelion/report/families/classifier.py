"""Figures of the classifier two-sample test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, bound_of, events, named, sentence, slug
from parhelion.report.figures import classifier_figure

SECTION: Final = "Classifier two-sample test"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the metric ``classifier``, one a result."""
    for result in named(content, "classifier"):
        d = result.details
        which = "strongest classifier" if len(d.get("learners") or {}) > 1 else "classifier"
        caption = (
            f"{sentence(result)} The features are {', '.join(d['features'])}. Top left: scores of rows that the "
            f"{which} had not seen; where the points leave the filled line, it found a difference. Top right: the ROC "
            "curve minus its diagonal; zero everywhere means indistinguishable. Bottom left: AUC of each fold, and the "
            "same test of reference against reference. Bottom right: what the "
            f"{which} relied on. {events(result)}"
        )
        if d["signed_training"]:
            caption += " Weights are signed: training took regressed positive weights, and the signed ones judge."
        figure = classifier_figure(result, bound=bound_of(content, result, result.main), label=content.label)
        yield Entry(SECTION, slug("classifier", result.on), caption, figure)
