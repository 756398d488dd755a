"""Frames that repeat the one before: each picture is looked at once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.interface import LocalMotions
from model.repeats import (
    AT_ONCE,
    Picked,
    Spans,
    fresh_frames,
    pictures,
    seen_once,
    shared_out,
)
from tusrec import poses
from tusrec.frames import Frames


@given(st.lists(st.booleans(), min_size=1, max_size=3 * AT_ONCE))
def test_fresh_frames_are_those_unlike_the_one_before(fresh: list[bool]) -> None:
    numbers = np.cumsum(fresh) % 256
    frames = np.tile(numbers[:, None, None], (1, 2, 3)).astype(np.uint8)
    np.testing.assert_array_equal(fresh_frames(frames), [True, *fresh[1:]])


def test_one_pixel_makes_a_frame_fresh() -> None:
    frames = np.zeros((3, 4, 5), np.uint8)
    frames[2, 3, 4] = 1
    assert fresh_frames(frames).tolist() == [True, False, True]


def counted(frames: Frames, _: Spans) -> LocalMotions:
    """As far along x as the grey level rises from frame to frame."""
    levels = frames[0 : frames.shape[0]][:, 0, 0].astype(float)
    xi = np.zeros((len(levels) - 1, 6))
    xi[:, 3] = np.diff(levels)
    return LocalMotions(poses.exp(xi), np.tile(np.eye(6), (len(xi), 1, 1)))


def film(shown: list[int]) -> np.ndarray:
    """Pictures of grey level 0, 6, 12, ..., each in so many frames."""
    return np.repeat(6 * np.arange(len(shown)), shown)[:, None, None].astype(np.uint8)


def test_a_grabber_three_times_as_fast_as_the_console_costs_no_motion() -> None:
    frames = film([3] * 8)
    found = seen_once(frames, counted)
    assert len(found.T_previous_from_frame) == len(found.covariance) == 23
    np.testing.assert_allclose(found.T_previous_from_frame[:21, 0, 3], 2.0)
    np.testing.assert_array_equal(found.T_previous_from_frame[21:], np.tile(np.eye(4), (2, 1, 1)))
    ends = poses.chain(found.T_previous_from_frame)[-1, 0, 3]
    np.testing.assert_allclose(ends, 42.0)


def test_pictures_shown_now_three_times_and_now_twice_are_given_their_time_each() -> None:
    found = seen_once(film([3, 2, 3, 2]), counted)
    np.testing.assert_allclose(found.T_previous_from_frame[:, 0, 3], [2, 2, 2, 3, 3, 2, 2, 2, 0])


def test_motion_beside_a_single_repeat_is_shared_out() -> None:
    found = seen_once(film([1, 1, 2, 1, 1]), counted)
    np.testing.assert_allclose(found.T_previous_from_frame[:, 0, 3], [6, 6, 3, 3, 6])


def test_a_freeze_is_bridged_by_the_motion_across_it() -> None:
    frames = film([1, 1, 4, 1, 1])
    found = seen_once(frames, counted)
    np.testing.assert_allclose(found.T_previous_from_frame[:, 0, 3], [6, 6, 1.5, 1.5, 1.5, 1.5, 6])
    np.testing.assert_array_equal(pictures(frames), [0, 1, 2, 6, 7])


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.data())
def test_a_few_blank_frames_between_others_are_passed_over(
    gaps: list[int], data: st.DataObject
) -> None:
    shown = np.concatenate([[False] * gap + [True] for gap in gaps])
    frames = np.zeros((len(shown), 2, 2), np.uint8)
    frames[shown, 0, 0] = 60 + 10 * np.arange(len(gaps))
    frames += data.draw(st.sampled_from([0, 16, 128]), "grey of what shows nothing")
    looked_at = pictures(frames)
    seen, ends = np.flatnonzero(shown), np.cumsum(np.add(gaps, 1)) - 1
    assert set(seen) <= set(looked_at)
    assert set(looked_at) - set(seen) == {
        end - gap for end, gap in zip(ends, gaps, strict=True) if gap > 3 or (gap and end == gap)
    }


def test_the_motion_across_a_frame_that_dropped_out_is_shared_out() -> None:
    frames = film([1, 1, 1, 1, 1]) * np.array([[[1, 2]]], np.uint8)
    frames += 100 * np.array([[[1, 0]]], np.uint8)
    frames[2] = 0
    found = seen_once(frames, counted)
    np.testing.assert_allclose(found.T_previous_from_frame[:, 0, 3], [6, 6, 6, 6])


def test_a_frame_that_dropped_out_is_passed_over_with_a_clock_on_it_and_noise() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (7, 120, 160)).astype(np.uint8)
    frames[3] = 16 + rng.normal(0, 1.5, (120, 160)).round()
    frames[3, :10, :30] = 255
    np.testing.assert_array_equal(pictures(frames), [0, 1, 2, 4, 5, 6])


def test_a_picture_shown_again_after_a_frame_that_dropped_out_is_looked_at_once() -> None:
    a, b, blank = np.array([[60, 0]]), np.array([[90, 0]]), np.zeros((1, 2))
    shown = np.stack([a, blank, a, b, b, b, blank, blank, a]).astype(np.uint8)
    np.testing.assert_array_equal(pictures(shown), [0, 3, 8])


def test_the_estimator_is_told_how_long_the_hand_had_for_each_step() -> None:
    told: list[list[int]] = []

    def estimate(frames: Frames, spans: Spans) -> LocalMotions:
        told.append(spans.tolist())
        return counted(frames, spans)

    for shown in ([1, 1, 4, 1, 2], [1, 1, 1], [5]):
        seen_once(film(shown), estimate)
    assert told == [[1, 1, 4, 1], [1, 1], [1, 1, 1, 1]]


def test_one_picture_throughout_is_left_to_the_estimator() -> None:
    assert len(seen_once(film([9]), counted).T_previous_from_frame) == 8
    np.testing.assert_array_equal(pictures(film([9])), np.arange(9))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=20))
def test_steps_shared_out_add_up_to_the_motions_between_pictures(shown: list[int]) -> None:
    rng = np.random.default_rng(len(shown))
    xi = 0.1 * rng.normal(size=(len(shown) - 1, 6))
    motions = LocalMotions(poses.exp(xi), np.tile(np.eye(6), (len(xi), 1, 1)))
    steps = shared_out(motions, np.array(shown))
    assert len(steps.T_previous_from_frame) == sum(shown) - 1
    end, expected = (poses.chain(part.T_previous_from_frame)[-1] for part in (steps, motions))
    np.testing.assert_allclose(end, expected, atol=1e-9)


def test_picked_frames_are_read_like_any() -> None:
    frames = film([1] * 9)
    picked = Picked(frames, np.array([1, 4, 8]))
    assert picked.shape == (3, 1, 1)
    np.testing.assert_array_equal(picked[1:3], frames[[4, 8]])
    assert picked[3:3].shape == (0, 1, 1)
