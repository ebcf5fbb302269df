"""What can be exported from a run's folder or from a surrogate file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parhelion.deploy.bookkeeping import content_checksum
from parhelion.deploy.exporting import Origin
from parhelion.errors import ConfigError, DataError
from parhelion.surrogates import Student, Surrogate, load

_FILES = {"exact": "surrogate.safetensors", "student": "student.safetensors"}


@dataclass(frozen=True)
class Exportable:
    """A surrogate with its form and where it comes from."""

    surrogate: Surrogate
    form: str
    origin: Origin


def exportable(
    source: Path, form: str = "auto", *, name: str | None = None, licence: str | None = None, author: str | None = None
) -> Exportable:
    """Find what to export.

    Parameters
    ----------
    source
        Folder of a run, or a surrogate file.
    form
        Of a run: ``exact``, ``student``, or ``auto`` for the student if the run has one that met its requirements, else
        the exact form.
    name, licence, author
        For the package; its name is the study's or the file's if left out.

    Raises
    ------
    ConfigError
        The run has no student, or a file was given with a form that it does not have.
    DataError
        The folder holds no finished run, or a file is damaged.
    """
    if not source.is_dir():
        surrogate = load(source)
        found = "student" if isinstance(surrogate, Student) else "exact"
        if form not in ("auto", found):
            msg = f"--form {form}: {source} holds the {found} form; give the folder of a run to choose"
            raise ConfigError(msg)
        return Exportable(surrogate, found, Origin(name or source.stem, licence=licence, author=author))
    if not (source / _FILES["exact"]).is_file():
        msg = f"{source}: holds no trained surrogate ({_FILES['exact']}); give the folder of a run, or a surrogate file"
        raise DataError(msg)
    verdicts = _verdicts(source / "verdict.json")
    student = (source / _FILES["student"]).is_file()
    if form == "student" and not student:
        msg = f"--form student: the run {source} has no student; add the section student to its study, or export exact"
        raise ConfigError(msg)
    if form == "auto":
        form = "student" if student and (verdicts.get("student") or {}).get("status", "pass") == "pass" else "exact"
    surrogate = load(source / _FILES[form])
    data = {path.stem: content_checksum(path) for path in sorted((source / "data").glob("*.h5"))}
    origin = Origin(
        name or str(surrogate.provenance.get("study", source.name)),
        verdict=verdicts.get("student" if form == "student" else "surrogate"),
        data=data,
        licence=licence,
        author=author,
    )
    return Exportable(surrogate, form, origin)


def _verdicts(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: is damaged; run the study again with --resume"
        raise DataError(msg) from error
    return found if isinstance(found, dict) else {}
