"""Study files: typed, checked whole before any work starts, errors with the line."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import is_dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from parhelion import sample as _sample
from parhelion.checks import check_fields
from parhelion.errors import ConfigError, ParhelionError
from parhelion.evaluation import METRICS, Requirement
from parhelion.io import Selection
from parhelion.observables import require_kind
from parhelion.observed import OnResponse
from parhelion.replica_sections import ReplicasSection
from parhelion.section import Section
from parhelion.sections import FilesSource, SimulatorSource, Source, SplotConfig, StudyConfig
from parhelion.splot import MassModel
from parhelion.surrogates import SURROGATES, SurrogateConfig
from parhelion.training import TrainingConfig
from parhelion.yamlfile import UNKNOWN_KEY, Location, YamlDocument, read_yaml

M = TypeVar("M", bound=BaseModel)


class LoadedStudy(Section):
    """A study file after all checks.

    Attributes
    ----------
    name, folder
        Name of the study, and the folder to which its paths are relative.
    config
        The plain sections.
    family, surrogate
        Kind and options of the surrogate.
    metrics
        Metric names with their options; `OnResponse` around those of metrics on responses beside observables.
    observables
        Sets of observables by kind, with their options.
    rivals
        Families and options of the rivals in section replicas that are surrogates, by name.
    requirements, student_requirements
        Bounds.
    document
        The file as it was read, with its lines.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str
    folder: Path
    config: StudyConfig
    family: str
    surrogate: Any
    metrics: tuple[tuple[str, Any], ...]
    requirements: tuple[Requirement, ...]
    student_requirements: tuple[Requirement, ...]
    observables: tuple[tuple[str, Any], ...] = ()
    rivals: dict[str, tuple[str, Any]] = Field(default_factory=dict)
    document: YamlDocument

    @property
    def text(self) -> str:
        """The study file as it was read."""
        return self.document.text

    @property
    def fingerprint(self) -> str:
        """Hash of all that shapes the trained surrogate; metrics, requirements and texts for people do not."""
        config = self.config
        shaping = {
            "seed": config.seed,
            "data": config.data.model_dump(mode="json"),
            "surrogate": {"kind": self.family, **self.surrogate.model_dump(mode="json")},
            "training": config.training.model_dump(mode="json"),
            "student": None if config.student is None else config.student.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def shipped_studies() -> dict[str, Path]:
    """Studies that come with the package, by name."""
    folder = Path(str(resources.files("parhelion") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_study(study: str | os.PathLike[str]) -> LoadedStudy:
    """Read and check a study whole.

    Parameters
    ----------
    study
        Name of a study that comes with the package, or path of a YAML file.

    Raises
    ------
    ConfigError
        Something is wrong; the message names file, line and key.
    """
    shipped = shipped_studies()
    path = shipped.get(str(study), Path(study))
    if path.suffix not in (".yaml", ".yml"):
        names = ", ".join(shipped)
        msg = f"{study}: there is no such study; give one of {names}, or the path of a .yaml file"
        raise ConfigError(msg)
    document = read_yaml(path)
    config = _seeded(_validate(StudyConfig, document.data, document, ()))
    family, options = _surrogate(document.data["surrogate"], document, ("surrogate",))
    observables = tuple(_observables(entry, document, ("observables", i)) for i, entry in enumerate(config.observables))
    metrics = tuple(
        _metric(entry, document, ("metrics", i), observed=bool(observables)) for i, entry in enumerate(config.metrics)
    )
    known = {name: METRICS[name].quantities for name, _ in metrics}
    if config.replicas is not None:
        known["replicas"] = config.replicas.quantities

    def requirements(key: str) -> tuple[Requirement, ...]:
        entries = getattr(config, key)
        found = tuple(_requirement(entry, known, document, (key, i)) for i, entry in enumerate(entries))
        for i, requirement in enumerate(found):
            if requirement.metric == "replicas" and config.replicas is not None:
                _check_rival(requirement, config.replicas, document, (key, i))
        return found

    _check_sources(config, document)
    loaded = LoadedStudy(
        name=path.stem,
        folder=path.parent,
        config=config,
        family=family,
        surrogate=options,
        metrics=metrics,
        requirements=requirements("requirements"),
        student_requirements=requirements("student_requirements"),
        observables=observables,
        rivals=_rivals(config, document),
        document=document,
    )
    if config.student is None and loaded.student_requirements:
        raise document.error(("student_requirements",), "the study has no student; add the section or remove these")
    schema = _declared_schema(config.data.train)
    if schema is not None:
        check_fields(loaded, schema)
    return loaded


def _seeded(config: StudyConfig) -> StudyConfig:
    """Give trainings without a seed of their own the study's."""

    def seeded(training: TrainingConfig) -> TrainingConfig:
        own = "seed" in training.model_fields_set
        return training if own else training.model_copy(update={"seed": config.seed})

    student = config.student
    if student is not None:
        student = student.model_copy(update={"training": seeded(student.training)})
    return config.model_copy(update={"training": seeded(config.training), "student": student})


def _declared_schema(source: Source) -> _sample.Schema | None:
    """Fields of a source; None where only its files know them."""
    if isinstance(source, SimulatorSource):
        return source.schema_of_rows
    layout = source.layout()
    return None if layout is None else layout.schema


def _validate(model: type[M], data: Any, document: YamlDocument, prefix: Location) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise document.explain(error, prefix) from error
    except ParhelionError as error:
        raise document.error(prefix, str(error)) from error


def _surrogate(data: Any, document: YamlDocument, where: Location) -> tuple[str, SurrogateConfig]:
    kind = data.get("kind") if isinstance(data, dict) else None
    families = sorted(k for k in SURROGATES if k != "student")
    if not isinstance(kind, str) or kind not in families:
        raise document.error((*where, "kind"), f"{kind!r} is no family; choose one of {', '.join(families)}")
    options = {k: v for k, v in data.items() if k != "kind"}
    return kind, _validate(SURROGATES[kind].Config, options, document, where)


def _rivals(config: StudyConfig, document: YamlDocument) -> dict[str, tuple[str, Any]]:
    """Families and options of the rivals that are surrogates."""
    section, source = config.replicas, config.data.train
    if section is None:
        return {}
    if not isinstance(source, SimulatorSource):
        raise document.error(("replicas",), "only a simulator makes new training samples; remove this section")
    if config.data.splot is not None:
        raise document.error(("replicas",), "training samples with mass fits have no replicas; remove this section")
    toy = getattr(source.built(), "toy", None)
    for name, rival in section.rivals.items():
        if rival.draw == "fit" and toy is None:
            text = f"the form of simulator {source.simulator} is not known, so nothing can be fitted; remove this"
            raise document.error(("replicas", "rivals", name, "draw"), text)
    responses = [f for f in source.schema_of_rows.response if not f.shape and f.kind != "category"]
    for i, parts in enumerate(section.amplification.splits if section.amplification is not None else ()):
        if len(parts) != len(responses) or min(parts) < 1:
            text = f"expected one number of parts, at least 1, for each of {', '.join(f.name for f in responses)}"
            raise document.error(("replicas", "amplification", "splits", i), text)
    for i, name in enumerate(section.exceedance.fields if section.exceedance is not None else ()):
        if name not in [f.name for f in responses]:
            text = f"{name} is no scalar response; these are {', '.join(f.name for f in responses)}"
            raise document.error(("replicas", "exceedance", "fields", i), text)
    return {
        name: _surrogate(rival.surrogate, document, ("replicas", "rivals", name, "surrogate"))
        for name, rival in section.rivals.items()
        if rival.surrogate is not None
    }


def _options(kind: type[Any], data: Any, document: YamlDocument, where: Location) -> Any:
    unknown = _unknown_key(kind, data)
    if unknown is not None:
        raise document.error((*where, *unknown), UNKNOWN_KEY)
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        raise document.explain(error, where) from error
    except ParhelionError as error:
        raise document.error(where, str(error)) from error


def _unknown_key(kind: Any, data: Any) -> Location | None:
    """Path of the first key that a dataclass, or one inside it, does not have; pydantic passes over these."""
    if is_dataclass(kind) and isinstance(data, dict):
        hints = get_type_hints(kind)
        for key, value in data.items():
            inner = _unknown_key(hints[key], value) if key in hints else ()
            if inner is not None:
                return (key, *inner)
    elif isinstance(data, list):
        for (index, value), part in product(enumerate(data), get_args(kind)):
            inner = _unknown_key(part, value)
            if inner is not None:
                return (index, *inner)
    return None


def _metric(entry: Any, document: YamlDocument, where: Location, *, observed: bool) -> tuple[str, Any]:
    options = dict(entry) if isinstance(entry, dict) else {"metric": entry}
    name, on = options.pop("metric", None), options.pop("on", "observables" if observed else "response")
    if not isinstance(name, str) or name not in METRICS:
        raise document.error(where, f"{name!r} is no metric; choose one of {', '.join(sorted(METRICS))}")
    if on not in (("observables", "response") if observed else ("response",)):
        text = f"{on!r}: expected observables or response" + ("" if observed else "; the study has no observables")
        raise document.error((*where, "on"), text)
    found = _options(METRICS[name].options, options, document, where)
    return name, OnResponse(found) if observed and on == "response" else found


def _observables(entry: Any, document: YamlDocument, where: Location) -> tuple[str, Any]:
    options = dict(entry) if isinstance(entry, dict) else {"kind": entry}
    try:
        kind = require_kind(options.pop("kind", None))
    except ParhelionError as error:
        raise document.error(where, str(error)) from error
    return kind.kind, _validate(kind.Config, options, document, where)


def _requirement(entry: Any, known: dict[str, tuple[str, ...]], document: YamlDocument, where: Location) -> Requirement:
    requirement: Requirement = _options(Requirement, entry, document, where)
    if requirement.metric not in known:
        text = f"the study does not compute {requirement.metric}; it computes {', '.join(sorted(known))}"
        raise document.error((*where, "metric"), text)
    quantities = known[requirement.metric]
    if requirement.quantity is not None and requirement.quantity not in quantities:
        text = f"{requirement.metric} has no quantity {requirement.quantity}; choose one of {', '.join(quantities)}"
        raise document.error((*where, "quantity"), text)
    return requirement


def _check_rival(requirement: Requirement, section: ReplicasSection, document: YamlDocument, where: Location) -> None:
    names = "; ".join(section.results)
    if requirement.on not in section.results:
        raise document.error((*where, "on"), f"expected one rival, as in on: {section.results[0]!r}; there are {names}")
    if requirement.quantity is None:
        raise document.error(where, f"expected a quantity, one of {', '.join(section.quantities)}")


def _check_sources(config: StudyConfig, document: YamlDocument) -> None:
    data = config.data
    for part in ("train", "test"):
        source, where = getattr(data, part), ("data", part)
        if isinstance(source, FilesSource):
            _check_files(source, document, where)
    if data.test is not None and _same_rows(data.train, data.test):
        text = "these are the rows of train, which cannot judge it; leave test out to set a part of train aside"
        raise document.error(("data", "test"), text)
    if data.splot is not None:
        _check_splot(data.splot, data.train, document)


def _same_rows(train: Source, test: Source) -> bool:
    if isinstance(train, SimulatorSource) and isinstance(test, SimulatorSource):
        return (train.seed, train.built().identity()) == (test.seed, test.built().identity())
    if isinstance(train, FilesSource) and isinstance(test, FilesSource):
        return (train.files, train.selection) == (test.files, test.selection)
    return False


def _check_files(source: FilesSource, document: YamlDocument, where: Location) -> None:
    if not source.files:
        raise document.error((*where, "files"), "there is no file; give a path, a pattern, or a list of them")
    if source.format is not None:
        _check_format(source, document, where)
        return
    roles = ("condition", "response", "extra")
    for role in roles:
        for name, field in getattr(source, role).items():
            try:
                field.source(name)
            except ParhelionError as error:
                raise document.error((*where, role, name), str(error)) from error
    if any(getattr(source, role) for role in roles) and not (source.condition and source.response):
        empty = "response" if source.condition else "condition"
        raise document.error((*where, empty), "both condition and response need at least one field")
    undeclared = not source.condition
    for key in ("weight", "event_id", "group"):
        if undeclared and getattr(source, key) is not None:
            text = "files without declared condition and response say this themselves; declare the fields as well"
            raise document.error((*where, key), text)
    try:
        source.layout()
        if source.selection is not None:
            Selection(source.selection)
    except ParhelionError as error:
        key = "selection" if str(error).startswith("selection") else "condition"
        raise document.error((*where, key), str(error)) from error


def _check_format(source: FilesSource, document: YamlDocument, where: Location) -> None:
    given = ("condition", "response", "extra", "weight", "event_id", "group")
    own = next((key for key in given if getattr(source, key)), None)
    if own is not None:
        raise document.error((*where, own), "the format says what the fields are; remove this, or the format")
    try:
        source.layout()
    except ParhelionError as error:
        raise document.error((*where, "format"), str(error)) from error


def _check_splot(section: SplotConfig, train: Source, document: YamlDocument) -> None:
    where: Location = ("data", "splot")
    for label, spec in section.models.items():
        try:
            MassModel.from_dict(spec)
        except ParhelionError as error:
            raise document.error((*where, "models", label), str(error)) from error
    if not section.models or (section.by is None and len(section.models) > 1):
        text = f"{len(section.models)} mass models; give one, or one for each value of a category named by `by`"
        raise document.error((*where, "models"), text)
    if isinstance(train, SimulatorSource) and section.mass not in {f.name for f in train.schema_of_rows.fields}:
        text = f"rows of simulator {train.simulator} without a field {section.mass} have no sWeights"
        raise document.error(where, f"{text}; simulate with calibration: true (rich), or remove this section")
    if isinstance(train, FilesSource) and train.weight is not None:
        text = "rows that the mass fit weights cannot have weights already; remove this or the splot section"
        raise document.error(("data", "train", "weight"), text)
