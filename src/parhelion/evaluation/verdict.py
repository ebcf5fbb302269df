"""Requirements on metrics, and the verdict that they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parhelion.errors import ConfigError
from parhelion.evaluation.result import MetricResult, Quantity, plain


@dataclass(frozen=True)
class Requirement:
    """A bound on a quantity of a metric.

    Attributes
    ----------
    metric
        Key of the metric.
    on
        What the bound is on, as in `MetricResult.on`; every result of the metric if None.
    quantity
        Name of the quantity; the metric's main one if None.
    max, min
        Bounds in the quantity's unit, both allowed; at least one is needed. A value on the bound is within.
    confidence
        None: the value itself must be within the bounds. A probability: the value must be within them even when it is
        moved towards the bound by as many standard errors as a one-sided normal interval of this confidence has.
    """

    metric: str
    on: str | None = None
    quantity: str | None = None
    max: float | None = None
    min: float | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Check that the bound is one."""
        if self.max is None and self.min is None:
            msg = f"requirement on {self.metric}: neither max nor min is given; give the bound"
            raise ConfigError(msg)
        if self.max is not None and self.min is not None and self.min > self.max:
            msg = f"requirement on {self.metric}: min {self.min:g} is above max {self.max:g}"
            raise ConfigError(msg)
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            msg = f"requirement on {self.metric}: confidence {self.confidence:g}, expected 0.5 to below 1"
            raise ConfigError(msg)


@dataclass(frozen=True)
class Outcome:
    """What one requirement found.

    Attributes
    ----------
    requirement
        The requirement, with `on` and `quantity` filled in.
    found
        The quantity.
    passed
        Whether the quantity is within the bounds. A value that is not a number never is.
    """

    requirement: Requirement
    found: Quantity
    passed: bool

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        r, q = self.requirement, self.found
        unit = f" {q.unit}" if q.unit else ""
        bounds = [f"at least {r.min:g}"] if r.min is not None else []
        bounds += [f"at most {r.max:g}"] if r.max is not None else []
        sure = f" at {100 * r.confidence:g} % confidence" if r.confidence is not None else ""
        null = f", null {_pm(q.null, q.null_error)}" if math.isfinite(q.null) else ""
        verb = "passes" if self.passed else "fails"
        if not math.isfinite(q.value):
            return f"{r.metric} ({r.on}) fails: {r.quantity} could not be computed from these samples"
        return (
            f"{r.metric} ({r.on}) {verb}: {r.quantity} is {_pm(q.value, q.error)}{unit}{null}; "
            f"required {' and '.join(bounds)}{sure}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        r = self.requirement
        return {
            "metric": r.metric,
            "on": r.on,
            "quantity": r.quantity,
            **self.found.to_dict(),
            "min": plain(r.min),
            "max": plain(r.max),
            "confidence": r.confidence,
            "passed": self.passed,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Verdict:
    """Outcomes of all requirements; it passes if every one does. Without requirements there is nothing to fail."""

    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every requirement passed."""
        return all(outcome.passed for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {"passed": self.passed, "outcomes": [outcome.to_dict() for outcome in self.outcomes]}


def judge(results: Sequence[MetricResult], requirements: Sequence[Requirement]) -> Verdict:
    """Hold results against requirements.

    Parameters
    ----------
    results
        What the metrics found.
    requirements
        The bounds. One without `on` gives an outcome for each result of its metric.

    Raises
    ------
    ConfigError
        A requirement names a metric, a thing it is on, or a quantity that no result has; the message says which exist.
    """
    outcomes = []
    for requirement in requirements:
        for result in _matching(results, requirement):
            name = requirement.quantity or result.main
            quantity = result.quantity(name)
            filled = Requirement(
                requirement.metric, result.on, name, requirement.max, requirement.min, requirement.confidence
            )
            outcomes.append(Outcome(filled, quantity, _within(quantity, filled)))
    return Verdict(tuple(outcomes))


def _matching(results: Sequence[MetricResult], requirement: Requirement) -> list[MetricResult]:
    same = [result for result in results if result.name == requirement.metric]
    if not same:
        known = ", ".join(dict.fromkeys(result.name for result in results)) or "none"
        msg = f"requirement on {requirement.metric}: this metric was not computed; there are {known}"
        raise ConfigError(msg)
    found = [result for result in same if requirement.on in (None, result.on)]
    if not found:
        known = "; ".join(result.on for result in same)
        msg = f"requirement on {requirement.metric}: nothing is called '{requirement.on}'; there are {known}"
        raise ConfigError(msg)
    return found


def _within(quantity: Quantity, requirement: Requirement) -> bool:
    value, slack = quantity.value, 0.0
    if requirement.confidence is not None:
        from scipy.stats import norm

        slack = float(norm.ppf(requirement.confidence)) * quantity.error
    # Comparisons with NaN are false, so a quantity that could not be computed fails.
    above = requirement.min is None or value - slack >= requirement.min
    below = requirement.max is None or value + slack <= requirement.max
    return bool(above and below and math.isfinite(value))


def _pm(value: float, error: float) -> str:
    if not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = min(max(0, 1 - math.floor(math.log10(error))), 9)
    return f"{value:.{digits}f} +- {error:.{digits}f}"
