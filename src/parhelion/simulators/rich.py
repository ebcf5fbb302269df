"""The LHCb RICH detectors, photon by photon, with the global log-likelihood over all tracks of a collision.

Physics: Cherenkov light with cos(theta) = 1 / (n beta) and a yield proportional to sin^2(theta) in two gases; detector
resolution, pixels and occupancy; decays in flight, interactions, large-angle scatters, photon conversions and clutter;
then the likelihood of LHCb's reconstruction (see `rich_likelihood`), whose differences to the pion hypothesis are the
DLLs. `rich_constants` lists every constant with its source.

Exact ties. A hypothesis below threshold expects no light, so such hypotheses cannot be told apart and their DLLs are
*equal*, bit for bit. `above_threshold` says which hypotheses emit light, from P and ETA alone: with h and g both below,
DLLh = DLLg; DLLbt belongs to a hypothesis that is always below; and where the pion is below, the DLLs of all
hypotheses below are zero. Outside the acceptance of both detectors nothing emits, and the whole row is zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field as Option
from pydantic import ValidationInfo, field_validator

from parhelion.errors import MissingDependencyError
from parhelion.provenance import cores
from parhelion.sample import Array, Field, Sample, Schema
from parhelion.simulators import rich_constants as constants
from parhelion.simulators.base import LARGEST_ROW, Progress, Simulator, SimulatorConfig, check_range
from parhelion.simulators.rich_calibration import (
    BACKGROUND_MIXTURE,
    BACKGROUND_SPACE,
    CALIBRATION_LINES,
    SIGNAL_SHARE,
    CalibrationLine,
    draw_mass,
)

__all__ = [
    "CALIBRATION_LINES",
    "CALIBRATION_SCHEMA",
    "SCHEMA",
    "TRACKS_PER_EVENT",
    "CalibrationLine",
    "Rich",
    "RichConfig",
    "Threshold",
    "above_threshold",
    "simulate",
    "thresholds",
]

TRACKS_PER_EVENT = 12
"""Probe tracks kept of each collision, unless told otherwise; about 80 more tracks surround them."""

_CONDITION = (
    Field("P", "GeV"),
    Field("ETA"),
    Field("nTracks", kind="integer"),
    Field("pid", kind="category", values=tuple(float(i) for i in constants.PDG_IDS), labels=constants.HYPOTHESES),
)
_RESPONSE = tuple(Field(name) for name in ("RichDLLe", "RichDLLmu", "RichDLLk", "RichDLLp", "RichDLLbt"))

SCHEMA = Schema(_CONDITION, _RESPONSE)
"""Condition P, ETA, nTracks, pid (|PDG id|); response RichDLLe, -mu, -k, -p, -bt relative to the pion."""

CALIBRATION_SCHEMA = Schema(_CONDITION, _RESPONSE, (Field("mass", "GeV"), Field("is_signal", kind="integer")))
"""`SCHEMA` with the candidate's mass and the truth: here pid is the calibration line, which background tracks share."""

_BLOCK = 48


@dataclass(frozen=True)
class Threshold:
    """Where one hypothesis emits light in one detector: momentum above `p` and pseudorapidity in `eta`.

    Attributes
    ----------
    hypothesis
        ``e``, ``mu``, ``pi``, ``K`` or ``p``.
    pid
        Its |PDG id|.
    detector
        1 or 2.
    p
        Momentum [GeV]: the Cherenkov threshold m / sqrt(n^2 - 1), or the smallest momentum that reaches the detector.
    eta
        Lower and upper pseudorapidity of the detector's acceptance.
    """

    hypothesis: str
    pid: int
    detector: int
    p: float
    eta: tuple[float, float]


def thresholds() -> tuple[Threshold, ...]:
    """All thresholds, five hypotheses in two detectors: the limits of `above_threshold`'s pattern."""
    return tuple(
        Threshold(name, pid, detector, max(radiator.threshold(mass), radiator.p_min), radiator.eta_range)
        for detector, radiator in enumerate(constants.RADIATORS, start=1)
        for name, pid, mass in zip(constants.HYPOTHESES, constants.PDG_IDS, constants.MASSES, strict=True)
    )


