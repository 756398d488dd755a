"""Persistence: found by time's arrow, undone exactly, and nothing else taken for it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from model import persistence
from model.persistence import LENGTH, REACH, Unmixed, find_undoing, unmixed
from tusrec.frames import Frames

ROWS, COLUMNS, COUNT = 100, 124, 96
Array = NDArray[np.float64]
Mix = Callable[[Array, float], Array]


def tissue(count: int = COUNT, seed: int = 0) -> Array:
    """Speckle under a hand that trembles while it moves to and fro."""
    rng = np.random.default_rng(seed)
    picture = ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS + 40)), 1.2)
    picture *= 25 / picture.std()
    places = 20 + 10 * np.sin(np.linspace(0, 9, count)) + 0.4 * rng.normal(size=count)
    moved = [ndimage.shift(picture, (0, -place), order=3, mode="nearest") for place in places]
    return 130 + np.stack(moved)[:, :, :COLUMNS]


def lingering(frames: Array, share: float) -> Array:
    """Each frame mixed with `share` of what the screen showed before it."""
    shown = [frames[0]]
    for frame in frames[1:]:
        shown.append(share * shown[-1] + (1 - share) * frame)
    return np.stack(shown)


def averaged(frames: Array, share: float) -> Array:
    """Each frame mixed with `share` of the one before it."""
    return (1 - share) * frames + share * np.concatenate([frames[:1], frames[:-1]])


def without_persistence(frames: Frames) -> Frames:
    return unmixed(frames, find_undoing(frames))


def as_shown(frames: Array) -> NDArray[np.uint8]:
    return np.rint(frames).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_a_screen_that_lingers_is_found_and_how_long(share: float) -> None:
    freed = without_persistence(as_shown(lingering(tissue(), share)))
    assert isinstance(freed, Unmixed)
    np.testing.assert_allclose(freed.weights, persistence.lingering(share), atol=0.02)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_a_mean_of_two_frames_is_found_and_their_shares(share: float) -> None:
    freed = without_persistence(as_shown(averaged(tissue(), share)))
    assert isinstance(freed, Unmixed)
    np.testing.assert_allclose(freed.weights, persistence.averaged(share), atol=0.03)


@pytest.mark.parametrize("mix", [lingering, averaged])
@pytest.mark.parametrize("share", [0.2, 0.35])
def test_frames_come_out_as_they_were_before_they_were_mixed(mix: Mix, share: float) -> None:
    sent = tissue()
    shown = as_shown(mix(sent, share))
    freed = without_persistence(shown)
    error = [np.abs(np.asarray(f[20:COUNT]) - sent[20:]).mean() for f in (freed, shown)]
    assert error[0] < 0.25 * error[1]


@pytest.mark.parametrize("seed", range(4))
def test_frames_that_were_never_mixed_are_left_as_they_are(seed: int) -> None:
    shown = as_shown(tissue(seed=seed))
    assert without_persistence(shown) is shown


@pytest.mark.parametrize("seed", range(4))
def test_noise_and_gain_that_change_from_frame_to_frame_are_not_taken_for_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain = np.exp(0.1 * rng.normal(size=(COUNT, 1, 1)))
    shown = as_shown(gain * tissue(seed=seed) + 5 * rng.normal(size=(COUNT, ROWS, COLUMNS)))
    assert without_persistence(shown) is shown


def test_a_scan_backwards_in_time_is_not_taken_for_one_with_persistence() -> None:
    shown = as_shown(lingering(tissue(), 0.4))[::-1]
    assert without_persistence(shown) is shown


@pytest.mark.parametrize("count", [1, 2, LENGTH - 1, 32])
def test_a_scan_too_short_to_tell_is_left_as_it_is(count: int) -> None:
    shown = as_shown(lingering(tissue(), 0.4))[:count]
    assert without_persistence(shown) is shown


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_frames_of_one_grey_are_left_as_they_are(grey: int) -> None:
    blank = np.full((COUNT, ROWS, COLUMNS), grey, np.uint8)
    assert without_persistence(blank) is blank


def test_frames_smaller_than_a_tile_are_left_as_they_are() -> None:
    small = as_shown(tissue())[:, :20, :20]
    assert without_persistence(small) is small


def test_a_frame_that_repeats_another_repeats_it_unmixed_too() -> None:
    shown = as_shown(averaged(tissue(), 0.3))
    repeated = shown[[0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 7, *range(8, COUNT)]]
    weights = persistence.averaged(0.3)
    once, again = (np.asarray(Unmixed(f, weights)[0 : len(f)]) for f in (shown, repeated))
    np.testing.assert_array_equal(again[4], again[3])
    np.testing.assert_array_equal(np.delete(again, [4, 9, 10], axis=0), once)


@given(st.integers(0, 19), st.integers(1, 20), st.integers(1, REACH))
@settings(max_examples=30, deadline=None)
def test_frames_do_not_depend_on_the_slice_they_are_read_in(
    start: int, length: int, reach: int
) -> None:
    rng = np.random.default_rng(start)
    shown = rng.integers(0, 256, (20, 8, 9)).astype(np.uint8)
    shown[start] = shown[start - 1]
    freed = Unmixed(shown, 0.3 ** np.arange(1.0, reach + 1))
    stop = min(start + length, 20)
    np.testing.assert_array_equal(freed[start:stop], freed[0:20][start:stop])


@given(st.integers(0, 255), st.floats(-0.4, 0.8))
@settings(max_examples=30, deadline=None)
def test_a_still_picture_stays_as_bright_as_it_is(grey: int, weight: float) -> None:
    still = np.full((9, 4, 5), grey, np.uint8)
    np.testing.assert_array_equal(Unmixed(still, np.array([weight, -0.1]))[0:9], still)


def test_persistence_is_found_where_a_grabber_shows_every_tenth_frame_twice() -> None:
    shown = as_shown(averaged(tissue(), 0.3))
    twice = np.repeat(shown, np.where(np.arange(COUNT) % 10 == 9, 2, 1), axis=0)
    freed = without_persistence(twice)
    assert isinstance(freed, Unmixed)
    np.testing.assert_allclose(freed.weights, persistence.averaged(0.3), atol=0.03)


@pytest.mark.parametrize("start", [3, 40, 70])
def test_a_frame_that_is_repeated_for_long_is_the_same_in_any_slice(start: int) -> None:
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (90, 8, 9)).astype(np.uint8)
    shown[20:80] = shown[20]
    freed = Unmixed(shown, persistence.averaged(0.4))
    np.testing.assert_array_equal(freed[start:90], freed[0:90][start:])
