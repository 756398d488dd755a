"""Which pixels of a frame are ultrasound: a rectangle, a fan, or whatever ever lights up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tusrec.errors import InputError
from tusrec.frames import Frames, evenly_spread

LOOKED_AT = 64  # frames, evenly spread, tell which pixels ever light up
DARK = 2  # grey values up to this are black, with the ringing of lossy video


@dataclass(frozen=True)
class Clip:
    """A rectangle of pixels, counted from 0 as PLUS's ClipRectangleOrigin and Size are."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Fan:
    """The sector of a curved probe, in pixels from 0: PLUS's FanOriginPixel, Angles and Radii.

    angles: degrees from straight down, negative to the left.
    """

    origin: tuple[float, float]
    angles: tuple[float, float]
    radii: tuple[float, float]


def rectangle(shape: tuple[int, int], clip: Clip) -> NDArray[np.bool_]:
    """Mask (H, W) of a clip rectangle; InputError if it leaves the image or is empty."""
    height, width = shape
    fits = 0 <= clip.x < clip.x + clip.width <= width and (
        0 <= clip.y < clip.y + clip.height <= height
    )
    if not fits:
        raise InputError(
            f"--clip {clip.x} {clip.y} {clip.width} {clip.height}: expected a rectangle inside "
            f"the image of {width} x {height} pixels; check its numbers"
        )
    mask = np.zeros(shape, np.bool_)
    mask[clip.y : clip.y + clip.height, clip.x : clip.x + clip.width] = True
    return mask


def fan(shape: tuple[int, int], sector: Fan, aspect: float = 1.0) -> NDArray[np.bool_]:
    """Mask (H, W) of a fan; `aspect` is a pixel's height over its width.

    Radii count in pixels along x. InputError if angles or radii are not in ascending order.
    """
    if sector.angles[0] >= sector.angles[1] or not 0 <= sector.radii[0] < sector.radii[1]:
        raise InputError(
            f"--fan: angles {sector.angles} and radii {sector.radii}, expected the lower one first"
        )
    y, x = np.indices(shape, np.float64)
    across, down = x - sector.origin[0], (y - sector.origin[1]) * aspect
    radius, angle = np.hypot(across, down), np.degrees(np.arctan2(across, down))
    within = (radius >= sector.radii[0]) & (radius <= sector.radii[1])
    return np.asarray(within & (angle >= sector.angles[0]) & (angle <= sector.angles[1]))


def ever_lit(frames: Frames) -> NDArray[np.bool_]:
    """Mask (H, W) of the largest region that is bright in any of some frames, without holes.

    A whole mask for a scan that is black throughout.
    """
    looked_at = evenly_spread(frames.shape[0], LOOKED_AT)
    brightest = np.max([frames[i : i + 1][0] for i in looked_at], axis=0)
    lit = ndimage.binary_opening(brightest > DARK, iterations=2)
    regions, found = ndimage.label(lit)
    if not found:
        return np.ones(brightest.shape, np.bool_)
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(regions == largest))
