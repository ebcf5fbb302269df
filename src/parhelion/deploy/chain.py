"""Several models one after another: acceptance, then the response given it; one model a species; variations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parhelion.deploy.generation import (
    BATCH_ROWS,
    OUTSIDE,
    OutsidePolicy,
    require_field,
    require_policy,
    respond,
)
from parhelion.deploy.models import BoolArray, IntArray, Model, SingleArray
from parhelion.errors import ConfigError, DataError
from parhelion.io import Selection
from parhelion.io.identity import combine
from parhelion.sample import Array, Field, Sample, Schema, flatten, unflatten

REPLICA = Field("replica", kind="integer")
INPUT_ID = Field("input_event_id", kind="integer")
STAGE_BITS = 20
"""A noise stage is the number of the step times 2^20, plus the replica."""

_MAX_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Step:
    """One step of a chain: one model for all rows, or one for each value of a field.

    Attributes
    ----------
    models
        By value of the field `by`; the key None if one model answers for all.
    by
        The field whose value chooses the model, None for one model.
    name
        What to call the step in messages and counts.
    """

    models: Mapping[float | None, Model]
    by: str | None = None
    name: str = "surrogate"

    def __post_init__(self) -> None:
        """Check that all models of the step answer with the same fields."""
        responses = [m.schema.response for m in self.models.values()]
        for other in responses[1:]:
            if other != responses[0]:
                have, first = (", ".join(f.title for f in r) for r in (other, responses[0]))
                msg = f"{self.name}: the models answer with different fields ({have}; {first}); they must be the same"
                raise ConfigError(msg)

    @property
    def response(self) -> tuple[Field, ...]:
        """What the step answers with."""
        return next(iter(self.models.values())).schema.response

    @property
    def condition(self) -> tuple[Field, ...]:
        """What the step needs, each field once."""
        found: dict[str, Field] = {}
        for model in self.models.values():
            for wanted in model.schema.condition:
                have = found.setdefault(wanted.name, wanted)
                if (have.unit, have.shape) != (wanted.unit, wanted.shape):
                    msg = (
                        f"{self.name}: one model expects {have.title} of shape {have.shape}, another {wanted.title} of "
                        f"shape {wanted.shape}; they must agree"
                    )
                    raise ConfigError(msg)
                if have.kind == "category" and wanted.kind == "category":
                    values = tuple(sorted({*have.values, *wanted.values}))
                    found[wanted.name] = have if values == tuple(sorted(have.values)) else replace(
                        have, values=values, labels=()
                    )  # fmt: skip
        if self.by is not None and self.by not in found:
            found[self.by] = Field(self.by, kind="integer")
        return tuple(found.values())


@dataclass
class Counts:
    """What happened to the rows.

    Attributes
    ----------
    rows
        Rows of the input, each counted once.
    made
        Rows of the output.
    outside
        Responses asked for outside the domain, by name of the step.
    """

    rows: int = 0
    made: int = 0
    outside: dict[str, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Add the counts of another part."""
        self.rows += other.rows
        self.made += other.made
        for name, count in other.outside.items():
            self.outside[name] = self.outside.get(name, 0) + count

    @property
    def beyond(self) -> int:
        """Responses asked for outside the domain, all steps together."""
        return sum(self.outside.values())


