"""Where the canvas's cells lie, and how a rigid motion in canvas units shifts them."""

import torch
from torch import Tensor
from torch.nn import functional

from model.canonical import SIDE
from model.cell_fit import basis_across, basis_in_plane

CELLS = 20  # a side of the canvas
BLOCKS = 10  # likewise, of 2 x 2 cells each
FREEDOMS = 6  # rotations about x, y, z and translations along them, about the canvas's centre
IN_PLANE, ACROSS = (2, 3, 4), (0, 1, 5)  # places in the motion


def geometry(description: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the cells (B, CELLS^2, 2), -1..1 over the picture, and the rock's ratio (B,).

    description: (B, 6) of `Canvas.description`.
    """
    return centres(description.device) / _filled(description)[:, None], _ratio(description)


def centres(device: torch.device) -> Tensor:
    """Centres (CELLS^2, 2) x, y of the cells, -1..1 over the canvas, row by row."""
    line = middles(CELLS, device)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def middles(count: int, device: torch.device) -> Tensor:
    """Middles (count,) of `count` parts of -1..1."""
    return (torch.arange(count, device=device) + 0.5) * 2 / count - 1


def cell_shifts(motion: Tensor, description: Tensor) -> Tensor:
    """Shifts (B, CELLS^2, 3) of the cells along x, along y and across, by motion (B, 6)."""
    places, ratio = geometry(description)
    along_x, along_y = basis_in_plane(places, ratio)
    in_plane, across = motion[:, IN_PLANE, None], motion[:, ACROSS, None]
    with torch.autocast(motion.device.type, enabled=False):  # in bfloat16 30 pixels are 30 +- 0.1
        parts = along_x @ in_plane, along_y @ in_plane, basis_across(places) @ across
    return torch.cat(parts, -1)


def block_shifts(motion: Tensor, description: Tensor) -> Tensor:
    """Shifts (B, BLOCKS^2, 2) of the blocks along x and y, in pixels, by motion (B, 6)."""
    grid = cell_shifts(motion, description)[..., :2].reshape(len(motion), CELLS, CELLS, 2)
    times = CELLS // BLOCKS
    return functional.avg_pool2d(grid.permute(0, 3, 1, 2), times).flatten(2).mT


def in_plane_shifts(motion: Tensor, description: Tensor) -> tuple[Tensor, Tensor]:
    """Shifts along x of every row (B, SIDE), and along y of every column (B, SIDE).

    In halves of the canvas. To first order in the angle, a row is shifted as one along x, and a
    column along y.
    """
    line = middles(SIDE, motion.device)
    filled_x, filled_y = _filled(description)[:, :, None].unbind(1)
    rock, lateral, axial = (motion[:, IN_PLANE, None] * (2 / SIDE)).unbind(1)
    ratio = _ratio(description)[:, None]
    return lateral - rock * line / filled_y, axial + ratio * rock * line / filled_x


def of_cells(blocks: Tensor) -> Tensor:
    """Values of the blocks (B, BLOCKS^2, n) -> of the cells in them (B, CELLS^2, n)."""
    grid = blocks.reshape(len(blocks), BLOCKS, BLOCKS, -1)
    times = CELLS // BLOCKS
    return grid.repeat_interleave(times, 1).repeat_interleave(times, 2).flatten(1, 2)


def _filled(description: Tensor) -> Tensor:
    """Shares (B, 2) x, y of the canvas that are filled."""
    *_, filled_y, filled_x = description.unbind(1)
    return torch.stack([filled_x, filled_y], dim=1).exp()


def _ratio(description: Tensor) -> Tensor:
    _, slimness, in_x, in_y, filled_y, filled_x = description.unbind(1)
    pixel_y_over_x = 0.5 * torch.exp(slimness - in_y + in_x)
    return torch.exp(filled_x - filled_y) / pixel_y_over_x.square()
