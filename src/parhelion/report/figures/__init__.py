"""Figures of a report: pure functions from metric results to matplotlib figures."""

from __future__ import annotations

from parhelion.report.figures.classifier import classifier_figure
from parhelion.report.figures.curves import efficiency_figure
from parhelion.report.figures.distributions import distribution_figure
from parhelion.report.figures.maps import auc_map_figure, correlation_figure
from parhelion.report.figures.structure import structure_figure
from parhelion.report.figures.training import training_figure

__all__ = [
    "auc_map_figure",
    "classifier_figure",
    "correlation_figure",
    "distribution_figure",
    "efficiency_figure",
    "structure_figure",
    "training_figure",
]