class Chain:
    """Steps, each given the conditions and what earlier steps answered.

    Parameters
    ----------
    steps
        In order. A condition of a later step that an earlier one answers with is taken from there.
    members
        Other versions of the last step, by label: generated with the same noise, as systematic variations. Their
        responses are extra columns ``NAME_LABEL``.
    keep
        Rows to keep, in the names of conditions and responses; applied as soon as all it names is known, so that
        later steps do not answer in vain.

    Raises
    ------
    ConfigError
        Steps do not fit together, or `keep` names what there is not.
    """

    def __init__(
        self, steps: Sequence[Step], *, members: Mapping[str, Step] | None = None, keep: str | None = None
    ) -> None:
        if not steps:
            msg = "generate: there is no model"
            raise ConfigError(msg)
        self.steps, self.members = tuple(steps), dict(members or {})
        condition: dict[str, Field] = {}
        self._answered: dict[str, Field] = {}
        for step in self.steps:
            for wanted in step.condition:
                known = {**condition, **self._answered}
                if wanted.name in known:
                    require_field(wanted, known.values(), step.name)
                else:
                    condition[wanted.name] = wanted
            for answer in step.response:
                if answer.name in condition or answer.name in self._answered:
                    msg = f"{step.name}: answers with {answer.name}, which an earlier step has as well"
                    raise ConfigError(msg)
                self._answered[answer.name] = answer
        self.schema = Schema(tuple(condition.values()), tuple(self._answered.values()))
        self._variations = self._check_members()
        self._keep = Selection(keep) if keep is not None else None
        self._keep_after = self._place_of_keep()

    def _check_members(self) -> tuple[Field, ...]:
        last = self.steps[-1]
        known = {f.name: f for f in self.schema.fields}
        fields = []
        for label, member in self.members.items():
            if member.response != last.response:
                msg = f"member {label}: answers with other fields than {last.name}; members must answer with the same"
                raise ConfigError(msg)
            for wanted in member.condition:
                require_field(wanted, known.values(), f"member {label}")
            for answer in member.response:
                name = f"{answer.name}_{label}"
                if name in known:
                    msg = f"member {label}: its column {name} exists already; choose another label"
                    raise ConfigError(msg)
                fields.append(replace(answer, name=name))
        return tuple(fields)

    def _place_of_keep(self) -> int:
        if self._keep is None:
            return -1
        known = {f.name for f in self.schema.condition}
        for number, step in enumerate(self.steps):
            if self._keep.names <= known:
                return number
            known |= {f.name for f in step.response}
        missing = sorted(self._keep.names - known)
        if missing:
            msg = f"--keep {self._keep.text}: there is no {missing[0]}; there are {', '.join(sorted(known))}"
            raise ConfigError(msg)
        return len(self.steps)

    @property
    def drops_rows(self) -> bool:
        """Whether rows that do not pass a condition are left out."""
        return self._keep is not None

    def output_schema(self, given: Schema, *, outside: OutsidePolicy, replicas: int) -> Schema:
        """Fields of what `generate` gives for conditions with these fields."""
        own = {f.name for f in (*self.schema.fields, *self._variations, OUTSIDE)}
        if replicas > 1:
            own |= {REPLICA.name, INPUT_ID.name}
        kept = tuple(f for f in given.fields if f.name not in own)
        marks = (OUTSIDE,) if outside != "refuse" else ()
        numbers = (REPLICA, INPUT_ID) if replicas > 1 else ()
        return replace(self.schema, extra=(*kept, *self._variations, *numbers, *marks))

    def batch_rows(self) -> int:
        """Rows to answer at once: fewer where a response has many numbers."""
        return max(64, min(BATCH_ROWS, _MAX_NUMBERS // max(s.width for s in self.schema.response)))

    def generate(
        self,
        conditions: Sample,
        *,
        seed: int,
        outside: OutsidePolicy = "refuse",
        replicas: int = 1,
        batch_rows: int | None = None,
        first_row: int = 0,
    ) -> tuple[Sample, Counts]:
        """Responses to each row, `replicas` times.

        Parameters
        ----------
        conditions
            Sample with the chain's condition fields; other columns are kept.
        seed
            Seed of the noise. Step s and replica r take its stage s * 2^20 + r, so replica 0 of one step is what
            `parhelion.generate` gives.
        outside
            As in `parhelion.generate`.
        replicas
            Responses an input row. With more than one, the columns ``replica`` (0 to replicas - 1) and
            ``input_event_id`` say where a row comes from, its own event id is a hash of the two, and replicas of a
            row share its group.
        batch_rows
            Rows answered at once; chosen by the width of the response if not given.
        first_row
            Number of the first row, for messages.

        Returns
        -------
        sample : Sample
            Rows in the input's order, replicas of a row beside each other.
        counts : Counts
            Rows in and out, and how many lay outside the domain.

        Raises
        ------
        DomainError, DataError, ConfigError
            As in `parhelion.generate`; also a value for which the step has no model.
        """
        batch = self.batch_rows() if batch_rows is None else batch_rows
        require_policy(outside, batch)
        if not 1 <= replicas <= 1 << STAGE_BITS:
            msg = f"{replicas} responses an input row: expected 1 to {1 << STAGE_BITS}"
            raise ConfigError(msg)
        for wanted in self.schema.condition:
            require_field(wanted, conditions.schema.fields, conditions.source)
        schema = self.output_schema(conditions.schema, outside=outside, replicas=replicas)
        counts = Counts(rows=len(conditions))
        made = [
            self._one(conditions, schema, seed, outside, batch, first_row, replica, replicas > 1, counts)
            for replica in range(replicas)
        ]
        kept, columns, ids = made[0]
        if replicas > 1:
            every = np.concatenate([rows for rows, _, _ in made])
            order = np.argsort(every, kind="stable")
            columns = {name: np.concatenate([c[name] for _, c, _ in made])[order] for name in columns}
            kept, ids = every[order], np.concatenate([i for _, _, i in made])[order]
        counts.made = len(kept)
        whole = replicas == 1 and len(kept) == len(conditions)
        weight, group = conditions.weight, conditions.group
        if not whole:
            weight, group = weight[kept], group[kept]
        source = f"generated for {conditions.source}"
        return Sample.trusted(schema, columns, weight, ids, group, source=source), counts

    def _one(
        self,
        conditions: Sample,
        schema: Schema,
        seed: int,
        outside: OutsidePolicy,
        batch: int,
        first_row: int,
        replica: int,
        several: bool,
        counts: Counts,
    ) -> tuple[IntArray, dict[str, Array], IntArray]:
        """One replica: which rows are kept, their columns, their event ids."""
        rows = np.arange(len(conditions))
        ids = conditions.event_id
        own = {f.name for f in (*self.schema.response, *self._variations, OUTSIDE, REPLICA, INPUT_ID)}
        columns = {f.name: conditions.columns[f.name] for f in conditions.schema.fields if f.name not in own}
        beyond = np.zeros(len(rows), dtype=bool)
        for number in range(len(self.steps) + 1):
            if number == self._keep_after and self._keep is not None:
                mask = self._keep.mask(columns, len(rows))
                if not mask.all():
                    rows, ids, beyond = rows[mask], ids[mask], beyond[mask]
                    columns = {name: values[mask] for name, values in columns.items()}
            if number == len(self.steps):
                break
            step, last = self.steps[number], number == len(self.steps) - 1
            known = dict(columns)
            for label, each in {"": step, **(self.members if last else {})}.items():
                response, out = self._answer(
                    each, known, ids, rows + first_row,
                    seed=seed, stage=(number << STAGE_BITS) + replica, outside=outside, batch=batch,
                    source=conditions.source,
                )  # fmt: skip
                name = f"{step.name} (member {label})" if label else step.name
                counts.outside[name] = counts.outside.get(name, 0) + int(out.sum())
                beyond |= out
                answered = unflatten(response, each.response)
                columns |= {f"{k}_{label}": v for k, v in answered.items()} if label else answered
        if several:
            number_of = np.full(len(rows), replica, dtype=np.int64)
            columns |= {REPLICA.name: number_of, INPUT_ID.name: ids}
            ids = combine([ids, number_of])
        columns[OUTSIDE.name] = beyond.astype(np.int64)
        return rows, {f.name: columns[f.name] for f in schema.fields}, ids

    def _answer(
        self,
        step: Step,
        columns: Mapping[str, Array],
        ids: IntArray,
        numbers: IntArray,
        *,
        seed: int,
        stage: int,
        outside: OutsidePolicy,
        batch: int,
        source: str,
    ) -> tuple[SingleArray, BoolArray]:
        if step.by is None:
            model = step.models[None]
            matrix = flatten(columns, model.schema.condition, len(ids))
            return respond(
                model, matrix, ids, numbers,
                seed=seed, stage=stage, outside=outside, batch_rows=batch, source=source,
            )  # fmt: skip
        codes = np.asarray(columns[step.by])
        values = [value for value in step.models if value is not None]
        unknown = ~np.isin(codes, values)
        if unknown.any():
            row = int(np.argmax(unknown))
            listed = ", ".join(f"{v:g}" for v in values)
            msg = (
                f"{source}: {step.by} is {codes[row]:g} in row {numbers[row]}, as other values without a model in "
                f"{int(unknown.sum())} of {len(codes)} rows; there are models for {listed}: select such rows away"
            )
            raise DataError(msg)
        response = np.empty((len(ids), sum(f.width for f in step.response)), dtype=np.float32)
        beyond = np.zeros(len(ids), dtype=bool)
        for value in values:
            mine = np.flatnonzero(codes == value)
            if not len(mine):
                continue
            model = step.models[value]
            some = {f.name: np.asarray(columns[f.name])[mine] for f in model.schema.condition}
            response[mine], beyond[mine] = respond(
                model, flatten(some, model.schema.condition, len(mine)), ids[mine], numbers[mine],
                seed=seed, stage=stage, outside=outside, batch_rows=batch, source=source,
            )  # fmt: skip
        return response, beyond
