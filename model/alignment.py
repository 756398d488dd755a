"""Two frames laid on each other to a fraction of a pixel: what differs then came from across.

A shift of half a pixel within the picture changes speckle more than a tenth of a millimetre across
does. So the in-plane motion, once it is known, is taken out by resampling the second frame, and
each cell is asked how much of its speckle is lost still, and what shift is left: the latter by
least squares on the grey levels' gradient (Lucas and Kanade, IJCAI 1981). Nothing here is learnt.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from model.canonical import SIDE
from model.cells import CELLS, in_plane_shifts, middles

KERNEL, STRIDE = 8, 4  # pixels that a filter sees, and from one place of it to the next
FILTERS = 32
TRAITS = FILTERS + 6  # numbers a cell that tell how two aligned frames differ
SHOWN = 0.99  # share of what a filter sees that must be speckle
HIDDEN = -1e7  # a contrast that stands for nothing shown, and spoils whatever it is mixed into
LEAST_CONTRAST = -10.0  # beyond all that speckle has
STIFFNESS = 0.01  # of the residual shift, beside mean squared gradients of about 0.5
LARGEST_RESIDUAL = 1.5  # pixels
LEAST_LOST = 1e-4


@dataclass(frozen=True)
class Detail:
    """B frames as others are laid on them.

    image: (B, 1, SIDE, SIDE) contrast, or HIDDEN. gradient: (B, 2, SIDE, SIDE) along x, y.
    structure: (B, 3, CELLS, CELLS) mean xx, xy, yy of its products.
    filtered: (B, FILTERS, SIDE / STRIDE, SIDE / STRIDE).
    """

    image: Tensor
    gradient: Tensor
    structure: Tensor
    filtered: Tensor


@dataclass(frozen=True)
class Remainder:
    """What tells two aligned frames apart, of B pairs.

    traits: (B, TRAITS, CELLS, CELLS) root of the share of its correlation that each filter has
    lost; the shift; root of what all grey levels have lost; logarithms of the gradient's strength
    along x and y and of the share.
    shift: (B, CELLS^2, 2) that is left along x and y, pixels.
    share: (B, CELLS^2) of each cell that shows speckle in both.
    """

    traits: Tensor
    shift: Tensor
    share: Tensor


def detail_of(image: Tensor) -> Detail:
    """Frames (B, 2, SIDE, SIDE) of `canonical.network_input` as others are laid on them."""
    filtered = _filtered(image[:, :1])
    image = image.to(filtered.dtype).contiguous()
    gradient = _gradient(image)
    x, y = gradient.unbind(1)
    structure = [in_cells(product[:, None]) for product in (x * x, x * y, y * y)]
    return Detail(_marked(image), gradient, torch.cat(structure, dim=1), filtered)


@torch.no_grad()
def remainder(a: Detail, image_b: Tensor, motion: Tensor, description: Tensor) -> Remainder:
    """How frames `a` differ from others after `motion` (B, 6), from b to a, is taken out.

    image_b: as `Detail.image`. description: (B, 6) of `Canvas.description`.
    """
    b = resampled(image_b.float(), motion, description).to(a.image.dtype)
    both = (torch.minimum(a.image, b) > LEAST_CONTRAST).to(b.dtype)
    difference = (b - a.image).mul_(both)  # in place, as new memory takes longer than the product
    contrast = b.mul_(both)
    planes = both, difference * difference, a.gradient * difference
    share, energy, pull = (in_cells(plane).float() for plane in planes)
    left = _residual(a.structure.float(), pull)
    traits = [
        root_of_lost(_lost(a.filtered, _filtered(contrast), both)),
        left,
        root_of_lost(energy / (2 * share + 1e-3)),
        (a.structure[:, (0, 2)].float() + STIFFNESS).log(),
        (share + 0.01).log(),
    ]
    return Remainder(torch.cat(traits, dim=1), left.flatten(2).mT, share.flatten(1))


def resampled(image: Tensor, motion: Tensor, description: Tensor) -> Tensor:
    """Images (B, C, SIDE, SIDE) as seen from the frames that `motion` (B, 6) leads to.

    Beyond the canvas is what lies at its edge.
    """
    rows, columns = in_plane_shifts(motion, description)
    line = middles(SIDE, image.device)
    grid = torch.empty(len(image), SIDE, SIDE, 2, device=image.device)
    torch.sub(line, rows[:, :, None], out=grid[..., 0])
    torch.sub(line[:, None], columns[:, None], out=grid[..., 1])
    with torch.autocast(image.device.type, enabled=False):  # places want float32
        return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)


def cosines(count: int) -> Tensor:
    """The `count` lowest filters (count, KERNEL, KERNEL) of the cosine transform in the plane."""
    line = torch.arange(KERNEL)
    waves = torch.cos(math.pi * (line[None] + 0.5) * line[:, None] / KERNEL)
    waves /= waves.norm(dim=1, keepdim=True)
    filters = torch.einsum("iy,jx->ijyx", waves, waves).reshape(-1, KERNEL, KERNEL)
    return filters[(line[:, None] + line[None]).flatten().argsort(stable=True)[:count]]


@cache
def _filters(device: torch.device) -> Tensor:
    return cosines(FILTERS)[:, None].to(device, memory_format=torch.channels_last)


def _filtered(contrast: Tensor) -> Tensor:
    """(B, 1, SIDE, SIDE) -> (B, FILTERS, n, n), channels last, in which means are fast."""
    padding = (KERNEL - STRIDE) // 2
    found = functional.conv2d(contrast, _filters(contrast.device), stride=STRIDE, padding=padding)
    return found.contiguous(memory_format=torch.channels_last)


def _lost(a: Tensor, b: Tensor, both: Tensor) -> Tensor:
    """Share of its correlation that each filter has lost (B, FILTERS, CELLS, CELLS)."""
    seen = (in_windows(both) > SHOWN).to(a.dtype)
    difference = (a - b).mul_(seen)
    energy = in_cells((a * a).addcmul_(b, b).mul_(seen))  # powers of bfloat16 are slow on a CPU
    return in_cells(difference.mul_(difference)).float() / (energy.float() + 1e-3)


def _residual(structure: Tensor, pull: Tensor) -> Tensor:
    """Shift (B, 2, CELLS, CELLS) that is left in each cell, pixels along x and y."""
    pull_x, pull_y = pull.unbind(1)
    xx, xy, yy = structure.unbind(1)
    xx, yy = xx + STIFFNESS, yy + STIFFNESS
    shift = torch.stack([yy * pull_x - xy * pull_y, xx * pull_y - xy * pull_x], dim=1)
    shift = shift / (xx * yy - xy * xy)[:, None]
    return shift.clamp(-LARGEST_RESIDUAL, LARGEST_RESIDUAL)


def _marked(image: Tensor) -> Tensor:
    """Contrast (B, 1, SIDE, SIDE) with HIDDEN where none is shown, and all around the canvas."""
    contrast, shown = image[:, :1], functional.pad(image[:, 1:, 1:-1, 1:-1], (1, 1, 1, 1))
    return torch.where(shown > 0, contrast, HIDDEN)


def _gradient(image: Tensor) -> Tensor:
    """Central differences (B, 2, SIDE, SIDE) of the contrast, 0 where a neighbour is not shown."""
    contrast, shown = image[:, :1], image[:, 1:]
    parts = []
    for dim in (3, 2):
        before, after = ((torch.roll(contrast, n, dim), torch.roll(shown, n, dim)) for n in (1, -1))
        parts.append(0.5 * (after[0] - before[0]) * after[1] * before[1] * shown)
    return torch.cat(parts, dim=1)


def in_cells(values: Tensor) -> Tensor:
    """Means (B, C, CELLS, CELLS) over the cells of values (B, C, n, n)."""
    if values.shape[1] > 1 and values.is_contiguous(memory_format=torch.channels_last):
        return functional.avg_pool2d(values, values.shape[-1] // CELLS)
    return _means(values, _cell_means(values.shape[-1], values.device))


def in_windows(values: Tensor) -> Tensor:
    """Means (B, C, n / STRIDE, n / STRIDE) over what a filter sees at each place, 0 beyond."""
    return _means(values, _window_means(values.shape[-1], values.device))


def _means(values: Tensor, means: Tensor) -> Tensor:
    """Values (B, C, n, n) by means (n, m) of rows and of columns; products are fast on a CPU."""
    return means.mT @ (values @ means)


@cache
def _cell_means(side: int, device: torch.device) -> Tensor:
    places = torch.arange(side, device=device) * CELLS // side
    return functional.one_hot(places, CELLS) * (CELLS / side)


@cache
def _window_means(side: int, device: torch.device) -> Tensor:
    first = STRIDE * torch.arange(side // STRIDE, device=device) - (KERNEL - STRIDE) // 2
    after = torch.arange(side, device=device)[:, None] - first
    return ((after >= 0) & (after < KERNEL)) / KERNEL


def root_of_lost(lost: Tensor) -> Tensor:
    """Root of a share of correlation that is lost: as motion across, while that is small."""
    return lost.clamp(min=LEAST_LOST).sqrt()
