"""Amplification: how many true events a generated sample is worth, in quantiles of the truth (arXiv:2008.06545).

The space is cut into cells of equal true probability: quantiles, nested in several dimensions. The mean squared
deviation of the shares of the cells from their true probability falls as 1 / n for n independent true events; the n at
which true events deviate as much as a generative model is the size that the model is worth. The answer depends on the
number of cells, the resolution that is asked for, so it is a curve and not one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import chi2

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.model.quantile_cells import NestedQuantiles, unit_cells
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.binning import require_rows, scalar, weighted_quantile
from parhelion.evaluation.samples.comparison import Comparison, compare
from parhelion.evaluation.statistics.shares import difference_of_shares, joint_influence, shares
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NAME = "amplification"


# ------------------------------------------------------------------------------------------------ numbers
def sampling_mse(cells: int, events: float) -> float:
    """Expected mean squared deviation of `events` independent true events in cells of equal probability.

    (1 - 1 / N) / (N n) for N cells and n events: the variance of a multinomial share.
    """
    return (1 - 1 / cells) / (cells * events)


def quantile_mse(cell: npt.ArrayLike, cells: int) -> tuple[float, float]:
    """Mean squared deviation of shares from 1 / N, and what the sample's own finite size adds to it.

    Parameters
    ----------
    cell
        Number of the cell of each event, shape (n,), n at least 2.
    cells
        Number N of cells of equal true probability.

    Returns
    -------
    tuple of float
        The mean over cells of (x_j - 1 / N)^2, and the unbiased estimate of the mean variance of the shares,
        (1 - sum_j x_j^2) / (N (n - 1)). Their difference is unbiased for the model's own deviation, that of
        infinitely many events from it.
    """
    numbers = np.asarray(cell)
    share = np.bincount(numbers, minlength=cells) / len(numbers)
    own = (1 - float(np.sum(share**2))) / (cells * (len(numbers) - 1))
    return float(np.mean((share - 1 / cells) ** 2)), own


@dataclass(frozen=True)
class Amplification:
    """What generated samples are worth, averaged over independent trainings.

    Attributes
    ----------
    cells, generated, training
        Numbers of cells N, of generated events a training, and of training events.
    mse, mse_error
        Mean squared deviation as it is, and its standard error over trainings.
    model_mse, model_mse_error
        The same with the generated sample's own fluctuations (and those of a finite holdout) taken out: the model's.
    equivalent, equivalent_error
        Number of true events with the same mean squared deviation as the generated samples (`mse`).
    factor, factor_error
        `equivalent` over training events: above 1 the generated sample is worth more than what it was trained on.
    limit, limit_error
        The factor for infinitely many generated events, from `model_mse`; infinite where that is not above 0.
    """

    cells: int
    generated: int
    training: int
    mse: float
    mse_error: float
    model_mse: float
    model_mse_error: float
    equivalent: float
    equivalent_error: float
    factor: float
    factor_error: float
    limit: float
    limit_error: float


def amplification_of(
    samples: Sequence[npt.ArrayLike], cells: int, training: int, *, holdout: int | None = None
) -> Amplification:
    """Amplification factor of generated samples, each from a training of its own.

    Parameters
    ----------
    samples
        Number of the cell of each generated event, one array (n,) a training; at least two trainings, since one
        cannot tell its own scatter.
    cells
        Number of cells of equal true probability.
    training
        Events that each was trained on, independent between trainings.
    holdout
        Size of the true sample that the cells were found from; none if they are exact. Its fluctuations are
        (1 - 1 / N) / (N n_holdout), subtracted.

    Raises
    ------
    DataError
        Fewer than two trainings, a sample with fewer than two events, or samples of different sizes.
    """
    sizes = {len(np.asarray(sample)) for sample in samples}
    if len(samples) < 2 or len(sizes) != 1 or min(sizes) < 2:
        msg = (
            f"amplification: {len(samples)} samples of {', '.join(map(str, sorted(sizes))) or 'no'} events, expected "
            "at least two samples of one size, at least 2"
        )
        raise DataError(msg)
    found = [quantile_mse(sample, cells) for sample in samples]
    return amplification_from(found, cells, training, generated=sizes.pop(), holdout=holdout)


def amplification_from(
    deviations: npt.ArrayLike, cells: int, training: int, *, generated: int, holdout: int | None = None
) -> Amplification:
    """`amplification_of` from what `quantile_mse` found for each training, shape (trainings, 2), at least two."""
    found = np.asarray(deviations, dtype=np.float64)
    lost = 0.0 if holdout is None else sampling_mse(cells, holdout)
    root = np.sqrt(len(found))
    mse, error = float(found[:, 0].mean()) - lost, float(found[:, 0].std(ddof=1) / root)
    own = found[:, 0] - found[:, 1]
    model, model_error = float(own.mean()) - lost, float(own.std(ddof=1) / root)
    worth, worth_error = _events(cells, mse, error)
    limit, limit_error = _events(cells, model, model_error)
    return Amplification(
        cells=cells,
        generated=generated,
        training=training,
        mse=mse,
        mse_error=error,
        model_mse=model,
        model_mse_error=model_error,
        equivalent=worth,
        equivalent_error=worth_error,
        factor=worth / training,
        factor_error=worth_error / training,
        limit=limit / training,
        limit_error=limit_error / training,
    )


def _events(cells: int, mse: float, error: float) -> tuple[float, float]:
    """Size of a true sample with this mean squared deviation, with error."""
    if not mse > 0:
        return float("inf"), float("nan")
    size = sampling_mse(cells, 1.0) / mse
    return size, size * error / mse


def amplification_curve(
    samples: Sequence[npt.ArrayLike],
    training: int,
    *,
    splits: Sequence[Sequence[int]],
    generated: Sequence[int],
    holdout: npt.ArrayLike | None = None,
) -> list[Amplification]:
    """Factors for several numbers of cells and of generated events.

    Parameters
    ----------
    samples
        Generated events (n, d), one array a training: in the unit cube of the truth, or in any space with `holdout`.
    training
        Events that each was trained on.
    splits
        Numbers of parts of each coordinate, one entry a number of cells.
    generated
        Numbers of generated events, the first ones of each sample; at most n.
    holdout
        True events (h, d) that the quantiles are found from; none if the samples are in the unit cube.

    Returns
    -------
    list of Amplification
        For each of `splits`, each of `generated`.
    """
    found = []
    for parts in splits:
        if holdout is None:
            numbers, size = [unit_cells(sample, parts) for sample in samples], None
        else:
            quantiles = NestedQuantiles.of(holdout, parts)
            numbers, size = [quantiles.cell(sample) for sample in samples], len(np.asarray(holdout))
        found += [
            amplification_of([n[:events] for n in numbers], int(np.prod(parts)), training, holdout=size)
            for events in generated
        ]
    return found


# ------------------------------------------------------------------------------------------------ the metric
@dataclass(frozen=True)
class AmplificationOptions:
    """Options of `amplification`.

    Attributes
    ----------
    fields
        Scalar response or extra fields, no categories; all scalar responses if empty.
    quantiles
        Numbers of quantiles of the reference; the first is that of the main quantity.
    """

    fields: tuple[str, ...] = ()
    quantiles: tuple[int, ...] = (50, 10, 20, 100)

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.quantiles or min(self.quantiles) < 2 or len(set(self.quantiles)) < len(self.quantiles):
            msg = f"metric {NAME}: quantiles {list(self.quantiles)}, expected different numbers, each at least 2"
            raise ConfigError(msg)


def amplification(
    reference: Sample, generated: Sample, options: AmplificationOptions, *, seed: int, train: Sample
) -> list[MetricResult]:
    """What the surrogate is worth in true events, field by field, against the size of its training sample.

    With d the difference of the shares of N quantiles and C its covariance (by group, pairs and signed weights
    accounted for), |d|^2 - tr C is unbiased for the surrogate's own squared deviation, whatever the sizes of the two
    samples. Over the same number for the training sample, its variance, it is 1 / G: G the amplification factor of one
    training in the limit of many generated events. The surrogate's deviation scatters between trainings by about
    sqrt(2 / (N - 1)) of itself, which the error does not contain.

    Null: mean 0; |z|^2 - tr C with z normal of covariance C has variance 2 tr C^2.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `AmplificationOptions`.
    seed
        Not used: nothing here is random.
    train
        The training sample.

    Returns
    -------
    list of MetricResult
        One a field. Quantities: `inverse_factor` (main; 1 / G, small is good, above 1 the surrogate is worth less than
        its training sample; it may be negative within errors), `mse` (the surrogate's mean squared deviation of
        shares). Details: ``quantiles``, ``cells`` (fewer where values coincide), ``inverse_factor``, ``error``,
        ``null_error``, ``resolved`` (whether it is two standard deviations above its null) by number of quantiles,
        ``factor`` and ``factor_low`` (G, None where it is not above 0, and a 95 % lower limit), ``equivalent``,
        ``training`` (effective size).

    Raises
    ------
    ConfigError
        An option names an unknown field or a category.
    DataError
        The training sample is empty or has no positive sum of weights.
    """
    whole = compare(reference, generated)
    require_rows(len(train), NAME, "the training sample")
    train.require_positive_total()
    names = options.fields or tuple(f.name for f in reference.schema.response if not f.shape and f.kind != "category")
    results = []
    for name in names:
        if scalar(reference, name, NAME)[0].kind == "category":
            msg = f"metric {NAME}: field {name} is a category, which has no quantiles; leave it out"
            raise ConfigError(msg)
        results.append(_one_field(whole, train, name, options))
    return results


@dataclass(frozen=True)
class _Worth:
    """Deviation of the surrogate and of its training sample for one number of quantiles."""

    cells: int
    mse: Quantity
    inverse: Quantity
    equivalent: float


def _one_field(whole: Comparison, train: Sample, name: str, options: AmplificationOptions) -> MetricResult:
    field, ours = scalar(whole.reference, name, NAME)
    theirs, trained = scalar(whole.generated, name, NAME)[1], scalar(train, name, NAME)[1]
    size = train.weights.effective
    found = [_worth(whole, ours, theirs, train, trained, number) for number in options.quantiles]
    inverse = np.array([w.inverse.value for w in found])
    error = np.array([w.inverse.error for w in found])
    spread = np.array([w.inverse.null_error for w in found])
    upper = inverse + 1.645 * np.maximum(error, spread)
    factor, low = (np.divide(1.0, v, out=np.full(len(found), np.nan), where=v > 0) for v in (inverse, upper))
    main = found[0]
    return MetricResult(
        name=NAME,
        on=name,
        main="inverse_factor",
        quantities={"inverse_factor": main.inverse, "mse": main.mse},
        details={
            **whole.describe(),
            "field": name,
            "quantiles": options.quantiles,
            "cells": [w.cells for w in found],
            "inverse_factor": inverse,
            "error": error,
            "null_error": spread,
            "resolved": inverse > 2 * spread,
            "factor": factor,
            "factor_low": low,
            "equivalent": [w.equivalent for w in found],
            "training": size,
            "caption": f"What the surrogate is worth in true events, in quantiles of {field.title}.",
        },
        fields=(name,),
    )


def _worth(
    whole: Comparison, ours: FloatArray, theirs: FloatArray, train: Sample, trained: FloatArray, quantiles: int
) -> _Worth:
    steps = np.arange(1, quantiles) / quantiles - 1e-9
    edges = np.unique(weighted_quantile(ours, whole.reference.weight, steps))
    first, second, third = (np.searchsorted(edges, values, side="left") for values in (ours, theirs, trained))
    cells = len(edges) + 1
    p = shares(first, cells, whole.reference.weight)[0]
    q = shares(second, cells, whole.generated.weight)[0]
    covariance = joint_influence(whole, (first, second), cells).mapped(difference_of_shares(p, q)).covariance()
    difference = np.where(np.diag(covariance) > 0, q - p, 0.0)
    value = float(np.sum(difference**2) - np.trace(covariance)) / cells
    variance = 2 * float(np.sum(covariance**2))
    # Cov of |d|^2 for normal d: 4 mu^T C mu + 2 tr C^2, and |mu|^2 is estimated by the same number.
    error = float(np.sqrt(variance + max(float(4 * difference @ covariance @ difference) - 2 * variance, 0.0))) / cells
    null = float(np.sqrt(variance)) / cells
    p_value = _tail(float(np.sum(difference**2)), covariance)
    unit = _training_variance(train, third, cells)
    scaled = [v / unit for v in (value, error, null)] if unit > 0 else [0.0, 0.0, 0.0]
    mse = Quantity(value, error, 0.0, null, p_value)
    worth = train.weights.effective / scaled[0] if scaled[0] > 0 else float("nan")
    return _Worth(cells, mse, Quantity(scaled[0], scaled[1], 0.0, scaled[2], p_value), worth)


def _tail(square: float, covariance: FloatArray) -> float:
    """P(|z|^2 >= square) for z normal with this covariance: a scaled and shifted chi2.

    Mean, variance and skewness are matched (Pearson 1959; Imhof, Biometrika 48 (1961) 419, section 4).
    """
    c1, second = float(np.trace(covariance)), covariance @ covariance
    c2, c3 = float(np.trace(second)), float(np.sum(second * covariance))
    if not c2 > 0 or not c3 > 0:
        return 1.0
    freedom = c2**3 / c3**2
    return float(chi2.sf((square - c1) * np.sqrt(freedom / c2) + freedom, freedom))


def _training_variance(train: Sample, cell: IntArray, cells: int) -> float:
    """Mean variance of the shares of the training sample, rows of one group held together."""
    relative = train.weight / np.sum(train.weight)
    share = np.bincount(cell, relative, cells)
    _, group = np.unique(train.group, return_inverse=True)
    count = int(group.max()) + 1
    content = sparse.csr_matrix((relative, (group, cell)), shape=(count, cells))
    whole = np.bincount(group, relative, count)
    squares = np.asarray(content.multiply(content).sum(axis=0)).ravel()
    cross = np.asarray(content.T @ whole).ravel()
    found = squares - 2 * share * cross + share**2 * float(np.sum(whole**2))
    return float(np.mean(np.maximum(found, 0.0)))


METRIC = Metric(NAME, AmplificationOptions, amplification, ("inverse_factor", "mse"), "neighbours", needs_train=True)
