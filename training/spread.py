"""Work spread over several processes of this machine, which end with the one that began them."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import TypeVar

import torch

from tusrec.errors import OutOfMemoryError

T = TypeVar("T")


def spread(work: Callable[[T], None], items: Iterable[T], jobs: int) -> None:
    """Do `work` on every item in so many processes; what one of them raises ends all.

    work: a function of a module, or a `partial` of one. One job is done in this process.
    Raises OutOfMemoryError if a process was killed.
    """
    if jobs == 1:
        deque(map(work, items), maxlen=0)
        return
    # Forked, they would share locks of torch's threads, which may be held just then.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, context, _begin) as pool:
            deque(pool.map(work, items), maxlen=0)
    except BrokenProcessPool as error:
        raise OutOfMemoryError(
            f"found one of {jobs} processes killed, most likely out of memory, expected them to "
            "end by themselves; give fewer --jobs (make: MAKERS=); what is done stays done"
        ) from error


def _begin() -> None:
    """One core each; and an end when the first process was killed, for which a pool would wait."""
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent  # of a process that was spawned
    parent.join()
    os._exit(1)
