"""Frames that repeat the one before, and the pairs that they spoil."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.repeats import AT_ONCE, bridged, fresh_frames, telling_pairs


@given(st.lists(st.booleans(), min_size=1, max_size=3 * AT_ONCE))
def test_fresh_frames_are_those_unlike_the_one_before(fresh: list[bool]) -> None:
    numbers = np.cumsum(fresh) % 256
    frames = np.tile(numbers[:, None, None], (1, 2, 3)).astype(np.uint8)
    np.testing.assert_array_equal(fresh_frames(frames), [True, *fresh[1:]])


def test_one_pixel_makes_a_frame_fresh() -> None:
    frames = np.zeros((3, 4, 5), np.uint8)
    frames[2, 3, 4] = 1
    assert fresh_frames(frames).tolist() == [True, False, True]


def test_a_pair_tells_if_both_its_frames_are_fresh() -> None:
    fresh = np.array([True, True, False, True, True])
    assert telling_pairs(fresh, 1).tolist() == [True, False, False, True]
    assert telling_pairs(fresh, 2).tolist() == [False, True, False]


def measured(interval: int, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Motion of 1 a step along the first axis, as sure as `interval` says, where it shows."""
    telling = telling_pairs(fresh, interval)
    motion = np.tile([float(interval), 0.0, 0.0], (len(telling), 1))
    return motion, telling[:, None, None] * np.eye(3) / interval


def test_steps_beside_a_repeated_frame_are_halves_of_the_pair_that_bridges_it() -> None:
    fresh = np.array([True, True, True, False, True, True])
    shown = {k: measured(k, fresh) for k in (1, 2)}
    shown[1][0][2:4] = [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]  # as the pictures say
    found = bridged(shown)
    np.testing.assert_array_equal(found[1][0], measured(1, fresh)[0])
    np.testing.assert_array_equal(found[1][1][2:4], np.tile(np.eye(3) / 2, (2, 1, 1)))
    np.testing.assert_array_equal(found[2][0], shown[2][0])
    assert (shown[1][1][2:4] == 0).all()


def test_nothing_bridges_a_longer_freeze_or_a_scan_of_two_frames() -> None:
    frozen = np.array([True, True, False, False, False, True, True])
    found = bridged({k: measured(k, frozen) for k in (1, 2)})
    np.testing.assert_array_equal(found[1][1], measured(1, frozen)[1])
    two = {1: measured(1, np.array([True, False]))}
    np.testing.assert_array_equal(bridged(two)[1][1], 0.0)
