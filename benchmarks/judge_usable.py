"""Closure of the usable sample size: fits with the surrogate as their model, at the size that the metric allows.

Run: python benchmarks/judge_usable.py [--rows 400000] [--fits 3000] [--toys 1000] [--seed 1]

First table: for each kind of parameter, a surrogate that is wrong in a known way. The metric measures n_max on test
samples of the given size; then pseudo-experiments of that many events are drawn from the reference and fitted by
maximum likelihood with the surrogate's exact density as the model. Their mean bias over their spread is to be 0.2.
Second table: how often the 95 % lower limit is below the true n_max.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, ndtri
from scipy.stats import norm, skewnorm

from common import table
from parhelion.evaluation.inference.parameters import Parameter
from parhelion.evaluation.inference.usable import UsableSizeOptions, usable_size
from parhelion.sample import Field, Sample, Schema

Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]
SCHEMA = Schema(
    (Field("species", kind="category", values=(0.0, 1.0), labels=("pi", "K")),), (Field("x"),), (Field("score"),)
)


@dataclass(frozen=True)
class Case:
    """A parameter, the truth, a wrong surrogate, and the fit that measures the parameter with the surrogate."""

    name: str
    parameter: Parameter
    # Quantiles and species to x.
    reference: Draw
    generated: Draw
    # Pseudo-experiments (fits, n) with the true species to estimates minus truth (fits,).
    fit: Callable[[np.ndarray], np.ndarray]
    beta: float


def newton(slope: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Roots of the summed score by secants, one for each row of x."""
    a, b = np.full(len(x), -0.01), np.full(len(x), 0.01)
    fa, fb = slope(x, a), slope(x, b)
    for _ in range(8):
        step = np.divide(fb * (b - a), fb - fa, out=np.zeros_like(b), where=fb != fa)
        a, fa, b = b, fb, b - step
        fb = slope(x, b)
    return b


def skewed_shift(x: np.ndarray) -> np.ndarray:
    """Shift of a skew-normal model, by the derivative of its log-density."""

    def slope(values: np.ndarray, theta: np.ndarray) -> np.ndarray:
        u = values - theta[:, None] + SKEW_MEAN
        hazard = np.exp(norm.logpdf(SKEW * u) - norm.logcdf(SKEW * u))
        return np.sum(u - SKEW * hazard, axis=1)

    return newton(slope, x)


def template(x: np.ndarray) -> np.ndarray:
    """Share of K with the surrogate's two densities, minus the true 0.3."""
    k, pi = norm.pdf(x, 0.985), norm.pdf(x, -1.015, 1.01)

    def slope(values: np.ndarray, theta: np.ndarray) -> np.ndarray:
        f = 0.3 + theta[:, None]
        return np.sum((k - pi) / (f * k + (1 - f) * pi), axis=1)

    return newton(slope, x)


SKEW = 0.2
SKEW_MEAN = skewnorm.mean(SKEW) - 0.004
# Quantiles of the skew-normal model have no closed form.
_GRID = np.linspace(-6.0, 6.0, 20_001)
_SKEWED = skewnorm.cdf(_GRID, SKEW)


def away(s: np.ndarray) -> np.ndarray:
    return np.where(s == 1, 1.0, -1.0)


CASES = (
    Case(
        "mean, normal",
        Parameter("mean", "x"),
        lambda u, s: ndtri(u),
        lambda u, s: 1.001 * ndtri(u) + 0.005,
        lambda x: x.mean(axis=1) - 0.005,
        0.005,
    ),
    Case(
        "width, normal",
        Parameter("width", "x"),
        lambda u, s: ndtri(u),
        lambda u, s: 1.004 * ndtri(u),
        lambda x: x.std(axis=1, ddof=1) - 1.004,
        0.004 * np.sqrt(2),
    ),
    Case(
        "share above a cut",
        Parameter("fraction", "x", threshold=2.0),
        lambda u, s: ndtri(u),
        lambda u, s: ndtri(u) + 0.02,
        lambda x: (x > 2).mean(axis=1) - norm.sf(1.98),
        (norm.sf(2) - norm.sf(1.98)) / np.sqrt(norm.sf(2) * norm.cdf(2)),
    ),
    Case(
        "template fraction",
        Parameter("template", "x", category="species", signal="K", background="pi", share=0.3),
        lambda u, s: ndtri(u) + away(s),
        lambda u, s: np.where(s == 1, 0.985 + ndtri(u), -1.015 + 1.01 * ndtri(u)),
        template,
        float("nan"),
    ),
    Case(
        "shift, wrong skewness",
        Parameter("shift", "x"),
        lambda u, s: ndtri(u),
        lambda u, s: np.interp(u, _SKEWED, _GRID) - SKEW_MEAN,
        skewed_shift,
        float("nan"),
    ),
    Case(
        "scale, gamma",
        Parameter("scale", "x"),
        lambda u, s: gammaincinv(4.0, u),
        lambda u, s: gammaincinv(4.01, u),
        lambda x: x.mean(axis=1) / 4.01 - 1,
        (4.01 / 4 - 1) * np.sqrt(4),
    ),
    Case(
        "score in the sample",
        Parameter("score", "score"),
        lambda u, s: gammaincinv(4.0, u),
        lambda u, s: gammaincinv(4.01, u),
        lambda x: x.mean(axis=1) / 4.01 - 1,
        (4.01 / 4 - 1) * np.sqrt(4),
    ),
)


