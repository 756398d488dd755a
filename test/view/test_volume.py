import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tusrec import poses
from tusrec.errors import InputError, OutOfMemoryError
from view import volume as volume_module
from view.holes import FILLED, MEASURED, fill_holes
from view.volume import (
    COMPOUNDINGS,
    INTERPOLATIONS,
    Grid,
    Method,
    Volume,
    grid_around,
    reconstruct,
    require_memory,
)

Array = NDArray[np.float64]
METHODS = [Method(*names) for names in product(INTERPOLATIONS, COMPOUNDINGS)]
COUNTED = [m for m in METHODS if m.compounding == "MEAN" or m.interpolation == "LINEAR"]
ROOT = Path(__file__).parents[2]
ONE_PIXEL = np.ones((1, 1), np.bool_)


def at(*places: tuple[float, float, float]) -> Array:
    """T_space_from_pixel that puts the only pixel of each frame, (1, 1), at a place."""
    T = np.tile(np.eye(4), (len(places), 1, 1))
    T[:, :3, 3] = np.array(places) - [1, 1, 0]
    return T


def pixels(*values: int) -> NDArray[np.uint8]:
    """Frames of one pixel each."""
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def cube(size: int, spacing: float = 1.0) -> Grid:
    return Grid(np.zeros(3), spacing, (size, size, size))


def put(values: NDArray[np.uint8], T: Array, method: Method, grid: Grid | None = None) -> Volume:
    return reconstruct(values, T, ONE_PIXEL, grid or cube(4), method)


@pytest.mark.parametrize(
    ("compounding", "expected"), [("MEAN", 40), ("LATEST", 30), ("MAXIMUM", 70)]
)
def test_a_voxel_hit_by_three_frames_takes_what_its_compounding_says(
    compounding: str, expected: int
) -> None:
    T = at((2.1, 1.0, 3.0), (1.9, 1.2, 3.0), (2.0, 0.8, 2.9))
    volume = put(pixels(20, 70, 30), T, Method("NEAREST_NEIGHBOR", compounding))
    assert volume.values[3, 1, 2] == expected
    assert volume.mask.sum() == volume.mask[3, 1, 2] == MEASURED


def test_halves_go_up_to_the_next_voxel_as_in_plus() -> None:
    volume = put(pixels(9), at((0.5, 1.5, 2.49)), Method())
    assert np.argwhere(volume.mask).tolist() == [[2, 2, 1]]


def test_linear_shares_a_pixel_among_eight_voxels_and_takes_the_weighted_mean() -> None:
    T = at((1.25, 1.0, 1.0), (1.75, 1.0, 1.0))
    volume = put(pixels(0, 200), T, Method("LINEAR", "MEAN"))
    # Voxel 1 has 0.75 of the first pixel and 0.25 of the second; voxel 2 the other way round.
    assert volume.values[1, 1, 1:3].tolist() == [50, 150]
    assert np.argwhere(volume.mask).tolist() == [[1, 1, 1], [1, 1, 2]]


@pytest.mark.parametrize(("compounding", "expected"), [("LATEST", 100), ("MAXIMUM", 160)])
def test_linear_picks_among_the_means_of_single_frames(compounding: str, expected: int) -> None:
    frames = np.array([[[120, 200]], [[50, 150]]], np.uint8)
    # In each frame the pixels lie 0.5 either side of a voxel, so it takes their plain mean.
    T = at((0.5, 1.0, 1.0), (0.5, 1.0, 1.0))
    method = Method("LINEAR", compounding)
    volume = reconstruct(frames, T, np.ones((1, 2), np.bool_), cube(4), method)
    assert volume.values[1, 1, 1] == expected


@pytest.mark.parametrize("compounding", COMPOUNDINGS)
@pytest.mark.parametrize("error", [-1e-13, 1e-13])
def test_linear_takes_no_rounding_of_a_pose_for_data_of_the_next_layer(
    compounding: str, error: float
) -> None:
    T = at((1.0, 1.0, 0.0), (1.0, 1.0, 2.0 + error))
    volume = put(pixels(40, 80), T, Method("LINEAR", compounding))
    assert volume.values[:, 1, 1].tolist() == [40, 0, 80, 0]
    assert volume.mask[:, 1, 1].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("method", METHODS, ids=str)
