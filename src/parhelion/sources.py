"""The samples of a study: simulated or read, weighted by mass fits, split, and written once, in streams."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parhelion import io
from parhelion.checks import check_fields
from parhelion.config import LoadedStudy
from parhelion.deploy import OUTSIDE
from parhelion.errors import ConfigError, DataError
from parhelion.files import atomic_path
from parhelion.io.energies import require_not_negative
from parhelion.observables import build, require_scale
from parhelion.progress import bar
from parhelion.provenance import versions
from parhelion.sample import Sample, Schema, concatenate
from parhelion.sections import FilesSource, SimulatorSource, Source, SplotConfig
from parhelion.simulators.running import simulate_to_file
from parhelion.split import assign, split
from parhelion.splot import MassFit, MassModel, apply_fits, factorisation_check, fit_stream
from parhelion.weights import require_positive_total

Say = Callable[[str], None]

_CHECKED_ROWS = 20_000
_FACTORISED_ROWS = 200_000
_POOR_FIT = 1e-3
_HOLD_OUT = 1 << 63


@dataclass(frozen=True)
class MassFits:
    """Mass fits by code of the category (None without one) and by its label."""

    by_code: dict[float | None, MassFit]
    by_label: dict[str, MassFit]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, by label."""
        return {label: fit.to_dict() for label, fit in self.by_label.items()}


def make_samples(study: LoadedStudy, folder: Path, *, say: Say, show_progress: bool) -> None:
    """Write ``data/train.h5``, ``data/validation.h5`` and ``data/test.h5`` of a run's folder.

    Nothing is held whole: the source is streamed once to a file, mass fits take a bounded number of masses, and each
    part is a stream over that file.

    Parameters
    ----------
    study
        The study.
    folder
        The run's folder.
    say
        Called with a sentence for each mass fit.
    show_progress
        Show progress bars (on a terminal).

    Raises
    ------
    ConfigError
        The study names a field that its files do not have.
    DataError
        A file cannot be read as declared, train and test have different fields, or a part has no rows.
    """
    data, config = folder / "data", study.config
    _check_sources(study)
    raw = data / "raw.h5"
    _write_source(config.data.train, study, raw, show_progress)
    section = config.data.splot
    fits = fit_masses(section, lambda: io.iterate(raw), say) if section is not None else None
    if fits is not None:
        with atomic_path(data / "mass_fits.json") as temporary:
            temporary.write_text(json.dumps(fits.to_dict()), encoding="utf-8")
    test_inside = config.data.test is None
    test_share = config.data.test_share if test_inside else 0.0
    rest = 1.0 - test_share
    validation = rest * config.data.validation_share
    shares = {"train": rest - validation, "validation": validation}
    if test_inside:
        shares["test"] = test_share
    made = {
        "study": study.name,
        "seed": config.seed,
        "versions": versions(),
        "data": config.data.model_dump(mode="json"),
    }
    for index, part in enumerate(shares):

        def chosen(index: int = index) -> Iterator[Sample]:
            for chunk in io.iterate(raw):
                weighted = chunk
                if fits is not None and section is not None:
                    weighted = apply_fits(chunk, fits.by_code, mass=section.mass, by=section.by)
                yield weighted.take(assign(weighted.group, shares, config.seed) == index)

        io.write(_some(chosen(), part), data / f"{part}.h5", provenance=made, overwrite=True)
    if config.data.test is not None:
        _write_source(config.data.test, study, data / "test.h5", show_progress)
    raw.unlink()


