"""The pose network: frames encoded once, any two of them compared by how their speckle correlates.

The canvas is cut into CELLS x CELLS cells. In each, every feature of one frame is correlated with
every feature of the other: that is what physics says motion is seen by, it is one matrix product a
pair, and as features see 16 pixels, products of different features are correlations under shifts.
What the correlations mean for a cell's shift within and across the picture is learnt, the same way
in every cell, in the light of the cells around it and of the whole scan; the motion of the picture
follows from its cells in closed form (`cell_fit`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.cell_fit import basis_across, basis_in_plane, fit_across, fit_in_plane

ARCHITECTURE = (
    "canvas 320x320 of local contrast and validity, encoded once to 32 channels at 80x80; "
    "correlation of all channels of two frames in 20x20 cells and, coarser, 10x10; a residual CNN "
    "over the cells, told of the scan; shifts of each cell and weights; weighted least squares"
)
DESCRIPTION = 6  # numbers that describe the scan, `Canvas.description`
FREEDOMS = 6  # rotations about x, y, z and translations along them, about the canvas's centre
CELLS = 20
BLOCKS = 10
CELL_SIDE = 4  # places of the fine map to a cell, and of the coarse one to a block
CHANNELS = 32
STEM = 48  # filters of STEM_KERNEL pixels at every STRIDE-th
STEM_KERNEL, STRIDE = 8, 4
OWN = 32  # numbers a cell that say what one frame's speckle looks like
WIDTH = 64
DILATIONS = (1, 2, 4, 1)
STEP, LARGEST_STEPS = 8, 5  # pixels by which known shifts are taken out, and how many times
LOG_SCALES = (-5.0, 3.0)  # least and largest
LOG_WEIGHTS = (-3.0, 7.0)
IN_PLANE, ACROSS = (2, 3, 4), (0, 1, 5)  # places in the motion


@dataclass(frozen=True)
class Encoded:
    """What comparisons need to know of each of B frames.

    fine, coarse: (B, places, CHANNELS + 1) features at every place of a padded map, and in the
        last channel the share of speckle there.
    cells, blocks: (B, CELLS^2 or BLOCKS^2, pixels, CHANNELS) these cut into cells, see `_cut`.
    own: (B, OWN + 1, CELLS, CELLS) cells' correlation with themselves, and the share of speckle.
    """

    fine: Tensor
    coarse: Tensor
    cells: Tensor
    blocks: Tensor
    own: Tensor

    def __getitem__(self, part: slice) -> "Encoded":
        """Successive frames."""
        return Encoded(*(getattr(self, name)[part] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.own)

    @classmethod
    def joined(cls, parts: Sequence["Encoded"]) -> "Encoded":
        """The frames of all parts."""
        names = cls.__dataclass_fields__
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def view(self, numbers: Tensor, guess: Tensor | None = None) -> "View":
        """Some of the frames (P,), as often as they are asked for, each for one comparison.

        guess: (P, BLOCKS^2, 2) shifts in pixels from here to the frame that it is compared with,
        as far as they are known; whole steps of them are taken out.
        """
        own = self.own.index_select(0, numbers)
        share = own[:, -1].flatten(1).float()
        if guess is None:
            cells, blocks = (p.index_select(0, numbers) for p in (self.cells, self.blocks))
            return View(cells, blocks, own, share, share.new_zeros(*share.shape, 2))
        steps = (guess / STEP).round().clamp(-LARGEST_STEPS, LARGEST_STEPS)
        blocks, _ = _cut(self.coarse, numbers, BLOCKS, steps)
        steps = _of_cells(steps)
        cells, share = _cut(self.fine, numbers, CELLS, steps)
        return View(cells, blocks, own, share, STEP * steps)


@dataclass(frozen=True)
class View:
    """A frame as it is compared with another: cells, blocks, own as in `Encoded`.

    share: (P, CELLS^2) of a cell that shows speckle. ahead: (P, CELLS^2, 2) shifts that have been
    taken out, in pixels.
    """

    cells: Tensor
    blocks: Tensor
    own: Tensor
    share: Tensor
    ahead: Tensor


@dataclass(frozen=True)
class Compared:
    """What two frames look like side by side, of B pairs.

    cells: (B, WIDTH, CELLS, CELLS). share: (B, CELLS^2) of a cell that shows speckle in both.
    ahead: (B, CELLS^2, 2) shift in pixels that has been taken out before they were compared.
    """

    cells: Tensor
    share: Tensor
    ahead: Tensor

    def weighted(self) -> Tensor:
        """Cells by the speckle they show, and how much that is: (B, WIDTH + 1, CELLS, CELLS).

        `PoseNet.conclude` wants the mean over pairs from all over the scan.
        """
        share = self.share.reshape(-1, 1, CELLS, CELLS)
        return torch.cat([self.cells.float() * share, share], dim=1)


@dataclass(frozen=True)
class Seen:
    """The answer for B pairs, in `Canvas.units`; the motion across up to one sign a pair.

    motion, log_scale: (B, 6) and logarithms of its Laplace scales.
    shifts: (B, CELLS^2, 3) of each cell along x and y and, as its size, across.
    log_weights: (B, CELLS^2, 3), logarithms of the inverse squares of their scales.
    share: (B, CELLS^2) of each cell that shows speckle.
    """

    motion: Tensor
    log_scale: Tensor
    shifts: Tensor
    log_weights: Tensor
    share: Tensor


class PoseNet(nn.Module):
    """(canvas a, canvas b) -> motion of b seen from a, and how sure of each part."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(2, STEM, STEM_KERNEL, STRIDE, padding=2, bias=False)
        features = nn.Conv2d(2 * STEM, CHANNELS, 1, bias=False)
        _start_from_cosines(stem, features)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(STEM))
        self.texture = nn.Sequential(nn.ReLU(), *_convolution(STEM, STEM))
        self.features = nn.Sequential(features, nn.BatchNorm2d(CHANNELS))
        self.coarse = nn.Sequential(
            nn.Conv2d(2 * STEM, CHANNELS, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
        )
        self.own = _mixing(CHANNELS**2, OWN)
        self.common = _mixing(CHANNELS**2, WIDTH)
        self.common_coarse = _mixing(CHANNELS**2, WIDTH)
        self.look = nn.Sequential(
            *_convolution(WIDTH + OWN + 1 + 2 + CHANNELS, WIDTH, kernel=1), _Block(1)
        )
        self.scan = nn.Sequential(
            nn.Linear(2 * WIDTH + DESCRIPTION, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
        )
        self.usual = nn.Sequential(*_convolution(WIDTH, WIDTH), nn.Conv2d(WIDTH, WIDTH, 1))
        self.consider = nn.Sequential(*(_Block(dilation) for dilation in DILATIONS))
        self.cell = nn.Conv2d(WIDTH, FREEDOMS, 1)
        self.sureness = nn.Sequential(
            nn.Linear(WIDTH + FREEDOMS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, FREEDOMS)
        )

    def forward(
        self, canvases: Tensor, pairs: Tensor, scan: Tensor, description: Tensor, guess: Tensor
    ) -> Seen:
        """Pairs (P, 2) of canvases (F, 2, SIDE, SIDE), of the scans numbered `scan` (P,).

        guess: (P, BLOCKS^2, 2), as for `Encoded.view`.
        """
        encoded = self.encode(canvases)
        compared = self.compare(encoded.view(pairs[:, 0]), encoded.view(pairs[:, 1], guess))
        means = _mean_of_group(compared.weighted().flatten(1), scan)
        everywhere = means.reshape(len(means), -1, CELLS, CELLS)
        return self.conclude(compared, everywhere, description)

    def encode(self, canvases: Tensor) -> Encoded:
        """Encode canvases (B, 2, SIDE, SIDE) of `canonical.network_input`."""
        filtered: Tensor = self.stem(canvases)  # (B, STEM, SIDE / 4, SIDE / 4)
        seen = torch.cat([filtered, self.texture(filtered)], dim=1)
        shown = functional.avg_pool2d(canvases[:, 1:], STRIDE).to(seen.dtype)
        half = functional.avg_pool2d(shown, 2)
        fine = _padded(torch.cat([self.features(seen) * shown, shown], dim=1), STEP // STRIDE)
        coarse = _padded(torch.cat([self.coarse(seen) * half, half], dim=1), STEP // STRIDE // 2)
        numbers = torch.arange(len(fine), device=fine.device)
        cells, share = _cut(fine, numbers, CELLS)
        own = _on_grid(self.own(_correlations(cells, cells)), CELLS)
        own = torch.cat([own, share.reshape(-1, 1, CELLS, CELLS).to(own.dtype)], dim=1)
        return Encoded(fine, coarse, cells, _cut(coarse, numbers, BLOCKS)[0], own)

    def compare(self, a: View, b: View) -> Compared:
        """B frames beside B others."""
        common = _on_grid(self.common(_correlations(a.cells, b.cells)), CELLS)
        coarse = _on_grid(self.common_coarse(_correlations(a.blocks, b.blocks)), BLOCKS)
        common = common + functional.interpolate(coarse, scale_factor=CELLS // BLOCKS)
        lost = _on_grid(_lost(a.cells, b.cells), CELLS)
        seen = torch.cat([common, 0.5 * (a.own + b.own), _places(common), lost], dim=1)
        return Compared(self.look(seen), torch.minimum(a.share, b.share), b.ahead - a.ahead)

    def conclude(self, pairs: Compared, scan: Tensor, description: Tensor) -> Seen:
        """The motion of each pair.

        scan: (B, WIDTH + 1, CELLS, CELLS) mean of `Compared.weighted` over pairs of the scan.
        description: (B, DESCRIPTION).
        """
        known = torch.cat([_overall(scan), _overall(pairs.weighted()), description], dim=1)
        told = self.scan(known)[:, :, None, None].to(pairs.cells.dtype)
        usual = (scan[:, :-1] / (scan[:, -1:] + 1e-3)).to(pairs.cells.dtype)
        considered = self.consider(pairs.cells + told + self.usual(usual))
        raw = self.cell(considered).flatten(2).mT.float()
        sizes = functional.softplus(raw[..., 2:3])
        shifts = torch.cat([raw[..., :2] + pairs.ahead, sizes], dim=-1)
        log_weights = raw[..., 3:].clamp(*LOG_WEIGHTS)
        weights = torch.exp(log_weights) * pairs.share[..., None]
        with torch.autocast(shifts.device.type, enabled=False):  # normal equations want float32
            motion, log_sd = _fit(shifts, weights, description)
        summary = _overall(replace(pairs, cells=considered).weighted())
        log_scale = log_sd + self.sureness(torch.cat([summary, log_sd], dim=1)).float()
        return Seen(motion, log_scale.clamp(*LOG_SCALES), shifts, log_weights, pairs.share)


def _start_from_cosines(stem: nn.Conv2d, features: nn.Conv2d) -> None:
    """Begin with the cosine transform's lowest frequencies, which keep most of the speckle."""
    with torch.no_grad():
        stem.weight.mul_(0.1)
        stem.weight[:, 0] += _cosines(STEM)
        features.weight.mul_(0.1)
        features.weight[:, :CHANNELS, 0, 0] += torch.eye(CHANNELS)


def _overall(weighted: Tensor) -> Tensor:
    """Means over the picture (B, WIDTH) of `Compared.weighted` (B, WIDTH + 1, CELLS, CELLS)."""
    sums = weighted.sum(dim=(2, 3))
    return sums[:, :-1] / (sums[:, -1:] + 1e-3)


def _mean_of_group(values: Tensor, group: Tensor) -> Tensor:
    """Each row of values (P, n) replaced by the mean of the rows of its group (P,)."""
    alike = (group[:, None] == group).to(values.dtype)
    means: Tensor = (alike / alike.sum(dim=1, keepdim=True)) @ values
    return means


def _fit(shifts: Tensor, weights: Tensor, description: Tensor) -> tuple[Tensor, Tensor]:
    """Motion (B, 6), and logarithms of its standard deviations were the cells independent."""
    places, ratio = _geometry(description)
    in_plane, in_plane_information = fit_in_plane(shifts[..., :2], weights[..., :2], places, ratio)
    across, across_information = fit_across(shifts[..., 2], weights[..., 2], places)
    order = torch.argsort(torch.tensor(ACROSS + IN_PLANE, device=shifts.device))
    motion = torch.cat([across, in_plane], dim=1)[:, order]
    information = torch.cat(
        [i.diagonal(dim1=1, dim2=2) for i in (across_information, in_plane_information)], dim=1
    )[:, order]
    return motion, -0.5 * information.log()


def cell_shifts(motion: Tensor, description: Tensor) -> Tensor:
    """Shifts (B, CELLS^2, 3) of the cells along x, along y and across, by motion (B, 6)."""
    places, ratio = _geometry(description)
    along_x, along_y = basis_in_plane(places, ratio)
    in_plane, across = motion[:, IN_PLANE, None], motion[:, ACROSS, None]
    return torch.cat([along_x @ in_plane, along_y @ in_plane, basis_across(places) @ across], -1)


def block_shifts(motion: Tensor, description: Tensor) -> Tensor:
    """Shifts (B, BLOCKS^2, 2) of the blocks along x and y, in pixels, by motion (B, 6)."""
    grid = cell_shifts(motion, description)[..., :2].reshape(len(motion), CELLS, CELLS, 2)
    times = CELLS // BLOCKS
    return functional.avg_pool2d(grid.permute(0, 3, 1, 2), times).flatten(2).mT


def _geometry(description: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the cells (B, CELLS^2, 2), -1..1 over the picture, and the rock's ratio (B,)."""
    _, slimness, in_x, in_y, filled_y, filled_x = description.unbind(1)
    pixel_y_over_x = 0.5 * torch.exp(slimness - in_y + in_x)
    ratio = torch.exp(filled_x - filled_y) / pixel_y_over_x.square()
    filled = torch.stack([filled_x, filled_y], dim=1).exp()
    return _centres(description.device) / filled[:, None], ratio


def _cosines(count: int) -> Tensor:
    """The `count` lowest filters (count, n, n) of the two-dimensional cosine transform."""
    n = STEM_KERNEL
    line = torch.arange(n)
    waves = torch.cos(math.pi * (line[None] + 0.5) * line[:, None] / n)
    waves /= waves.norm(dim=1, keepdim=True)
    filters = torch.einsum("iy,jx->ijyx", waves, waves).reshape(n * n, n, n)
    return filters[(line[:, None] + line[None]).flatten().argsort(stable=True)[:count]]


def _padded(features: Tensor, pixels: int) -> Tensor:
    """(B, C, n, n) -> (B, places, C), with nothing around it, LARGEST_STEPS of `pixels` wide."""
    return functional.pad(features, (LARGEST_STEPS * pixels,) * 4).flatten(2).mT.contiguous()


def _cut(
    features: Tensor, numbers: Tensor, grid: int, steps: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cells (P, grid^2, pixels, CHANNELS) of frames `numbers` (P,), and the share they show.

    features: of `_padded`. steps: (P, grid^2, 2) by which each cell's content lies further along
    in the other frame, so that it is looked up as far back here.
    Of unit energy in each cell and channel.
    """
    width = math.isqrt(features.shape[1])
    margin = (width - CELL_SIDE * grid) // 2
    line = margin + torch.arange(CELL_SIDE * grid, device=features.device)
    places = (line[:, None] * width + line).reshape(grid, CELL_SIDE, grid, CELL_SIDE)
    places = places.transpose(1, 2).reshape(1, grid**2, CELL_SIDE**2)
    places = places + (numbers * width**2)[:, None, None]
    if steps is not None:
        back = (steps[..., 1] * width + steps[..., 0]).long() * (margin // LARGEST_STEPS)
        places = places - back[..., None]
    cells = features.flatten(0, 1).index_select(0, places.flatten())
    cells = cells.reshape(*places.shape, -1)
    share, cells = cells[..., -1].float().mean(dim=-1), cells[..., :-1]
    energy = cells.square().sum(dim=2, keepdim=True, dtype=torch.float32)
    return cells * (energy + 1e-3).rsqrt().to(cells.dtype), share


def _of_cells(blocks: Tensor) -> Tensor:
    """Values of the blocks (B, BLOCKS^2, n) -> of the cells in them (B, CELLS^2, n)."""
    grid = blocks.reshape(len(blocks), BLOCKS, BLOCKS, -1)
    times = CELLS // BLOCKS
    return grid.repeat_interleave(times, 1).repeat_interleave(times, 2).flatten(1, 2)


def _lost(a: Tensor, b: Tensor) -> Tensor:
    """Root of what each channel has lost of its correlation, (B * cells, CHANNELS).

    For small motions across it grows in proportion to them. From the difference of the features,
    which loses nothing in bfloat16 as 1 minus their correlation would.
    """
    lost = (a - b).square().sum(dim=2, dtype=torch.float32) / 2
    return lost.clamp(min=1e-4).sqrt().flatten(0, 1)


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of every channel of `a` with every one of `b`, (B * cells, CHANNELS^2)."""
    return (a.mT @ b).reshape(-1, CHANNELS**2)


def _on_grid(values: Tensor, grid: int) -> Tensor:
    """(B * grid^2, n) -> (B, n, grid, grid)."""
    return values.reshape(-1, grid, grid, values.shape[1]).permute(0, 3, 1, 2)


def _centres(device: torch.device) -> Tensor:
    """Centres (CELLS^2, 2) x, y of the cells, -1..1 over the canvas, row by row."""
    line = (torch.arange(CELLS, device=device) + 0.5) * 2 / CELLS - 1
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def _places(grid: Tensor) -> Tensor:
    """Where each cell lies on the canvas, -1..1: (B, 2, CELLS, CELLS)."""
    places = _centres(grid.device).mT.reshape(2, CELLS, CELLS).to(grid.dtype)
    return places.expand(len(grid), -1, -1, -1)


class _Block(nn.Module):
    """Two convolutions beside which the input passes."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 1),
        )

    def forward(self, cells: Tensor) -> Tensor:
        changed: Tensor = cells + self.change(cells)
        return changed


def _convolution(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    """Convolution, BatchNorm and ReLU; BatchNorm trains faster than GroupNorm on a CPU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _mixing(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
