"""Trackers, hands and video cards: each imperfection does what its number says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import imperfections as imp
from tusrec import poses


def screw_motion(frames: int) -> imp.Float64:
    """A steady motion, (frames, 4, 4)."""
    return poses.exp(np.arange(frames)[:, None] * np.array([0.01, -0.02, 0.005, 0.3, 0.1, -0.2]))


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 3))
def test_latency_on_a_steady_motion_is_that_many_frames(latency: float) -> None:
    late = imp.delayed(screw_motion(30), latency)
    truth = poses.exp(
        (np.arange(30) - latency)[:, None] * np.array([0.01, -0.02, 0.005, 0.3, 0.1, -0.2])
    )
    np.testing.assert_allclose(late[3:], truth[3:], atol=1e-9)


def test_without_imperfections_the_tracker_reports_the_truth() -> None:
    T = screw_motion(20)
    np.testing.assert_allclose(imp.tracked(T, imp.NONE, np.random.default_rng(0)), T, atol=1e-12)


def test_tracker_jitter_has_the_size_stated() -> None:
    shaky = replace(imp.NONE, jitter_mm=0.2, jitter_deg=0.03)
    T = np.tile(np.eye(4), (4000, 1, 1))
    error = poses.log(imp.tracked(T, shaky, np.random.default_rng(0)))
    assert np.sqrt((error[:, 3:] ** 2).sum(axis=1).mean()) == pytest.approx(0.2, rel=0.05)
    rotation = np.rad2deg(np.sqrt((error[:, :3] ** 2).sum(axis=1).mean()))
    assert rotation == pytest.approx(0.03, rel=0.05)


def test_a_duplicated_frame_shows_the_picture_of_the_one_before_it_and_frame_0_its_own() -> None:
    shown = imp.shown_frames(5000, 0.1, np.random.default_rng(0))
    repeats = shown[1:] == shown[:-1]
    assert shown[0] == 0
    np.testing.assert_array_equal(shown[1:][~repeats], np.arange(1, 5000)[~repeats])
    assert repeats.mean() == pytest.approx(0.1, abs=0.02)
    assert (repeats[1:] & repeats[:-1]).any()


def test_gain_steps_are_of_the_number_and_the_size_stated() -> None:
    course = imp.gain_course(
        replace(imp.NONE, gain_steps=3, gain_step_db=2.0), 500, np.random.default_rng(1)
    )
    steps = np.diff(course)[np.diff(course) != 0]
    assert len(steps) == 3
    np.testing.assert_allclose(np.abs(steps), 2.0)


def test_indentation_is_strain_times_depth() -> None:
    pressed = imp.indentation_course(
        replace(imp.NONE, strain=0.04), 50, 30.0, np.random.default_rng(0)
    )
    np.testing.assert_allclose(pressed, 1.2)


def test_lossy_compression_changes_little_and_less_at_higher_quality() -> None:
    rng = np.random.default_rng(0)
    frame = np.clip(rng.normal(120, 40, (480, 640)), 0, 255).astype(np.uint8)
    errors = [np.abs(imp.recompressed(frame, q).astype(int) - frame).mean() for q in (60, 90)]
    assert 0 < errors[1] < errors[0] < 25


def test_drawn_imperfections_stay_in_their_ranges() -> None:
    for seed in range(200):
        drawn = imp.draw_imperfections(np.random.default_rng(seed))
        assert 0.01 <= drawn.strain <= 0.05
        assert 0.05 <= drawn.jitter_mm <= 0.25
        assert 0 <= drawn.latency_frames <= 2
        assert 0 <= drawn.gain_step_db <= 2
        assert drawn.jpeg_quality == 0 or 55 <= drawn.jpeg_quality <= 95
