"""Metrics on observables: what is compared is what analyses see, unless a metric asks for the responses themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from parhelion.evaluation import MetricResult, evaluate, thin_both
from parhelion.observables import Observables, add_observables, observe, observed
from parhelion.sample import Sample


@dataclass(frozen=True)
class OnResponse:
    """Options of a metric that compares the responses (cells of a shower) although observables are given."""

    options: Any


def evaluate_observed(
    reference: Sample,
    generated: Sample,
    metrics: Sequence[tuple[str, Any]],
    sets: Sequence[Observables],
    *,
    seed: int,
    train: Sample | None = None,
    max_rows: int | None = None,
) -> list[MetricResult]:
    """Compute metrics on observables and on responses, see `parhelion.evaluation.evaluate`.

    With sets of observables these take the place of the responses, which become extra fields: metrics without a choice
    of fields compare all observables. Metrics whose options are `OnResponse` see the responses instead, with the
    observables as extra fields. A result on all observables says so in `on`.

    Parameters
    ----------
    reference, generated, train, seed, max_rows
        As in `evaluate`; observables are computed here.
    metrics
        Keys with options, in the order of the results.
    sets
        Sets of observables built for the samples' fields; none: everything is as in `evaluate`.

    Raises
    ------
    ConfigError, DataError
        As in `evaluate`, or an observable cannot be computed.
    """
    plain = [(name, o.options if isinstance(o, OnResponse) else o) for name, o in metrics]
    if not sets:
        return evaluate(reference, generated, plain, seed=seed, train=train, max_rows=max_rows)
    ours, theirs = (add_observables(sample, sets) for sample in thin_both(reference, generated, max_rows, seed))
    known = None if train is None else add_observables(train, sets)
    seen = [observe(s, observed(given.schema, sets)) for s, given in ((ours, reference), (theirs, generated))]
    learned = None if known is None or train is None else observe(known, observed(train.schema, sets))
    names = tuple(field.name for chosen in sets for field in chosen.fields)
    results: list[MetricResult] = []
    for (_, given), entry in zip(metrics, plain, strict=True):
        if isinstance(given, OnResponse):
            results += evaluate(ours, theirs, [entry], seed=seed, train=known)
            continue
        found = evaluate(seen[0], seen[1], [entry], seed=seed, train=learned)
        results += [replace(r, on=r.on.replace("responses", "observables"), fields=r.fields or names) for r in found]
    return results
