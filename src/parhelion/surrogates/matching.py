"""Conditional flow matching, and its distillation into a one-pass student."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from parhelion.errors import DataError
from parhelion.networks import Activation, ResidualMLP, TimeEmbedding
from parhelion.networks.chain import ChainLayer
from parhelion.networks.quantiles import QuantileChain, on_lattice
from parhelion.networks.ramps import Ramps
from parhelion.noise import normal
from parhelion.sample import Sample
from parhelion.surrogates.base import Batch, Draws, Loss, Surrogate, SurrogateConfig
from parhelion.surrogates.flow import Flow

Solver = Literal["euler", "midpoint", "heun", "rk4"]
StudentMap = Literal["displacement", "quantiles"]

DISTILLATION_STAGE = 1
_ROWS = 16384
# Of the shares of probability at which quantile functions are compared, and of their slopes.
_TAIL = 1e-6
_LEAST_SLOPE = 0.02


class MatchingConfig(SurrogateConfig):
    """Options of conditional flow matching.

    Attributes
    ----------
    width, blocks, activation
        Residual velocity network.
    frequencies
        Pairs of sines and cosines that embed the time.
    solver, solver_steps
        Fixed-step solver for sampling; deterministic and exportable.
    """

    width: int = Field(192, ge=1)
    blocks: int = Field(3, ge=1)
    activation: Activation = "silu"
    frequencies: int = Field(8, ge=1)
    solver: Solver = "midpoint"
    solver_steps: int = Field(12, ge=1)


class Matching(Surrogate):
    """Flow matching with the linear path x_t = (1 - t) z + t x (Lipman et al., arXiv:2210.02747, section 4).

    The velocity v(x_t, t, c) is regressed on x - z with z standard normal and t uniform. Noise and event are paired
    independently, which conditional models need. A signed weight multiplies the squared error of its event: the
    minimum is the weighted conditional expectation, so negative weights subtract.

    Inactive entries are filled with normal noise: they flow by themselves and are overwritten by the pattern.
    """

    kind: ClassVar[str] = "matching"
    Config = MatchingConfig
    config: MatchingConfig

    def build(self, features: int, width: int) -> None:
        """Make the velocity network."""
        c = self.config
        self.width = width
        self.time = TimeEmbedding(c.frequencies)
        self.velocity_network = ResidualMLP(
            width + features + 2 * c.frequencies, width, width=c.width, blocks=c.blocks, activation=c.activation
        )

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player."""
        return {"velocity": list(self.velocity_network.parameters())}

    def averaged(self) -> list[nn.Parameter]:
        """The velocity network's parameters."""
        return list(self.velocity_network.parameters())

    def velocity(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """dx/dt at x (n, d), times t (n, 1), encoded conditions (n, features)."""
        out: Tensor = self.velocity_network(torch.cat([x, condition, self.time(t)], dim=1))
        return out

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Squared error of the velocity, mean over entries, per event."""
        b, d = batch.response.shape
        z = draws.normal(b, d)
        x = torch.where(batch.active, batch.response, draws.normal(b, d))
        t = draws.uniform(b, 1)
        error = self.velocity((1 - t) * z + t * x, t, batch.condition) - (x - z)
        return Loss((error**2).mean(dim=1))

    @property
    def noise_features(self) -> int:
        """As wide as the response."""
        return self.schema.response_width

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Solve the flow from noise at t = 0 to t = 1."""
        steps = self.config.solver_steps
        x, h = noise, 1.0 / steps
        for k in range(steps):
            x = self._advance(x, k * h, h, condition)
        return x

    def _advance(self, x: Tensor, t: float, h: float, condition: Tensor) -> Tensor:
        def v(x: Tensor, t: float) -> Tensor:
            return self.velocity(x, torch.full((x.shape[0], 1), t, device=x.device), condition)

        k1 = v(x, t)
        if self.config.solver == "euler":
            return x + h * k1
        if self.config.solver == "midpoint":
            return x + h * v(x + 0.5 * h * k1, t + 0.5 * h)
        if self.config.solver == "heun":
            return x + 0.5 * h * (k1 + v(x + h * k1, t + h))
        k2 = v(x + 0.5 * h * k1, t + 0.5 * h)
        k3 = v(x + 0.5 * h * k2, t + 0.5 * h)
        k4 = v(x + h * k3, t + h)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


class StudentConfig(SurrogateConfig):
    """Options of a one-pass student.

    Attributes
    ----------
    map
        ``displacement``: a residual network from (noise, condition) to what is added to the noise, for any teacher.
        ``quantiles``: a chain of small networks that give each entry's quantile function, for a flow with
        ``map: spline_chain`` and one layer; much closer to its teacher at the same cost.
    width, blocks, activation
        Residual network; in a chain, the units and hidden layers of each entry, always with rectifiers.
    knots
        Ramps for each number of the noise; in a chain, for each earlier entry.
    pieces, functions, steps
        In a chain: ramps of the noise, functions made of them, and sigmoids for each entry.
    points
        In a chain: values of the noise at which each row's quantile functions are compared.
    """

    map: StudentMap = "displacement"
    knots: int = Field(16, ge=0)
    width: int = Field(256, ge=1)
    blocks: int = Field(2, ge=1)
    activation: Activation = "silu"
    pieces: int = Field(16, ge=1)
    functions: int = Field(12, ge=1)
    steps: int = Field(3, ge=0)
    points: int = Field(4, ge=1)


class Student(Surrogate):
    """One-pass student of a surrogate whose `generate` is a deterministic map of the noise.

    Distillation (Luhman and Luhman, arXiv:2101.02388, equation 6): at the conditions of the training sample and for
    noise z, the student's answer is drawn to the teacher's answer to the same z by the squared error. Each row gets its
    z once, from the counter-based generator, so the teacher is asked once a row and not once a step.

    A chain of quantile functions learns more from a row: at several z, the teacher's value and slope of each entry,
    given the teacher's earlier entries. Its errors are measured against the slope: an error e in the value moves
    density as an error e / slope in the noise would, however narrow a distribution is.

    The teacher already stands for the weighted sample: every row counts the same here, whatever its weight.
    The student has the teacher's codec: condition scaling, exact structure, response transform, domain.
    """

    kind: ClassVar[str] = "student"
    Config = StudentConfig
    config: StudentConfig

    def build(self, features: int, width: int) -> None:
        """Make the one-pass network; a displacement starts as the identity in the noise."""
        c = self.config
        self._teacher: list[Surrogate] = []
        self._seed = 0
        if c.map == "quantiles":
            self.network: QuantileChain | ResidualMLP = QuantileChain(
                list(range(width)), features,
                width=c.width, depth=c.blocks, knots=c.knots,
                pieces=c.pieces, functions=c.functions, steps=c.steps,
            )  # fmt: skip
            return
        self.ramps = Ramps(c.knots)
        inputs = width * (1 + c.knots) + features
        self.network = ResidualMLP(inputs, width, width=c.width, blocks=c.blocks, activation=c.activation)

    def learn_from(self, teacher: Surrogate, *, seed: int) -> None:
        """Take the teacher's codec and keep the teacher at hand for training (it is not saved).

        Raises
        ------
        DataError
            The teacher is not trained, its noise is not as wide as the response, or quantile functions are asked for
            and it has none.
        """
        if not teacher.prepared or teacher.noise_features != self.schema.response_width:
            msg = (
                f"a {teacher.kind} surrogate cannot be distilled: "
                "it must be trained and must map noise that is as wide as the response"
            )
            raise DataError(msg)
        if self.config.map == "quantiles" and _quantiles_of(teacher) is None:
            msg = (
                f"a student with map: quantiles cannot learn from this {teacher.kind} surrogate: its teacher must be a "
                "flow with map: spline_chain and layers: 1; choose such a teacher, or map: displacement"
            )
            raise DataError(msg)
        self.codec = copy.deepcopy(teacher.codec)
        self.config = self.config.model_copy(update={"codec": teacher.config.codec})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build(self.codec.features, self.schema.response_width)
        # In a list, so that the teacher is no submodule: neither trained nor saved.
        self._teacher = [teacher.eval()]
        self._seed = seed
        self.prepared = True

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player."""
        return {"student": list(self.network.parameters())}

    def averaged(self) -> list[nn.Parameter]:
        """The network's parameters."""
        return list(self.network.parameters())

    @property
    def encoded_width(self) -> int:
        """Noise and the teacher's answer; for a chain noise, values and slopes at each point."""
        per_entry = 3 * self.config.points if self.config.map == "quantiles" else 2
        return per_entry * self.schema.response_width

    def encode(self, sample: Sample) -> Batch:
        """Noise and the teacher's answer to it as the response, shape (n, `encoded_width`), all weights 1.

        For a chain: places on its lattice of noise, values and slopes, (n, 3, d, points) in one row; the first point is
        the row's own noise, the others lie evenly around it in probability, modulo 1.

        Raises
        ------
        DataError
            The student has no teacher at hand (it was loaded from a file).
        """
        if not self._teacher:
            msg = "this student has no teacher at hand; call learn_from with the trained teacher before training"
            raise DataError(msg)
        batch = super().encode(sample)
        z = torch.as_tensor(normal(self._seed, sample.event_id, self.noise_features, stage=DISTILLATION_STAGE))
        device = next(self._teacher[0].parameters()).device
        with torch.no_grad():
            answers = [
                self._answer(*(part.to(device) for part in parts)).cpu()
                for parts in zip(*(torch.split(t, _ROWS) for t in (batch.condition, z, batch.active)), strict=True)
            ]
        return Batch(torch.cat(answers), batch.condition, batch.active, torch.ones(len(z)))

    def _answer(self, condition: Tensor, z: Tensor, active: Tensor) -> Tensor:
        """The teacher's part of `encode`."""
        teacher = self._teacher[0]
        if self.config.map == "displacement":
            return torch.cat([z, teacher.generate(condition, z)], dim=1)
        layer = _quantiles_of(teacher)
        assert layer is not None
        assert isinstance(self.network, QuantileChain)
        count = self.config.points
        share = torch.special.ndtr(z.double())[:, :, None] + torch.arange(count, device=z.device) / count
        others = torch.special.ndtri((share % 1.0).clamp(_TAIL, 1.0 - _TAIL)).to(z.dtype)
        place = on_lattice(torch.cat([z[:, :, None], others[:, :, 1:]], dim=2))
        noise = self.network.lattice[place.cpu()].to(z.device)
        return torch.stack([place.to(z.dtype), *layer.quantiles(noise, active, condition)], dim=1).flatten(1)

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Squared error to the teacher's answer over the free entries, per event (see the class for a chain's)."""
        if isinstance(self.network, QuantileChain):
            axes = (len(batch.response), 3, self.schema.response_width, self.config.points)
            place, target, slope = batch.response.reshape(axes).unbind(1)
            # Without autocast: the last digits of narrow distributions count.
            with torch.autocast(place.device.type, enabled=False):
                value, rate = self.network.curves(batch.condition, target[:, :, 0], place.long())
            width = torch.sqrt(slope**2 + _LEAST_SLOPE**2)
            # The logarithm keeps what cannot be followed from drowning the rest.
            both = torch.log1p(((value - target) / width) ** 2) + torch.log1p(((rate - slope) / width) ** 2)
            terms = both.mean(dim=2)
        else:
            z, target = batch.response.chunk(2, dim=1)
            terms = (self.generate(batch.condition, z) - target) ** 2
        return Loss(torch.where(batch.active, terms, torch.zeros_like(terms)).mean(dim=1))

    @property
    def noise_features(self) -> int:
        """As wide as the response."""
        return self.schema.response_width

    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """One pass: noise plus a learned displacement, or the chain."""
        if isinstance(self.network, QuantileChain):
            made: Tensor = self.network(condition, noise, self.codec.active_entries(condition))
            return made
        out: Tensor = noise + self.network(torch.cat([self.ramps(noise).flatten(1), condition], dim=1))
        return out


def _quantiles_of(teacher: Surrogate) -> ChainLayer | None:
    """The one layer of a spline chain whose entries come in their own order, if the teacher is one."""
    layers = list(teacher.flow_layers) if isinstance(teacher, Flow) else []
    found = layers[0] if len(layers) == 1 else None
    return found if isinstance(found, ChainLayer) and found.order == sorted(found.order) else None
