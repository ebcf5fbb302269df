"""Generation: conditions in, responses out, in chunks, with noise keyed by the event and a guard on the domain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from parhelion.errors import ConfigError, DataError, DomainError
from parhelion.noise import normal
from parhelion.sample import Field, Sample, flatten, unflatten
from parhelion.surrogates import Surrogate

OutsidePolicy = Literal["refuse", "clamp", "flag"]

BATCH_ROWS = 16_384
OUTSIDE = Field("outside_domain", kind="integer")


def generate(
    surrogate: Surrogate,
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
        Trained surrogate.
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
    return _generate(surrogate, conditions, seed, outside, batch_rows, first_row=0)


def _generate(
    surrogate: Surrogate, conditions: Sample, seed: int, outside: OutsidePolicy, batch_rows: int, first_row: int
) -> Sample:
    schema = surrogate.schema
    if outside not in get_args(OutsidePolicy) or batch_rows < 1:
        msg = f"generate: outside {outside!r}, batch_rows {batch_rows}; expected refuse, clamp or flag, and at least 1"
        raise ConfigError(msg)
    if not surrogate.prepared:
        msg = f"this {surrogate.kind} surrogate has not been trained; call parhelion.fit first"
        raise DataError(msg)
    for field in schema.condition:
        _require_field(field, conditions)
    matrix = flatten(conditions.columns, schema.condition, len(conditions))
    matrix, beyond = _guard(surrogate, matrix, conditions.source, outside, first_row)
    device = next((p.device for p in surrogate.parameters()), torch.device("cpu"))
    response = np.empty((len(matrix), schema.response_width), dtype=np.float32)
    for start in range(0, len(matrix), batch_rows):
        rows = slice(start, start + batch_rows)
        noise = torch.as_tensor(normal(seed, conditions.event_id[rows], surrogate.noise_width))
        answer = surrogate.sample(torch.as_tensor(matrix[rows]).to(device), noise.to(device))
        response[rows] = answer.cpu().numpy()
    kept = [f for f in conditions.schema.fields if f.name not in {g.name for g in (*schema.fields, OUTSIDE)}]
    columns = {f.name: conditions.columns[f.name] for f in (*schema.condition, *kept)}
    columns.update(unflatten(response, schema.response))
    extra = tuple(kept)
    if outside != "refuse":
        columns[OUTSIDE.name] = beyond.astype(np.int64)
        extra = (*extra, OUTSIDE)
    return Sample(
        replace(schema, extra=extra),
        columns,
        weight=conditions.weight,
        event_id=conditions.event_id,
        group=conditions.group,
        source=f"generated for {conditions.source}",
    )


def generate_stream(
    surrogate: Surrogate,
    chunks: Iterable[Sample],
    *,
    seed: int,
    outside: OutsidePolicy = "refuse",
) -> Iterator[Sample]:
    """Generate chunk by chunk with bounded memory (see `generate`)."""
    source, first_row = "", 0
    for chunk in chunks:
        if chunk.source != source:
            source, first_row = chunk.source, 0
        yield _generate(surrogate, chunk, seed, outside, BATCH_ROWS, first_row)
        first_row += len(chunk)


def _require_field(field: Field, conditions: Sample) -> None:
    if field.name not in conditions.columns:
        have = ", ".join(conditions.columns)
        msg = f"{conditions.source}: condition {field.name} is missing; the columns are {have}"
        raise DataError(msg)
    given = conditions.schema[field.name]
    if given.unit != field.unit or given.shape != field.shape:
        msg = (
            f"{conditions.source}: condition {given.title} has shape {given.shape} a row; the surrogate expects "
            f"{field.title} with shape {field.shape}, so convert it"
        )
        raise DataError(msg)


def _guard(
    surrogate: Surrogate, matrix: npt.NDArray[np.float64], source: str, outside: OutsidePolicy, first_row: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    codec = surrogate.codec
    with torch.no_grad():
        where = codec.outside(torch.as_tensor(matrix).to(codec.low.device)).cpu().numpy()
    rows: npt.NDArray[np.bool_] = np.asarray(where.any(axis=1))
    if not rows.any():
        return matrix, rows
    categories = dict(codec.categories)
    refused = where
    if outside != "refuse":
        # Only a category under clamp: it has no nearest value.
        refused = where & np.isin(np.arange(matrix.shape[1]), list(categories) if outside == "clamp" else [])
    if refused.any():
        row, column = (int(i) for i in np.argwhere(refused)[0])
        field = [f for f in surrogate.schema.condition for _ in range(f.width)][column]
        ways = "select such rows away, or use --outside flag (outside='flag')"
        if column in categories:
            allowed = "one of " + ", ".join(f"{v:g}" for v in seen_values(surrogate, column))
        else:
            unit = f" {field.unit}" if field.unit else ""
            allowed = f"{float(codec.low[column]):g} to {float(codec.high[column]):g}{unit}"
            ways = f"check the column's unit, {ways} or clamp"
        msg = (
            f"{source}: {int(refused.any(axis=1).sum())} of rows {first_row} to {first_row + len(rows) - 1} lie "
            f"outside the domain that the surrogate saw, first {field.name} in row {first_row + row}: "
            f"{matrix[row, column]:g}, expected {allowed}; {ways}"
        )
        raise DomainError(msg)
    if outside == "clamp":
        low, high = codec.low.cpu().numpy(), codec.high.cpu().numpy()
        continuous = [j for j in range(matrix.shape[1]) if j not in categories]
        matrix = matrix.copy()
        matrix[:, continuous] = np.clip(matrix[:, continuous], low[continuous], high[continuous])
    return matrix, rows


def seen_values(surrogate: Surrogate, column: int) -> list[float]:
    """Values of a category condition that occurred in training; `column` counts numbers in a row of condition."""
    start = 0
    for j, values in surrogate.codec.categories:
        seen = surrogate.codec.seen[start : start + len(values)].tolist()
        if j == column:
            return [v for v, there in zip(values, seen, strict=True) if there]
        start += len(values)
    return []
