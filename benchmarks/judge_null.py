"""What every metric says of reference against reference: whether p-values are uniform and nulls are right.

    python benchmarks/judge_null.py --toys 500 --rows 1000 --results null.jsonl [--only histograms differential]

With --results, each metric's toys are appended to a file as they are done and not done again: the run can be stopped,
continued and divided among several, and the tables are printed from the file.

Each toy draws a reference of tracks (momentum, pseudorapidity, species; two responses) and a second sample of the same
distribution: new responses at the same conditions (paired), or new rows (independent); with unit weights, or with
sWeight-like ones, a fifth of them negative. A line is one quantity of a metric's first result.

- uniform: p-value of a Kolmogorov-Smirnov test of the p-values against the uniform distribution.
- p <= 0.05: share of toys, to be compared with the band that holds 99 % of binomial fluctuations about 0.05.
- pull: mean and width over toys of (value - null) / null error; 0 and 1 are right, though a skewed statistic with few
  draws of its null comes near them only.
- most common p: share of toys with the same p-value. Where it is above 0.05 the statistic takes few values, its
  p-values are conservative by construction, and "uniform" says nothing: such lines are marked discrete.
- posterior has a toy of its own, exact draws for known parameters, and is the same whether paired or not.
- refused: toys that the metric answered with an error, the first of which is printed.

Lines outside of the band, or with "uniform" below 0.001, and not discrete, are marked CHECK. With a hundred lines one
mark is expected by chance.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom, kstest

from common import describe, table
from parhelion.errors import ParhelionError
from parhelion.evaluation import METRICS, AucMapOptions, AucPair, Cut, EfficiencyOptions
from parhelion.evaluation.distributions.curves import CurveOptions
from parhelion.evaluation.distributions.resolution import ResolutionOptions
from parhelion.evaluation.physics.boundaries import BoundariesOptions, Law
from parhelion.evaluation.physics.sigma import SigmaOptions
from parhelion.evaluation.physics.train_on_generated import Task, TrainOnGeneratedOptions
from parhelion.sample import Field, Sample, Schema

SCHEMA = Schema(
    (Field("P", "GeV"), Field("ETA"), Field("Type", kind="category", values=(211, 321), labels=("pi", "K"))),
    (Field("DLLk"), Field("DLLp")),
)
# With 99 draws p-values are multiples of 0.01, so that p <= 0.05 has probability 0.05 exactly.
DRAWS = 99
OPTIONS: dict[str, Any] = {
    "auc_map": AucMapOptions(
        (AucPair("K", "pi", "DLLk"),), "Type", "P", "ETA", x_bins=2, y_bins=2, min_tracks=20, replicas=DRAWS
    ),
    "efficiency": EfficiencyOptions(
        (Cut("DLLk", 0.0),), "Type", "P", x_bins=4, species=("pi",), min_tracks=20, replicas=DRAWS
    ),
    "sigma": SigmaOptions("Type", replicas=DRAWS),
    "train_on_generated": TrainOnGeneratedOptions((Task("Type"),), trees=20),
    "curves": CurveOptions(("image",), replicas=DRAWS),
    "resolution": ResolutionOptions("E", "P", bins=3, replicas=DRAWS),
    "boundaries": BoundariesOptions((Law("at most 2", "DLLk", "<=", 2.0),), replicas=DRAWS),
}
# Options that any metric may have; the rest keep their defaults.
COMMON: dict[str, Any] = {"replicas": DRAWS, "bins": 10, "trees": 20, "train_null": False, "importance": False}
# Rows are in a mass peak with probability 0.95 (signal) or 0.3 (background). Weights inside and outside of it, with
# mean 1 for signal and 0 for background.
PEAK = np.linalg.solve([[0.95, 0.05], [0.3, 0.7]], [1.0, 0.0])
POSTERIOR_DRAWS = 30
# A vector and a positive number, which only the metrics on such things see.
EXTRA = {"curves": (Field("image", shape=(4,)),), "resolution": (Field("E"),)}
SETTINGS = [(paired, signed) for paired in (True, False) for signed in (False, True)]


def draw(rows: int, seed: int, *, signed: bool, first_id: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    p, eta = rng.uniform(3.0, 100.0, rows), rng.uniform(2.0, 5.0, rows)
    species = np.where(rng.random(rows) < 0.5, 321, 211)
    columns: dict[str, Any] = {"P": p, "ETA": eta, "Type": species}
    background = (rng.random(rows) < 0.25) & signed
    response = respond(rng, p, species, background)
    weight = np.ones(rows)
    if signed:
        peak = rng.random(rows) < np.where(background, 0.3, 0.95)
        weight = np.where(peak, *PEAK)
    columns["DLLk"], columns["DLLp"] = response.T
    return Sample(SCHEMA, columns, weight=weight, event_id=np.arange(rows) + first_id)


def respond(rng: np.random.Generator, p: Any, species: Any, background: Any) -> Any:
    mean = np.where(species == 321, 1.0, -1.0) * (1.5 - p / 100.0) + 1.5 * background
    kaon = mean + rng.normal(size=len(p))
    proton = 0.7 * kaon + 0.5 * rng.normal(size=len(p))
    # Equal in three rows of ten, so that there is a pattern of ties to compare.
    return np.column_stack([kaon, np.where(rng.random(len(p)) < 0.3, kaon, proton)])


def again(sample: Sample, seed: int, *, signed: bool) -> Sample:
    """New responses at the same conditions and weights.

    Which rows are background is drawn again given the weight, so that rows are exchangeable within pairs.
    """
    rng = np.random.default_rng([seed, 1])
    background = np.zeros(len(sample), dtype=bool)
    if signed:
        shares = {True: 0.25 * 0.3 / (0.25 * 0.3 + 0.75 * 0.95), False: 0.25 * 0.7 / (0.25 * 0.7 + 0.75 * 0.05)}
        chance = np.where(sample.weight > 0, shares[True], shares[False])
        background = rng.random(len(sample)) < chance
    return sample.with_response(respond(rng, sample["P"], sample["Type"], background), source="generated")


def truths(rows: int, seed: int, *, signed: bool) -> tuple[Sample, Sample]:
    """Parameters from a normal prior, and draws of their exact posterior; background has parameters elsewhere."""
    rng = np.random.default_rng([seed, 2])
    background = (rng.random(rows) < 0.25) & signed
    theta = rng.normal(size=rows) + 1.5 * background
    peak = rng.random(rows) < np.where(background, 0.3, 0.95)
    weight = np.where(peak, *PEAK) if signed else np.ones(rows)
    x = theta + rng.normal(size=rows)
    schema = Schema((Field("x"),), (Field("theta"),))
    made = np.repeat(x, POSTERIOR_DRAWS)
    draws = 0.5 * made + np.sqrt(0.5) * rng.normal(size=len(made))
    groups = np.repeat(np.arange(rows), POSTERIOR_DRAWS)
    return (
        Sample(schema, {"x": x, "theta": theta}, weight=weight),
        Sample(schema, {"x": made, "theta": draws}, weight=np.repeat(weight, POSTERIOR_DRAWS), group=groups),
    )


def with_extra(sample: Sample, name: str, seed: int) -> Sample:
    """Add the fields that a metric compares and others do not have, functions of the responses and of chance."""
    if name not in EXTRA:
        return sample
    rng = np.random.default_rng([seed, 3])
    scale = np.exp(0.3 * np.asarray(sample["DLLk"]))
    values = scale[:, None] * rng.gamma(3.0, size=(len(sample), 4)) if name == "curves" else scale * 5
    return sample.with_extra(EXTRA[name][0], values)


def options_of(name: str) -> Any:
    if name in OPTIONS:
        return OPTIONS[name]
    kind = METRICS[name].options
    known = {key: value for key, value in COMMON.items() if key in kind.__dataclass_fields__}
    return kind(**known)


def one_toy(seed: int, name: str, rows: int, paired: bool, signed: bool) -> tuple[dict[str, tuple[Any, ...]], str]:
    reference = draw(rows, seed, signed=signed)
    if name == "posterior":
        reference, generated = truths(rows, seed, signed=signed)
    elif paired:
        generated = again(reference, seed, signed=signed)
    else:
        generated = draw(rows, 10**6 + seed, signed=signed, first_id=10**8)
    reference, generated = with_extra(reference, name, seed), with_extra(generated, name, 10**6 + seed)
    metric = METRICS[name]
    extra = {"train": draw(rows, 2 * 10**6 + seed, signed=signed, first_id=2 * 10**8)} if metric.needs_train else {}
    try:
        results = metric.compute(reference, generated, options_of(name), seed=seed, **extra)
    except ParhelionError as error:
        return {}, str(error)
    # The results of most metrics are the same thing for one field after the other; those of this one differ in kind.
    named = {f"{r.on} ": r for r in results} if name == "resolution" else {"": results[0]}
    return {
        what + key: (q.value, q.null, q.null_error, np.nan if q.p_value is None else q.p_value)
        for what, result in named.items()
        for key, q in result.quantities.items()
        if key in metric.quantities
    }, ""


def line(name: str, key: str, found: list[tuple[Any, ...]], band: tuple[float, float]) -> dict[str, object]:
    value, null, null_error, p = np.array(found, dtype=np.float64).T
    seen = p[np.isfinite(p)]
    row: dict[str, object] = {"metric": name, "quantity": key, "uniform": "-", "p <= 0.05": "-", "pull": "-"}
    usable = np.isfinite(value - null) & (null_error > 0)
    if usable.sum() > 1:
        pull = (value - null)[usable] / null_error[usable]
        row["pull"] = f"{pull.mean():+.2f} +- {pull.std(ddof=1) / np.sqrt(len(pull)):.2f}, {pull.std(ddof=1):.2f}"
    row["most common p"], row["verdict"] = "-", "no p-value"
    if len(seen):
        uniform, share = float(kstest(seen, "uniform").pvalue), float(np.mean(seen <= 0.05))
        common = Counter(np.round(seen, 12).tolist()).most_common(1)[0][1] / len(seen)
        row.update({"uniform": f"{uniform:.3g}", "p <= 0.05": f"{share:.3f}", "most common p": f"{common:.2f}"})
        wrong = not band[0] <= share <= band[1] or uniform < 1e-3
        row["verdict"] = "discrete" if common > 0.05 else ("CHECK" if wrong else "ok")
        if common > 0.05 and share > band[1]:
            row["verdict"] = "discrete, CHECK"
    return row


def key_of(name: str, args: argparse.Namespace, paired: bool, signed: bool) -> dict[str, Any]:
    """What a run of toys depends on."""
    return {
        "metric": name,
        "rows": args.rows,
        "toys": args.toys,
        "seed": args.seed,
        "paired": paired,
        "signed": signed,
    }


def toys_of(name: str, args: argparse.Namespace, paired: bool, signed: bool, pool: Any) -> dict[str, Any]:
    """All toys of a metric in one setting."""
    start = time.perf_counter()
    job = partial(one_toy, name=name, rows=args.rows, paired=paired, signed=signed)
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    errors = []
    for quantities, error in pool.imap(job, range(args.seed * 10_000, args.seed * 10_000 + args.toys)):
        errors += [error] * bool(error)
        for key, numbers in quantities.items():
            found[key].append(tuple(float(number) for number in numbers))
    seconds = time.perf_counter() - start
    return {**key_of(name, args, paired, signed), "found": found, "errors": errors, "seconds": round(seconds, 1)}


def show(done: list[dict[str, Any]], paired: bool, signed: bool) -> None:
    """Print the table of one setting."""
    chosen = [entry for entry in done if entry["paired"] == paired and entry["signed"] == signed]
    if not chosen:
        return
    toys = max(entry["toys"] for entry in chosen)
    low, high = binom.interval(0.99, toys, 0.05)
    print(f"\n{'paired' if paired else 'independent'}, {'signed' if signed else 'unit'} weights; ", end="")
    print(f"99 % band of p <= 0.05: {low / toys:.3f} to {high / toys:.3f} ({toys} toys)")
    lines = []
    for entry in chosen:
        for key, numbers in entry["found"].items():
            low, high = binom.interval(0.99, len(numbers), 0.05)
            band = (low / len(numbers), high / len(numbers))
            lines.append({**line(entry["metric"], key, numbers, band), "rows": entry["rows"], "toys": len(numbers)})
    if lines:
        print(table(lines))
    for entry in chosen:
        if entry["errors"]:
            print(f"{entry['metric']} refused {len(entry['errors'])} of {entry['toys']} toys: {entry['errors'][0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--only", nargs="+", default=list(METRICS), choices=list(METRICS), metavar="METRIC")
    parser.add_argument("--setting", choices=("paired", "independent"), help="one of the two; both if not given")
    parser.add_argument("--weights", choices=("unit", "signed"), help="one of the two; both if not given")
    parser.add_argument("--results", type=Path, help="file of toys done, JSON lines; continued if it exists")
    parser.add_argument("--show", action="store_true", help="only print the tables of the file")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(describe(seed=args.seed, processes=args.processes))
    done = []
    if args.results is not None and args.results.exists():
        done = [json.loads(text) for text in args.results.read_text(encoding="utf-8").splitlines()]
    settings = [s for s in SETTINGS if args.setting is None or s[0] == (args.setting == "paired")]
    settings = [s for s in settings if args.weights is None or s[1] == (args.weights == "signed")]
    with multiprocessing.get_context("spawn").Pool(args.processes, torch.set_num_threads, (1,)) as pool:
        for name in () if args.show else args.only:
            for paired, signed in settings:
                wanted = key_of(name, args, paired, signed)
                if any(all(entry[key] == value for key, value in wanted.items()) for entry in done):
                    continue
                done.append(toys_of(name, args, paired, signed, pool))
                if args.results is not None:
                    with args.results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(done[-1]) + "\n")
    for paired, signed in settings:
        show(done, paired, signed)


if __name__ == "__main__":
    main()
