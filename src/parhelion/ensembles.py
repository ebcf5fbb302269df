"""Ensembles of surrogates: members trained with other seeds and on bootstrapped samples, and what they predict."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import poisson

from parhelion.config import LoadedStudy
from parhelion.deploy import generate
from parhelion.errors import ConfigError
from parhelion.evaluation import HistogramOptions, MetricResult
from parhelion.evaluation.binning import require_category, require_rows, scalar
from parhelion.evaluation.comparison import Comparison, compare
from parhelion.evaluation.ensemble import NAME, ensemble_result
from parhelion.evaluation.histograms import histogram_edges
from parhelion.noise import uniform
from parhelion.provenance import made_by
from parhelion.sample import Field, Sample
from parhelion.sources import Say, hold_out, inside_domain
from parhelion.surrogates import SURROGATES, load
from parhelion.training import fit
from parhelion.training.progress import quiet
from parhelion.training.table import stream_seed
from parhelion.weights import require_positive_total

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
MemberKind = Literal["bootstrap", "seed"]

CHUNK = 65_536
# "boot" and "half" in ASCII, so that neither shares its random numbers with a generation or a split.
_BOOTSTRAP, _HALF = 0x626F6F74, 0x68616C66
_KINDS: dict[str, int] = {"bootstrap": 1, "seed": 2}


def bootstrapped(sample: Sample, seed: int) -> Sample:
    """Bootstrap replica of a sample: signed weights times Poisson counts of mean 1, one count a group.

    The count follows from seed and group alone, so the same rows get it in any part and order of the sample. Rows that
    are not drawn are left out.
    """
    u = uniform(seed, sample.group, 1, stage=_BOOTSTRAP)[:, 0]
    count = np.searchsorted(poisson.cdf(np.arange(16), 1.0), u)
    drawn = count > 0
    return sample.take(drawn).with_weight((sample.weight * count)[drawn])


def member_seed(seed: int, kind: MemberKind, index: int) -> int:
    """Seed of a member's training and bootstrap, 31 bits: some of what surrogates are made of takes no more."""
    return stream_seed(seed, _BOOTSTRAP, _KINDS[kind], index) >> 32


def train_members(
    study: LoadedStudy,
    sample: Sample,
    folder: str | os.PathLike[str],
    members: int,
    *,
    kind: MemberKind = "bootstrap",
    seed: int = 1,
    validation: Sample | None = None,
    say: Say | None = None,
) -> list[Path]:
    """Train the members of an ensemble as the study trains its surrogate.

    Each goes to ``folder/member-000/surrogate.safetensors`` and so on; its seed is in the file. A finished member is
    kept and an interrupted one resumed, so the call can be repeated, also with more members.

    Parameters
    ----------
    study
        Its surrogate and training sections are used.
    sample
        Training sample.
    folder
        Where the members go.
    members
        How many.
    kind
        ``bootstrap``: each on its own bootstrap replica of the sample with a seed of its own; ``seed``: all on the
        sample itself, with seeds of their own.
    seed
        Seed from which those of the members are derived.
    validation
        Validation sample; if not given, the share of the sample that the study sets aside, before the bootstrap.
    say
        Called with a sentence for each member.

    Returns
    -------
    list of Path
        The surrogate files.

    Raises
    ------
    ConfigError
        The folder holds a member of another study, sample, kind or seed; the kind is unknown.
    Interrupted
        Ctrl-C or SIGTERM; call again to go on.
    """
    if kind not in _KINDS or members < 1:
        msg = f"ensemble: kind {kind!r}, {members} members; expected bootstrap or seed, and at least 1"
        raise ConfigError(msg)
    train, held = hold_out(sample, study) if validation is None else (sample, validation)
    paths = []
    for index in range(members):
        place = Path(folder) / f"member-{index:03d}"
        path = place / "surrogate.safetensors"
        identity = {"index": index, **_identity(study, train, kind, member_seed(seed, kind, index))}
        paths.append(path)
        if _finished(path, identity):
            continue
        if say is not None:
            say(f"ensemble: training member {index + 1} of {members} ({kind})")
        _train_one(study, train, held, path, identity)
    return paths


