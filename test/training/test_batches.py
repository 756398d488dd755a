"""Batches: the same for a step whoever reads them, and wherever reading begins."""

import os
import signal
from itertools import islice
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from synthetic import write_clips

from training.batches import Batches, from_step
from training.folds import Fold
from training.mixture import Mixture
from training.sources import find_source, mixture_of


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    source = find_source(write_clips(tmp_path / "clips", 6), tmp_path)
    return mixture_of([source], Fold(), lambda clip: clip.seed[1], capacity=3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_taken_up_again_is_given_the_same_batches(mixture: Mixture, workers: int) -> None:
    batches = Batches(mixture, 4, seed=1, rank=0)
    whole = list(islice(from_step(batches, 0, 0), 6))
    assert list(islice(from_step(batches, 3, workers), 3)) == whole[3:]
    assert len({tuple(batch) for batch in whole}) > 1


def test_processes_are_given_different_batches(mixture: Mixture) -> None:
    first, second = (
        list(islice(from_step(Batches(mixture, 4, 1, rank), 0, 0), 4)) for rank in (0, 1)
    )
    assert first != second


def test_processes_that_read_ahead_outlive_a_request_to_end_that_goes_to_all(
    mixture: Mixture,
) -> None:
    before = active_children()
    upcoming = from_step(Batches(mixture, 4, 1, 0), 0, 2)
    first = [next(upcoming), next(upcoming)]  # one of each process
    for child in set(active_children()).difference(before):
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(child.pid or 0, number)
    rest = [next(upcoming) for _ in range(4)]
    assert first + rest == list(islice(from_step(Batches(mixture, 4, 1, 0), 0, 0), 6))


def test_processes_that_read_ahead_keep_no_files_open_for_clips_that_they_keep(
    tmp_path: Path,
) -> None:
    source = find_source(write_clips(tmp_path / "clips", 24), tmp_path)
    mixture = mixture_of([source], Fold(), lambda clip: torch.from_numpy(clip.frames), capacity=24)
    before = active_children()
    upcoming = from_step(Batches(mixture, 4, 1, 0), 0, 1)
    next(upcoming)
    (child,) = set(active_children()).difference(before)
    files = Path(f"/proc/{child.pid}/fd")
    begun = len(list(files.iterdir()))
    for _ in range(20):
        next(upcoming)
    assert len(list(files.iterdir())) < begun + 6
