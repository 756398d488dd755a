"""The bench of recordings: each way of recording does what it says and keeps the frames' shape."""

import numpy as np
import pytest

from bench.recordings import RECORDINGS, size_over_true
from training.measure import Motions

FRAMES = np.random.default_rng(1).integers(20, 220, (6, 60, 160)).astype(np.uint8)


@pytest.mark.parametrize("name", list(RECORDINGS))
def test_every_recording_shows_as_many_frames_of_the_same_kind(name: str) -> None:
    shown = RECORDINGS[name](FRAMES)
    assert shown.shape == FRAMES.shape
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, FRAMES) == (name == "as they are")


def test_grey_levels_are_darkened_and_clipped() -> None:
    grey = np.array([[[0, 20, 255]]], np.uint8)
    np.testing.assert_array_equal(RECORDINGS["darker, black clipped"](grey), [[[0, 0, 230]]])


def test_a_mean_of_three_has_a_frame_before_and_after_but_at_the_ends() -> None:
    grey = np.array([0, 30, 90], np.uint8).reshape(3, 1, 1)
    shown = RECORDINGS["as means of three"](grey)
    np.testing.assert_array_equal(shown[:, 0, 0], [10, 40, 70])


def test_the_clock_changes_a_corner_alone() -> None:
    shown = RECORDINGS["with a clock beside the picture"](FRAMES)
    assert not np.array_equal(shown[0, 5:25], shown[5, 5:25])
    np.testing.assert_array_equal(shown[:, 25:], FRAMES[:, 25:])


def test_sizes_are_those_of_the_motion_across_whatever_its_sign() -> None:
    true, found = np.zeros((2, 6)), np.zeros((2, 6))
    true[:, 5], found[:, 5] = (1.0, -3.0), (-1.0, -1.0)
    assert size_over_true(Motions(true, found, found, np.ones((2, 2)))) == pytest.approx(0.5)
