"""The canvas: any probe's speckle the same size, its geometry exact, gain gone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from model import canonical
from model.block_matching import moving_mask
from model.canonical import NOTHING, SIDE, Canvas, bounding_box, network_input, speckle_size
from tusrec import poses

SIGMA = (3.0, 2.0)  # of the point spread function: rows, columns


def speckle(count: int = 8, sigma: tuple[float, float] = SIGMA) -> NDArray[np.uint8]:
    """Independent frames of log-compressed speckle of known size, a black frame around them."""
    rng, shape = np.random.default_rng(0), (200, 260)
    frames = []
    for _ in range(count):
        parts = [ndimage.gaussian_filter(rng.normal(size=shape), sigma) for _ in range(2)]
        envelope = np.hypot(*parts)
        grey = 120 + 40 * np.log(envelope / envelope.mean())
        frames.append(np.pad(np.clip(grey, 1, 255), ((10, 30), (40, 20))))
    return np.stack(frames).astype(np.uint8)


def canvas_of(frames: NDArray[np.uint8], spacing: tuple[float, float] = (0.2, 0.1)) -> Canvas:
    return Canvas.of(frames, moving_mask(frames), spacing)


def levels_of(frames: NDArray[np.uint8], canvas: Canvas) -> torch.Tensor:
    mask = torch.ones(frames.shape[1:])
    return canonical.to_canvas(torch.from_numpy(frames), mask, canvas)


def test_speckle_size_is_proportional_to_the_point_spread_function_at_any_pixel() -> None:
    """Local contrast takes a fifth of it; what matters is that it takes the same of every probe."""
    for scale in (0.8, 1.0, 1.5):
        sigma = (SIGMA[0] * scale, SIGMA[1] * scale)
        frames = speckle(sigma=sigma)
        mask = np.zeros(frames.shape[1:], bool)
        mask[10:210, 40:300] = True
        lateral, axial = speckle_size(frames, mask, (0.2, 0.1))
        # |rho|^2 = exp(-d^2 / (2 sigma^2)) is .58 where half the logarithm's correlation is left.
        assert lateral == pytest.approx(0.8 * 1.05 * sigma[1] * 0.2, rel=0.1)
        assert axial == pytest.approx(0.8 * 1.05 * sigma[0] * 0.1, rel=0.1)


def test_a_scaled_copy_of_a_probe_gives_the_same_canvas_and_scaled_units() -> None:
    frames = speckle()
    small, large = canvas_of(frames, (0.2, 0.1)), canvas_of(frames, (0.6, 0.3))
    assert small.size == large.size
    np.testing.assert_array_equal(levels_of(frames, small), levels_of(frames, large))
    np.testing.assert_allclose(large.units()[3:], 3 * small.units()[3:], rtol=1e-6)
    np.testing.assert_allclose(large.units()[:3], small.units()[:3], rtol=1e-6)


def test_gain_contrast_and_tgc_leave_no_trace() -> None:
    frames = speckle()
    slope = np.linspace(0.6, 0.8, frames.shape[1])[None, :, None]
    changed = (frames * slope + np.where(frames > 0, 20, 0)).astype(np.uint8)
    canvas = canvas_of(frames)
    a, b = (network_input(levels_of(f, canvas))[:, 0].ravel() for f in (frames, changed))
    assert np.corrcoef(a, b)[0, 1] > 0.97


def test_what_does_not_move_is_cropped_and_shown_as_nothing() -> None:
    canvas = canvas_of(speckle())
    top, bottom, left, right = canvas.box
    assert abs(top - 10) <= 5
    assert abs(bottom - 210) <= 5
    assert abs(left - 40) <= 5
    assert abs(right - 300) <= 5
    levels = levels_of(speckle(), canvas)
    assert levels.shape == (8, SIDE, SIDE)
    assert (levels[:, 0] == NOTHING).all()
    assert network_input(levels)[:, 1].mean() > 0.05


def test_the_centre_of_the_canvas_is_the_centre_of_the_box_in_image_mm() -> None:
    canvas = Canvas((0, 480, 0, 640), (320, 320), (0.2, 0.1), (0.4, 0.2))
    np.testing.assert_allclose(canvas.centre_mm, [0.2 * 320.5, 0.1 * 240.5, 0.0])
    assert canvas.half_extent_mm == pytest.approx((64.0, 24.0))


@given(
    x=st.floats(0.03, 0.5), y=st.floats(0.03, 0.5), wide=st.floats(0.1, 1.0), long=st.floats(0.1, 1)
)
@settings(max_examples=30, deadline=None)
def test_one_unit_of_every_freedom_displaces_the_edge_by_a_pixel_or_a_speckle(
    x: float, y: float, wide: float, long: float
) -> None:
    canvas = Canvas((0, 480, 0, 640), (300, 200), (x, y), (wide, long))
    edge = np.array([canvas.half_extent_mm[0], canvas.half_extent_mm[1], 0.0, 1.0])
    for number, expected in enumerate([wide, wide, canvas.pixel_mm[0], *canvas.pixel_mm, wide]):
        xi = np.zeros(6)
        xi[number] = 1e-3 * canvas.units()[number]
        moved = (poses.exp(xi) @ edge - edge)[:3] / 1e-3
        part = {0: 2, 1: 2, 2: 0, 3: 0, 4: 1, 5: 2}[number]
        assert abs(moved[part]) == pytest.approx(expected, rel=1e-2)


def test_an_empty_mask_leaves_the_whole_picture() -> None:
    assert bounding_box(np.zeros((5, 7), bool)) == (0, 5, 0, 7)


@pytest.mark.parametrize("shape", [(2, 40, 30), (2, 30, 900)])
def test_pictures_of_any_size_fit_the_canvas(shape: tuple[int, int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    canvas = canvas_of(frames)
    assert levels_of(frames, canvas).shape == (2, SIDE, SIDE)
    assert np.isfinite(canvas.description()).all()


@pytest.mark.parametrize("odd", ["air", "noise"])
def test_what_a_probe_shows_before_and_after_it_touches_does_not_set_the_size(odd: str) -> None:
    """Reverberation of air is in wide bands; near-black noise shows no speckle at all."""
    frames, (height, width) = speckle(10), (200, 260)
    rng = np.random.default_rng(1)
    grain = rng.normal(size=(height, width))
    bands = 120 + 60 * np.sin(np.arange(height) / 6)[:, None] + ndimage.gaussian_filter(grain, 9)
    picture = {"air": np.where(np.arange(height)[:, None] < 120, bands, 1), "noise": grain > 2}[odd]
    changed = frames.copy()
    for number in (0, 1, 8, 9):
        changed[number, 10:210, 40:300] = picture
    mask = frames.max(axis=0) > 0
    np.testing.assert_allclose(
        speckle_size(changed, mask, (0.2, 0.1)), speckle_size(frames, mask, (0.2, 0.1)), rtol=0.03
    )
