"""Every adversarial objective on a ring of eight Gaussians in the plane, at the same number of steps.

The ring's radius is the condition (1 to 2); each Gaussian has width 0.1. The table gives mean and spread over seeds:
energy distance to an independent reference sample at radius 1.5 and its null (reference against reference), the share
of events within 4 widths of a Gaussian (reference 0.9997), the number of Gaussians with at least a quarter of their
share, and the time of training.

    python benchmarks/toy_objectives.py --steps 1500 --seeds 3
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from parhelion import noise
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates.gan import Gan, GanConfig
from parhelion.training import TrainingConfig, fit

SCHEMA = Schema(condition=(Field("radius"),), response=(Field("x"), Field("y")), extra=())
WIDTH, RADIUS, ROWS = 0.1, 1.5, 2000
ENTRIES = {
    "jensen_shannon, r1": ("jensen_shannon", "r1"),
    "jensen_shannon, logit_gradient": ("jensen_shannon", "logit_gradient"),
    "jensen_shannon saturating, r1": ({"kind": "jensen_shannon", "saturating": True}, "r1"),
    "jensen_shannon, none": ("jensen_shannon", "none"),
    "least_squares, r1": ("least_squares", "r1"),
    "wasserstein, gradient 0.1": ("wasserstein", {"kind": "gradient", "coefficient": 0.1}),
    "wasserstein, one-sided": ("wasserstein", {"kind": "gradient", "one_sided": True}),
    "wasserstein_clipping 0.1": ({"kind": "wasserstein_clipping", "clip": 0.1}, "none"),
    "cramer, gradient": ({"kind": "cramer", "embedding": 64}, "gradient"),
    "energy_based, pulling_away": ("energy_based", "none"),
}


def ring(rng, radius):
    angle = rng.integers(0, 8, len(radius)) * np.pi / 4
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] + WIDTH * rng.normal(
        size=(len(radius), 2)
    )


def distance(a, b):
    """Energy distance of two samples (n, 2), without the pairs of a row with itself."""

    def mean(x, y, same):
        return np.linalg.norm(x[:, None] - y[None], axis=2).sum() / (len(x) * (len(y) - same))

    return 2 * mean(a, b, 0) - mean(a, a, 1) - mean(b, b, 1)


def quality(points):
    angles = np.arange(8) * np.pi / 4
    centres = RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    away = np.linalg.norm(points[:, None] - centres[None], axis=2)
    near = away.min(axis=1) < 4 * WIDTH
    counts = np.bincount(away.argmin(axis=1)[near], minlength=8)
    return near.mean(), int((counts >= len(points) / 32).sum())


def run(objective, penalty, steps, seed):
    rng = np.random.default_rng(seed)
    radius = rng.uniform(1, 2, 20_000)
    points = ring(rng, radius)
    network = {"width": 64, "depth": 3}
    config = GanConfig.model_validate(
        {
            "objective": objective,
            "penalty": penalty,
            "generator": {**network, "latent": 8},
            "critic": network,
            "critic_steps": 3,
            "auxiliary": ["pulling_away"] if objective == "energy_based" else [],
            "codec": {"response": ["affine"]},
        }
    )
    gan = Gan(SCHEMA, config)
    training = TrainingConfig.model_validate(
        {
            "steps": steps,
            "batch_size": 256,
            "seed": seed,
            "ema": 0.99,
            "optimiser": {"kind": "adam", "learning_rate": 1e-3, "betas": (0.5, 0.9)},
        }
    )
    start = time.perf_counter()
    fit(gan, Sample(SCHEMA, {"radius": radius, "x": points[:, 0], "y": points[:, 1]}), config=training)
    seconds = time.perf_counter() - start
    condition = torch.full((ROWS, 1), RADIUS, dtype=torch.float64)
    z = torch.as_tensor(noise.normal(seed, np.arange(ROWS), gan.noise_width))
    fake = gan.sample(condition, z).numpy()
    reference, other = (ring(rng, np.full(ROWS, RADIUS)) for _ in range(2))
    return distance(fake, reference), distance(other, reference), *quality(fake), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{options.steps} generator steps of 256 rows, 3 critic steps each, {options.seeds} seeds")
    print(f"{'objective, penalty':32s} {'energy distance':>18s} {'null':>9s} {'near':>14s} {'modes':>6s} {'s':>6s}")
    for name, (objective, penalty) in ENTRIES.items():
        table = np.array([run(objective, penalty, options.steps, seed) for seed in range(options.seeds)])
        mean, spread = table.mean(axis=0), table.std(axis=0)
        print(
            f"{name:32s} {mean[0]:9.4f} +-{spread[0]:7.4f} {mean[1]:9.4f} {mean[2]:6.3f} +-{spread[2]:6.3f} "
            f"{mean[3]:6.1f} {mean[4]:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
