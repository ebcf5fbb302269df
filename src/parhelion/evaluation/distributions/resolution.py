"""Response and resolution: mean and relative spread of a positive observable in bins of a condition.

The spread is given twice: as standard deviation, which a few rows far out can decide, and as the central 68.3 %, which
they cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import norm

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.distributions.condition_bins import ConditionBins, bin_rows, condition_edges
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import difference_quantities
from parhelion.evaluation.results.result import Bin, MetricResult, Quantity
from parhelion.evaluation.samples.binning import scalar
from parhelion.evaluation.samples.comparison import Comparison, Influence, compare
from parhelion.sample import Field, Sample

FloatArray = npt.NDArray[np.float64]

NAME = "resolution"
# Quantiles of one standard deviation below and above the centre of a normal distribution, and the median.
_LEVELS = (float(norm.cdf(-1)), 0.5, float(norm.cdf(1)))


@dataclass(frozen=True)
class ResolutionOptions:
    """Options of `resolution`.

    Attributes
    ----------
    field
        Scalar response or observable, positive on average: measured over true energy.
    x
        Scalar condition to make bins of.
    edges
        Edges of the bins in the unit of `x`; `bins` bins of equal weight in the reference if empty.
    bins
        Number of bins if no edges are given.
    min_rows
        Neighbouring bins are joined until each has this effective number of rows in both samples.
    replicas
        Draws of the null.
    """

    field: str = "response"
    x: str = "incident_energy"
    edges: tuple[float, ...] = ()
    bins: int = 8
    min_rows: float = 100.0
    replicas: int = 200

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.bins < 1 or self.min_rows < 2 or self.replicas < 20:
            msg = (
                f"metric {NAME}: bins {self.bins}, min_rows {self.min_rows:g}, replicas {self.replicas}; expected at "
                "least 1, 2 and 20"
            )
            raise ConfigError(msg)


def resolution(reference: Sample, generated: Sample, options: ResolutionOptions, *, seed: int) -> list[MetricResult]:
    """Relative differences of mean, resolution and effective resolution in bins of a condition.

    Resolution is the standard deviation over the mean; effective resolution half the width of the central 68.3 % of the
    weight over the median, the same for a normal distribution.

    With m and s the weighted mean and resolution of a bin of weight W, a row contributes w (r - m) / (W m) to the
    relative difference of means and, with z = (r - m) / m, w ((z^2 - s^2) / (2 s^2) - z) / W to that of
    resolutions (delta method), and to a quantile q of level p with density f it contributes w (p - [r <= q]) / (W f)
    (Bahadur 1966); errors and nulls follow as in `comparison`, paired rows included.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `ResolutionOptions`.
    seed
        Seed of the null.

    Returns
    -------
    list of MetricResult
        Three: on ``mean of FIELD``, ``resolution of FIELD`` and ``effective resolution of FIELD``. Quantities: `max`
        (main; largest relative difference), `mean` (average of their sizes), `chi2_ndf`, `max_pull`. Details:
        ``field``, ``x``, ``x_unit``, ``labels``, ``low``, ``high``, ``reference`` and ``generated`` (values, k bins),
        ``difference``, ``difference_error`` (relative, k). Bins: the relative differences, for requirements on every
        bin.

    Raises
    ------
    ConfigError
        A field does not exist or is no scalar.
    DataError
        No bin has enough rows, or the mean, the spread or the median of a bin is not positive.
    """
    comparison = compare(reference, generated)
    x = scalar(reference, options.x, NAME)[0]
    field = scalar(reference, options.field, NAME)[0]
    edges = condition_edges(comparison, x, options.edges, options.bins, NAME)
    slices = bin_rows(comparison, x, edges, options.min_rows, NAME)
    rng = np.random.default_rng(seed)
    moments = [
        _measured(sample, scalar(sample, field.name, NAME)[1], cell, len(slices.labels))
        for sample, cell in ((comparison.reference, slices.ours), (comparison.generated, slices.theirs))
    ]
    results = []
    for index, what in enumerate(("mean", "resolution", "effective resolution")):
        ours, theirs = moments[0][0][index], moments[1][0][index]
        influence = Influence(comparison, *(parts[1][index] for parts in moments))
        ratio = theirs / ours
        # The generated sample's part grows with the ratio: d(q / p) = (q / p) (dq / q - dp / p).
        influence = influence.mapped(np.diag(ratio))
        error = influence.error()
        quantities = difference_quantities(ratio - 1, error, influence.null(options.replicas, rng))
        results.append(_result(comparison, slices, f"{what} of {field.name}", (ours, theirs), error, quantities, x))
    return results


def _result(
    comparison: Comparison,
    slices: ConditionBins,
    on: str,
    values: tuple[FloatArray, FloatArray],
    error: FloatArray,
    quantities: dict[str, Quantity],
    x: Field,
) -> MetricResult:
    difference = values[1] / values[0] - 1
    found = {name: quantities[name] for name in ("max", "mean", "chi2_ndf", "max_pull")}
    return MetricResult(
        name=NAME,
        on=on,
        main="max",
        quantities=found,
        details={
            **comparison.describe(),
            "field": on.partition(" of ")[2],
            "x": x.name,
            "x_unit": x.unit,
            "labels": slices.labels,
            "low": slices.low,
            "high": slices.high,
            "reference": values[0],
            "generated": values[1],
            "difference": difference,
            "difference_error": error,
            "caption": f"Relative difference of the {on} in bins.",
        },
        fields=(on.partition(" of ")[2],),
        bins=tuple(
            Bin(label, float(d), float(e)) for label, d, e in zip(slices.labels, difference, error, strict=True)
        ),
    )


def _measured(
    sample: Sample, values: FloatArray, cell: npt.NDArray[np.int64], bins: int
) -> tuple[tuple[FloatArray, ...], tuple[sparse.csr_matrix, ...]]:
    """Mean, resolution and effective resolution of each bin, shapes (bins,).

    And the rows' relative influence on each, (n, bins).
    """
    rows = np.flatnonzero(cell >= 0)
    place, r, w = cell[rows], np.asarray(values, dtype=np.float64)[rows], sample.weight[rows]
    total = np.bincount(place, w, bins)
    mean = np.bincount(place, w * r, bins) / total
    square = np.bincount(place, w * (r - mean[place]) ** 2, bins) / total
    if not ((mean > 0) & (square > 0)).all():
        at = int(np.argmin((mean > 0) & (square > 0)))
        msg = (
            f"metric {NAME}: {sample.source}: bin {at + 1} has mean {mean[at]:.4g} and variance {square[at]:.4g}, "
            "expected positive ones; choose an observable that is positive, or other bins"
        )
        raise DataError(msg)
    spread = np.sqrt(square) / mean
    z = (r - mean[place]) / mean[place]
    share = w / total[place]
    effective, inner = np.empty(bins), np.empty(len(rows))
    for k in range(bins):
        here = place == k
        effective[k], inner[here] = _effective(r[here], share[here])
        if not effective[k] > 0:
            msg = (
                f"metric {NAME}: {sample.source}: the central 68.3 % of bin {k + 1} have no width or no positive "
                "median; choose an observable that is continuous and positive, or other bins"
            )
            raise DataError(msg)
    parts = share * z, share * ((z**2 - spread[place] ** 2) / (2 * spread[place] ** 2) - z), share * inner
    shape = (len(sample), bins)
    influence = tuple(sparse.csr_matrix((part, (rows, place)), shape=shape) for part in parts)
    return (mean, spread, effective), influence


def _effective(r: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
    """Half the width of the central 68.3 % over the median, and the relative influence of each row for weight 1, (n,).

    `share` are the rows' weights over their sum. The inverse density at a quantile is a difference of quantiles, over
    0.7 of the bandwidth of Bofinger (Aust. J. Stat. 17 (1975) 1): that one is best for a density's squared error, and
    with a hundred rows makes errors of quantiles a tenth too large.
    """
    order = np.argsort(r)
    sorted_share = share[order]
    # Signed weights can make the cumulative distribution turn back; its running maximum does not.
    cumulative = np.maximum.accumulate(np.cumsum(sorted_share) - sorted_share / 2)

    def quantile(level: FloatArray) -> FloatArray:
        return np.interp(level, cumulative, r[order])

    levels = np.array(_LEVELS)
    place = norm.ppf(levels)
    size = 1 / np.sum(share**2)
    wide = 0.7 * (4.5 * norm.pdf(place) ** 4 / (2 * place**2 + 1) ** 2 / size) ** 0.2
    wide = np.minimum(wide, 0.9 * np.minimum(levels, 1 - levels))
    low, middle, high = at = quantile(levels)
    inverse_density = (quantile(levels + wide) - quantile(levels - wide)) / (2 * wide)
    moves = (levels - (r[:, None] <= at)) * inverse_density
    if not (high > low and middle > 0):
        return 0.0, np.zeros(len(r))
    return float((high - low) / (2 * middle)), (moves[:, 2] - moves[:, 0]) / (high - low) - moves[:, 1] / middle


METRIC = Metric(NAME, ResolutionOptions, resolution, ("max", "mean", "chi2_ndf", "max_pull"), "distributions")
