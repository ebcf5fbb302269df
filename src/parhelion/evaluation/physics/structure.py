"""Exact discrete structure: which responses are equal to each other, and which rows are all zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import difference_quantities
from parhelion.evaluation.results.result import NAN, MetricResult, Quantity
from parhelion.evaluation.samples.binning import scalar
from parhelion.evaluation.samples.categories import parts_of
from parhelion.evaluation.samples.comparison import Comparison, compare
from parhelion.evaluation.statistics.one_dimensional import one_row, shape_chi2
from parhelion.evaluation.statistics.shares import (
    difference_of_shares,
    exchanged_shares,
    joint_influence,
    shape_quantity,
    shares,
)
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "structure"

_MAX_FIELDS = 10
# Shares that sum to one differ by this much where they are equal.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class StructureOptions:
    """Options of `structure`.

    Attributes
    ----------
    fields
        Scalar responses (or extra fields) that may tie; all scalar responses if empty. From 2 to 10.
    by
        Category condition: one result for each of its values as well.
    neighbours
        At most this many rows are used to find the null of `differing`.
    replicas
        Draws of the null of the pattern frequencies.
    """

    fields: tuple[str, ...] = ()
    by: str | None = None
    neighbours: int = 20_000
    replicas: int = 100

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.replicas < 20 or self.neighbours < 10:
            msg = f"metric {NAME}: replicas {self.replicas}, neighbours {self.neighbours}; expected at least 20 and 10"
            raise ConfigError(msg)


def structure(reference: Sample, generated: Sample, options: StructureOptions, *, seed: int) -> list[MetricResult]:
    """Patterns of exact equality among the responses, compared row by row and in frequency.

    The pattern of a row says which fields are equal to the last bit, and whether all are zero. Where a pattern follows
    from the conditions (hypotheses below threshold cannot be told apart), every generated row must show the pattern of
    its reference row.

    Null of `differing`: reference against reference at nearly equal conditions, the share of rows whose pattern differs
    from that of the nearest other reference row (in standardised continuous conditions, same categories, other group).
    It is not 0 where the structure is random at fixed conditions, and an upper bound where it is not, since the
    neighbour may lie across a threshold. Its p-value is one-sided and normal. Null of the frequencies: random
    exchange or random halves, see `comparison`.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `StructureOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One for all rows, and one a category if `by` is given. Quantities: `differing` (main; share of the weight of
        rows whose patterns differ; NaN if the samples are not paired), `max_difference` (largest difference of a
        pattern's share), `chi2_ndf` of the shares. Details: ``patterns`` (names), ``reference`` and ``generated`` with
        ``share`` and ``error``, ``difference``, ``difference_error``, and ``smeared``, the share of reference rows
        with a tie whose generated row has none (None if not paired or without ties).

    Raises
    ------
    ConfigError
        An option names an unknown field, fewer than 2 or more than 10 fields, or a `by` that is no category.
    DataError
        A category has no rows in a sample.
    """
    whole = compare(reference, generated)
    names = options.fields or tuple(f.name for f in reference.schema.response if not f.shape)
    if not 2 <= len(names) <= _MAX_FIELDS:
        msg = f"metric {NAME}: {len(names)} scalar fields, expected 2 to {_MAX_FIELDS}; name those that may tie"
        raise ConfigError(msg)
    rng = np.random.default_rng(seed)
    results = []
    for label, part in parts_of(whole, options.by, NAME):
        on = "exact equalities" if label is None else f"exact equalities, {options.by} = {label}"
        results.append(_one_part(part, options, names, on, rng))
    return results


def patterns(values: FloatArray) -> IntArray:
    """Code of the equalities in each row.

    Parameters
    ----------
    values
        Shape (n, k), 2 <= k <= 10.

    Returns
    -------
    ndarray
        Shape (n,): one bit for each pair of equal columns, in the order (0, 1), (0, 2), ..., and the next bit if all
        are zero.
    """
    columns = values.shape[1]
    code = np.zeros(len(values), dtype=np.int64)
    bit = 0
    for i in range(columns):
        for j in range(i + 1, columns):
            code |= (values[:, i] == values[:, j]).astype(np.int64) << bit
            bit += 1
    code |= np.all(values == 0, axis=1).astype(np.int64) << bit
    return code


def pattern_name(code: int, names: tuple[str, ...]) -> str:
    """Name of a pattern, for example "RichDLLp = RichDLLbt"; "none" without equalities, "all zero" for an atom."""
    k = len(names)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    if code >> len(pairs) & 1:
        return "all zero"
    classes: list[list[int]] = []
    for i in range(k):
        for members in classes:
            if code >> pairs.index((members[0], i)) & 1:
                members.append(i)
                break
        else:
            classes.append([i])
    tied = [" = ".join(names[i] for i in members) for members in classes if len(members) > 1]
    return "; ".join(tied) or "none"


def _one_part(
    comparison: Comparison, options: StructureOptions, names: tuple[str, ...], on: str, rng: np.random.Generator
) -> MetricResult:
    ours, theirs = (
        patterns(np.column_stack([scalar(sample, name, NAME)[1] for name in names]))
        for sample in (comparison.reference, comparison.generated)
    )
    codes, index = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    cells = (index[: len(ours)], index[len(ours) :])
    count = len(codes)
    p, p_error, _ = shares(cells[0], count, comparison.reference.weight)
    q, q_error, _ = shares(cells[1], count, comparison.generated.weight)
    joint = joint_influence(comparison, cells, count)
    influence = joint.mapped(difference_of_shares(p, q))
    difference = np.where(np.abs(q - p) > _ROUNDING, q - p, 0.0)
    error = influence.error()
    assumed = joint.mapped(exchanged_shares(comparison, p, q)).covariance()
    # Samples without a common pattern differ in a direction in which neither varies.
    chi2 = shape_chi2(difference, assumed, one_row(comparison.reference.weight, comparison.generated.weight))
    compared = difference_quantities(difference, error, influence.null(options.replicas, rng))
    return MetricResult(
        name=NAME,
        on=on,
        main="differing",
        quantities={
            "differing": _differing(comparison, ours, theirs, options.neighbours, rng),
            "max_difference": compared["max"],
            "chi2_ndf": shape_quantity(chi2),
        },
        details={
            **comparison.describe(),
            "patterns": [pattern_name(int(code), names) for code in codes],
            "reference": {"share": p, "error": p_error},
            "generated": {"share": q, "error": q_error},
            "difference": difference,
            "difference_error": error,
            "smeared": _smeared(comparison, ours, theirs),
            "caption": f"How often exact equalities occur among {', '.join(names)}.",
        },
    )


def _smeared(comparison: Comparison, ours: IntArray, theirs: IntArray) -> float | None:
    tied = ours != 0
    if not comparison.paired or not tied.any():
        return None
    return float(np.mean(theirs[tied] == 0))


def _differing(
    comparison: Comparison, ours: IntArray, theirs: IntArray, neighbours: int, rng: np.random.Generator
) -> Quantity:
    """Share of the weight of rows whose patterns differ, with its null from neighbouring reference rows."""
    if not comparison.paired:
        return Quantity(NAN)
    weight = comparison.reference.weight
    value, error = _share(ours != theirs, weight, comparison.reference_group)
    rows, partner = nearest_rows(comparison.reference, neighbours, rng)
    if len(rows) == 0 or not np.sum(weight[rows]) > 0:
        return Quantity(value, error)
    null, null_error = _share(ours[rows] != ours[partner], weight[rows], comparison.reference_group[rows])
    both = float(np.hypot(error, null_error))
    if both > 0:
        from scipy.stats import norm

        p_value = float(norm.sf((value - null) / both))
    else:
        p_value = 1.0 if value <= null else 0.0
    return Quantity(value, error, null, null_error, p_value)


def _share(which: npt.NDArray[np.bool_], weight: FloatArray, group: IntArray) -> tuple[float, float]:
    relative = weight / np.sum(weight)
    value = float(np.sum(relative[which]))
    sums = np.bincount(group, relative * (which - value))
    return value, float(np.sqrt(np.sum(sums**2)))


def nearest_rows(sample: Sample, at_most: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Pairs of rows with nearly equal conditions.

    Parameters
    ----------
    sample
        The rows.
    at_most
        Number of rows to find a neighbour for; a random choice if there are more.
    rng
        Source of the choice.

    Returns
    -------
    tuple of ndarray
        Rows, and for each the row of another group with the same categories and the nearest continuous conditions
        (standardised). Rows without such a neighbour among the four nearest are left out.
    """
    from scipy.spatial import cKDTree

    condition = sample.schema.condition
    smooth = [sample.columns[f.name].reshape(len(sample), -1) for f in condition if f.kind != "category"]
    space = np.concatenate([*smooth, np.zeros((len(sample), 1))], axis=1).astype(np.float64)
    spread = np.std(space, axis=0)
    space = (space - space.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    chosen = np.zeros(len(sample), dtype=bool)
    chosen[rng.permutation(len(sample))[:at_most]] = True
    kinds = [sample.columns[f.name] for f in condition if f.kind == "category"]
    label = (
        np.unique(np.column_stack(kinds), axis=0, return_inverse=True)[1].ravel()
        if kinds
        else np.zeros(len(sample), dtype=np.int64)
    )
    rows, partners = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for kind in np.unique(label):
        members = np.flatnonzero(label == kind)
        asked = members[chosen[members]]
        if len(members) < 2 or len(asked) == 0:
            continue
        _, near = cKDTree(space[members]).query(space[asked], k=min(5, len(members)))
        near = members[near]
        foreign = sample.group[near] != sample.group[asked][:, None]
        some = foreign.any(axis=1)
        rows.append(asked[some])
        partners.append(near[some, np.argmax(foreign[some], axis=1)])
    return np.concatenate(rows), np.concatenate(partners)


METRIC = Metric(NAME, StructureOptions, structure, ("differing", "max_difference", "chi2_ndf"), "physics")
