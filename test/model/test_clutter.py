"""Clutter: what all frames share is found and taken out, and no resting hand taken for it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from model.clutter import FEWEST, Cleared, cleared, find_clutter
from model.screen import without_screen

ROWS, COLUMNS, COUNT = 120, 140, 96
Array = NDArray[np.float64]
Frames = NDArray[np.uint8]


def speckle(rng: np.random.Generator, columns: int = COLUMNS, spread: float = 25.0) -> Array:
    picture = ndimage.gaussian_filter(rng.normal(size=(ROWS, columns)), 1.2)
    return np.asarray(picture * spread / picture.std())


def tissue(path: Array, noise: float = 1.0) -> Array:
    """Speckle (N, ROWS, COLUMNS) that a hand has moved along by `path` (N,) pixels."""
    rng = np.random.default_rng(0)
    picture = speckle(rng, COLUMNS + 140)
    shown = [ndimage.shift(picture, (0, 1 - place), order=1)[:, :COLUMNS] for place in path]
    return 120 + np.stack(shown) + noise * rng.normal(size=(len(path), ROWS, COLUMNS))


def on_screen(frames: Array) -> Frames:
    return np.rint(frames).clip(0, 255).astype(np.uint8)


MOVING = np.linspace(0, 120, COUNT)
TURN = np.linspace(0, 6 * np.pi, COUNT)
TREMOR = np.random.default_rng(1).normal(size=COUNT)
HARDLY_MOVING = {
    "rests": 0.1 * TREMOR,
    "trembles slowly": 0.5 * ndimage.gaussian_filter1d(TREMOR, 2.0) * 2.7,
    "sways": 3 * np.sin(TURN),
    "sways a little": 1.5 * np.sin(TURN),
    "drifts": 0.1 * TREMOR + np.linspace(0, 3, COUNT),
    "goes there and back": 3 * (1 - np.abs(np.linspace(-1, 1, COUNT))),
    "goes farther there and back": 6 * (1 - np.abs(np.linspace(-1, 1, COUNT))),
}


@pytest.mark.parametrize("spread", [15.0, 40.0])
def test_what_all_frames_show_is_found(spread: float) -> None:
    clutter = speckle(np.random.default_rng(7), spread=spread)
    found = find_clutter(on_screen(tissue(MOVING) + clutter)).astype(float)
    texture = clutter - ndimage.uniform_filter(clutter, 17)
    assert np.corrcoef(found.ravel(), texture.ravel())[0, 1] > 0.9
    assert (found * texture).sum() / (texture**2).sum() == pytest.approx(1, abs=0.15)


def test_frames_are_alike_again_as_their_tissue_is() -> None:
    clean, clutter = tissue(MOVING), speckle(np.random.default_rng(7), spread=15.0)
    freed = without_screen(on_screen(clean + clutter))[0:COUNT].astype(float)
    assert np.abs(freed - clean).mean() < 0.4 * np.abs(clutter).mean()


def test_hardly_anything_is_taken_from_tissue_that_moves() -> None:
    found = find_clutter(on_screen(tissue(MOVING)))
    assert np.abs(found.astype(float)).mean() < 1.0


@pytest.mark.parametrize("path", HARDLY_MOVING.values(), ids=HARDLY_MOVING)
@pytest.mark.parametrize("noise", [1.0, 6.0])
def test_tissue_under_a_hand_that_hardly_moves_is_not_taken_for_clutter(
    path: Array, noise: float
) -> None:
    assert find_clutter(on_screen(tissue(path, noise))).size == 0


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_nor_is_it_where_repeats_or_persistence_make_noise_last(share: float) -> None:
    frames = tissue(HARDLY_MOVING["rests"], 6.0)
    assert find_clutter(np.repeat(on_screen(frames), 2, axis=0)).size == 0
    frames[1:] = (1 - share) * frames[1:] + share * frames[:-1]
    assert find_clutter(on_screen(frames)).size == 0


def test_too_few_frames_tell_nothing() -> None:
    frames = on_screen(tissue(MOVING[: FEWEST - 1]) + speckle(np.random.default_rng(7)))
    assert find_clutter(frames).size == 0
    assert cleared(frames, find_clutter(frames)) is frames


def test_a_blank_scan_has_no_clutter() -> None:
    assert find_clutter(np.full((COUNT, ROWS, COLUMNS), 9, np.uint8)).size == 0


def test_black_stays_black_and_levels_within_their_range() -> None:
    frames = np.array([[[0, 3, 250, 100]]], np.uint8)
    freed = Cleared(frames, np.array([[-5, 9, -90, 30]], np.int8))[0:1]
    np.testing.assert_array_equal(freed, [[[0, 0, 255, 70]]])


def test_frames_are_read_a_slice_at_a_time() -> None:
    frames = on_screen(tissue(MOVING[:10]))
    freed = Cleared(frames, np.full((ROWS, COLUMNS), 2, np.int8))
    assert freed.shape == frames.shape
    np.testing.assert_array_equal(freed[3:5], freed[0:10][3:5])
    np.testing.assert_array_equal(freed[8:99], freed[0:10][8:])
