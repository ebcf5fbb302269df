"""Observables of a sample: sets of named quantities that are computed from condition and response.

A set is built for a schema, which it checks once, and computes its fields from rows in any portions, so that streams
and large samples need no more memory than a portion.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from parhelion.errors import ConfigError, DataError
from parhelion.io.energies import FEWEST, energy_factor, require_not_negative, require_share
from parhelion.sample import Field, Sample, Schema

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

# Numbers of cells in one portion: its temporary arrays take some tens of MB.
_PORTION = 1 << 20
# Enough for the median of the response.
_SCALED_ROWS = 500


class ObservablesConfig(BaseModel):
    """Base of the options of observable sets: an unknown key is an error, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Observables(ABC):
    """A set of observables.

    Parameters
    ----------
    schema
        Fields of the samples.
    config
        Options of the set.

    Attributes
    ----------
    kind
        Key in `parhelion.observables.OBSERVABLES`.
    conditions
        Fields that depend on the condition alone (the incident energy as the size of the momentum).
    fields
        Observables: what is compared by default, scalars and vectors.
    curves
        Vectors whose averages over showers are the thing to compare (spectrum, profiles).
    """

    kind: ClassVar[str]
    Config: ClassVar[type[ObservablesConfig]]
    conditions: tuple[Field, ...] = ()
    fields: tuple[Field, ...] = ()
    curves: tuple[Field, ...] = ()

    @abstractmethod
    def __init__(self, schema: Schema, config: Any = None) -> None: ...

    @abstractmethod
    def compute(self, sample: Sample) -> dict[str, Array]:
        """All conditions, fields and curves of some rows, arrays of shape (n, *field.shape)."""

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """Conditions, fields and curves."""
        return (*self.conditions, *self.fields, *self.curves)


def add_observables(sample: Sample, sets: Sequence[Observables]) -> Sample:
    """Same rows with the observables as extra fields.

    Raises
    ------
    ConfigError
        A name is taken by a field of the sample.
    DataError
        An observable is not finite.
    """
    schema = with_fields(sample.schema, sets)
    columns = dict(sample.columns)
    width = max(schema.response_width, 1)
    step = max(_PORTION // width, 1)
    for chosen in sets:
        parts = [chosen.compute(sample.take(slice(at, at + step))) for at in range(0, len(sample), step)]
        for field in chosen.all_fields:
            values = np.concatenate([part[field.name] for part in parts]) if parts else np.empty((0, *field.shape))
            columns[field.name] = values
    return Sample(
        schema, columns, weight=sample.weight, event_id=sample.event_id, group=sample.group, source=sample.source
    )


def require_scale(sample: Sample, sets: Sequence[Observables]) -> None:
    """Refuse showers of a simulation or of data whose energies cannot be in the units that they are said to be in.

    What a model generated may be anything; it is judged, not refused.

    Parameters
    ----------
    sample
        Showers; the first 500 are looked at.
    sets
        Sets of observables; those with a `response` know the scale.

    Raises
    ------
    DataError
        A cell is negative, or the response is off by about a thousand.
    """
    some = sample.take(slice(0, _SCALED_ROWS))
    for chosen in sets:
        if any(f.name == "response" for f in chosen.fields) and len(some) >= FEWEST:
            require_share(
                f"{sample.source}: observables {chosen.kind}: the cells",
                float(np.median(chosen.compute(some)["response"])),
                "incident energy",
                "say the unit of the file's numbers (in a study: file_unit)",
            )


def stream_observables(samples: Iterable[Sample], sets: Sequence[Observables]) -> Iterator[Sample]:
    """`add_observables` for a stream of samples of one schema."""
    for sample in samples:
        yield add_observables(sample, sets)


def with_fields(schema: Schema, sets: Sequence[Observables]) -> Schema:
    """Schema with the observables as extra fields.

    Raises
    ------
    ConfigError
        A name is taken.
    """
    taken = {f.name for f in schema.fields}
    new: list[Field] = []
    for chosen in sets:
        for field in chosen.all_fields:
            if field.name in taken:
                msg = (
                    f"observables {chosen.kind}: there is a field {field.name} already; give it another name in the "
                    "sample, or leave this set out"
                )
                raise ConfigError(msg)
            taken.add(field.name)
            new.append(field)
    return replace(schema, extra=(*schema.extra, *new))


def observed(schema: Schema, sets: Sequence[Observables]) -> Schema:
    """Schema of what analyses see: the observables are the responses, and the cells are extra fields."""
    if not sets:
        return schema
    full = with_fields(schema, sets)
    conditions = tuple(f for chosen in sets for f in chosen.conditions)
    responses = tuple(f for chosen in sets for f in chosen.fields)
    moved = {f.name for f in (*conditions, *responses)}
    rest = tuple(f for f in full.extra if f.name not in moved)
    # What a set derives from the condition (the energy) comes first: it is what bins are made of.
    return Schema((*conditions, *schema.condition), responses, (*schema.response, *rest))


def observe(sample: Sample, schema: Schema) -> Sample:
    """The rows of a sample with its fields in the roles of another schema (`observed`); no number is copied."""
    return Sample.trusted(
        schema,
        {f.name: sample.columns[f.name] for f in schema.fields if f.name in sample.columns},
        sample.weight,
        sample.event_id,
        sample.group,
        source=sample.source,
    )


def cells_in(sample: Sample, field: Field, unit: str = "GeV") -> npt.NDArray[np.floating]:
    """Cells of a field side by side, shape (n, width), in a unit of energy.

    Raises
    ------
    DataError
        A cell is negative: a shower has no negative energies, and relative quantities would be meaningless.
    """
    require_not_negative(sample, field.name)
    stored: Array = sample[field.name].reshape(len(sample), -1)
    values: npt.NDArray[np.floating] = stored if stored.dtype.kind == "f" else stored.astype(np.float64)
    factor = energy_factor(field, unit)
    if factor is None:
        msg = f"field {field.name}: its unit is {field.unit or 'none'}, expected one of energy"
        raise DataError(msg)
    return values if factor == 1 else (values * factor).astype(values.dtype)


def energy_in(sample: Sample, field: Field, unit: str = "GeV") -> FloatArray:
    """Numbers of a scalar field in a unit of energy, shape (n,)."""
    return np.asarray(sample[field.name], dtype=np.float64) * (energy_factor(field, unit) or 1.0)
