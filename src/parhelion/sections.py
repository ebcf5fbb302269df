"""The sections of a study file, each with only its own keys and real defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from parhelion import sample as _sample
from parhelion.io import FieldSource, Layout
from parhelion.io.community import layout_of_format
from parhelion.replica_sections import ReplicasSection
from parhelion.section import Section
from parhelion.simulators import SIMULATORS, Simulator, SimulatorConfig
from parhelion.splot import MassModel
from parhelion.surrogates.matching import StudentConfig
from parhelion.training import TrainingConfig


def _named(value: Any) -> Any:
    """Labels as words: ``values: {0: 0, 1: 1}`` is read as numbers."""
    if not isinstance(value, dict):
        return value
    return {str(k) if isinstance(k, int | float) else k: v for k, v in value.items()}


def _empty(value: Any) -> Any:
    """A field without options (``P:``) is one with all defaults, a role without fields has none."""
    if value is None:
        return {}
    return {k: {} if v is None else v for k, v in value.items()} if isinstance(value, dict) else value


class FieldConfig(Section):
    """One field of a file.

    Attributes
    ----------
    column
        Column of the file, or a list of columns for a vector; the field's name if left out.
    unit
        Unit that the study works in.
    file_unit
        Unit of the numbers in the file (``MeV`` where `unit` is ``GeV``); the same if left out.
    shape, kind
        Shape of one row; ``continuous``, ``integer`` or ``category``.
    values
        For a category: label and code of each.
    """

    column: str | list[str] | None = None
    unit: str = ""
    file_unit: str | None = None
    shape: tuple[int, ...] = ()
    kind: _sample.Kind = "continuous"
    values: Annotated[dict[str, float], BeforeValidator(_named)] = Field(default_factory=dict)

    def source(self, name: str) -> FieldSource:
        """The typed form of this section."""
        field = _sample.Field(
            name, self.unit, self.shape, self.kind, tuple(self.values.values()), tuple(map(str, self.values))
        )
        columns = (self.column,) if isinstance(self.column, str) else tuple(self.column or ())
        return FieldSource(field, columns, self.file_unit)


Fields = Annotated[dict[str, FieldConfig], BeforeValidator(_empty)]


class FilesSource(Section):
    """Rows from files.

    Attributes
    ----------
    files
        Path, glob, or list of these; relative to the study file.
    format
        Name of a community's format (``calochallenge-2``, ``calogan``, ``lhcb``), or a mapping with its name under
        ``name`` and its options; it says what the fields are.
    tree
        Tree (ROOT) or group (HDF5), if the file has several.
    selection
        Rows to keep, in the file's columns and units.
    condition, response, extra
        Fields by role. Files written by Parhelion, or of a known format, need none of them.
    weight, event_id, group
        Columns with signed weights, unique ids, and what ties rows together (the collision).
    limit
        Read at most so many rows.
    """

    kind: Literal["files"] = "files"
    files: str | list[str]
    format: str | dict[str, Any] | None = None
    tree: str | None = None
    selection: str | None = None
    condition: Fields = Field(default_factory=dict)
    response: Fields = Field(default_factory=dict)
    extra: Fields = Field(default_factory=dict)
    weight: str | None = None
    event_id: str | list[str] | None = None
    group: str | list[str] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None

    def layout(self) -> Layout | None:
        """Layout of the files; None where they declare themselves."""
        if self.format is not None:
            return replace(layout_of_format(self.format), selection=self.selection, tree=self.tree)
        if not (self.condition or self.response):
            return None

        def sources(fields: dict[str, FieldConfig]) -> tuple[FieldSource, ...]:
            return tuple(f.source(name) for name, f in fields.items())

        return Layout(
            condition=sources(self.condition),
            response=sources(self.response),
            extra=sources(self.extra),
            weight=self.weight,
            event_id=_names(self.event_id),
            group=_names(self.group),
            selection=self.selection,
            tree=self.tree,
        )


class SimulatorSource(Section):
    """Rows from one of the library's simulators.

    The simulator's own options stand beside the other keys.

    Attributes
    ----------
    simulator
        Its name.
    rows, seed
        How many rows to simulate, and the seed.
    options
        The simulator's own options.
    """

    kind: Literal["simulator"] = "simulator"
    simulator: str
    rows: int = Field(ge=1)
    seed: int = Field(ge=0, lt=1 << 64)
    options: SerializeAsAny[SimulatorConfig]

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: Any) -> Any:
        """Put the simulator's own keys together."""
        if not isinstance(data, dict) or isinstance(data.get("options"), SimulatorConfig):
            return data
        own = cls.model_fields.keys() - {"options"}
        rest = {k: v for k, v in data.items() if k not in own}
        return {**{k: v for k, v in data.items() if k in own}, "options": rest}

    @field_validator("simulator")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SIMULATORS:
            msg = f"{value!r} is no simulator; choose one of {', '.join(sorted(SIMULATORS))}"
            raise ValueError(msg)
        return value

    @field_validator("options", mode="before")
    @classmethod
    def _typed(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("simulator")
        if kind is None or isinstance(value, SimulatorConfig):  # an unknown simulator is an error already
            return SimulatorConfig() if kind is None else value
        return SIMULATORS[kind].Config.model_validate(value)

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain = handler(self)
        return {**plain, **plain.pop("options")}

    def built(self) -> Simulator:
        """The simulator with these options."""
        return SIMULATORS[self.simulator](self.options)

    @property
    def schema_of_rows(self) -> _sample.Schema:
        """Fields of the rows that the simulator makes."""
        return self.built().schema


class SplotConfig(Section):
    """Mass fits that weight the rows with the sWeights of the signal.

    Attributes
    ----------
    mass
        The mass field (an extra field).
    by
        Category field: one fit for each of its values.
    models
        One mass model for each label of `by` (or one under the name ``all``): window, signal, background.
    """

    mass: str = "mass"
    by: str | None = None
    models: dict[str, dict[str, Any]]

    def built(self) -> dict[str, MassModel]:
        """Typed mass models by label."""
        return {label: MassModel.from_dict(spec) for label, spec in self.models.items()}


def _source_kind(value: Any) -> str | None:
    """A source that names a simulator or files need not say its kind as well."""
    if not isinstance(value, dict):
        return f"({value.kind})" if isinstance(value, FilesSource | SimulatorSource) else None
    kind = value.get("kind", "simulator" if "simulator" in value else "files" if "files" in value else None)
    return f"({kind})" if kind in ("files", "simulator") else None


# The tags are in brackets so that a path in a message cannot take one for a key.
Source = Annotated[
    Annotated[FilesSource, Tag("(files)")] | Annotated[SimulatorSource, Tag("(simulator)")],
    Discriminator(
        _source_kind,
        custom_error_type="source_kind",
        custom_error_message="expected kind: files with the key files, or kind: simulator with the key simulator",
    ),
]


class DataConfig(Section):
    """Where the samples come from.

    Attributes
    ----------
    train
        The rows to learn from; a part of them validates.
    test
        Independent rows to judge with; if left out, a part of `train` is set aside.
    splot
        Mass fits that weight `train` (and a test part set aside from it).
    validation_share, test_share
        Parts of `train`, chosen by a hash of the event id or group: stable when a file grows.
    """

    train: Source
    test: Source | None = None
    splot: SplotConfig | None = None
    validation_share: float = Field(0.05, gt=0, lt=0.5)
    test_share: float = Field(0.3, gt=0, lt=0.9)


class StudentSection(Section):
    """Distillation of the surrogate into a one-pass student."""

    surrogate: StudentConfig = StudentConfig()
    training: TrainingConfig


class PackageSection(Section):
    """Export of the surrogate as a package, ``NAME.onnx`` in the run's folder.

    Attributes
    ----------
    form
        ``exact``, ``student``, or ``auto``: the student if the study has one that met its requirements.
    licence, author
        Written into the package.
    rows
        Random conditions at which the package must answer as the surrogate does.
    """

    form: Literal["auto", "exact", "student"] = "auto"
    licence: str | None = None
    author: str | None = None
    rows: int = Field(100_000, ge=1)


class StudyConfig(Section):
    """A study: data, surrogate, training, metrics, requirements.

    Attributes
    ----------
    title, description
        For people.
    seed
        Seed of splits, training (unless that section has its own) and generation; simulators have their own.
    data, training
        See there.
    surrogate
        ``kind`` and the options of that family.
    student
        Distillation, optional.
    loss_fields
        Responses and extra fields that the loss itself compares (statistics enforced by auxiliary terms). A requirement
        on nothing else is refused: what the loss has seen is no test.
    observables
        Sets of observables, by name or with options under ``kind``; metrics compare them unless they say ``on:
        response``.
    metrics
        Metrics with options.
    requirements
        Bounds on metrics; they make the verdict.
    student_requirements
        Bounds for the student, judged by the same metrics.
    package
        Export, optional.
    replicas
        Rivals trained on many training samples, optional.
    """

    title: str
    description: str = ""
    seed: int = Field(1, ge=0, lt=1 << 63)
    data: DataConfig
    surrogate: Any
    training: TrainingConfig
    student: StudentSection | None = None
    loss_fields: tuple[str, ...] = ()
    observables: list[Any] = Field(default_factory=list)
    metrics: list[Any]
    requirements: list[Any] = Field(default_factory=list)
    student_requirements: list[Any] = Field(default_factory=list)
    package: PackageSection | None = None
    replicas: ReplicasSection | None = None


def _names(value: str | list[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())
