"""Figures of a report, a module for each family of them; every module has ``entries(content)``, which yields them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry
from parhelion.report.families import (
    amplification,
    averages,
    classifier,
    classifier_weights,
    differential,
    distances,
    histograms,
    inference,
    neighbours,
    observables,
    physics,
    posterior,
    replicas,
    showers,
    tails,
    training,
)
from parhelion.report.pages import TRAINING

# The page of each module's figures, and the function that makes them; of one page in this order.
FAMILIES: Final[tuple[tuple[str, Callable[[ReportContent], Iterable[Entry]]], ...]] = (
    ("inference", inference.entries),
    ("physics", showers.entries),
    ("physics", observables.entries),
    ("physics", physics.entries),
    ("classifiers", classifier.entries),
    ("classifiers", classifier_weights.entries),
    ("distributions", averages.entries),
    ("distributions", histograms.entries),
    ("distributions", differential.entries),
    ("distances", distances.entries),
    ("tails", tails.entries),
    ("neighbours", neighbours.entries),
    ("neighbours", amplification.entries),
    ("posterior", posterior.entries),
    ("model", replicas.entries),
    (TRAINING, training.entries),
)
