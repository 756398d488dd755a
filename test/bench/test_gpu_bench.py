"""The benchmark of a GPU, as far as a CPU can stand for one."""

import re
import subprocess
import sys

import pytest
import torch

from bench.gpu import agreement, training_pace
from bench.pose_model import CPU


def test_a_device_agrees_with_itself() -> None:
    exact, fast = re.findall(r"([\d.]+) mm at most", agreement(CPU))
    assert float(exact) == 0
    assert float(fast) < 0.05


def test_training_is_timed_on_batches_of_the_clips_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda _: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3e9)
    told = training_pace(CPU, 1, steps=1)
    assert re.search(r"1 clips a batch: \d+ ms a step of 40 pairs, \d+ pairs/s; 3.0 GB", told)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --device cuda: a GPU was asked for")
    assert done.stderr.count("\n") == 1
