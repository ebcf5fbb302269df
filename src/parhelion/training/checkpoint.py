"""Checkpoints: safetensors with JSON, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from parhelion.errors import DataError
from parhelion.files import atomic_path

FORMAT = 1
LAST = "last.safetensors"
BEST = "best.safetensors"
CURVES = "curves.jsonl"


@dataclass(frozen=True)
class Checkpoint:
    """Everything from which training continues to the identical result.

    There is no state of a random generator in it: all random numbers follow from (seed, step).

    Attributes
    ----------
    tensors
        Model, averages and optimisers, named ``model/...``, ``average/<i>``, ``optimiser/<player>/<mover>/<i>/<name>``.
    state
        Plain numbers: steps, batches, seconds, best value, sums since the last record.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under a prefix, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def save(self, path: Path) -> None:
        """Write to one file.

        Raises
        ------
        WriteError
            The file cannot be written; a checkpoint that stood there is intact.
        """
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.tensors.items()}
        with atomic_path(path) as temporary:
            try:
                save_file(tensors, temporary, metadata={"training": json.dumps({"format": FORMAT} | self.state)})
            except SafetensorError as error:
                raise OSError(str(error)) from error

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            The file is damaged, not a checkpoint, or of a newer format.
        """
        tensors, state = _read(path, "training")
        if state.pop("format", FORMAT + 1) > FORMAT:
            msg = f"{path}: made by a newer version of parhelion; update it, or train anew"
            raise DataError(msg)
        return cls(tensors, state)


def read_best(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of the surrogate in a `best` file, and the ``training`` entry of its provenance.

    Raises
    ------
    DataError
        The file is damaged or no surrogate file.
    """
    tensors, header = _read(path, "parhelion")
    return tensors, dict(header["provenance"].get("training", {}))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser as named tensors, ``<i>/<name>``."""
    state: Mapping[int, Mapping[str, Any]] = optimiser.state_dict()["state"]
    return {f"{i}/{k}": v for i, entry in state.items() for k, v in entry.items() if isinstance(v, Tensor)}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo `optimiser_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _read(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})[key])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        msg = f"{path}: not a checkpoint, or damaged ({type(error).__name__}); train anew instead of resuming"
        raise DataError(msg) from error
