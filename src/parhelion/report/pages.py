"""The pages of a report: one for each family of metrics, in the order of what they prove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Page:
    """A page of a report.

    Attributes
    ----------
    key
        Its anchor; for metrics the family of the registry.
    title
        Its heading, and its name in the navigation.
    question
        What its figures and numbers answer, in one sentence.
    """

    key: str
    title: str
    question: str


OTHER: Final = "other"
TRAINING: Final = "training"
PAGES: Final = (
    Page(
        "inference",
        "Inference",
        "Would an analysis measure the same with generated events as with the simulation, and up to how many events?",
    ),
    Page(
        "physics",
        "Physics",
        "Do the quantities that analyses use agree: separations, efficiencies, correlations, exact equalities?",
    ),
    Page(
        "classifiers",
        "Classifiers",
        "Can a classifier that sees all observables at once tell generated from reference rows?",
    ),
    Page("distributions", "Distributions", "Does each observable, alone and by category, have the same distribution?"),
    Page("distances", "Distances", "How far apart are the two samples as a whole?"),
    Page("tails", "Tails", "Are rare values as frequent as in the reference, beyond what training has seen?"),
    Page(
        "neighbours",
        "Neighbours",
        "Do generated rows lie where reference rows lie, everywhere, without repeating rows of the training?",
    ),
    Page("posterior", "Posteriors", "Do the probabilities that the surrogate states come true as often as it says?"),
    Page("model", "Model", "How much of what is generated is the surrogate's own guess, and what is it worth?"),
    Page(OTHER, "Other metrics", "What do the metrics that belong to no family find?"),
    Page(TRAINING, "Training", "What was trained, and how did it go?"),
)
# Results that no metric of the registry makes: they come with many surrogates.
_BESIDE: Final = {"ensemble": "inference", "replicas": "model"}
ORDER: Final = {page.key: position for position, page in enumerate(PAGES)}


def page_of(metric: str) -> str:
    """Key of the page on which a metric's results stand: its family in the registry."""
    from parhelion.evaluation import METRICS

    family = METRICS[metric].family if metric in METRICS else _BESIDE.get(metric, OTHER)
    return family if family in ORDER else OTHER
