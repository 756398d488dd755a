"""What a scanner shows in all frames alike, found and taken out of them.

Reverberation near the face, side lobes and flaws of an array move with the probe. Speckle under
them looks more alike from frame to frame than its motion leaves it, so that motion, across the
picture above all, comes out too small. What the mean pictures of all quarters of a scan have in
common is such clutter if tissue and its speckle have moved on by then. They have not, as the hand
rested or hardly moved, where frames far apart are still alike, or opposite, in what they have
beside it; where that is next to nothing; and where it is noise, new in every frame. Then nothing is
taken.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from tusrec.frames import Frames, evenly_spread

Float32 = NDArray[np.float32]

FEWEST = 32  # frames that may tell
QUARTERS = 4
SAMPLES = 128  # frames whose mean is taken
PAIRS = 8  # of successive frames
FINE = 17  # pixels a side beside whose mean there is texture
TILE = 32  # pixels a side
LEAST_ENERGY = 1.0  # of a tile's texture, grey levels squared: what quantisation alone makes
ALIKE = 0.15  # correlation of frames far apart less clutter: moving hands to .1, others from .17
NEARLY_ALL = 0.8  # of the texture that is in common: hands at rest from .85
NOISE = 0.3  # correlation of successive frames less clutter: at rest to .2, moving hands from .45


def cleared(frames: Frames, clutter: NDArray[np.int8]) -> Frames:
    """As `Cleared`; the frames themselves if there is no clutter, (0, 0)."""
    return Cleared(frames, clutter) if clutter.size else frames


@dataclass(frozen=True)
class Cleared:
    """Frames (N, H, W) less the texture (H, W) that they have in common, grey levels."""

    frames: Frames
    clutter: NDArray[np.int8]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W)."""
        return self.frames.shape

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        """Frames key.start..key.stop, (M, H, W) uint8. Black stays black."""
        shown = self.frames[key]
        less = shown.astype(np.int16)
        less -= self.clutter
        less *= shown > 0
        return less.clip(0, 255, out=less).astype(np.uint8)


def find_clutter(frames: Frames) -> NDArray[np.int8]:
    """The texture (H, W) that all frames of a scan have in common, grey levels; (0, 0) for none.

    In each part of the picture, as much of the mean texture as chance does not explain.
    """
    if frames.shape[0] < FEWEST:
        return np.empty((0, 0), np.int8)
    quarters = _texture(_quarters(frames))
    mean = quarters.mean(axis=0)
    common = _Common.of(quarters, frames)
    if not common.is_clutter(mean):
        return np.empty((0, 0), np.int8)
    sure = common.shared / np.maximum(_in_tiles(mean * mean), 1e-6)
    clutter = _over_pixels(np.where(common.shown, sure, 0).clip(0, 1), mean.shape) * mean
    return np.asarray(np.rint(clutter).clip(-127, 127), np.int8)


@dataclass(frozen=True)
class _Common:
    """Mean products of texture in each tile (rows, columns).

    shared: of the means of two quarters, whichever two: some may show the same place. successive:
    of two successive frames. single: of single frames with themselves.
    moments: (PAIRS, H, W) texture of frames far apart.
    """

    shared: Float32
    successive: Float32
    single: Float32
    moments: Float32

    @classmethod
    def of(cls, quarters: Float32, frames: Frames) -> Self:
        """quarters: (QUARTERS, H, W), mean texture of each. frames: of the whole scan."""
        picks = evenly_spread(frames.shape[0] - 1, PAIRS)
        pairs = np.array([_texture(frames[pick : pick + 2]) for pick in picks])
        shared = [_in_tiles(a * b) for a, b in combinations(quarters, 2)]
        return cls(
            np.asarray(np.median(shared, axis=0)),
            _in_tiles((pairs[:, 0] * pairs[:, 1]).mean(axis=0)),
            _in_tiles((pairs**2).mean(axis=(0, 1))),
            pairs[:, 0],
        )

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Tiles that have texture."""
        return self.single > LEAST_ENERGY

    def is_clutter(self, mean: Float32) -> bool:
        """Whether what is shared cannot be tissue, as the hand moved. mean: (H, W) texture."""
        if not self.shown.any():
            return False
        lasting = self._typical(self.successive - self.shared, self.single - self.shared)
        share = self._typical(self.shared, self.single)
        return share < NEARLY_ALL and lasting > NOISE and _likeness(self.moments - mean) < ALIKE

    def _typical(self, part: Float32, whole: Float32) -> float:
        """Median over the tiles of a part over the whole of it."""
        return float(np.median(part[self.shown] / np.maximum(whole[self.shown], 1e-3)))


def _likeness(textures: Float32) -> float:
    """Median size of the correlation of two of them, (B, H, W)."""
    flat = textures.reshape(len(textures), -1)
    products = flat @ flat.T
    energy = np.diagonal(products) + 1e-6
    likeness = np.abs(products) / np.sqrt(energy[:, None] * energy)
    return float(np.median(likeness[np.triu_indices(len(flat), 1)]))


def _quarters(frames: Frames) -> Float32:
    """Mean pictures (QUARTERS, H, W) of some frames of each quarter of a scan."""
    picks = evenly_spread(frames.shape[0], SAMPLES)
    means = [
        np.mean([frames[pick : pick + 1][0] for pick in some], axis=0, dtype=np.float32)
        for some in np.array_split(picks, QUARTERS)
    ]
    return np.asarray(means)


def _texture(images: NDArray[np.generic]) -> Float32:
    """Images (B, H, W) less their mean nearby."""
    values = images.astype(np.float32)
    nearby: Float32 = ndimage.uniform_filter(values, (0, FINE, FINE), mode="nearest")
    return values - nearby


def _in_tiles(values: Float32) -> Float32:
    """Means (rows, columns) of values (H, W) over tiles, those at the ends as large as they are."""
    image = torch.from_numpy(values)[None, None]
    means = functional.avg_pool2d(image, TILE, ceil_mode=True, count_include_pad=False)
    return np.asarray(means[0, 0].numpy())


def _over_pixels(tiles: Float32, shape: tuple[int, ...]) -> Float32:
    """Values (rows, columns) of tiles, between whose middles they change evenly, (H, W)."""
    grid = torch.from_numpy(tiles)[None, None]
    size = [TILE * side for side in tiles.shape]
    pixels = functional.interpolate(grid, size, mode="bilinear", align_corners=False)
    return np.asarray(pixels[0, 0, : shape[0], : shape[1]].numpy())