def _identity(study: LoadedStudy, train: Sample, kind: str, seed: int) -> dict[str, Any]:
    """What makes a member what it is, kept in its file."""
    return {
        "kind": kind,
        "seed": seed,
        "study": study.fingerprint,
        "rows": len(train),
        "sum_of_weights": float(np.sum(train.weight)),
    }


def _train_one(study: LoadedStudy, train: Sample, held: Sample, path: Path, identity: dict[str, Any]) -> None:
    rows = bootstrapped(train, identity["seed"]) if identity["kind"] == "bootstrap" else train
    surrogate = SURROGATES[study.family](rows.schema, study.surrogate)
    surrogate.provenance = made_by(study.name, identity["seed"], rows) | {"member": identity}
    fit(
        surrogate,
        rows,
        config=study.config.training,
        validation=held if len(held) else None,
        run_dir=path.parent / "training",
        resume=True,
        progress=quiet,
        seed=identity["seed"],
    )
    surrogate.save(path)


def _finished(path: Path, identity: dict[str, Any]) -> bool:
    """Whether the member is there; refuse that of another ensemble."""
    if not path.is_file():
        return False
    found = load(path).provenance.get("member")
    if found != identity:
        different = [key for key in identity if not isinstance(found, dict) or found.get(key) != identity[key]]
        msg = (
            f"{path}: is a member of another ensemble ({', '.join(different)} differ); choose another folder, or "
            "remove this one"
        )
        raise ConfigError(msg)
    return True


@dataclass(frozen=True)
class Binning:
    """Bins of one response, for one category or all rows.

    Attributes
    ----------
    field
        Scalar response.
    edges
        Edges of B bins, shape (B + 1,), in its unit; under- and overflow come on top.
    category, code
        Category condition and its value; None for all rows.
    """

    field: str
    edges: FloatArray
    category: str | None = None
    code: float | None = None

    @property
    def title(self) -> str:
        """Field and category in words."""
        return self.field if self.category is None else f"{self.field} for {self.category} = {self.code:g}"


def ensemble_predictions(
    members: Sequence[str | os.PathLike[str]], conditions: Sample, binnings: Sequence[Binning], *, seed: int
) -> list[FloatArray]:
    """Binned predictions of each member, generated in chunks.

    All members get the same noise. Conditions beyond the range that a member saw are generated for all the same: it
    saw a replica of the sample on whose range the test sample was judged.

    Parameters
    ----------
    members
        Surrogate files.
    conditions
        Rows to generate for; their weights count.
    binnings
        What to fill.
    seed
        Seed of noise and halves.

    Returns
    -------
    list of ndarray
        One a binning, shape (members, 2, B + 2): shares of the weight in each bin, underflow first, in the two halves
        of the conditions (by hash of the group).

    Raises
    ------
    ConfigError
        There are no members.
    DataError
        The conditions do not fit a member, or one of the halves has no positive sum of weights.
    """
    if not members:
        msg = "ensemble: no members to predict with; give at least one surrogate file"
        raise ConfigError(msg)
    half = (uniform(seed, conditions.group, 1, stage=_HALF)[:, 0] < 0.5).astype(np.int64)
    found = [np.zeros((len(members), 2, len(b.edges) + 1)) for b in binnings]
    for index, path in enumerate(members):
        surrogate = load(path)
        for start in range(0, len(conditions), CHUNK):
            rows = slice(start, start + CHUNK)
            made = generate(surrogate, conditions.take(rows), seed=seed, outside="flag")
            for binning, content in zip(binnings, found, strict=True):
                _fill(content[index], made, binning, half[rows])
    for binning, content in zip(binnings, found, strict=True):
        totals = content.sum(axis=2, keepdims=True)
        require_positive_total([float(totals.min())], source=f"half of {conditions.source}, {binning.title}")
        content /= totals
    return found


def _fill(content: FloatArray, made: Sample, binning: Binning, half: IntArray) -> None:
    bins = content.shape[1]
    cell = np.searchsorted(binning.edges, np.asarray(made[binning.field], dtype=np.float64), side="right")
    weight = made.weight
    if binning.category is not None:
        weight = np.where(made[binning.category] == binning.code, weight, 0.0)
    content += np.bincount(half * bins + cell, weight, 2 * bins).reshape(2, bins)


