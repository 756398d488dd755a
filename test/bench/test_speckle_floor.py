"""What speckle can tell at best: more with a known lens, and all there is of a probe held alike."""

from dataclasses import replace

import numpy as np
import pytest

from bench.speckle_floor import Moved, course, floor, moved_pairs
from sim.probe import CONVEX


def test_a_lens_that_is_known_lets_less_error_stand() -> None:
    moved = [moved_pairs(course(number, "rotation"), 4) for number in range(6)]
    unknown, known = (floor(moved, lens_is_known=known) for known in (False, True))
    assert 0.03 < known < unknown < 0.2


def test_motion_that_pivots_in_one_place_under_one_lens_is_known_entirely() -> None:
    rng = np.random.default_rng(0)
    xi = np.zeros((50, 6))
    xi[:, (0, 1)] = rng.normal(scale=0.003, size=(50, 2))  # about the middle of the face
    assert floor([Moved(xi, xi, CONVEX)], lens_is_known=False) == pytest.approx(0, abs=1e-6)
    thicker = replace(CONVEX, lens_waist_mm=1.5 * CONVEX.lens_waist_mm)
    two_lenses = [Moved(xi, xi, CONVEX), Moved(xi, xi, thicker)]
    assert floor(two_lenses, lens_is_known=False) > 0.1


def test_a_screen_that_lingers_shows_less_than_has_happened() -> None:
    one = moved_pairs(course(0, "rotation"), 1)
    assert one.xi.shape == one.shown.shape
    blurred = [replace(one, shown=0.6 * one.xi + 0.4 * np.roll(one.xi, 1, axis=0))]
    sharp = [replace(one, shown=one.xi)]
    assert floor(blurred, lens_is_known=True) > floor(sharp, lens_is_known=True)
