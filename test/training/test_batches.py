"""Batches: the same for a step whoever reads them, and wherever reading begins."""

from itertools import islice
from pathlib import Path

import pytest
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
