"""Smallest deformations that the metrics detect: the power of each against five kinds of errors of a surrogate.

    python benchmarks/judge_power.py --rows 10000 --dimensions 2 5 20 --toys 30 --processes 2 [--only classifier]

The reference is a mixture of three Gaussians with random means and correlations, the same for all toys of a dimension;
the generated sample, of as many independent rows, is the mixture after a deformation of size e:

- mean: every column moves by e standard deviations.
- width: every column is wider by the factor 1 + e.
- correlation: correlations within each component are smaller by the factor 1 - e, variances as they were.
- tail: in a share e of the rows the distance from the component's mean is three times as large.
- missing: the smallest component, 15 % of the rows, loses a share e of its rows.

A metric detects a toy if the p-value of its main quantity is below 0.05; with one result a column, if the smallest
p-value times their number is. The table gives the size that half of the toys detect: bisection on a grid of sizes, each
twice the last, and between the last two by linear interpolation of the share in log e. A number with
`<` is the smallest size tried, `> 1` means that the largest is not found. `level` is the share of toys detected where
nothing differs, 0.05 by design. `likelihood ratio` is the best test there can be: it knows both densities.

All metrics of the registry that take plain columns are run, with options that keep them cheap (see `OPTIONS`).
Runs of several parts print parts of the table; toys depend on the seed, their number and nothing else.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from common import describe, table
from parhelion.errors import ParhelionError
from parhelion.evaluation import METRICS
from parhelion.sample import Field, Sample, Schema

LLR = "likelihood ratio"
DEFORMATIONS = ("mean", "width", "correlation", "tail", "missing")
SHARES = np.array([0.5, 0.35, 0.15])
GRID = 2.0 ** np.arange(-11, 1)
COMMON: dict[str, Any] = {"train_null": False, "importance": False, "replicas": 99}
# Those whose main quantity is a chi2 need no draws for its p-value. PRDC sees half of 10,000 rows: its time grows with
# their square.
OPTIONS: dict[str, dict[str, Any]] = {
    "histograms": {"replicas": 20},
    "differential": {"replicas": 20, "x": "x0"},
    "correlation": {"replicas": 49},
    "nplm": {"toys": 39, "rows": 10_000},
    "prdc": {"rows": 5000},
}
FAMILIES = ("classifiers", "distributions", "distances", "neighbours", "tails")


class Mixture:
    """Mixture of Gaussians, and its deformations, in d dimensions."""

    def __init__(self, dimensions: int) -> None:
        rng = np.random.default_rng(dimensions)
        self.means = rng.normal(size=(3, dimensions))
        self.covariances = []
        for _ in range(3):
            factor = rng.normal(size=(dimensions, dimensions + 2))
            inner = factor @ factor.T
            spread = rng.uniform(0.5, 1.0, dimensions) / np.sqrt(np.diag(inner))
            self.covariances.append(inner * np.outer(spread, spread))
        centre = SHARES @ self.means
        self.centre = centre
        variance = SHARES @ np.array([np.diag(c) for c in self.covariances])
        self.spread = np.sqrt(variance + SHARES @ (self.means - centre) ** 2)

    def components(self, kind: str, size: float) -> list[tuple[float, Any, Any]]:
        """Shares, means and covariances of the components after a deformation."""
        parts = [(float(p), m, c) for p, m, c in zip(SHARES, self.means, self.covariances, strict=True)]
        if size == 0:
            return parts
        if kind == "mean":
            return [(p, m + size * self.spread, c) for p, m, c in parts]
        if kind == "width":
            return [(p, self.centre + (1 + size) * (m - self.centre), (1 + size) ** 2 * c) for p, m, c in parts]
        if kind == "correlation":
            return [(p, m, (1 - size) * c + size * np.diag(np.diag(c))) for p, m, c in parts]
        if kind == "tail":
            return [(p * (1 - size), m, c) for p, m, c in parts] + [(p * size, m, 9.0 * c) for p, m, c in parts]
        shares = SHARES * [1, 1, 1 - size]
        return [(float(p), m, c) for p, (_, m, c) in zip(shares / shares.sum(), parts, strict=True)]

    def draw(self, kind: str, size: float, rows: int, rng: np.random.Generator) -> Any:
        """Rows of the deformed mixture, shape (rows, d)."""
        parts = self.components(kind, size)
        chosen = rng.choice(len(parts), size=rows, p=[p for p, _, _ in parts])
        noise = rng.normal(size=(rows, len(self.centre)))
        out = np.empty_like(noise)
        for k, (_, mean, covariance) in enumerate(parts):
            if np.any(chosen == k):
                values, vectors = np.linalg.eigh(covariance)
                root = vectors * np.sqrt(np.maximum(values, 0.0))
                out[chosen == k] = mean + noise[chosen == k] @ root.T
        return out

    def log_density(self, kind: str, size: float, x: Any) -> Any:
        """Logarithm of the deformed density, up to a constant."""
        terms = []
        for share, mean, covariance in self.components(kind, size):
            if share > 0:
                root = np.linalg.cholesky(covariance)
                z = np.linalg.solve(root, (x - mean).T)
                terms.append(np.log(share) - 0.5 * np.sum(z**2, axis=0) - np.sum(np.log(np.diag(root))))
        return logsumexp(terms, axis=0)

    def log_ratio(self, kind: str, size: float, x: Any) -> Any:
        """Logarithm of deformed over undeformed density."""
        return self.log_density(kind, size, x) - self.log_density(kind, 0.0, x)


@cache
def mixture(dimensions: int) -> Mixture:
    return Mixture(dimensions)


@cache
def null_of_ratio(kind: str, size: float, dimensions: int) -> tuple[float, float]:
    """Mean and spread of one row's log-likelihood ratio where nothing differs."""
    m = mixture(dimensions)
    found = m.log_ratio(kind, size, m.draw(kind, 0.0, 200_000, np.random.default_rng(1)))
    return float(np.mean(found)), float(np.std(found))


