"""Requirements on metrics, and the verdict that they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from scipy.stats import norm

from parhelion.errors import ConfigError
from parhelion.evaluation.results.result import Bin, MetricResult, Quantity, plain

Status = Literal["pass", "fail", "cannot tell"]


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
    bins
        ``every``: the bound is on the difference in each bin of the metric, without its sign, instead of a quantity.
    max, min
        Bounds in the quantity's unit, both allowed; at least one is needed. A value on the bound is within.
    confidence
        Probability with which pass and fail are meant, one-sided, normal. Where a value is closer to its bound than
        that, the sample cannot tell. 0.5: the value itself is held against the bound.
    """

    metric: str
    on: str | None = None
    quantity: str | None = None
    bins: Literal["every"] | None = None
    max: float | None = None
    min: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Check that the bound is one."""
        if self.max is None and self.min is None:
            msg = f"requirement on {self.metric}: neither max nor min is given; give the bound"
            raise ConfigError(msg)
        if self.max is not None and self.min is not None and self.min > self.max:
            msg = f"requirement on {self.metric}: min {self.min:g} is above max {self.max:g}"
            raise ConfigError(msg)
        if not 0.5 <= self.confidence < 1:
            msg = f"requirement on {self.metric}: confidence {self.confidence:g}, expected 0.5 to below 1"
            raise ConfigError(msg)
        if self.bins is not None and (self.quantity is not None or self.min is not None):
            msg = f"requirement on {self.metric}: bins take the bound max alone; remove quantity and min"
            raise ConfigError(msg)


@dataclass(frozen=True)
class Outcome:
    """What one requirement found.

    Attributes
    ----------
    requirement
        The requirement, with `on` and `quantity` filled in.
    found
        The quantity; with ``bins``, that of the bin that decides.
    status
        ``pass``: within the bounds at the confidence asked for. ``fail``: outside, even without what finite samples
        alone make (see `Quantity.limit`). ``cannot tell``: neither, or not computable from these samples.
    events_needed
        Where the sample cannot tell: about how many rows of the reference would decide, if the errors fall with their
        square root and the true value is the best estimate from this sample. None where that is not known.
    where
        With ``bins``, the bin that decides.
    reason
        Why there is no number, where the metric knows it.
    """

    requirement: Requirement
    found: Quantity
    status: Status
    events_needed: int | None = None
    where: str = ""
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the requirement is met."""
        return self.status == "pass"

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        r, q = self.requirement, self.found
        unit = f" {q.unit}" if q.unit else ""
        bounds = [f"at least {r.min:g}"] if r.min is not None else []
        bounds += [f"at most {r.max:g}"] if r.max is not None else []
        sure = f" at {100 * r.confidence:g} % confidence" if r.confidence > 0.5 else ""
        null = f", null {_pm(q.null, q.null_error)}" if math.isfinite(q.null) else ""
        verb = {"pass": "passes", "fail": "fails", "cannot tell": "cannot be told"}[self.status]
        what = r.quantity if r.bins is None else f"the difference at {self.where}"
        if not math.isfinite(q.value):
            why = self.reason or "from these samples"
            return f"{r.metric} ({r.on}) {verb}: {what} could not be computed{': ' if self.reason else ' '}{why}"
        more = f"; about {self.events_needed:,} rows would decide" if self.events_needed is not None else ""
        return (
            f"{r.metric} ({r.on}) {verb}: {what} is {_pm(q.value, q.error)}{unit}{null}; "
            f"required {' and '.join(bounds)}{sure}{more}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        r = self.requirement
        return {
            "metric": r.metric,
            "on": r.on,
            "quantity": r.quantity,
            "bins": r.bins,
            **self.found.to_dict(),
            "min": plain(r.min),
            "max": plain(r.max),
            "confidence": r.confidence,
            "status": self.status,
            **({"reason": self.reason} if self.reason else {}),
            "passed": self.passed,
            "events_needed": self.events_needed,
            "where": self.where,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Verdict:
    """Outcomes of all requirements. Without requirements there is nothing to fail."""

    outcomes: tuple[Outcome, ...]

    @property
    def status(self) -> Status:
        """``fail`` if one requirement fails, else ``cannot tell`` if the sample cannot tell one, else ``pass``."""
        found = {outcome.status for outcome in self.outcomes}
        return "fail" if "fail" in found else "cannot tell" if "cannot tell" in found else "pass"

    @property
    def passed(self) -> bool:
        """Whether every requirement passed."""
        return self.status == "pass"

    @property
    def exit_code(self) -> int:
        """Exit code of a command that judged: 0 for pass, 1 for fail, 3 where the sample cannot tell."""
        return {"pass": 0, "fail": 1, "cannot tell": 3}[self.status]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            "status": self.status,
            "passed": self.passed,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }


def judge(results: Sequence[MetricResult], requirements: Sequence[Requirement], *, seen: Sequence[str] = ()) -> Verdict:
    """Hold results against requirements.

    Parameters
    ----------
    results
        What the metrics found.
    requirements
        The bounds. One without `on` gives an outcome for each result of its metric.
    seen
        Fields that the training's loss compared (statistics enforced by auxiliary terms). What the loss has seen does
        not count as a test.

    Raises
    ------
    ConfigError
        A requirement names a metric, a thing it is on, a quantity or bins that no result has; the message says which
        exist. Or it is on nothing but what the loss has seen.
    """
    outcomes = []
    for requirement in requirements:
        for result in _matching(results, requirement):
            if result.fields and set(result.fields) <= set(seen):
                msg = (
                    f"requirement on {requirement.metric} ({result.on}): the training's loss has seen "
                    f"{', '.join(result.fields)}, so this is no test; require a statistic that was left out of the loss"
                )
                raise ConfigError(msg)
            outcomes.append(_in_bins(result, requirement) if requirement.bins else _of_quantity(result, requirement))
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


def _of_quantity(result: MetricResult, requirement: Requirement) -> Outcome:
    name = requirement.quantity or result.main
    found = result.quantity(name)
    filled = replace(requirement, on=result.on, quantity=name)
    status, factor = _decide(found, filled, filled.confidence)
    reasons = result.details.get("reasons")
    reason = str(reasons.get(name, "")) if isinstance(reasons, dict) else ""
    return Outcome(filled, found, status, _rows(result, factor), reason=reason)


def _in_bins(result: MetricResult, requirement: Requirement) -> Outcome:
    """Hold every bin against the bound.

    All must be within, so each may be tested at the confidence itself; one outside is enough to fail, so there the
    confidence is Bonferroni's for as many bins.
    """
    if not result.bins:
        msg = f"requirement on {result.name} ({result.on}): there are no bins; put the bound on a quantity"
        raise ConfigError(msg)
    filled = replace(requirement, on=result.on)
    strict = 1 - (1 - filled.confidence) / len(result.bins)
    decided: list[tuple[Bin, Quantity, Status, float | None]] = []
    for part in result.bins:
        found = Quantity(abs(part.difference), part.error)
        status, factor = _decide(found, filled, filled.confidence)
        if status == "fail":
            status, factor = _decide(found, filled, strict)
        decided.append((part, found, status, factor))
    order = {"fail": 2, "cannot tell": 1, "pass": 0}
    # Of several bins that cannot tell, the one that needs most rows decides how many are needed.
    part, found, status, factor = max(
        decided, key=lambda d: (order[d[2]], d[3] or 0.0 if d[2] == "cannot tell" else d[1].value)
    )
    return Outcome(filled, found, status, _rows(result, factor), part.label)


def _decide(found: Quantity, requirement: Requirement, confidence: float) -> tuple[Status, float | None]:
    """Status, and where the sample cannot tell, the factor by which it would have to grow."""
    if not math.isfinite(found.value):
        return "cannot tell", None
    z = float(norm.ppf(confidence))
    slack = 0.0 if z == 0 else z * found.error
    if not math.isfinite(slack):
        return "cannot tell", None
    sides = []
    if requirement.max is not None:
        sides.append(_below(found.value, requirement.max, slack, found.excess if z else 0.0))
    if requirement.min is not None:
        sides.append(_below(-found.value, -requirement.min, slack, 0.0))
    for wanted in ("fail", "cannot tell"):
        for status, factor in sides:
            if status == wanted:
                return status, factor
    return "pass", None


def _below(value: float, bound: float, slack: float, excess: float) -> tuple[Status, float | None]:
    """Whether the truth behind a value is at most the bound; `excess` is what finite samples add to the value."""
    if value + slack <= bound:
        return "pass", None
    truth = value - excess
    if truth - slack > bound:
        return "fail", None
    distance = bound - truth
    if distance == 0:
        return "cannot tell", None
    # Error and excess both fall with the root of the number of rows; to fail, the excess need not be within.
    span = slack + excess if distance > 0 else slack
    return "cannot tell", max((span / distance) ** 2, 1.0)


def _rows(result: MetricResult, factor: float | None) -> int | None:
    rows = result.details.get("rows")
    if factor is None or not isinstance(rows, dict):
        return None
    needed = factor * float(rows["reference"])
    # Two digits are more than such an extrapolation is worth; beyond 10^15 rows it says nothing.
    return int(float(f"{needed:.2g}")) if needed < 1e15 else None


def _pm(value: float, error: float) -> str:
    if not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = min(max(0, 1 - math.floor(math.log10(error))), 9)
    return f"{value:.{digits}f} +- {error:.{digits}f}"
