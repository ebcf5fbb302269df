"""Toys as simulators, for studies whose truth is known.

To add one: a class with its `kind`, the toy's class, and a config with the toy's own numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Self

import numpy as np
from pydantic import Field as Option
from pydantic import model_validator

from parhelion import noise
from parhelion.errors import ConfigError
from parhelion.sample import Sample, Schema
from parhelion.simulators.base import Progress, Simulator, SimulatorConfig, checked_run
from parhelion.simulators.toys import Camel, LogNormalTerms, Pareto, Shell, Toy, as_sample, sample_schema


class ToyConfig(SimulatorConfig):
    """Options of a toy: the arguments of its class, which also says what values they may take."""

    build: ClassVar[Callable[..., Toy]]

    @property
    def toy(self) -> Toy:
        """The toy with these options."""
        return type(self).build(**dict(self))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            _ = self.toy
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class ToySimulator(Simulator):
    """Rows of a toy; random numbers keyed by (seed, row number)."""

    Config: ClassVar[type[SimulatorConfig]] = ToyConfig
    config: ToyConfig

    @property
    def toy(self) -> Toy:
        """The toy, whose density and quantiles are the truth."""
        return self.config.toy

    @property
    def schema(self) -> Schema:
        """Condition ``one``; responses ``x`` or ``x0``, ``x1``, ..."""
        return sample_schema(self.toy.dimension)

    def simulate(
        self,
        n: int,
        *,
        seed: int,
        first: int = 0,
        processes: int | None = None,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Sample]:
        """Yield true events; one process does it."""
        _, rows = checked_run(self, n, seed, first, processes, chunk)
        return self._stream(n, seed, first, rows, progress)

    def _stream(self, n: int, seed: int, first: int, chunk: int, progress: Progress | None) -> Iterator[Sample]:
        toy = self.toy
        for start in range(first, first + n, chunk):
            ids = np.arange(start, min(start + chunk, first + n))
            points = toy.from_unit(noise.uniform(seed, ids, toy.dimension))
            yield as_sample(points, first_id=start, source=f"{self.kind}, seed {seed}")
            if progress is not None:
                progress(start - first + len(ids), n)


class CamelConfig(ToyConfig):
    """Options of `Camel`."""

    build = Camel
    centre: float = Option(4.0, description="The humps lie at plus and minus this.")
    width: float = Option(1.0, description="Standard deviation of each hump.")
    share: float = Option(0.5, description="Probability of the upper hump.")


class CamelToy(ToySimulator):
    """Two normal humps in one dimension."""

    kind = "camel"
    Config = CamelConfig


class RingConfig(ToyConfig):
    """Options of `Shell` in two dimensions."""

    build = Shell
    radius: float = Option(4.0, description="Mean radius.")
    width: float = Option(1.0, description="Standard deviation of the radius.")


class RingToy(ToySimulator):
    """A ring in the plane with normal radius."""

    kind = "ring"
    Config = RingConfig


class ShellConfig(RingConfig):
    """Options of `Shell`."""

    dimension: int = Option(5, description="Dimensions, from 2.")


class ShellToy(ToySimulator):
    """A spherical shell in several dimensions with normal radius."""

    kind = "shell"
    Config = ShellConfig


class LogNormalConfig(ToyConfig):
    """Options of `LogNormalTerms`."""

    build = LogNormalTerms
    dimension: int = Option(4, description="Number of terms; their sum has a heavy tail.")
    mu: float = Option(0.0, description="Mean of the logarithm of each term.")
    sigma: float = Option(1.0, description="Standard deviation of the logarithm of each term.")


class LogNormalToy(ToySimulator):
    """Independent log-normal terms."""

    kind = "log-normal"
    Config = LogNormalConfig


class ParetoConfig(ToyConfig):
    """Options of `Pareto`."""

    build = Pareto
    exponent: float = Option(3.0, description="P(x > t) falls as t to minus this power.")
    minimum: float = Option(1.0, description="Smallest value.")


class ParetoToy(ToySimulator):
    """A pure power law."""

    kind = "pareto"
    Config = ParetoConfig
