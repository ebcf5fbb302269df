"""What is known of a metric before it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from parhelion.evaluation.results.result import MetricResult

Family = Literal[
    "inference", "classifiers", "distances", "distributions", "physics", "tails", "neighbours", "posterior", "model"
]


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Attributes
    ----------
    name
        Its key, and the name that study files use.
    options
        Frozen dataclass of its options, with defaults.
    compute
        Function of (reference, generated, options, *, seed) that returns one result for each thing compared; with
        `needs_train` or `uses_train`, of the keyword ``train``, the training sample, as well.
    quantities
        Names of the quantities that requirements can bound; the first is the main one.
    family
        Page of the report on which its results stand.
    needs_train
        Whether it compares with the rows that the surrogate learned from too.
    uses_train
        Whether it says more where these rows are known.
    """

    name: str
    options: type[Any]
    compute: Callable[..., list[MetricResult]]
    quantities: tuple[str, ...]
    family: Family
    needs_train: bool = False
    uses_train: bool = False
