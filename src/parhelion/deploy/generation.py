"""Generation: conditions in, responses out, in chunks, with noise keyed by the event and a guard on the domain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from parhelion.deploy.models import BoolArray, FloatArray, IntArray, Model, SingleArray, as_model, components
from parhelion.errors import ConfigError, DataError, DomainError
from parhelion.sample import Field, Sample, flatten, unflatten

if TYPE_CHECKING:
    from parhelion.surrogates import Surrogate

OutsidePolicy = Literal["refuse", "clamp", "flag"]

BATCH_ROWS = 16_384
OUTSIDE = Field("outside_domain", kind="integer")


def generate(
    surrogate: Surrogate | Model,
    conditions: Sample,
    *,
    seed: int,
    outside: OutsidePolicy = "refuse",
    batch_rows: int = BATCH_ROWS,
) -> Sample:
    """Generate a response for each row of conditions.

    The same (seed, event id) gives the same response, whatever the batch size, the order or the number of workers.

    Parameters
    ----------
    surrogate
        Trained surrogate, or a package.
    conditions
        Sample with the surrogate's condition fields; weights, ids, groups and other columns but the response are kept.
    seed
        Seed of the noise, 0 to 2^64 - 1.
    outside
        What to do with conditions outside the range that the surrogate saw: refuse all, clamp them to the range, or
        generate all the same and flag them. With clamp and flag, an integer column ``outside_domain`` says which. A
        category has no range to clamp to: one that the surrogate did not see is refused unless flagged.
    batch_rows
        Rows generated at once.

    Returns
    -------
    Sample
        Same rows with generated response, float32.

    Raises
    ------
    DomainError
        `outside` is "refuse" and a condition is outside, or it is "clamp" and a category is.
    DataError
        A condition field is missing or has another unit or shape, or the surrogate was not trained.
    ConfigError
        `outside` is none of the three, or `batch_rows` is below 1.
    """
    return _generate(as_model(surrogate), conditions, seed, outside, batch_rows, first_row=0)


def generate_stream(
    surrogate: Surrogate | Model,
    chunks: Iterable[Sample],
    *,
    seed: int,
    outside: OutsidePolicy = "refuse",
) -> Iterator[Sample]:
    """Generate chunk by chunk with bounded memory (see `generate`)."""
    model = as_model(surrogate)
    source, first_row = "", 0
    for chunk in chunks:
        if chunk.source != source:
            source, first_row = chunk.source, 0
        yield _generate(model, chunk, seed, outside, BATCH_ROWS, first_row)
        first_row += len(chunk)


def _generate(
    model: Model, conditions: Sample, seed: int, outside: OutsidePolicy, batch_rows: int, first_row: int
) -> Sample:
    require_policy(outside, batch_rows)
    schema = model.schema
    for field in schema.condition:
        require_field(field, conditions.schema.fields, conditions.source)
    matrix = flatten(conditions.columns, schema.condition, len(conditions))
    rows = np.arange(first_row, first_row + len(conditions))
    response, beyond = respond(
        model, matrix, conditions.event_id, rows,
        seed=seed, stage=0, outside=outside, batch_rows=batch_rows, source=conditions.source,
    )  # fmt: skip
    kept = [f for f in conditions.schema.fields if f.name not in {g.name for g in (*schema.fields, OUTSIDE)}]
    columns = {f.name: conditions.columns[f.name] for f in (*schema.condition, *kept)}
    columns.update(unflatten(response, schema.response))
    extra = tuple(kept)
    if outside != "refuse":
        columns[OUTSIDE.name] = beyond.astype(np.int64)
        extra = (*extra, OUTSIDE)
    return Sample.trusted(
        replace(schema, extra=extra),
        columns,
        conditions.weight,
        conditions.event_id,
        conditions.group,
        source=f"generated for {conditions.source}",
    )


def require_policy(outside: str, batch_rows: int) -> None:
    """Refuse options that are none.

    Raises
    ------
    ConfigError
        `outside` is none of the three, or `batch_rows` is below 1.
    """
    if outside not in get_args(OutsidePolicy) or batch_rows < 1:
        msg = f"generate: outside {outside!r}, batch_rows {batch_rows}; expected refuse, clamp or flag, and at least 1"
        raise ConfigError(msg)


def require_field(field: Field, given: Iterable[Field], source: str) -> None:
    """Refuse conditions that lack a field, or have it in another unit or shape.

    Raises
    ------
    DataError
        The field is missing, or differs.
    """
    found = {f.name: f for f in given}
    if field.name not in found:
        have = ", ".join(found)
        msg = f"{source}: condition {field.name} is missing; the columns are {have}"
        raise DataError(msg)
    there = found[field.name]
    if there.unit != field.unit or there.shape != field.shape:
        msg = (
            f"{source}: condition {there.title} has shape {there.shape} a row; the surrogate expects "
            f"{field.title} with shape {field.shape}, so convert it"
        )
        raise DataError(msg)


def respond(
    model: Model,
    condition: FloatArray,
    event_id: IntArray,
    rows: IntArray,
    *,
    seed: int,
    stage: int,
    outside: OutsidePolicy,
    batch_rows: int,
    source: str,
) -> tuple[SingleArray, BoolArray]:
    """Responses behind the guard.

    Parameters
    ----------
    model
        What answers.
    condition
        Shape (n, condition width), physical units.
    event_id
        Shape (n,), keys of the noise.
    rows
        Shape (n,), numbers of the rows in the source, for messages.
    seed, stage
        Seed and stage of the noise.
    outside, batch_rows
        As in `generate`.
    source
        Where the rows come from, for messages.

    Returns
    -------
    response : ndarray
        Shape (n, response width), float32.
    beyond : ndarray
        Shape (n,), rows outside the domain.

    Raises
    ------
    DomainError
        As in `generate`.
    DataError
        A response is not finite.
    """
    condition, beyond = _guard(model, condition, rows, source, outside)
    response = np.empty((len(condition), model.schema.response_width), dtype=np.float32)
    for start in range(0, len(condition), batch_rows):
        batch = slice(start, start + batch_rows)
        response[batch] = model.respond(condition[batch], model.noise(seed, event_id[batch], stage))
    if not np.isfinite(response).all():
        bad = int(np.argmin(np.isfinite(response).all(axis=1)))
        msg = f"{source}: the response to row {rows[bad]} (event id {event_id[bad]}) has NaN or infinity"
        raise DataError(msg)
    return response, beyond


def _guard(
    model: Model, matrix: FloatArray, numbers: IntArray, source: str, outside: OutsidePolicy
) -> tuple[FloatArray, BoolArray]:
    where = model.outside(matrix)
    rows: BoolArray = np.asarray(where.any(axis=1))
    if not rows.any():
        return matrix, rows
    fields = components(model.schema)
    category = np.array([f.kind == "category" for f in fields])
    # Only a category under clamp: it has no nearest value.
    refused = where if outside == "refuse" else where & category if outside == "clamp" else where & False
    if refused.any():
        row, column = (int(i) for i in np.argwhere(refused)[0])
        ways = "select such rows away, or use --outside flag (outside='flag')"
        if not category[column]:
            ways = f"check the column's unit, {ways} or clamp"
        msg = (
            f"{source}: {int(refused.any(axis=1).sum())} of rows {numbers[0]} to {numbers[-1]} lie "
            f"outside the domain that the surrogate saw, first {fields[column].name} in row {numbers[row]}: "
            f"{matrix[row, column]:g}, expected {model.allowed(column)}; {ways}"
        )
        raise DomainError(msg)
    return (model.clamp(matrix) if outside == "clamp" else matrix), rows