@given(seed=st.integers(0, 2**32 - 1), grey=st.integers(1, 255))
@settings(max_examples=10)
def test_frames_of_one_grey_give_a_volume_of_that_grey_wherever_they_lie(
    method: Method, seed: int, grey: int
) -> None:
    random = np.random.default_rng(seed)
    T = poses.exp(random.normal(size=(4, 6)) * [1, 1, 1, 20, 20, 20])
    frames = np.full((4, 12, 9), grey, np.uint8)
    whole = np.ones((12, 9), np.bool_)
    volume = reconstruct(frames, T, whole, grid_around(T, whole, 0.7), method)
    assert volume.mask.any()
    assert set(volume.values[volume.mask > 0]) == {grey}
    assert not volume.values[volume.mask == 0].any()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_pixel_has_a_place_in_the_grid_around_its_frames(interpolation: str) -> None:
    T = poses.exp(np.random.default_rng(5).normal(size=(6, 6)) * [1, 1, 1, 9, 9, 9])
    frames = np.full((6, 8, 10), 1, np.uint8)
    whole = np.ones((8, 10), np.bool_)
    grid = grid_around(T, whole, 0.37)
    accumulated = volume_module._Mean(grid.voxels, exact=interpolation != "LINEAR")
    splat = volume_module._linear if interpolation == "LINEAR" else volume_module._nearest
    y, x = np.indices((8, 10)).reshape(2, -1) + 1.0
    for frame, matrix in zip(frames, T, strict=True):
        places = (matrix @ [x, y, 0 * x, 0 * x + 1])[:3]
        in_voxels = list((places - grid.origin[:, None]) / grid.spacing)
        kept = volume_module._inside(in_voxels, frame.ravel(), grid.size)
        accumulated.add(splat(*kept, grid.size))
    assert accumulated.weights.sum() == pytest.approx(frames.size, rel=1e-5)


def test_pixels_outside_the_mask_and_the_grid_are_left_out() -> None:
    frames = np.array([[[10, 20, 30]]], np.uint8)
    T = at((-5.0, 0.0, 0.0))
    T[0, 0, 0] = 3.0  # pixels at x = -3, 0, 3 along the grid
    for mask, left in (([1, 1, 1], [20, 30]), ([1, 0, 1], [30])):
        volume = reconstruct(frames, T, np.array([mask], np.bool_), cube(4), Method())
        assert volume.values[volume.mask > 0].tolist() == left


def test_the_grid_starts_at_the_lowest_corner_and_ends_at_the_voxel_nearest_the_highest() -> None:
    T = np.tile(np.diag([0.5, 0.25, 1.0, 1.0]), (2, 1, 1))
    T[1, 2, 3] = 3.3
    mask = np.zeros((10, 20), np.bool_)
    mask[2:7, 4:15] = True  # x 5..15, y 3..7, counted from 1
    grid = grid_around(T, mask, 0.5)
    np.testing.assert_allclose(grid.origin, [2.5, 0.75, 0.0])
    assert grid.size == (11, 3, 8)


@pytest.mark.parametrize("method", COUNTED, ids=str)
def test_a_volume_takes_the_memory_that_was_said(method: Method) -> None:
    grid = cube(160)
    said = require_memory(grid, method)
    tracemalloc.start()
    reconstruct(pixels(1, 2), at((3.0, 3.0, 3.0), (4.0, 4.0, 4.0)), ONE_PIXEL, grid, method)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.95 * said < peak < 1.1 * said


# Its voxels are noise, which takes as much memory to compress as any can.
WRITTEN = """
import sys
from pathlib import Path
import numpy as np
from tusrec.memory import peak_bytes
from view.images import write_volume
from view.volume import Grid, Method, Volume
grid, method = Grid(np.zeros(3), 1.0, (150, 200, 200)), Method(compounding="LATEST")
before = peak_bytes()
voxels = [np.random.default_rng(0).integers(0, 256, grid.size[::-1], np.uint8) for _ in range(2)]
write_volume(Path(sys.argv[1]), Volume(grid, *voxels))
print((peak_bytes() - before) / method.bytes_for(grid))
"""


