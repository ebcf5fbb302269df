"""The worth of a surrogate trained on 100 events, in true events: camel and ring of arXiv:2008.06545.

Each replica draws its own training events, trains every family on them, and generates. The table gives the
amplification factor G = (size of a true sample with the same quantile MSE) / (training events), mean over replicas with
standard error, for several numbers of quantiles and of generated events; "limit" is G for infinitely many generated
events. Above 1 the generated sample is worth more than the one it was trained on; the parametric fit knows the shape
and is what can be hoped for.

    python benchmarks/amplification.py --replicas 100 --processes 2 --figure amplification.png
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from common import table
from parhelion import generate
from parhelion.evaluation.model.amplification import Amplification, amplification_curve, sampling_mse
from parhelion.sample import Field, Sample, Schema
from parhelion.simulators.toys import Camel, Shell, draw
from parhelion.surrogates import SURROGATES
from parhelion.training import TrainingConfig, fit

TOYS = {"camel": Camel(), "ring": Shell(2)}
SPLITS = {"camel": [(10,), (20,), (50,)], "ring": [(5, 5), (7, 7), (10, 10)]}
GENERATED = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
CODEC = {"response": ["affine"], "knots": 0, "structure": {"ties": False, "atoms": False}}
# The condition carries no information: constant, but uniform for the library, which looks for the nearest one.
FAMILIES = {
    "GAN": (
        "gan",
        {
            "objective": {"kind": "jensen_shannon"},
            "penalty": {"kind": "r1"},
            "generator": {"width": 32, "depth": 2, "latent": 2},
            "critic": {"width": 32, "depth": 2},
            "critic_steps": 1,
        },
        {"steps": 400, "ema": 0.98, "optimiser": {"kind": "adam", "learning_rate": 2e-3, "betas": (0.5, 0.9)}},
    ),
    "flow": (
        "flow",
        {"map": "spline_autoregressive", "layers": 2, "bins": 8, "width": 16, "depth": 1},
        {"steps": 150, "ema": 0.9, "optimiser": {"kind": "adam", "learning_rate": 5e-3}},
    ),
    "library, k = 1": ("library", {"k": 1}, {"steps": 1}),
    "library, k = 16": ("library", {"k": 16}, {"steps": 1}),
}
FIT = "fit"
COLOURS = {
    FIT: "#009E73",
    "GAN": "#0072B2",
    "flow": "#D55E00",
    "library, k = 1": "#7A7A7A",
    "library, k = 16": "#CC79A7",
}


def with_condition(points, seed, *, uniform):
    schema = Schema((Field("condition"),), tuple(Field(f"x{i}") for i in range(points.shape[1])))
    value = np.random.default_rng(seed).random(len(points)) if uniform else np.ones(len(points))
    columns = {"condition": value, **{f"x{i}": column for i, column in enumerate(points.T)}}
    return Sample(schema, columns)


def generated(name, points, rows, seed, steps):
    """Train one family on points (n, d) and generate rows."""
    kind, config, training = FAMILIES[name]
    uniform = kind == "library"
    sample = with_condition(points, seed, uniform=uniform)
    family = SURROGATES[kind]
    surrogate = family(sample.schema, family.Config.model_validate({**config, "codec": CODEC}))
    budget = {**training, "steps": max(1, int(training["steps"] * steps)), "batch_size": len(points), "seed": seed}
    fit(surrogate, sample, config=TrainingConfig.model_validate(budget))
    wanted = with_condition(np.zeros((rows, points.shape[1])), seed + 1, uniform=uniform)
    made = generate(surrogate, wanted, seed=seed, outside="flag")
    return made.response.astype(np.float64)


def fitted_camel(x, rows, rng):
    """Events from a maximum-likelihood fit of two normal distributions (five parameters)."""
    mean = np.quantile(x, [0.25, 0.75])
    width, share = np.full(2, np.std(x) / 2), np.full(2, 0.5)
    for _ in range(200):
        log_density = np.log(share) - np.log(width) - 0.5 * ((x[:, None] - mean) / width) ** 2
        mine = np.exp(log_density - np.logaddexp(*log_density.T)[:, None])
        share = mine.mean(axis=0)
        mean = mine.T @ x / mine.sum(axis=0)
        width = np.sqrt(np.maximum((mine * (x[:, None] - mean) ** 2).sum(axis=0) / mine.sum(axis=0), 1e-4))
    hump = (rng.random(rows) < share[1]).astype(int)
    return rng.normal(mean[hump], width[hump])[:, None]


def fitted_ring(x, rows, rng):
    """Events from a maximum-likelihood fit of mean and width of the radius (two parameters), directions uniform."""
    radius = np.hypot(*x.T)
    r, angle = rng.normal(radius.mean(), radius.std(), rows), rng.uniform(0, 2 * np.pi, rows)
    return np.column_stack([r * np.cos(angle), r * np.sin(angle)])


def replica(toy, families, training, rows, seed, steps):
    """One training sample and what each family makes of it, in the unit cube of the truth; seconds by family."""
    torch.set_num_threads(1)
    points = draw(TOYS[toy], training, seed)
    found, seconds = {}, {}
    for name in families:
        start = time.process_time()
        if name == FIT:
            rng = np.random.default_rng([seed, 1])
            made = fitted_camel(points[:, 0], rows, rng) if toy == "camel" else fitted_ring(points, rows, rng)
        else:
            made = generated(name, points, rows, seed, steps)
        found[name] = TOYS[toy].to_unit(made)
        seconds[name] = time.process_time() - start
    return found, seconds


def measure(toy, families, *, training, replicas, steps, processes):
    """Amplification by family, and mean seconds of a training."""
    tasks = [(toy, families, training, GENERATED[-1], 1000 + seed, steps) for seed in range(replicas)]
    if processes > 1:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            made = list(pool.map(replica, *zip(*tasks, strict=True)))
    else:
        made = [replica(*task) for task in tasks]
    seconds = {name: np.mean([s[name] for _, s in made]) for name in families}
    curves = {
        name: amplification_curve([m[name] for m, _ in made], training, splits=SPLITS[toy], generated=GENERATED)
        for name in families
    }
    return curves, seconds


def rows_of(curves: dict[str, list[Amplification]], seconds: dict[str, float]) -> list[dict[str, object]]:
    """G(N_q, n_gen), a row a family and number of quantiles."""
    shown = (100, 1000, GENERATED[-1])
    lines = []
    for name, curve in curves.items():
        for cells in dict.fromkeys(a.cells for a in curve):
            rows = {a.generated: a for a in curve if a.cells == cells}
            last = rows[shown[-1]]
            lines.append(
                {
                    "family": name,
                    "quantiles": cells,
                    **{f"G({n:,})": f"{rows[n].factor:.2f} ± {rows[n].factor_error:.2f}" for n in shown},
                    "G limit": f"{last.limit:.2f} ± {last.limit_error:.2f}",
                    "s": f"{seconds[name]:.1f}",
                }
            )
    return lines


def figure(curves_by_toy, training, path: Path) -> None:
    """Quantile MSE against generated events, one panel a toy and number of quantiles."""
    from parhelion.report.style import LABEL, NULL, REFERENCE, new_figure, note, render, style

    with style():
        rows = len(curves_by_toy)
        drawn = new_figure(14.4, 4.2 * rows + 0.9, f"{training} training events", LABEL)
        axes = drawn.subplots(rows, 3, squeeze=False)
        for (toy, curves), line in zip(curves_by_toy.items(), axes, strict=True):
            for splits, panel in zip(SPLITS[toy], line, strict=True):
                cells = int(np.prod(splits))
                n = np.array(GENERATED)
                panel.plot(n, [sampling_mse(cells, k) for k in n], ":", color=REFERENCE, lw=1.2, label="true events")
                panel.axhline(sampling_mse(cells, training), color=NULL, lw=1.4, ls="--", label="training sample")
                for name, curve in curves.items():
                    found = [a for a in curve if a.cells == cells]
                    mse, error = np.array([a.mse for a in found]), np.array([a.mse_error for a in found])
                    panel.plot(n, mse, color=COLOURS[name], label=name)
                    panel.fill_between(n, mse - error, mse + error, color=COLOURS[name], alpha=0.25, lw=0)
                panel.set(xscale="log", yscale="log", xlim=(n[0], n[-1]))
                panel.set_xlabel("Generated events")
                panel.set_ylabel("Quantile MSE")
                bottom = min(0.8 * min(a.mse for c in curves.values() for a in c if a.cells == cells), 1.0)
                panel.set_ylim(bottom, 3.5 * sampling_mse(cells, training))
                note(panel, f"{toy}, {'×'.join(map(str, splits))} quantiles", "upper right")
        drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=11)
        path.write_bytes(render(drawn, "pdf" if path.suffix == ".pdf" else "png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", nargs="+", choices=TOYS, default=list(TOYS))
    parser.add_argument("--families", nargs="+", choices=[FIT, *FAMILIES], default=[FIT, *FAMILIES])
    parser.add_argument("--training", type=int, default=100, help="training events")
    parser.add_argument("--replicas", type=int, default=100, help="independent trainings")
    parser.add_argument("--steps", type=float, default=1.0, help="factor on all numbers of training steps")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--figure", type=Path, default=None, help="file for the figure, .png or .pdf")
    options = parser.parse_args()
    curves_by_toy = {}
    for toy in options.toys:
        start = time.perf_counter()
        curves, seconds = measure(
            toy,
            options.families,
            training=options.training,
            replicas=options.replicas,
            steps=options.steps,
            processes=options.processes,
        )
        curves_by_toy[toy] = curves
        print(f"\n{toy}: {options.training} training events, {options.replicas} replicas", end="")
        print(f" ({time.perf_counter() - start:.0f} s on {options.processes} processes; s: CPU seconds a training)\n")
        print(table(rows_of(curves, seconds)), flush=True)
    if options.figure is not None:
        figure(curves_by_toy, options.training, options.figure)


if __name__ == "__main__":
    main()
