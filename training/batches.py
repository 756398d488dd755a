"""Batches by their step, read ahead by other processes where a GPU would wait for them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from training.mixture import Mixture

LAST = 10**12  # step, further than any run goes


class Batches(Dataset[list[Any]]):
    """Prepared clips of each step. They depend on seed, step and rank alone, so that a run that is
    taken up again goes on alike."""

    def __init__(self, mixture: Mixture, clips_a_step: int, seed: int, rank: int) -> None:
        self._mixture, self._clips_a_step = mixture, clips_a_step
        self._seed, self._rank = seed, rank

    def __getitem__(self, step: int) -> list[Any]:
        """The clips of a step."""
        rng = np.random.default_rng([self._seed, step, self._rank])
        return self._mixture.draw(self._clips_a_step, rng)


def from_step(batches: Batches, step: int, workers: int) -> Iterator[list[Any]]:
    """Batches of `step` and all after it; with 0 workers each is read when it is asked for."""
    loader = DataLoader(batches, sampler=range(step, LAST), batch_size=None, num_workers=workers)
    return iter(loader)
