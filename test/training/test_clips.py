"""Clip files: what is written is read, what is broken is named, what is held out is refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from synthetic import moving_clip, write_clips

from model.persistence import lingering
from model.screen import Screen
from training.clips import Clip, read_clip, read_training_clip, write_clip
from training.mixture import Mixture
from tusrec.errors import InputError, OutputError


def mixture(prepare: Callable[[Clip], Any], capacity: int, *folders: Path) -> Mixture:
    """Draws from all clips of each folder."""
    found = [sorted(folder.glob("*.safetensors")) for folder in folders]
    return Mixture([partial(list, paths) for paths in found], prepare, capacity)


def test_a_clip_is_read_as_it_was_written(tmp_path: Path) -> None:
    clip = moving_clip((3, 4))
    write_clip(clip, tmp_path / "a" / "clip.safetensors")
    found = read_clip(tmp_path / "a" / "clip.safetensors")
    np.testing.assert_array_equal(found.frames, clip.frames)
    np.testing.assert_array_equal(found.T_first_from_frame, clip.T_first_from_frame)
    assert found.spacing == clip.spacing
    assert found.seed == (3, 4)
    assert not list(tmp_path.rglob("*.part"))


def test_a_clip_remembers_the_screen_that_its_scan_was_shown_on(tmp_path: Path) -> None:
    path, clip = tmp_path / "clip.safetensors", moving_clip()
    write_clip(clip, path)
    assert read_clip(path).screen.undoing.size == read_clip(path).screen.clutter.size == 0
    clutter = np.full(clip.frames.shape[1:], -3, np.int8)
    write_clip(replace(clip, screen=Screen(clutter, lingering(0.3))), path)
    np.testing.assert_array_equal(read_clip(path).screen.undoing, lingering(0.3))
    np.testing.assert_array_equal(read_clip(path).screen.clutter, clutter)


@pytest.mark.parametrize("spoilt", ["one frame", "a pose of no number"])
def test_a_clip_that_no_motion_can_be_learnt_from_is_named(spoilt: str, tmp_path: Path) -> None:
    clip = moving_clip()
    T = clip.T_first_from_frame.copy()
    T[1, 0, 3] = np.nan
    bad = {
        "one frame": replace(clip, frames=clip.frames[:1], T_first_from_frame=np.eye(4)[None]),
        "a pose of no number": replace(clip, T_first_from_frame=T),
    }
    write_clip(bad[spoilt], tmp_path / "clip.safetensors")
    with pytest.raises(InputError, match="expected uint8"):
        read_clip(tmp_path / "clip.safetensors")


@pytest.mark.parametrize(
    ("screen", "named"),
    [
        (Screen(undoing=np.ones((2, 2))), r"undoing \(2, 2\)"),
        (Screen(np.ones((2, 3), np.int8)), r"clutter int8 \(2, 3\)"),
        (Screen(np.ones((480, 640), np.float32)), r"clutter float32"),
    ],
)
def test_a_screen_that_is_none_is_named(screen: Screen, named: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    write_clip(replace(moving_clip(), screen=screen), path)
    with pytest.raises(InputError, match=named):
        read_clip(path)


def test_clips_kept_for_evaluation_are_not_trained_on(tmp_path: Path) -> None:
    write_clips(tmp_path, 1, first_seed=900_000)
    path = tmp_path / "0.safetensors"
    assert read_clip(path).seed == (900_000, 0)
    with pytest.raises(InputError, match="900000"):
        read_training_clip(path)
    with pytest.raises(InputError, match="900000"):
        mixture(lambda clip: clip, 9, tmp_path).draw(1, np.random.default_rng(0))


def test_a_broken_clip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    path.write_bytes(b"no clip")
    with pytest.raises(InputError, match=r"clip\.safetensors"):
        read_clip(path)
    save_file({"frames": np.zeros((2, 4, 4))}, path)
    with pytest.raises(InputError, match="expected a clip"):
        read_clip(path)


def test_frames_and_poses_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    clip = moving_clip()
    T, spacing = clip.T_first_from_frame[1:].copy(), np.ones(2)
    tensors: dict[str, NDArray[Any]] = {"frames": clip.frames, "T_first_from_frame": T}
    save_file(tensors | {"spacing": spacing}, path, {"seed": "1 0"})
    with pytest.raises(InputError, match="poses"):
        read_clip(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the clip"):
        write_clip(moving_clip(), tmp_path / "file" / "clip.safetensors")


def test_each_batch_mixes_all_folders_however_many_clips_they_hold(tmp_path: Path) -> None:
    folders = [write_clips(tmp_path / "a", 1, first_seed=1), write_clips(tmp_path / "b", 5, 2)]
    mixed = mixture(lambda clip: clip.seed[0], 100, *folders)
    for seed in range(5):
        assert sorted(mixed.draw(4, np.random.default_rng(seed))) == [1, 1, 2, 2]
    assert mixed.count() == 6


def test_no_more_clips_are_kept_than_allowed(tmp_path: Path) -> None:
    prepared: list[int] = []
    mixed = mixture(lambda clip: prepared.append(clip.seed[1]), 2, write_clips(tmp_path, 4))
    rng = np.random.default_rng(0)
    for _ in range(30):
        mixed.draw(4, rng)
        assert len(mixed._kept) <= 2
    assert set(prepared) == {0, 1, 2, 3}
    assert len(prepared) > 4


def test_a_clip_that_there_is_no_room_to_keep_is_drawn_all_the_same(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", 2)
    drawn = mixture(lambda clip: clip.seed, 0, folder).draw(3, np.random.default_rng(0))
    assert len(drawn) == 3
