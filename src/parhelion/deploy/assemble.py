"""Events from particles: the surrogate's response to each particle, put where it hit the detector, and added up.

A detector that answers to each particle by itself answers to an event with the sum. So a surrogate of one particle, or
a library of single showers, gives every event: n showers in a library and m particles an event make n^m events.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parhelion import io
from parhelion.deploy.bookkeeping import quick_fingerprint
from parhelion.deploy.chain import Chain, Counts
from parhelion.deploy.conditions import condition_layout
from parhelion.deploy.generation import OUTSIDE, OutsidePolicy
from parhelion.deploy.pipeline import make_recipe, require_other
from parhelion.errors import ConfigError, DataError
from parhelion.io.identity import DuplicateGuard, combine
from parhelion.provenance import versions
from parhelion.sample import Array, Field, Sample, Schema, concatenate

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_NUMBERS = 1 << 22
_STENCIL = 1 << 21


@dataclass(frozen=True)
class Grid:
    """The detector's cells: a rectangle of equal squares.

    Attributes
    ----------
    cells
        Number of cells in x and y.
    pitch
        Width of a cell, in the unit of the particles' positions.
    corner
        Lowest x and y of the detector; centred on 0 if not given.
    """

    cells: tuple[int, int]
    pitch: float
    corner: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.cells) < 1 or not self.pitch > 0:
            msg = f"grid of {self.cells[0]} x {self.cells[1]} cells of {self.pitch:g}: expected at least 1, and a width"
            raise ConfigError(msg)

    def low(self, axis: int) -> float:
        """Lower edge in x (axis 0) or y (axis 1)."""
        return self.corner[axis] if self.corner is not None else -0.5 * self.cells[axis] * self.pitch


def place(position: FloatArray, grid: Grid, axis: int, width: int) -> tuple[IntArray, FloatArray]:
    """Where an image of `width` cells goes for a particle at a position, and what is left of the position.

    The image is shifted by whole cells until the particle is less than half a cell from its centre. Shift and rest
    together are the position, so a surrogate that takes the rest as condition loses nothing.

    Parameters
    ----------
    position
        Shape (n,), in the detector.
    grid
        The detector's cells.
    axis
        0 for x, 1 for y.
    width
        Cells of the image along this axis.

    Returns
    -------
    first : ndarray
        Shape (n,): the detector's cell under the image's first; may lie outside the detector.
    offset
        Shape (n,): position in the image, from its centre, -pitch / 2 to pitch / 2.
    """
    from_first = (position - grid.low(axis)) / grid.pitch - 0.5 * width
    first = np.floor(from_first + 0.5)
    return first.astype(np.int64), (from_first - first) * grid.pitch


@dataclass
class Assembly:
    """What happened to the energy.

    Attributes
    ----------
    events, particles
        How many there were.
    response
        Sum over all responses.
    placed, lost
        What of it is on the grid, and what fell off its edge.
    counts
        Particles outside the domain, by step.
    """

    events: int = 0
    particles: int = 0
    response: float = 0.0
    placed: float = 0.0
    lost: float = 0.0
    counts: Counts = field(default_factory=Counts)


class Assembler:
    """Turns samples of particles into samples of events.

    Parameters
    ----------
    chain
        What answers to a particle. One response field must be an image: its last two axes are x and y, in cells of the
        grid's size; axes before them (layers) are kept.
    grid
        The detector's cells.
    x, y
        Fields with the particles' positions in the detector. Where the chain has a condition of this name, it is given
        the particle's offset from the centre of the image instead, within half a cell.
    image
        The response field; not needed if only one has two axes or more.
    particle
        Field with a number that is unique in its event and, with the event's, keys the noise. None: the particle's
        position in its event.

    Raises
    ------
    ConfigError
        There is no such image.
    """

    def __init__(
        self,
        chain: Chain,
        grid: Grid,
        *,
        x: str = "x",
        y: str = "y",
        image: str | None = None,
        particle: str | None = None,
    ) -> None:
        if chain.drops_rows:
            msg = "assemble: a chain that keeps only some rows would lose particles; leave --keep out"
            raise ConfigError(msg)
        images = [f for f in chain.schema.response if len(f.shape) >= 2 and image in (None, f.name)]
        if len(images) != 1:
            have = ", ".join(f"{f.name} {f.shape}" for f in chain.schema.response)
            msg = f"assemble: expected one response that is an image{f' {image}' if image else ''}, there are {have}"
            raise ConfigError(msg)
        self.chain, self.grid, self.x, self.y, self.particle = chain, grid, x, y, particle
        self.image = images[0]
        self.layers = self.image.shape[:-2]
        shape = (*self.layers, *grid.cells)
        self.cells = int(np.prod(shape))
        self.events_at_once = max(1, _NUMBERS // self.cells)
        self.schema = Schema(
            (Field("particles", kind="integer"),),
            (Field(self.image.name, self.image.unit, shape),),
            (Field("lost", self.image.unit), OUTSIDE),
        )
        self.sparse_schema = Schema(
            (Field("cell", kind="integer"),), (Field(self.image.name, self.image.unit),), ()
        )  # fmt: skip

    def assemble(
        self, particles: Sample, *, seed: int, outside: OutsidePolicy = "refuse", assembly: Assembly | None = None
    ) -> Sample:
        """Add up the responses to all particles of each event.

        Parameters
        ----------
        particles
            Whole events; the group says which. The order of particles is without meaning where they are numbered.
        seed
            Seed of the noise, keyed by event and particle: an event does not depend on the others.
        outside
            As in `parhelion.generate`.
        assembly
            Counts to add to.

        Returns
        -------
        Sample
            One row an event, in the order of their numbers: ``particles``, the image of the whole detector, the energy
            ``lost`` off its edge, and in ``outside_domain`` how many particles were outside. The event id is the
            event's number, its weight that of its first particle.

        Raises
        ------
        DataError
            A position is missing, or two particles of an event have the same number.
        DomainError
            As in `parhelion.generate`.
        """
        ordered = self._ordered(particles)
        numbers, first, event = np.unique(ordered.group, return_index=True, return_inverse=True)
        total = np.zeros((len(numbers), self.cells))
        lost, beyond = np.zeros(len(numbers)), np.zeros(len(numbers), dtype=np.int64)
        tally = assembly if assembly is not None else Assembly()
        batch = max(1, min(self.chain.batch_rows(), _STENCIL // self.image.width))
        for start in range(0, len(ordered), batch):
            rows = slice(start, start + batch)
            part, owner = ordered.take(rows), event[rows]
            made, counts = self._responses(part, seed, outside, start)
            tally.counts.add(counts)
            energy = np.asarray(made[self.image.name], dtype=np.float64)
            off = self._add(total, owner, part, energy)
            lost += np.bincount(owner, off, minlength=len(numbers))
            if outside != "refuse":
                beyond += np.bincount(owner, made[OUTSIDE.name], minlength=len(numbers)).astype(np.int64)
            tally.response += float(energy.sum())
        tally.events += len(numbers)
        tally.particles += len(ordered)
        tally.placed += float(total.sum())
        tally.lost += float(lost.sum())
        columns: dict[str, Array] = {
            "particles": np.bincount(event, minlength=len(numbers)),
            self.image.name: total.reshape(len(numbers), *self.layers, *self.grid.cells).astype(np.float32),
            "lost": lost,
            OUTSIDE.name: beyond,
        }
        return Sample(
            self.schema, columns, event_id=numbers, weight=ordered.weight[first], source=f"events of {particles.source}"
        )

    def _ordered(self, particles: Sample) -> Sample:
        """Particles by event and number, so that sums are bit for bit the same in whatever order they came."""
        names = {f.name for f in particles.schema.fields}
        for name in (self.x, self.y, *([self.particle] if self.particle else [])):
            if name not in names:
                msg = f"{particles.source}: field {name} is missing; there are {', '.join(sorted(names))}"
                raise DataError(msg)
        if self.particle is not None:
            number = np.asarray(particles[self.particle]).astype(np.int64)
            order = np.lexsort((number, particles.group))
            number = number[order]
        else:
            order = np.argsort(particles.group, kind="stable")
        ordered = particles.take(order)
        group = ordered.group
        if self.particle is None:
            begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.empty(0, dtype=np.int64)
            number = np.arange(len(group)) - np.repeat(begins, np.diff(np.r_[begins, len(group)]))
        again = (group[1:] == group[:-1]) & (number[1:] == number[:-1])
        if again.any():
            row = int(np.argmax(again))
            msg = f"{particles.source}: event {group[row]} has two particles with {self.particle} {number[row]}"
            raise DataError(msg)
        ids = combine([group, number])
        return Sample.trusted(
            ordered.schema, ordered.columns, ordered.weight, ids, group, source=particles.source
        )  # fmt: skip

    def _position(self, part: Sample, axis: int) -> tuple[IntArray, FloatArray]:
        name = self.y if axis else self.x
        return place(np.asarray(part[name], dtype=np.float64), self.grid, axis, self.image.shape[axis - 2])

    def _responses(self, part: Sample, seed: int, outside: OutsidePolicy, row: int) -> tuple[Sample, Counts]:
        columns: dict[str, Array] = dict(part.columns)
        conditions = {f.name for f in self.chain.schema.condition}
        for axis, name in enumerate((self.x, self.y)):
            if name in conditions:
                columns[name] = self._position(part, axis)[1]
        moved = Sample.trusted(part.schema, columns, part.weight, part.event_id, part.group, source=part.source)
        return self.chain.generate(moved, seed=seed, outside=outside, first_row=row)

    def _add(self, total: FloatArray, owner: IntArray, part: Sample, energy: FloatArray) -> FloatArray:
        """Add images to their events; gives what of each image is off the grid."""
        nx, ny = self.grid.cells
        images = energy.reshape(len(owner), -1, *self.image.shape[-2:])
        ix = self._position(part, 0)[0][:, None] + np.arange(images.shape[2])
        iy = self._position(part, 1)[0][:, None] + np.arange(images.shape[3])
        inside = ((ix >= 0) & (ix < nx))[:, :, None] & ((iy >= 0) & (iy < ny))[:, None, :]
        cell = np.clip(ix, 0, nx - 1)[:, :, None] * ny + np.clip(iy, 0, ny - 1)[:, None, :]
        base = owner[:, None, None] * self.cells + cell
        off = np.zeros(len(owner))
        flat = total.reshape(-1)
        for layer in range(images.shape[1]):
            image = images[:, layer]
            np.add.at(flat, base[inside] + layer * nx * ny, image[inside])
            off += np.where(inside, 0.0, image).sum(axis=(1, 2))
        return off

    def sparse(self, events: Sample, *, threshold: float = 0.0) -> Sample:
        """Cells above a threshold, one row each: ``cell`` is the index in the flattened image, the group the event."""
        energy = np.asarray(events[self.image.name], dtype=np.float32).reshape(len(events), -1)
        row, cell = np.nonzero(energy > threshold)
        number = events.event_id[row]
        return Sample.trusted(
            self.sparse_schema,
            {"cell": cell.astype(np.int64), self.image.name: energy[row, cell]},
            events.weight[row],
            combine([number, cell.astype(np.int64)]),
            number,
            source=events.source,
        )

    def stream(
        self,
        chunks: Iterable[Sample],
        *,
        seed: int,
        outside: OutsidePolicy = "refuse",
        assembly: Assembly | None = None,
    ) -> Iterator[Sample]:
        """Events from a stream of particles in which those of an event follow each other, with bounded memory.

        Raises
        ------
        DataError
            An event's particles are scattered, besides what `assemble` raises.
        """
        guard = DuplicateGuard()
        for batch in _whole_events(chunks, self.events_at_once):
            begins = np.flatnonzero(np.r_[True, batch.group[1:] != batch.group[:-1]])
            again = guard.first_duplicate(batch.group[begins])
            if again is not None:
                msg = (
                    f"{batch.source}: the particles of event {batch.group[begins[again]]} do not follow each other; "
                    "sort the file by event first"
                )
                raise DataError(msg)
            yield self.assemble(batch, seed=seed, outside=outside, assembly=assembly)


def assemble_files(
    model: str | os.PathLike[str],
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    grid: Grid,
    *,
    event: str,
    particle: str | None = None,
    x: str = "x",
    y: str = "y",
    image: str | None = None,
    seed: int = 1,
    outside: OutsidePolicy = "refuse",
    sparse: float | None = None,
    tree: str | None = None,
    overwrite: bool = False,
    compress: bool = True,
) -> Assembly:
    """Particles in files to events in a file, with bounded memory.

    Parameters
    ----------
    model
        Package or surrogate file; or ``FIELD:VALUE=FILE,VALUE=FILE`` for one a species.
    files
        Files with one row a particle, those of an event after each other.
    out
        Output; the suffix says the format.
    grid
        The detector's cells.
    event
        Column with the event's number.
    particle, x, y, image
        As in `Assembler`.
    seed, outside
        As in `parhelion.generate`.
    sparse
        Write cells above this energy, one row each, instead of whole images.
    tree
        Tree (ROOT) or group (HDF5) of the input, if it has several.
    overwrite, compress
        As in `parhelion.io.write`.

    Returns
    -------
    Assembly
        Events, particles, and where the energy went.

    Raises
    ------
    DataError, DomainError, ConfigError, WriteError
        Bad input; each says what to do.
    """
    recipe = make_recipe(os.fspath(model))
    inputs = io.expand(files)
    require_other(Path(out), [*map(str, inputs), *recipe.paths], overwrite)
    assembler = Assembler(recipe.chain(), grid, x=x, y=y, image=image, particle=particle)
    base = condition_layout(assembler.chain.schema, inputs[0], tree=tree, event_id=("row",))
    wanted = {x, y, particle} - {f.name for f in assembler.chain.schema.condition}
    layout = replace(base, extra=tuple(s for s in base.extra if s.field.name in wanted), group=(event,))
    assembly = Assembly()
    events = assembler.stream(io.iterate(inputs, layout, tree=tree), seed=seed, outside=outside, assembly=assembly)
    rows = events if sparse is None else (assembler.sparse(batch, threshold=sparse) for batch in events)
    made = {
        "models": dict(recipe.checksums),
        "inputs": {str(path): quick_fingerprint(path) for path in inputs},
        "grid": asdict(grid),
        "seed": seed,
        "outside": outside,
        "sparse": sparse,
        "versions": versions(),
    }
    io.write(rows, out, provenance=made, overwrite=overwrite, compress=compress)
    return assembly


def _whole_events(chunks: Iterable[Sample], most: int) -> Iterator[Sample]:
    """Cut and join chunks so that no event is cut, with at most so many events in each."""
    rest: Sample | None = None
    for chunk in chunks:
        now = chunk if rest is None else concatenate([rest, chunk])
        begins = np.r_[0, 1 + np.flatnonzero(now.group[1:] != now.group[:-1])]
        # The last event may go on in the next chunk.
        for start in range(0, len(begins) - 1, most):
            stop = min(start + most, len(begins) - 1)
            yield now.take(slice(int(begins[start]), int(begins[stop])))
        rest = now.take(slice(int(begins[-1]), len(now)))
    if rest is not None and len(rest):
        yield rest
