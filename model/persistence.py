"""What a scanner's persistence has mixed into each frame of those before it, and frames without it.

Scanners show a mean of the newest frames, which hides motion. It is found by what it does to time:
a hand's tremor and speckle look alike forwards and backwards, persistence does not. A frame that
was mixed with one unlike it has lost contrast in its finest texture, and what it was mixed with is
the frame before, not the one after. So where there is persistence, contrast goes with the likeness
to the frame before less the likeness to the frame after, and where there is none it does not, in no
stretch of the scan. The mixing whose undoing leaves no stretch an arrow of time was the scanner's.

Textures enter by their Gram matrices over the frames of a stretch alone, tile by tile, and of those
any undoing is a product.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from model.repeats import fresh_frames
from tusrec.frames import Frames

Array = NDArray[np.float64]
Mixing = Callable[[float], Array]  # share -> weights (REACH,), as of `Unmixed`

REACH = 12  # frames back that an undoing looks
LEAST_WEIGHT = 1 / 256  # of a frame so far back that it changes no grey level
MARGIN = 4  # more that are read, as some may be repeated
LENGTH, BEGUN = 12, 5  # frames of a stretch, and those of its first that lack the ones before them
FIRST_LOOK, SECOND_LOOK = 8, 24  # stretches that tell whether there is persistence, and how much
TILE = 24  # pixels a side
LEAST_ENERGY = 1.0  # of a tile's texture, grey levels squared: where quantisation is not all
FEWEST_TILES = 8
FEWEST_STRETCHES = 4  # of 33 frames: fewer of them now and then have an arrow of time by chance
LAGS = (1, 2)
LEAST_SD = 0.03  # of a stretch's asymmetry, however many tiles it has
DOUBT, BELIEF = 3.0, 2.0  # mean squared asymmetry over its variance: too much, and little enough
LEAST_SHARE = 0.05


def unmixed(frames: Frames, weights: Array) -> Frames:
    """As `Unmixed`; the frames themselves if there are no weights."""
    return Unmixed(frames, weights) if weights.size else frames


def find_undoing(frames: Frames) -> Array:
    """Weights (REACH,) that undo the persistence of a whole scan, or (0,) where none shows."""
    stretches = _stretches(frames, FIRST_LOOK)
    if len(stretches) < FEWEST_STRETCHES or time_asymmetry(stretches) < DOUBT:
        return np.empty(0)
    return _best_undoing(_stretches(frames, SECOND_LOOK))


@dataclass(frozen=True)
class Unmixed:
    """Frames (N, H, W) less what is predicted from the frames before, made as bright as they were.

    weights: (K,) of the last frame, the one before it, and so on. The first frame is taken to have
    been there for long.
    """

    frames: Frames
    weights: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W)."""
        return self.frames.shape

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        """Frames key.start..key.stop, (M, H, W) uint8. A frame that repeats another repeats it."""
        start, stop, _ = key.indices(self.shape[0])
        shown, new, first = self._reaching_back(start, stop)
        place = np.cumsum(new) - 1
        wanted = place[start - first :]
        found = self._undone(torch.from_numpy(shown[new]), int(wanted[0]))
        return np.asarray(found.numpy()[wanted - wanted[0]])

    def _reaching_back(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_], int]:
        """Frames first..stop, which of them are new, and `first`: from where on the frames before
        `start` are new as often as there are weights."""
        back = len(self.weights) + MARGIN
        while True:
            first = max(start - back, 0)
            shown = self.frames[first:stop]
            new = fresh_frames(shown)
            if first == 0 or new[1 : start - first + 1].sum() >= len(self.weights):
                return shown, new, first
            back *= 2

    def _undone(self, shown: Tensor, start: int) -> Tensor:
        """Frames from `start` on of successive different ones."""
        reach = len(self.weights)
        shown = torch.cat([shown[:1].expand(reach, -1, -1), shown])[start:].float()
        gain = float(1 / (1 - self.weights.sum()))
        frames: Tensor = shown[reach:] * gain
        for back, weight in enumerate(self.weights.tolist(), 1):
            if weight:
                frames.sub_(shown[reach - back : len(shown) - back], alpha=weight * gain)
        return frames.round_().clamp_(0, 255).to(torch.uint8)


def lingering(share: float) -> Array:
    """Weights (REACH,) that undo a screen of which `share` is what it showed before."""
    return np.append(share, np.zeros(REACH - 1))


def averaged(share: float) -> Array:
    """Weights (REACH,) that undo a mean of a frame and, by `share`, the one before it."""
    weights = -((-share / (1 - share)) ** np.arange(1.0, REACH + 1))
    return np.where(np.abs(weights) < LEAST_WEIGHT, 0.0, weights)


SHARES: dict[Mixing, Array] = {
    lingering: np.arange(0.0, 0.8, 0.04),
    averaged: np.arange(0.0, 0.48, 0.02),  # at a half, time has no arrow again
}


