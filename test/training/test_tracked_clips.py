"""Clips of tracked scans: poses in image mm, subjects apart, evaluation data refused."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import moving_clip

from bench import held_out
from model.persistence import lingering
from model.screen import Screen
from training import tracked
from training.clips import Clip, read_training_clip
from training.tracked import cut, require_trainable, starts, write_tracked_clips
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.errors import InputError
from tusrec.frames import Frames
from tusrec.scans import Scan

SAMPLE = Path(tracked.__file__).parents[1] / "sample"


def scan_of(length: int) -> Scan:
    """A scan of a tool that is held askew to the image."""
    clip = moving_clip(length=length)
    T_tool_from_image = poses.exp(np.array([0.3, -0.5, 1.0, 20, 30, 40]))
    calibration = Calibration(np.diag([*clip.spacing, 1, 1]), T_tool_from_image)
    camera = poses.exp(np.array([1.0, 0.2, 0.1, 100, 200, 300]))
    tracked_poses = camera @ clip.T_first_from_frame @ poses.inverse(T_tool_from_image)
    landmarks = np.empty((0, 3), np.int64)
    return Scan("sub001__RH_rotation", clip.frames, calibration, landmarks, tracked_poses)


def clips_of(scan: Scan, length: int = 16) -> list[Clip]:
    return list(cut(scan, starts(scan, length), length))


def test_motion_is_found_whatever_the_calibration_and_the_camera() -> None:
    (clip,) = clips_of(scan_of(10))
    np.testing.assert_allclose(clip.T_first_from_frame, moving_clip().T_first_from_frame, atol=1e-9)
    np.testing.assert_array_equal(clip.frames, moving_clip().frames)


def test_clips_remember_the_screen_that_the_whole_scan_was_shown_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def find(frames: Frames) -> Screen:
        seen.append(frames.shape[0])
        return Screen(undoing=lingering(0.3))

    monkeypatch.setattr(Screen, "of", find)
    clips = clips_of(scan_of(20), 8)
    assert seen == [20]
    assert all((clip.screen.undoing == lingering(0.3)).all() for clip in clips)


def test_every_step_of_a_scan_is_in_a_clip_and_all_clips_are_long() -> None:
    scan = scan_of(20)
    clips = clips_of(scan, 8)
    assert [clip.seed[1] for clip in clips] == starts(scan, 8) == [0, 7, 12]
    for clip in clips:
        first = clip.seed[1]
        np.testing.assert_array_equal(clip.frames, scan.frames[first : first + 8])
        np.testing.assert_allclose(clip.T_first_from_frame[0], np.eye(4), atol=1e-9)


@given(st.integers(2, 100), st.integers(2, 20))
def test_successive_clips_of_any_scan_share_a_frame(frames: int, length: int) -> None:
    blank = np.zeros((frames, 1, 1), np.uint8)
    scan = Scan("a", blank, scan_of(2).calibration, np.empty((0, 3), np.int64), None)
    firsts = starts(scan, length)
    assert firsts[0] == 0
    assert firsts[-1] + length >= frames
    assert firsts[-1] == max(frames - length, 0)
    assert all(0 < after - before < length for before, after in pairwise(firsts))


def test_a_scan_without_tracked_poses_is_refused() -> None:
    scan = scan_of(4)
    blind = Scan(scan.key, scan.frames, scan.calibration, scan.landmarks, None)
    with pytest.raises(InputError, match="tforms"):
        clips_of(blind)


def test_a_simulated_data_set_kept_for_evaluation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "simulation.json").write_text(json.dumps({"order": {"seed": 900_003}}))
    with pytest.raises(InputError, match="900003"):
        require_trainable(tmp_path)
    (tmp_path / "simulation.json").write_text(json.dumps({"order": {"seed": 3}}))
    require_trainable(tmp_path)


def test_a_simulated_data_set_is_not_cut_into_clips_that_would_count_as_of_people(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "simulation.json").write_text(json.dumps({"order": {"seed": 3}}))
    assert tracked.main([str(tmp_path / "set"), str(tmp_path / "clips")]) == 2
    assert "found the card of a simulated data set" in caplog.text
    assert not (tmp_path / "clips").exists()


def test_a_command_that_left_a_scan_out_says_so_by_its_exit_code(
    tmp_path: Path, make_train_dataset: Callable[..., Path]
) -> None:
    keys = {f"sub{n:03d}__RH_rotation": 3 for n in range(2)}
    data = make_train_dataset(tmp_path / "set", keys)
    assert tracked.main([str(data), str(tmp_path / "clips")]) == 0
    next((data / "frames_transfs" / "001").glob("*.h5")).write_bytes(b"no HDF5")
    assert tracked.main([str(data), str(tmp_path / "clips")]) == 2
    assert len(list((tmp_path / "clips").glob("*/*.safetensors"))) == 1


def test_the_scans_of_the_score_and_of_the_sample_are_refused(tmp_path: Path) -> None:
    inner = held_out.make(tmp_path / "set", [])
    for folder in (inner, tmp_path):
        with pytest.raises(InputError, match=str(held_out.SEED)):
            require_trainable(folder)
    with pytest.raises(InputError, match="for evaluation"):
        require_trainable(SAMPLE.parent)


@pytest.mark.parametrize("text", ["", "{}", '{"order": {"seed": "x"}}', "[1]"])
def test_a_card_that_says_no_seed_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "simulation.json").write_text(text)
    with pytest.raises(InputError, match=r"simulation\.json: found"):
        require_trainable(tmp_path)


def test_a_data_set_in_the_challenges_layout_becomes_clips_by_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked, "require_trainable", lambda _: None)
    count, left_out = write_tracked_clips(SAMPLE, tmp_path)
    assert left_out == 0
    subjects = sorted(path for path in tmp_path.iterdir())
    assert [path.name[:3] for path in subjects] == ["sub"] * len(subjects)
    found = [path for subject in subjects for path in sorted(subject.glob("*.safetensors"))]
    assert len(found) == count > 0
    assert read_training_clip(found[0]).frames.shape[1:] == (480, 640)
