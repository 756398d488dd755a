"""What a grabber makes of frames: blurred speckle, noise that is new in every frame."""

import numpy as np
from numpy.typing import NDArray

from training.grabber import blended, blended_poses, filtered, grabbed, hazy, recorded


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def speckle(shape: tuple[int, int] = (60, 80), frames: int = 2) -> NDArray[np.uint8]:
    """Independent pixels, with a black margin on the left."""
    pictures = rng().integers(40, 200, (frames, *shape)).astype(np.uint8)
    pictures[:, :, :10] = 0
    return pictures


def shares(frames: int) -> NDArray[np.float64]:
    return rng().dirichlet(np.ones(3), frames)


def sliding(frames: int) -> NDArray[np.float64]:
    """Poses of a probe that goes 2 mm a frame across the picture."""
    T = np.tile(np.eye(4), (frames, 1, 1))
    T[:, 2, 3] = 2.0 * np.arange(frames)
    return T


def alike(frame: NDArray[np.uint8], shift: int) -> float:
    """Correlation of a frame's picture with itself, a few columns further on."""
    picture = frame[:, 15:].astype(float)
    return float(np.corrcoef(picture[:, shift:].ravel(), picture[:, :-shift].ravel())[0, 1])


def test_as_many_pixels_without_noise_are_the_frames_themselves() -> None:
    np.testing.assert_array_equal(recorded(speckle(), 1.0, 0.0, rng()), speckle())


def test_fewer_pixels_widen_the_speckle_and_leave_its_mean() -> None:
    seen, shown = speckle(), recorded(speckle(), 2.5, 0.0, rng())
    assert shown.shape == seen.shape
    assert shown.dtype == np.uint8
    assert abs(alike(seen[0], 1)) < 0.1
    assert alike(shown[0], 1) > 0.6
    assert abs(shown[:, :, 20:].mean() - seen[:, :, 20:].mean()) < 1


def test_noise_is_new_in_every_frame_and_leaves_black_black() -> None:
    grey = np.full((2, 60, 80), 100, np.uint8)
    grey[:, :, :10] = 0
    shown = recorded(grey, 1.0, 8.0, rng()).astype(float)
    assert (shown[:, :, :10] == 0).all()
    assert abs(shown[:, :, 10:].std() - 8) < 0.5
    assert abs(np.corrcoef(shown[0, :, 10:].ravel(), shown[1, :, 10:].ravel())[0, 1]) < 0.1


def test_grabbers_differ_and_some_change_nothing() -> None:
    T = sliding(2)
    shown = [grabbed(speckle(), T, np.random.default_rng(seed)) for seed in range(30)]
    unchanged = sum(np.array_equal(frames, speckle()) for frames, _ in shown)
    assert 3 <= unchanged <= 15
    assert 1 <= sum(not np.array_equal(moved, T) for _, moved in shown) <= 15  # of mixtures


def test_clutter_is_the_same_in_every_frame_and_leaves_black_black() -> None:
    seen = speckle(frames=40)
    shown = hazy(seen, 12.0, rng())
    assert (shown[:, :, :10] == 0).all()
    added = shown[:, :, 10:].astype(float) - seen[:, :, 10:]
    assert (added >= -1).all()
    halves = added[:20].mean(axis=0), added[20:].mean(axis=0)
    assert np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1] > 0.8
    assert added[:, :10].mean() > 2 * added[:, -10:].mean()  # near the face most


def test_no_clutter_changes_nothing() -> None:
    frames = np.full((2, 60, 80), 100, np.uint8)
    assert np.abs(hazy(frames, 0.0, rng()).astype(int) - frames).max() == 0


def test_a_filter_smooths_speckle_and_keeps_what_stands_out() -> None:
    seen = speckle()
    seen[:, 20:40, 40:60] = np.where(np.indices((20, 20)).sum(axis=0) > 19, 255, 0)
    shown = filtered(seen, 5).astype(float)
    assert shown[:, :, 62:].std() < 0.7 * seen[:, :, 62:].std()
    assert (shown[:, 20:40, 40:60] > 230).mean() > 0.3
    assert np.abs(shown[:, 22:24, 55:58].mean() - seen[:, 22:24, 55:58].mean()) < 25


def test_blended_frames_lie_between_those_about_them() -> None:
    steady = np.broadcast_to(np.arange(0, 250, 25, dtype=np.uint8)[:, None, None], (10, 6, 8))
    shown = blended(steady, shares(10)).astype(float)
    mixed = (shown - steady)[1:-1, 0, 0]
    assert len(set(mixed)) > 4  # each frame has shares of its own
    assert (np.abs(shown - steady) <= 25).all()
    assert np.abs(shown - steady).mean() > 3


def test_mixtures_lie_where_their_parts_do_on_the_mean() -> None:
    T, mixed = sliding(5), shares(5)
    moved = blended_poses(T, mixed)
    places = 2.0 * np.pad(np.arange(5.0), 1, mode="edge")
    expected = [mixed[i] @ places[i : i + 3] for i in range(5)]
    np.testing.assert_allclose(moved[:, 2, 3], expected, atol=1e-12)
    before = np.tile([1.0, 0.0, 0.0], (5, 1))
    np.testing.assert_allclose(blended_poses(T, before)[1:], T[:-1], atol=1e-12)


def test_a_black_scan_stays_black() -> None:
    black = np.zeros((3, 40, 40), np.uint8)
    for shown in (hazy(black, 9.0, rng()), filtered(black, 5), blended(black, shares(3))):
        assert not shown.any()
