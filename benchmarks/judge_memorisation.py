"""How often the metric `memorisation` finds a surrogate that repeats training rows, and accuses an honest one.

Run: python benchmarks/judge_memorisation.py [--rows 2000 10000] [--toys 200] [--steps 400] [--seed 1]

First table: rows of two conditions and three responses; a share of the generated rows are training rows moved by a
thousandth of a standard deviation, the others are fresh draws from the truth. Training sample, reference and generated
sample are equally large. Given are the mean of `copying` and, for each quantity, the share of toys with a p-value below
the level. At share 0 that is the false positive rate, which is to be the level itself.
Second table: real families, trained on a small sample and asked at the reference's conditions.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from common import describe, table
from parhelion import generate
from parhelion.evaluation.neighbours.memorisation import METRIC, MemorisationOptions, memorisation
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates.flow import Flow
from parhelion.surrogates.library import Library
from parhelion.training import TrainingConfig, fit

SCHEMA = Schema((Field("a"), Field("b")), (Field("x"), Field("y"), Field("z")))
SHARES = (0.0, 0.01, 0.05, 0.2, 1.0)
NOISE = 0.001
LEVEL = 0.01


def truth(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Conditions and responses, shape (rows, 5)."""
    condition = rng.uniform(size=(rows, 2))
    mixing = np.array([[1.0, 0.0, 0.5], [0.0, -1.0, 0.5]])
    return np.concatenate([condition, condition @ mixing + rng.normal(size=(rows, 3))], axis=1)


def sample(values: np.ndarray, first_id: int) -> Sample:
    """A sample from rows (n, 5)."""
    columns = {field.name: values[:, i] for i, field in enumerate(SCHEMA.fields)}
    return Sample(SCHEMA, columns, event_id=np.arange(first_id, first_id + len(values)))


def copier(rng: np.random.Generator, train: np.ndarray, share: float) -> np.ndarray:
    """As many rows as the training sample has, a share of them copies."""
    rows = truth(rng, len(train))
    copies = rng.random(len(train)) < share
    rows[copies] = train[rng.integers(0, len(train), copies.sum())]
    rows[copies] += NOISE * train.std(axis=0) * rng.normal(size=(int(copies.sum()), 5))
    return rows


def power(rows: int, share: float, toys: int, seed: int) -> dict[str, object]:
    """One line of the first table, from the result on conditions and responses."""
    values, p_values = [], []
    start = time.process_time()
    for toy in range(toys):
        rng = np.random.default_rng([seed, toy, rows])
        train = truth(rng, rows)
        reference, generated = truth(rng, rows), copier(rng, train, share)
        result = memorisation(
            sample(reference, 0),
            sample(generated, 10**6),
            MemorisationOptions(),
            seed=toy,
            train=sample(train, 2 * 10**6),
        )[0]
        values.append(result.value)
        p_values.append([result.quantity(name).p_value for name in METRIC.quantities])
    found = np.mean(np.array(p_values) < LEVEL, axis=0)
    return {
        "rows": f"{rows:,}",
        "copied": f"{100 * share:g} %",
        "copying": f"{np.mean(values):.2f} +- {np.std(values):.2f}",
        **{f"{name}, p < {LEVEL:g}": f"{100 * x:.1f} %" for name, x in zip(METRIC.quantities, found, strict=True)},
        "CPU s a toy": f"{(time.process_time() - start) / toys:.2f}",
    }


def families(rows: int, steps: int, seed: int) -> list[dict[str, object]]:
    """Lines of the second table."""
    rng = np.random.default_rng(seed)
    train, reference = sample(truth(rng, rows), 10**6), sample(truth(rng, rows), 0)
    surrogates: dict[str, Library | Flow] = {}
    for k in (1, 16):
        surrogates[f"library, k = {k}"] = Library(SCHEMA, Library.Config.model_validate({"k": k}))
        surrogates[f"library, k = {k}"].prepare(train, seed=seed)
    flow = Flow(SCHEMA, Flow.Config.model_validate({"map": "affine_coupling", "layers": 4, "width": 32}))
    fit(
        flow,
        train,
        config=TrainingConfig.model_validate({"steps": steps, "batch_size": 256, "seed": seed}),
    )
    surrogates[f"flow, {steps} steps"] = flow
    samples = {name: generate(made, reference, seed=seed, outside="clamp") for name, made in surrogates.items()}
    rng = np.random.default_rng([seed, 1])
    response = reference.response - reference.condition @ np.array([[1.0, 0.0, 0.5], [0.0, -1.0, 0.5]])
    shuffled = reference.response - response + rng.permutation(response)
    samples["truth at the same conditions"] = reference.with_response(shuffled, source="truth")
    lines: list[dict[str, object]] = []
    for name, generated in samples.items():
        for result in memorisation(reference, generated, MemorisationOptions(), seed=seed, train=train):
            q = {key: result.quantity(key) for key in METRIC.quantities}
            lines.append(
                {
                    "surrogate": name,
                    "on": result.on,
                    "copying": f"{q['copying'].value:.2f} +- {q['copying'].error:.2f}",
                    "p": f"{q['copying'].p_value:.2g}",
                    "copying_local": f"{q['copying_local'].value:.2f}",
                    "z_u": f"{q['z_u'].value:.1f}",
                    "c_t": f"{q['c_t'].value:.2f} +- {q['c_t'].error:.2f}",
                }
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--toys", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe(toys=options.toys, noise=NOISE, seed=options.seed))
    lines = [power(rows, share, options.toys, options.seed) for rows in options.rows for share in SHARES]
    print(table(lines), flush=True)
    print()
    print(table(families(options.rows[0], options.steps, options.seed)))


if __name__ == "__main__":
    main()
