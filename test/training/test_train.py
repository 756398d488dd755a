"""train.py: learns, resumes exactly, refuses what it must, and shares work among processes.

All but two tests train a tiny network (`tiny`), for the loop is the same.
"""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from synthetic import moving_clip, write_clips

import train
from model.baseline import build_network
from model.pose_net import PoseNet
from model.weights import check_weights
from training import checkpoint, journal, keeper, processes
from training.baseline_learner import BaselineLearner
from training.checkpoint import Progress, State, read_average, read_progress, read_tensors
from training.clips import Clip, write_clip
from training.mixture import Mixture
from tusrec.files import LOCK

ROOT = Path(train.__file__).parent
NEVER = "1e9"
STEPS = ["--minutes", NEVER, "--save-minutes", NEVER, "--validate-minutes", NEVER]
ALONE = [sys.executable, "test/training/tiny.py"]
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TOGETHER += ["test/training/tiny.py"]
PATIENCE = 900  # seconds, of a test on a machine that has other work
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def dataset(tmp_path: Path, make_train_dataset: Callable[..., Path]) -> Path:
    return make_train_dataset(tmp_path / "set", {"sub000__RH_rotation": 9})


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(train.LEARNERS, "tusrec", tiny.TinyLearner)
    monkeypatch.setattr(keeper, "estimator_of", lambda _: tiny.TinyEstimator())


def command(clips: Path, output: Path, *more: str) -> list[str]:
    common = ["--device", "cpu", "--data", str(clips), "--output", str(output)]
    return [*common, *STEPS, *more]


def run(clips: Path, output: Path, steps: int, *more: str) -> int:
    return train.main(command(clips, output, "--steps", str(steps), *more))


