"""Data parallel training over several processes, started by ``torchrun``.

A step's samples are dealt to the processes; gradients are averaged over all of them, so that R processes do what one
does with the same batch. Gradients, running statistics and the wish to stop travel in one message a step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from .errors import InputError


@dataclass(frozen=True)
class World:
    """This process among all that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, items: Sequence[int]) -> Sequence[int]:
        """The part of a step's samples that this process works on."""
        return items[self.rank :: self.size]

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place, with one message."""
        listed = list(tensors)
        if self.size == 1 or not listed:
            return
        flat = torch.cat([tensor.detach().reshape(-1).to(torch.float64) for tensor in listed])
        distributed.all_reduce(flat)
        start = 0
        for tensor in listed:
            tensor.detach().copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def close(self) -> None:
        if self.size > 1:
            distributed.destroy_process_group()


def leads() -> bool:
    """Whether this process will lead, of those that ``torchrun`` has started; without it, it does."""
    return int(os.environ.get("RANK", "0")) == 0


def join_world(batch_size: int, device: torch.device) -> World:
    """The world that ``torchrun`` describes in the environment; a world of one without it.

    Raises
    ------
    InputError : the batch cannot be dealt out evenly.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if batch_size % size:
        raise InputError(
            f"A batch of {batch_size} cannot be dealt to {size} processes.",
            f"Set --batch-size to a multiple of {size}.",
        )
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    return World(distributed.get_rank(), distributed.get_world_size())
