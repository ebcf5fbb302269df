"""Efficiency and misidentification curves: the share of each species that passes a cut, along one condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from parhelion.errors import ConfigError
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import difference_quantities, safe_ratio
from parhelion.evaluation.results.result import Bin, MetricResult
from parhelion.evaluation.samples.binning import bin_index, category_code, make_edges, require_rows, scalar
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]

NAME = "efficiency"


@dataclass(frozen=True)
class Cut:
    """The requirement `variable` > `threshold`, the threshold in the variable's unit."""

    variable: str
    threshold: float


@dataclass(frozen=True)
class EfficiencyOptions:
    """Options of `efficiency`.

    Attributes
    ----------
    cuts
        The cuts; each is tried on each species.
    category
        Condition field that tells the species.
    x
        Scalar condition field along which the curve is drawn.
    x_edges
        Bin edges in its unit; `x_bins` bins of equal weight in the reference if empty.
    species
        Categories by label or code; all of them if empty.
    min_tracks
        Bins need this effective number of rows in both samples.
    replicas
        Draws of the null.
    """

    cuts: tuple[Cut, ...]
    category: str
    x: str
    x_edges: tuple[float, ...] = ()
    x_bins: int = 12
    species: tuple[str, ...] = ()
    min_tracks: float = 100.0
    replicas: int = 200

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.cuts:
            msg = f"metric {NAME}: no cuts; give at least one of variable and threshold"
            raise ConfigError(msg)
        if self.replicas < 20 or self.x_bins < 1 or self.min_tracks < 2:
            msg = (
                f"metric {NAME}: replicas {self.replicas}, x_bins {self.x_bins}, min_tracks {self.min_tracks:g}; "
                "expected at least 20, 1 and 2"
            )
            raise ConfigError(msg)


@dataclass(frozen=True)
class _Curve:
    """One sample's efficiency by bin, shapes (B,), and the influence of each row on it, shape (n, B)."""

    efficiency: FloatArray
    effective: FloatArray
    influence: sparse.csr_matrix

    @property
    def error(self) -> FloatArray:
        squares: FloatArray = np.asarray(self.influence.multiply(self.influence).sum(axis=0)).ravel()
        return np.sqrt(squares)

    def bins(self, used: npt.NDArray[np.intp]) -> sparse.csr_matrix:
        return self.influence.tocsc()[:, used].tocsr()


def efficiency(reference: Sample, generated: Sample, options: EfficiencyOptions, *, seed: int) -> list[MetricResult]:
    """Efficiency of cuts by species and bin, generated minus reference.

    In a bin, efficiency is the weight that passes over all weight. Errors of a curve: sqrt(sum w^2 (pass - eff)^2) / W,
    which is the binomial sqrt(eff (1 - eff) / n) for unit weights and stands for signed ones. Errors of the difference:
    the same sum over groups of both samples' rows, so that paired conditions cancel. Null: random exchange of the two
    responses (paired) or random halves of each sample (not paired), see `comparison`.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `EfficiencyOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        One a cut and species. Quantities over the bins used: `max` of |difference| (main), `mean`, `chi2_ndf`,
        `max_pull`. Details: ``variable``, ``threshold``, ``species``, ``x``, ``x_unit``, ``edges`` (B + 1),
        ``reference`` and ``generated`` with ``efficiency`` and ``error`` (B), ``difference``, ``difference_error``,
        ``pull`` (B), ``tracks`` (B, effective number in the reference); None in bins not used.

    Raises
    ------
    ConfigError
        An option names an unknown field or category.
    DataError
        A species has no rows in a sample.
    """
    whole = compare(reference, generated)
    field = scalar(reference, options.category, NAME)[0]
    species = options.species or tuple(field.label_of(code) for code in field.values)
    x = scalar(reference, options.x, NAME)[1]
    edges = make_edges(x, reference.weight, options.x_edges, options.x_bins, NAME)
    rng = np.random.default_rng(seed)
    results = []
    for wanted in species:
        code = category_code(field, wanted, NAME)
        masks = [sample.columns[field.name] == code for sample in (whole.reference, whole.generated)]
        for mask in masks:
            require_rows(int(mask.sum()), NAME, f"{field.name} = {field.label_of(code)}")
        chosen = whole.select(*masks)
        results += [_one_curve(chosen, options, cut, field.label_of(code), edges, rng) for cut in options.cuts]
    return results


def _one_curve(
    comparison: Comparison,
    options: EfficiencyOptions,
    cut: Cut,
    species: str,
    edges: FloatArray,
    rng: np.random.Generator,
) -> MetricResult:
    ours = _curve(comparison.reference, options, cut, edges)
    theirs = _curve(comparison.generated, options, cut, edges)
    enough = np.minimum(ours.effective, theirs.effective) >= options.min_tracks
    used = np.flatnonzero(enough)
    difference = (theirs.efficiency - ours.efficiency)[used]
    influence = Influence(comparison, ours.bins(used), theirs.bins(used))
    error = influence.error()

    def curve(values: FloatArray) -> FloatArray:
        full = np.full(len(edges) - 1, np.nan)
        full[used] = values
        return full

    return MetricResult(
        name=NAME,
        on=f"{cut.variable} > {cut.threshold:g}, {species}",
        main="max",
        quantities=difference_quantities(difference, error, influence.null(options.replicas, rng)),
        details={
            **comparison.describe(),
            "variable": cut.variable,
            "threshold": cut.threshold,
            "species": species,
            "x": options.x,
            "x_unit": comparison.reference.schema[options.x].unit,
            "edges": edges,
            "reference": {"efficiency": curve(ours.efficiency[used]), "error": curve(ours.error[used])},
            "generated": {"efficiency": curve(theirs.efficiency[used]), "error": curve(theirs.error[used])},
            "difference": curve(difference),
            "difference_error": curve(error),
            "pull": curve(safe_ratio(difference, error)),
            "tracks": ours.effective,
            "caption": f"Share of {species} with {cut.variable} > {cut.threshold:g} against {options.x}.",
        },
        fields=(cut.variable,),
        bins=tuple(
            Bin(f"{options.x} {edges[b]:.4g} to {edges[b + 1]:.4g}", float(d), float(e))
            for b, d, e in zip(used, difference, error, strict=True)
        ),
    )


def _curve(sample: Sample, options: EfficiencyOptions, cut: Cut, edges: FloatArray) -> _Curve:
    bins = len(edges) - 1
    index = bin_index(scalar(sample, options.x, NAME)[1], edges)
    rows = np.flatnonzero((index >= 0) & (index < bins))
    index, weight = index[rows], sample.weight[rows]
    passed = scalar(sample, cut.variable, NAME)[1][rows] > cut.threshold
    total = np.bincount(index, weight, bins)
    squares = np.bincount(index, weight**2, bins)
    positive = total > 0
    share = np.divide(np.bincount(index, weight * passed, bins), total, out=np.zeros(bins), where=positive)
    effective = np.divide(total**2, squares, out=np.zeros(bins), where=positive)
    scale = np.divide(1.0, total, out=np.zeros(bins), where=positive)
    values = weight * scale[index] * (passed - share[index])
    return _Curve(share, effective, sparse.csr_matrix((values, (rows, index)), shape=(len(sample), bins)))


METRIC = Metric(NAME, EfficiencyOptions, efficiency, ("max", "mean", "chi2_ndf", "max_pull"), "physics")
