"""The published calorimeter models, trained as far as this machine allows: cost, learning curves, observables.

    python benchmarks/calorimeter_papers.py --ecal ecal.h5 --calogan calogan.h5 --cube cube.h5

The samples come from ``parhelion simulate``; for the ECAL a file with ``energy`` (n, 30, 30) and ``condition`` (n, 5)
will do too. Each entry trains on one thread for some minutes, with the steps and options in `ENTRIES` in place of the
study's; a few steps of the study's own recipe give the hours that the whole of it would take on this machine.
Separation powers of observables are against held-out showers, beside the null: rows of the training sample, as many
as were generated. The entries "statistics" enforce widths in the loss (marked *): what they gain there is no merit;
the rows without a mark say what it is worth.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import describe, table
from ecal import edges_of, read, separation
from parhelion import generate, io
from parhelion.config import load_study
from parhelion.evaluation import METRICS, evaluate
from parhelion.observables import add_observables, build, observe, observed
from parhelion.sample import Sample
from parhelion.surrogates import SURROGATES, Surrogate, load
from parhelion.training import TrainingConfig, fit

WIDTHS = {"kind": "statistics", "names": ["width_along", "width_across"], "weight": 0.3}
# Energies of the showers that are drawn, GeV: those of the lecture where the sample has them.
SHOWN = (6.5, 15.6, 63.7)
# Steps of a study's own recipe whose time is taken.
STEPS_TIMED = 5


@dataclass(frozen=True)
class Entry:
    """A study, its sample, and what differs from the study's recipe here."""

    study: str
    data: str
    surrogate: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    steps: int = 1000


# Smaller batches and larger steps than the paper's, and a rate that falls: in minutes its own recipe would take a few
# hundred steps. Two steps of the critic to one of the generator are enough for it not to run away.
SHORT_STEPS: dict[str, Any] = {
    "batch_size": 32,
    "optimiser": {"kind": "adam", "learning_rate": 4e-4, "betas": [0.0, 0.9]},
    "schedule": {"kind": "cosine", "final": 0.05},
    "ema": 0.99,
}
# A model that learns in minutes, for the experiment with and without enforced statistics. A critic of half the channels
# is a third faster and stays further off.
SMALL_WGAN: dict[str, Any] = {
    "generator": {"latent": 32, "channels": [64, 32, 16, 8]},
    "critic": {"channels": [16, 32, 64], "width": 128},
    "critic_steps": 2,
}
REGRESSOR = {"kind": "image_regressor", "learning_steps": 300}
LONGER_REGRESSOR = {"kind": "image_regressor", "learning_steps": 1000}
ENTRIES: dict[str, Entry] = {
    "ecal-wgan": Entry("ecal-wgan", "ecal", {"critic_steps": 2, "auxiliary": [LONGER_REGRESSOR]}, SHORT_STEPS, 3800),
    "small wgan": Entry("ecal-wgan", "ecal", {**SMALL_WGAN, "auxiliary": [REGRESSOR]}, SHORT_STEPS, 2500),
    "small wgan, statistics": Entry(
        "ecal-wgan", "ecal", {**SMALL_WGAN, "auxiliary": [REGRESSOR, WIDTHS]}, SHORT_STEPS, 2500
    ),
    "calogan": Entry(
        "calogan",
        "calogan",
        # Few steps for few showers: a critic that has seen each of a thousand twenty times wins for good.
        {"latent": 128, "seeds": 8, "critic_channels": (16, 8, 8, 8), "generator_steps": 1},
        {
            "batch_size": 32,
            "optimiser": {"kind": "adam", "learning_rate": 5e-5, "betas": [0.5, 0.999]},
            "schedule": {"kind": "cosine", "final": 0.1},
            "ema": 0.99,
        },
        700,
    ),
    # Density and post-processor learn last, when the rate has fallen.
    "bibae": Entry(
        "bibae",
        "ecal",
        {"critic_steps": 2, "adversarial_steps": 1300, "post_width": 16},
        {
            "optimisers": {
                "latent_critic": {"kind": "adam", "learning_rate": 2e-3, "betas": [0.5, 0.9]},
                "density": {"kind": "adam", "learning_rate": 1e-2},
                "post": {"kind": "adam", "learning_rate": 5e-3},
            },
            "schedule": {"kind": "cosine", "final": 0.2},
            "ema": 0.99,
        },
        1700,
    ),
    "bibae, cube": Entry(
        "bibae-cube",
        "cube",
        {"critic_steps": 2, "adversarial_steps": 200, "critic_channels": [8, 16, 32], "width": 256, "post_width": 8},
        {"batch_size": 4, "schedule": "constant", "ema": 0.9},
        240,
    ),
}


