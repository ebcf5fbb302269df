"""Usable sample size: how many generated events an analysis may use before the surrogate biases its parameter.

An analysis of n events that takes the surrogate for the truth finds its parameter wrong by b, to first order
b = I^-1 (E_ref[s] - E_gen[s]) = I^-1 E_gen[(w - 1) s] with the score s, its information I and w = p_ref / p_gen: a
difference that is orthogonal to the score does no harm, however visible it is. The statistical error is (n I)^-1/2, so
the bias stays below a share t of it up to

    n_max = t^2 / (b^2 I) = t^2 / beta^2,    beta = b sqrt(I).

A finite test sample knows beta with an error sigma. |beta| < |measured beta| + z sigma holds with the confidence of z
(one-sided) for every true beta, which makes n_max >= t^2 / (|beta| + z sigma)^2 a lower limit. With no bias at all that
is t^2 / (z sigma)^2: a test sample certifies no more than its own size allows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import norm

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.inference.parameters import (
    FOLDS,
    NAME,
    Measured,
    Parameter,
    biases_by_ratio,
    default_parameters,
    measure,
)
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null, tail_probability
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ALL = "all parameters"
LARGEST = 1e15


@dataclass(frozen=True)
class UsableSizeOptions:
    """Options of `usable_size`.

    Attributes
    ----------
    parameters
        What analyses measure; mean and width of every scalar response that is no category if empty.
    by
        Category condition: without declared parameters, mean and width for each of its values as well.
    tolerance
        Largest bias, as a share of the statistical error.
    confidence
        Of the lower limit.
    ratio
        Compute each bias a second time with the density ratio of boosted trees (``bias_by_ratio`` in the details).
        They see conditions and scalar responses, and find less than there is where they are too weak.
    replicas
        Draws of the null.
    """

    parameters: tuple[Parameter, ...] = ()
    by: str | None = None
    tolerance: float = 0.2
    confidence: float = 0.95
    ratio: bool = False
    replicas: int = 200

    def __post_init__(self) -> None:
        """Check ranges and names."""
        if self.replicas < 20 or not self.tolerance > 0 or not 0.5 < self.confidence < 1:
            msg = (
                f"metric {NAME}: replicas {self.replicas}, tolerance {self.tolerance:g}, confidence "
                f"{self.confidence:g}; expected at least 20, above 0, and above 0.5 and below 1"
            )
            raise ConfigError(msg)
        titles = [parameter.title for parameter in self.parameters]
        doubled = sorted({title for title in titles if titles.count(title) > 1 or title == ALL})
        if doubled:
            msg = f"metric {NAME}: two parameters are called '{doubled[0]}'; give one another name"
            raise ConfigError(msg)


@dataclass(frozen=True)
class UsableEvents:
    """Usable numbers of events.

    Attributes
    ----------
    central
        By the measured bias as it is; a bias that is a fluctuation makes it anything up to `LARGEST`.
    limit
        Lower limit at the confidence asked for.
    best
        The limit that this sample would give if no bias were measured.
    """

    central: float
    limit: float
    best: float


def usable_events(
    beta: float, error: float, null_error: float | None = None, *, tolerance: float = 0.2, confidence: float = 0.95
) -> UsableEvents:
    """Turn a bias into numbers of events (see the module's text).

    Parameters
    ----------
    beta, error
        Bias in units of the statistical error of one event, b sqrt(I), and its standard error.
    null_error
        The standard error if there is no bias; `error` if not given.
    tolerance
        Largest bias, as a share of the statistical error.
    confidence
        Of the lower limit, one-sided.
    """
    z = float(norm.ppf(confidence))
    expected = error if null_error is None else null_error
    central, limit, best = _events(np.array([abs(beta), abs(beta) + z * error, z * expected]), tolerance)
    return UsableEvents(float(central), float(limit), float(best))


def _events(size: FloatArray, tolerance: float) -> FloatArray:
    """Events at which a bias of this size, in errors of one event, reaches the tolerance; shape of `size`."""
    found: FloatArray = np.minimum((tolerance / np.maximum(size, 1e-9 * tolerance)) ** 2, LARGEST)
    return found


def usable_size(reference: Sample, generated: Sample, options: UsableSizeOptions, *, seed: int) -> list[MetricResult]:
    """Number of generated events that an analysis may use, parameter by parameter.

    A parameter is estimated on both samples in the same way (see `estimates`); b is the estimate on the reference minus
    that on the generated sample, the shift of a fit whose model is the surrogate. ``mean``, ``width`` and ``fraction``
    are measured directly. Scores that have to be learned (``template``: boosted trees; ``shift`` and ``scale``: a
    kernel estimate) come from the reference alone, on one half of the groups for use on the other; any error of
    theirs makes the parameter less precise and leaves b a consistent bias of the analysis that uses them. ``template``
    holds the shares of the categories fixed, since they are conditions. 1 / I is the variance per event of weight 1 in
    the reference, so the numbers are events of weight 1 whatever the weights of the test sample.

    Errors: influence functions of b and of I, summed over groups of both samples, so that what paired rows share
    cancels. Null: random exchange of the two responses (paired) or random halves (not paired), see `comparison`. The
    p-values are those of a bias at least as large in absolute value, or as harmful. The first order holds where b is
    small against the spread of the field.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `UsableSizeOptions`.
    seed
        Seed of folds, trees and null.

    Returns
    -------
    list of MetricResult
        First "all parameters", the parameter with the smallest limit, then one for each parameter. Quantities:
        `usable` (main; the lower limit, events, at most 1e15, larger is better; its null is the limit without a bias),
        `bias_over_error` (|b| over the statistical error of the reference's effective number of rows) and `bias` (b in
        the parameter's unit). Details: ``parameter``, ``kind``, ``field``, ``unit``, ``bias``, ``bias_error``,
        ``information`` (of an event), ``event_error``, ``central``, ``limit``, ``best`` (see `UsableEvents`),
        ``tolerance``, ``confidence``, and with the option ``ratio`` ``bias_by_ratio`` with its ``_error``; for all
        parameters also ``parameters`` (their titles) with ``centrals``, ``limits``, ``bests``, ``p_values`` in the same
        order, and ``left_out`` (mean or width of responses that cannot be measured: constant ones).

    Raises
    ------
    ConfigError
        An option names an unknown field or category, a condition, or a field copied from the reference.
    DataError
        A parameter cannot be measured: a constant field, a cut that all or no rows pass, too few signed weights.
    """
    comparison = compare(reference, generated)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(comparison.groups, dtype=np.int64) % FOLDS)
    measured, left_out = _measure_all(comparison, options, fold, seed)
    columns = [
        np.stack([getattr(m, side).influence / m.event_error for m in measured], axis=1)
        for side in ("reference", "generated")
    ]
    spreads = np.stack([m.reference.variance_influence / m.reference.variance for m in measured], axis=1)
    # Influence is generated minus reference; beta is reference minus generated.
    null_influence = Influence(comparison, *(sparse.csr_matrix(-c) for c in columns))
    null = null_influence.null(options.replicas, rng)
    null_error = null_influence.error()
    beta = np.array([m.beta for m in measured])
    full = (sparse.csr_matrix(-columns[0] + 0.5 * beta * spreads), sparse.csr_matrix(-columns[1]))
    error = Influence(comparison, *full).error()
    ratios = biases_by_ratio(comparison, measured, fold, seed) if options.ratio else [None] * len(measured)
    results = [
        _result(comparison, options, m, error[k], null_error[k], null[:, k], ratios[k]) for k, m in enumerate(measured)
    ]
    return [_worst(results, options, beta, error, null_error, null, left_out), *results]


def _measure_all(
    comparison: Comparison, options: UsableSizeOptions, fold: IntArray, seed: int
) -> tuple[list[Measured], list[str]]:
    if options.parameters:
        return [measure(comparison, p, fold, seed) for p in options.parameters], []
    measured, left_out = [], []
    for parameter in default_parameters(comparison.reference, options.by):
        try:
            measured.append(measure(comparison, parameter, fold, seed))
        except DataError:
            left_out.append(parameter.title)
    if not measured:
        msg = (
            f"metric {NAME}: there is no scalar response whose mean or width these rows measure; take more rows, "
            "declare parameters, or take the metric out"
        )
        raise ConfigError(msg)
    return measured, left_out


def _result(
    comparison: Comparison,
    options: UsableSizeOptions,
    measured: Measured,
    error: float,
    null_error: float,
    null: FloatArray,
    ratio: tuple[float, float] | None,
) -> MetricResult:
    beta, scale = measured.beta, measured.event_error
    found = usable_events(beta, error, null_error, tolerance=options.tolerance, confidence=options.confidence)
    root = float(np.sqrt(comparison.reference.weights.effective))
    p_value = tail_probability(abs(beta), np.abs(null))
    field = measured.parameter.field
    return MetricResult(
        name=NAME,
        on=measured.parameter.title,
        main="usable",
        quantities={
            "usable": _usable(found.limit, beta, error, _limits(null, null_error, options), p_value, options),
            "bias_over_error": against_null(abs(beta) * root, error * root, np.abs(null) * root),
            "bias": Quantity(measured.bias, null_error * scale, 0.0, null_error * scale, p_value, measured.unit),
        },
        details={
            **comparison.describe(),
            "parameter": measured.parameter.title,
            "kind": measured.parameter.kind,
            "field": field,
            "unit": measured.unit,
            "bias": measured.bias,
            "bias_error": null_error * scale,
            "information": 1.0 / measured.reference.variance,
            "event_error": scale,
            "central": found.central,
            "limit": found.limit,
            "best": found.best,
            "tolerance": options.tolerance,
            "confidence": options.confidence,
            **({} if ratio is None else {"bias_by_ratio": ratio[0], "bias_by_ratio_error": ratio[1]}),
            "caption": (
                f"An analysis that measures the {measured.parameter.title} may use {rounded(found.limit)} "
                f"generated events before the surrogate's bias exceeds {options.tolerance:g} of its statistical error "
                f"({100 * options.confidence:g} % lower limit)."
            ),
        },
        fields=(field,),
    )


def _limits(null: FloatArray, null_error: FloatArray | float, options: UsableSizeOptions) -> FloatArray:
    """Draws of the limit in the null."""
    return _events(np.abs(null) + float(norm.ppf(options.confidence)) * null_error, options.tolerance)


def _usable(
    limit: float, beta: float, error: float, null: FloatArray, p_value: float, options: UsableSizeOptions
) -> Quantity:
    reach = abs(beta) + float(norm.ppf(options.confidence)) * error
    # The limit changes with beta as -2 / reach.
    spread = 2 * limit * error / reach if reach > 0 else 0.0
    return Quantity(limit, spread, float(np.mean(null)), float(np.std(null, ddof=1)), p_value, "events")


def _worst(
    results: list[MetricResult],
    options: UsableSizeOptions,
    beta: FloatArray,
    error: FloatArray,
    null_error: FloatArray,
    null: FloatArray,
    left_out: list[str],
) -> MetricResult:
    """The parameter with the smallest limit; the smallest of lower limits is one for the smallest number too."""
    k = int(np.argmin([r.value for r in results]))
    worst = results[k]
    draws = _limits(null, null_error, options).min(axis=1)
    # As harmful as measured is a limit that is no larger.
    p_value = tail_probability(-worst.value, -draws)
    rows = worst.details["effective"]["reference"]
    sizes = np.abs(null).max(axis=1) * np.sqrt(rows)
    largest = results[int(np.argmax(np.abs(beta)))].quantity("bias_over_error")
    fields = tuple(dict.fromkeys(name for r in results for name in r.fields))
    details: dict[str, Any] = {
        **worst.details,
        "parameters": [r.on for r in results],
        "centrals": [r.details["central"] for r in results],
        "limits": [r.details["limit"] for r in results],
        "bests": [r.details["best"] for r in results],
        "p_values": [r.p_value for r in results],
        "left_out": left_out,
        "caption": (
            f"Usable sample size of {len(results)} parameters; the smallest is that of the "
            f"{worst.on}: {rounded(worst.value)} events."
        ),
    }
    return MetricResult(
        name=NAME,
        on=ALL,
        main="usable",
        quantities={
            "usable": _usable(worst.value, beta[k], error[k], draws, p_value, options),
            "bias_over_error": against_null(largest.value, largest.error, sizes),
            # The worst of several: by itself it would be found too often.
            "bias": replace(worst.quantity("bias"), p_value=p_value),
        },
        details=details,
        fields=fields,
    )


def rounded(events: float) -> str:
    """A number of events with two digits, rounded down: ``740``, ``12,000``, ``1.2e6``, ``more than 1e15``."""
    if events >= LARGEST:
        return f"more than {LARGEST:.0e}".replace("+", "")
    if events < 1:
        return "less than 1"
    power = max(int(np.floor(np.log10(events))) - 1, 0)
    digits = int(events / 10**power)
    if power < 5:
        return f"{digits * 10**power:,}"
    return f"{digits / 10:.1f}e{power + 1}"


METRIC = Metric(NAME, UsableSizeOptions, usable_size, ("usable", "bias_over_error", "bias"), "inference")