def _check_sources(study: LoadedStudy) -> None:
    """Find what is wrong with files and names before anything is simulated or copied."""
    schemas: list[tuple[str, Schema]] = []
    firsts: list[Sample] = []
    for source in (study.config.data.train, study.config.data.test):
        if source is None:
            continue
        if isinstance(source, SimulatorSource):
            schemas.append((f"simulator {source.simulator}", source.schema_of_rows))
            continue
        first = next(rows_of(source, study.folder, chunk_rows=_CHECKED_ROWS))
        schemas.append((first.source, first.schema))
        firsts.append(first)
    check_fields(study, schemas[0][1])
    for first in firsts:
        if first.schema == schemas[0][1]:
            require_scale(first, build(study.observables, first.schema))
    for role in ("condition", "response"):
        fields = [(name, getattr(schema, role)) for name, schema in schemas]
        if fields[0][1] != fields[-1][1]:
            train, test = (", ".join(f.title for f in given) for _, given in (fields[0], fields[-1]))
            msg = (
                f"{fields[-1][0]}: the {role} fields of the test sample are {test}; expected those of the training "
                f"sample, {train}, with the same units, shapes, kinds and values"
            )
            raise DataError(msg)


def _some(chunks: Iterator[Sample], part: str) -> Iterator[Sample]:
    """Refuse an empty part, and one whose sum of weights is not positive."""
    rows, total, source = 0, 0.0, ""
    for chunk in chunks:
        rows, total, source = rows + len(chunk), total + float(chunk.weight.sum()), chunk.source
        if len(chunk):
            yield chunk
    if not rows:
        msg = f"the {part} part of the sample has no rows; take more rows, or another share in the section data"
        raise DataError(msg)
    require_positive_total([total], source=source if part == "whole" else f"the {part} part of the sample")


def _write_source(source: Source, study: LoadedStudy, path: Path, show_progress: bool) -> None:
    if isinstance(source, SimulatorSource):
        progress: AbstractContextManager[Callable[[int, int], None] | None] = (
            bar("simulating", source.rows) if show_progress else nullcontext()
        )
        with progress as update:
            simulate_to_file(
                source.built(), source.rows, path, seed=source.seed, resume=True, overwrite=True, progress=update
            )
        return
    made = {"source": source.model_dump(mode="json"), "versions": versions()}
    io.write(_some(_sound(source, study), "whole"), path, provenance=made, overwrite=True)


def _sound(source: FilesSource, study: LoadedStudy) -> Iterator[Sample]:
    """The rows of files, whose cells are not negative where the surrogate cuts them at a threshold."""
    for chunk in rows_of(source, study.folder):
        if study.surrogate.codec.threshold is not None:
            for field in chunk.schema.response:
                require_not_negative(chunk, field.name)
        yield chunk


def rows_of(
    source: Source,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    chunk_rows: int = 100_000,
) -> Iterator[Sample]:
    """Stream the rows of a source.

    Parameters
    ----------
    source
        Files or simulator.
    folder
        Folder to which the paths of files are relative.
    progress
        Called with (rows made, all rows) by simulators.
    chunk_rows
        Rows of files to read at a time.
    """
    if isinstance(source, FilesSource):
        names = [source.files] if isinstance(source.files, str) else source.files
        yield from io.iterate(
            [_beside(folder, name) for name in names],
            source.layout(),
            chunk_rows=chunk_rows,
            tree=source.tree,
            selection=source.selection if source.layout() is None else None,
            limit=source.limit,
        )
        return
    yield from source.built().simulate(source.rows, seed=source.seed, progress=progress)


def _beside(folder: Path, name: str) -> Path:
    path = Path(name).expanduser()
    # The pattern is the user's; a bracket in the name of the study's folder is none.
    return path if path.is_absolute() else Path(glob.escape(str(folder)) if glob.has_magic(name) else folder) / path


def layout_of(path: str, study: LoadedStudy) -> io.Layout | None:
    """Layout to read a file with: its own (None) if Parhelion wrote it, else that of the study's training files."""
    source = study.config.data.train
    declared = source.layout() if isinstance(source, FilesSource) else None
    if declared is None or io.stored_layout(io.expand(path)[0], tree=declared.tree) is not None:
        return None
    return declared


def hold_out(sample: Sample, study: LoadedStudy) -> tuple[Sample, Sample]:
    """Training and validation rows of a sample, by hash of the group.

    The hash is another than that of a run's parts: all rows of a run's training part have that one below a limit.
    """
    share = study.config.data.validation_share
    parts = split(sample, {"train": 1 - share, "validation": share}, study.config.seed + _HOLD_OUT)
    for name, part in parts.items():
        if not len(part):
            msg = f"{sample.source}: of {len(sample)} rows none is left for the {name} part; take more rows"
            raise DataError(msg)
    return parts["train"], parts["validation"]


