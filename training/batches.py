"""Batches by their step, read ahead by other processes where a GPU would wait for them."""

import pickle
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, get_worker_info

from training.mixture import Mixture
from tusrec.errors import InputError, TusrecError

LAST = 10**12  # step, further than any run goes
AHEAD = 2  # batches of each process that reads ahead
SHARED_MEMORY = Path("/dev/shm")
Draw = Callable[[Sequence[Any], np.random.Generator], Any]


class Batches(Dataset[Any]):
    """The batch of each step. It depends on seed, step, rank and the number of clips alone, so that
    a run that is taken up again goes on alike.

    draw: makes a batch of prepared clips, in memory of its own: what is sent from one process to
    another stays in shared memory, and a file open for each.
    """

    def __init__(
        self, mixture: Mixture, draw: Draw, clips_a_step: int, seed: int, rank: int
    ) -> None:
        self._mixture, self._draw, self._clips_a_step = mixture, draw, clips_a_step
        self._seed, self._rank = seed, rank

    def __getitem__(self, step: int) -> Any:
        """The batch of a step; from a process that reads ahead, it or the error that is met.

        Raised there, an error would come with pages of that process's calls.
        """
        rng = np.random.default_rng([self._seed, step, self._rank])
        try:
            return self._draw(self._mixture.draw(self._clips_a_step, rng), rng)
        except TusrecError as error:
            if not get_worker_info():
                raise
            return error


@contextmanager
def from_step(batches: Batches, step: int, workers: int) -> Iterator[Iterator[Any]]:
    """Batches of `step` and all after it; with 0 workers each is read when it is asked for.

    Processes that read ahead end with the context: at the end of this one they would be sent
    SIGTERM, which they do not heed, and waited for.
    Raises InputError if their batches do not fit into shared memory.
    """
    if workers:
        _require_room(len(pickle.dumps(batches[step])), workers)
    loader = DataLoader(
        batches,
        sampler=range(step, LAST),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    reading = iter(loader)
    try:
        yield map(_sound, reading)
    finally:
        if workers:
            reading._shutdown_workers()  # type: ignore[attr-defined]


def _require_room(size: int, workers: int) -> None:
    """Else nothing tells it: a process that cannot send its batch is waited for."""
    needed = size * (AHEAD * workers + 1)
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < needed:
        raise InputError(
            f"{SHARED_MEMORY}: found {free / 1e6:.0f} MB free, expected {needed / 1e6:.0f} for the "
            f"batches of {workers} processes that read ahead; give a container more "
            "(docker run --shm-size 1g), or train with fewer --workers or --clips"
        )


def _sound(found: Any) -> Any:
    if isinstance(found, TusrecError):
        raise found
    return found


def _leave_signals_to_the_parent(_: int) -> None:
    """torchrun and SLURM send a whole group SIGTERM; the step at hand still wants its clips."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
