"""A study, run from its file to its verdict; the floors tied together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from parhelion import io
from parhelion.config import LoadedStudy, load_study
from parhelion.deploy import generate
from parhelion.evaluation import METRICS, MetricResult, Requirement, Verdict, judge
from parhelion.files import atomic_path
from parhelion.observables import build
from parhelion.observed import evaluate_observed
from parhelion.phases import Phases
from parhelion.progress import bar
from parhelion.provenance import machine, versions
from parhelion.replicas import run_replicas
from parhelion.report import (
    ReportContent,
    SampleEntry,
    SurrogateEntry,
    Timing,
    TrainingEntry,
    save_figures,
    write_report,
)
from parhelion.report.showers import ShowerPictures, shower_pictures
from parhelion.sample import Sample, Schema
from parhelion.sections import FilesSource, PackageSection, SimulatorSource, StudentSection
from parhelion.sources import make_samples
from parhelion.splot import MassFit
from parhelion.surrogates import SURROGATES, Student, Surrogate, load
from parhelion.training import TrainingConfig, fit, read_curves
from parhelion.training.progress import quiet

Say = Callable[[str], None]

JUDGED_ROWS = 1_000_000
IN_MEMORY_ROWS = 3_000_000
# Numbers of one sample that are judged at most: images have few rows in as much memory as tables have many.
JUDGED_NUMBERS = 250_000_000


def rows_within(schema: Schema, rows: int) -> int:
    """Rows to judge: `rows`, or fewer where these would have more than `JUDGED_NUMBERS` numbers."""
    width = sum(field.width for field in schema.fields)
    return max(1, min(rows, JUDGED_NUMBERS // max(width, 1)))


@dataclass(frozen=True)
class Judgement:
    """Results of the metrics and the verdict on them."""

    results: list[MetricResult]
    verdict: Verdict
    left_out: int
    showers: tuple[ShowerPictures, ...] = ()


@dataclass(frozen=True)
class StudyRun:
    """What a run left behind.

    Attributes
    ----------
    folder
        Where everything is: ``report.html``, ``surrogate.safetensors``, ``generated.root``, ``verdict.json``.
    surrogate, student
        Judgement on the surrogate, and on its one-pass student if the study has one.
    """

    folder: Path
    surrogate: Judgement
    student: Judgement | None

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @property
    def passed(self) -> bool:
        """True if every requirement is met, by the student too."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 if every requirement is met; 1 if one fails, else 3 if the samples cannot tell (see `Verdict`)."""
        codes = {j.verdict.exit_code for j in (self.surrogate, self.student) if j is not None}
        return next((code for code in (1, 3) if code in codes), 0)

    def to_dict(self) -> dict[str, Any]:
        """Verdicts as plain data for JSON."""
        return {
            "passed": self.passed,
            "report": str(self.report),
            "surrogate": self.surrogate.verdict.to_dict(),
            "student": None if self.student is None else self.student.verdict.to_dict(),
        }


class Study:
    """A study that was loaded and checked.

    Examples
    --------
    >>> study = Study.load("rich")
    >>> study.name
    'rich'
    """

    def __init__(self, loaded: LoadedStudy) -> None:
        self.loaded = loaded
        self.config = loaded.config
        self.name = loaded.name

    @classmethod
    def load(cls, study: str | os.PathLike[str]) -> Study:
        """Load a study by name or path; it is checked whole (see `config.load_study` for errors)."""
        return cls(load_study(study))

    def run(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        resume: bool = False,
        figures: bool = False,
        say: Say | None = None,
        show_progress: bool = False,
    ) -> StudyRun:
        """Simulate or read, fit masses, train, distil, generate, judge, report.

        Each phase leaves its files whole or not at all; with `resume`, finished phases are not done again and training
        goes on from its checkpoint.

        Parameters
        ----------
        folder
            Where to put everything; ``runs/NAME`` if not given.
        resume
            Go on with an interrupted run of the same study.
        figures
            Write each figure of the report as PNG and PDF too, into ``figures``.
        say
            Called with a sentence at each phase.
        show_progress
            Show progress bars (on a terminal).

        Raises
        ------
        ConfigError
            The folder holds another run, or a run of a changed study.
        """
        run = _Run(self.loaded, Path(folder) if folder is not None else Path("runs") / self.name, say, show_progress)
        return run.do(resume=resume, figures=figures)


