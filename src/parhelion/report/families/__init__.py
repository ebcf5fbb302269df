"""Figures of the metric families, a module each; every module has ``entries(content)``, which yields its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from parhelion.evaluation.result import MetricResult
from parhelion.report.content import ReportContent
from parhelion.report.entries import Entry
from parhelion.report.families import (
    amplification,
    classifier_weights,
    differential,
    distances,
    inference,
    neighbours,
    physics,
    posterior,
    tails,
)

Maker = Callable[[ReportContent], Iterable[Entry]]

# The page of each module's figures, and the function that makes them.
FAMILIES: Final[tuple[tuple[str, Maker], ...]] = (
    ("inference", inference.entries),
    ("physics", physics.entries),
    ("classifiers", classifier_weights.entries),
    ("distributions", differential.entries),
    ("distances", distances.entries),
    ("tails", tails.entries),
    ("neighbours", neighbours.entries),
    ("posterior", posterior.entries),
    ("neighbours", amplification.entries),
)


def usable_size_sentence(results: Sequence[MetricResult]) -> str:
    """How many events an analysis may take from the surrogate, in words; empty if that was not computed."""
    return inference.headline_sentence(results)
