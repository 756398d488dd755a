"""Tilt in proportion to a long travel is taken out; that of a fan is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.canonical import Canvas
from model.travel import ELEVATIONAL, PIVOTING, REACHED, TILT, without_steady_tilt

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def canvas() -> Canvas:
    frames = np.random.default_rng(0).integers(0, 256, (8, 120, 160)).astype(np.uint8)
    return Canvas.of(frames, np.ones((120, 160), bool), (0.5, 0.5))


def sweep(canvas: Canvas, reach: float, pivoting: float, frames: int = 300) -> Array:
    """Steps that go on one way, `reach` halves of the picture far, tilting as told."""
    lever = canvas.half_extent_mm[1]
    rng = np.random.default_rng(1)
    xi = 0.001 * rng.normal(size=(frames - 1, 6))
    pace = 1 + 0.5 * np.sin(np.arange(frames - 1) / 20)
    xi[:, ELEVATIONAL] = reach * lever * pace / pace[1:].sum()
    xi[:, TILT] = pivoting * xi[:, ELEVATIONAL] / lever
    return xi


def upright(xi: Array, canvas: Canvas) -> Array:
    """The steps alone."""
    return without_steady_tilt(xi, np.tile(np.eye(6), (len(xi), 1, 1)), canvas)[0]


@given(st.floats(-1.0, PIVOTING[0] - 0.01), st.floats(REACHED[1] + 0.01, 6.0))
@settings(max_examples=30, deadline=None)
def test_a_sweep_does_not_keep_on_tilting(canvas: Canvas, pivoting: float, reach: float) -> None:
    xi = sweep(canvas, reach, pivoting)
    found = upright(xi, canvas)
    np.testing.assert_allclose(found[:, TILT], 0, atol=1e-9)
    np.testing.assert_array_equal(np.delete(found, TILT, axis=1), np.delete(xi, TILT, axis=1))


def test_a_tilt_that_comes_and_goes_during_a_sweep_is_kept(canvas: Canvas) -> None:
    xi = sweep(canvas, 3.0, 0.4)
    rocking = 0.01 * np.sin(np.arange(len(xi)) / 3)
    xi[:, TILT] += rocking
    np.testing.assert_allclose(upright(xi, canvas)[:, TILT], rocking, atol=1e-4)


def test_a_fan_keeps_its_tilt_however_often_it_goes_to_and_fro(canvas: Canvas) -> None:
    xi = sweep(canvas, 8.0, 1.0)
    xi[np.arange(len(xi)) % 60 >= 30] *= -1
    np.testing.assert_array_equal(upright(xi, canvas), xi)


def test_what_tilts_like_a_fan_keeps_its_tilt_however_far_wrong_signs_take_it(
    canvas: Canvas,
) -> None:
    xi = sweep(canvas, 4.0, PIVOTING[1] + 0.01)
    np.testing.assert_array_equal(upright(xi, canvas), xi)


@given(st.floats(0, 2), st.floats(-1, 1.5))
@settings(max_examples=30, deadline=None)
def test_a_mirrored_scan_comes_out_mirrored(canvas: Canvas, reach: float, pivoting: float) -> None:
    xi = sweep(canvas, reach, pivoting)
    mirror = np.array([-1.0, -1, 1, 1, 1, -1])
    expected = mirror * upright(xi, canvas)
    np.testing.assert_allclose(upright(mirror * xi, canvas), expected, atol=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps_or_none_at_all_and_no_motion_are_taken(canvas: Canvas, steps: int) -> None:
    still = np.zeros((steps, 6))
    np.testing.assert_array_equal(upright(still, canvas), still)


def test_the_covariance_is_that_of_the_steps_that_come_out(canvas: Canvas) -> None:
    xi, rng = sweep(canvas, 3.0, 0.4), np.random.default_rng(0)
    xi[:, TILT] += 0.001 * rng.normal(size=len(xi))
    root = rng.normal(size=(6, 6))
    change = np.linalg.lstsq(xi, upright(xi, canvas), rcond=None)[0].T
    expected = change @ root @ root.T @ change.T
    _, covariance = without_steady_tilt(xi, np.tile(root @ root.T, (len(xi), 1, 1)), canvas)
    np.testing.assert_allclose(covariance[0], expected, atol=1e-9)
