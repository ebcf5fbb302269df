"""Smallest deformations that the metrics detect: the power of each against five kinds of errors of a surrogate.

    python benchmarks/judge_power.py --rows 10000 --dimensions 2 5 20 --toys 30 --processes 2 [--only classifier]
    python benchmarks/judge_power.py --rows 100000 --toys 8 --results power.jsonl

The reference is a mixture of three Gaussians with random means and correlations, the same for all toys of a dimension;
the generated sample, of as many independent rows, is the mixture after a deformation of size e:

- mean: every column moves by e standard deviations.
- width: every column is wider by the factor 1 + e.
- correlation: correlations within each component are smaller by the factor 1 - e, variances as they were.
- tail: in a share e of the rows the distance from the component's mean is three times as large.
- missing: the smallest component, 15 % of the rows, loses a share e of its rows.

A metric detects a toy if the p-value of its main quantity is below 0.05; with one result a column, if the smallest
p-value times their number is. The table gives the size that half of the toys detect: bisection on a grid of sizes, each
twice the last, and between the last two by linear interpolation of the share in log e; at a size where half of the toys
are decided, the others are left out. A number with `<` is the smallest size tried, `> 1` means that the largest is not
found. With `--results`, sizes found are kept in a file, and a search begins next to the size that the file has for
another number of rows, times the root of their ratio; where it ends does not depend on that as long as larger sizes are
found by more toys. With `--level`, `level` is the share of toys detected where nothing differs, 0.05 by design.
`likelihood ratio` is the best test there can be: it knows both densities. Its p-value is that of a normal sum, and
for tails the rank among 40 toys where nothing differs.

All metrics of the registry that take plain columns are run, with options that keep them cheap (see `OPTIONS`).
Runs of several parts print parts of the table; toys depend on the seed, their number and nothing else.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logsumexp
from scipy.stats import norm

from common import describe, table
from parhelion.errors import ParhelionError
from parhelion.evaluation import METRICS
from parhelion.sample import Field, Sample, Schema

LLR = "likelihood ratio"
DEFORMATIONS = ("mean", "width", "correlation", "tail", "missing")
SHARES = np.array([0.5, 0.35, 0.15])
GRID = 2.0 ** np.arange(-20, 1)
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
    """Mean and spread of one row's log-likelihood ratio r where nothing differs.

    The mean is wanted to a small part of what chance leaves of it in all rows of a toy. Rows are drawn from both
    densities in equal parts and weighted, v = 2 / (1 + e^r); v has mean 1, and v r + 2 (v - 1) is of second order in r.
    """
    m = mixture(dimensions)
    first, second = [], []
    for part in range(5):
        rng = np.random.default_rng([1, part])
        rows = np.concatenate([m.draw(kind, at, 100_000, rng) for at in (0.0, size)])
        r = m.log_ratio(kind, size, rows)
        v = 2.0 * expit(-r)
        first.append(np.mean(v * r + 2.0 * (v - 1.0)))
        second.append(np.mean(v * r**2))
    mean = float(np.mean(first))
    return mean, float(np.sqrt(np.mean(second) - mean**2))


@cache
def null_sums(kind: str, size: float, rows: int, dimensions: int) -> Any:
    """Log-likelihood ratios of 40 samples where nothing differs: at most one of them above is a p-value below 0.05."""
    m = mixture(dimensions)
    rng = np.random.default_rng([2, rows, dimensions])
    return np.array([np.sum(m.log_ratio(kind, size, m.draw(kind, 0.0, rows, rng))) for _ in range(40)])


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
        found = float(np.sum(m.log_ratio(kind, against, y)))
        if kind == "tail":
            # A single row far out decides, so that the sum is not normal.
            null = null_sums(kind, against, rows, dimensions)
            return float((1 + np.sum(null >= found)) / (1 + len(null)))
        mean, spread = null_of_ratio(kind, against, dimensions)
        return float(norm.sf((found - rows * mean) / (spread * np.sqrt(rows))))
    condition = name == "differential"
    ours, theirs = sample(x, 0, condition=condition), sample(y, 10**9, condition=condition)
    results = METRICS[name].compute(ours, theirs, options_of(name), seed=seed)
    p_values = [1.0 if r.p_value is None else float(r.p_value) for r in results]
    return min(1.0, min(p_values) * len(p_values))


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


def smallest(
    name: str, kind: str, rows: int, dimensions: int, seeds: range, pool: Any, at_once: int, near: float | None
) -> str:
    """Size that half of the toys detect, in words; the search begins at the guess `near`, if there is one."""
    seen: dict[int, list[bool]] = {}
    half = (len(seeds) + 1) // 2

    def toys(at: int, *, decided: bool) -> list[bool]:
        """Which toys detect a size; those that decide about half of them, or all."""
        found = seen.setdefault(at, [])
        while len(found) < len(seeds):
            if decided and (sum(found) >= half or len(found) - sum(found) > len(seeds) - half):
                break
            some = seeds[len(found) : len(found) + at_once]
            found += [p < 0.05 for p in pool.map(partial(p_value, name, kind, float(GRID[at]), rows, dimensions), some)]
        return found

    # Not found at `low`, found at `high`, both perhaps outside of the grid.
    low, high, step = -1, len(GRID), 1
    at = (low + high) // 2 if near is None else int(np.clip(np.round(np.log2(near / GRID[0])), 0, len(GRID) - 1))
    while high - low > 1:
        low, high = (low, at) if sum(toys(at, decided=True)) >= half else (at, high)
        if near is None or (low >= 0 and high < len(GRID)):
            at = (low + high) // 2
        else:
            at = max(high - step, 0) if low < 0 else min(low + step, len(GRID) - 1)
            step *= 2
    if high == len(GRID):
        return "> 1"
    if low < 0:
        return f"< {GRID[high]:.1e}"
    less, more = (float(np.mean(toys(at, decided=False))) for at in (low, high))
    part = (0.5 - less) / (more - less)
    return f"{GRID[low] * (GRID[high] / GRID[low]) ** part:.2g}"


def guess(found: list[dict[str, Any]], name: str, kind: str, rows: int, dimensions: int) -> float | None:
    """Size to begin with: the one found for the nearest number of rows, to first order."""
    same = [e for e in found if (e["metric"], e["kind"], e["dimensions"]) == (name, kind, dimensions)]
    if not same:
        return None
    entry = min(same, key=lambda e: abs(np.log(e["rows"] / rows)))
    # What is not found remains so; what lies below the grid is looked for from there.
    size = float(entry["size"].strip("<> "))
    return size if entry["size"].startswith(">") else size * float(np.sqrt(entry["rows"] / rows))


def gains(found: list[dict[str, Any]], rows: list[int]) -> list[dict[str, object]]:
    """By what factor sizes fall from the least to the most rows: geometric means, a line a metric and one for all."""
    few, many = min(rows), max(rows)
    sizes: dict[tuple[str, str, int], dict[int, str]] = {}
    for e in found:
        sizes.setdefault((e["metric"], e["kind"], e["dimensions"]), {})[e["rows"]] = e["size"]
    ratios: dict[str, list[float]] = {}
    for (name, _, _), by_rows in sizes.items():
        ends = [by_rows.get(n, ">") for n in (few, many)]
        if name != LLR and all(e[0] not in "<>" for e in ends):
            ratios.setdefault(name, []).append(float(np.log(float(ends[0]) / float(ends[1]))))
    ratios["all"] = [r for part in ratios.values() for r in part]
    lines: list[dict[str, object]] = []
    for name, part in ratios.items():
        if len(part) > 1:
            mean, error = float(np.exp(np.mean(part))), float(np.std(part, ddof=1) / np.sqrt(len(part)))
            lines.append({"metric": name, "sizes": len(part), f"{few} / {many}": f"{mean:.2f} +- {mean * error:.2f}"})
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 5, 20])
    parser.add_argument("--deformations", nargs="+", choices=DEFORMATIONS, default=DEFORMATIONS)
    parser.add_argument("--toys", type=int, default=30)
    choices = [LLR, *METRICS]
    parser.add_argument(
        "--only", nargs="+", choices=choices, default=choices, help="metrics; all that take plain columns if not given"
    )
    parser.add_argument("--results", type=Path, help="file of sizes found, JSON lines; continued if it exists")
    parser.add_argument("--level", action="store_true", help="also the share of toys detected where nothing differs")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(options.seed, options.seed + options.toys)
    print(describe(processes=options.processes, toys=options.toys, seeds=f"{seeds[0]} to {seeds[-1]}"))
    known = []
    if options.results is not None and options.results.exists():
        known = [json.loads(text) for text in options.results.read_text(encoding="utf-8").splitlines()]
    with multiprocessing.Pool(options.processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for dimensions in options.dimensions:
            names = usable(options.only, dimensions)
            for rows in options.rows:
                lines = []
                for name in names:
                    begin = time.perf_counter()
                    line: dict[str, object] = {"metric": name}
                    if options.level:
                        null = pool.map(partial(p_value, name, "mean", 0.0, rows, dimensions), seeds)
                        line["level"] = f"{np.mean(np.array(null) < 0.05):.2f}"
                    for kind in options.deformations:
                        key = {"metric": name, "kind": kind, "rows": rows, "dimensions": dimensions}
                        key |= {"toys": options.toys, "seed": options.seed}
                        done = [entry["size"] for entry in known if entry == {**key, "size": entry["size"]}]
                        if not done:
                            near = guess(known, name, kind, rows, dimensions)
                            done = [smallest(name, kind, rows, dimensions, seeds, pool, options.processes, near)]
                            known.append({**key, "size": done[0]})
                            if options.results is not None:
                                with options.results.open("a", encoding="utf-8") as file:
                                    file.write(json.dumps(known[-1]) + "\n")
                        line[kind] = done[0]
                    line["s in all"] = f"{time.perf_counter() - begin:.0f}"
                    lines.append(line)
                    print(f"  {dimensions} dimensions, {rows} rows, {name} done", flush=True)
                print(f"\n{dimensions} dimensions, {rows} rows in each sample\n\n{table(lines)}\n", flush=True)
    if len(options.rows) > 1:
        print(f"sizes found with few rows over those found with many\n\n{table(gains(known, options.rows))}")


if __name__ == "__main__":
    main()
