"""Patchwise correlation of frames: where each patch went, and how much of its speckle is left.

A frame is cut into patches once, and its two spectra serve every interval. Correlation is the
normalised cross-correlation of a template with all places of a larger window, so that the peak
is not drawn towards zero shift as it is between two tapered windows.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tusrec.frames import Frames, evenly_spread

FINEST_PIXEL_MM = 0.15  # half the axial speckle size of a 7 MHz pulse: nothing finer is needed
COARSEST_SIDE = 1024  # frames of more working pixels than this a side are coarsened to it
PATCH = 48  # working pixels; of the order of 100 speckle cells
MARGIN = 8  # largest shift that is looked for, working pixels
WINDOW = PATCH + 2 * MARGIN
COARSENING = 4  # of the local mean and contrast, which are taken over 5 x 5 such blocks
MIN_CONTRAST = 1.0  # grey levels; a local deviation below it is no speckle
MIN_VALID = 0.4  # least fraction of a patch that must show tissue
GLOBAL_REACH = 4  # working pixels that a patch may lie from the whole frame's shift


@dataclass(frozen=True)
class Grid:
    """How frames (H, W) are resampled and cut into patches.

    size: (height, width) in working pixels. pixel_mm: their size (x, y).
    tops, lefts: first row and column of the patches along each axis.
    """

    size: tuple[int, int]
    pixel_mm: tuple[float, float]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> Self:
        """The grid of frames `shape` (H, W) with pixels of `spacing_mm` (x, y)."""
        (height, width), (spacing_x, spacing_y) = shape, spacing_mm
        rows, columns = _working(height, spacing_y), _working(width, spacing_x)
        pixel_mm = (spacing_x * width / columns, spacing_y * height / rows)
        return cls((rows, columns), pixel_mm, _starts(rows), _starts(columns))

    def centres_mm(self) -> NDArray[np.float64]:
        """Patch centres (P, 2) x, y in mm from the centre of the image, row by row."""
        offset = (PATCH - 1) / 2
        x = (np.array(self.lefts) + offset - (self.size[1] - 1) / 2) * self.pixel_mm[0]
        y = (np.array(self.tops) + offset - (self.size[0] - 1) / 2) * self.pixel_mm[1]
        return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _working(pixels: int, spacing: float) -> int:
    finest = round(pixels * min(spacing / FINEST_PIXEL_MM, 1.0))
    return min(max(finest, min(pixels, PATCH)), COARSEST_SIDE)


def _starts(length: int) -> tuple[int, ...]:
    count = max(-(-length // PATCH), 1)
    return tuple(np.linspace(0, max(length - PATCH, 0), count).round().astype(int).tolist())


def moving_mask(frames: Frames, samples: int = 16) -> NDArray[np.bool_]:
    """Pixels (H, W) that change over the scan: no surround, frozen text, or ruler.

    A pixel is masked if it and nearly all around it are the same in every sampled frame. Fewer
    than 8 frames cannot show what is frozen, so nothing is masked then.
    """
    count = frames.shape[0]
    if count < 8:
        return np.ones(frames.shape[1:], bool)
    picks = evenly_spread(count, samples)
    low = high = frames[picks[0] : picks[0] + 1][0]
    for pick in picks[1:]:
        frame = frames[pick : pick + 1][0]
        low, high = np.minimum(low, frame), np.maximum(high, frame)
    changes = torch.from_numpy((high != low).astype(np.float32))[None, None]
    nearby = functional.avg_pool2d(changes, 9, stride=1, padding=4, count_include_pad=False)
    return np.asarray(nearby[0, 0].numpy() > 0.1)


def normalise(frames: Tensor, mask: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Resample (B, H, W) grey levels and remove local mean and contrast.

    Returns the normalised frames (B, h, w), 0 where there is no speckle, and where there is,
    (B, h, w) of 0 and 1. Gain, TGC and attenuation vanish with the local mean and contrast.
    """
    image = resampled(frames, grid.size)
    tissue = (resampled(mask[None], grid.size) > 0.5).to(image.dtype)
    share = _blur(tissue).clamp(min=1e-3)
    residual = image - _blur(image * tissue) / share
    variance = _blur(residual.square() * tissue) / share
    valid = tissue * (variance > MIN_CONTRAST**2)
    return residual * variance.clamp(min=MIN_CONTRAST**2).rsqrt() * valid, valid


