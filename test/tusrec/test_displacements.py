import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import transforms

from tusrec import poses
from tusrec.displacements import (
    check_landmarks,
    dense_displacements,
    displacement_blocks,
    landmark_displacements,
    landmark_rows,
)
from tusrec.errors import InputError

Array = NDArray[np.float64]
Refused = Callable[..., AbstractContextManager[None]]

TOLERANCE = 1e-4  # mm, the bar for single precision fields
SCALE = np.diag([0.229389190673828, 0.220979690551758, 1.0, 1.0])
MEASURE_PEAK = """
import numpy as np
from tusrec.displacements import dense_displacements

def resident(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

T = np.random.default_rng(0).normal(size=(48, 4, 4))
dense_displacements(T[:4], np.eye(4), 8, 8)
before = resident("VmRSS")
field = dense_displacements(T, np.eye(4))
print(field.nbytes, resident("VmHWM") - before)
"""


def homogeneous_product(T: Array, scale: Array, height: int, width: int) -> Array:
    """Displacements (3, height * width) of all pixels the plain way, in float64."""
    y, x = np.indices((height, width)).reshape(2, -1) + 1.0
    points = scale @ np.stack([x, y, 0 * x, 0 * x + 1])
    return np.asarray((T @ points - points)[:3])


def wild_motions(count: int, seed: int = 0) -> Array:
    """Any rotation, and 200 mm in any direction."""
    random = np.random.default_rng(seed)
    T = poses.exp(random.normal(size=(count, 6)) * np.pi)
    direction = random.normal(size=(count, 3))
    T[:, :3, 3] = 200 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return T


@given(transforms(3, rotation=np.pi), st.integers(1, 40), st.integers(1, 40), st.floats(0.02, 0.5))
def test_the_field_is_the_homogeneous_product_for_any_image_size(
    T: Array, height: int, width: int, spacing: float
) -> None:
    scale = np.diag([spacing, 1.5 * spacing, 1.0, 1.0])
    field = dense_displacements(T, scale, height, width)
    assert field.shape == (3, 3, height * width)
    assert field.dtype == np.float32
    for found, motion in zip(field, T, strict=True):
        expected = homogeneous_product(motion, scale, height, width)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (616, 820), (1, 1000)])
def test_large_images_with_200_mm_and_any_rotation_stay_within_the_bar(
    height: int, width: int
) -> None:
    T = wild_motions(6)
    field = dense_displacements(T, SCALE, height, width)
    for found, motion in zip(field, T, strict=True):
        expected = homogeneous_product(motion, SCALE, height, width)
        assert np.abs(found - expected).max() < TOLERANCE


def test_the_standard_size_is_that_of_the_challenge() -> None:
    assert dense_displacements(np.eye(4)[None], SCALE).shape == (1, 3, 307_200)


def test_pixels_are_ordered_row_by_row_and_count_from_one() -> None:
    stretch = np.eye(4)
    stretch[0, 0], stretch[1, 1] = 2.0, 11.0  # moves (x, y) by (x, 10 y)
    field = dense_displacements(stretch[None], np.eye(4), height=2, width=3)
    np.testing.assert_array_equal(field[0, 0], [1, 2, 3, 1, 2, 3])
    np.testing.assert_array_equal(field[0, 1], [10, 10, 10, 20, 20, 20])
    np.testing.assert_array_equal(field[0, 2], np.zeros(6))


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 5, 7])
def test_every_frame_is_filled_whatever_their_number(frames: int) -> None:
    T = wild_motions(frames)
    field = dense_displacements(T, SCALE, 5, 4)
    assert field.shape == (frames, 3, 20)
    expected = [homogeneous_product(motion, SCALE, 5, 4) for motion in T]
    np.testing.assert_allclose(field, np.reshape(expected, field.shape), rtol=0, atol=TOLERANCE)


def test_identity_moves_no_pixel_at_all() -> None:
    assert not dense_displacements(np.tile(np.eye(4), (3, 1, 1)), SCALE, 48, 64).any()


