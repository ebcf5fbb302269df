"""Sliced distances: the one-dimensional Wasserstein and energy distances, averaged over random directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from parhelion.errors import ConfigError
from parhelion.evaluation.distances.blocks import (
    Blocks,
    Contrasts,
    SignNull,
    blocks_of,
    blocks_of_rows,
    draws_histogram,
)
from parhelion.evaluation.distances.slices import SortedSlices, SteppedSlices, projections
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.null import tail_probability
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.bootstrap import random_signs
from parhelion.evaluation.samples.features import Scaling
from parhelion.evaluation.samples.vectors import checked_pair, told_by, vectors_of
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]

NAME = "sliced"


@dataclass(frozen=True)
class SlicedOptions:
    """Options of `sliced`.

    Attributes
    ----------
    fields
        Fields that make the vector; all responses if empty.
    conditions
        Whether the conditions are features too, so that the response's dependence on them counts.
    scaling
        Unit of each feature, see `choose_features`.
    directions
        Number of random directions.
    blocks
        Blocks of the jackknife and of the null.
    replicas
        Draws of the null.
    """

    fields: tuple[str, ...] = ()
    conditions: bool = True
    scaling: Scaling = "standard"
    directions: int = 100
    blocks: int = 50
    replicas: int = 400

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.directions < 2 or self.blocks < 4 or self.replicas < 20:
            msg = (
                f"metric {NAME}: directions {self.directions}, blocks {self.blocks}, replicas {self.replicas}; "
                "expected at least 2, 4 and 20"
            )
            raise ConfigError(msg)


@dataclass(frozen=True)
class SlicedEstimate:
    """Sliced distances of two samples.

    Attributes
    ----------
    energy
        Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| without the bias of finite samples.
    w1
        Mean over directions of the first Wasserstein distance. Finite samples make it positive: see its null.
    directions
        Unit vectors, shape (L, d).
    energy_by_direction, w1_by_direction
        Contributions, whose means are the two values, shape (L,).
    energy_draws, w1_draws
        Both in the null, shape (replicas,).
    """

    energy: Quantity
    w1: Quantity
    directions: FloatArray
    energy_by_direction: FloatArray
    w1_by_direction: FloatArray
    energy_draws: FloatArray
    w1_draws: FloatArray


def slice_factor(width: int) -> float:
    """c_d = sqrt(pi) Gamma((d + 1) / 2) / Gamma(d / 2), by which |x| is the mean of c_d |theta . x| over directions."""
    return float(np.exp(0.5 * np.log(np.pi) + gammaln((width + 1) / 2) - gammaln(width / 2)))


def random_directions(count: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Unit vectors, uniform on the sphere, shape (count, width)."""
    vectors = rng.normal(size=(count, width))
    found: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def sliced_distances(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_weight: npt.ArrayLike | None = None,
    y_weight: npt.ArrayLike | None = None,
    *,
    paired: bool = False,
    directions: int = 100,
    blocks: int = 50,
    replicas: int = 400,
    seed: int = 0,
) -> SlicedEstimate:
    """Sliced Wasserstein and energy distances of two samples.

    Parameters
    ----------
    x, y
        Features, shapes (n, d) and (m, d), in units that make them comparable.
    x_weight, y_weight
        Signed weights with positive sums, shapes (n,) and (m,); ones if not given.
    paired
        Row i of x and row i of y belong together (same condition) and are not independent.
    directions
        Number of directions L.
    blocks, replicas
        Blocks of the jackknife and of the null, and draws of the null.
    seed
        Seed of directions, blocks and null.

    Returns
    -------
    SlicedEstimate
        See there and `estimate_sliced`. Units are those of the features.

    Raises
    ------
    DataError
        Arrays do not fit together, have values that are not finite, fewer than 4 rows, or no positive sum of weights.
    """
    ours, theirs, w, v = checked_pair(x, y, x_weight, y_weight)
    dealt = blocks_of_rows(len(ours), len(theirs), paired=paired, count=blocks, seed=seed)
    rng = np.random.default_rng([seed, 1])
    chosen = random_directions(directions, ours.shape[1], rng)
    return estimate_sliced(ours, theirs, w, v, dealt, chosen, independent=not paired, replicas=replicas, rng=rng)


