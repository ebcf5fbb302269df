"""AUC-difference maps: how well responses separate two species, generated against reference, bin by bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from parhelion.errors import ConfigError
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import difference_quantities, safe_ratio
from parhelion.evaluation.results.result import Bin, MetricResult
from parhelion.evaluation.samples.binning import bin_index, category_code, make_edges, scalar
from parhelion.evaluation.samples.bootstrap import poisson_counts
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.evaluation.statistics.auc import Placements, ResampledAuc, placements
from parhelion.sample import Sample
from parhelion.weights import summarise

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "auc_map"


@dataclass(frozen=True)
class AucPair:
    """Two species and the response that separates them.

    Attributes
    ----------
    signal, background
        Categories by label or code; the signal should have larger values of the variable.
    variable
        Scalar response (or extra) field.
    """

    signal: str
    background: str
    variable: str


@dataclass(frozen=True)
class AucMapOptions:
    """Options of `auc_map`.

    Attributes
    ----------
    pairs
        The pairs of species; each makes one map.
    category
        Condition field that tells the species.
    x, y
        Scalar condition fields of the two axes.
    x_edges, y_edges
        Bin edges in the fields' units; `x_bins` and `y_bins` bins of equal weight in the reference if empty.
    min_tracks
        Bins need this effective number of rows of each species in both samples (the number itself for unit weights).
    replicas
        Bootstrap replicas, and draws of the null.
    """

    pairs: tuple[AucPair, ...]
    category: str
    x: str
    y: str
    x_edges: tuple[float, ...] = ()
    y_edges: tuple[float, ...] = ()
    x_bins: int = 6
    y_bins: int = 4
    min_tracks: float = 600.0
    replicas: int = 200

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.pairs:
            msg = f"metric {NAME}: no pairs; give at least one of signal, background and variable"
            raise ConfigError(msg)
        if self.replicas < 20 or self.x_bins < 1 or self.y_bins < 1 or self.min_tracks < 2:
            msg = (
                f"metric {NAME}: replicas {self.replicas}, x_bins {self.x_bins}, y_bins {self.y_bins}, min_tracks "
                f"{self.min_tracks:g}; expected at least 20, 1, 1 and 2"
            )
            raise ConfigError(msg)


@dataclass(frozen=True)
class _Side:
    """Rows of one sample in one bin: scores, weights, and their place in the sample."""

    signal: IntArray
    background: IntArray
    signal_score: FloatArray
    background_score: FloatArray
    signal_weight: FloatArray
    background_weight: FloatArray

    @property
    def rows(self) -> IntArray:
        return np.concatenate([self.signal, self.background])

    @property
    def effective(self) -> tuple[float, float]:
        """Effective numbers of rows; 0 for a species whose sum of weights is not positive."""
        found = [summarise(w) for w in (self.signal_weight, self.background_weight)]
        return (
            found[0].effective if found[0].total > 0 else 0.0,
            found[1].effective if found[1].total > 0 else 0.0,
        )

    def place(self) -> Placements:
        return placements(self.signal_score, self.background_score, self.signal_weight, self.background_weight)

    def resampled(self) -> ResampledAuc:
        return ResampledAuc(self.signal_score, self.background_score, self.signal_weight, self.background_weight)


def auc_map(reference: Sample, generated: Sample, options: AucMapOptions, *, seed: int) -> list[MetricResult]:
    """AUC on the generated sample minus AUC on the reference, in bins of two conditions.

    Errors: bootstrap of groups with one sort a bin; where the samples are paired, a group counts equally often in
    both, so that what they share cancels. Null: draws of the difference under random exchange of the two responses
    (paired) or random halves of each sample (not paired), to first order in the AUC's influence function (see
    `comparison`). Each quantity's null is its mean over these draws and its null error their spread: finite
    statistics alone gives a positive mean and maximum.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `AucMapOptions`.
    seed
        Seed of bootstrap and null.

    Returns
    -------
    list of MetricResult
        One a pair. Quantities, all numbers over the bins used: `mean` of |dAUC| (main), `max` of |dAUC|, `chi2_ndf`
        with ndf the number of bins, and `max_pull`. Details: ``signal``, ``background``, ``variable``, ``x``, ``y``,
        ``x_unit``, ``y_unit``, ``x_edges`` (nx + 1), ``y_edges`` (ny + 1), ``bins`` used, ``min_tracks``,
        ``replicas``, and maps of shape (ny, nx), None where not used: ``auc_reference``, ``auc_generated``,
        ``difference``, ``error``, ``pull``, ``null_map`` (one draw of the null); ``signal_tracks`` and
        ``background_tracks`` (effective numbers in the reference, always filled).

    Raises
    ------
    ConfigError
        An option names an unknown field or category.
    """
    comparison = compare(reference, generated)
    edges = []
    for name, given, bins in (
        (options.x, options.x_edges, options.x_bins),
        (options.y, options.y_edges, options.y_bins),
    ):
        values = scalar(reference, name, NAME)[1]
        edges.append(make_edges(values, reference.weight, given, bins, NAME))
    rng = np.random.default_rng(seed)
    return [_one_map(comparison, options, pair, edges[0], edges[1], rng) for pair in options.pairs]


def _one_map(
    comparison: Comparison,
    options: AucMapOptions,
    pair: AucPair,
    x_edges: FloatArray,
    y_edges: FloatArray,
    rng: np.random.Generator,
) -> MetricResult:
    nx, ny = len(x_edges) - 1, len(y_edges) - 1
    sides = [_split(sample, options, pair, x_edges, y_edges) for sample in (comparison.reference, comparison.generated)]
    counted = np.array([[*r.effective, *g.effective] for r, g in zip(*sides, strict=True)])
    used = np.flatnonzero(np.all(counted >= options.min_tracks, axis=1))
    placed = [[side[b].place() for b in used] for side in sides]
    area = np.array([[p.auc for p in row] for row in placed]).reshape(2, len(used))
    difference = area[1] - area[0]

    influence = Influence(
        comparison,
        *(
            _influence([side[b] for b in used], row, len(sample))
            for side, row, sample in zip(sides, placed, (comparison.reference, comparison.generated), strict=True)
        ),
    )
    null = influence.null(options.replicas, rng)
    draws = _bootstrap(comparison, sides, used, options.replicas, rng)
    # The inverse of a variance from B draws is biased up by (B - 1) / (B - 3) (Hartlap et al. 2007).
    inflate = np.sqrt((options.replicas - 1) / (options.replicas - 3))
    error = np.nanstd(draws, axis=0, ddof=1) * inflate if used.size else np.empty(0)

    def as_map(values: FloatArray) -> FloatArray:
        full = np.full(nx * ny, np.nan)
        full[used] = values
        return full.reshape(ny, nx)

    category = comparison.reference.schema[options.category]
    signal, background = (
        category.label_of(category_code(category, species, NAME)) for species in (pair.signal, pair.background)
    )
    return MetricResult(
        name=NAME,
        on=f"{signal}-{background}: {pair.variable}",
        main="mean",
        quantities=difference_quantities(difference, error, null, draws),
        details={
            **comparison.describe(),
            "signal": signal,
            "background": background,
            "variable": pair.variable,
            "x": options.x,
            "y": options.y,
            "x_unit": comparison.reference.schema[options.x].unit,
            "y_unit": comparison.reference.schema[options.y].unit,
            "x_edges": x_edges,
            "y_edges": y_edges,
            "auc_reference": as_map(area[0]),
            "auc_generated": as_map(area[1]),
            "difference": as_map(difference),
            "error": as_map(error),
            "pull": as_map(safe_ratio(difference, error)),
            "null_map": as_map(null[0]),
            "signal_tracks": counted[:, 0].reshape(ny, nx),
            "background_tracks": counted[:, 1].reshape(ny, nx),
            "bins": len(used),
            "min_tracks": options.min_tracks,
            "replicas": options.replicas,
            "caption": (
                f"AUC of {pair.variable} for {signal} against {background}, generated minus reference, in "
                f"{len(used)} bins of {options.x} and {options.y} with at least {options.min_tracks:g} "
                "effective rows of each species."
            ),
        },
        fields=(pair.variable,),
        bins=tuple(
            Bin(_cell(int(b), nx, options, x_edges, y_edges), float(d), float(e))
            for b, d, e in zip(used, difference, error, strict=True)
        ),
    )


def _cell(index: int, nx: int, options: AucMapOptions, x_edges: FloatArray, y_edges: FloatArray) -> str:
    iy, ix = divmod(index, nx)
    return (
        f"{options.x} {x_edges[ix]:.4g} to {x_edges[ix + 1]:.4g}, "
        f"{options.y} {y_edges[iy]:.4g} to {y_edges[iy + 1]:.4g}"
    )


def _split(
    sample: Sample, options: AucMapOptions, pair: AucPair, x_edges: FloatArray, y_edges: FloatArray
) -> list[_Side]:
    """Rows of each bin, y slowest: bin = iy * nx + ix."""
    nx, ny = len(x_edges) - 1, len(y_edges) - 1
    field, species = scalar(sample, options.category, NAME)
    score = scalar(sample, pair.variable, NAME)[1]
    ix = bin_index(scalar(sample, options.x, NAME)[1], x_edges)
    iy = bin_index(scalar(sample, options.y, NAME)[1], y_edges)
    inside = (ix >= 0) & (ix < nx) & (iy >= 0) & (iy < ny)
    cell = iy * nx + ix
    found = []
    for wanted in (pair.signal, pair.background):
        rows = np.flatnonzero(inside & (species == category_code(field, wanted, NAME)))
        rows = rows[np.argsort(cell[rows], kind="stable")]
        found.append(np.split(rows, np.searchsorted(cell[rows], np.arange(1, nx * ny))))
    return [_Side(s, b, score[s], score[b], sample.weight[s], sample.weight[b]) for s, b in zip(*found, strict=True)]


def _influence(sides: list[_Side], placed: list[Placements], rows: int) -> sparse.csr_matrix:
    if not sides:
        return sparse.csr_matrix((rows, 0))
    values = np.concatenate([np.concatenate(p.influence) for p in placed])
    index = np.concatenate([side.rows for side in sides])
    column = np.repeat(np.arange(len(sides)), [len(side.rows) for side in sides])
    return sparse.csr_matrix((values, (index, column)), shape=(rows, len(sides)))


def _bootstrap(
    comparison: Comparison,
    sides: list[list[_Side]],
    used: IntArray,
    replicas: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Replicas of the difference, shape (replicas, bins used)."""
    groups = (comparison.reference_group, comparison.generated_group)
    prepared = [
        [(side[b].resampled(), group[side[b].rows]) for b in used] for side, group in zip(sides, groups, strict=True)
    ]
    blocks = []
    for counts in poisson_counts(comparison.groups, replicas, rng):
        first, second = (
            np.array([area(counts[rows]) for area, rows in side]).reshape(len(used), counts.shape[1])
            for side in prepared
        )
        blocks.append((second - first).T)
    return np.concatenate(blocks, axis=0)


METRIC = Metric(NAME, AucMapOptions, auc_map, ("mean", "max", "chi2_ndf", "max_pull"), "physics")