def inside_domain(reference: Sample, generated: Sample, say: Say) -> tuple[Sample, Sample]:
    """Leave out generated rows that are marked as outside the trained domain, and the reference rows they stand for."""
    if OUTSIDE.name not in generated.columns or not np.any(generated[OUTSIDE.name]):
        return reference, generated
    outside = generated[OUTSIDE.name] != 0
    say(f"{int(outside.sum()):,} of {len(generated):,} generated rows lie outside the trained domain and are left out")
    return reference.take(~np.isin(reference.event_id, generated.event_id[outside])), generated.take(~outside)


def fit_masses(section: SplotConfig, chunks: Callable[[], Iterator[Sample]], say: Say) -> MassFits:
    """Fit the mass spectra of a study's sPlot section over a stream.

    Parameters
    ----------
    section
        Mass models by label of the category.
    chunks
        Opens the stream of rows.
    say
        Called with a sentence for each fit, and with a warning where one is poor or a response depends on the mass.

    Raises
    ------
    ConfigError
        The category has no value of a name in the section, or the category field is missing.
    """
    named = section.built()
    if section.by is None:
        label = next(iter(named))
        fits = fit_stream(chunks(), {None: named[label]}, mass=section.mass)
        found = MassFits(fits, {label: fits[None]})
    else:
        field = next(chunks()).schema[section.by]
        codes = {field.label_of(v): v for v in field.values}
        unknown = [name for name in named if name not in codes]
        if unknown:
            msg = f"splot: {section.by} has no value called {unknown[0]}; its values are {', '.join(codes)}"
            raise ConfigError(msg)
        models: dict[float | None, MassModel] = {codes[name]: model for name, model in named.items()}
        fits = fit_stream(chunks(), models, mass=section.mass, by=section.by)
        found = MassFits(fits, {name: fits[codes[name]] for name in named if codes[name] in fits})
    for label, fit in found.by_label.items():
        say(f"mass fit {label}: {fit}")
        for warning in _doubts(fit):
            say(f"warning: mass fit {label} {warning}")
    for sentence in _dependences(section, found, chunks):
        say(f"warning: {sentence}")
    return found


def _doubts(fit: MassFit) -> Iterator[str]:
    if fit.p_value < _POOR_FIT:
        yield (
            f"does not describe the spectrum (chi2/ndf {fit.chi2:.1f}/{fit.ndf}, p = {fit.p_value:.1g}), so its "
            "sWeights are biased; try another signal or background shape, or another window"
        )
    if fit.at_limit:
        yield (
            f"ended with {', '.join(fit.at_limit)} at a limit, so its errors mean little; fix the parameter, give a "
            "start value, or take a simpler shape"
        )


def _dependences(section: SplotConfig, found: MassFits, chunks: Callable[[], Iterator[Sample]]) -> Iterator[str]:
    """Warnings where a response depends on the mass within a component, over the first rows of the stream."""
    kept: list[Sample] = []
    for chunk in chunks():
        kept.append(chunk.take(slice(0, _FACTORISED_ROWS - sum(map(len, kept)))))
        if sum(map(len, kept)) >= _FACTORISED_ROWS:
            break
    rows = concatenate(kept)
    mass = np.asarray(rows[section.mass], dtype=np.float64)
    codes = None if section.by is None else np.asarray(rows[section.by], dtype=np.float64)
    scalars = [f for f in rows.schema.response if not f.shape]
    labels = {id(fit): label for label, fit in found.by_label.items()}
    for code, fit in found.by_code.items():
        chosen = fit.inside(mass) & (True if codes is None or code is None else codes == code)
        for field in scalars:
            with suppress(DataError):  # too few rows in a mass region, or a constant response: nothing to compare
                check = factorisation_check(np.asarray(rows[field.name], float)[chosen], mass[chosen], fit)
                sentence = check.warning(f"{labels[id(fit)]}: {field.name}")
                if sentence is not None:
                    yield sentence
