"""Toys with known truth: mass and control variable independent within each component."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from parhelion.sample import Field, Sample, Schema
from parhelion.splot import MassModel
from parhelion.splot.peaks import Gaussian

WINDOW = (1.80, 1.93)


@dataclass(frozen=True)
class Toy:
    mass: np.ndarray
    control: np.ndarray
    is_signal: np.ndarray


def draw(shape, window, values, n, rng):
    grid = np.linspace(*window, 20_001)
    return np.interp(rng.random(n), shape.cdf(grid, window, values), grid)


@pytest.fixture
def make_toy() -> Callable[..., Toy]:
    """Signal at 1.865 GeV, width 8 MeV, on a falling background; control variable N(1, 1) and N(-1, 1.5)."""

    def make(signal: int, background: int, seed: int) -> Toy:
        rng = np.random.default_rng(seed)
        model = MassModel(WINDOW, Gaussian())
        # Extended: the numbers of rows fluctuate.
        s, b = rng.poisson(signal), rng.poisson(background)
        mass = np.concatenate(
            [
                draw(model.signal, WINDOW, (1.865, 0.008), s, rng),
                draw(model.background, WINDOW, (0.8,), b, rng),
            ]
        )
        control = np.concatenate([rng.normal(1, 1, s), rng.normal(-1, 1.5, b)])
        order = rng.permutation(s + b)
        return Toy(mass[order], control[order], (np.arange(s + b) < s)[order])

    return make


@pytest.fixture
def model() -> MassModel:
    return MassModel(WINDOW, Gaussian())


@pytest.fixture
def as_sample() -> Callable[..., Sample]:
    schema = Schema(
        (Field("pid", kind="category", values=(211.0, 321.0), labels=("pi", "K")),),
        (Field("dll"),),
        (Field("mass", "GeV"),),
    )

    def build(mass, control, pid, **options) -> Sample:
        return Sample(schema, {"pid": pid, "dll": control, "mass": mass}, source="calib.root", **options)

    return build