def split(sample: Sample, held_out: int) -> tuple[Sample, Sample, Sample]:
    """Training, validation (a twentieth of the rest) and held-out rows; held out are those of `ecal.py`."""
    order = np.random.default_rng(0).permutation(len(sample))
    test, rest = order[:held_out], order[held_out:]
    cut = len(rest) // 20
    return sample.take(rest[cut:]), sample.take(rest[:cut]), sample.take(test)


def observables(study: Any, sample: Sample, threshold: float) -> Sample:
    """Observables of showers whose cells are cut as the surrogate cuts them."""
    columns = {f.name: np.asarray(sample[f.name]) for f in (*sample.schema.condition, *sample.schema.response)}
    for f in sample.schema.response:
        columns[f.name] = np.where(columns[f.name] >= threshold, columns[f.name], 0.0).astype(np.float32)
    schema = type(sample.schema)(sample.schema.condition, sample.schema.response)
    kept = Sample(schema, columns, event_id=sample.event_id, source=sample.source)
    sets = build(study.observables, schema)
    return observe(add_observables(kept, sets), observed(schema, sets))


def compared(reference: Sample, other: Sample, seed: int) -> dict[str, str]:
    """Separation power of each number that the observables have."""
    found: dict[str, str] = {}
    for f in reference.schema.response:
        a, b = (np.asarray(s[f.name], dtype=np.float64).reshape(len(s), -1) for s in (reference, other))
        for i in range(a.shape[1]):
            edges = edges_of(a[:, i])
            if edges[0] < edges[-1]:
                value, error = separation(a[:, i], b[:, i], edges, seed)
                found[f.name if a.shape[1] == 1 else f"{f.name}[{i}]"] = f"{value:.4f} +- {error:.4f}"
    return found


def step_ms(family: str, options: dict[str, Any], training: dict[str, Any], train: Sample, seed: int) -> float:
    """CPU milliseconds of a step of the main stage, in which the auxiliary terms have learned."""
    surrogate = SURROGATES[family](train.schema, SURROGATES[family].Config.model_validate(options))
    surrogate.prepare(train.take(slice(0, 500)), seed=seed)
    rows = train.take(slice(0, 2 * training["batch_size"]))
    first = max([0, *(getattr(term, "learning_steps", 0) for term in getattr(surrogate, "terms", ()))])
    step = surrogate.turns(first)
    few = TrainingConfig.model_validate({**training, "steps": STEPS_TIMED, "seconds": None, "ema": 0.0})
    # Turns of the main stage from the first step on.
    surrogate.turns = lambda _: step  # type: ignore[method-assign]
    fit(surrogate, rows, config=few.model_copy(update={"steps": 1}), seed=seed)
    start = time.process_time()
    fit(surrogate, rows, config=few, seed=seed)
    return 1000 / STEPS_TIMED * (time.process_time() - start)


def shortened(options: dict[str, Any], share: float) -> dict[str, Any]:
    """Options with a share of the steps of each stage."""
    found = dict(options)
    if "adversarial_steps" in found:
        found["adversarial_steps"] = int(share * found["adversarial_steps"])
    if "auxiliary" in found:
        found["auxiliary"] = [
            {**term, "learning_steps": int(share * term["learning_steps"])} if "learning_steps" in term else term
            for term in found["auxiliary"]
        ]
    return found


