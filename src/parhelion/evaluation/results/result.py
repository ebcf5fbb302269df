"""What a metric answers: quantities, each with its standard error and its null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parhelion.errors import ConfigError

NAN = float("nan")


@dataclass(frozen=True)
class Quantity:
    """One number that compares two samples.

    Attributes
    ----------
    value
        The number, in `unit`.
    error
        Its standard error.
    null
        Its expectation for reference against reference at the sizes at hand. Finite samples make it non-zero.
    null_error
        Spread (one standard deviation) of the number in the null.
    p_value
        Probability in the null of a number at least as large; None where no null distribution is known.
    unit
        Unit of value, error, null and null error; empty for a pure number.
    limit
        What the null goes to as the samples grow: 0 for a distance that finite samples make larger, 0.5 for an area
        under a curve. None where the null stays (a chi2 by its degrees of freedom) or is there already.
    """

    value: float
    error: float = NAN
    null: float = NAN
    null_error: float = NAN
    p_value: float | None = None
    unit: str = ""
    limit: float | None = None

    @property
    def excess(self) -> float:
        """How much of the value finite samples alone make, as far as it shrinks with more rows; not below 0."""
        if self.limit is None or not math.isfinite(self.null):
            return 0.0
        return max(self.null - self.limit, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON; a number that is not finite becomes None."""
        return {
            "value": plain(self.value),
            "error": plain(self.error),
            "null": plain(self.null),
            "null_error": plain(self.null_error),
            "p_value": plain(self.p_value),
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Bin:
    """Generated minus reference in one bin, with its standard error, in the unit of the result."""

    label: str
    difference: float
    error: float


@dataclass(frozen=True)
class MetricResult:
    """Answer of one metric on one thing.

    Attributes
    ----------
    name
        The metric's key in the registry.
    on
        What it was computed on: a field, a pair of species, a cut. Unique among the results of one metric.
    main
        The quantity that stands for the result.
    quantities
        All quantities by name; requirements can be put on each.
    details
        Curves, maps and histograms for the report, as plain lists, numbers and strings; the keys are given by
        the docstring of each metric.
    fields
        Responses and extra fields that the numbers compare; empty stands for all responses. A result all of whose
        fields the training's loss has seen is no test.
    bins
        Differences bin by bin, where the metric has bins that a requirement can be put on.
    """

    name: str
    on: str
    main: str
    quantities: Mapping[str, Quantity]
    details: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    bins: tuple[Bin, ...] = ()

    def __post_init__(self) -> None:
        """Check that the main quantity exists, and make the details plain."""
        self.quantity(self.main)
        object.__setattr__(self, "details", plain(self.details))

    def quantity(self, name: str | None = None) -> Quantity:
        """Quantity by name; the main one if no name is given.

        Raises
        ------
        ConfigError
            There is no such quantity.
        """
        key = self.main if name is None else name
        if key not in self.quantities:
            known = ", ".join(self.quantities)
            msg = f"metric {self.name}: no quantity {key}; choose one of {known}"
            raise ConfigError(msg)
        return self.quantities[key]

    @property
    def value(self) -> float:
        """Value of the main quantity."""
        return self.quantity().value

    @property
    def error(self) -> float:
        """Standard error of the main quantity."""
        return self.quantity().error

    @property
    def null(self) -> float:
        """Null value of the main quantity."""
        return self.quantity().null

    @property
    def null_error(self) -> float:
        """Spread of the main quantity in the null."""
        return self.quantity().null_error

    @property
    def p_value(self) -> float | None:
        """P-value of the main quantity."""
        return self.quantity().p_value

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON: the main quantity's numbers at the top, then all quantities, then details."""
        return {
            "name": self.name,
            "on": self.on,
            "main": self.main,
            **self.quantity().to_dict(),
            "fields": list(self.fields),
            "quantities": {key: q.to_dict() for key, q in self.quantities.items()},
            "details": self.details,
        }


def plain(value: Any) -> Any:
    """Turn arrays, tuples and numpy numbers into lists and numbers; a float that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
