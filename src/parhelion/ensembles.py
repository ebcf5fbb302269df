"""Ensembles of surrogates: members trained with other seeds and on bootstrapped samples, and what they predict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import poisson

from parhelion.config import LoadedStudy
from parhelion.deploy import generate
from parhelion.ensemble_members import judge_with_members, require_members
from parhelion.errors import ConfigError
from parhelion.evaluation import MetricResult
from parhelion.noise import uniform
from parhelion.provenance import made_by
from parhelion.sample import Sample
from parhelion.sources import Say, hold_out, inside_domain
from parhelion.surrogates import SURROGATES, load
from parhelion.training import fit
from parhelion.training.progress import quiet
from parhelion.training.table import stream_seed

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
MemberKind = Literal["bootstrap", "seed"]

# "boot" in ASCII, so that it shares its random numbers with no generation and no split.
_BOOTSTRAP = 0x626F6F74
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
        Members trained on bootstrapped samples, at least `LEAST_MEMBERS`; twenty or more for a covariance worth the
        name.
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
        One a response, and one a response and category if `by` is given (see `evaluation.model.ensemble`).

    Raises
    ------
    ConfigError
        There are too few members, `by` is no category, no response is a scalar, or the folder holds other members.
    DataError
        The samples do not fit each other or the study.
    """
    require_members(members, seed_members)
    place = Path(folder)
    if generated is None:
        reference, generated = _nominal(study, training, reference, place / "nominal", seed, say or (lambda text: None))
    files = train_members(study, training, place / "bootstrap", members, seed=seed, say=say)
    others: list[Path] = []
    if seed_members:
        others = train_members(study, training, place / "seed", seed_members, kind="seed", seed=seed, say=say)
    return judge_with_members(reference, generated, files, others, seed=seed, by=by, bins=bins)


def _nominal(
    study: LoadedStudy, training: Sample, reference: Sample, folder: Path, seed: int, say: Say
) -> tuple[Sample, Sample]:
    path = folder / "surrogate.safetensors"
    train, held = hold_out(training, study)
    identity = _identity(study, train, "nominal", study.config.training.seed)
    if not _finished(path, identity):
        _train_one(study, train, held, path, identity)
    return inside_domain(reference, generate(load(path), reference, seed=seed, outside="flag"), say)
