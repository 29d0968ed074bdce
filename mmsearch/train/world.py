"""The processes of one run. One process is a world of its own; `torchrun` makes larger ones."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from mmsearch.errors import BadSource

PATIENCE = timedelta(hours=12)  # the others wait while rank 0 evaluates


@dataclass(frozen=True, slots=True)
class World:
    """rank: this process, 0 to size - 1. Rank 0 alone writes and evaluates."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Pass if all processes have the same share of a batch.

        Raises:
            BadSource: they have not.
        """
        if size % self.size:
            raise BadSource(
                f"batch_size is {size}: {self.size} processes share each batch, it must be a "
                f"multiple of {self.size}"
            )

    def gather(self, rows: Tensor) -> Tensor:
        """Return (size * n, ...) from each process's (n, ...), in order of rank; no gradient."""
        if self.size == 1:
            return rows.detach()
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts)

    def own(self, rows: Tensor) -> Tensor:
        """Return this process's share of what `gather` gave."""
        share = len(rows) // self.size
        return rows[self.rank * share : (self.rank + 1) * share]

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= self.size

    def told(self, number: float) -> float:
        """Return rank 0's number, in every process."""
        if self.size == 1:
            return number
        word = torch.tensor([number], dtype=torch.float64)
        if dist.get_backend() == "nccl":
            word = word.cuda()
        dist.broadcast(word, 0)
        return float(word.item())


def join() -> World:
    """Return the world that torchrun's environment names, joining its process group."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group(backend, timeout=PATIENCE)
    return World(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
