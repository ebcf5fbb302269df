"""The Sample: rows of (condition, response, weight, event id), validated at the border."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError, ShapeError
from parhelion.weights import WeightSummary, require_positive_total, summarise

Kind = Literal["continuous", "integer", "category"]
Array = npt.NDArray[np.generic]
FloatArray = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_] | npt.NDArray[np.integer] | slice


@dataclass(frozen=True)
class Field:
    """A named quantity with unit and shape.

    Attributes
    ----------
    name
        Name, unique in its schema.
    unit
        Physical unit, e.g. ``"GeV"``; empty for a pure number.
    shape
        Shape of one row: ``()`` for a scalar, ``(4,)`` for a vector, ``(30, 30)`` for an image.
    kind
        ``continuous``, ``integer`` (a count), or ``category`` (one of `values`).
    values
        Codes that a category may take, in physical form (e.g. PDG ids).
    labels
        Names of these codes for plots and messages, same length as `values`.
    """

    name: str
    unit: str = ""
    shape: tuple[int, ...] = ()
    kind: Kind = "continuous"
    values: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the declaration is coherent."""
        if self.kind == "category" and (self.shape or len(set(self.values)) < 2):
            msg = f"field {self.name}: a category is a scalar with at least two distinct values"
            raise DataError(msg)
        if self.labels and len(self.labels) != len(self.values):
            msg = f"field {self.name}: {len(self.labels)} labels for {len(self.values)} values"
            raise DataError(msg)

    @property
    def width(self) -> int:
        """Number of numbers in one row."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def title(self) -> str:
        """Name with unit, for axes."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def label_of(self, value: float) -> str:
        """Name of one category code; the number itself where no label was given."""
        if self.labels and value in self.values:
            return self.labels[self.values.index(value)]
        return f"{value:g}"


