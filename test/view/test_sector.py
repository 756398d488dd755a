from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

from tusrec.errors import InputError
from view.sector import Clip, Fan, ever_lit, fan, rectangle

Refused = Callable[..., AbstractContextManager[None]]


def test_a_clip_rectangle_counts_pixels_from_0() -> None:
    mask = rectangle((6, 8), Clip(2, 1, 3, 4))
    assert mask.sum() == 12
    assert mask[1:5, 2:5].all()


@pytest.mark.parametrize(
    "clip", [Clip(-1, 0, 3, 3), Clip(0, 0, 9, 3), Clip(0, 4, 3, 3), Clip(0, 0, 0, 3)]
)
def test_a_rectangle_that_leaves_the_image_or_is_empty_is_refused(
    clip: Clip, refused: Refused
) -> None:
    with refused("--clip", "8 x 6", kind=InputError):
        rectangle((6, 8), clip)


def test_a_fan_holds_what_is_between_its_angles_and_radii() -> None:
    mask = fan((101, 101), Fan(origin=(50, 0), angles=(-45, 30), radii=(20, 80)))
    assert mask[20, 50]
    assert mask[80, 50]
    assert not mask[19, 50]
    assert not mask[81, 50]
    assert mask[40, 11]  # 44.3 degrees to the left
    assert not mask[40, 9]
    assert mask[40, 73]  # 29.9 degrees to the right
    assert not mask[40, 74]


def test_a_fan_in_pixels_that_are_not_square_is_round_in_mm() -> None:
    mask = fan((101, 101), Fan((50, 0), (-90, 90), (0, 40)), aspect=2.0)
    assert mask[20, 50]
    assert not mask[21, 50]
    assert mask[0, 90]


@pytest.mark.parametrize(
    "sector",
    [Fan((0, 0), (45, -45), (1, 2)), Fan((0, 0), (-1, 1), (2, 1)), Fan((0, 0), (-1, 1), (-1, 1))],
)
def test_a_fan_whose_numbers_are_the_wrong_way_round_is_refused(
    sector: Fan, refused: Refused
) -> None:
    with refused("--fan", "lower one first", kind=InputError):
        fan((5, 5), sector)


def test_what_is_bright_in_any_frame_is_ultrasound_and_text_beside_it_is_not() -> None:
    frames = np.zeros((3, 60, 60), np.uint8)
    frames[0, 10:30, 10:50] = 90
    frames[2, 25:50, 15:45] = 60
    frames[:, 32:36, 25:29] = 0  # a hole: an anechoic cyst
    frames[:, 2:8, 2:9] = 255  # text
    frames[1, 55, 55] = 200  # a stray pixel
    expected = np.zeros((60, 60), np.bool_)
    expected[10:30, 10:50] = expected[25:50, 15:45] = True
    assert (ever_lit(frames) != expected).sum() < 30  # rounded corners
    assert ever_lit(frames)[32:36, 25:29].all()


def test_a_black_scan_is_taken_whole() -> None:
    assert ever_lit(np.zeros((2, 9, 9), np.uint8)).all()
