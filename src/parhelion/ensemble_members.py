"""What the members of an ensemble predict, and the judgement with their spread as model uncertainty.

A member is a file: a surrogate or a package, which is asked at the conditions of the reference, or rows that one
generated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parhelion import io
from parhelion.deploy import OUTSIDE, generate
from parhelion.deploy.models import load_model
from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import HistogramOptions, MetricResult
from parhelion.evaluation.distributions.histograms import histogram_edges
from parhelion.evaluation.model.ensemble import LEAST_MEMBERS, NAME, ensemble_result
from parhelion.evaluation.samples.binning import require_category, require_rows, scalar
from parhelion.evaluation.samples.comparison import Comparison, compare
from parhelion.noise import uniform
from parhelion.sample import Field, Sample
from parhelion.weights import require_positive_total

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ReadSample = Callable[[str], Sample]

CHUNK = 65_536
MODELS = (".safetensors", ".onnx")
# "half" in ASCII, so that it shares its random numbers with no generation and no split.
_HALF = 0x68616C66


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
    members: Sequence[str | os.PathLike[str]],
    conditions: Sample,
    binnings: Sequence[Binning],
    *,
    seed: int,
    read: ReadSample = io.read,
) -> list[FloatArray]:
    """Binned predictions of each member, generated or read in chunks.

    Surrogates and packages all get the same noise. Conditions beyond the range that one saw are generated for all the
    same: it saw a replica of the sample on whose range the test sample was judged. Of rows in a file, those of the
    events in `conditions` count where it holds all of these events, else all rows.

    Parameters
    ----------
    members
        Surrogates, packages, or samples of any format.
    conditions
        Rows to generate for; their weights count.
    binnings
        What to fill.
    seed
        Seed of noise and halves.
    read
        Reads the samples among the members.

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
        The conditions do not fit a member, a sample lacks a field, or one of the halves has no positive sum of weights.
    """
    if not members:
        msg = "ensemble: no members to predict with; give at least one surrogate file"
        raise ConfigError(msg)
    found = [np.zeros((len(members), 2, len(b.edges) + 1)) for b in binnings]
    for index, path in enumerate(members):
        for made in _rows_of(Path(path), conditions, binnings, seed, read):
            half = (uniform(seed, made.group, 1, stage=_HALF)[:, 0] < 0.5).astype(np.int64)
            for binning, content in zip(binnings, found, strict=True):
                _fill(content[index], made, binning, half)
    for binning, content in zip(binnings, found, strict=True):
        totals = content.sum(axis=2, keepdims=True)
        require_positive_total([float(totals.min())], source=f"half of {conditions.source}, {binning.title}")
        content /= totals
    return found


def _rows_of(
    path: Path, conditions: Sample, binnings: Sequence[Binning], seed: int, read: ReadSample
) -> Iterator[Sample]:
    """Rows of one member."""
    if path.suffix.lower() in MODELS:
        model = load_model(path)
        for start in range(0, len(conditions), CHUNK):
            yield generate(model, conditions.take(slice(start, start + CHUNK)), seed=seed, outside="flag")
        return
    rows = read(str(path))
    for name in dict.fromkeys(name for b in binnings for name in (b.field, b.category) if name is not None):
        if name not in rows.columns:
            msg = f"{path}: member of the ensemble without a field {name}; its fields are {', '.join(rows.columns)}"
            raise DataError(msg)
    if OUTSIDE.name in rows.columns:
        rows = rows.take(rows[OUTSIDE.name] == 0)
    if np.isin(conditions.event_id, rows.event_id).all():
        rows = rows.take(np.isin(rows.event_id, conditions.event_id))
    yield rows


def _fill(content: FloatArray, made: Sample, binning: Binning, half: IntArray) -> None:
    bins = content.shape[1]
    cell = np.searchsorted(binning.edges, np.asarray(made[binning.field], dtype=np.float64), side="right")
    weight = made.weight
    if binning.category is not None:
        weight = np.where(made[binning.category] == binning.code, weight, 0.0)
    content += np.bincount(half * bins + cell, weight, 2 * bins).reshape(2, bins)


def judge_with_members(
    reference: Sample,
    generated: Sample,
    members: Sequence[str | os.PathLike[str]],
    seed_members: Sequence[str | os.PathLike[str]] = (),
    *,
    seed: int,
    by: str | None = None,
    bins: int = 40,
    read: ReadSample = io.read,
) -> list[MetricResult]:
    """Judge every scalar response with statistical and model uncertainty.

    Parameters
    ----------
    reference, generated
        Test sample, and the surrogate's rows for it.
    members
        Files that differ as the surrogate would from training sample to training sample (see `ensemble_predictions`).
    seed_members
        Members that differ by the seed alone, to separate the two parts.
    seed
        Seed of generation, halves and nulls.
    by
        Category condition: one result for each of its values as well.
    bins
        Number of bins of each response.
    read
        Reads the samples among the members.

    Returns
    -------
    list of MetricResult
        One a response, and one a response and category if `by` is given (see `evaluation.model.ensemble`).

    Raises
    ------
    ConfigError
        There are fewer than `LEAST_MEMBERS` members or one seed member, `by` is no category, or no response is a
        scalar.
    DataError
        The samples do not fit each other or a member.
    """
    require_members(len(members), len(seed_members))
    whole = compare(reference, generated)
    parts = list(_parts(whole, by, bins))
    if not parts:
        msg = f"ensemble: {reference.source} has no scalar response that is no category, and nothing to compare"
        raise ConfigError(msg)
    binnings = [binning for _, binning, _, _ in parts]
    predictions = ensemble_predictions(members, reference, binnings, seed=seed, read=read)
    others: list[FloatArray | None] = [None] * len(parts)
    if seed_members:
        others = list(ensemble_predictions(seed_members, reference, binnings, seed=seed, read=read))
    return [
        ensemble_result(part, field, binning.edges, ours, theirs, by=by, label=label, seed=seed)
        for (part, binning, field, label), ours, theirs in zip(parts, predictions, others, strict=True)
    ]


def require_members(members: int, seed_members: int = 0) -> None:
    """Refuse an ensemble too small for a covariance.

    Raises
    ------
    ConfigError
        There are fewer than `LEAST_MEMBERS` members, or just one by seed.
    """
    if members < LEAST_MEMBERS or seed_members == 1 or seed_members < 0:
        msg = (
            f"ensemble: {members} members and {seed_members} by seed alone; expected at least {LEAST_MEMBERS}, since "
            "the covariance of fewer is too uncertain to judge with, and 0 or at least 2"
        )
        raise ConfigError(msg)


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