def above_threshold(p: npt.ArrayLike, eta: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which hypotheses emit light in at least one detector.

    Parameters
    ----------
    p
        Momentum [GeV], shape (n,).
    eta
        Pseudorapidity, shape (n,).

    Returns
    -------
    ndarray
        Shape (n, 5), for e, mu, pi, K, p. It fixes all exact ties (see the module's text).
    """
    momentum, rapidity = np.asarray(p, dtype=np.float64), np.asarray(eta, dtype=np.float64)
    above = np.zeros((len(momentum), len(constants.HYPOTHESES)), dtype=np.bool_)
    for limit in thresholds():
        inside = (rapidity > limit.eta[0]) & (rapidity < limit.eta[1])
        above[:, constants.HYPOTHESES.index(limit.hypothesis)] |= inside & (momentum > limit.p)
    return above


def simulate(
    n: int,
    *,
    seed: int,
    calibration: bool = False,
    processes: int | None = None,
    tracks_per_event: int = TRACKS_PER_EVENT,
    chunk: int = 50_000,
    progress: Progress | None = None,
    first: int = 0,
) -> Iterator[Sample]:
    """Simulate tracks in the RICH detectors.

    Row number r is probe r mod `tracks_per_event` of collision r div `tracks_per_event`, and a collision depends on
    (seed, its number, `tracks_per_event`) alone. So rows do not depend on `processes`, `chunk` or `first`, and a longer
    run begins with the rows of a shorter one.

    Parameters
    ----------
    n
        Number of rows (probe tracks).
    seed
        Seed, 0 to 2^64 - 1.
    calibration
        Make a calibration sample: each species with its own phase space, background under a mass peak.
    processes
        Cores to use, at most; all that this process may use if not given.
    tracks_per_event
        Probe tracks a collision, 1 to 100.
    chunk
        Rows of each yielded Sample; the last may be shorter.
    progress
        Called with (rows made, n).
    first
        Number of the first row: rows `first` to `first + n - 1`. Disjoint ranges give independent samples, but for the
        one collision they may share.

    Yields
    ------
    Sample
        With `SCHEMA` or `CALIBRATION_SCHEMA`. Event id: row number; group: collision number. P, ETA and DLLs are in
        single precision, so that files keep ties exact.

    Raises
    ------
    ConfigError
        An argument is out of range.
    MissingDependencyError
        numba is not installed.
    """
    if processes is None:
        processes = cores()
    check_range(
        "rich simulation",
        n=(n, 1, LARGEST_ROW),
        seed=(seed, 0, 2**64 - 1),
        processes=(processes, 1, 4096),
        tracks_per_event=(tracks_per_event, 1, 100),
        chunk=(chunk, 1, LARGEST_ROW),
        first=(first, 0, LARGEST_ROW),
    )
    kernel = _Kernel(seed, tracks_per_event, calibration)
    kernel.compile()
    return _stream(kernel, first, n, processes, chunk, progress)


class RichConfig(SimulatorConfig):
    """Options of the RICH simulation."""

    calibration: bool = Option(
        False, description="Calibration lines with mass peaks on background, as real data have them."
    )
    true_signal: bool = Option(
        False, description="Of a calibration simulation, keep only the true signal: the answer real data never give."
    )

    @field_validator("true_signal")
    @classmethod
    def _has_signal(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("calibration"):
            msg = "only a calibration simulation has a true signal"
            raise ValueError(msg)
        return value


class Rich(Simulator):
    """Photon-level simulation of both LHCb RICH detectors."""

    kind = "rich"
    Config = RichConfig
    config: RichConfig

    @property
    def schema(self) -> Schema:
        """`CALIBRATION_SCHEMA` or `SCHEMA`."""
        return CALIBRATION_SCHEMA if self.config.calibration else SCHEMA

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
        """Simulate tracks: see the function `simulate`; with ``true_signal`` n counts the background too."""
        chunks = simulate(
            n,
            seed=seed,
            calibration=self.config.calibration,
            processes=processes,
            chunk=self.part_rows if chunk is None else chunk,
            progress=progress,
            first=first,
        )
        if not self.config.true_signal:
            return chunks
        return (rows.take(rows["is_signal"] == 1) for rows in chunks)

    def identity(self) -> dict[str, Any]:
        """All options but the choice of rows: the true signal of the training rows is the same events."""
        return {name: value for name, value in super().identity().items() if name != "true_signal"}


class _Kernel:
    """The compiled simulation with its constants."""

    def __init__(self, seed: int, tracks: int, calibration: bool) -> None:
        self.seed, self.tracks, self.calibration = seed, tracks, calibration
        self.share = SIGNAL_SHARE if calibration else 1.0
        lines = tuple(line.space for line in CALIBRATION_LINES.values())
        self.spaces = (*lines, BACKGROUND_SPACE) if calibration else (constants.PROBES,) * 6

    def compile(self) -> None:
        """Compile, or load from numba's cache, in this thread: Ctrl-C is heard here, not in a worker."""
        self.run(0, 0)

    def run(self, first: int, collisions: int) -> dict[str, Array]:
        """Rows of `collisions` collisions from number `first` on, by column."""
        try:
            from parhelion.simulators.rich_kernel import simulate_collisions
        except ModuleNotFoundError as error:
            if error.name != "numba":
                raise
            msg = "the RICH simulation needs numba; install it with: pip install 'parhelion[rich]'"
            raise MissingDependencyError(msg) from error
        rows = collisions * self.tracks
        condition, category = np.empty((rows, 3)), np.empty((rows, 3), np.int64)
        response = np.empty((rows, 5))
        mixture = np.cumsum(BACKGROUND_MIXTURE)
        mixture[-1] = 1.0
        simulate_collisions(
            np.uint64(self.seed), first, condition, category, response, self.tracks, self.share, self.spaces,
            mixture, np.array(constants.MASSES), np.array(constants.CTAU), constants.RADIATORS,
            constants.ENVIRONMENT,
        )  # fmt: skip
        event_id = first * self.tracks + np.arange(rows)
        pid = np.array(constants.PDG_IDS, np.int32)[category[:, 0]]
        columns: dict[str, Array] = {
            "P": condition[:, 0].astype(np.float32),
            "ETA": condition[:, 1].astype(np.float32),
            "nTracks": condition[:, 2].astype(np.int32),
            "pid": pid,
            "event_id": event_id,
        }
        columns |= {f.name: response[:, i].astype(np.float32) for i, f in enumerate(_RESPONSE)}
        if self.calibration:
            columns["is_signal"] = category[:, 2].astype(np.int32)
            columns["mass"] = draw_mass(pid, category[:, 2], event_id, seed=self.seed)
        return columns


def _blocks(kernel: _Kernel, first: int, stop: int, processes: int) -> Iterator[dict[str, Array]]:
    """Blocks of collisions `first` to `stop - 1` in order, a few ahead of the reader."""
    pool = ThreadPoolExecutor(processes)
    waiting: deque[Future[dict[str, Array]]] = deque()
    try:
        for start in range(first, stop, _BLOCK):
            waiting.append(pool.submit(kernel.run, start, min(_BLOCK, stop - start)))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stream(
    kernel: _Kernel, first: int, n: int, processes: int, chunk: int, progress: Progress | None
) -> Iterator[Sample]:
    tracks = kernel.tracks
    skip, done, made = first % tracks, 0, 0
    parts: list[dict[str, Array]] = []
    for block in _blocks(kernel, first // tracks, -(-(first + n) // tracks), processes):
        rest, skip = {name: column[skip:] for name, column in block.items()}, 0
        made = min(n, made + len(rest["P"]))
        if progress is not None:
            progress(made, n)
        parts.append(rest)
        while sum(len(p["P"]) for p in parts) >= min(chunk, n - done) > 0:
            whole = {name: np.concatenate([p[name] for p in parts]) for name in rest}
            size = min(chunk, n - done)
            yield _to_sample({name: column[:size] for name, column in whole.items()}, kernel)
            parts = [{name: column[size:] for name, column in whole.items()}]
            done += size


def _to_sample(columns: dict[str, Array], kernel: _Kernel) -> Sample:
    return Sample(
        CALIBRATION_SCHEMA if kernel.calibration else SCHEMA,
        columns,
        event_id=columns["event_id"],
        group=columns["event_id"] // kernel.tracks,
        source=f"RICH simulation, seed {kernel.seed}",
    )