def test_a_volume_takes_the_memory_that_was_said_to_be_written(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITTEN, str(tmp_path / "a.mha")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert 0.9 < float(done.stdout) < 1.1


@pytest.mark.parametrize("reach", [0, 2, 12])
def test_a_volume_of_data_throughout_takes_the_memory_that_was_said(reach: int) -> None:
    """But for what the few places take that are looked at together."""
    grid, method = Grid(np.zeros(3), 1.0, (200, 150, 80)), Method(fill_holes=reach)
    said = require_memory(grid, method)
    frames = np.full((80 // (1 + reach) + 1, 150, 200), 7, np.uint8)
    T = at(*((-1.0, -1.0, z * (1.0 + reach)) for z in range(len(frames))))
    tracemalloc.start()
    volume = reconstruct(frames, T, np.ones((150, 200), np.bool_), grid, method)
    if reach:
        volume = fill_holes(volume, reach)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (volume.mask > 0).mean() > 0.8
    assert peak < 1.1 * said + 25e6


def test_voxels_too_small_to_be_counted_are_refused() -> None:
    with pytest.raises(OutOfMemoryError, match="larger --voxel"):
        grid_around(at((1.0, 2.0, 3.0), (9.0, 2.0, 3.0)), ONE_PIXEL, 5e-324)


def test_a_voxel_that_more_pixels_hit_than_its_sum_holds_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(volume_module, "MOST_HITS", 3)
    whole, T = np.ones((2, 2), np.bool_), at((0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="smaller --voxel"):
        reconstruct(
            np.ones((1, 2, 2), np.uint8), T, whole, Grid(np.zeros(3), 9.0, (1, 1, 1)), Method()
        )


def test_a_volume_that_does_not_fit_is_refused_before_anything_is_allocated(
    refused: Callable[..., AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tusrec.memory.available_bytes", lambda: 9_999_999)
    with refused("100 x 100 x 100", "0.0 GB", "--voxel", kind=OutOfMemoryError):
        require_memory(cube(100), Method())
    assert require_memory(cube(99), Method()) == 99**3 * 10


def layers(*greys: int) -> Volume:
    """A volume of 7x7 voxels a layer; -1 is a layer without data."""
    values = np.tile(np.array(greys)[:, None, None], (1, 7, 7))
    mask = (values >= 0).astype(np.uint8)
    return Volume(cube(7), np.maximum(values, 0).astype(np.uint8), mask)


def test_a_gap_between_two_layers_is_filled_in_proportion() -> None:
    filled = fill_holes(layers(10, -1, -1, 40), 2)
    assert filled.values[:, 3, 3].tolist() == [10, 20, 30, 40]
    assert filled.mask[:, 3, 3].tolist() == [MEASURED, FILLED, FILLED, MEASURED]


def test_what_lies_beyond_the_data_or_out_of_reach_stays_empty() -> None:
    filled = fill_holes(layers(-1, 10, -1, -1, -1, 40, -1), 2)
    assert filled.mask[:, 3, 3].tolist() == [0, 1, 0, FILLED, 0, 1, 0]
    assert not fill_holes(layers(10, -1, -1, -1, -1, 40), 2).mask[1:5].any()


def test_filling_changes_no_voxel_that_was_measured_and_not_the_volume_itself() -> None:
    random = np.random.default_rng(1)
    mask = (random.random((9, 8, 7)) < 0.3).astype(np.uint8)
    values = random.integers(0, 256, mask.shape).astype(np.uint8) * mask
    volume = Volume(Grid(np.zeros(3), 1.0, (7, 8, 9)), values.copy(), mask.copy())
    filled = fill_holes(volume, 3)
    np.testing.assert_array_equal(volume.values, values)
    np.testing.assert_array_equal(filled.values[mask > 0], values[mask > 0])
    assert (filled.mask[mask > 0] == MEASURED).all()
    assert (filled.mask == FILLED).any()


def test_holes_are_filled_alike_in_one_part_or_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    mask = (random.random((9, 8, 7)) < 0.2).astype(np.uint8)
    values = random.integers(0, 256, mask.shape).astype(np.uint8) * mask
    volume = Volume(Grid(np.zeros(3), 1.0, (7, 8, 9)), values, mask)
    at_once = fill_holes(volume, 3)
    monkeypatch.setattr("view.holes.AT_ONCE", 11)
    in_parts = fill_holes(volume, 3)
    np.testing.assert_array_equal(in_parts.values, at_once.values)
    np.testing.assert_array_equal(in_parts.mask, at_once.mask)
