"""Frames laid on each other: a known motion leaves nothing, an unknown one is told."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from model.alignment import (
    FILTERS,
    KERNEL,
    STRIDE,
    TRAITS,
    Remainder,
    detail_of,
    in_cells,
    in_windows,
    remainder,
    resampled,
)
from model.canonical import SIDE
from model.cells import CELLS, cell_shifts
from model.pose_net import DESCRIPTION

INNER = slice(2, -2)  # cells that nothing from beyond the canvas reaches


def speckle(count: int = 1, seed: int = 0) -> torch.Tensor:
    """Canvases (count, 2, SIDE, SIDE) of smooth noise of variance one."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, SIDE, SIDE, generator=generator)
    kernel = torch.from_numpy(np.outer(*[np.exp(-(np.arange(-6, 7) ** 2) / 8)] * 2)).float()
    smooth = functional.conv2d(noise, kernel[None, None], padding=6)
    return torch.cat([smooth / smooth.std(), torch.ones_like(smooth)], dim=1)


def rest_of(a: torch.Tensor, b: torch.Tensor, *in_plane: float) -> Remainder:
    motion = torch.tensor([[0.0, 0.0, *(in_plane or (0.0, 0.0, 0.0)), 0.0]])
    return remainder(detail_of(a), detail_of(b).image, motion, torch.zeros(1, DESCRIPTION))


def inner(rest: Remainder) -> tuple[torch.Tensor, torch.Tensor]:
    """What filters have lost, and the shift that is left, in the middle of the picture."""
    traits = rest.traits[0, :, INNER, INNER]
    return traits[:FILTERS], traits[FILTERS : FILTERS + 2]


def moved(image: torch.Tensor, *in_plane: float) -> torch.Tensor:
    """The picture as it is after rock, lateral and axial motion."""
    motion = torch.tensor([[0.0, 0.0, *in_plane, 0.0]])
    return resampled(image, motion, torch.zeros(1, DESCRIPTION))


@pytest.mark.parametrize("side", [SIDE, SIDE // STRIDE])
def test_products_give_the_means_that_pooling_does(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, side, side, generator=generator)
    last = values.contiguous(memory_format=torch.channels_last)
    expected = functional.avg_pool2d(values, side // CELLS)
    torch.testing.assert_close(in_cells(values), expected)
    torch.testing.assert_close(in_cells(last), expected)
    windows = functional.avg_pool2d(values, KERNEL, STRIDE, padding=(KERNEL - STRIDE) // 2)
    torch.testing.assert_close(in_windows(values), windows)


@pytest.mark.parametrize("in_plane", [(0.0, 3.0, 0.0), (0.0, 0.0, -2.0), (1.5, 0.0, 0.0)])
def test_a_picture_is_resampled_as_its_cells_shift(in_plane: tuple[float, ...]) -> None:
    line = torch.arange(SIDE, dtype=torch.float32)
    ramps = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
    shifted = ramps - moved(ramps, *in_plane)
    found = functional.avg_pool2d(shifted, SIDE // CELLS)[..., INNER, INNER]
    motion = torch.tensor([[0.0, 0.0, *in_plane, 0.0]])
    expected = cell_shifts(motion, torch.zeros(1, DESCRIPTION))[..., :2].mT
    expected = expected.reshape(1, 2, CELLS, CELLS)[..., INNER, INNER]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_frames_of_the_same_speckle_have_lost_next_to_nothing_once_they_are_aligned() -> None:
    frame = speckle()
    apart = moved(frame, -0.3, -2.4, 1.3)  # what was at p is at p - shift
    lost, left = inner(rest_of(frame, apart, 0.3, 2.4, -1.3))
    assert lost[:8].mean() < 0.1  # the finest filters lose what resampling blurs
    assert lost.mean() < 0.2
    assert left.abs().max() < 0.1
    assert inner(rest_of(frame, apart))[0].median() > 0.5


def test_a_fraction_of_a_pixel_that_is_left_is_told_in_every_cell() -> None:
    frame = speckle()
    rest = rest_of(frame, moved(frame, 0.0, 0.3, -0.2))
    left = inner(rest)[1]
    assert (left.mean(dim=(1, 2)) - torch.tensor([-0.3, 0.2])).abs().max() < 0.05
    assert left.std(dim=(1, 2)).max() < 0.1
    assert rest.traits.shape == (1, TRAITS, CELLS, CELLS)
    torch.testing.assert_close(
        rest.shift[0].mT.reshape(2, CELLS, CELLS), rest.traits[0, FILTERS : FILTERS + 2]
    )


def test_what_is_lost_grows_with_what_differs_and_is_the_root_of_one_between_strangers() -> None:
    frame, other = speckle(2)[:, None]
    means = []
    for share in (0.05, 0.2, 1.0):
        contrast = np.sqrt(1 - share**2) * frame[:, :1] + share * other[:, :1]
        lost, _ = inner(rest_of(frame, torch.cat([contrast, frame[:, 1:]], dim=1)))
        means.append(lost[:16].mean().item())
    assert means[0] == pytest.approx(0.05 / np.sqrt(2), rel=0.25)
    assert means[0] < 0.4 * means[1] < 0.4 * means[2]
    assert means[2] == pytest.approx(1.0, abs=0.2)


def test_where_either_frame_shows_nothing_nothing_is_compared() -> None:
    frame, hidden = speckle(), speckle(seed=1)
    hidden[..., : SIDE // 2] = 0
    rest = rest_of(frame, hidden)
    assert rest.share.reshape(CELLS, CELLS)[:, : CELLS // 2].max() == 0
    assert rest.traits[:, : FILTERS + 3, :, : CELLS // 2 - 1].abs().max() < 0.02


@pytest.mark.parametrize("shift", [1e-4, 3e-4, 9e-4])
def test_what_is_not_shown_spoils_nothing_at_shifts_of_next_to_no_pixel(shift: float) -> None:
    image = speckle()
    columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    image[:, :, torch.from_numpy(np.abs(columns - SIDE / 2) > rows / 2 + 30)] = 0.0
    rest = rest_of(image, image, 0.0, shift, 0.0)
    assert rest.traits[:, :FILTERS].max() < 0.05
    assert rest.shift.abs().max() < 0.01