def estimate_sliced(
    x: FloatArray,
    y: FloatArray,
    x_weight: FloatArray,
    y_weight: FloatArray,
    blocks: Blocks,
    directions: FloatArray,
    *,
    independent: bool,
    replicas: int,
    rng: np.random.Generator,
) -> SlicedEstimate:
    """Sliced distances, errors and nulls along given directions.

    The energy distance (Szekely & Rizzo 2013, J. Stat. Plan. Inference 143) is that of d dimensions, up to the choice
    of directions, because |x| is the mean of c_d |theta . x|. Its bias is taken off: for independent rows of equal
    weights as the U-statistic, else by blocks. Nulls, errors and that bias come from the cumulative distributions of
    each block along the same directions, read at 64 values that lie closer towards the ends; the nulls are drawn by
    signs on blocks (see `blocks`). The error adds the spread over directions in quadrature.

    For equal weights and equally many rows the values come from sorted projections in single precision:
    sum_(i<j) |z_i - z_j| = sum_k (2 k - N + 1) z_(k) with k from 0; otherwise from the steps of the cumulative
    distributions in double precision, which takes about four times as long.

    Parameters
    ----------
    x, y, x_weight, y_weight
        Rows and weights, shapes (n, d), (m, d), (n,), (m,).
    blocks
        Blocks of whole groups.
    directions
        Unit vectors, shape (L, d).
    independent
        True if the rows are independent of each other, within and between the samples.
    replicas, rng
        Draws of the null, and their source.

    Raises
    ------
    DataError
        The weights have no positive sum, even without one of the blocks.
    """
    weights = [
        np.bincount(b, w, blocks.count).astype(np.float64)
        for b, w in ((blocks.reference, x_weight), (blocks.generated, y_weight))
    ]
    contrasts = Contrasts(weights[0], weights[1], blocks.paired)
    equal = len(x) == len(y) and all(bool(np.all(w == w[0])) for w in (x_weight, y_weight))
    # Single precision is relative to the largest value, which a common offset would make large.
    centre = x_weight @ x / np.sum(x_weight)
    x, y = x - centre, y - centre
    slicer = (SortedSlices if equal else SteppedSlices)(x_weight, y_weight, blocks)
    found = [slicer.one(a, b) for a, b in projections(x, y, directions, np.float32 if equal else np.float64)]
    scale = slice_factor(x.shape[1])
    w1, energy, unbiased = (np.array([getattr(one, key) for one in found]) for key in ("w1", "energy", "unbiased"))
    # Cumulative sums of weight: blocks of x, then of y, by direction and node.
    sums, widths = np.stack([one.sums for one in found], axis=1), np.stack([one.widths for one in found])
    flat = (sums * np.sqrt(2 * scale / len(found) * widths)).reshape(len(sums), -1)
    null = SignNull(_product(contrasts.units @ flat))
    error = contrasts.jackknife_error(_product(flat))
    units = np.tensordot(contrasts.units, sums, axes=1)
    by_block = 2 * np.sum(units**2 * widths, axis=(0, 2))
    by_direction = scale * (unbiased if equal and independent else energy - by_block)
    draws = null.draws(replicas, rng)
    rounding = 1e-13 * float(np.sum(2 * scale * widths)) / len(found)
    quantity = null.quantity(float(by_direction.mean()), error, draws, rounding)
    across = _standard_error(by_direction) if abs(quantity.value) > 0 else 0.0
    noise, near = _w1_draws(units, np.tensordot(contrasts.difference, sums, axes=1), widths, replicas, rng)
    value = float(w1.mean()) if w1.mean() > rounding else 0.0
    return SlicedEstimate(
        replace(quantity, error=float(np.hypot(quantity.error, across))),
        Quantity(
            value,
            float(np.hypot(np.std(near, ddof=1), _standard_error(w1) if value > 0 else 0.0)),
            float(noise.mean()),
            float(noise.std(ddof=1)),
            tail_probability(value, np.where(noise > rounding, noise, 0.0)),
            limit=0.0,
        ),
        directions,
        by_direction,
        w1,
        draws,
        noise,
    )


def _product(rows: FloatArray) -> FloatArray:
    found: FloatArray = rows @ rows.T
    return found


def _standard_error(values: FloatArray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _w1_draws(
    units: FloatArray, measured: FloatArray, widths: FloatArray, replicas: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Sliced W1 of signed sums of units, shape (replicas,), alone and on top of the measured difference."""
    flat = units.reshape(len(units), -1)
    factor, here = widths.ravel() / len(widths), measured.ravel()
    signs = np.concatenate(list(random_signs(len(flat), replicas, rng)), axis=1).T
    null, near = np.empty(replicas), np.empty(replicas)
    for start in range(0, replicas, 64):
        path = signs[start : start + 64] @ flat
        null[start : start + 64] = np.abs(path) @ factor
        path += here
        near[start : start + 64] = np.abs(path, out=path) @ factor
    return null, near


def sliced(reference: Sample, generated: Sample, options: SlicedOptions, *, seed: int) -> list[MetricResult]:
    """Sliced energy and Wasserstein distances of vectors of features, see `estimate_sliced`.

    The features are scaled by the reference. With paired samples the common part of the fluctuations cancels in value,
    error and null.

    Parameters
    ----------
    reference, generated
        Samples with the fields that the options name.
    options
        See `SlicedOptions`.
    seed
        Seed of directions, blocks and null.

    Returns
    -------
    list of MetricResult
        One result. Quantities: `energy` (main), `w1`. Details: ``features`` (names, d), ``scaling``, ``directions``
        (their number), ``worst`` (components of the direction with the largest energy distance, d), ``null`` and
        ``w1_null`` (histograms of draws: ``edges``, ``density``).

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        A sample has fewer than 4 groups.
    """
    vectors = vectors_of(reference, generated, NAME, options.fields, options.conditions, options.scaling)
    comparison, names = vectors.comparison, vectors.features.names
    rng = np.random.default_rng([seed, 1])
    directions = random_directions(options.directions, len(names), rng)
    independent = comparison.groups == len(comparison.reference) + len(comparison.generated)
    with told_by(NAME):
        blocks = blocks_of(comparison, options.blocks, np.random.default_rng([seed, 0]))
        found = estimate_sliced(
            *vectors.rows,
            *vectors.weights,
            blocks,
            directions,
            independent=independent,
            replicas=options.replicas,
            rng=rng,
        )
    details: dict[str, Any] = {
        **comparison.describe(),
        "features": list(names),
        "scaling": options.scaling,
        "directions": options.directions,
        "worst": found.directions[np.argmax(found.energy_by_direction)],
        "null": draws_histogram(found.energy_draws),
        "w1_null": draws_histogram(found.w1_draws),
        "caption": f"Sliced distances of {len(names)} features along {options.directions} directions.",
    }
    on = ", ".join(options.fields) or "all responses"
    return [MetricResult(NAME, on, "energy", {"energy": found.energy, "w1": found.w1}, details, fields=options.fields)]


METRIC = Metric(NAME, SlicedOptions, sliced, ("energy", "w1"), "distances")
