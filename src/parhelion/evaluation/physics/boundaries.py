"""Laws that every row must obey: supports, sums, conservation laws, mass shells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null, tail_probability
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.io.selection import Selection
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Relation = Literal[">=", "<=", "=="]

NAME = "boundaries"

_BINS = 60
# Rows beyond the tolerance by which the scale of the tail is measured.
_TAIL = 10


class Expression(Selection):
    """Arithmetic in the names of fields: one number a row.

    What a `Selection` allows, without its truth values: names, numbers, ``+ - * / // % **``, the functions of a
    selection (``abs``, ``sqrt``, ``exp``, ``log``, ``min``, ``max``, ``hypot``, ``sum`` over the entries of a vector
    ...), and entries of vectors as ``p[0]``. Nothing else is executed.

    Parameters
    ----------
    text
        For example ``"E**2 - p[0]**2 - p[1]**2 - p[2]**2"``.

    Raises
    ------
    DataError
        The text has a syntax error or something that is not allowed; the message gives the character.
    """

    kind: ClassVar[str] = "expression"

    def values(self, sample: Sample) -> FloatArray:
        """The expression in every row, shape (n,); not finite where it has no value.

        Raises
        ------
        DataError
            The sample lacks a field, or the result is not one number a row.
        """
        rows = len(sample)
        self.require(sample.columns, sample.source)
        found = self.evaluate(sample.columns)
        if found.dtype.kind not in "iuf":
            raise self._error(0, "the result is a truth value, expected a number; the relation has a field of its own")
        if found.ndim != 0 and found.shape != (rows,):
            detail = f"the result has shape {found.shape}, expected one number a row; index a vector as p[0]"
            raise self._error(0, detail)
        return np.broadcast_to(found, (rows,)).astype(np.float64)


@dataclass(frozen=True)
class Law:
    """The statement `expression` `relation` `bound`, true of every row.

    Attributes
    ----------
    name
        Its name in reports, unique among the laws.
    expression
        Arithmetic in the names of fields, see `Expression`.
    relation
        ">=", "<=" or "==".
    bound
        In the unit of the expression.
    tolerance
        A row breaks the law if it misses the bound by more than this, in the same unit. Equalities of computed numbers
        hold only up to rounding, and need one above 0.
    """

    name: str
    expression: str
    relation: Relation
    bound: float = 0.0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        """Check the expression and the numbers."""
        if not np.isfinite([self.bound, self.tolerance]).all() or self.tolerance < 0:
            msg = (
                f"metric {NAME}, law {self.name}: bound {self.bound:g}, tolerance {self.tolerance:g}; expected finite "
                "numbers, the tolerance not negative"
            )
            raise ConfigError(msg)
        try:
            Expression(self.expression)
        except DataError as error:
            msg = f"metric {NAME}, law {self.name}: {error}"
            raise ConfigError(msg) from None

    @property
    def statement(self) -> str:
        """The law in one line."""
        within = f" within {self.tolerance:g}" if self.tolerance > 0 else ""
        return f"{self.expression} {self.relation} {self.bound:g}{within}"


@dataclass(frozen=True)
class BoundariesOptions:
    """Options of `boundaries`.

    Attributes
    ----------
    laws
        The laws; one result each.
    replicas
        Draws of the null.
    """

    laws: tuple[Law, ...]
    replicas: int = 500

    def __post_init__(self) -> None:
        """Check ranges."""
        names = [law.name for law in self.laws]
        if not names or len(set(names)) < len(names):
            msg = f"metric {NAME}: laws {', '.join(names) or 'none'}; expected at least one, with different names"
            raise ConfigError(msg)
        if self.replicas < 20:
            msg = f"metric {NAME}: replicas {self.replicas}, expected at least 20"
            raise ConfigError(msg)


@dataclass(frozen=True)
class Breach:
    """How a sample keeps a law.

    Attributes
    ----------
    residual
        Expression minus bound, shape (n,).
    amount
        By how much each row misses the bound, not below 0, infinite where the residual is not finite; shape (n,).
    broken
        Rows that miss it by more than the tolerance, or have no finite residual; shape (n,).
    """

    residual: FloatArray
    amount: FloatArray
    broken: BoolArray

    @property
    def largest(self) -> float:
        """Largest finite amount among the rows that break the law; 0 if there is none."""
        return float(np.max(self._amounts, initial=0.0))

    @property
    def largest_error(self) -> float:
        """Spread of the largest amount from sample to sample, where amounts fall off exponentially.

        It is then Gumbel's, pi / sqrt(6) times the scale of the fall, for which the mean excess of the largest ten
        amounts over the next one stands (Weissman 1978).
        """
        top = np.sort(self._amounts)[::-1]
        if len(top) == 0:
            return 0.0
        used = min(_TAIL, len(top))
        floor = top[used] if len(top) > used else 0.0
        return float(np.pi / np.sqrt(6.0) * np.mean(top[:used] - floor))

    @property
    def _amounts(self) -> FloatArray:
        return self.amount[self.broken & np.isfinite(self.amount)]


def breach(values: npt.ArrayLike, relation: Relation, bound: float = 0.0, tolerance: float = 0.0) -> Breach:
    """Hold values against a law.

    Parameters
    ----------
    values
        The expression in every row, shape (n,).
    relation, bound, tolerance
        As in `Law`.
    """
    residual = np.asarray(values, dtype=np.float64) - bound
    side: dict[Relation, Callable[[FloatArray], FloatArray]] = {
        ">=": lambda r: np.maximum(-r, 0.0),
        "<=": lambda r: np.maximum(r, 0.0),
        "==": np.abs,
    }
    amount = np.where(np.isfinite(residual), side[relation](residual), np.inf)
    return Breach(residual, amount, amount > tolerance)


def boundaries(reference: Sample, generated: Sample, options: BoundariesOptions, *, seed: int) -> list[MetricResult]:
    """How often, and by how much, generated rows break declared laws.

    `violating` is the share of the weight in rows that break the law, its null the share in the reference, with errors
    by the influence function, but no smaller than the share of one row: a law that no row of n breaks may still be
    broken by one in n. `largest` is the largest breach of any row, whatever its weight; error as of the maximum of an
    exponential tail (see `Breach`), null the reference's. `bias` and `width` are |generated - reference| of mean and
    standard deviation of the residual (expression minus bound), over rows where it is finite.

    P-values: `violating`, `bias` and `width` by random exchange (paired) or random halves (not paired) of the
    difference from the reference, see `comparison`; one-sided for `violating`. `largest`: the probability that one
    of the rows at least as bad is generated if either sample may hold it, so it is not small for the worst of two
    equal samples.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the expressions name.
    options
        See `BoundariesOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One a law. Quantities: `violating` (main), `largest`, `bias`, `width`. Details: ``law`` (its statement),
        ``expression``, ``relation``, ``bound``, ``tolerance``, ``reference`` and ``generated`` with ``violating``,
        ``violating_error``, ``violating_rows``, ``not_finite`` (rows), ``largest``, ``mean``, ``mean_error``,
        ``width``, ``width_error`` of the residual, ``share`` (B) and ``outside`` of its histogram; ``edges`` (B + 1).

    Raises
    ------
    DataError
        A sample lacks a field, an expression does not give one number a row, or one is finite nowhere.
    """
    comparison = compare(reference, generated)
    return [_one_law(comparison, law, options.replicas, np.random.default_rng(seed)) for law in options.laws]


@dataclass(frozen=True)
class _Side:
    """One sample's numbers for a law, and the influence of its rows on share, mean and width, shape (n, 3)."""

    breach: Breach
    numbers: FloatArray
    influence: FloatArray
    errors: FloatArray

    @property
    def finite(self) -> BoolArray:
        return np.isfinite(self.breach.residual)


def _one_law(comparison: Comparison, law: Law, replicas: int, rng: np.random.Generator) -> MetricResult:
    expression = Expression(law.expression)
    ours, theirs = (
        _side(sample, group, law, expression)
        for sample, group in (
            (comparison.reference, comparison.reference_group),
            (comparison.generated, comparison.generated_group),
        )
    )
    influence = Influence(comparison, sparse.csr_matrix(ours.influence), sparse.csr_matrix(theirs.influence))
    difference, error = theirs.numbers - ours.numbers, influence.error()
    null = influence.null(replicas, rng)
    schema = comparison.reference.schema
    bias, width = (against_null(abs(difference[i]), error[i], np.abs(null[:, i])) for i in (1, 2))
    edges = _edges(ours, theirs, law)
    rows, void = int(theirs.breach.broken.sum()), int((~theirs.finite).sum())
    without = f", {void:,} of them without a finite value" if void else ""
    return MetricResult(
        name=NAME,
        on=law.name,
        main="violating",
        quantities={
            "violating": Quantity(
                float(theirs.numbers[0]),
                float(theirs.errors[0]),
                float(ours.numbers[0]),
                float(ours.errors[0]),
                tail_probability(difference[0], null[:, 0]),
            ),
            "largest": Quantity(
                theirs.breach.largest,
                theirs.breach.largest_error,
                ours.breach.largest,
                ours.breach.largest_error,
                _worst(comparison, ours.breach, theirs.breach),
            ),
            "bias": bias,
            "width": width,
        },
        details={
            **comparison.describe(),
            "law": law.statement,
            "expression": law.expression,
            "relation": law.relation,
            "bound": law.bound,
            "tolerance": law.tolerance,
            "edges": edges,
            "reference": _describe(ours, comparison.reference.weight, edges),
            "generated": _describe(theirs, comparison.generated.weight, edges),
            "caption": (
                f"{law.name}: {law.statement}; {rows:,} of {len(theirs.finite):,} generated rows break it{without}, "
                f"and {int(ours.breach.broken.sum()):,} of {len(ours.finite):,} of the reference."
            ),
        },
        fields=tuple(f.name for f in (*schema.response, *schema.extra) if f.name in expression.names),
    )


def _side(sample: Sample, group: npt.NDArray[np.int64], law: Law, expression: Expression) -> _Side:
    found = breach(expression.values(sample), law.relation, law.bound, law.tolerance)
    finite = np.isfinite(found.residual)
    weight = sample.weight / np.sum(sample.weight)
    total = float(np.sum(weight[finite]))
    if not total > 0:
        msg = (
            f"metric {NAME}, law {law.name}: {sample.source}: {law.expression} is finite in {int(finite.sum())} of "
            f"{len(finite)} rows, with sum of weights {total:.6g}; expected a positive sum"
        )
        raise DataError(msg)
    share = float(np.sum(weight[found.broken]))
    relative = np.where(finite, weight / total, 0.0)
    residual = np.where(finite, found.residual, 0.0)
    # Far from 0, squares would round away what little the residual varies.
    shift = residual[np.argmax(finite)]
    offset = np.where(finite, residual - shift, 0.0)
    mean = float(relative @ offset)
    square = (offset - mean) ** 2
    variance = float(relative @ square)
    width = float(np.sqrt(max(variance, 0.0)))
    influence = np.zeros((len(weight), 3))
    influence[:, 0] = weight * (found.broken - share)
    influence[:, 1] = relative * (offset - mean)
    if width > 0:
        influence[:, 2] = relative * (square - variance) / (2.0 * width)
    if not found.broken.any() or found.broken.all():
        # Rounding must not pass for rows that differ.
        influence[:, 0] = 0.0
    sums = np.stack([np.bincount(group, column) for column in influence.T])
    errors = np.sqrt(np.sum(sums**2, axis=1))
    errors[0] = max(errors[0], float(np.sum(weight**2)))
    return _Side(found, np.array([share, shift + mean, width]), influence, errors)


def _worst(comparison: Comparison, ours: Breach, theirs: Breach) -> float:
    """Probability that of the groups with a breach as large as the generated sample's largest, one is generated."""
    if theirs.largest <= 0:
        return 1.0
    first, second = (
        set(group[side.broken & (side.amount >= theirs.largest)].tolist())
        for group, side in ((comparison.reference_group, ours), (comparison.generated_group, theirs))
    )
    if first & second:
        return 1.0
    n, m = len(ours.broken), len(theirs.broken)
    return float(1.0 - (n / (n + m)) ** (len(first) + len(second)))


def _edges(ours: _Side, theirs: _Side, law: Law) -> FloatArray:
    """Edges of a histogram of the residual, wide enough for nearly all rows of both samples."""
    ends = [np.quantile(side.breach.residual[side.finite], [0.001, 0.999]) for side in (ours, theirs)]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    low, high = min(low, -law.tolerance), max(high, law.tolerance)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    pad = 0.02 * (high - low)
    return np.linspace(low - pad, high + pad, _BINS + 1)


def _describe(side: _Side, weight: FloatArray, edges: FloatArray) -> dict[str, Any]:
    relative = weight / np.sum(weight)
    content = np.histogram(side.breach.residual[side.finite], edges, weights=relative[side.finite])[0]
    share, mean, width = side.numbers
    return {
        "violating": share,
        "violating_error": side.errors[0],
        "violating_rows": int(side.breach.broken.sum()),
        "not_finite": int((~side.finite).sum()),
        "largest": side.breach.largest,
        "mean": mean,
        "mean_error": side.errors[1],
        "width": width,
        "width_error": side.errors[2],
        "share": content,
        "outside": 1.0 - float(np.sum(content)),
    }


METRIC = Metric(NAME, BoundariesOptions, boundaries, ("violating", "largest", "bias", "width"), "physics")