def test_the_peak_memory_is_the_field_and_at_most_a_tenth_more() -> None:
    # In a process of its own, whose largest resident size nothing else can have set.
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE_PEAK],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    field, grown = map(int, measured.stdout.split())
    assert field == 48 * 3 * 307_200 * 4
    assert 0.98 * field <= grown <= 1.1 * field


@pytest.mark.parametrize("frames", [1, 3, 7, 16])
def test_blocks_put_together_are_the_whole_field(frames: int) -> None:
    T = wild_motions(7)
    blocks = list(displacement_blocks(T, SCALE, 6, 5, frames))
    assert max(len(block) for _, block in blocks) <= frames
    assert [row for rows, _ in blocks for row in range(rows.start, rows.stop)] == list(range(7))
    whole = np.concatenate([block for _, block in blocks])
    np.testing.assert_array_equal(whole, dense_displacements(T, SCALE, 6, 5))


def test_a_landmark_on_frame_f_reads_row_f_minus_one_and_on_frame_0_the_last() -> None:
    rows = landmark_rows(np.array([0, 1, 2, 9]))
    assert rows.tolist() == [-1, 0, 1, 8]

    T = np.tile(np.eye(4), (9, 1, 1))
    T[:, 2, 3] = np.arange(1, 10)  # frame i moves by i mm
    landmarks = np.array([[0, 5, 5], [1, 5, 5], [2, 5, 5], [9, 5, 5]])
    moved = landmark_displacements(T, SCALE, landmarks)
    np.testing.assert_allclose(moved[2], [9, 1, 2, 9])
    assert moved.dtype == np.float32


@given(st.integers(0, 2**32 - 1))
def test_landmark_displacements_are_the_field_at_their_pixels(seed: int) -> None:
    height, width, frames = 30, 20, 6
    landmarks = np.random.default_rng(seed).integers(
        [0, 1, 1], [frames, width + 1, height + 1], (15, 3)
    )
    T = wild_motions(frames - 1, seed)
    field = dense_displacements(T, SCALE, height, width)
    frame, x, y = landmarks.T
    at_pixels = field[frame - 1, :, (y - 1) * width + (x - 1)].T
    moved = landmark_displacements(T, SCALE, landmarks)
    assert moved.shape == (3, 15)
    np.testing.assert_allclose(moved, at_pixels, rtol=0, atol=TOLERANCE)


def test_no_landmarks_give_no_displacements() -> None:
    moved = landmark_displacements(wild_motions(3), SCALE, np.empty((0, 3), np.int64))
    assert moved.shape == (3, 0)


def test_landmarks_on_the_very_edge_are_accepted() -> None:
    check_landmarks(np.array([[0, 1, 1], [9, 640, 480]]), (10, 480, 640), "here")
    check_landmarks(np.empty((0, 3), np.int64), (10, 480, 640), "here")


@pytest.mark.parametrize(
    "landmark",
    [[-1, 5, 5], [10, 5, 5], [5, 0, 5], [5, 641, 5], [5, 5, 0], [5, 5, 481], [5, -(2**62), 5]],
)
def test_a_landmark_outside_the_scan_is_refused_by_its_index(
    landmark: list[int], refused: Refused
) -> None:
    landmarks = np.array([[5, 5, 5], [6, 6, 6], landmark, landmark])
    words = ("landmark_050.h5", f"landmark 2 is {landmark}", "frame 0..9, x 1..640, y 1..480")
    with refused(*words, kind=InputError):
        check_landmarks(landmarks, (10, 480, 640), "landmark_050.h5")


@pytest.mark.parametrize(
    "landmarks",
    [np.ones((5, 2), int), np.ones(3, int), np.array([[1.7, 3, 4]]), np.array([[np.nan, 1, 1]])],
)
def test_what_is_no_row_of_three_whole_numbers_is_refused(landmarks: NDArray[Any]) -> None:
    with pytest.raises(InputError, match=r"expected \(landmarks, 3\) whole numbers"):
        check_landmarks(landmarks, (5, 60, 80), "here")
