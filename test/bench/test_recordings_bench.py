"""The bench of recordings: each way of recording does what it says and keeps the frames' shape."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.recordings import RECORDINGS, size_over_true
from training.clips import Clip
from training.measure import Motions
from training.tracked import REAL_SEED

Frames = NDArray[np.uint8]
FRAMES: Frames = np.random.default_rng(1).integers(20, 220, (6, 60, 160)).astype(np.uint8)


def shown_as(name: str, frames: Frames) -> Frames:
    """Frames of a probe that slides by 0.3 mm a frame, shown in one of the ways."""
    T = np.tile(np.eye(4), (len(frames), 1, 1))
    T[:, 0, 3] = 0.3 * np.arange(len(frames))
    return RECORDINGS[name](Clip(frames, T, (0.1, 0.1), (REAL_SEED, 0)))


@pytest.mark.parametrize("name", list(RECORDINGS))
def test_every_recording_shows_as_many_frames_of_the_same_kind(name: str) -> None:
    shown = shown_as(name, FRAMES)
    assert shown.shape == FRAMES.shape
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, FRAMES) == (name == "as they are")


def test_grey_levels_are_darkened_and_clipped() -> None:
    grey = np.array([[[0, 20, 255]]], np.uint8)
    np.testing.assert_array_equal(shown_as("darker, black clipped", grey), [[[0, 0, 230]]])


def test_a_mean_of_three_has_a_frame_before_and_after_but_at_the_ends() -> None:
    grey = np.array([0, 30, 90], np.uint8).reshape(3, 1, 1)
    shown = shown_as("as means of three", grey)
    np.testing.assert_array_equal(shown[:, 0, 0], [10, 40, 70])


def test_the_clock_changes_a_corner_alone() -> None:
    shown = shown_as("with a clock beside the picture", FRAMES)
    assert not np.array_equal(shown[0, 5:25], shown[5, 5:25])
    np.testing.assert_array_equal(shown[:, 25:], FRAMES[:, 25:])


def test_sizes_are_those_of_the_motion_across_whatever_its_sign() -> None:
    true, found = np.zeros((2, 6)), np.zeros((2, 6))
    true[:, 5], found[:, 5] = (1.0, -3.0), (-1.0, -1.0)
    assert size_over_true(Motions(true, found, found, np.ones((2, 2)))) == pytest.approx(0.5)
