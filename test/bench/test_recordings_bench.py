"""The bench of recordings: each way of recording does what it says and keeps the frames' shape."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.recordings import RECORDINGS, pairs, poses_of, size_over_true
from model.canonical import Canvas
from model.steps import Pairs
from training.grabber import blended_poses
from training.measure import Motions
from tusrec import poses
from tusrec.layouts import find_scans

FRAMES = np.random.default_rng(1).integers(20, 220, (6, 60, 160)).astype(np.uint8)
T = poses.exp(np.random.default_rng(2).normal(size=(6, 6)))
Make = Callable[..., Path]
MIXED = "as mixtures of three, in shares that change"
CANVAS = Canvas((5, 55, 5, 75), (60, 80), (0.2, 0.2), (0.4, 0.4))


class Still:
    """An estimator that sees nothing move over one frame."""

    def pairs(self, frames: NDArray[np.uint8], *_: object) -> tuple[Canvas, Pairs]:
        steps = np.zeros((len(frames) - 1, 6))
        return CANVAS, {1: (steps, steps + 1)}


@pytest.mark.parametrize("name", list(RECORDINGS))
def test_every_recording_shows_as_many_frames_of_the_same_kind(name: str) -> None:
    shown, moved = RECORDINGS[name](FRAMES, T)
    assert shown.shape == FRAMES.shape
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, FRAMES) == (name == "as they are")
    assert np.array_equal(moved, T) == (name != MIXED)


@pytest.mark.parametrize("name", ["as they are", "as means of three", MIXED])
def test_pairs_of_mixtures_are_held_against_where_their_parts_lie_on_the_mean(
    make_lone_scan: Make, make_calibration: Make, tmp_path: Path, name: str
) -> None:
    make_calibration(tmp_path / "calib_matrix.csv")
    source = find_scans(make_lone_scan(tmp_path / "a.h5", with_poses=True)).scans[0]
    found = pairs(Still(), source, RECORDINGS[name])[1]  # type: ignore[arg-type]
    with source.open() as scan:
        expected = poses_of(scan)
    if name == MIXED:
        shares = np.random.default_rng(0).dirichlet(np.ones(3), len(expected))
        expected = blended_poses(expected, shares)
    about_centre = poses.about_point(expected, CANVAS.centre_mm)
    steps = poses.log(poses.inverse(about_centre[:-1]) @ about_centre[1:])
    np.testing.assert_allclose(found.true, steps, atol=1e-9)


def test_grey_levels_are_darkened_and_clipped() -> None:
    grey = np.array([[[0, 20, 255]]], np.uint8)
    shown, _ = RECORDINGS["darker, black clipped"](grey, T[:1])
    np.testing.assert_array_equal(shown, [[[0, 0, 230]]])


def test_a_mean_of_three_has_a_frame_before_and_after_but_at_the_ends() -> None:
    grey = np.array([0, 30, 90], np.uint8).reshape(3, 1, 1)
    shown, _ = RECORDINGS["as means of three"](grey, T[:3])
    np.testing.assert_array_equal(shown[:, 0, 0], [10, 40, 70])


def test_the_clock_changes_a_corner_alone() -> None:
    shown, _ = RECORDINGS["with a clock beside the picture"](FRAMES, T)
    assert not np.array_equal(shown[0, 5:25], shown[5, 5:25])
    np.testing.assert_array_equal(shown[:, 25:], FRAMES[:, 25:])


def test_sizes_are_those_of_the_motion_across_whatever_its_sign() -> None:
    true, found = np.zeros((2, 6)), np.zeros((2, 6))
    true[:, 5], found[:, 5] = (1.0, -3.0), (-1.0, -1.0)
    assert size_over_true(Motions(true, found, found, np.ones((2, 2)))) == pytest.approx(0.5)
