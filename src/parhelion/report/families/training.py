"""Figures of the training: its curves, and the mass fits that gave its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry, slug
from parhelion.report.figures import training_figure
from parhelion.report.figures.arrays import measured
from parhelion.report.style import greek

TRAINING: Final = "Training curves"
MASS_FITS: Final = "Mass fits and sWeights"


def entries(content: ReportContent) -> Iterator[Entry]:
    """Figures of the training log and of the mass fits."""
    yield from _curves(content)
    yield from _mass_fits(content)


def _curves(content: ReportContent) -> Iterator[Entry]:
    if not content.curves:
        return
    caption = "What was logged during training, against the optimisation step; pale lines are single records."
    validation = content.curves.get("validation")
    if validation is not None and np.isfinite(validation.value).any():
        best = int(np.nanargmin(validation.value))
        caption += f" Smallest validation metric: {measured(validation.value[best])} at step {validation.step[best]:,}."
    if "validation_null" in content.curves:
        caption += " The dashed grey line is its null, reference against reference."
    yield Entry(TRAINING, "training", caption, training_figure(content.curves, label=content.label))


def _mass_fits(content: ReportContent) -> Iterator[Entry]:
    for name, fit in content.mass_fits.items():
        from parhelion.report.figures.sweights import sweight_figure
        from parhelion.report.mass import mass_figure

        signal = measured(fit.yields["signal"], fit.yield_errors["signal"])
        caption = (
            f"Extended maximum-likelihood fit of the mass spectrum of {name}: {fit.rows:,} rows in the window, signal "
            f"yield {signal}. Lower panel: (data − fit) / √fit."
        )
        figure = mass_figure(fit, title=greek(name), unit=content.mass_unit)
        yield Entry(MASS_FITS, slug("mass_fit", name), caption, figure)
        caption = (
            f"sWeight of the signal of {name} against the mass, from this fit: negative where background dominates, so "
            "that weighted sums over all rows are sums over signal alone."
        )
        figure = sweight_figure(fit, title=name, unit=content.mass_unit, label=content.label)
        yield Entry(MASS_FITS, slug("sweight", name), caption, figure)