def resampled(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, H, W) in (B, *size) pixels: means where there are fewer, lines between if more."""
    if tuple(images.shape[-2:]) == size:
        return images
    return functional.interpolate(
        images[:, None], size, mode="bilinear", antialias=True, align_corners=False
    )[:, 0]


def _blur(image: Tensor) -> Tensor:
    """Local mean (B, h, w), at a quarter of the resolution, for it needs no more."""
    height, width = image.shape[-2:]
    size = (-(-height // COARSENING), -(-width // COARSENING))
    coarse = functional.interpolate(image[:, None], size, mode="area")
    for _ in range(2):
        coarse = functional.avg_pool2d(coarse, 3, stride=1, padding=1, count_include_pad=False)
    return functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[
        :, 0
    ]


@dataclass(frozen=True)
class Patches:
    """Spectra of the patches of B frames, P patches each.

    templates, windows: (B, P, WINDOW, WINDOW // 2 + 1) complex.
    template_energy: (B, P). window_energy: (B, P, L, L) under every shift, L = 2 MARGIN + 1.
    valid: (B, P) fraction of the patch that shows speckle.
    """

    templates: Tensor
    windows: Tensor
    template_energy: Tensor
    window_energy: Tensor
    valid: Tensor

    def __getitem__(self, key: slice) -> "Patches":
        """The patches of some of the frames."""
        return Patches(*(getattr(self, name)[key] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        """Number of frames."""
        return self.templates.shape[0]


def join(first: Patches, second: Patches) -> Patches:
    """The patches of the frames of `first`, then of `second`."""
    names = Patches.__dataclass_fields__
    return Patches(*(torch.cat([getattr(first, n), getattr(second, n)]) for n in names))


def cut(image: Tensor, valid: Tensor, grid: Grid) -> Patches:
    """Patches of normalised frames (B, h, w) and of their masks (B, h, w)."""
    windows = _windows(image, grid)
    inner = slice(MARGIN, MARGIN + PATCH)
    templates = torch.zeros_like(windows)
    templates[..., inner, inner] = windows[..., inner, inner]
    energy = _running_sum(_running_sum(windows.square(), -1), -2)
    return Patches(
        torch.fft.rfft2(templates),
        torch.fft.rfft2(windows),
        templates.square().sum(dim=(-1, -2)),
        energy,
        _windows(valid, grid)[..., inner, inner].mean(dim=(-1, -2)),
    )


def _windows(image: Tensor, grid: Grid) -> Tensor:
    height, width = grid.size
    right = max(PATCH - width, 0) + MARGIN
    bottom = max(PATCH - height, 0) + MARGIN
    padded = functional.pad(image, (MARGIN, right, MARGIN, bottom))
    cuts = [
        padded[:, top : top + WINDOW, left : left + WINDOW]
        for top in grid.tops
        for left in grid.lefts
    ]
    return torch.stack(cuts, dim=1)  # (B, P, WINDOW, WINDOW)


def _running_sum(values: Tensor, dim: int) -> Tensor:
    """Sums of PATCH neighbours along `dim`, WINDOW -> 2 MARGIN + 1."""
    total: Tensor = functional.pad(values, (1, 0) if dim == -1 else (0, 0, 1, 0)).cumsum(dim)
    shifts = 2 * MARGIN + 1
    return (total.narrow(dim, PATCH, shifts) - total.narrow(dim, 0, shifts)).clamp(min=0.0)


def correlate(a: Patches, b: Patches) -> Tensor:
    """Correlation (B, P, L, L) of the templates of `a` with `b` at shifts -MARGIN..MARGIN (y, x).

    Zero where either patch has too little speckle to say anything.
    """
    surface: Tensor = torch.fft.irfft2(a.templates.conj() * b.windows, s=(WINDOW, WINDOW))
    shifts = torch.arange(-MARGIN, MARGIN + 1, device=surface.device) % WINDOW
    surface = surface[..., shifts[:, None], shifts]
    energy = a.template_energy[..., None, None] * b.window_energy
    usable = (a.valid > MIN_VALID) & (b.valid > MIN_VALID)
    return surface * energy.clamp(min=1.0).rsqrt() * usable[..., None, None]


@dataclass(frozen=True)
class Peaks:
    """Sub-pixel peaks of correlation surfaces.

    shift: (..., 2) x, y in working pixels. height: (...) correlation at the peak.
    """

    shift: Tensor
    height: Tensor


def common_shift(surface: Tensor) -> Tensor:
    """Integer shift (B, 2) x, y at which all patches of (B, P, L, L) together agree best."""
    side = surface.shape[-1]
    best = surface.mean(dim=1).flatten(1).argmax(dim=1)
    return torch.stack([best % side, best // side], dim=-1) - MARGIN


def find_peaks(surface: Tensor, near: Tensor, reach: int) -> Peaks:
    """Highest point of (B, P, L, L) at most `reach` pixels from shift `near` (B or B, P, 2)."""
    shifts = torch.arange(-MARGIN, MARGIN + 1, device=surface.device)
    inside = ((shifts - near[..., None]).abs() <= reach) & (shifts.abs() < MARGIN)
    allowed = inside[..., 1, :, None] & inside[..., 0, None, :]
    allowed = allowed.reshape(allowed.shape[0], -1, *allowed.shape[-2:])
    best = surface.masked_fill(~allowed, -2.0).flatten(-2).argmax(dim=-1)
    side = surface.shape[-1]
    row, column = best // side, best % side
    row, column = row.clamp(1, side - 2), column.clamp(1, side - 2)
    flat = surface.flatten(-2)

    def at(dy: int, dx: int) -> Tensor:
        return flat.gather(-1, ((row + dy) * side + column + dx)[..., None])[..., 0]

    centre = at(0, 0)
    offset_x, rise_x = _vertex(at(0, -1), centre, at(0, 1))
    offset_y, rise_y = _vertex(at(-1, 0), centre, at(1, 0))
    shift = torch.stack([column + offset_x, row + offset_y], dim=-1) - MARGIN
    return Peaks(shift, (centre + rise_x + rise_y).clamp(-1.0, 1.0))


def _vertex(before: Tensor, centre: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Offset and rise of the vertex of the parabola through three neighbours."""
    slope = (after - before) / 2
    bend = (2 * centre - before - after).clamp(min=1e-6)
    offset = (slope / bend).clamp(-0.5, 0.5)
    return offset, offset * slope - offset.square() * bend / 2
