"""What a screen adds is found in a whole scan and taken out of any part of it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.persistence import find_undoing, lingering
from model.screen import Screen, without_screen

COUNT, ROWS, COLUMNS = 96, 100, 124
Frames = NDArray[np.uint8]


def tissue() -> NDArray[np.float64]:
    """Speckle under a hand that trembles while it moves on."""
    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS + 140)), 1.2)
    picture *= 20 / picture.std()
    places = np.linspace(5, 125, COUNT) + 0.4 * rng.normal(size=COUNT)
    moved = [ndimage.shift(picture, (0, -place), order=3, mode="nearest") for place in places]
    return 120 + np.stack(moved)[:, :, :COLUMNS]


def shown(share: float, clutter: float) -> Frames:
    """The tissue on a screen that lingers by `share`, with clutter of so many grey levels."""
    frames = tissue()
    for number in range(1, COUNT):
        frames[number] = (1 - share) * frames[number] + share * frames[number - 1]
    pattern = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(ROWS, COLUMNS)), 1.2)
    mixed = frames + clutter * pattern / pattern.std()
    return np.asarray(np.rint(mixed).clip(0, 255), np.uint8)


def test_clutter_and_persistence_are_found_beside_each_other() -> None:
    screen = Screen.of(shown(0.3, 15.0))
    np.testing.assert_allclose(screen.undoing, lingering(0.3), atol=0.03)
    assert np.abs(screen.clutter.astype(float)).mean() > 6


def test_persistence_is_sought_in_frames_as_they_are_shown() -> None:
    frames = shown(0.3, 15.0)
    np.testing.assert_array_equal(Screen.of(frames).undoing, find_undoing(frames))


def test_both_are_taken_out() -> None:
    frames = shown(0.3, 15.0)
    sent = tissue()[2:].astype(np.uint8).astype(float)
    freed = without_screen(frames)[2:COUNT].astype(float)
    assert np.abs(freed - sent).mean() < 0.5 * np.abs(frames[2:] - sent).mean()


def test_a_part_of_a_scan_is_freed_as_in_the_whole() -> None:
    frames = shown(0.0, 15.0)
    screen = Screen.of(frames)
    np.testing.assert_array_equal(
        screen.taken_out(frames[40:50])[0:10], screen.taken_out(frames)[40:50]
    )


def test_frames_that_a_screen_shows_as_they_are_stay_as_they_are() -> None:
    frames = shown(0.0, 0.0)
    assert Screen().taken_out(frames) is frames
