"""What generation asks of whatever answers: a surrogate in memory or an exported package."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from parhelion.errors import DataError
from parhelion.noise import normal
from parhelion.sample import Field, Schema

if TYPE_CHECKING:
    from parhelion.surrogates import Surrogate

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


class Model(Protocol):
    """Conditions and noise in, responses out, in physical units; row i depends on row i alone."""

    @property
    def schema(self) -> Schema:
        """Condition and response fields."""
        ...

    @property
    def noise_width(self) -> int:
        """Numbers of noise a row."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How the model was made: study, seeds, versions."""
        ...

    def noise(self, seed: int, event_id: IntArray, stage: int = 0) -> SingleArray:
        """Noise keyed by (seed, event id, stage), shape (n, noise_width)."""
        ...

    def respond(self, condition: FloatArray, noise: SingleArray) -> SingleArray:
        """Responses, shape (n, response width), of conditions (n, condition width) and noise (n, noise_width)."""
        ...

    def outside(self, condition: FloatArray) -> BoolArray:
        """Which conditions lie outside the domain, shape (n, condition width)."""
        ...

    def clamp(self, condition: FloatArray) -> FloatArray:
        """Conditions moved to the nearest ones inside the domain, shape (n, condition width); categories stay."""
        ...

    def allowed(self, column: int) -> str:
        """The domain of one number of the condition in words: ``2 to 100 GeV``, ``one of 211, 321``."""
        ...


def components(schema: Schema) -> list[Field]:
    """The condition field of each number in a row of condition."""
    return [field for field in schema.condition for _ in range(field.width)]


class SurrogateModel:
    """A surrogate in memory as a `Model`.

    Parameters
    ----------
    surrogate
        Trained surrogate.

    Raises
    ------
    DataError
        The surrogate was not trained.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        if not surrogate.prepared:
            msg = f"this {surrogate.kind} surrogate has not been trained; call parhelion.fit first"
            raise DataError(msg)
        self.surrogate = surrogate

    @property
    def schema(self) -> Schema:
        """Condition and response fields."""
        return self.surrogate.schema

    @property
    def noise_width(self) -> int:
        """Numbers of noise a row."""
        return self.surrogate.noise_width

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How the surrogate was made."""
        return self.surrogate.provenance

    def noise(self, seed: int, event_id: IntArray, stage: int = 0) -> SingleArray:
        """Standard normal numbers, shape (n, noise_width)."""
        return normal(seed, event_id, self.noise_width, stage=stage)

    def respond(self, condition: FloatArray, noise: SingleArray) -> SingleArray:
        """Responses, shape (n, response width), on the surrogate's device."""
        import torch

        device = next((p.device for p in self.surrogate.parameters()), torch.device("cpu"))
        answer = self.surrogate.sample(torch.as_tensor(condition).to(device), torch.as_tensor(noise).to(device))
        response: SingleArray = answer.cpu().numpy()
        return response

    def outside(self, condition: FloatArray) -> BoolArray:
        """Which conditions lie outside what training saw, shape (n, condition width)."""
        import torch

        codec = self.surrogate.codec
        with torch.no_grad():
            found: BoolArray = codec.outside(torch.as_tensor(condition).to(codec.low.device)).cpu().numpy()
        return found

    def clamp(self, condition: FloatArray) -> FloatArray:
        """Conditions moved into the range of each column."""
        codec = self.surrogate.codec
        low, high = codec.low.cpu().numpy(), codec.high.cpu().numpy()
        moved: FloatArray = np.clip(condition, low, high)
        categories = [j for j, _ in codec.categories]
        moved[:, categories] = condition[:, categories]
        return moved

    def allowed(self, column: int) -> str:
        """The domain of one number of the condition in words."""
        codec, field = self.surrogate.codec, components(self.schema)[column]
        values = seen_values(self.surrogate, column) if field.kind == "category" else None
        return allowed_words(field, float(codec.low[column]), float(codec.high[column]), values)


def allowed_words(field: Field, low: float, high: float, values: Sequence[float] | None) -> str:
    """The domain of one number of a condition in words: its range with the unit, or the values of a category."""
    if values is not None:
        return "one of " + ", ".join(f"{v:g}" for v in values)
    return f"{low:g} to {high:g}" + (f" {field.unit}" if field.unit else "")


def seen_values(surrogate: Surrogate, column: int) -> list[float]:
    """Values of a category condition that occurred in training; `column` counts numbers in a row of condition."""
    start = 0
    for j, values in surrogate.codec.categories:
        seen = surrogate.codec.seen[start : start + len(values)].tolist()
        if j == column:
            return [v for v, there in zip(values, seen, strict=True) if there]
        start += len(values)
    return []


def as_model(given: Surrogate | Model) -> Model:
    """A surrogate or anything else that answers, as a `Model`."""
    return SurrogateModel(given) if hasattr(given, "codec") else given  # type: ignore[arg-type]


def load_model(path: str | os.PathLike[str]) -> Model:
    """Model from a package (``.onnx``) or a surrogate file.

    Raises
    ------
    DataError
        The file is missing, damaged, or neither of the two.
    """
    if Path(path).suffix == ".onnx":
        from parhelion.deploy.runtime import Package

        return Package.load(path)
    from parhelion.surrogates import load

    return SurrogateModel(load(path))


@lru_cache(maxsize=64)
def cached_model(path: str, checksum: str) -> Model:
    """Model of a file with this checksum; a process loads it once.

    Raises
    ------
    DataError
        The file is missing, damaged, or has another content than when the work was planned.
    """
    if file_checksum(path) != checksum:
        msg = f"{path}: has changed since the work was planned; start again with --overwrite"
        raise DataError(msg)
    return load_model(path)


def file_checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises
    ------
    DataError
        The file is missing or cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        msg = f"{path}: cannot be read ({os.strerror(error.errno) if error.errno else error})"
        if isinstance(error, FileNotFoundError):
            msg = f"{path}: there is no such file"
        raise DataError(msg) from error


def describe(model: Model) -> dict[str, Any]:
    """What the bookkeeping says of a model: fields, width of the noise, how it was made."""
    return {
        "condition": [f.title for f in model.schema.condition],
        "response": [f.title for f in model.schema.response],
        "noise_width": model.noise_width,
        "training": dict(model.provenance),
    }
