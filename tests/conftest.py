"""Toy samples with analytic truth, and a guard of the process's state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.distributions import Distribution

from parhelion.sample import Field, Sample, Schema

THRESHOLD = 9.3


class Toy:
    """Two conditions and a category give three responses with a threshold tie and all-zero rows.

    log P uniform from 2 to 100 GeV, ETA uniform from 2 to 5, SPECIES 211 or 321 (sign +1, -1).
    a ~ N(sign * log(P / 10), 0.5), b = 0.6 a + N(0.3 ETA, 0.8), c = b + 1 + |N(0, 0.5)| above P = 9.3 GeV;
    at and below it c is exactly b. A row is all zero with probability 0.3 exp(-P / 20).
    """

    schema = Schema(
        condition=(Field("P", "GeV"), Field("ETA"), Field("SPECIES", kind="category", values=(211, 321))),
        response=(Field("a"), Field("b"), Field("c")),
    )
    threshold = THRESHOLD

    def zero_probability(self, p: np.ndarray) -> np.ndarray:
        return 0.3 * np.exp(-p / 20.0)

    def mean_a(self, p: np.ndarray, species: np.ndarray) -> np.ndarray:
        return np.where(species == 211, 1.0, -1.0) * np.log(p / 10.0)

    def condition(self, n: int, seed: int) -> np.ndarray:
        g = np.random.default_rng([seed, 1])
        p = np.exp(g.uniform(np.log(2.0), np.log(100.0), n))
        return np.stack([p, g.uniform(2.0, 5.0, n), g.choice([211.0, 321.0], n)], axis=1)

    def response(self, condition: np.ndarray, seed: int) -> np.ndarray:
        g = np.random.default_rng([seed, 2])
        p, eta, species = condition.T
        a = self.mean_a(p, species) + 0.5 * g.normal(size=len(p))
        b = 0.6 * a + 0.3 * eta + 0.8 * g.normal(size=len(p))
        c = np.where(p < self.threshold, b, b + 1.0 + np.abs(0.5 * g.normal(size=len(p))))
        zero = g.uniform(size=len(p)) < self.zero_probability(p)
        return np.where(zero[:, None], 0.0, np.stack([a, b, c], axis=1))

    def sample(self, n: int, seed: int = 1, weight: np.ndarray | None = None) -> Sample:
        condition = self.condition(n, seed)
        return self.build(condition, self.response(condition, seed), weight)

    def build(self, condition: np.ndarray, response: np.ndarray, weight: np.ndarray | None = None) -> Sample:
        names = ("P", "ETA", "SPECIES"), ("a", "b", "c")
        columns = dict(zip(names[0], condition.T, strict=True)) | dict(zip(names[1], response.T, strict=True))
        return Sample(self.schema, columns, weight=weight, source="toy")


class SignedToy:
    """Signal and background under a mass peak, with the sWeights of the true shapes.

    x uniform in 0 to 1. Signal: y ~ N(x, 0.5); background: y ~ N(x + 1.5, 1.0), half of all rows. The mass is N(0, 1)
    for signal and uniform in -3 to 3 for background.
    """

    schema = Schema(condition=(Field("x"),), response=(Field("y"),))

    def sample(self, n: int, seed: int = 1) -> Sample:
        g = np.random.default_rng([seed, 3])
        signal = np.arange(n) < n // 2
        x = g.uniform(size=n)
        y = np.where(signal, g.normal(x, 0.5), g.normal(x + 1.5, 1.0))
        mass = np.where(signal, np.clip(g.normal(size=n), -3, 3), g.uniform(-3, 3, n))
        fs, fb = norm.pdf(mass), np.full(n, 1 / 6)
        total = 0.5 * n * (fs + fb)
        v = np.linalg.inv([[np.sum(fs * fs / total**2), np.sum(fs * fb / total**2)],
                           [np.sum(fs * fb / total**2), np.sum(fb * fb / total**2)]])  # fmt: skip
        return Sample(self.schema, {"x": x, "y": y}, weight=(v[0, 0] * fs + v[0, 1] * fb) / total, source="signed toy")

    def truth(self, n: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
        g = np.random.default_rng([seed, 4])
        x = g.uniform(size=n)
        return x, g.normal(x, 0.5)


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="session")
def signed_toy() -> SignedToy:
    return SignedToy()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _unchanged_process() -> Iterator[None]:
    """Fail a test that leaves torch in another state than it found it."""

    def state() -> dict[str, object]:
        return {
            "default dtype": torch.get_default_dtype(),
            "default device": torch.get_default_device(),
            "threads": torch.get_num_threads(),
            "gradients": torch.is_grad_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "distribution checks": Distribution._validate_args,
        }

    before = state()
    yield
    after = state()
    changed = [f"{k}: {v} became {after[k]}" for k, v in before.items() if after[k] != v]
    if changed:
        torch.set_default_dtype(before["default dtype"])
        torch.set_num_threads(before["threads"])
        torch.set_grad_enabled(before["gradients"])
        pytest.fail(f"the test left the process in another state: {', '.join(changed)}")
