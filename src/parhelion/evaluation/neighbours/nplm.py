"""New Physics Learning Machine: a kernel log-likelihood ratio learned from the two samples, and where it is largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from scipy.stats import t as student

from parhelion.errors import ConfigError, DataError
from parhelion.evaluation.neighbours.nearest import EqualRows, Thinning, exchanges, squared_distances
from parhelion.evaluation.results.metric import Metric
from parhelion.evaluation.results.result import MetricResult, Quantity
from parhelion.evaluation.samples.features import Features
from parhelion.evaluation.samples.vectors import vectors_of
from parhelion.evaluation.statistics.shares import score_histogram
from parhelion.sample import Sample

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NAME = "nplm"

_PAIRS = 1000
_WIDTH_QUANTILE = 0.9
_STEPS, _TOLERANCE = 200, 1e-6
_NEWTON_AFTER, _LEAST_STEP = 40, 1e-6
_NULL_DIRECTION = 1e-10
_CURVE_BINS = 40
# Each needs its own regression of the weights.
_SIGNED_TOYS = 30
_LEAST_ROWS, _LEAST_CENTRES, _CONSTANT = 50, 100, 1e-3


@dataclass(frozen=True)
class NplmOptions:
    """Options of `nplm`.

    Attributes
    ----------
    fields
        Responses or extra fields that are features; all responses if empty.
    conditions
        Whether the conditions are features too.
    width
        Width of the Gaussian kernel, in standard deviations of the reference; the 90th percentile of the distances
        between reference rows if not given.
    centres
        Nystroem centres, drawn from both samples; the square root of the number of rows, at least 100, if not given.
    penalty
        Ridge on the function, per row.
    rows
        Most rows of each sample.
    toys
        Fits where labels are exchanged, which give the null.
    blamed
        Share of rows of largest and of smallest log-ratio whose features the details describe.
    """

    fields: tuple[str, ...] = ()
    conditions: bool = True
    width: float | None = None
    centres: int | None = None
    penalty: float = 1e-6
    rows: int = 20_000
    toys: int = 50
    blamed: float = 0.01

    def __post_init__(self) -> None:
        """Check ranges."""
        if (self.width is not None and not self.width > 0) or (self.centres is not None and self.centres < 1):
            msg = f"metric {NAME}: width {self.width}, centres {self.centres}; expected positive numbers"
            raise ConfigError(msg)
        if self.rows < 50 or self.toys < 20 or not self.penalty > 0 or not 0 < self.blamed <= 0.5:
            msg = (
                f"metric {NAME}: rows {self.rows}, toys {self.toys}, penalty {self.penalty:g}, blamed "
                f"{self.blamed:g}; expected at least 50, at least 20, above 0, and above 0 up to 0.5"
            )
            raise ConfigError(msg)


@dataclass(frozen=True)
class KernelRatio:
    """Kernel logistic regression on fixed rows, for any labels.

    Attributes
    ----------
    basis
        Nystroem features of the rows, shape (N, r): their products approximate the kernel.
    penalty
        Ridge per row.
    factor
        Cholesky factor of the largest Hessian that the loss can have.
    """

    basis: FloatArray
    penalty: float
    factor: tuple[FloatArray, bool]

    def fit(self, generated: BoolArray) -> FloatArray:
        """Log-ratio of generated to reference density at each row, shape (N,).

        Minimises sum_R w log(1 + e^f) + sum_D log(1 + e^-f) + N penalty |f|^2 / 2 with w = N_D / N_R (Letizia et al.,
        Eur. Phys. J. C 82 (2022) 879, for the kernel; D'Agnolo & Wulzer, Phys. Rev. D 99 (2019) 015014, for the loss).
        Steps use the Hessian's upper bound, factorised once for all labels (Boehning, Ann. Inst. Stat. Math. 44 (1992)
        197), so each one lowers the loss; where samples differ much, Newton steps take over.
        """
        weight = np.where(generated, 1.0, np.sum(generated) / max(int(np.sum(~generated)), 1))
        target = generated.astype(np.float64)
        ridge = len(weight) * self.penalty
        beta = np.zeros(self.basis.shape[1])
        value = np.zeros(len(weight))
        loss = _loss(value, beta, weight, target, ridge)
        for step in range(_STEPS):
            probability = expit(value)
            gradient = self.basis.T @ (weight * (probability - target)) + ridge * beta
            if step < _NEWTON_AFTER:
                move = cho_solve(self.factor, gradient)
            else:
                curvature = weight * probability * (1.0 - probability)
                hessian = (self.basis.T * curvature) @ self.basis
                hessian[np.diag_indices_from(hessian)] += ridge
                move = np.linalg.solve(hessian, gradient)
            size, direction = 1.0, self.basis @ move
            # Decrement of the loss to first order.
            decrement = float(gradient @ move)
            while True:
                next_value, next_beta = value - size * direction, beta - size * move
                next_loss = _loss(next_value, next_beta, weight, target, ridge)
                if next_loss <= loss or size <= _LEAST_STEP:
                    break
                size *= 0.5
            value, beta, loss = next_value, next_beta, next_loss
            if decrement <= _TOLERANCE * max(1.0, float(np.sqrt(len(weight)))):
                break
        return value


def kernel_ratio(rows: FloatArray, centres: int, width: float, penalty: float, rng: np.random.Generator) -> KernelRatio:
    """Prepare the fits.

    Parameters
    ----------
    rows
        Pooled rows of both samples, shape (N, d).
    centres
        Number of rows drawn as Nystroem centres.
    width
        Width of the Gaussian kernel exp(-|x - y|^2 / (2 width^2)).
    penalty
        Ridge per row.
    rng
        Draws the centres.
    """
    chosen = rows[rng.choice(len(rows), size=min(centres, len(rows)), replace=False)]
    value, vector = np.linalg.eigh(_kernel(chosen, chosen, width))
    alive = value > _NULL_DIRECTION * value[-1]
    basis = _kernel(rows, chosen, width) @ (vector[:, alive] / np.sqrt(value[alive]))
    # The curvature w p (1 - p) is at most a quarter where both samples are equally large.
    hessian = 0.25 * basis.T @ basis
    hessian[np.diag_indices_from(hessian)] += len(rows) * penalty
    return KernelRatio(basis, penalty, cho_factor(hessian))


def statistic(value: FloatArray, generated: BoolArray) -> float:
    """Test statistic t = 2 [sum_D f - w sum_R (e^f - 1)], w = N_D / N_R (D'Agnolo & Wulzer 2019).

    Parameters
    ----------
    value
        Log-ratio f at each row, shape (N,).
    generated
        Which rows are of the generated sample (D); the others are the reference (R).
    """
    ratio = np.sum(generated) / max(int(np.sum(~generated)), 1)
    return float(2.0 * (np.sum(value[generated]) - ratio * np.sum(np.expm1(value[~generated]))))


def pair_distance(rows: FloatArray, quantile: float, rng: np.random.Generator) -> float:
    """Quantile of the distances between pairs of at most 1000 rows, shape (n, d)."""
    few = rows[rng.choice(len(rows), size=min(_PAIRS, len(rows)), replace=False)]
    squares = np.concatenate([block.copy() for _, block in squared_distances(few, few)])
    found = float(np.sqrt(np.quantile(squares[np.triu_indices(len(few), 1)], quantile)))
    return found if found > 0 else 1.0


def nplm(reference: Sample, generated: Sample, options: NplmOptions, *, seed: int) -> list[MetricResult]:
    """Learned log-likelihood ratio of the generated sample to the reference.

    The fit sees all rows, and t is evaluated on the same ones, so its null is not zero: labels are exchanged at random
    by group (the two rows of one condition where samples are paired), and the fit is repeated. The statistic in the
    null is a scaled chi2, whose cube root is normal; `z` is that of t less the mean over the toys, in units of their
    spread, and the p-value the upper tail of Student's t, since so few toys know their spread no better. The p-value by
    counting toys stands in the details.

    `t` grows in proportion to the rows once the samples differ; a bound on it holds for the rows that the details
    give. Error: of a non-central chi2, variance of the toys plus 4 times the scale times the excess of t.

    Weights: the loss has no lower bound with negative weights, so both samples are thinned to rows of equal weight
    first, equally many of each; see `Thinning`. With signed weights, labels are exchanged before weights are regressed
    and rows thinned, so that the toys, 30 at most, know the noise of that.

    Parameters
    ----------
    reference, generated
        Samples with equal fields.
    options
        See `NplmOptions`.
    seed
        Seed of thinning, centres and toys.

    Returns
    -------
    list of MetricResult
        One result with quantities `t` (main) and `z` (deviation from the null in standard deviations). Details:
        ``features``, ``used`` (rows of each sample), ``thinned``, ``width``, ``centres``, ``toys`` (t of each),
        ``ndf`` and ``scale`` of the chi2, ``counted_p``, ``ratio`` with ``edges`` of f and shares and errors of
        both samples, and ``excess`` and ``deficit``: rows of either sample where f is in its highest (generated
        rows are too many) and lowest share `blamed`, with their mean features minus those of all rows in
        standard deviations (``shift``), ``error``, and the numbers of rows of both samples.

    Raises
    ------
    ConfigError
        An option names an unknown field.
    DataError
        Fewer than 50 rows of equal weight are left, or all features are constant.
    """
    vectors = vectors_of(reference, generated, NAME, options.fields, options.conditions, "standard")
    comparison, features = vectors.comparison, vectors.features
    rng = np.random.default_rng(seed)
    thinning = Thinning(vectors, NAME, rows=options.rows, least=_LEAST_ROWS, seed=seed)
    equal = thinning.rows(rng)
    n = len(equal.reference)
    if np.ptp(equal.reference, axis=0).max() < _CONSTANT:
        msg = f"metric {NAME}: all of {', '.join(features.names)} are constant in the reference; choose other fields"
        raise DataError(msg)
    width = options.width or pair_distance(equal.reference, _WIDTH_QUANTILE, rng)
    centres = options.centres or max(_LEAST_CENTRES, int(np.ceil(np.sqrt(2 * n))))
    label = np.arange(2 * n) >= n

    def prepare(rows: EqualRows) -> KernelRatio:
        return kernel_ratio(rows.pooled, centres, width, options.penalty, rng)

    model = prepare(equal)
    pooled, group = equal.pooled, equal.pooled_group
    value = model.fit(label)
    t = statistic(value, label)
    if thinning.signed:
        null = []
        for again in thinning.null_rows(min(options.toys, _SIGNED_TOYS), rng):
            other = np.arange(2 * len(again.reference)) >= len(again.reference)
            null.append(statistic(prepare(again).fit(other), other))
    else:
        drawn = exchanges(~label, group, comparison.paired, options.toys, rng)
        null = [statistic(model.fit(~own), ~own) for own in drawn]
    toys = np.array(null)
    quantities, ndf, scale = _quantities(t, toys)
    return [
        MetricResult(
            name=NAME,
            on="conditions and responses" if options.conditions else "responses",
            main="t",
            quantities=quantities,
            details={
                **comparison.describe(),
                "features": list(features.names),
                "used": n,
                "thinned": thinning.thinned,
                "width": width,
                "centres": centres,
                "toys": toys,
                "ndf": ndf,
                "scale": scale,
                "counted_p": float((1 + np.sum(toys >= t)) / (1 + len(toys))),
                "ratio": _histogram(value, label),
                "excess": _blame(features, pooled, value, label, group, options.blamed),
                "deficit": _blame(features, pooled, -value, label, group, options.blamed),
                "caption": (
                    f"A log-likelihood ratio learned from {n:,} rows of each sample has t = {t:.1f}; "
                    f"{np.mean(toys):.1f} where the samples do not differ ({quantities['z'].value:.1f} sigma)."
                ),
            },
            fields=options.fields,
        )
    ]


def _quantities(t: float, toys: FloatArray) -> tuple[dict[str, Quantity], float, float]:
    mean, variance = float(np.mean(toys)), float(np.var(toys, ddof=1))
    if not (variance > 0 and mean > 0):
        # No exchange changes anything: the samples are one and the same.
        none = Quantity(t, 0.0, mean, 0.0, 1.0 if t <= mean + 1e-9 else 1.0 / (1 + len(toys)))
        return {"t": none, "z": Quantity(0.0, 0.0, 0.0, 0.0, none.p_value)}, 0.0, 0.0
    ndf, scale = 2.0 * mean**2 / variance, variance / (2.0 * mean)
    # The cube root of a chi2 is normal (Wilson & Hilferty 1931), so one more draw from the null is a Student's t.
    roots, degrees = np.cbrt(toys), len(toys) - 1
    width = float(np.std(roots, ddof=1) * np.sqrt(1 + 1 / len(toys)))
    z = float(np.cbrt(t) - np.mean(roots)) / width
    p = float(student.sf(z, degrees))
    spread = float(np.sqrt(variance))
    slope = 1 / (3 * float(np.cbrt(max(t, mean))) ** 2 * width)
    error = float(np.sqrt(variance + 4.0 * scale * max(t - mean, 0.0)))
    return (
        {
            "t": Quantity(t, error, mean, spread, p),
            "z": Quantity(z, error * slope, 0.0, float(np.sqrt(degrees / (degrees - 2))), p),
        },
        ndf,
        scale,
    )


def _kernel(a: FloatArray, b: FloatArray, width: float) -> FloatArray:
    centre = np.mean(b, axis=0)
    out = np.empty((len(a), len(b)))
    for part, block in squared_distances(a - centre, b - centre):
        out[part] = np.exp(block * (-0.5 / width**2))
    return out


def _loss(value: FloatArray, beta: FloatArray, weight: FloatArray, target: FloatArray, ridge: float) -> float:
    # log(1 + e^f) - f y is log(1 + e^f) for the reference and log(1 + e^-f) for generated rows.
    return float(weight @ (np.logaddexp(0.0, value) - target * value) + 0.5 * ridge * (beta @ beta))


def _histogram(value: FloatArray, label: BoolArray) -> dict[str, Any]:
    low, high = np.quantile(value, [0.0005, 0.9995])
    edges = np.linspace(low - 1e-6, high + 1e-6, _CURVE_BINS + 1)
    found: dict[str, Any] = {"edges": edges}
    for side, mask in (("reference", ~label), ("generated", label)):
        # Rows beyond the edges stand in the first and the last bin.
        shown = np.clip(value[mask], edges[0], edges[-1])
        found |= score_histogram(side, shown, np.ones(len(shown)), edges)
    return found


def _blame(
    features: Features,
    rows: FloatArray,
    value: FloatArray,
    label: BoolArray,
    group: npt.NDArray[np.int64],
    share: float,
) -> dict[str, Any]:
    """Features of the rows of largest value."""
    chosen = value >= np.quantile(value, 1.0 - share)
    count = int(chosen.sum())
    shift = rows[chosen].mean(axis=0) - rows.mean(axis=0)
    groups = len(np.unique(group[chosen]))
    error = rows[chosen].std(axis=0) / np.sqrt(max(groups, 1))
    return {
        "share": count / len(rows),
        "reference": int(np.sum(chosen & ~label)),
        "generated": int(np.sum(chosen & label)),
        "shift": dict(zip(features.names, shift, strict=True)),
        "error": dict(zip(features.names, error, strict=True)),
    }


METRIC = Metric(NAME, NplmOptions, nplm, ("t", "z"), "neighbours")