def train_entry(
    name: str, parts: tuple[Sample, Sample, Sample], args: argparse.Namespace
) -> tuple[Surrogate, dict[str, object]]:
    """Train one entry, or go on with it where its folder has a checkpoint."""
    entry, study = ENTRIES[name], load_study(ENTRIES[name].study)
    train, validation, _ = parts
    recipe = study.surrogate.model_dump(mode="json"), study.config.training.model_dump(mode="json")
    full = step_ms(study.family, *recipe, train, args.seed)
    options, training = shortened({**recipe[0], **entry.surrogate}, args.share), {**recipe[1], **entry.training}
    family = SURROGATES[study.family]
    surrogate = family(train.schema, family.Config.model_validate(options))
    folder = args.folder / name.replace(", ", "-")
    training |= {
        "steps": int(args.share * entry.steps),
        "seconds": None,
        "validate_every": int(args.share * entry.steps) if args.last else 100,
        "checkpoint_every": 200,
    }
    resumed = (folder / "last.safetensors").is_file()
    start = time.process_time()
    result = fit(
        surrogate,
        train,
        config=TrainingConfig.model_validate(training),
        validation=validation,
        run_dir=folder,
        resume=True,
        seed=args.seed,
    )
    seconds = time.process_time() - start
    surrogate.save(folder / "surrogate.safetensors")
    steps = study.config.training.steps or 0
    return surrogate, {
        "model": name,
        "rows": f"{len(train):,}",
        "parameters": f"{sum(p.numel() for p in surrogate.parameters()):,}",
        "batch": training["batch_size"],
        "steps": f"{result.steps:,}",
        "CPU s": f"{seconds:.0f}",
        "CPU ms/step": "resumed" if resumed else f"{1000 * seconds / max(result.steps, 1):.0f}",
        "validation": f"{result.validation:.4f} (null {result.null:.4f})" if result.validation is not None else "-",
        "recipe CPU ms/step": f"{full:.0f}",
        "recipe steps": f"{steps:,}",
        "recipe hours, one core": f"{full * steps / 3.6e6:.1f}",
    }


def speed(surrogate: Surrogate, batch: int, seed: int, seconds: float = 3.0) -> float:
    """CPU milliseconds a shower, noise and units included, in batches on one thread."""
    low, high = surrogate.codec.low, surrogate.codec.high
    condition = low + (high - low) * torch.rand(batch, len(low), dtype=torch.float64)
    noise = torch.randn(batch, surrogate.noise_width, generator=torch.Generator().manual_seed(seed))
    surrogate.sample(condition, noise)
    start, calls = time.process_time(), 0
    while time.process_time() - start < seconds:
        surrogate.sample(condition, torch.randn(noise.shape))
        calls += 1
    return 1000 * (time.process_time() - start) / calls / batch


