"""The contract that every surrogate keeps."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as ConfigField
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from parhelion.errors import ConfigError, DataError, ShapeError
from parhelion.files import atomic_path
from parhelion.sample import Field, Sample, Schema
from parhelion.surrogates.codec import Codec, CodecConfig

FORMAT = 1
SIGNED_REACH = 5.0


class SurrogateConfig(BaseModel):
    """Options that every surrogate has.

    Attributes
    ----------
    codec
        How the surrogate sees its sample.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    codec: CodecConfig = ConfigField(default_factory=CodecConfig)


@dataclass(frozen=True)
class Batch:
    """Rows of a training sample in network space.

    Attributes
    ----------
    response
        Shape (b, d); 0 where not active.
    condition
        Shape (b, features).
    active
        Shape (b, d), bool: entries that the pattern leaves free.
    weight
        Signed weights, shape (b,), scaled to mean 1 over the whole training sample. The loop applies them.
    """

    response: Tensor
    condition: Tensor
    active: Tensor
    weight: Tensor

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.weight)


@dataclass(frozen=True)
class Loss:
    """What a player minimises: mean(w * events) + penalty.

    Attributes
    ----------
    events
        Loss of each event, shape (b,), not reduced and not weighted.
    penalty
        Unweighted terms (gradient penalties), scalar.
    logs
        Numbers to record beside the loss.
    """

    events: Tensor
    penalty: Tensor | None = None
    logs: dict[str, Tensor] = field(default_factory=dict)