def paired(case: Case, g: np.random.Generator, rows: int) -> tuple[Sample, Sample]:
    """Both samples from the same quantiles: the difference is then known far better than either."""
    species = (np.arange(rows) % 2).astype(float)
    u = g.random(rows)

    def build(x: np.ndarray) -> Sample:
        return Sample(SCHEMA, {"species": species, "x": x, "score": x - 4.0})

    return build(case.reference(u, species)), build(case.generated(u, species))


def closure(case: Case, rows: int, fits: int, seed: int) -> dict[str, object]:
    g = np.random.default_rng(seed)
    ours, theirs = paired(case, g, rows)
    begin = time.process_time()
    result = usable_size(ours, theirs, UsableSizeOptions((case.parameter,)), seed=seed)[1]
    seconds = time.process_time() - begin
    n = round(result.details["central"])
    found = []
    for _ in range(-(-fits // 200)):
        share = case.parameter.share if case.parameter.kind == "template" else 0.5
        species = (g.random(200 * n) < share).astype(float)
        found.append(case.fit(case.reference(g.random(200 * n), species).reshape(200, n)))
    estimates = np.concatenate(found)
    ratio = abs(estimates.mean()) / estimates.std(ddof=1)
    statistics = 1 / np.sqrt(len(estimates))
    # The size was measured too: beta is known to sigma, and the bias over error of the fits moves with it.
    usable = result.quantity("bias_over_error")
    measured = 0.2 * usable.error / usable.value
    error = float(np.hypot(statistics, measured))
    exact = "" if np.isnan(case.beta) else f"{0.04 / case.beta**2:.0f}"
    return {
        "parameter": case.name,
        "n_max measured": f"{n} +- {2 * n * usable.error / usable.value:.0f}",
        "exact": exact,
        "lower limit": f"{result.value:.0f}",
        "bias / error of fits": f"{ratio:.4f} +- {error:.4f}",
        "pull against 0.2": f"{(ratio - 0.2) / error:+.1f}",
        "s": f"{seconds:.2f}",
    }


def coverage(bias: float, rows: int, toys: int, seed: int, *, paired: bool, signed: bool) -> dict[str, object]:
    """Mean of a normal response x = c + noise with the surrogate off by `bias` of its spread."""
    schema = Schema((Field("c"),), (Field("x"),))
    g = np.random.default_rng(seed)
    covered, limits, pulls = 0, [], []
    for _ in range(toys):

        def one(first: int, shift: float, c: np.ndarray, weight: np.ndarray | None) -> Sample:
            x = 0.8 * c + 0.6 * g.normal(size=rows) + shift
            return Sample(schema, {"c": c, "x": x}, weight=weight, event_id=np.arange(first, first + rows))

        c = g.normal(size=rows)
        weight = np.where(g.random(rows) < 0.8, 1.25, -0.5) if signed else None
        ours = one(0, 0.0, c, weight)
        theirs = one(0, bias, c, weight) if paired else one(10**9, bias, g.normal(size=rows), weight)
        result = usable_size(ours, theirs, UsableSizeOptions((Parameter("mean", "x"),), replicas=20), seed=1)[1]
        truth = np.inf if bias == 0 else 0.04 / bias**2
        covered += result.value <= truth
        limits.append(result.value)
        q = result.quantity("bias_over_error")
        size = np.sqrt(ours.weights.effective)
        pulls.append((np.sign(-result.quantity("bias").value) * q.value - bias * size) / q.error)
    share = covered / toys
    return {
        "true bias": f"{bias:g}",
        "rows": rows,
        "paired": "yes" if paired else "no",
        "signed": "yes" if signed else "no",
        "true n_max": "none" if bias == 0 else f"{0.04 / bias**2:.0f}",
        "median limit": f"{np.median(limits):.0f}",
        "limit below truth": f"{share:.3f} +- {np.sqrt(max(share * (1 - share), 0.05 * 0.95) / toys):.3f}",
        "pull of beta": f"{np.mean(pulls):+.2f}, width {np.std(pulls, ddof=1):.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--fits", type=int, default=3000)
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(table([closure(case, options.rows, options.fits, options.seed) for case in CASES]))
    print()
    rows = []
    for bias in (0.0, 0.02, 0.05, 0.2):
        for paired, signed in ((False, False), (True, False), (True, True)):
            rows.append(coverage(bias, 3000, options.toys, options.seed, paired=paired, signed=signed))
    print(table(rows))


if __name__ == "__main__":
    main()
