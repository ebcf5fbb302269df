"""Showers by dividing energy down a pyramid of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from parhelion.errors import ConfigError, DataError
from parhelion.sample import Sample
from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig
from parhelion.surrogates.cascade.pyramid import Level, Pyramid, Squares
from parhelion.surrogates.cascade.splitter import Mixture, Splitter, scaled, uniform
from parhelion.surrogates.cascade.volume import Volume
from parhelion.surrogates.codec import CodecConfig

# Fluctuations of the response that are told apart, in units of their size.
FAR = 5.0


class CascadeConfig(SurrogateConfig):
    """Options of a cascade.

    Attributes
    ----------
    impact
        Conditions with the point of impact, along the image's rows and columns.
    symmetric
        The detector looks the same after mirroring or exchanging the two axes of the image: showers are learned in
        one orientation, with both slopes positive and the first the larger. It needs a direction and a square image.
        A volume looks the same after mirroring and turning about the shower's axis: showers are learned in all
        orientations. It needs the energy to be its only condition.
    polar
        The last two axes of a volume are angle and radius, as in the CaloChallenge's files, not two lengths.
    energy
        Condition with the incident energy, where `codec.directions` does not give it.
    context_width
        Hidden layer of the networks, one a level, that summarise conditions and coarser maps for all its blocks.
    core_width, ring_width, width
        Hidden layers of the networks for the four blocks in the middle of each level, for the ring around them, and
        for all others.
    components
        Normal distributions in each mixture.
    """

    codec: CodecConfig = Field(
        default_factory=lambda: CodecConfig(response=[], threshold=1e-5, knots=0, directions=[("px", "py", "pz")])
    )
    impact: tuple[str, str] | None = ("x", "y")
    symmetric: bool = True
    polar: bool = False
    energy: str | None = None
    context_width: int = Field(64, ge=1)
    core_width: int = Field(48, ge=1)
    ring_width: int = Field(32, ge=1)
    width: int = Field(16, ge=1)
    components: int = Field(4, ge=1)


class Cascade(Surrogate):
    """Total energy, then its division among 2 x 2 blocks, their division among 2 x 2 smaller ones, down to cells.

    Each step is a conditional density with few numbers that sampling inverts in closed form, and training maximises
    their product, the likelihood. How a block is divided depends on the conditions, on its neighbours' energies, on how
    neighbours were divided before it (first the four blocks in the middle, then the ring around them and the others, as
    on a chessboard of two colours) and on the whole of the coarser image. Blocks of one colour share a network, so a
    shower is some hundred examples, not one.

    By construction the cells sum to the modelled total, are not negative, and are at least the threshold or exactly 0.
    """

    kind: ClassVar[str] = "cascade"
    Config = CascadeConfig
    config: CascadeConfig
    images: ClassVar[bool] = True
    # A shower is some hundred choices, each of which changes what the next ones see.
    undecided: ClassVar[float] = 1e-2

    positions: Tensor

    def build(self, features: int, width: int) -> None:
        """Make the networks.

        Raises
        ------
        ConfigError
            The response is not one image or volume, there is no threshold, an option names no condition, or
            `symmetric` or `polar` do not apply.
        """
        c = self.config
        shapes = [f.shape for f in self.schema.response]
        if len(shapes) != 1 or len(shapes[0]) not in (2, 3):
            msg = (
                "a cascade learns one image of shape (rows, columns) or one volume of shape (layers, rows, columns), "
                f"got response fields of shape {', '.join(map(str, shapes))}"
            )
            raise ConfigError(msg)
        if c.codec.threshold is None:
            msg = "a cascade needs the energy below which a cell is empty; give codec.threshold"
            raise ConfigError(msg)
        self.threshold = c.codec.threshold
        self.energy_column = self._find_energy()
        self.frame = self._find_frame(shapes[0])
        self.pyramid = self._find_pyramid(shapes[0])
        self.total = nn.Sequential(
            nn.Linear(features, c.core_width), nn.SiLU(), nn.Linear(c.core_width, c.core_width), nn.SiLU()
        )
        self.total_mixture = Mixture(c.core_width, 1, 2 * c.components)
        self.register_buffer("total_scale", torch.tensor([0.0, 1.0, 0.0, 0.0]))
        self.splitters, self.contexts = nn.ModuleList(), nn.ModuleList()
        for level in self.pyramid.levels:
            widths = self._widths(level)
            far = features + 2 + sum(len(entries) for _, entries in level.seen)
            self.contexts.append(
                nn.Sequential(nn.Linear(far, c.context_width), nn.SiLU(), nn.Linear(c.context_width, sum(widths)))
            )
            for phase, each in zip(level.phases, widths, strict=True):
                self.splitters.append(Splitter(phase, width=each, components=c.components, threshold=self.threshold))
        positions = self.pyramid.stride(self.pyramid.depth - 1) + self.pyramid.cells
        if self.frame is not None:
            # Where each cell of the image is found, for each of the eight orientations.
            code = torch.arange(8)
            turn = ((code & 1) > 0, (code & 2) > 0, (code & 4) > 0)
            positions = self._turned(positions.expand(8, -1), turn, back=True)
        self.register_buffer("positions", positions, persistent=False)

    def prepare(self, sample: Sample, *, seed: int) -> None:
        """Fit the codec, build the networks and take the scale of the total energy.

        Raises
        ------
        DataError
            The sum of weights is not positive, the sample is empty, an incident energy is not positive, or a row has no
            cell above threshold.
        """
        self._require_incident(sample)
        super().prepare(sample, seed=seed)
        batch = self.encode(sample)
        total = self._require_deposits(sample, batch)
        momentum = self._log_momentum(batch.condition)
        response = (torch.log(total) - momentum).double()
        mean = response.mean()
        # Fluctuations fall with energy: variance = a + b / p.
        design = torch.stack([torch.ones_like(response), torch.exp(-momentum.double())], dim=1)
        square = (response - mean) ** 2
        # Each row relative to what it is, or the lowest energies alone would decide.
        size = square.mean() * design[:, 1] / design[:, 1].mean() + 1e-2 * square.mean()
        a, b = torch.linalg.lstsq(design / size[:, None], (square / size)[:, None]).solution[:, 0].clamp(min=0.0)
        self.total_scale = torch.stack([mean, a, b, 1e-4 * square.mean() + 1e-12]).float()

    def start_from(self, start: Surrogate, sample: Sample) -> None:
        """As `Surrogate.start_from`; also the scale of the total energy is the other's.

        Raises
        ------
        ConfigError
            The other surrogate differs in family, fields or options.
        DataError
            As of `prepare`.
        """
        self._require_incident(sample)
        super().start_from(start, sample)
        self._require_deposits(sample, self.encode(sample))

    def _require_incident(self, sample: Sample) -> None:
        if self.config.energy not in sample.columns:
            return
        energy = sample[self.config.energy]
        if not energy.min() > 0:
            row = int(np.argmin(energy))
            msg = (
                f"{sample.source}: condition {self.config.energy}, row {row}: {energy[row]:g}, but an incident "
                "energy must be above 0; select rows that have one"
            )
            raise DataError(msg)

    def _require_deposits(self, sample: Sample, batch: Batch) -> Tensor:
        """Total energies, shape (n,), all above 0."""
        total = batch.response.sum(dim=1)
        if not total.min() > 0:
            msg = (
                f"{sample.source}: row {int(total.argmin())} has no cell above the threshold of "
                f"{self.threshold:g} {self.schema.response[0].unit}; select rows with energy or lower codec.threshold"
            )
            raise DataError(msg)
        return total

    def _spread(self, momentum: Tensor) -> Tensor:
        """Size of the fluctuations of the logarithm of the response, shape (n,)."""
        _, a, b, least = self.total_scale
        return torch.sqrt(a + b * torch.exp(-momentum) + least)

    @property
    def _conditions(self) -> list[str]:
        return [f.name if not f.shape else f"{f.name}[{i}]" for f in self.schema.condition for i in range(f.width)]

    def _find_energy(self) -> int | None:
        """Column, among the continuous ones, of the incident energy."""
        name, names = self.config.energy, self._conditions
        if name is None:
            return None
        if name not in names or names.index(name) not in self.codec.continuous:
            msg = f"cascade, energy: {name} is no condition that is a number; there are {', '.join(names)}"
            raise ConfigError(msg)
        return self.codec.continuous.index(names.index(name))

    def _find_pyramid(self, shape: tuple[int, ...]) -> Pyramid:
        c = self.config
        if len(shape) == 2:
            if c.polar:
                msg = f"cascade, polar: that is for volumes (layers, angles, radii), and these are images {shape}"
                raise ConfigError(msg)
            return Squares(*shape)
        if c.symmetric and (self.energy_column is None or len(self._conditions) != 1):
            msg = (
                "a symmetric cascade of volumes needs the energy as its only condition, named by its option energy, "
                f"got conditions {', '.join(self._conditions)} and energy: {c.energy}; set symmetric: false for others"
            )
            raise ConfigError(msg)
        layers, rows, columns = shape
        return Volume((layers, rows, columns), polar=c.polar)

    def _find_frame(self, shape: tuple[int, ...]) -> tuple[int, int, int, int, int] | None:
        """Columns, among the continuous ones, of log |p|, both slopes, and the impact's coordinates."""
        if not self.config.symmetric or len(shape) != 2:
            return None
        names = self._conditions
        if not self.codec.directions or self.config.impact is None or len(set(shape)) != 1:
            msg = (
                "a symmetric cascade needs a square image, codec.directions and the impact's two conditions, "
                f"got shape {shape}, directions {self.config.codec.directions}, impact {self.config.impact}; "
                "set symmetric: false for others"
            )
            raise ConfigError(msg)
        missing = [name for name in self.config.impact if name not in names]
        if missing:
            msg = f"cascade, impact: {missing[0]} is no condition; there are {', '.join(names)}"
            raise ConfigError(msg)
        x, y = (self.codec.continuous.index(names.index(name)) for name in self.config.impact)
        magnitude, first, second = self.codec.directions[0]
        return magnitude, first, second, x, y

    def _log_momentum(self, condition: Tensor) -> Tensor:
        if self.codec.directions:
            return self.codec.kinematics(condition)[:, self.codec.directions[0][0]]
        if self.energy_column is None:
            return torch.zeros_like(condition[:, 0])
        found = self.codec.kinematics(condition)[:, self.energy_column]
        return torch.where(self.codec.log_scale[self.energy_column], found, torch.log(found.clamp(min=1e-30)))

    def _oriented(self, condition: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """Encoded conditions in the standard orientation, and which rows were mirrored twice and exchanged."""
        if self.frame is None:
            return condition, None
        _, a, b, x, y = self.frame
        kinematics, scale = self.codec.kinematics(condition), self.codec.scale.scale
        turn = (kinematics[:, a] < 0, kinematics[:, b] < 0, kinematics[:, b].abs() > kinematics[:, a].abs())
        first = torch.stack([kinematics[:, a].abs(), torch.where(turn[0], -kinematics[:, x], kinematics[:, x])])
        second = torch.stack([kinematics[:, b].abs(), torch.where(turn[1], -kinematics[:, y], kinematics[:, y])])
        # One scale for both axes, or exchanging them would change it.
        slope, point = torch.maximum(scale[a], scale[b]), torch.maximum(scale[x], scale[y])
        columns = list(condition.unbind(dim=1))
        columns[a], columns[x] = torch.where(turn[2], second, first)
        columns[b], columns[y] = torch.where(turn[2], first, second)
        for at, unit in ((a, slope), (b, slope), (x, point), (y, point)):
            columns[at] = columns[at] / unit
        return torch.stack(columns, dim=1), turn

    def _turned(self, image: Tensor, turn: tuple[Tensor, Tensor, Tensor] | None, *, back: bool) -> Tensor:
        """Images (n, cells) brought to the standard orientation, or back."""
        if turn is None:
            return image
        shape = self.schema.response[0].shape
        grid = image.view(-1, *shape)
        mirror_rows, mirror_columns, exchange = (t[:, None, None] for t in turn)
        if back:
            grid = torch.where(exchange, grid.transpose(1, 2), grid)
        grid = torch.where(mirror_rows, grid.flip(1), grid)
        grid = torch.where(mirror_columns, grid.flip(2), grid)
        if not back:
            grid = torch.where(exchange, grid.transpose(1, 2), grid)
        return grid.flatten(1)

    # ----------------------------------------------------------------- training
    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player."""
        return {"cascade": [p for p in self.parameters() if p.requires_grad]}

    def averaged(self) -> list[nn.Parameter]:
        """All parameters."""
        return [p for p in self.parameters() if p.requires_grad]

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Negative log-likelihood of total energy and all divisions, per event."""
        condition, turn = self._oriented(batch.condition)
        image = self._turned(batch.response, turn, back=False)
        if self.config.symmetric and isinstance(self.pyramid, Volume):
            image = self.pyramid.turned(image, draws.uniform(len(image), 3))
        maps = self.pyramid.maps(image)
        momentum = self._log_momentum(batch.condition)
        x = ((torch.log(maps[0].sum(dim=1)) - momentum - self.total_scale[0]) / self._spread(momentum))[:, None]
        score = self.total_mixture.log_prob(self.total(condition), x, torch.ones_like(x, dtype=torch.bool))
        logs = {"nll/total": -score.detach().mean()}
        splitters = self._splitters()
        for k, level in enumerate(self.pyramid.levels):
            both = torch.cat([maps[k], maps[k + 1]], dim=1)
            found = torch.zeros_like(score)
            for context in self._context(level, k, condition, x, maps):
                splitter = next(splitters)
                at = splitter.find(both)
                found = found.index_add(0, at.row, splitter.log_prob(both, context, at))
            logs[f"nll/level {k}"] = -found.detach().mean()
            score = score + found
        return Loss(-score, logs=logs)

    def _splitters(self) -> Iterator[Splitter]:
        return iter([module for module in self.splitters if isinstance(module, Splitter)])

    def _context(
        self, level: Level, k: int, condition: Tensor, response: Tensor, maps: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """What all blocks of a level are told, (n, width) for each phase.

        From conditions, total energy and this map or its centre. The response (n, 1), in units of its
        fluctuations, goes with the shape; networks would have to find it as a small difference of two large numbers.
        """
        total = scaled(maps[0].sum(dim=1, keepdim=True), self.threshold)
        parts = [
            condition,
            total - 3.0,
            response.clamp(-FAR, FAR),
            *(scaled(_columns(maps[i], entries), self.threshold) - total for i, entries in level.seen),
        ]
        told: Tensor = self.contexts[k](torch.cat(parts, dim=1))
        return torch.split(told, self._widths(level), dim=1)

    def _widths(self, level: Level) -> list[int]:
        c = self.config
        return [c.core_width if phase.central else c.ring_width if phase.ring else c.width for phase in level.phases]

    # ----------------------------------------------------------------- sampling
    @property
    def noise_features(self) -> int:
        """Two numbers for the total energy, then those of each phase."""
        return 2 + sum(splitter.noise_features for splitter in self._splitters())

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Cells (n, cells) from encoded conditions (n, features) and noise (n, noise_features), level by level."""
        # The C library hands large blocks back to the system and must fetch them anew, zeroed, each time, until a block
        # as large as this was freed: a quarter of the time of large batches.
        torch.empty(31 << 20, dtype=torch.uint8)
        if torch.is_grad_enabled():
            return self.graph(condition, noise)
        # A single shower is two thousand small operations, and keeping books for derivatives a fifth of their time.
        with torch.inference_mode():
            finest, turn = self._divided(condition, noise)
        # Made outside, the answer is a tensor like any other.
        return self._placed(finest, turn)

    def graph(self, condition: Tensor, noise: Tensor) -> Tensor:
        """As `generate`."""
        return self._placed(*self._divided(condition, noise))

    def _placed(self, finest: Tensor, turn: tuple[Tensor, Tensor, Tensor] | None) -> Tensor:
        """The image (n, cells) in the shower's own orientation, from its coarser map and itself side by side."""
        if turn is None:
            return finest.index_select(1, self.positions)
        code = turn[0].long() + 2 * turn[1].long() + 4 * turn[2].long()
        return finest.gather(1, self.positions.index_select(0, code))

    def _divided(self, condition: Tensor, noise: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """The last two maps side by side in the standard orientation, and what turns them back."""
        oriented, turn = self._oriented(condition)
        x = self.total_mixture.draw(self.total(oriented), uniform(noise[:, 0]), noise[:, 1:2])
        momentum = self._log_momentum(condition)
        total = torch.exp(x[:, 0] * self._spread(momentum) + self.total_scale[0] + momentum).clamp(min=self.threshold)
        first = self.pyramid.levels[0].phases[0].see[0, 0].to(noise.device)
        here = torch.arange(self.pyramid.stride(0), device=noise.device) == first
        maps = [torch.where(here, total[:, None], 0.0)]
        splitters = self._splitters()
        start = 2
        for k, level in enumerate(self.pyramid.levels):
            both = torch.nn.functional.pad(maps[k], (0, self.pyramid.stride(k + 1)))
            for context in self._context(level, k, oriented, x, maps):
                splitter = next(splitters)
                both = splitter.draw(both, context, noise, start)
                start += splitter.noise_features
            maps.append(both[:, self.pyramid.stride(k) :])
        return both, turn


def _columns(x: Tensor, index: Tensor) -> Tensor:
    return x.index_select(1, index.to(x.device))
