from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import transforms

from tusrec.calibration import (
    Calibration,
    from_image_to_probe,
    from_spacing,
    read_calibration,
    split_pixel_matrices,
)
from tusrec.errors import InputError

Array = NDArray[np.float64]
Refused = Callable[..., AbstractContextManager[None]]

# The challenge's 2024 calibration as published, typed in here on its own.
CHALLENGE_2024 = """\
scaling_from_pixel_to_mm
0.229389190673828,0,0,0
0,0.220979690551758,0,0
0,0,1,0
0,0,0,1
spatial_calibration_from_image_coordinate_system_to_tracking_tool_coordinate_system
0.231064671309448,-0.21805203504134,0.948189025293473,-70.7413291931152
-0.190847036221471,-0.965787272832032,-0.175591436013112,-80.6505661010742
0.954036962825936,-0.140386087807861,-0.264773903381482,-46.1766223907471
0,0,0,1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "calib_matrix.csv"
    path.write_text(CHALLENGE_2024)
    return path


def change(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))


def pixel_places(calibration: Calibration, x: Array, y: Array) -> Array:
    """Tool mm of 0-based pixels by way of scale and rigid matrix, which count from 1."""
    pixels = np.stack([x + 1, y + 1, 0 * x, 0 * x + 1])
    return np.asarray(calibration.T_tool_from_image @ calibration.scale @ pixels)


def test_the_published_calibration_of_2024_is_read_to_the_last_digit(file: Path) -> None:
    calibration = read_calibration(file)
    assert calibration.spacing == (0.229389190673828, 0.220979690551758)
    np.testing.assert_array_equal(
        calibration.scale, np.diag([0.229389190673828, 0.220979690551758, 1, 1])
    )
    rows = [line.split(",") for line in CHALLENGE_2024.splitlines()[6:]]
    np.testing.assert_array_equal(calibration.T_tool_from_image, np.array(rows, float))


def test_windows_line_ends_and_a_byte_order_mark_do_not_matter(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + CHALLENGE_2024.replace("\n", "\r\n").encode())
    assert read_calibration(file).spacing == (0.229389190673828, 0.220979690551758)


@pytest.mark.parametrize("lines", [0, 1, 5, 9])
def test_too_few_lines_are_refused(file: Path, lines: int, refused: Refused) -> None:
    file.write_text("\n".join(CHALLENGE_2024.splitlines()[:lines]))
    with refused(str(file), f"found {lines} lines", "expected 10", kind=InputError):
        read_calibration(file)


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (2, "a,0,0,0", "'a'"),
        (8, "one,2,3,4", "'one'"),
        (2, "nan,0,0,0", "finite"),
        (7, "1,0,0,inf", "finite"),
        (2, "0,0,0,0", "positive"),
        (3, "0,-0.22,0,0", "positive"),
        (2, "0.22,0.01,0,0", "diag(sx, sy, 1, 1)"),
        (2, "0.22,0,0,5", "diag(sx, sy, 1, 1)"),
        (4, "0,0,0.22,0", "diag(sx, sy, 1, 1)"),
        (2, "0.22,0,0", "4 rows of 4 numbers"),
        (8, "1,0,0,0,0", "4 rows of 4 numbers"),
        (8, "", "4 rows of 4 numbers"),
        (7, "0.5,-0.2,0.9,-70", "not rigid"),
        (10, "0,0,1,1", "not rigid"),
    ],
)
def test_a_broken_matrix_is_refused(
    file: Path, line: int, text: str, words: str, refused: Refused
) -> None:
    change(file, line, text)
    with refused(str(file), words, "expected", kind=InputError):
        read_calibration(file)


def test_a_mirrored_image_to_tool_matrix_is_refused(file: Path, refused: Refused) -> None:
    for line in (7, 8, 9):
        first, rest = CHALLENGE_2024.splitlines()[line - 1].split(",", 1)
        change(file, line, f"{-float(first)},{rest}")
    with refused(str(file), "not rigid", "det -1.000", kind=InputError):
        read_calibration(file)


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n\xff\xfe" * 40, b"\0" * 500])
def test_a_binary_file_is_refused(file: Path, content: bytes, refused: Refused) -> None:
    file.write_bytes(content)
    with refused(str(file), kind=InputError):
        read_calibration(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, refused: Refused) -> None:
    for path in (tmp_path / "nothing.csv", tmp_path):
        with refused(str(path), "pass --calib", kind=InputError):
            read_calibration(path)


def test_a_spacing_alone_makes_a_calibration_without_a_tool() -> None:
    calibration = from_spacing(0.1, 0.2)
    assert calibration.spacing == (0.1, 0.2)
    np.testing.assert_array_equal(calibration.T_tool_from_image, np.eye(4))


@pytest.mark.parametrize("spacing", [(0, 1), (1, -0.1), (np.nan, 1), (1, np.inf)])
def test_a_spacing_that_is_not_positive_is_refused(
    spacing: tuple[float, float], refused: Refused
) -> None:
    with refused("two positive numbers in mm", kind=InputError):
        from_spacing(*spacing)


@given(transforms(1), st.floats(0.02, 1.0), st.floats(0.02, 1.0), st.floats(0.0, 2.0))
def test_pixels_of_image_to_probe_land_where_they_did_whatever_its_third_column(
    rigid: Array, spacing_x: float, spacing_y: float, thickness: float
) -> None:
    image_to_probe = rigid[0] @ np.diag([spacing_x, spacing_y, thickness, 1.0])
    calibration = from_image_to_probe(image_to_probe, "here")
    assert calibration.spacing == pytest.approx((spacing_x, spacing_y))
    x, y = np.array([[0.0, 639.0, 0.0, 639.0, 7.0], [0.0, 0.0, 479.0, 479.0, 300.0]])
    expected = image_to_probe @ np.stack([x, y, 0 * x, 0 * x + 1])
    np.testing.assert_allclose(pixel_places(calibration, x, y), expected, atol=1e-9)
    assert np.linalg.det(calibration.T_tool_from_image) == pytest.approx(1.0)


def test_a_skewed_image_to_probe_is_split_evenly_between_its_axes() -> None:
    image_to_probe = np.array(
        [  # SpinePhantomFreehand of PlusLibData: its axes are at 92.7 degrees
            [-0.00157821, 0.0785919, -0.00803285, 15.3978],
            [-0.0839128, 0.00372697, 0.0153803, 49.5705],
            [0.0159024, 0.00714276, 0.0803604, -8.63446],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    calibration = from_image_to_probe(image_to_probe, "spine")
    x, y = np.array([[0.0, 819.0, 0.0], [0.0, 0.0, 615.0]])
    expected = image_to_probe @ np.stack([x, y, 0 * x, 0 * x + 1])
    off = np.linalg.norm(pixel_places(calibration, x, y) - expected, axis=0)
    # Half of 2.7 degrees over 819 x 0.0854 mm, and over 615 x 0.0790 mm.
    assert off == pytest.approx([0.0, 1.68, 1.16], abs=0.02)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.zeros((4, 4)), "pixel axes"),
        (np.diag([0.1, 0.0, 0.1, 1.0]), "pixel axes"),
        (np.diag([0.1, np.nan, 0.1, 1.0]), "finite"),
        (np.eye(4) + np.diag([np.inf], 3), "finite"),
        (
            np.array([[0.1, 0.1, 0, 0], [0, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
            "cosine 0.707",
        ),
    ],
)
def test_an_unusable_image_to_probe_is_refused(matrix: Array, words: str, refused: Refused) -> None:
    with refused("--image-to-probe", words, "expected", kind=InputError):
        from_image_to_probe(matrix, "--image-to-probe")


@given(transforms(3))
def test_matrices_of_all_frames_are_split_frame_by_frame(rigid: Array) -> None:
    T_world_from_pixel = rigid @ np.diag([0.1, 0.2, 0.0, 1.0])
    spacing, T_world_from_image = split_pixel_matrices(T_world_from_pixel, "here")
    np.testing.assert_allclose(spacing, [0.1, 0.2])
    np.testing.assert_allclose(T_world_from_image[:, :3, :3], rigid[:, :3, :3], atol=1e-9)