class Draws:
    """Random numbers of one training step: the same for any number of processes.

    Every process draws the numbers of the whole batch and keeps those of its own rows (rank, rank + world, ...).
    """

    def __init__(self, seed: int, *, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.world = rank, world
        self.device = torch.device(device)
        self.generator = torch.Generator(device=self.device).manual_seed(seed)

    def normal(self, rows: int, width: int) -> Tensor:
        """Standard normal numbers, shape (rows, width)."""
        return torch.randn(rows * self.world, width, generator=self.generator, device=self.device)[self._own]

    def uniform(self, rows: int, width: int) -> Tensor:
        """Uniform numbers in [0, 1), shape (rows, width)."""
        return torch.rand(rows * self.world, width, generator=self.generator, device=self.device)[self._own]

    @property
    def _own(self) -> slice:
        return slice(self.rank, None, self.world)


class Surrogate(nn.Module, ABC):
    """A trained fast simulator: physical units in, physical units out.

    Life: construct from schema and config; `prepare` on a training sample (fits the codec and builds networks); train
    through `parhelion.fit`, which asks for `players`, `turns` and `loss`; then `sample`.

    A family implements `build`, `noise_features`, `generate`, and either trains (`players`, `turns`, `loss`) or
    learns at once in `prepare`.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[SurrogateConfig]] = SurrogateConfig
    has_density: ClassVar[bool] = False
    # Responses are energies of cells, fields with a shape.
    images: ClassVar[bool] = False
    # Share of rows in which the rounding of another program's sums may change a discrete choice, and so the response.
    undecided: ClassVar[float] = 1e-4

    def __init__(self, schema: Schema, config: SurrogateConfig | None = None) -> None:
        super().__init__()
        self.schema = schema
        self.config = config if config is not None else self.Config()
        self.codec = Codec(schema, self.config.codec)
        self.provenance: dict[str, Any] = {}
        self.prepared = False

    # ----------------------------------------------------------------- made from a sample
    def prepare(self, sample: Sample, *, seed: int) -> None:
        """Fit the codec on a training sample with signed weights and build the networks, seeded.

        Raises
        ------
        DataError
            The sum of weights is not positive, or the sample is empty.
        """
        _require_rows(sample)
        self.codec.fit(sample, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build(self.codec.features, self.schema.response_width)
        self.prepared = True

    def start_from(self, start: Surrogate, sample: Sample) -> None:
        """Begin with another surrogate's transforms and networks, and with the domain of a training sample.

        Parameters
        ----------
        start
            Trained, of the same family, fields and options.
        sample
            What will be learned from.

        Raises
        ------
        ConfigError
            The other surrogate differs in family, fields or options.
        DataError
            The sum of weights is not positive, the sample is empty, or does not suit the surrogate.
        """
        fields = [(s.schema.condition, s.schema.response) for s in (self, start)]
        options = [s.config.model_dump(mode="json") for s in (self, start)]
        differs: tuple[str, str, str] | None = None
        if self.kind != start.kind:
            differs = "is of family", self.kind, start.kind
        elif fields[0] != fields[1]:
            mine, theirs = (", ".join(f.title for role in both for f in role) for both in fields)
            differs = "has fields", mine, theirs
        elif options[0] != options[1]:
            differs = "has options", *_difference(*options)
        if differs is not None:
            what, own, other = differs
            msg = f"training, start: that surrogate {what} {other}, the one to train {own}; they must be equal"
            raise ConfigError(msg)
        _require_rows(sample)
        self.codec = Codec(self.schema, self.config.codec, pattern_sizes=start.codec.pattern.sizes())
        self.set_sizes(start.sizes())
        with torch.random.fork_rng(devices=[]):
            self.build(self.codec.features, self.schema.response_width)
        self.load_state_dict(start.state_dict())
        self.codec.fit_domain(sample)
        self.prepared = True

    @abstractmethod
    def build(self, features: int, width: int) -> None:
        """Make the networks for encoded conditions (n, features) and responses (n, width)."""

    # ----------------------------------------------------------------- training
    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by player; each player has its own optimiser. None: nothing is trained step by step."""
        return {}

    def turns(self, step: int) -> tuple[str, ...]:
        """Players in the order in which they move at a step (0, 1, ...); a critic may move several times."""
        return tuple(self.players())

    def loss(self, player: str, batch: Batch, draws: Draws) -> Loss:
        """Loss of one player on a batch, per event."""
        msg = f"{self.kind} has no player {player}"
        raise NotImplementedError(msg)

    def after_step(self, step: int) -> None:
        """Do what follows a step (clip the critic's weights)."""

    def averaged(self) -> list[nn.Parameter]:
        """Parameters of which training keeps an exponential moving average for sampling."""
        return []

    @property
    def compared(self) -> tuple[str, ...]:
        """Observables that the loss itself compares; a study names them as its `loss_fields`."""
        return ()

    # ----------------------------------------------------------------- sampling
    @property
    @abstractmethod
    def noise_features(self) -> int:
        """Width of the noise that the continuous model takes."""

    @property
    def noise_width(self) -> int:
        """Width of the noise argument of `sample`: one number for the pattern where it is random, then the rest."""
        return self.noise_features + int(self.codec.pattern.random)

    @abstractmethod
    def generate(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Network-space responses (n, d) from encoded conditions (n, features) and noise (n, noise_features)."""

    def graph(self, condition: Tensor, noise: Tensor) -> Tensor:
        """As `generate`, in operations that an exported graph has; a family whose `generate` uses others overrides it.

        Sizes that depend on the number of rows are taken from shapes (``x.shape[0]``), not from ``len``.
        """
        return self.generate(condition, noise)

    @torch.no_grad()
    def sample(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Responses in physical units.

        Row i depends on row i of condition and noise alone.

        Parameters
        ----------
        condition
            Shape (n, c), physical units, float64.
        noise
            Standard normal, shape (n, noise_width).

        Returns
        -------
        Tensor
            Shape (n, d), physical units, float32.

        Raises
        ------
        ShapeError
            A shape is not as above.
        """
        if not self.prepared:
            msg = f"this {self.kind} surrogate has not been trained; call parhelion.fit first"
            raise DataError(msg)
        expected = (len(condition), self.noise_width)
        if condition.ndim != 2 or condition.shape[1] != self.schema.condition_width:
            msg = f"condition: expected shape (n, {self.schema.condition_width}), got {tuple(condition.shape)}"
            raise ShapeError(msg)
        if tuple(noise.shape) != expected:
            msg = f"noise: expected shape {expected}, got {tuple(noise.shape)}"
            raise ShapeError(msg)
        split = noise.shape[1] - self.noise_features
        pattern_noise, rest = noise[:, :split], noise[:, split:]
        uniform = (
            torch.special.ndtr(pattern_noise[:, 0].to(torch.float64))
            if pattern_noise.shape[1]
            else torch.full((len(noise),), 0.5, dtype=torch.float64, device=noise.device)
        )
        pattern = self.codec.pattern.draw(condition, uniform)
        encoded = self.codec.encode_condition(condition, pattern)
        return self.codec.decode_response(self.generate(encoded, rest), pattern)

    def log_prob(self, condition: Tensor, response: Tensor) -> Tensor:
        """Log density of the free components given condition and pattern, shape (n,).

        Parameters
        ----------
        condition
            Shape (n, c), physical units.
        response
            Shape (n, d), physical units.

        Raises
        ------
        DataError
            This family has no density.
        """
        if not self.has_density:
            msg = f"a {self.kind} surrogate has no density; choose a flow"
            raise DataError(msg)
        x, active, pattern = self.codec.encode_response(response)
        encoded = self.codec.encode_condition(condition, pattern)
        return self.network_log_prob(x, active, encoded) + self.codec.log_det(response)

    def network_log_prob(self, x: Tensor, active: Tensor, condition: Tensor) -> Tensor:
        """Log density in network space of the active entries of x (n, d) given encoded conditions, shape (n,)."""
        raise NotImplementedError

    # ----------------------------------------------------------------- state
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to sample to one safetensors file with JSON metadata.

        Raises
        ------
        WriteError
            The file cannot be written.
        """
        header = {
            "format": FORMAT,
            "kind": self.kind,
            "schema": schema_to_dict(self.schema),
            "config": self.config.model_dump(mode="json"),
            "pattern": self.codec.pattern.sizes(),
            "sizes": self.sizes(),
            "provenance": self.provenance,
        }
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.state_dict().items()}
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(tensors, metadata={"parhelion": json.dumps(header)}))

    def sizes(self) -> dict[str, Any]:
        """Sizes beyond config and schema that `build` needs when a file is loaded."""
        return {}

    def set_sizes(self, sizes: dict[str, Any]) -> None:
        """Take the sizes that `sizes` gave, before `build`."""

    @property
    def encoded_width(self) -> int:
        """Width of the response that `encode` gives; a family may put more beside the response than itself."""
        return self.schema.response_width

    def encode(self, sample: Sample) -> Batch:
        """All rows of a sample in network space, with their weights as they stand.

        With signed weights, responses more than 5 units from 0 in network space are moved to 5.
        """
        with torch.no_grad():
            x, active, pattern = self.codec.encode_response(torch.as_tensor(sample.response))
            condition = self.codec.encode_condition(torch.as_tensor(sample.condition), pattern)
        if (sample.weight < 0).any():
            # Rows far outside what the weighted sample supports cancel in the mean, but would pull with their squares.
            x = x.clamp(-SIGNED_REACH, SIGNED_REACH)
        return Batch(x, condition, active, torch.as_tensor(sample.weight, dtype=torch.float32))


def read_surrogate(path: str | os.PathLike[str], families: dict[str, type[Surrogate]]) -> Surrogate:
    """Read a surrogate that `Surrogate.save` wrote.

    Raises
    ------
    DataError
        The file is missing, damaged, not a surrogate, of a newer format, or of a version with other networks.
    """
    if not Path(path).is_file():
        msg = f"{path}: there is no such file"
        raise DataError(msg)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["parhelion"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        newer = header["format"] > FORMAT or header["kind"] not in families
        surrogate = None if newer else _rebuild(header, tensors, families[header["kind"]])
    except _OtherNetworksError as error:
        msg = (
            f"{path}: this version of parhelion builds other networks from the same options ({error}); train it anew, "
            "or use the package that was exported from it"
        )
        raise DataError(msg) from error
    except ValidationError as error:
        msg = f"{path}: its options are not those of this version ({error.errors()[0]['loc']})"
        raise ConfigError(msg) from error
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError) as error:
        msg = f"{path}: this is not a surrogate file, or it is damaged ({type(error).__name__})"
        raise DataError(msg) from error
    if surrogate is None:
        msg = f"{path}: made by a newer version (format {header['format']}, kind {header['kind']}); update parhelion"
        raise DataError(msg)
    return surrogate


def _rebuild(header: dict[str, Any], tensors: dict[str, Tensor], family: type[Surrogate]) -> Surrogate:
    schema = schema_from_dict(header["schema"])
    surrogate = family(schema, family.Config.model_validate(header["config"]))
    surrogate.codec = Codec(schema, surrogate.config.codec, pattern_sizes=header["pattern"])
    surrogate.set_sizes(header["sizes"])
    surrogate.build(surrogate.codec.features, schema.response_width)
    _same_shapes(surrogate.state_dict(), tensors)
    surrogate.load_state_dict(tensors)
    surrogate.provenance = header["provenance"]
    surrogate.prepared = True
    return surrogate.eval()


def _require_rows(sample: Sample) -> None:
    if not len(sample):
        msg = f"{sample.source}: there is no row to learn from"
        raise DataError(msg)
    sample.require_positive_total()


def _difference(own: Any, other: Any) -> tuple[str, str]:
    """The first option that differs, on both sides."""
    if isinstance(own, dict) and isinstance(other, dict):
        for key in sorted(own.keys() | other.keys()):
            if own.get(key) != other.get(key):
                mine, theirs = _difference(own.get(key), other.get(key))
                return f"{key} {mine}", f"{key} {theirs}"
    return str(own), str(other)


class _OtherNetworksError(Exception):
    """A file's numbers are whole, but not those of the networks that its header describes."""


def _same_shapes(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        shapes = [tuple(numbers[name].shape) if name in numbers else None for numbers in (found, expected)]
        if shapes[0] != shapes[1]:
            have, need = ("is missing" if s is None else f"of shape {s}" for s in shapes)
            msg = f"{name}: {have} in the file, {need} here"
            raise _OtherNetworksError(msg)


def schema_to_dict(schema: Schema) -> dict[str, Any]:
    """Schema as plain data for JSON."""
    return asdict(schema)


def schema_from_dict(data: dict[str, Any]) -> Schema:
    """Undo `schema_to_dict`."""

    def fields(role: str) -> tuple[Field, ...]:
        found: list[Field] = []
        for entry in data[role]:
            options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
            found.append(Field(**options))
        return tuple(found)

    return Schema(fields("condition"), fields("response"), fields("extra"))
