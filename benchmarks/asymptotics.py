"""Tails of surrogates that learned from a thousand events: how far out do they follow the truth.

Toy: four independent log-normal terms; the observable is their sum, whose exceedances are known to 1e-12. Each replica
draws 1,000 training events and generates as many as a large true sample would have. With "permutations", each term is
permuted between the training events, which uses their independence: 1,000 events make 10^12 combinations. The table
gives P_gen(sum > t) / P_true(sum > t), mean over replicas with standard error, where the truth falls to 1e-2 ... 1e-5,
beyond the last training event, and the index of the generalised Pareto distribution beyond P = 1e-2.

    python benchmarks/asymptotics.py --replicas 10 --rows 1000000 --figure asymptotics.png
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from common import table
from parhelion import generate
from parhelion.evaluation.distributions.tail_fits import pareto_index
from parhelion.simulators.toys import LogNormalTerms, as_sample, draw, sample_schema
from parhelion.surrogates import SURROGATES
from parhelion.training import TrainingConfig, fit

TOY = LogNormalTerms(4, 0.0, 1.0)
LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
SCHEMA = sample_schema(TOY.dimension)
STRUCTURE = {"ties": False, "atoms": False}
FLOW = {"map": "spline_autoregressive", "layers": 2, "bins": 8, "width": 32, "depth": 1}
GAN = {
    "objective": "jensen_shannon",
    "penalty": "r1",
    "generator": {"width": 64, "depth": 2, "latent": 8},
    "critic": {"width": 64, "depth": 2},
    "critic_steps": 1,
}
ADAM = {"kind": "adam", "learning_rate": 5e-3}
GAN_ADAM = {"kind": "adam", "learning_rate": 1e-3, "betas": (0.5, 0.9)}
# Name: family, options, transform of the response, optimiser, steps, permuted events to train on.
SURROGATE = {
    "flow, linear": ("flow", FLOW, ["affine"], ADAM, 1000, 0),
    "flow, log": ("flow", FLOW, ["symlog", "affine"], ADAM, 1000, 0),
    "flow, quantile": ("flow", FLOW, ["quantile"], ADAM, 1000, 0),
    "flow, log, permutations": ("flow", FLOW, ["symlog", "affine"], ADAM, 1000, 50_000),
    "GAN, linear": ("gan", GAN, ["affine"], GAN_ADAM, 1000, 0),
    "GAN, log": ("gan", GAN, ["symlog", "affine"], GAN_ADAM, 1000, 0),
}
RESAMPLED, PERMUTED = "training sample", "permutations"
FAMILIES = (RESAMPLED, PERMUTED, *SURROGATE)


def thresholds():
    """Where the truth falls to `LEVELS`."""
    grid = np.geomspace(5, 400, 4000)
    return np.exp(np.interp(-np.log(LEVELS), -np.log(TOY.exceedance(grid)), np.log(grid)))


def permuted(points, rows, rng):
    """Events whose terms come from different training events, drawn independently."""
    return np.column_stack([rng.choice(column, rows) for column in points.T])


def generated(name, points, rows, seed, steps):
    """Sums of generated events, shape (rows,)."""
    rng = np.random.default_rng([seed, 1])
    if name == RESAMPLED:
        return points.sum(axis=1)
    if name == PERMUTED:
        return permuted(points, rows, rng).sum(axis=1)
    kind, config, transform, optimiser, budget, copies = SURROGATE[name]
    codec = {"response": transform, "knots": 0, "structure": STRUCTURE}
    surrogate = SURROGATES[kind](SCHEMA, SURROGATES[kind].Config.model_validate({**config, "codec": codec}))
    training = TrainingConfig.model_validate(
        {"steps": max(1, int(budget * steps)), "batch_size": 500, "seed": seed, "ema": 0.98, "optimiser": optimiser}
    )
    fit(surrogate, as_sample(permuted(points, copies, rng) if copies else points), config=training)
    made = generate(surrogate, as_sample(np.zeros((rows, TOY.dimension))), seed=seed)
    return made.response.astype(np.float64).sum(axis=1)


def replica(families, training, rows, seed, steps, at):
    """Exceedances at thresholds `at`, at those of the levels, beyond the last training event, and index, by family."""
    points = draw(TOY, training, seed)
    last = points.sum(axis=1).max()
    marks = thresholds()
    found = {}
    for name in families:
        start = time.process_time()
        total = np.sort(generated(name, points, rows, seed, steps))

        def beyond(t, total=total):
            return 1 - np.searchsorted(total, t, side="right") / len(total)

        excess = total[total > marks[0]] - marks[0]
        found[name] = {
            "curve": beyond(at),
            "ratio": beyond(marks) / np.array(LEVELS),
            "last": float(beyond(last) / TOY.exceedance([last])[0]),
            "index": pareto_index(excess, method="likelihood").value if len(excess) > 5 else np.nan,
            "seconds": time.process_time() - start,
        }
    return found


def mean_error(values):
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return np.nan, np.nan
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if values.size > 1 else np.nan


def rows_of(made, families):
    """Ratios and index with errors, a row a family."""
    names = [*(f"P = {level:g}" for level in LEVELS), "beyond the last", "index"]
    lines = []
    for name in families:
        ratios = np.array([m[name]["ratio"] for m in made])
        numbers = [mean_error(column) for column in ratios.T]
        numbers += [mean_error([m[name]["last"] for m in made]), mean_error([m[name]["index"] for m in made])]
        seconds = np.mean([m[name]["seconds"] for m in made])
        cells = {key: f"{value:.2f} ± {error:.2f}" for key, (value, error) in zip(names, numbers, strict=True)}
        lines.append({"family": name, **cells, "s": f"{seconds:.1f}"})
    return lines


def true_index(rows, seed):
    """Index beyond P = 1e-2 of a true sample of the same size, with its error."""
    total, start = draw(TOY, rows, seed).sum(axis=1), thresholds()[0]
    found = pareto_index(total[total > start] - start, method="likelihood")
    return found.value, found.error()


def figure(made, families, at, rows, training, path: Path) -> None:
    """Exceedance curves over the truth, with the spread over replicas."""
    from parhelion.report.style import LABEL, NULL, REFERENCE, SERIES, new_figure, render, style

    truth = TOY.exceedance(at)
    last = np.median([draw(TOY, training, 1000 + i).sum(axis=1).max() for i in range(len(made))])
    with style():
        drawn = new_figure(11.5, 8.0, f"{training:,} training events, {rows:,} generated", LABEL)
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(2, 1.3))
        upper.plot(at, truth, color=REFERENCE, lw=2.2, label="truth", zorder=5)
        error = np.sqrt(truth * (1 - truth) / rows)
        lower.fill_between(at, 1 - error / truth, 1 + error / truth, color=NULL, alpha=0.35, lw=0)
        lower.axhline(1.0, color=REFERENCE, lw=1.0)
        for index, name in enumerate(families):
            colour, line = SERIES[index % 6], "-" if index < 6 else "--"
            curve = np.array([m[name]["curve"] for m in made])
            mean, spread = curve.mean(axis=0), curve.std(axis=0, ddof=1) / np.sqrt(len(made))
            seen = mean > 0
            upper.plot(at[seen], mean[seen], line, color=colour, lw=1.5, label=name)
            ratio, width = mean / truth, spread / truth
            lower.plot(at[seen], ratio[seen], line, color=colour, lw=1.5)
            low = np.maximum(ratio - width, 1e-3)[seen]
            lower.fill_between(at[seen], low, (ratio + width)[seen], color=colour, alpha=0.25, lw=0)
        for axes in (upper, lower):
            axes.axvline(last, color=NULL, lw=1.2, ls=":")
            axes.set_yscale("log")
        upper.set_ylim(0.3 / rows, 1.0)
        lower.set_ylim(0.05, 20)
        lower.set_xlim(at[0], at[-1])
        upper.set_ylabel("P(sum > t)")
        lower.set_ylabel("Over truth")
        lower.set_xlabel("Threshold t on the sum of four log-normal terms")
        upper.legend(loc="upper right", fontsize=10.5)
        upper.text(last, 0.5 / rows, " median last training event", fontsize=10, color=NULL, va="bottom")
        path.write_bytes(render(drawn, "pdf" if path.suffix == ".pdf" else "png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--training", type=int, default=1000, help="training events")
    parser.add_argument("--rows", type=int, default=1_000_000, help="generated events")
    parser.add_argument("--replicas", type=int, default=10, help="independent trainings")
    parser.add_argument("--steps", type=float, default=1.0, help="factor on all numbers of training steps")
    parser.add_argument("--figure", type=Path, default=None, help="file for the figure, .png or .pdf")
    options = parser.parse_args()
    torch.set_num_threads(1)
    marks = thresholds()
    at = np.linspace(5, 1.35 * marks[-1], 120)
    made = []
    start = time.perf_counter()
    for i in range(options.replicas):
        made.append(replica(options.families, options.training, options.rows, 1000 + i, options.steps, at))
        print(f"replica {i + 1} of {options.replicas}: {time.perf_counter() - start:.0f} s", flush=True)
    reach = ", ".join(f"{level:g} at {mark:.1f}" for level, mark in zip(LEVELS, marks, strict=True))
    index, error = true_index(options.rows, 1)
    print(f"\n{options.training} training events, {options.rows:,} generated, {options.replicas} replicas")
    print(f"truth: {reach}")
    print(f"index of a true sample {index:.3f} ± {error:.3f}; s: CPU seconds a training with generation\n")
    print(table(rows_of(made, options.families)))
    if options.figure is not None:
        figure(made, options.families, at, options.rows, options.training, options.figure)


if __name__ == "__main__":
    main()
