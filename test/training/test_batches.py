"""Batches: the same for a step whoever reads them, and wherever reading begins."""

import os
import shutil
import signal
from collections.abc import Sequence
from copy import deepcopy
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import moving_clip, write_clips

from model.device import is_out_of_memory
from training.batches import Batches, from_step
from training.folds import Fold
from training.mixture import Mixture
from training.pose_learner import draw_batch
from training.prepared import prepare
from training.sources import find_source, mixture_of
from tusrec.errors import InputError


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    source = find_source(write_clips(tmp_path / "clips", 6), tmp_path)
    return mixture_of([source], Fold(), lambda clip: clip.seed[1], capacity=3)


def as_they_are(clips: Sequence[Any], _: np.random.Generator) -> list[Any]:
    """A batch of all that is drawn, in memory of its own."""
    return deepcopy(list(clips))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_taken_up_again_is_given_the_same_batches(mixture: Mixture, workers: int) -> None:
    batches = Batches(mixture, as_they_are, 4, seed=1, rank=0)
    whole = first(6, batches)
    with from_step(batches, 3, workers) as upcoming:
        assert list(islice(upcoming, 3)) == whole[3:]
    assert len({tuple(batch) for batch in whole}) > 1


def first(count: int, batches: Batches) -> list[Any]:
    """The first batches, read by this process."""
    with from_step(batches, 0, 0) as upcoming:
        return list(islice(upcoming, count))


def test_processes_are_given_different_batches(mixture: Mixture) -> None:
    assert first(4, Batches(mixture, as_they_are, 4, 1, rank=0)) != first(
        4, Batches(mixture, as_they_are, 4, 1, rank=1)
    )


def test_processes_that_read_ahead_outlive_a_request_to_end_that_goes_to_all(
    mixture: Mixture,
) -> None:
    before = active_children()
    with from_step(Batches(mixture, as_they_are, 4, 1, 0), 0, 2) as upcoming:
        begun = [next(upcoming), next(upcoming)]  # one of each process
        for child in set(active_children()).difference(before):
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(child.pid or 0, number)
        rest = [next(upcoming) for _ in range(4)]
    assert begun + rest == first(6, Batches(mixture, as_they_are, 4, 1, 0))


def test_processes_that_read_ahead_end_with_what_they_read_for_though_an_error_is_remembered(
    mixture: Mixture,
) -> None:
    """Its traceback keeps all that was at work, and at its end a process waits for its own."""

    def fail() -> None:
        with from_step(Batches(mixture, as_they_are, 4, 1, 0), 0, 2) as upcoming:
            next(upcoming)
            raise RuntimeError("out of memory")

    before = active_children()
    with pytest.raises(RuntimeError) as remembered:
        fail()
    assert remembered.traceback
    assert set(active_children()) <= set(before)


def test_processes_that_read_ahead_keep_no_files_open_for_clips_that_they_keep(
    tmp_path: Path,
) -> None:
    source = find_source(write_clips(tmp_path / "clips", 24), tmp_path)
    mixture = mixture_of([source], Fold(), lambda clip: torch.from_numpy(clip.frames), capacity=24)
    before = active_children()
    with from_step(Batches(mixture, as_they_are, 4, 1, 0), 0, 1) as upcoming:
        next(upcoming)
        (child,) = set(active_children()).difference(before)
        files = Path(f"/proc/{child.pid}/fd")
        begun = len(list(files.iterdir()))
        for _ in range(20):
            next(upcoming)
        assert len(list(files.iterdir())) < begun + 6


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_clip_is_named_in_one_line_whoever_reads_it(tmp_path: Path, workers: int) -> None:
    source = find_source(write_clips(tmp_path / "clips", 1), tmp_path)
    mixture = mixture_of([source], Fold(), lambda clip: clip.seed, capacity=3)
    (broken,) = source.clips()
    broken.write_bytes(b"cut short")
    with (
        pytest.raises(InputError) as found,
        from_step(Batches(mixture, as_they_are, 2, 1, 0), 0, workers) as upcoming,
    ):
        next(upcoming)
    assert str(found.value).startswith(str(broken))
    assert "\n" not in str(found.value)


def test_a_process_that_reads_ahead_and_is_killed_counts_as_memory_that_ran_out(
    mixture: Mixture,
) -> None:
    before = active_children()

    def read_on() -> None:
        with from_step(Batches(mixture, as_they_are, 4, 1, 0), 0, 1) as upcoming:
            next(upcoming)
            (child,) = set(active_children()).difference(before)
            os.kill(child.pid or 0, signal.SIGKILL)
            for _ in range(10):
                next(upcoming)

    with pytest.raises(RuntimeError) as found:
        read_on()
    assert is_out_of_memory(found.value)


def test_too_little_shared_memory_is_told_before_it_is_waited_for(
    mixture: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(Path("/"))._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with (
        pytest.raises(InputError, match=r"/dev/shm: found 0 MB free.*--shm-size"),
        from_step(Batches(mixture, as_they_are, 4, 1, 0), 0, 2),
    ):
        pass


def test_what_is_drawn_shares_no_memory_with_what_it_is_drawn_from() -> None:
    prepared = [prepare(moving_clip(length=16))]
    batch = draw_batch(prepared, np.random.default_rng(0))
    assert not np.shares_memory(batch.levels.numpy(), prepared[0].levels.numpy())
