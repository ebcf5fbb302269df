"""Showers from several Geant4 processes, in order, each with its own seed."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from parhelion.errors import SimulationError
from parhelion.simulators.geant4.detector import Detector
from parhelion.simulators.geant4.environment import Engine, environment

FloatArray = npt.NDArray[np.float64]

_AHEAD = 4


@dataclass(frozen=True)
class Primaries:
    """Particles to shoot, one an event.

    Attributes
    ----------
    seed
        Seed of each event, below 2^63, shape (n,).
    particle
        Geant4's name of each.
    energy
        Kinetic energy [MeV], shape (n,).
    position
        Where it starts [mm], shape (n, 3).
    direction
        Its direction, of any length, shape (n, 3).
    """

    seed: npt.NDArray[np.int64]
    particle: tuple[str, ...]
    energy: FloatArray
    position: FloatArray
    direction: FloatArray

    def __len__(self) -> int:
        """Number of events."""
        return len(self.seed)


@dataclass(frozen=True)
class Deposits:
    """Energy deposited by a batch of events.

    Attributes
    ----------
    active
        For each segment the energy in its cells [MeV], shape (n, layers, *grid); one layer where they are summed.
    passive
        Energy in each segment outside its cells [MeV], shape (n, segments).
    seconds
        Processor time that the batch took.
    """

    active: tuple[FloatArray, ...]
    passive: FloatArray
    seconds: float


class _Worker:
    """One engine in its own process."""

    def __init__(self, variables: dict[str, str], job: dict[str, Any], log: IO[bytes]) -> None:
        self.log = log
        self.pipe, theirs = Pipe()
        self.number: int | None = None
        script = Path(__file__).with_name("worker.py")
        with theirs:
            # -P: the folder of the script is no place to import from. A session of its own: Ctrl-C goes to the parent,
            # which ends its workers.
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(script), str(theirs.fileno())],
                env=variables,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.send(job)

    def send(self, message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError as error:
            raise self.died() from error

    def receive(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self.died() from error

    def died(self) -> SimulationError:
        """Error with the last words of the process."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            # What it wrote before says nothing of that.
            msg = (
                f"Geant4 was ended from outside ({signal.Signals(-code).name}), perhaps for want of memory; finished "
                "parts are kept, go on with --resume"
            )
            return SimulationError(msg)
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().decode(errors="replace").splitlines() if line.strip("-* \t")]
        words = " / ".join(lines[-3:])[-300:] or "no message"
        msg = f"Geant4 ended with code {code} ({words}); finished parts are kept, go on with --resume"
        return SimulationError(msg)

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.wait()
        self.log.close()


def run(engine: Engine, detector: Detector, batches: Iterator[Primaries], processes: int) -> Iterator[Deposits]:
    """Simulate batches of events in several processes and yield their deposits in order.

    The result does not depend on `processes` or on how events are put together in batches, since Geant4's random
    generator is set anew for each event.

    Parameters
    ----------
    engine
        Geant4 and its physics.
    detector
        What to build.
    batches
        What to shoot; a few batches are taken ahead of the reader.
    processes
        Number of engines.

    Raises
    ------
    SimulationError
        An engine failed; the message has its last words.
    """
    job = {
        "detector": detector.to_dict(),
        "physics": engine.physics,
        "constructor": not engine.hadronic,
        "cut": engine.cut,
    }
    numbered = enumerate(batches)
    sent: set[int] = set()
    done: dict[int, Deposits] = {}
    following, exhausted = 0, False
    with ExitStack() as stack:
        variables = stack.enter_context(environment())
        workers: dict[Connection, _Worker] = {}
        starting: set[Connection] = set()
        while not exhausted or following in sent:
            idle = [w for w in workers.values() if w.number is None]
            # A new engine is started only for a batch that no idle one can take.
            while not exhausted and len(sent) < _AHEAD * processes and (idle or len(workers) < processes):
                try:
                    number, batch = next(numbered)
                except StopIteration:
                    exhausted = True
                    break
                if not idle:
                    new = _Worker(variables, job, stack.enter_context(_log()))
                    stack.callback(new.end)
                    workers[new.pipe] = new
                    starting.add(new.pipe)
                    idle.append(new)
                worker = idle.pop()
                worker.number = number
                sent.add(number)
                worker.send(vars(batch))
            while following in done:
                sent.discard(following)
                yield done.pop(following)
                following += 1
            if following not in sent:
                continue
            for pipe in wait([p for p, w in workers.items() if w.number is not None]):
                worker = workers[cast(Connection, pipe)]
                answer = worker.receive()
                if cast(Connection, pipe) in starting:
                    starting.discard(cast(Connection, pipe))
                elif worker.number is not None:
                    done[worker.number] = Deposits(tuple(answer["active"]), answer["passive"], answer["seconds"])
                    worker.number = None


def _log() -> IO[bytes]:
    return cast(IO[bytes], tempfile.TemporaryFile())
