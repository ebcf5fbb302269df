"""Weighted correlation matrices of conditions and responses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from parhelion.errors import ConfigError
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import difference_quantities
from parhelion.evaluation.results.result import MetricResult
from parhelion.evaluation.samples.binning import scalar
from parhelion.evaluation.samples.categories import parts_of
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]

NAME = "correlation"


@dataclass(frozen=True)
class CorrelationOptions:
    """Options of `correlation`.

    Attributes
    ----------
    fields
        Scalar fields; all scalar conditions that are no categories, then all scalar responses, if empty.
    by
        Category condition: one result for each of its values as well.
    replicas
        Draws of the null.
    """

    fields: tuple[str, ...] = ()
    by: str | None = None
    replicas: int = 200

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.replicas < 20:
            msg = f"metric {NAME}: replicas {self.replicas}, expected at least 20"
            raise ConfigError(msg)


def correlation(reference: Sample, generated: Sample, options: CorrelationOptions, *, seed: int) -> list[MetricResult]:
    """Pearson correlations on the generated sample minus those on the reference.

    Errors by the influence function of a correlation, w / W [z_x z_y - rho (z_x^2 + z_y^2) / 2] with z standardised
    (Devlin, Gnanadesikan & Kettenring 1975), summed over groups of both samples; it needs finite fourth moments. Null:
    random exchange or random halves, see `comparison`. Pairs of conditions and pairs with a constant field are
    left out of the quantities.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `CorrelationOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One for all rows, and one a category if `by` is given. Quantities over pairs of fields: `max` of |d rho|
        (main), `mean`, `chi2_ndf` (ndf the number of pairs; correlated pairs are accounted for in its null),
        `max_pull`. Details: ``fields`` (k), ``reference``, ``generated``, ``difference``, ``error`` (k, k; None where
        a field is constant).

    Raises
    ------
    ConfigError
        An option names an unknown field, or there are fewer than two.
    """
    whole = compare(reference, generated)
    schema = reference.schema
    names = options.fields or tuple(
        f.name for f in (*schema.condition, *schema.response) if not f.shape and f.kind != "category"
    )
    if len(names) < 2:
        msg = f"metric {NAME}: {len(names)} scalar fields, expected at least 2"
        raise ConfigError(msg)
    rng = np.random.default_rng(seed)
    on = "conditions and responses" if not options.fields else ", ".join(names)
    return [
        _one_part(part, options, names, on if label is None else f"{on}, {options.by} = {label}", rng)
        for label, part in parts_of(whole, options.by, NAME)
    ]


def _one_part(
    comparison: Comparison, options: CorrelationOptions, names: tuple[str, ...], on: str, rng: np.random.Generator
) -> MetricResult:
    k = len(names)
    first, second = np.triu_indices(k, 1)
    (ours, our_influence), (theirs, their_influence) = (
        _correlations(np.column_stack([scalar(sample, name, NAME)[1] for name in names]), sample.weight, first, second)
        for sample in (comparison.reference, comparison.generated)
    )
    influence = Influence(comparison, our_influence, their_influence)
    error = influence.error()
    difference = theirs - ours
    conditions = {f.name for f in comparison.reference.schema.condition}
    given = np.array([names[i] in conditions and names[j] in conditions for i, j in zip(first, second, strict=True)])
    used = np.isfinite(difference) & ~given
    null = influence.null(options.replicas, rng)[:, used]

    def matrix(values: FloatArray, diagonal: float) -> FloatArray:
        full = np.full((k, k), diagonal)
        full[first, second] = values
        full[second, first] = values
        return full

    return MetricResult(
        name=NAME,
        on=on,
        main="max",
        quantities=difference_quantities(difference[used], error[used], null),
        details={
            **comparison.describe(),
            "fields": list(names),
            "reference": matrix(ours, 1.0),
            "generated": matrix(theirs, 1.0),
            "difference": matrix(difference, 0.0),
            "error": matrix(np.where(np.isfinite(difference), error, np.nan), 0.0),
            "caption": "Correlations of conditions and responses, generated minus reference.",
        },
    )


def _correlations(
    values: FloatArray, weight: FloatArray, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]
) -> tuple[FloatArray, sparse.csr_matrix]:
    """Correlations of pairs of columns, NaN for constant columns, and the influence of each row on them."""
    relative = weight / np.sum(weight)
    centred = values - relative @ values
    variance = relative @ centred**2
    # Below this share of its own size a spread is rounding.
    alive = variance > 1e-24 * np.max(np.abs(values), axis=0) ** 2
    z = centred / np.sqrt(np.where(alive, variance, 1.0))
    products = z[:, first] * z[:, second]
    rho = relative @ products
    influence = relative[:, None] * (products - 0.5 * rho * (z[:, first] ** 2 + z[:, second] ** 2))
    both = alive[first] & alive[second]
    return np.where(both, rho, np.nan), sparse.csr_matrix(np.where(both, influence, 0.0))


METRIC = Metric(NAME, CorrelationOptions, correlation, ("max", "mean", "chi2_ndf", "max_pull"), "physics")
