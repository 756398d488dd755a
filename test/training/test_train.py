"""train.py: learns, resumes exactly, refuses what it must, and shares work among processes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import moving_clip, write_clips

import train
from model.baseline import build_network
from model.weights import check_weights
from training import checkpoint
from training.baseline_learner import BaselineLearner
from training.checkpoint import Progress, read_average, read_progress, read_tensors
from training.clips import write_clip
from training.mixture import Mixture

ROOT = Path(train.__file__).parent
NEVER = "1e9"
STEPS = ["--minutes", NEVER, "--save-minutes", NEVER, "--validate-minutes", NEVER]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(clips: Path, output: Path, steps: int, *more: str) -> int:
    arguments = [
        "--device",
        "cpu",
        "--data",
        str(clips),
        "--output",
        str(output),
        "--steps",
        str(steps),
    ]
    return train.main([*arguments, *STEPS, *more])


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "rate", lambda *_: 1e-3)  # that of a run depends on its length
    assert run(clips, tmp_path / "whole", 4) == 0
    assert run(clips, tmp_path / "parts", 2) == 0
    assert run(clips, tmp_path / "parts", 4) == 0
    whole, parts = (
        read_tensors(tmp_path / n / "checkpoint.safetensors") for n in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], rtol=0, atol=0, msg=name)
    progress = read_progress(tmp_path / "parts" / "checkpoint.safetensors")
    assert (progress.step, progress.pairs) == (4, 160)


def test_a_run_that_is_asked_to_end_saves_its_last_step(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Mixture.draw

    def interrupted(*arguments: Any) -> list[Any]:
        signal.raise_signal(signal.SIGTERM)
        return draw(*arguments)

    monkeypatch.setattr(Mixture, "draw", interrupted)
    assert run(clips, tmp_path / "run", 5) == 0
    assert read_progress(tmp_path / "run" / "checkpoint.safetensors").step == 1


def test_the_baseline_trains_in_the_same_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaselineLearner, "clips_a_step", 1)
    small = moving_clip(length=4)
    frames = np.tile(small.frames, (1, 5, 7))[:, :480, :640]
    write_clip(replace(small, frames=frames), tmp_path / "clips" / "0.safetensors")
    assert run(tmp_path / "clips", tmp_path / "run", 1, "--model", "baseline") == 0
    weights = read_average(tmp_path / "run" / "checkpoint.safetensors")
    check_weights(build_network(), weights, "checkpoint")


def test_the_log_tells_loss_and_held_out_error(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    held_out = write_clips(tmp_path / "held", 1, first_seed=900_000)
    assert run(clips, tmp_path / "run", 2, "--validate", str(held_out)) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert [line["interval"] for line in lines if "held_out" in line] == [1, 4]
    assert all("slope tilt" in line for line in lines if "held_out" in line)


def test_seeds_and_clips_kept_for_evaluation_are_refused(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(clips, tmp_path / "run", 1, "--seed", "900000") == 2
    held_out = write_clips(tmp_path / "held", 2, first_seed=900_001)
    assert run(held_out, tmp_path / "run", 1) == 2
    assert "900001" in caplog.text


def test_a_checkpoint_of_another_model_is_not_overwritten(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = torch.nn.Linear(2, 2)
    path = tmp_path / "run" / "checkpoint.safetensors"
    average = checkpoint.averaged(network)
    optimizer = torch.optim.AdamW(network.parameters())
    checkpoint.save(path, Progress("baseline", 0), network, average, optimizer)
    before = path.read_bytes()
    assert run(clips, tmp_path / "run", 1) != 0
    assert path.read_bytes() == before


def test_a_broken_checkpoint_is_named_and_kept(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"broken")
    assert run(clips, tmp_path / "run", 1) == 4
    assert "checkpoint.safetensors" in caplog.text
    assert path.read_bytes() == b"broken"


def test_two_processes_train_one_model_together(clips: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["train.py", "--data", str(clips), "--output", str(tmp_path / "run")]
    command += ["--device", "cpu", "--steps", "2", *STEPS]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    path = tmp_path / "run" / "checkpoint.safetensors"
    progress = read_progress(path)
    assert (progress.step, progress.pairs) == (2, 160)
    assert all(torch.isfinite(value).all() for value in read_average(path).values())
    assert run(clips, tmp_path / "alone", 2) == 0
    alone = read_average(tmp_path / "alone" / "checkpoint.safetensors")
    assert any(not torch.equal(alone[n], v) for n, v in read_average(path).items())
