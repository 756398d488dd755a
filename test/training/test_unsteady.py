"""Speckle that changes with every frame, or with the place along the skin."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.unsteady import Unsteadiness, grain_of

SPACING = (0.1, 0.1)  # mm a pixel


def speckle(grain: tuple[float, float] = (1.0, 2.0)) -> NDArray[np.uint8]:
    """Log-compressed speckle (200, 260) with a black margin on the left."""
    parts = np.random.default_rng(1).standard_normal((2, 200, 260))
    echoes = np.hypot(*ndimage.gaussian_filter(parts, (0, *grain)))
    grey = 120 + 30 * np.log(echoes / np.sqrt((echoes**2).mean()) + 0.05)
    picture = np.rint(grey.clip(1, 255)).astype(np.uint8)
    picture[:, :40] = 0
    return picture


def shown(how: Unsteadiness, places_mm: list[float]) -> NDArray[np.uint8]:
    """The same frame at some places along the skin, as if nothing moved in the picture."""
    T = np.tile(np.eye(4), (len(places_mm), 1, 1))
    T[:, 0, 3] = places_mm
    frames = np.tile(speckle(), (len(places_mm), 1, 1))
    return how.shown(frames, T, SPACING, np.random.default_rng(2))


def alike(a: NDArray[np.uint8], b: NDArray[np.uint8], shift: int = 0) -> float:
    """Correlation of two frames, of which the second shows tissue `shift` pixels further left."""
    one, other = a[:, 60 + shift : 240].ravel(), b[:, 60 : 240 - shift].ravel()
    return float(np.corrcoef(one.astype(float), other.astype(float))[0, 1])


def test_frames_at_one_place_differ_by_what_changes_with_every_frame_alone() -> None:
    lasting = shown(Unsteadiness(0.0, 1.0, 2.0, 0.3), [0.0, 0.0])
    fleeting = shown(Unsteadiness(0.7, 0.0, 2.0, 0.3), [0.0, 0.0])
    np.testing.assert_array_equal(lasting[0], lasting[1])
    assert alike(fleeting[0], fleeting[1]) < 0.8


def test_a_steady_scan_is_left_as_it_is() -> None:
    frames = shown(Unsteadiness(0.0, 0.0, 2.0, 0.3), [0.0, 1.0])
    np.testing.assert_array_equal(frames, np.tile(speckle(), (2, 1, 1)))


def test_the_further_the_probe_slides_the_more_is_lost() -> None:
    frames = shown(Unsteadiness(0.0, 1.4, 1.0, 0.15), [0.0, 0.3, 1.0, 6.0])
    left = [alike(frames[0], frame) for frame in frames[1:]]
    assert left[0] > left[1] + 0.05
    assert abs(left[2] - alike(frames[1], frames[3])) < 0.1  # all that can be lost


def test_what_changes_with_the_place_moves_along_with_the_tissue() -> None:
    """With nearly nothing but what is added, a probe 1 mm on shows it 10 pixels further left."""
    how = Unsteadiness(0.0, 30.0, 50.0, 0.15)
    first, second = shown(how, [0.0, 1.0])
    assert alike(first, second, shift=10) > 0.6
    assert alike(first, second) < 0.2


def test_black_stays_black() -> None:
    frames = shown(Unsteadiness(0.7, 1.4, 1.0, 0.15), [0.0, 1.0])
    assert (frames[:, :, :40] == 0).all()
    assert (frames[:, :, 40:] > 0).mean() > 0.99


def test_the_brightness_of_the_picture_hardly_changes() -> None:
    frames = shown(Unsteadiness(0.3, 0.6, 1.0, 0.3), [0.0, 1.0, 2.0])
    assert abs(frames[:, :, 60:].mean() - speckle()[:, 60:].mean()) < 12


def test_the_grain_of_speckle_is_found_along_both_sides() -> None:
    y, x = grain_of(speckle((1.0, 2.0))[:, 40:])
    assert 0.6 < y < 1.1
    assert 1.2 < x < 2.2
    assert grain_of(speckle((1.0, 3.0))[:, 40:])[1] > x + 0.2


def test_scans_differ_within_the_ranges_stated() -> None:
    drawn = [Unsteadiness.draw(np.random.default_rng(seed)) for seed in range(200)]
    assert all(0 <= how.fleeting <= 0.7 and 0 <= how.lasting <= 1.4 for how in drawn)
    assert all(0.8 <= how.place_mm <= 8 for how in drawn)
    assert np.quantile([how.lasting for how in drawn], 0.25) < 0.3