def options_of(name: str) -> Any:
    """Cheap options of a metric."""
    kind = METRICS[name].options
    wanted = {**COMMON, **OPTIONS.get(name, {})}
    return kind(**{key: value for key, value in wanted.items() if key in kind.__dataclass_fields__})


def sample(values: Any, first: int, *, condition: bool) -> Sample:
    """Columns as responses, without or with the first one as a condition."""
    fields = tuple(Field(f"x{j}") for j in range(values.shape[1]))
    split = 1 if condition else 0
    columns = {field.name: values[:, j] for j, field in enumerate(fields)}
    ids = np.arange(first, first + len(values))
    return Sample(Schema(fields[:split], fields[split:]), columns, event_id=ids, source="columns")


def p_value(name: str, kind: str, size: float, rows: int, dimensions: int, seed: int) -> float:
    """P-value of a metric in one toy."""
    m = mixture(dimensions)
    rng = np.random.default_rng([seed, rows, dimensions])
    x = m.draw(kind, 0.0, rows, rng)
    y = m.draw(kind, size, rows, rng)
    if name == LLR:
        # Where nothing differs there is no alternative to test; any size has its level.
        against = size if size > 0 else 0.1
        mean, spread = null_of_ratio(kind, against, dimensions)
        return float(norm.sf((np.sum(m.log_ratio(kind, against, y)) - rows * mean) / (spread * np.sqrt(rows))))
    condition = name == "differential"
    ours, theirs = sample(x, 0, condition=condition), sample(y, 10**9, condition=condition)
    results = METRICS[name].compute(ours, theirs, options_of(name), seed=seed)
    found = [1.0 if r.p_value is None else float(r.p_value) for r in results]
    return min(1.0, min(found) * len(found))


def usable(names: list[str], dimensions: int) -> list[str]:
    """Those that need nothing but columns, tried on a small sample."""
    found = []
    for name in names:
        metric = METRICS.get(name)
        if metric and (metric.needs_train or (metric.family not in FAMILIES and name != "correlation")):
            continue
        try:
            p_value(name, "mean", 0.0, 2000, dimensions, 1)
        except (ParhelionError, TypeError) as error:
            print(f"{name} is left out: {error}")
        else:
            found.append(name)
    return found


def smallest(name: str, kind: str, rows: int, dimensions: int, seeds: range, pool: Any) -> str:
    """Size that half of the toys detect, in words."""
    shares: dict[int, float] = {}

    def power(at: int) -> float:
        if at not in shares:
            one = partial(p_value, name, kind, float(GRID[at]), rows, dimensions)
            shares[at] = float(np.mean(np.array(pool.map(one, seeds)) < 0.05))
        return shares[at]

    low, high = 0, len(GRID) - 1
    if power(high) < 0.5:
        return "> 1"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= 0.5 else (middle, high)
    if power(low) >= 0.5:
        return f"< {GRID[low]:.1e}"
    part = (0.5 - power(low)) / (power(high) - power(low))
    return f"{GRID[low] * (GRID[high] / GRID[low]) ** part:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 5, 20])
    parser.add_argument("--deformations", nargs="+", choices=DEFORMATIONS, default=DEFORMATIONS)
    parser.add_argument("--toys", type=int, default=30)
    known = [LLR, *METRICS]
    parser.add_argument(
        "--only", nargs="+", choices=known, default=known, help="metrics; all that take plain columns if not given"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(options.seed, options.seed + options.toys)
    print(describe(processes=options.processes, toys=options.toys, seeds=f"{seeds[0]} to {seeds[-1]}"))
    with multiprocessing.Pool(options.processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for dimensions in options.dimensions:
            names = usable(options.only, dimensions)
            for rows in options.rows:
                lines = []
                for name in names:
                    begin = time.perf_counter()
                    null = pool.map(partial(p_value, name, "mean", 0.0, rows, dimensions), seeds)
                    line: dict[str, object] = {"metric": name, "level": f"{np.mean(np.array(null) < 0.05):.2f}"}
                    for kind in options.deformations:
                        line[kind] = smallest(name, kind, rows, dimensions, seeds, pool)
                    line["s in all"] = f"{time.perf_counter() - begin:.0f}"
                    lines.append(line)
                    print(f"  {dimensions} dimensions, {rows} rows, {name} done", flush=True)
                print(f"\n{dimensions} dimensions, {rows} rows in each sample\n\n{table(lines)}\n", flush=True)


if __name__ == "__main__":
    main()
