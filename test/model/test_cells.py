"""Cells are shifted as the rigid motion of the picture says."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.canonical import SIDE, Canvas
from model.cells import cell_shifts, centres


@given(xi=st.tuples(*[st.floats(-2, 2)] * 6), told=st.tuples(*[st.floats(-0.5, 0.5)] * 6))
@settings(max_examples=30, deadline=None)
def test_cells_shift_as_the_rigid_motion_in_millimetres_says(
    xi: tuple[float, ...], told: tuple[float, ...]
) -> None:
    told = (*told[:4], min(told[4], 0), min(told[5], 0))
    canvas = canvas_of(told)
    shifts = cell_shifts(torch.tensor([xi]), torch.tensor([told]))[0].numpy()
    places = centres(torch.device("cpu")).numpy() * SIDE / 2 * np.array(canvas.pixel_mm)
    wx, wy, wz, tx, ty, tz = np.array(xi) * canvas.units()
    x, y = places.T
    moved = np.column_stack([tx - wz * y, ty + wz * x, tz + wx * y - wy * x])
    lengths = np.array([*canvas.pixel_mm, canvas.speckle_mm[0]])
    assert np.abs(shifts - moved / lengths).max() < 0.03 * (1 + np.abs(shifts).max())


def test_shifts_of_cells_are_as_exact_where_arithmetic_is_coarse() -> None:
    xi, told = torch.tensor([[0.3, -0.2, 0.5, 31.3, -7.9, 1.1]]), torch.zeros(1, 6)
    exact = cell_shifts(xi, told)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cell_shifts(xi, told), exact, rtol=0, atol=0)


def canvas_of(told: tuple[float, ...]) -> Canvas:
    """A canvas that `Canvas.description` describes by `told`, but for whole pixels."""
    lateral = 0.4 * math.exp(told[0])
    axial = lateral * 0.5 * math.exp(told[1])
    pixel = lateral / math.exp(told[2]), axial / math.exp(told[3])
    rows, columns = (round(SIDE * math.exp(share)) for share in told[4:])
    box = (0, round(rows * pixel[1] / 0.001), 0, round(columns * pixel[0] / 0.001))
    return Canvas(box, (rows, columns), (0.001, 0.001), (lateral, axial))
