"""Which columns of a file become which fields of a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import field as attribute

from parhelion.errors import DataError
from parhelion.io.selection import Selection
from parhelion.io.units import conversion_factor
from parhelion.sample import Field, Sample, Schema


def _names(given: object) -> tuple[str, ...]:
    """Tuple of column names; one name alone is accepted too."""
    return (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()


@dataclass(frozen=True)
class FieldSource:
    """Where a field's numbers stand in a file.

    Attributes
    ----------
    field
        The field to fill, in its own unit.
    columns
        Column of the file, or an element of one as ``momentum[0]``; several for a vector field whose elements are
        columns of their own, in row-major order. None given: the column has the field's name.
    unit
        Unit of the numbers in the file, e.g. ``"MeV"`` for a field in ``"GeV"``. None: the unit that the file
        declares (unless a scale is given), else the field's own.
    scale
        Factor from file to field, for what no unit says; multiplies the unit's factor if both are given.
    """

    field: Field
    columns: tuple[str, ...] = ()
    unit: str | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Fill in the column's name and check the unit."""
        object.__setattr__(self, "columns", _names(self.columns) or (self.field.name,))
        if len(self.columns) not in (1, self.field.width):
            msg = (
                f"field {self.field.name}: {len(self.columns)} columns were given, "
                f"expected 1 or {self.field.width} (shape {self.field.shape})"
            )
            raise DataError(msg)
        self.factor(self.unit)

    def factor(self, file_unit: str | None) -> float:
        """Factor from the file's numbers to the field's, given the unit that the file declares, if any.

        Raises
        ------
        DataError
            The conversion is impossible, or the file declares another unit than this source.
        """
        if self.unit and file_unit and self.unit != file_unit:
            msg = (
                f"field {self.field.name}: the file gives column {self.columns[0]} in {file_unit!r}, "
                f"the layout says {self.unit!r}; correct the layout or leave its unit out"
            )
            raise DataError(msg)
        unit = self.unit
        if unit is None and file_unit and self.scale == 1:
            unit = file_unit
        if unit is None:
            return self.scale
        try:
            return self.scale * conversion_factor(unit, self.field.unit)
        except DataError as error:
            msg = f"field {self.field.name}: {error}"
            raise DataError(msg) from None


@dataclass(frozen=True)
class Layout:
    """How the rows of a file become rows of a sample.

    Attributes
    ----------
    condition, response, extra
        Sources of the fields by role.
    weight
        Column of signed weights; None for ones.
    event_id
        Column of unique integers, or several that are unique together (run, event, track): these are hashed to 64
        bits. None: the row's number, counted over all files before any selection.
    group
        Column, or several, of integers that rows of one group share (run, event). None: each row by itself.
    selection
        Rows to keep, see `parhelion.io.selection.Selection`; in the file's columns and units.
    tree
        Name of the tree (ROOT) or group (HDF5); None if the file has only one.
    check
        Called with each chunk that was read; raises DataError where the rows cannot be what they are said to be.
    """

    condition: tuple[FieldSource, ...]
    response: tuple[FieldSource, ...]
    extra: tuple[FieldSource, ...] = ()
    weight: str | None = None
    event_id: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    selection: str | None = None
    tree: str | None = None
    check: Callable[[Sample], None] | None = attribute(default=None, compare=False)

    def __post_init__(self) -> None:
        """Accept one name for a tuple of names, and check fields and selection."""
        for name in ("event_id", "group"):
            object.__setattr__(self, name, _names(getattr(self, name)))
        for name in ("condition", "response", "extra"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.schema.fields:
            msg = "layout: no field is declared"
            raise DataError(msg)
        if self.selection is not None:
            Selection(self.selection)

    @property
    def sources(self) -> tuple[FieldSource, ...]:
        """All sources: condition, response, extra."""
        return self.condition + self.response + self.extra

    @property
    def schema(self) -> Schema:
        """Schema of the sample that comes out."""
        return Schema(
            condition=tuple(s.field for s in self.condition),
            response=tuple(s.field for s in self.response),
            extra=tuple(s.field for s in self.extra),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the file that become fields, weight, event id or group, each once."""
        names = [c for s in self.sources for c in s.columns]
        names += [self.weight] if self.weight is not None else []
        return tuple(dict.fromkeys([*names, *self.event_id, *self.group]))

    @classmethod
    def from_schema(cls, schema: Schema, *, weight: str | None = None, event_id: str | None = None) -> Layout:
        """Layout of a file whose columns are named like the fields and use their units."""
        return cls(
            condition=tuple(FieldSource(f) for f in schema.condition),
            response=tuple(FieldSource(f) for f in schema.response),
            extra=tuple(FieldSource(f) for f in schema.extra),
            weight=weight,
            event_id=(event_id,) if event_id else (),
        )
