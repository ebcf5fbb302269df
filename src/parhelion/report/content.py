"""What a report says, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parhelion.evaluation.results.result import MetricResult
from parhelion.report.showers import ShowerPictures
from parhelion.report.style import LABEL
from parhelion.sample import Sample

if TYPE_CHECKING:
    from parhelion.evaluation.results.verdict import Verdict
    from parhelion.splot import MassFit
    from parhelion.training.tracking import Curve


@dataclass(frozen=True)
class SampleEntry:
    """One sample of the study.

    Attributes
    ----------
    role
        What it was used for: training, validation, test, generated.
    source
        File or simulator.
    rows
        Number of rows.
    effective
        Effective sample size (sum w)^2 / sum w^2.
    negative_share
        Share of rows with a negative weight.
    seed
        Seed of its simulation, split or generation; None if there was none.
    """

    role: str
    source: str
    rows: int
    effective: float
    negative_share: float
    seed: int | None = None

    @classmethod
    def of(cls, role: str, sample: Sample, seed: int | None = None) -> SampleEntry:
        """Describe a sample."""
        weights = sample.weights
        return cls(role, sample.source, weights.rows, weights.effective, weights.negative_share, seed)


@dataclass(frozen=True)
class SurrogateEntry:
    """The surrogate that was judged.

    Attributes
    ----------
    kind
        Key in the registry of surrogates.
    parameters
        Number of trained parameters; None for a surrogate without any.
    condition, response
        Titles (name with unit) of the fields.
    config
        Its configuration, nested as in the study file.
    """

    kind: str
    parameters: int | None
    condition: Sequence[str]
    response: Sequence[str]
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingEntry:
    """How it was trained.

    Attributes
    ----------
    seconds
        Wall time.
    steps
        Optimisation steps taken.
    seed
        Seed of initial parameters, batches and noise.
    machine
        Processor, cores, GPU.
    best_step
        Step of the parameters that were kept; None if the last.
    config
        Training options, nested as in the study file.
    """

    seconds: float
    steps: int
    seed: int
    machine: str
    best_step: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Wall time of one part of the study; `rows` gives a rate where it makes sense."""

    what: str
    seconds: float
    rows: int | None = None


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report shows; what is empty is left out.

    Attributes
    ----------
    title, description
        From the study file.
    verdict
        Outcome of the requirements; None if the study was not judged.
    companions
        Verdicts on what was made beside the surrogate (its one-pass student), by name.
    results
        Metric results; their details make the figures.
    showers
        Showers of both samples at some energies, where responses are images (`showers.shower_pictures`).
    samples, surrogate, training
        What was trained on what.
    curves
        Curves of the training log by name, as `parhelion.training.tracking.read_curves` gives them.
    mass_fits
        Mass fits that gave the sWeights, by a name such as the species.
    mass_unit
        Unit of the mass in these fits.
    timings
        Where the time went.
    command
        The command line that makes this report again.
    versions
        Versions of what matters, by name.
    warnings
        Sentences that the reader must see, shown below the verdict.
    label
        Text above each figure. It should not name an experiment that has not approved the figure.
    created
        When the report was made, as text; left out if empty, so that equal content gives equal bytes.
    """

    title: str
    description: str = ""
    verdict: Verdict | None = None
    companions: Mapping[str, Verdict] = field(default_factory=dict)
    results: Sequence[MetricResult] = ()
    showers: Sequence[ShowerPictures] = ()
    samples: Sequence[SampleEntry] = ()
    surrogate: SurrogateEntry | None = None
    training: TrainingEntry | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    mass_fits: Mapping[str, MassFit] = field(default_factory=dict)
    mass_unit: str = "GeV"
    timings: Sequence[Timing] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    label: str = LABEL
    created: str = ""
