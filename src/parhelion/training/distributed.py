"""One process or several: the few things that data-parallel training must agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from parhelion.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """The processes that train together, started by ``torchrun``; one process needs no start.

    Attributes
    ----------
    rank, world
        Number of this process and of all.
    device
        Where this process computes.
    control
        Group for small host-side messages, so that agreeing never waits for a GPU.
    """

    rank: int
    world: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """True for the process that writes and validates."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over the processes, in one message."""
        if self.world == 1:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, elapsed: float, stop: bool) -> tuple[float, bool]:
        """Rank 0's clock, and whether any process was asked to stop: all must take the same decision."""
        if self.world == 1:
            return elapsed, stop
        message = torch.tensor([elapsed if self.first else 0.0, float(stop)], dtype=torch.float64)
        dist.all_reduce(message, group=self.control)
        return float(message[0]), bool(message[1] > 0)

    def share(self, value: float) -> float:
        """Rank 0's value, everywhere."""
        if self.world == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(message, src=0, group=self.control)
        return float(message[0])

    def largest(self, value: float) -> float:
        """Largest value over the processes."""
        if self.world == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(message, op=dist.ReduceOp.MAX, group=self.control)
        return float(message[0])

    def same_start(self, module: nn.Module) -> None:
        """Give every process rank 0's parameters and buffers."""
        if self.world == 1:
            return
        for tensor in (*module.parameters(), *module.buffers()):
            # Broadcasts do not know bool; every other type travels as it is.
            message = tensor.data.to(torch.uint8) if tensor.dtype == torch.bool else tensor.data.contiguous()
            dist.broadcast(message, src=0)
            tensor.data.copy_(message)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier(group=self.control)


@contextmanager
def join(device: Literal["auto", "cpu", "cuda"]) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started (environment RANK, WORLD_SIZE), or be the only one.

    GPUs talk through nccl, CPUs through gloo. A process group that exists is used and left open.

    Raises
    ------
    ConfigError
        A GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        msg = "training: device cuda: this machine has no usable GPU; choose auto or cpu"
        raise ConfigError(msg)
    gpu = device != "cpu" and torch.cuda.is_available()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    where = torch.device("cpu")
    if gpu:
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if world == 1:
        yield Processes(0, 1, where)
        return
    opened = not dist.is_initialized()
    if opened:
        if gpu:
            torch.cuda.set_device(where)
        store, rank, world = next(rendezvous("env://"))
        # torchrun's store outlives the group: a second training would find the addresses of the first and wait for it.
        turn = store.add(f"parhelion/joined/{rank}", 1)
        dist.init_process_group(
            "nccl" if gpu else "gloo", store=PrefixStore(f"parhelion/{turn}", store), rank=rank, world_size=world
        )
    try:
        yield Processes(rank, world, where, dist.new_group(backend="gloo"))
    finally:
        if opened:
            dist.destroy_process_group()