def validate_ensemble(
    study: LoadedStudy,
    training: Sample,
    reference: Sample,
    generated: Sample | None = None,
    *,
    members: int,
    folder: str | os.PathLike[str],
    seed: int,
    seed_members: int = 0,
    by: str | None = None,
    bins: int = 40,
    say: Say | None = None,
) -> list[MetricResult]:
    """Judge every scalar response with statistical and model uncertainty.

    Parameters
    ----------
    study
        How members are trained.
    training
        Training sample, the one that the surrogate in question was trained on.
    reference
        Test sample.
    generated
        The surrogate's rows for it, those outside its domain left out in both. If not given, a surrogate is trained on
        the whole training sample with the study's own seed, as ``folder/nominal``.
    members
        Members trained on bootstrapped samples, at least 2; ten or more for a covariance worth the name.
    folder
        Where members go and finished ones are found: ``bootstrap/member-000/surrogate.safetensors`` ...
    seed
        Seed of members and generation.
    seed_members
        Members that differ by the seed alone, in ``seed/``; at least 2 to separate the two parts, or 0.
    by
        Category condition: one result for each of its values as well.
    bins
        Number of bins of each response.
    say
        Called with a sentence for each member.

    Returns
    -------
    list of MetricResult
        One a response, and one a response and category if `by` is given (see `evaluation.ensemble.ensemble_result`).

    Raises
    ------
    ConfigError
        There are too few members, `by` is no category, no response is a scalar, or the folder holds other members.
    DataError
        The samples do not fit each other or the study.
    """
    if members < 2 or seed_members == 1 or seed_members < 0:
        msg = f"ensemble: {members} members and {seed_members} by seed alone; expected at least 2, and 0 or at least 2"
        raise ConfigError(msg)
    place = Path(folder)
    if generated is None:
        reference, generated = _nominal(study, training, reference, place / "nominal", seed, say or (lambda text: None))
    whole = compare(reference, generated)
    parts = list(_parts(whole, by, bins))
    if not parts:
        msg = f"ensemble: {reference.source} has no scalar response that is no category, and nothing to compare"
        raise ConfigError(msg)
    files = train_members(study, training, place / "bootstrap", members, seed=seed, say=say)
    binnings = [binning for _, binning, _, _ in parts]
    predictions = ensemble_predictions(files, reference, binnings, seed=seed)
    others: list[FloatArray | None] = [None] * len(parts)
    if seed_members:
        files = train_members(study, training, place / "seed", seed_members, kind="seed", seed=seed, say=say)
        others = list(ensemble_predictions(files, reference, binnings, seed=seed))
    return [
        ensemble_result(part, field, binning.edges, ours, theirs, by=by, label=label, seed=seed)
        for (part, binning, field, label), ours, theirs in zip(parts, predictions, others, strict=True)
    ]


def _nominal(
    study: LoadedStudy, training: Sample, reference: Sample, folder: Path, seed: int, say: Say
) -> tuple[Sample, Sample]:
    path = folder / "surrogate.safetensors"
    train, held = hold_out(training, study)
    identity = _identity(study, train, "nominal", study.config.training.seed)
    if not _finished(path, identity):
        _train_one(study, train, held, path, identity)
    return inside_domain(reference, generate(load(path), reference, seed=seed, outside="flag"), say)


def _parts(whole: Comparison, by: str | None, bins: int) -> Iterator[tuple[Comparison, Binning, Field, str | None]]:
    names = [f.name for f in whole.reference.schema.response if not f.shape and f.kind != "category"]
    options = HistogramOptions(bins=bins)
    selections: list[tuple[Comparison, float | None, str | None]] = [(whole, None, None)]
    if by is not None:
        field, _ = scalar(whole.reference, by, NAME)
        require_category(field, NAME)
        for code in field.values:
            masks = [sample.columns[by] == code for sample in (whole.reference, whole.generated)]
            for mask in masks:
                require_rows(int(mask.sum()), NAME, f"{by} = {field.label_of(code)}")
            selections.append((whole.select(*masks), code, field.label_of(code)))
    for part, chosen, label in selections:
        for name in names:
            field, values = scalar(part.reference, name, NAME)
            edges = histogram_edges(values, part.reference.weight, field, options)
            yield part, Binning(name, edges, by if chosen is not None else None, chosen), field, label