@pytest.fixture
def start(clips: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a training into tmp_path/run that runs by itself, one thread a process."""
    started: list[subprocess.Popen[bytes]] = []

    def start_by(program: list[str], *more: str) -> subprocess.Popen[bytes]:
        threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
        whole = [*program, *command(clips, tmp_path / "run", *more)]
        started.append(subprocess.Popen(whole, cwd=ROOT, env=os.environ | threads))
        return started[-1]

    yield start_by
    for process in started:
        process.terminate()
        process.wait()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


class TestModels:
    """The loop takes every model."""

    def test_the_pose_network_is_trained_and_measured(
        self, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.undo()
        held_out = write_clips(tmp_path / "held", 1, first_seed=900_000)
        options = ["--clips", "1", "--validate", str(held_out)]
        assert run(clips, tmp_path / "run", 1, *options) == 0
        assert len(list(clips.glob("*.canvas"))) == 1
        weights = read_average(tmp_path / "run" / "checkpoint.safetensors")
        check_weights(PoseNet(), weights, "checkpoint")
        lines = journal.read(tmp_path / "run")
        assert [line["interval"] for line in lines if "held_out" in line] == [1, 4]
        assert all("slope tilt" in line for line in lines if "held_out" in line)
        scored = [line["row"] for line in lines if "scored" in line]
        assert scored == ["identity", "tusrec", "tusrec, better mirror"]

    def test_the_baseline_is_trained(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(BaselineLearner, "clips_a_step", 1)
        small = moving_clip(length=4)
        frames = np.tile(small.frames, (1, 5, 7))[:, :480, :640]
        write_clip(replace(small, frames=frames), tmp_path / "clips" / "0.safetensors")
        assert run(tmp_path / "clips", tmp_path / "run", 1, "--model", "baseline") == 0
        weights = read_average(tmp_path / "run" / "checkpoint.safetensors")
        check_weights(build_network(), weights, "checkpoint")


class TestResuming:
    """A run goes on as if it had never stopped, or not at all."""

    def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
        self, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(train, "rate", lambda *_: 1e-3)  # that of a run depends on its length
        assert run(clips, tmp_path / "whole", 6) == 0
        for steps in (2, 3, 6):
            torch.rand(steps)  # what was drawn elsewhere must not matter
            assert run(clips, tmp_path / "parts", steps) == 0
        whole, parts = (
            read_tensors(tmp_path / n / "checkpoint.safetensors") for n in ("whole", "parts")
        )
        assert_equal(parts, whole)
        progress = read_progress(tmp_path / "parts" / "checkpoint.safetensors")
        assert (progress.step, progress.pairs) == (6, 6 * tiny.PAIRS)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_run_that_is_asked_to_end_saves_its_last_step_and_says_so_as_a_shell_does(
        self, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        draw, before = Mixture.draw, signal.getsignal(number)

        def interrupted(*arguments: Any) -> list[Any]:
            signal.raise_signal(number)
            return draw(*arguments)

        monkeypatch.setattr(Mixture, "draw", interrupted)
        assert run(clips, tmp_path / "run", 5) == 128 + number
        assert read_progress(tmp_path / "run" / "checkpoint.safetensors").step == 1
        assert signal.getsignal(number) is before

    def test_a_second_request_does_not_keep_the_first_from_being_saved(
        self, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = checkpoint.save

        def interrupted(path: Path, state: State) -> None:
            signal.raise_signal(signal.SIGINT)
            save(path, state)

        monkeypatch.setattr(checkpoint, "save", interrupted)
        assert run(clips, tmp_path / "run", 1) == 0
        assert read_progress(tmp_path / "run" / "checkpoint.safetensors").step == 1

    def test_an_interrupt_while_it_is_validated_is_one_line(
        self,
        clips: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def interrupted(*_: Any) -> None:
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(keeper.Keeper, "validate", interrupted)
        assert run(clips, tmp_path / "run", 1) == 130
        assert "interrupted; the same command goes on" in caplog.text

    def test_no_other_run_takes_its_folder_before_it_has_ended(
        self,
        clips: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        others: list[int] = []

        def another(*_: Any) -> None:
            others.append(run(clips, tmp_path / "run", 9, "--seed", "2"))

        monkeypatch.setattr(keeper.Keeper, "validate", another)
        assert run(clips, tmp_path / "run", 1) == 0
        assert others == [2]
        assert f"{tmp_path / 'run'}: another run is writing it" in caplog.text

    def test_a_run_with_another_seed_is_not_gone_on_with(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert run(clips, tmp_path / "run", 1) == 0
        assert run(clips, tmp_path / "run", 2, "--seed", "2") == 2
        assert (
            "found a run with seed 0, expected 2; choose another --output or --seed" in caplog.text
        )

    def test_a_killed_run_has_lost_no_more_than_what_was_not_saved(
        self, clips: Path, tmp_path: Path, start: Start
    ) -> None:
        path = tmp_path / "run" / "checkpoint.safetensors"
        process = start(ALONE, "--save-minutes", "1e-9")
        wait_for(lambda: path.exists() and read_progress(path).step >= 2, process)
        process.kill()
        process.wait()
        step = read_progress(path).step
        assert run(clips, tmp_path / "run", step + 1) == 0
        assert read_progress(path).step == step + 1

    def test_lines_of_steps_that_were_lost_are_not_told_twice(
        self, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "LOG_EVERY", 1)
        assert run(clips, tmp_path / "run", 2) == 0
        journal.write(tmp_path / "run", Progress("tusrec", 0, 3), {"loss": 1.0})
        assert run(clips, tmp_path / "run", 4) == 0
        steps = [line["step"] for line in journal.read(tmp_path / "run") if "loss" in line]
        assert steps == [1, 2, 3, 4]

    def test_a_checkpoint_of_another_model_is_not_overwritten(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "run" / "checkpoint.safetensors"
        checkpoint.save(path, checkpoint.begun(torch.nn.Linear(2, 2), Progress("baseline", 0)))
        before = path.read_bytes()
        assert run(clips, tmp_path / "run", 1) == 2
        assert "model baseline" in caplog.text
        assert path.read_bytes() == before

    def test_a_broken_checkpoint_is_named_and_kept(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "run" / "checkpoint.safetensors"
        path.parent.mkdir()
        path.write_bytes(b"broken")
        assert run(clips, tmp_path / "run", 1) == 4
        assert "checkpoint.safetensors" in caplog.text
        assert path.read_bytes() == b"broken"

    def test_a_gradient_that_is_no_number_ends_the_run_before_it_spoils_the_weights(
        self,
        clips: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert run(clips, tmp_path / "run", 1) == 0
        path = tmp_path / "run" / "checkpoint.safetensors"
        before = path.read_bytes()
        loss = tiny.TinyLearner.loss

        def broken(*arguments: Any) -> tuple[torch.Tensor, int]:
            value, pairs = loss(*arguments)
            return value * float("nan"), pairs

        monkeypatch.setattr(tiny.TinyLearner, "loss", broken)
        assert run(clips, tmp_path / "run", 3) == 1
        assert "step 1: found a gradient of length nan" in caplog.text
        assert path.read_bytes() == before

    def test_a_failure_is_told_before_the_processes_part(
        self,
        clips: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        told: list[str] = []
        monkeypatch.setattr(processes, "leave", lambda: told.append(caplog.text))
        assert run(clips, tmp_path / "run", 1, "--seed", "900000") == 2
        assert "900000" in told[0]

    def test_memory_that_runs_out_is_told_in_one_line_and_the_checkpoint_stays(
        self,
        clips: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert run(clips, tmp_path / "run", 2) == 0
        before = (tmp_path / "run" / checkpoint.FILE).read_bytes()

        def out_of_memory(*_: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")

        monkeypatch.setattr(tiny.TinyLearner, "loss", out_of_memory)
        assert run(clips, tmp_path / "run", 4) == 3
        assert (tmp_path / "run" / checkpoint.FILE).read_bytes() == before
        (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert "found no memory left" in line
        assert "\n" not in line


class TestData:
    """What is trained on, what is held out, and what training begins with."""

    def test_the_log_tells_loss_and_challenge_scores_beside_identity(
        self, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "LOG_EVERY", 1)
        held_out = write_clips(tmp_path / "held", 1, first_seed=900_000)
        assert run(clips, tmp_path / "run", 2, "--validate", str(held_out)) == 0
        lines = journal.read(tmp_path / "run")
        assert [line["step"] for line in lines if "loss" in line] == [1, 2]
        rows = {line["row"]: line for line in lines if "scored" in line}
        assert list(rows) == ["identity", "tusrec", "tusrec, better mirror"]
        assert rows["tusrec"]["LPE"] == pytest.approx(0.3)  # synthetic clips go so far a frame
        assert rows["tusrec"]["final"] == rows["identity"]["final"] == 0.0
        assert rows["tusrec"]["GLE"] is None
        assert (tmp_path / "run" / "curves.png").exists()

    def test_a_run_does_not_see_its_fold_and_is_not_taken_up_with_another(
        self,
        clips: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        seen: set[int] = set()

        def noted(_: tiny.TinyLearner, clip: Clip) -> torch.Tensor:
            seen.add(clip.seed[1])
            return torch.rand(3, 2)

        fold = ["--fold", "1", "--folds", "4"]
        with monkeypatch.context() as patch:
            patch.setattr(tiny.TinyLearner, "prepare", noted)
            patch.setattr(train, "keeper_of", lambda *_: None)  # which prepares what is held out
            assert run(clips, tmp_path / "unsaved", 20, *fold) == 0
        assert seen == {0, 2, 3}
        assert run(clips, tmp_path / "run", 1, *fold) == 0
        assert read_progress(tmp_path / "run" / "checkpoint.safetensors").fold == "1/4"
        assert run(clips, tmp_path / "run", 2) == 2
        assert "fold 1/4" in caplog.text
        assert run(clips, tmp_path / "other", 2, "--fold", "4", "--folds", "4") == 2

    def test_a_data_set_is_trained_on_beside_clips(
        self, clips: Path, dataset: Path, tmp_path: Path
    ) -> None:
        assert run(clips, tmp_path / "run", 1, "--data", str(clips), str(dataset)) == 0
        assert len(list((tmp_path / "run" / "clips").glob("set_*/sub000/*.safetensors"))) == 1
        progress = read_progress(tmp_path / "run" / "checkpoint.safetensors")
        assert progress.data == ["clips", "set (tracked)"]
        assert progress.people == [0]
        start = str(tmp_path / "run" / "checkpoint.safetensors")
        assert run(clips, tmp_path / "later", 1, "--from", start) == 0
        assert read_progress(tmp_path / "later" / "checkpoint.safetensors").people == [0]

    def test_what_is_not_there_to_validate_on_is_named_before_data_sets_are_cut(
        self,
        clips: Path,
        tmp_path: Path,
        dataset: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        more = ("--data", str(dataset), "--validate", str(tmp_path / "2025x"))
        assert run(clips, tmp_path / "run", 1, *more) == 2
        assert "2025x: found nothing" in caplog.text
        assert not (tmp_path / "run" / "clips").exists()

    def test_what_is_trained_on_is_not_validated_on_which_is_told_before_data_sets_are_cut(
        self,
        clips: Path,
        tmp_path: Path,
        dataset: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        more = ("--data", str(dataset), "--validate", str(dataset))
        assert run(clips, tmp_path / "run", 1, *more) == 2
        assert f"--validate {dataset}: found it in --data too" in caplog.text
        assert not (tmp_path / "run" / "clips").exists()

    def test_a_place_that_takes_no_files_is_told_before_data_sets_are_cut(
        self,
        clips: Path,
        tmp_path: Path,
        dataset: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        (tmp_path / "file").touch()
        more = ("--data", str(dataset), "--cache", str(tmp_path / "cache"))
        assert run(clips, tmp_path / "file", 1, *more) == 2
        assert "file: cannot write" in caplog.text
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize(
        "case",
        [
            ("data", ["--data", "data"]),
            ("simulation.json", ["--data", "folder"]),
            ("validate", ["--validate", "validate"]),
            ("start", ["--from", "start"]),
            (checkpoint.FILE, []),
        ],
    )
    def test_what_may_not_be_looked_for_is_told_in_one_line(
        self,
        clips: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        case: tuple[str, list[str]],
    ) -> None:
        closed, options = case
        (tmp_path / "folder").mkdir()
        stat = Path.stat

        def refusing(path: Path, **more: bool) -> os.stat_result:
            if path.name == closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return stat(path, **more)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(Path, "stat", refusing)
        assert run(clips, tmp_path / "run", 1, *options) == 2
        assert f"{closed}: cannot read (Permission denied)" in caplog.text

    def test_fine_tuning_begins_with_trained_weights_at_a_lower_rate(
        self, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert run(clips, tmp_path / "first", 2) == 0
        first = tmp_path / "first" / "checkpoint.safetensors"
        begun: list[dict[str, torch.Tensor]] = []
        rates: list[float] = []
        rate, after_step = train.rate, keeper.Keeper.after_step

        def none(*arguments: Any) -> float:
            rates.append(rate(*arguments))
            return 0.0

        def noted(kept: keeper.Keeper, state: State, *rest: Any) -> None:
            begun.append({name: p.detach().clone() for name, p in state.network.named_parameters()})
            after_step(kept, state, *rest)

        monkeypatch.setattr(train, "rate", none)
        monkeypatch.setattr(keeper.Keeper, "after_step", noted)
        assert run(clips, tmp_path / "tuned", 1, "--from", str(first)) == 0
        assert run(clips, tmp_path / "anew", 1) == 0
        trained = read_average(first)
        assert_equal(begun[0], {name: trained[name] for name in begun[0]})
        assert rates[0] == pytest.approx(train.FINE_TUNING * rates[1])
        progress = read_progress(tmp_path / "tuned" / "checkpoint.safetensors")
        assert (progress.step, progress.origin) == (1, "first (2 steps)")

    def test_a_run_with_another_start_is_not_gone_on_with(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert run(clips, tmp_path / "first", 1) == 0
        first = tmp_path / "first" / "checkpoint.safetensors"
        assert run(clips, tmp_path / "run", 1) == 0
        assert run(clips, tmp_path / "run", 2, "--from", str(first)) == 2
        assert f"found a run with from none, expected {first}" in caplog.text
        assert run(clips, tmp_path / "tuned", 1, "--from", str(first)) == 0
        assert run(clips, tmp_path / "tuned", 2) == 2
        assert "found a run with from first (1 steps), expected none" in caplog.text
        other = tmp_path / "other" / "checkpoint.safetensors"
        assert run(clips, tmp_path / "tuned", 2, "--from", str(other)) == 2
        assert f"found a run with from first (1 steps), expected {other}" in caplog.text

    def test_a_run_is_gone_on_with_whose_start_has_gone_on_or_is_gone(
        self, clips: Path, tmp_path: Path
    ) -> None:
        assert run(clips, tmp_path / "first", 1) == 0
        first, tuned = (tmp_path / name / checkpoint.FILE for name in ("first", "tuned"))
        assert run(clips, tuned.parent, 1, "--from", str(first)) == 0
        state = checkpoint.begun(
            tiny.TinyLearner(torch.device("cpu")).network, Progress("tusrec", 0)
        )
        state.progress.step = 2
        checkpoint.save(first, state)
        assert run(clips, tuned.parent, 2, "--from", str(first)) == 0
        first.unlink()
        assert run(clips, tuned.parent, 3, "--from", str(first)) == 0
        progress = read_progress(tuned)
        assert (progress.step, progress.origin) == (3, "first (1 steps)")
        assert progress.before == {"clips": ""}

    def test_a_run_is_not_gone_on_with_on_data_of_which_its_start_saw_what_it_holds_out(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        more, first = write_clips(tmp_path / "more"), str(tmp_path / "first" / checkpoint.FILE)
        assert run(more, tmp_path / "first", 1) == 0
        options = ("--fold", "1", "--folds", "4", "--from", first)
        assert run(clips, tmp_path / "run", 1, *options) == 0
        assert run(clips, tmp_path / "run", 2, *options, "--data", str(clips), str(more)) == 2
        assert "found weights trained on more with fold none, expected 1/4" in caplog.text

    def test_a_run_that_was_complete_has_not_seen_what_it_is_given_then(
        self, clips: Path, tmp_path: Path
    ) -> None:
        assert run(clips, tmp_path / "run", 1) == 0
        more = write_clips(tmp_path / "more", 2)
        assert run(clips, tmp_path / "run", 1, "--data", str(clips), str(more)) == 0
        assert read_progress(tmp_path / "run" / "checkpoint.safetensors").data == ["clips"]

    def test_weights_that_are_not_there_are_named_before_anything_is_written(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert run(clips, tmp_path / "run", 1, "--from", str(tmp_path / "no.safetensors")) == 4
        assert "no.safetensors: found nothing, expected a weight file" in caplog.text
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]

    def test_weights_without_their_manifest_are_told_from_checkpoints(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        lone = tmp_path / "lone.safetensors"
        save_file({"weight": torch.zeros(1)}, lone)
        assert run(clips, tmp_path / "run", 1, "--from", str(lone)) == 4
        assert "lone.safetensors: found tensors of no run, expected a checkpoint" in caplog.text

    def test_seeds_and_clips_kept_for_evaluation_are_refused(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert run(clips, tmp_path / "run", 1, "--seed", "900000") == 2
        held_out = write_clips(tmp_path / "held", 2, first_seed=900_001)
        assert run(held_out, tmp_path / "run", 1) == 2
        assert "900001" in caplog.text

    def test_a_single_frame_to_validate_on_is_refused_before_training(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert run(clips, tmp_path / "run", 1, "--validate-frames", "1") == 2
        assert "--validate-frames: found 1, expected 0 for all, or 2 and more" in caplog.text

    def test_a_clip_that_the_model_cannot_take_is_named(
        self, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert run(clips, tmp_path / "run", 1, "--model", "baseline") == 2
        assert f"{clips}/" in caplog.text
        assert ".safetensors: found frames of (96, 96), expected (480, 640)" in caplog.text


class TestTwoProcesses:
    """torchrun with gloo on the CPU."""

    def test_they_train_one_model_together_and_write_one_log(
        self, clips: Path, tmp_path: Path, start: Start
    ) -> None:
        held_out = write_clips(tmp_path / "held", 1, 900_000)
        process = start(TOGETHER, "--steps", "3", "--validate", str(held_out))
        assert process.wait(timeout=PATIENCE) == 0
        assert_equal(load_file(tmp_path / "run/rank_0"), load_file(tmp_path / "run/rank_1"))
        progress = read_progress(tmp_path / "run" / "checkpoint.safetensors")
        assert (progress.step, progress.pairs) == (3, 2 * 3 * tiny.PAIRS)
        scored = [line["row"] for line in journal.read(tmp_path / "run") if "scored" in line]
        assert scored == ["identity", "tusrec", "tusrec, better mirror"]
        assert run(clips, tmp_path / "alone", 3) == 0
        alone, together = (
            read_average(tmp_path / n / "checkpoint.safetensors") for n in ("alone", "run")
        )
        assert any(not torch.equal(alone[name], value) for name, value in together.items())

    def test_they_have_no_thread_left_that_the_end_of_the_process_would_find_at_work(
        self, tmp_path: Path, start: Start
    ) -> None:
        assert start(TOGETHER, "--steps", "1").wait(timeout=PATIENCE) == 0
        for rank in "01":
            assert "gloo" not in (tmp_path / "run" / f"threads_{rank}").read_text()

    def test_a_request_to_one_ends_both_and_clocks_that_differ_do_not_part_them(
        self, tmp_path: Path, start: Start
    ) -> None:
        """The second one's clock says that an hour of training is over after seconds."""
        process = start(TOGETHER, "--minutes", "60", "--save-minutes", "0.1")
        path, second = tmp_path / "run" / "checkpoint.safetensors", tmp_path / "run" / "pid_1"
        wait_for(lambda: path.exists() and second.exists(), process)
        os.kill(int(second.read_text()), signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 0
        assert_equal(load_file(tmp_path / "run/rank_0"), load_file(tmp_path / "run/rank_1"))
        assert 0 < read_progress(path).minutes < 5


def test_parts_that_are_held_stay_as_they_were_and_the_others_learn(
    clips: Path, tmp_path: Path
) -> None:
    assert run(clips, tmp_path / "first", 2) == 0
    start = tmp_path / "first" / checkpoint.FILE
    held = ("--hold", "0", "1", "--from", str(start))
    assert run(clips, tmp_path / "second", 3, *held) == 0
    before = read_average(start)
    after = read_tensors(tmp_path / "second" / checkpoint.FILE)
    for name, value in before.items():
        same = torch.equal(after[f"network.{name}"], value)
        assert same == name.startswith(("0.", "1."))


def test_a_part_that_the_network_does_not_have_cannot_be_held(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(clips, tmp_path / "run", 1, "--hold", "stem") == 2
    assert "--hold: found stem, expected parts of the network such as 0, 1" in caplog.text
