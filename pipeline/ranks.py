"""Scans spread by `torchrun`: each rank takes every n-th scan, rank 0 writes the summary."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from torch import distributed

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=6)  # the challenge's limit for all scans


@dataclass(frozen=True)
class Rank:
    """This process among those that torchrun started; alone, it is rank 0 of 1."""

    index: int = 0
    count: int = 1
    local_index: int = 0

    def share(self, items: list[T]) -> list[T]:
        """The items of this rank."""
        return items[self.index :: self.count]

    def gather(self, items: list[T]) -> list[T]:
        """The items of all ranks, in every rank; waits for the slowest."""
        if self.count == 1:
            return items
        shares: list[list[T]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(shares, items)
        return [item for share in shares for item in share]


@contextmanager
def joined() -> Iterator[Rank]:
    """Join the other ranks if torchrun started this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Rank()
        return
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        local = int(os.environ["LOCAL_RANK"])
        yield Rank(distributed.get_rank(), distributed.get_world_size(), local)
    finally:
        distributed.destroy_process_group()