def time_asymmetry(stretches: Sequence[Array], weights: Array | None = None) -> float:
    """Mean squared asymmetry of stretches over its variance, about 1 where time has no arrow.

    stretches: Gram matrices (tiles, LENGTH, LENGTH) of textures, of each. weights: (REACH,) of an
    undoing. 0 if there is no stretch.
    """
    if weights is not None:
        undone = _undoing_matrix(weights)
        stretches = [undone @ grams @ undone.T for grams in stretches]
    return float(np.mean([_asymmetry(grams, lag) for grams in stretches for lag in LAGS] or [0.0]))


def _asymmetry(grams: Array, lag: int) -> float:
    """Squared slope of contrast against likeness to the past, over its variance.

    Contrast is the logarithm of a tile's energy beside that of the frames `lag` before and after.
    """
    energy = np.einsum("uii->ui", grams)
    contrast = np.log(energy)
    contrast = contrast[:, lag:-lag] - (contrast[:, : -2 * lag] + contrast[:, 2 * lag :]) / 2
    common = np.diagonal(grams, lag, axis1=1, axis2=2)
    alike = common / np.sqrt(energy[:, :-lag] * energy[:, lag:])
    past = alike[:, :-lag] - alike[:, lag:]
    product, square = (contrast * past).sum(axis=1), (past * past).sum(axis=1)
    whole = max(square.sum(), 1e-9)
    slope = product.sum() / whole
    variance = ((product - slope * square) ** 2).sum() / whole**2
    return float(slope**2 / (variance + LEAST_SD**2))


def _best_undoing(stretches: Sequence[Array]) -> Array:
    """Weights (REACH,) of the mixing without which time has no arrow; (0,) if it always has."""
    found = []
    for mixing, shares in SHARES.items():
        left = [time_asymmetry(stretches, mixing(share)) for share in shares]
        near = shares[int(np.argmin(left))] + np.array([-1, 1]) * shares[1]
        best = minimize_scalar(
            lambda share, mixing=mixing: time_asymmetry(stretches, mixing(share)),
            bounds=near.clip(shares[0], shares[-1]),
            options={"xatol": 1e-3},
        )
        found.append((best.fun, best.x, mixing))
    left_over, share, mixing = min(found, key=lambda one: one[0])
    believed = left_over < BELIEF and share >= LEAST_SHARE
    return mixing(share) if believed else np.empty(0)


def _undoing_matrix(weights: Array) -> Array:
    """Frames of a stretch, but for those it began with, from the mixed ones (LENGTH-BEGUN, LENGTH).

    As `Unmixed` undoes a mixing by weights (REACH,).
    """
    undone = np.eye(LENGTH)
    for frame, back in np.ndindex(LENGTH, len(weights)):
        undone[frame, max(frame - back - 1, 0)] -= weights[back]
    return np.asarray(undone[BEGUN:] / (1 - weights.sum()))


def _stretches(frames: Frames, most: int) -> list[Array]:
    """Gram matrices (tiles, LENGTH, LENGTH) of at most so many stretches of different frames."""
    last = frames.shape[0] - LENGTH
    count = min(most, last // (LENGTH - BEGUN) + 1)
    starts = np.linspace(0, last, max(count, 0)).round().astype(int)
    shown = (frames[start : start + LENGTH + MARGIN] for start in starts)
    different = (some[fresh_frames(some)][:LENGTH] for some in shown)
    grams = [_tile_grams(some) for some in different if len(some) == LENGTH]
    return [one for one in grams if len(one) >= FEWEST_TILES]


def _tile_grams(frames: NDArray[np.uint8]) -> Array:
    """(tiles, B, B) mean products of the texture of every two frames, of tiles that have any."""
    texture = _texture(frames)
    rows, columns = (side // TILE for side in texture.shape[1:])
    cut = texture[:, : rows * TILE, : columns * TILE].reshape(
        len(frames), rows, TILE, columns, TILE
    )
    tiles = cut.permute(1, 3, 0, 2, 4).reshape(rows * columns, len(frames), TILE**2)
    grams = (tiles @ tiles.mT / TILE**2).double().numpy()
    return np.asarray(grams[np.einsum("uii->ui", grams).min(axis=1) > LEAST_ENERGY])


def _texture(frames: NDArray[np.uint8]) -> Tensor:
    """Laplacian (B, H-2, W-2), which leaves of speckle what changes first."""
    grey = torch.from_numpy(np.ascontiguousarray(frames)).to(torch.int16)
    texture = 4 * grey[:, 1:-1, 1:-1]
    for rows, columns in ((1, 0), (1, 2), (0, 1), (2, 1)):
        height, width = texture.shape[1:]
        texture.sub_(grey[:, rows : rows + height, columns : columns + width])
    return texture.float()
