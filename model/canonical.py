"""Canonical input: frames of any probe, pixel and picture size on one canvas of speckle.

A frame is cropped to what moves, resampled so that its speckle is about CELL pixels wide (or as
fine as the canvas allows), freed of gain and contrast, and laid in the middle of the canvas. The
measured size of the speckle travels with it: out-of-plane motion is learnt in widths of the
speckle, so that probes differ little to the network. It is told of the width too, for lenses do not
scale with it: what it makes of probes far outside `training.simulated` is a guess.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model import block_matching
from model.block_matching import Grid
from model.speckle import half_width
from tusrec.frames import Frames, evenly_spread

SIDE = 320  # pixels of the square canvas
CELL = 1.1  # pixels of the canvas to one half-width of the speckle's correlation, at most
SAMPLES = 9  # frames that the speckle is measured on
LEAST_SHOWN = 0.5  # of the most that one of them shows, or it may be of air
FINENESS = 2.0  # pixels to a half-width when it is measured
LAGS = 24  # pixels over which its correlation is looked at
STEPS_PER_UNIT = 30.0  # of the 8-bit canvas, to one standard deviation of local contrast
NOTHING = -128  # on the 8-bit canvas, where no speckle is shown
AT_ONCE = 8  # frames brought to the canvas: more of them in float32 leave a CPU's cache


@dataclass(frozen=True)
class Canvas:
    """How the frames of one scan come to the canvas.

    box: (top, bottom, left, right) of the original pixels that are shown.
    size: (rows, columns) of the canvas that they fill. spacing_mm: (x, y) of the original pixels.
    speckle_mm: (lateral, axial) half-widths of the speckle's correlation.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    speckle_mm: tuple[float, float]

    @classmethod
    def of(cls, frames: Frames, moving: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> Self:
        """The canvas of frames (N, H, W) uint8, of which a few are looked at.

        moving: (H, W) what moves in them.
        """
        box = bounding_box(moving)
        speckle = speckle_size(_sample(frames), moving, spacing_mm)
        extent = (box[3] - box[2]) * spacing_mm[0], (box[1] - box[0]) * spacing_mm[1]
        columns, rows = (
            min(round(CELL * e / s), SIDE) for e, s in zip(extent, speckle, strict=True)
        )
        return cls(box, (max(rows, 16), max(columns, 16)), spacing_mm, speckle)

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Size (x, y) of a pixel of the canvas."""
        top, bottom, left, right = self.box
        x = (right - left) * self.spacing_mm[0] / self.size[1]
        return x, (bottom - top) * self.spacing_mm[1] / self.size[0]

    @property
    def half_extent_mm(self) -> tuple[float, float]:
        """Half the width and height of the part that is filled."""
        return self.pixel_mm[0] * self.size[1] / 2, self.pixel_mm[1] * self.size[0] / 2

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """The canvas's centre in image mm (3,); the first pixel is at (1, 1) spacings."""
        top, bottom, left, right = self.box
        x, y = (left + right + 1) / 2, (top + bottom + 1) / 2
        return np.array([x * self.spacing_mm[0], y * self.spacing_mm[1], 0.0])

    def units(self) -> NDArray[np.float64]:
        """Lengths and angles (6,) that count as one, of xi = (rotations, translations).

        About one pixel of the canvas or one half-width of the speckle at its edge: so all six
        numbers are of like size for any probe.
        """
        (half_x, half_y), wide = self.half_extent_mm, self.speckle_mm[0]
        pixel_x, pixel_y = self.pixel_mm
        return np.array([wide / half_y, wide / half_x, pixel_x / half_y, pixel_x, pixel_y, wide])

    def description(self) -> NDArray[np.float32]:
        """What the network is told about the scan (6,): speckle and picture size, as logarithms."""
        lateral, axial = self.speckle_mm
        shares = lateral / self.pixel_mm[0], axial / self.pixel_mm[1]
        filled = self.size[0] / SIDE, self.size[1] / SIDE
        values = (lateral / 0.4, axial / lateral / 0.5, *shares, *filled)
        return np.asarray(np.log(values), np.float32)


def to_canvas(frames: Tensor, mask: Tensor, canvas: Canvas) -> Tensor:
    """Frames (B, H, W) uint8 and what moves in them (H, W) -> (B, SIDE, SIDE) int8."""
    top, bottom, left, right = canvas.box
    shown = frames[:, top:bottom, left:right]
    mask = mask[top:bottom, left:right]
    parts = torch.split(shown, AT_ONCE)
    return torch.cat([_to_canvas(part.float(), mask, canvas) for part in parts])


def _to_canvas(frames: Tensor, mask: Tensor, canvas: Canvas) -> Tensor:
    grid = Grid(canvas.size, canvas.pixel_mm, (0,), (0,))
    image, valid = block_matching.normalise(frames, mask, grid)
    levels = (image * STEPS_PER_UNIT).round().clamp(-127, 127)
    levels = torch.where(valid > 0, levels, float(NOTHING)).to(torch.int8)
    rows, columns = canvas.size
    above, before = (SIDE - rows) // 2, (SIDE - columns) // 2
    margins = (before, SIDE - columns - before, above, SIDE - rows - above)
    return functional.pad(levels, margins, value=NOTHING)


def network_input(levels: Tensor) -> Tensor:
    """Canvases (B, SIDE, SIDE) int8 -> (B, 2, SIDE, SIDE): local contrast, and 1 where there is.

    Channels last.
    """
    shown = levels != NOTHING
    contrast = torch.where(shown, levels.float() / STEPS_PER_UNIT, 0.0)
    return torch.stack([contrast, shown.float()], dim=-1).permute(0, 3, 1, 2)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the pixels set in a mask (H, W); all of it if none is."""
    if not mask.any():
        return 0, mask.shape[0], 0, mask.shape[1]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def speckle_size(
    frames: NDArray[np.uint8], mask: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> tuple[float, float]:
    """Lateral and axial shift in mm at which half the speckle's correlation is left.

    frames: (S, H, W). The median of those that show speckle as the others do: a probe that is put
    on or lifted off shows the reverberation of air, which is coarser, or nothing.
    """
    shown = torch.from_numpy(mask.astype(np.float32))
    alone = [torch.from_numpy(frame[None].astype(np.float32)) for frame in frames]
    found = np.array([_speckle_size(frame, shown, spacing_mm) for frame in alone])
    usual = found[:, 2] >= LEAST_SHOWN * found[:, 2].max()
    lateral, axial, _ = np.median(found[usual], axis=0)
    return float(lateral), float(axial)


def _speckle_size(
    frame: Tensor, mask: Tensor, spacing_mm: tuple[float, float]
) -> tuple[float, float, float]:
    """Lateral and axial size in one frame (1, H, W), and the share of the frame that shows any.

    Measured on all valid pixels together, after local contrast normalisation. What is local is a
    matter of the speckle's own size, so it is measured again on pixels of it.
    """
    lateral, axial, shown = _size_on_pixels(frame, mask, spacing_mm, spacing_mm)
    for _ in range(2):
        pixel = max(lateral / FINENESS, spacing_mm[0]), max(axial / FINENESS, spacing_mm[1])
        lateral, axial, shown = _size_on_pixels(frame, mask, spacing_mm, pixel)
    return lateral, axial, shown


def _size_on_pixels(
    frame: Tensor, mask: Tensor, spacing_mm: tuple[float, float], pixel_mm: tuple[float, float]
) -> tuple[float, float, float]:
    """As `_speckle_size`, on pixels of about `pixel_mm`."""
    height, width = frame.shape[1:]
    rows = max(round(height * spacing_mm[1] / pixel_mm[1]), 16)
    columns = max(round(width * spacing_mm[0] / pixel_mm[0]), 16)
    image, valid = block_matching.normalise(frame, mask, Grid((rows, columns), pixel_mm, (), ()))
    lateral, axial = (float(half_width(_profile(image, valid, dim))[0]) for dim in (2, 1))
    x, y = width * spacing_mm[0] / columns, height * spacing_mm[1] / rows
    return lateral * x, axial * y, float(valid.mean())


def _profile(image: Tensor, valid: Tensor, dim: int) -> NDArray[np.float64]:
    """Correlation (1, L) of (S, H, W) along `dim` at lags 0, 1, ... until it is below one half."""
    profile = [1.0]
    length = image.shape[dim]
    energy = float(image.square().sum() / valid.sum().clamp(min=1.0))
    for lag in range(1, min(LAGS, length)):
        a, b = image.narrow(dim, 0, length - lag), image.narrow(dim, lag, length - lag)
        both = valid.narrow(dim, 0, length - lag) * valid.narrow(dim, lag, length - lag)
        profile.append(float((a * b).sum() / both.sum().clamp(min=1.0)) / max(energy, 1e-6))
        if profile[-1] < 0.5:
            break
    return np.array([profile])


def _sample(frames: Frames) -> NDArray[np.uint8]:
    picks = evenly_spread(frames.shape[0], SAMPLES)
    return np.concatenate([frames[pick : pick + 1] for pick in picks])