def draw(name: str, folder: Path, reference: Sample, made: Sample) -> None:
    """Learning curves, and showers of reference and surrogate side by side at three energies."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    records = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for key in sorted({k for r in records for k in r if k.startswith("loss/")}):
        points = [(r["step"], r[key]) for r in records if key in r]
        axes[0].plot(*zip(*points, strict=True), label=key[5:])
    axes[0].set(xlabel="step", ylabel="loss", title=name)
    axes[0].set_yscale("symlog", linthresh=1e-2)
    axes[0].legend()
    points = [(r["step"], r["validation"]) for r in records if "validation" in r]
    if points:
        axes[1].plot(*zip(*points, strict=True), label="surrogate")
        axes[1].axhline(next(r["validation_null"] for r in records if "validation_null" in r), ls="--", label="null")
        axes[1].set(xlabel="step", ylabel="sliced energy distance", yscale="log")
        axes[1].legend()
    figure.savefig(folder / "curves.png", dpi=110)
    plt.close(figure)
    fields = reference.schema.response
    components = 3 if len(reference.schema.condition) > 1 else 1
    momentum = np.linalg.norm(np.asarray(reference.condition)[:, :components], axis=1)
    figure, grid = plt.subplots(2, len(SHOWN) * len(fields), figsize=(3.2 * len(SHOWN) * len(fields), 6), squeeze=False)
    for i, energy in enumerate(SHOWN):
        row = int(np.argmin(np.abs(momentum - energy)))
        for j, (f, k) in enumerate((f, k) for f in fields for k in (0, 1)):
            sample = (reference, made)[k]
            image = np.asarray(sample[f.name][row], dtype=np.float64)
            image = image.sum(axis=0) if image.ndim == 3 else image
            axis = grid[k, i * len(fields) + j // 2]
            axis.imshow(np.log10(np.maximum(image, 1e-4)), vmin=-4, vmax=1, aspect="auto")
            axis.set_title(f"{'Geant4' if k == 0 else name}, {momentum[row]:.1f} GeV", fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "showers.png", dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("ecal", "calogan", "cube"):
        parser.add_argument(f"--{name}", type=Path, help=f"showers of `parhelion simulate {name}`")
    parser.add_argument("--only", nargs="*", help="entries")
    parser.add_argument("--geant4-ms", type=float, help="Geant4's time a shower on one core, for the ratio")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of all stages in `ENTRIES`")
    parser.add_argument("--held-out", type=int, default=10_000, help="rows to judge on, at most a third of a sample")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-papers"))
    parser.add_argument("--last", action="store_true", help="judge the last step, not the best on validation")
    parser.add_argument("--judge-only", action="store_true", help="take the surrogates that are in the folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = {n: getattr(args, n) for n in ("ecal", "calogan", "cube") if getattr(args, n) is not None}
    samples = {n: read(path) if n == "ecal" else io.read(path) for n, path in files.items()}
    held_out = {n: min(args.held_out, len(s) // 3) for n, s in samples.items()}
    names = [n for n, e in ENTRIES.items() if e.data in samples and (not args.only or n in args.only)]
    costs: list[dict[str, object]] = []
    columns: dict[str, dict[str, dict[str, str]]] = {}
    for name in names:
        entry, study = ENTRIES[name], load_study(ENTRIES[name].study)
        sample, folder = samples[entry.data], args.folder / name.replace(", ", "-")
        train, _, test = split(sample, held_out[entry.data])
        cost: dict[str, object] = {"model": name}
        if args.judge_only:
            surrogate = load(folder / "surrogate.safetensors")
        else:
            surrogate, cost = train_entry(name, split(sample, held_out[entry.data]), args)
        for batch in (1, 1000 if entry.data != "cube" else 50):
            ms = speed(surrogate, batch, args.seed)
            ratio = f" ({args.geant4_ms / ms:.0f} x)" if args.geant4_ms and entry.data == "ecal" else ""
            cost["ms/shower, batch 1" if batch == 1 else "in batches"] = f"{ms:.3f}{ratio}"
        costs.append(cost)
        print(json.dumps(cost), flush=True)
        made = generate(surrogate, test, seed=args.seed, outside="flag")
        draw(name, folder, test, made)
        threshold = surrogate.codec.config.threshold or 0.0
        reference, other = (observables(study, s, threshold) for s in (test, made))
        null = observables(study, train.take(slice(0, len(test))), threshold)
        found = columns.setdefault(entry.data, {"null": compared(reference, null, args.seed)})
        merit = compared(reference, other, args.seed)
        marks = {k: f"{v} *" if k in surrogate.compared else v for k, v in merit.items()}
        options = METRICS["classifier"].options(importance=False)
        auc = evaluate(reference, other, [("classifier", options)], seed=args.seed)[0].quantity("auc")
        marks["classifier AUC"] = f"{auc.value:.4f} +- {auc.error:.4f}"
        found["null"]["classifier AUC"] = f"{auc.null:.4f} +- {auc.null_error:.4f}"
        found[name] = marks
    print(describe(seed=args.seed, **{f"held-out {n}": k for n, k in held_out.items()}))
    for cost in costs:
        print(table([cost]))
    for data, found in columns.items():
        print(f"\nseparation power, {data}; * enforced in the loss")
        rows = [{"observable": k, **{n: c.get(k, "-") for n, c in found.items()}} for k in found["null"]]
        print(table(rows))


if __name__ == "__main__":
    main()