class _Run:
    def __init__(self, study: LoadedStudy, folder: Path, say: Say | None, show_progress: bool) -> None:
        self.study, self.config, self.folder = study, study.config, folder
        self.say: Say = say or (lambda text: None)
        self.show_progress = show_progress
        self.phases = Phases(folder, study.text, study.fingerprint)

    def do(self, *, resume: bool, figures: bool) -> StudyRun:
        self.phases.open(resume=resume)
        config = self.config
        with self.phases.nothing_left_on_error(), self.phases.timed("data", self.say) as todo:
            if todo:
                make_samples(self.study, self.folder, say=self.say, show_progress=self.show_progress)
        surrogate = self._train()
        student = self._distil(surrogate, config.student) if config.student else None
        test = io.read(self.folder / "data" / "test.h5", limit=rows_within(self._schema(), JUDGED_ROWS))
        self.say(f"test sample: {test.weights}")
        beside = []
        if config.replicas is not None:
            with self.phases.timed("replicas", self.say, always=True):
                beside = run_replicas(self.study, test, self.folder / "replicas", say=self.say)
        judged = self._judge("judge", surrogate, test, self.study.metrics, self.study.requirements, beside)
        judged_student = None
        if student is not None:
            requirements = self.study.student_requirements
            wanted = {requirement.metric for requirement in requirements}
            metrics = tuple((name, options) for name, options in self.study.metrics if name in wanted)
            judged_student = self._judge("judge student", student, test, metrics, requirements)
        done = StudyRun(self.folder, judged, judged_student)
        with self.phases.timed("report", self.say, always=True):
            content = self._content(done, surrogate, test)
            write_report(done.report, content)
            if figures:
                save_figures(self.folder / "figures", content)
        with atomic_path(self.folder / "verdict.json") as temporary:
            temporary.write_text(json.dumps(done.to_dict(), indent=1), encoding="utf-8")
        if config.package is not None:
            with self.phases.timed("package", self.say, always=True):
                self._export(config.package)
        return done

    # ----------------------------------------------------------------- phases
    def _train(self) -> Surrogate:
        path = self.folder / "surrogate.safetensors"
        with self.phases.timed("training", self.say) as todo:
            if not todo:
                return load(path)
            surrogate = SURROGATES[self.study.family](self._schema(), self.study.surrogate)
            self._fit(surrogate, "training", self.config.training)
            surrogate.save(path)
            return surrogate

    def _distil(self, teacher: Surrogate, section: StudentSection) -> Surrogate:
        path = self.folder / "student.safetensors"
        with self.phases.timed("distillation", self.say) as todo:
            if not todo:
                return load(path)
            student = Student(teacher.schema, section.surrogate)
            student.learn_from(teacher, seed=self.config.seed)
            self._fit(student, "distillation", section.training)
            student.save(path)
            return student

    def _schema(self) -> Schema:
        return next(io.iterate(self.folder / "data" / "train.h5", chunk_rows=1)).schema

    def _fit(self, surrogate: Surrogate, name: str, config: TrainingConfig) -> None:
        file, run_dir = self.folder / "data" / "train.h5", self.folder / name
        rows = io.columns(file)[0].rows
        whole = rows <= IN_MEMORY_ROWS
        train = io.read(file) if whole else partial(io.iterate, file)
        if isinstance(train, Sample):
            self.say(f"training sample: {train.weights}")
        result = fit(
            surrogate,
            train,
            config=config,
            validation=io.read(self.folder / "data" / "validation.h5", limit=IN_MEMORY_ROWS),
            run_dir=run_dir,
            # Where there is no checkpoint yet, this starts from the beginning.
            resume=True,
            progress=None if self.show_progress else quiet,
        )
        self.phases.note(name, {"steps": result.steps, "best_step": result.best_step, "seconds": result.elapsed})
        surrogate.provenance |= self._provenance()

    def _judge(
        self,
        phase: str,
        surrogate: Surrogate,
        test: Sample,
        metrics: tuple[tuple[str, Any], ...],
        requirements: tuple[Requirement, ...],
        beside: Sequence[MetricResult] = (),
    ) -> Judgement:
        output = "generated-student.root" if isinstance(surrogate, Student) else "generated.root"
        # Results are cheap beside training: they are computed again rather than trusted from an earlier run.
        with self.phases.timed(phase, self.say, always=True):
            self.phases.start_clock()
            generated = generate(surrogate, test, seed=self.config.seed, outside="flag")
            inside = generated["outside_domain"] == 0
            self.phases.rate(f"generation ({surrogate.kind})", len(test))
            io.write(generated, self.folder / output, overwrite=True, provenance=self._provenance())
            reference, kept = test.take(inside), generated.take(inside)
            results = evaluate_observed(
                reference,
                kept,
                metrics,
                build(self.study.observables, test.schema),
                seed=self.config.seed,
                train=self._training_rows(metrics),
            )
            results = [*results, *beside]
            verdict = judge(results, requirements, seen=self.config.loss_fields)
        return Judgement(results, verdict, int(np.sum(~inside)), shower_pictures(reference, kept))

    def _training_rows(self, metrics: Sequence[tuple[str, Any]]) -> Sample | None:
        """The training sample, where a metric compares with it."""
        if not any(METRICS[name].needs_train or METRICS[name].uses_train for name, _ in metrics):
            return None
        return io.read(self.folder / "data" / "train.h5", limit=IN_MEMORY_ROWS)

    def _export(self, section: PackageSection) -> None:
        from parhelion.deploy.exporting import export
        from parhelion.deploy.runs import exportable

        found = exportable(
            self.folder, section.form, name=self.study.name, licence=section.licence, author=section.author
        )
        path = self.folder / f"{self.study.name}.onnx"
        with bar("comparing", section.rows) if self.show_progress else nullcontext() as progress:
            trial = export(
                found.surrogate, path, origin=found.origin, rows=section.rows, seed=self.config.seed, progress=progress
            )
        self.say(
            f"package: {path} ({found.form} form; {trial.rows + trial.edge_rows:,} rows answered as by the surrogate, "
            f"largest difference {trial.largest:.1g} of the spread)"
        )

    # ----------------------------------------------------------------- report
    def _provenance(self) -> dict[str, Any]:
        return {
            "study": self.study.name,
            "seed": self.config.seed,
            "data": self.config.data.model_dump(mode="json"),
            "versions": versions(),
            "machine": machine(),
        }

    def _content(self, done: StudyRun, surrogate: Surrogate, test: Sample) -> ReportContent:
        folder, config = self.folder, self.config
        train, validation = (
            io.read(folder / "data" / f"{part}.h5", limit=IN_MEMORY_ROWS) for part in ("train", "validation")
        )
        fits_file = folder / "data" / "mass_fits.json"
        fits = json.loads(fits_file.read_text(encoding="utf-8")) if fits_file.exists() else {}
        notes = self.phases.notes("training")
        # A library learns at once and leaves no curves.
        curves = folder / "training" / "curves.jsonl"
        warnings = []
        if done.surrogate.left_out:
            warnings.append(
                f"{done.surrogate.left_out:,} of {len(test):,} test rows lie outside the domain of the training sample "
                "and were left out of the judgement."
            )
        return ReportContent(
            title=config.title,
            description=config.description,
            verdict=done.surrogate.verdict,
            companions={} if done.student is None else {"One-pass student": done.student.verdict},
            results=done.surrogate.results,
            showers=done.surrogate.showers,
            samples=[
                _entry("training", train, config.data.train),
                _entry("validation", validation, config.data.train),
                _entry("test", test, config.data.test or config.data.train),
            ],
            surrogate=SurrogateEntry(
                kind=surrogate.kind,
                parameters=sum(p.numel() for p in surrogate.parameters()) or None,
                condition=[f.title for f in surrogate.schema.condition],
                response=[f.title for f in surrogate.schema.response],
                config=surrogate.config.model_dump(mode="json"),
            ),
            training=TrainingEntry(
                seconds=float(notes.get("seconds", 0.0)),
                steps=int(notes.get("steps", 0)),
                seed=config.training.seed,
                machine=machine(),
                best_step=notes.get("best_step"),
                config=config.training.model_dump(mode="json"),
            ),
            curves=read_curves(curves) if curves.exists() else {},
            mass_fits={name: MassFit.from_dict(fit) for name, fit in fits.items()},
            timings=[Timing(what, seconds, rows) for what, seconds, rows in self.phases.timings()],
            command=f"parhelion run {self.study.name}",
            versions=versions(),
            warnings=warnings,
        )


def _entry(role: str, sample: Sample, source: FilesSource | SimulatorSource) -> SampleEntry:
    entry = SampleEntry.of(role, sample, getattr(source, "seed", None))
    if isinstance(source, FilesSource):
        return replace(entry, source=source.files if isinstance(source.files, str) else ", ".join(source.files))
    chosen = {name: getattr(source.options, name) for name in sorted(source.options.model_fields_set)}
    words = [
        name.replace("_", " ") + ("" if value is True else f" {value}")
        for name, value in chosen.items()
        if value is not False
    ]
    return replace(entry, source=", ".join([f"simulator {source.simulator}", *words]))
