"""What a study says, held against the fields of its data: names, roles and categories, each error with its line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from parhelion.errors import ParhelionError
from parhelion.observables import Observables, build, observed, with_fields
from parhelion.observed import OnResponse
from parhelion.sample import Field, Schema
from parhelion.surrogates import SURROGATES
from parhelion.yamlfile import Location, YamlDocument

if TYPE_CHECKING:
    from parhelion.config import LoadedStudy

# Keys of metric options that name a field, a numeric condition, several fields, a category condition.
_ONE, _AXES, _MANY, _CATEGORY = ("variable",), ("x", "y"), ("fields", "extra", "differences"), ("category", "by")
_LABELS = ("signal", "background", "species")


def check_fields(study: LoadedStudy, schema: Schema) -> None:
    """Check that everything a study names exists in the schema of its training sample.

    Study files that declare their fields, or use a simulator, are checked when they are loaded; the others before any
    work starts.

    Parameters
    ----------
    study
        The study.
    schema
        Fields of its training sample.

    Raises
    ------
    ConfigError
        The surrogate, a metric or the mass fit names a field, a category or a label that does not exist; the message
        names file and line.
    """
    document = study.document
    try:
        compared = SURROGATES[study.family](schema, study.surrogate).compared
    except ParhelionError as error:
        raise document.error(("surrogate", "codec"), str(error)) from error
    sets = _built_sets(study, schema)
    both = with_fields(schema, sets)
    seen = {True: both, False: observed(schema, sets)}
    for index, entry in enumerate(document.data["metrics"]):
        on_response = isinstance(study.metrics[index][1], OnResponse)
        _check_metric(entry, ("metrics", index), seen[on_response], document)
    for index, name in enumerate(study.config.loss_fields):
        _require(name, both, document, ("loss_fields", index))
    hidden = [name for name in compared if name not in study.config.loss_fields]
    if hidden:
        msg = (
            f"the surrogate's loss compares {hidden[0]}, which is then no test of it: "
            f"name it in the study's loss_fields (loss_fields: [{', '.join(compared)}])"
        )
        raise document.error(("surrogate", "auxiliary"), msg)
    section = study.config.data.splot
    if section is not None:
        where = ("data", "splot")
        _require(section.mass, schema, document, (*where, "mass"))
        if section.by is not None:
            by = _require_category(section.by, schema, document, (*where, "by"))
            for label in section.models:
                _require_label(label, by, document, (*where, "models", label))


def _built_sets(study: LoadedStudy, schema: Schema) -> tuple[Observables, ...]:
    """Sets of observables for the schema; an error has the line of the set that does not fit."""
    for index in range(len(study.observables)):
        try:
            sets = build(study.observables[: index + 1], schema)
        except ParhelionError as error:
            raise study.document.error(("observables", index), str(error)) from error
    return sets if study.observables else ()


def _check_metric(entry: Any, where: Location, schema: Schema, document: YamlDocument) -> None:
    category: Field | None = None
    for key, value, location in _walk(entry, where):
        if key in _ONE or key in _MANY:
            for name in _words(value):
                _require(name, schema, document, location)
        elif key in _AXES and isinstance(value, str):
            field = _require(value, schema, document, location)
            if field not in schema.condition or field.shape or field.kind == "category":
                known = ", ".join(f.name for f in schema.condition if not f.shape and f.kind != "category") or "none"
                raise document.error(location, f"{value} is no numeric condition; these are {known}")
        elif key in _CATEGORY and isinstance(value, str):
            category = _require_category(value, schema, document, location)
    if category is None:
        return
    for key, value, location in _walk(entry, where):
        if key in _LABELS:
            for label in _words(value):
                _require_label(label, category, document, location)


def _walk(entry: Any, where: Location) -> Iterator[tuple[str, Any, Location]]:
    items = entry.items() if isinstance(entry, dict) else enumerate(entry) if isinstance(entry, list) else ()
    for key, value in items:
        if isinstance(entry, dict):
            yield str(key), value, (*where, key)
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value)):
            yield from _walk(value, (*where, key))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif isinstance(value, str | int):
        yield str(value)


def _require(name: str, schema: Schema, document: YamlDocument, where: Location) -> Field:
    for field in schema.fields:
        if field.name == name:
            return field
    known = ", ".join(f.name for f in schema.fields)
    raise document.error(where, f"there is no field {name}; the fields of the sample are {known}")


def _require_category(name: str, schema: Schema, document: YamlDocument, where: Location) -> Field:
    field = _require(name, schema, document, where)
    if field.kind != "category":
        known = ", ".join(f.name for f in schema.fields if f.kind == "category") or "none"
        raise document.error(where, f"{name} is no category; the categories are {known}")
    return field


def _require_label(label: str, category: Field, document: YamlDocument, where: Location) -> None:
    known = [category.label_of(v) for v in category.values]
    if label not in known and label not in [f"{v:g}" for v in category.values]:
        raise document.error(where, f"{category.name} has no value called {label}; its values are {', '.join(known)}")
