"""Largest distance over classes between the distributions of a physics field: the sigma of LAGAN.

For a field m and classes c (a category, or bins of a condition)

    sigma(S, D) = max_c d(p(m | c, S), p(m | c, D))

(de Oliveira, Paganini & Nachman, arXiv:1701.05927). A maximum over classes of distances that are never negative is
biased up, the more so the poorer its classes are; without its null it says nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.physics.class_distances import Distance, class_distances
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import against_null, safe_ratio, tail_probability
from parhelion.evaluation.results.result import MetricResult
from parhelion.evaluation.samples.binning import bin_index, category_code, make_edges, scalar
from parhelion.evaluation.samples.comparison import Comparison, compare
from parhelion.evaluation.statistics.shares import shares
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "sigma"


@dataclass(frozen=True)
class SigmaOptions:
    """Options of `sigma`.

    Attributes
    ----------
    by
        Field that makes the classes: a category, or a scalar condition that is cut into bins.
    fields
        Scalar responses or extra fields that are compared; all scalar responses if empty.
    classes
        Categories by label or code; all of them if empty. For a category only.
    edges
        Bin edges in the unit of `by`; `bins` bins of equal weight in the reference if empty. Not for a category.
    bins
        Number of bins.
    distance
        "energy": twice the area under the squared difference of the cumulative distributions. "w1": the area under
        its absolute value. Either is divided by the reference's standard deviation in the class.
    min_effective
        Classes need this effective number of rows in both samples; others are left out and named.
    replicas
        Draws of the null.
    """

    by: str
    fields: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    bins: int = 6
    distance: Distance = "energy"
    min_effective: float = 20.0
    replicas: int = 100

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.bins < 1 or self.replicas < 20 or self.min_effective < 2:
            msg = (
                f"metric {NAME}: bins {self.bins}, replicas {self.replicas}, min_effective {self.min_effective:g}; "
                "expected at least 1, 20 and 2"
            )
            raise ConfigError(msg)


def sigma(reference: Sample, generated: Sample, options: SigmaOptions, *, seed: int) -> list[MetricResult]:
    """Largest distance over classes between the distributions of each field (sigma of LAGAN).

    Null: the distances of random exchange of the two responses (paired) or of random halves of each sample (not
    paired), see `comparison`, with the same signs in all classes. The p-value of `sigma` is that of the maximum over
    classes, so it accounts for having looked at each (max-T). Since a poor class has large distances by chance, it
    can hide a small but certain difference in a rich one: `max_pull` is the maximum of (d - null) / null error over
    classes, with its own null of the maximum. Errors: spread over the measured difference plus draws of the null.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name; signed weights are welcome.
    options
        See `SigmaOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One a field. Quantities: `sigma` (main), `mean` over classes, `max_pull`. Details: ``field``, ``unit``, ``by``,
        ``by_unit``, ``distance`` (its kind), ``classes`` (labels), ``edges`` (None for a category), ``values``,
        ``errors``, ``null``, ``null_error``, ``null_95`` (95 % quantile), ``p_values``, ``scale``, ``rows_effective``
        (smaller of the two samples) by class, ``largest`` (label of the class that sigma stands for), ``left_out``
        (labels).

    Raises
    ------
    ConfigError
        An option names an unknown field or category, or a field that is a category is to be compared.
    DataError
        No class has enough rows in both samples.
    """
    comparison = compare(reference, generated)
    names = options.fields or tuple(f.name for f in reference.schema.response if not f.shape and f.kind != "category")
    if not names:
        msg = f"metric {NAME}: no scalar response to compare; name scalar fields in `fields`"
        raise ConfigError(msg)
    labels, edges, ours, theirs = _classes(comparison, options)
    rows = (
        shares(label, len(labels) + 1, sample.weight)[2][:-1]
        for label, sample in ((ours, comparison.reference), (theirs, comparison.generated))
    )
    effective = np.minimum(*rows)
    used = np.flatnonzero(effective >= options.min_effective)
    if len(used) == 0:
        msg = (
            f"metric {NAME}: none of the {len(labels)} classes of {options.by} has {options.min_effective:g} effective "
            f"rows in both samples (the best has {effective.max(initial=0.0):.3g}); use fewer classes or more rows"
        )
        raise DataError(msg)
    number = np.full(len(labels) + 1, -1)
    number[used] = np.arange(len(used))
    members = (number[ours], number[theirs])
    return [
        _one_field(comparison, options, scalar(reference, name, NAME)[0], members, labels, edges, used, effective, seed)
        for name in names
    ]


def _one_field(
    comparison: Comparison,
    options: SigmaOptions,
    field: Field,
    members: tuple[IntArray, IntArray],
    labels: list[str],
    edges: FloatArray | None,
    used: IntArray,
    effective: FloatArray,
    seed: int,
) -> MetricResult:
    if field.kind == "category":
        msg = f"metric {NAME}: field {field.name} is a category, expected a number; use its classes in `by`"
        raise ConfigError(msg)
    found = class_distances(
        scalar(comparison.reference, field.name, NAME)[1],
        scalar(comparison.generated, field.name, NAME)[1],
        *members,
        x_weight=comparison.reference.weight,
        y_weight=comparison.generated.weight,
        x_group=comparison.reference_group,
        y_group=comparison.generated_group,
        distance=options.distance,
        replicas=options.replicas,
        seed=seed,
    )
    null, null_error = found.null.mean(axis=0), np.std(found.null, axis=0, ddof=1)
    pull, null_pull = (safe_ratio(d - null, np.broadcast_to(null_error, d.shape)) for d in (found.distance, found.null))
    kept = [labels[i] for i in used]
    left_out = [label for i, label in enumerate(labels) if i not in set(used.tolist())]
    kind = "Energy distance" if options.distance == "energy" else "Wasserstein distance"
    caption = f"{kind} of {field.name} between generated and reference in {len(kept)} classes of {options.by}"
    caption += f"; too few rows in {', '.join(left_out)}." if left_out else "."
    return MetricResult(
        name=NAME,
        on=field.name,
        main="sigma",
        quantities={
            "sigma": against_null(
                found.distance.max(), np.std(found.draws.max(axis=1), ddof=1), found.null.max(axis=1)
            ),
            "mean": against_null(
                found.distance.mean(), np.std(found.draws.mean(axis=1), ddof=1), found.null.mean(axis=1)
            ),
            # A pull is in units of its error.
            "max_pull": against_null(pull.max(), 1.0, null_pull.max(axis=1)),
        },
        details={
            **comparison.describe(),
            "field": field.name,
            "unit": field.unit,
            "by": options.by,
            "by_unit": comparison.reference.schema[options.by].unit,
            "distance": options.distance,
            "classes": kept,
            "edges": edges,
            "values": found.distance,
            "errors": found.error,
            "null": null,
            "null_error": null_error,
            "null_95": np.quantile(found.null, 0.95, axis=0),
            "p_values": [tail_probability(d, column) for d, column in zip(found.distance, found.null.T, strict=True)],
            "scale": found.scale,
            "rows_effective": effective[used],
            "largest": kept[int(np.argmax(found.distance))],
            "left_out": left_out,
            "replicas": options.replicas,
            "caption": caption,
        },
        fields=(field.name,),
    )


def _classes(comparison: Comparison, options: SigmaOptions) -> tuple[list[str], FloatArray | None, IntArray, IntArray]:
    """Labels, edges (bins only), and the class of each row; the number of classes stands for no class."""
    field, ours = scalar(comparison.reference, options.by, NAME)
    theirs = scalar(comparison.generated, options.by, NAME)[1]
    if field.kind == "category":
        if options.edges:
            msg = f"metric {NAME}: {field.name} is a category and has no edges; choose its values with `classes`"
            raise ConfigError(msg)
        codes = [category_code(field, c, NAME) for c in options.classes] or list(field.values)
        found = []
        for values in (ours, theirs):
            label = np.full(len(values), len(codes))
            for i, code in enumerate(codes):
                label[values == code] = i
            found.append(label)
        return [field.label_of(code) for code in codes], None, found[0], found[1]
    if options.classes:
        msg = f"metric {NAME}: {field.name} is {field.kind} and has no classes; give `edges` or `bins`"
        raise ConfigError(msg)
    edges = make_edges(ours, comparison.reference.weight, options.edges, options.bins, NAME)
    count = len(edges) - 1
    labels = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
    inside = [bin_index(values, edges) for values in (ours, theirs)]
    first, second = (np.where((i >= 0) & (i < count), i, count) for i in inside)
    return labels, edges, first, second


METRIC = Metric(NAME, SigmaOptions, sigma, ("sigma", "mean", "max_pull"), "physics")
