"""The contract that every simulator keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from parhelion.errors import ConfigError
from parhelion.provenance import cores
from parhelion.sample import Sample, Schema

Progress = Callable[[int, int], None]

LARGEST_ROW = 2**53


class SimulatorConfig(BaseModel):
    """Options of a simulator; one class a simulator, with only its own fields.

    Each field carries its ``description``, which the command line shows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Simulator(ABC):
    """Makes reference samples: the expensive simulation that a surrogate copies.

    Rows depend on (options, seed, row number) and on physics alone, not on processes or chunks. So a longer run begins
    with the rows of a shorter one, and an interrupted run goes on where it stopped.

    Parameters
    ----------
    config
        Options; the defaults if not given.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[SimulatorConfig]] = SimulatorConfig
    part_rows: ClassVar[int] = 50_000
    """Rows that an interruption may cost: a running simulation is kept in parts of so many rows."""

    cheap: ClassVar[bool] = True
    """Whether tests may make rows by the dozen."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = self.Config() if config is None else config

    @classmethod
    def configured(cls, **options: Any) -> Simulator:
        """Build from plain options.

        Raises
        ------
        ConfigError
            An option is unknown or has no allowed value.
        """
        return cls(checked_options(cls, options))

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """Fields of the rows."""

    @abstractmethod
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
        """Simulate rows `first` to `first + n - 1`; the event id is the row number.

        Parameters
        ----------
        n
            Number of rows (of tracks or showers tried, where the options keep only some).
        seed
            Seed, 0 to 2^64 - 1.
        first
            Number of the first row.
        processes
            Cores to use, at most; all that this process may use if not given.
        chunk
            Rows of each yielded Sample, before options that keep only some; the last may be shorter. The class's
            `part_rows` if not given.
        progress
            Called with (rows made, n).

        Yields
        ------
        Sample
            With `schema`, in order.

        Raises
        ------
        ConfigError
            An argument is out of range.
        MissingDependencyError
            An optional package is not installed.
        """

    def provenance(self) -> dict[str, Any]:
        """What else shaped the rows beside options and seed: versions of engines and their tables (JSON)."""
        return {}

    def identity(self) -> dict[str, Any]:
        """Options that shape the rows (JSON): equal ones with an equal seed give the same events."""
        return {"simulator": self.kind, **self.config.model_dump(mode="json")}


def check_range(what: str, **limits: tuple[int, int, int]) -> None:
    """Refuse numbers outside their range; each limit is (value, lowest, highest).

    Raises
    ------
    ConfigError
        One lies outside.
    """
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            msg = f"{what}: {name} is {value}, expected a number from {low} to {high}"
            raise ConfigError(msg)


def checked_run(
    simulator: Simulator, n: int, seed: int, first: int, processes: int | None, chunk: int | None
) -> tuple[int, int]:
    """Check what all simulators are called with; give processes and chunk with their defaults filled in.

    Raises
    ------
    ConfigError
        A number is out of range.
    """
    used = cores() if processes is None else processes
    rows = simulator.part_rows if chunk is None else chunk
    check_range(
        f"{simulator.kind} simulation",
        n=(n, 1, LARGEST_ROW),
        seed=(seed, 0, 2**64 - 1),
        first=(first, 0, LARGEST_ROW),
        processes=(used, 1, 4096),
        chunk=(rows, 1, LARGEST_ROW),
    )
    return used, rows


def checked_options(simulator: type[Simulator], options: Mapping[str, Any], prefix: str = "") -> SimulatorConfig:
    """Options as the simulator's config.

    Parameters
    ----------
    simulator
        Whose.
    options
        Values by name.
    prefix
        Put before an option's name in messages (``--`` on the command line, which also writes - for _).

    Raises
    ------
    ConfigError
        An option is unknown or has no allowed value; the message names it.
    """
    try:
        return simulator.Config.model_validate(dict(options))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        if prefix and name:
            name = prefix + name.replace("_", "-")
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = ", ".join(simulator.Config.model_fields) or "none"
            msg = f"simulator {simulator.kind}: option {name} is unknown; its options are {known}"
        elif problem["type"] == "value_error" or not problem["loc"]:
            msg = f"simulator {simulator.kind}: {name + ': ' if name else ''}{text}"
        else:
            text = text[0].lower() + text[1:]
            msg = f"simulator {simulator.kind}: {name}: {text}, got {problem['input']!r}"
        raise ConfigError(msg) from error
