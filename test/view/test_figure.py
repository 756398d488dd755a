"""Curves and axes of the figure and the report."""

import numpy as np
import pytest

from tusrec import poses
from tusrec.comparison import freedoms
from tusrec.metrics import Motion
from view.curves import from_first, from_previous
from view.figure import few_ticks

CENTRE = np.array([60.0, 50.0, 0.0])


def turned_aside() -> Motion:
    """The centre goes 10 mm to the side while the frame turns by 90 degrees, in one step."""
    T = poses.exp(np.array([[0, np.pi / 2, 0, 0, 0, 0]]))
    T[:, 0, 3] = 10.0
    T = poses.about_point(T, -CENTRE)
    return Motion(T, T)


def test_curves_from_the_first_frame_are_the_displacement_of_the_centre_and_its_turn() -> None:
    still, moved = from_first(turned_aside(), CENTRE)
    np.testing.assert_allclose(still, np.zeros(6), atol=1e-9)
    np.testing.assert_allclose(moved, [10, 0, 0, 0, 0, 90], atol=1e-9)


def test_a_turn_goes_on_beyond_half_a_turn_and_back() -> None:
    degrees = np.array([90.0, 170.0, 190.0, 260.0, 350.0, 200.0, 100.0, -30.0])
    axis = np.array([1.0, 2.0, -2.0]) / 3
    T = poses.exp(np.column_stack([np.radians(degrees)[:, None] * axis, np.zeros((8, 3))]))
    found = np.linalg.lstsq(
        axis[[2, 0, 1], None], from_first(Motion(T, T), CENTRE)[1:, 3:].T, rcond=None
    )[0]
    np.testing.assert_allclose(found[0], degrees, atol=1e-6)


def test_curves_from_the_frame_before_are_the_freedoms_that_slopes_are_of() -> None:
    motion = turned_aside()
    expected = freedoms(motion.T_previous_from_frame, CENTRE)[0]
    found = from_previous(motion, CENTRE)[1]
    np.testing.assert_allclose(found[:3], expected[:3])
    np.testing.assert_allclose(found[3:], np.degrees(expected[3:]))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-120, 3, [-100, -50, 0]),
        (0, 130, [0, 50, 100]),
        (-60, 60, [-50, 0, 50]),
        (10, 80, [10, 80]),
        (-20.4, 10.2, [-20, 10]),
    ],
)
def test_an_axis_has_ticks_every_50_mm_or_at_its_ends(
    low: float, high: float, ticks: list[float]
) -> None:
    assert few_ticks(low, high) == ticks
