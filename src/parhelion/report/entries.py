"""One figure of a report with its caption, and what captions are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parhelion.evaluation.results.result import MetricResult
from parhelion.evaluation.results.verdict import Requirement
from parhelion.report.content import ReportContent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Entry:
    """One figure of a report.

    Attributes
    ----------
    section
        Heading under which it stands.
    name
        File name without suffix, unique in a report.
    caption
        What is shown, on how many events, and how to read it; plain text.
    figure
        The figure.
    table
        Rows of text, the header first, shown below the figure; empty for none.
    about
        Observables and categories that it shows, by which a reader selects figures. If empty, the observables that
        its caption names; a figure that names none is always shown.
    page
        Key of the page it stands on; makers leave it to the registry of `parhelion.report.families`.
    """

    section: str
    name: str
    caption: str
    figure: Figure
    table: Sequence[Sequence[str]] = ()
    about: Sequence[str] = ()
    page: str = ""


def named(content: ReportContent, metric: str) -> list[MetricResult]:
    """Results of one metric that have details to draw."""
    return [r for r in content.results if r.name == metric and r.details]


def grouped(results: Sequence[MetricResult], key: Callable[[MetricResult], Any]) -> list[list[MetricResult]]:
    """Results that share a key, in the order of their first ones."""
    groups: dict[Any, list[MetricResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return list(groups.values())


def bound_of(content: ReportContent, result: MetricResult, quantity: str) -> float | None:
    """Smallest upper bound that the requirements put on a quantity of a result.

    A bound on every bin is one on ``max``, the largest difference.
    """
    bounds = [r.max for r in _required(content, result, quantity) if r.max is not None]
    return min(bounds, default=None)


def least_of(content: ReportContent, result: MetricResult, quantity: str) -> float | None:
    """Largest lower bound that the requirements put on a quantity of a result."""
    bounds = [r.min for r in _required(content, result, quantity) if r.min is not None]
    return max(bounds, default=None)


def _required(content: ReportContent, result: MetricResult, quantity: str) -> list[Requirement]:
    outcomes = () if content.verdict is None else content.verdict.outcomes
    return [
        r
        for r in (o.requirement for o in outcomes)
        if (r.metric, r.on) == (result.name, result.on)
        and quantity in (r.quantity, "max" if r.bins == "every" else None)
    ]


def sentence(result: MetricResult) -> str:
    """What the result says of itself, with its full stop."""
    text = str(result.details.get("caption") or f"{result.name} on {result.on}").strip()
    return text if text.endswith(".") else f"{text}."


def events(*results: MetricResult) -> str:
    """Numbers of rows behind a figure; those of the largest result, which holds the others."""
    details = max((r.details for r in results), key=lambda d: int(d["rows"]["reference"]))
    rows, effective = details["rows"], details["effective"]
    parts = [
        f"{int(rows[side]):,} {side} rows (effective size {float(effective[side]):,.0f})"
        for side in ("reference", "generated")
    ]
    return f"{' and '.join(parts)}."


def slug(*parts: str) -> str:
    """File name made of some words."""
    return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(parts)).strip("_")