@dataclass(frozen=True)
class Schema:
    """The fields of a sample by role.

    `extra` fields travel with the rows (a mass, a truth label, an observable) but are neither learned nor
    conditioned on.
    """

    condition: tuple[Field, ...]
    response: tuple[Field, ...]
    extra: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        """Check that names are unique."""
        names = [f.name for f in self.fields]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            msg = f"schema: field {doubled[0]} is declared {names.count(doubled[0])} times, expected once"
            raise DataError(msg)

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields: condition, response, extra."""
        return self.condition + self.response + self.extra

    @property
    def condition_width(self) -> int:
        """Numbers in one row of condition."""
        return sum(f.width for f in self.condition)

    @property
    def response_width(self) -> int:
        """Numbers in one row of response."""
        return sum(f.width for f in self.response)

    def __getitem__(self, name: str) -> Field:
        """Field by name.

        Raises
        ------
        DataError
            There is no such field.
        """
        for field in self.fields:
            if field.name == name:
                return field
        msg = f"schema: no field {name}; there are {', '.join(f.name for f in self.fields)}"
        raise DataError(msg)


def flatten(columns: Mapping[str, Array], fields: Sequence[Field], rows: int) -> FloatArray:
    """Put fields side by side, shape (n, total width), in their order."""
    parts = [np.asarray(columns[f.name], dtype=np.float64).reshape(rows, f.width) for f in fields]
    return np.concatenate(parts, axis=1) if parts else np.empty((rows, 0))


def unflatten(matrix: npt.NDArray[np.floating], fields: Sequence[Field]) -> dict[str, Array]:
    """Undo `flatten`: columns of shape (n, *field.shape); integers and categories get an integer type."""
    expected = sum(f.width for f in fields)
    if matrix.ndim != 2 or matrix.shape[1] != expected:
        msg = f"expected shape (n, {expected}), got {matrix.shape}"
        raise ShapeError(msg)
    columns: dict[str, Array] = {}
    start = 0
    for field in fields:
        part = matrix[:, start : start + field.width].reshape(len(matrix), *field.shape)
        whole = field.kind == "integer" or (
            field.kind == "category" and all(float(v).is_integer() for v in field.values)
        )
        columns[field.name] = np.rint(part).astype(np.int64) if whole else part
        start += field.width
    return columns


class Sample:
    """Rows of (condition, response, weight, event id), each field named, with unit and shape.

    Parameters
    ----------
    schema
        The fields.
    columns
        One array a field, shape (n, *field.shape).
    weight
        Signed weights, shape (n,); ones if not given.
    event_id
        Unique non-negative integers, shape (n,); 0 to n-1 if not given. Splits and noise are keyed by it.
    group
        Integers, shape (n,): rows of one group (the tracks of one collision) are not independent, and splits
        and bootstraps keep them together. Each row is its own group if not given.
    source
        Where the rows come from (a file name), for messages.

    Raises
    ------
    DataError
        A column is missing, has NaN or infinity, an unknown category or a duplicate event id; the message names
        source, field and first bad row.
    ShapeError
        A column has the wrong length or shape.
    """

    def __init__(
        self,
        schema: Schema,
        columns: Mapping[str, npt.ArrayLike],
        *,
        weight: npt.ArrayLike | None = None,
        event_id: npt.ArrayLike | None = None,
        group: npt.ArrayLike | None = None,
        source: str = "sample",
    ) -> None:
        self.schema = schema
        self.source = source
        missing = [f.name for f in schema.fields if f.name not in columns]
        if missing:
            have = ", ".join(columns) or "none"
            msg = f"{source}: column {missing[0]} is missing; the columns are {have}"
            raise DataError(msg)
        self.columns: dict[str, Array] = {
            f.name: _as_array(columns[f.name], f"field {f.name}", source) for f in schema.fields
        }
        rows = len(next(iter(self.columns.values()))) if self.columns else 0
        self.weight: FloatArray = np.ones(rows) if weight is None else _as_weight(weight, source)
        self.event_id: npt.NDArray[np.int64] = _as_ids(event_id, rows, "event id", source)
        self.group: npt.NDArray[np.int64] = self.event_id if group is None else _as_ids(group, rows, "group", source)
        self._validate(rows)

    def _validate(self, rows: int) -> None:
        for field in self.schema.fields:
            values = self.columns[field.name]
            if values.shape != (rows, *field.shape):
                expected = (rows, *field.shape)
                msg = f"{self.source}: field {field.name}: expected shape {expected}, got {values.shape}"
                raise ShapeError(msg)
            if values.dtype.kind not in "biuf":
                msg = f"{self.source}: field {field.name}: expected numbers, got type {values.dtype}"
                raise DataError(msg)
            _require_finite(values, f"field {field.name}", self.source)
            if field.kind == "category":
                bad = ~np.isin(values, np.asarray(field.values))
                if bad.any():
                    row = int(np.argmax(bad))
                    allowed = ", ".join(f"{v:g}" for v in field.values)
                    msg = f"{self.source}: field {field.name}, row {row}: {values[row]} is not one of {allowed}"
                    raise DataError(msg)
        for name, array in (("weight", self.weight), ("event id", self.event_id), ("group", self.group)):
            if array.shape != (rows,):
                msg = f"{self.source}: {name}: expected shape ({rows},), got {array.shape}"
                raise ShapeError(msg)
        _require_finite(self.weight, "weight", self.source)
        if (self.event_id[1:] > self.event_id[:-1]).all():
            return
        order = np.argsort(self.event_id, kind="stable")
        same = np.flatnonzero(np.diff(self.event_id[order]) == 0)
        if len(same):
            row = int(np.min(order[same + 1]))
            msg = (
                f"{self.source}: event id {self.event_id[row]} in row {row} occurs more than once; "
                "event ids must be unique (choose another id column, or leave it out to number the rows)"
            )
            raise DataError(msg)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.weight)

    def __getitem__(self, name: str) -> Array:
        """Column by name, shape (n, *field.shape).

        Raises
        ------
        DataError
            There is no such field.
        """
        return self.columns[self.schema[name].name]

    def __repr__(self) -> str:
        """Short form with the number of rows and fields."""
        return (
            f"Sample({self.source}: {len(self):,} rows; condition {[f.name for f in self.schema.condition]}, "
            f"response {[f.name for f in self.schema.response]})"
        )

    @property
    def condition(self) -> FloatArray:
        """Condition fields side by side, shape (n, condition width)."""
        return flatten(self.columns, self.schema.condition, len(self))

    @property
    def response(self) -> FloatArray:
        """Response fields side by side, shape (n, response width)."""
        return flatten(self.columns, self.schema.response, len(self))

    @property
    def weights(self) -> WeightSummary:
        """Rows, sum of weights, effective sample size, share of negative weights."""
        return summarise(self.weight)

    def require_positive_total(self) -> None:
        """Refuse a sample whose sum of weights is not positive (see `weights.require_positive_total`)."""
        require_positive_total(self.weight, source=self.source)

    def take(self, rows: Rows) -> Sample:
        """Rows chosen by mask, index or slice, as a new sample.

        Rows chosen more than once (a bootstrap) would double their event ids: use weights for that.
        """
        return self._rebuild({k: v[rows] for k, v in self.columns.items()}, rows)

    def _rebuild(self, columns: Mapping[str, Array], rows: Rows) -> Sample:
        ids = self.weight[rows], self.event_id[rows], self.group[rows]
        return Sample.trusted(self.schema, columns, *ids, source=self.source)

    @classmethod
    def trusted(
        cls,
        schema: Schema,
        columns: Mapping[str, Array],
        weight: FloatArray,
        event_id: npt.NDArray[np.int64],
        group: npt.NDArray[np.int64],
        *,
        source: str,
    ) -> Sample:
        """Sample of rows that have been validated before: nothing is checked again."""
        new = object.__new__(cls)
        new.schema, new.source, new.columns = schema, source, dict(columns)
        new.weight, new.event_id, new.group = weight, event_id, group
        return new

    def with_weight(self, weight: npt.ArrayLike) -> Sample:
        """Same rows with other signed weights, shape (n,)."""
        return Sample(
            self.schema,
            self.columns,
            weight=weight,
            event_id=self.event_id,
            group=self.group,
            source=self.source,
        )

    def with_response(self, response: npt.NDArray[np.floating], *, source: str) -> Sample:
        """Same conditions, weights and ids with another response, shape (n, response width)."""
        columns = {f.name: self.columns[f.name] for f in (*self.schema.condition, *self.schema.extra)}
        columns.update(unflatten(response, self.schema.response))
        return Sample(
            self.schema,
            columns,
            weight=self.weight,
            event_id=self.event_id,
            group=self.group,
            source=source,
        )

    def with_extra(self, field: Field, values: npt.ArrayLike) -> Sample:
        """Same rows with one more extra column."""
        schema = replace(self.schema, extra=(*self.schema.extra, field))
        return Sample(
            schema,
            {**self.columns, field.name: np.asarray(values)},
            weight=self.weight,
            event_id=self.event_id,
            group=self.group,
            source=self.source,
        )


def concatenate(samples: Iterable[Sample]) -> Sample:
    """Put samples of one schema after each other.

    Raises
    ------
    DataError
        There is no sample, the schemas differ, or an event id occurs in two of them.
    """
    parts = list(samples)
    if not parts:
        msg = "there is no sample to put together"
        raise DataError(msg)
    first = parts[0]
    for part in parts[1:]:
        if part.schema != first.schema:
            msg = f"{part.source} and {first.source} declare different fields and cannot be put together"
            raise DataError(msg)
    return Sample(
        first.schema,
        {name: np.concatenate([p.columns[name] for p in parts]) for name in first.columns},
        weight=np.concatenate([p.weight for p in parts]),
        event_id=np.concatenate([p.event_id for p in parts]),
        group=np.concatenate([p.group for p in parts]),
        source=first.source,
    )


def _as_array(values: npt.ArrayLike, what: str, source: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError:
        msg = f"{source}: {what}: the rows have different shapes"
        raise ShapeError(msg) from None
    if array.ndim == 0:
        msg = f"{source}: {what}: expected one value a row, got a single {type(values).__name__}"
        raise ShapeError(msg)
    return array


def _as_weight(values: npt.ArrayLike, source: str) -> FloatArray:
    array = _as_array(values, "weight", source)
    if array.dtype.kind not in "biuf":
        msg = f"{source}: weight: expected numbers, got type {array.dtype}"
        raise DataError(msg)
    return array.astype(np.float64, copy=False)


def _as_ids(values: npt.ArrayLike | None, rows: int, name: str, source: str) -> npt.NDArray[np.int64]:
    if values is None:
        return np.arange(rows, dtype=np.int64)
    ids = np.asarray(values)
    if ids.dtype.kind == "f":
        bad = ~(np.isfinite(ids) & (ids == np.floor(ids)) & (np.abs(ids) < 2.0**53))
        if bad.any():
            row = int(np.argmax(bad))
            msg = f"{source}: {name}, row {row}: {ids[row]} is not an integer"
            raise DataError(msg)
    elif ids.dtype.kind not in "iu":
        msg = f"{source}: {name}: expected integers, got type {ids.dtype}"
        raise DataError(msg)
    # An unsigned 64-bit id above 2^63 keeps its bits; only equality and hashing matter.
    return ids.astype(np.int64)


def _require_finite(values: Array, what: str, source: str) -> None:
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = ~finite.reshape(len(values), -1).all(axis=1)
    row = int(np.argmax(bad))
    msg = (
        f"{source}: {what}, row {row}: NaN or infinity; remove such rows with a selection "
        f"({int(bad.sum())} of {len(values)} rows)"
    )
    raise DataError(msg)
