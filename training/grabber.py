"""What clutter, a console and a grabber make of a scanner's frames.

Clutter that moves with the probe keeps speckle alike that moved; a console's filter smooths it, a
grabber of its own pace shows mixtures of frames. Fewer pixels blur the speckle in the picture and
leave it as thin across as it was, so that its size there tells less of the slice's; noise takes
correlation that no motion has taken.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from model.block_matching import resampled
from tusrec import poses

COARSE_SHARE, COARSEST = 0.6, 3.0  # of recordings, and by what factor along either side at most
NOISY_SHARE, NOISIEST = 0.3, 10.0  # of recordings, and in grey levels at most
HAZY_SHARE, HAZIEST = 0.25, 12.0  # of recordings, and in grey levels far from the face at most
FILTERED_SHARE, WINDOWS = 0.25, (3, 5, 7)  # of recordings, and pixels along a filter's side
BLENDED_SHARE = 0.2  # of recordings
ECHO_LEVELS = 30.0  # grey levels by which echoes grow e-fold: 255 for some 70 dB
GRAIN = 2.0  # of clutter, pixels
NEAR, NEARER = 0.25, 4.0  # clutter fades within this share of the picture's height, from so much

Frames = NDArray[np.uint8]
Poses = NDArray[np.float64]


def grabbed(frames: Frames, T: Poses, rng: np.random.Generator) -> tuple[Frames, Poses]:
    """Frames (N, H, W) as some grabber records them of some console, and poses (N, 4, 4) of them.

    T: poses of the frames that the console shows, in any one system.
    """
    if rng.random() < HAZY_SHARE:
        frames = hazy(frames, rng.uniform(0.0, HAZIEST), rng)
    if rng.random() < FILTERED_SHARE:
        frames = filtered(frames, int(rng.choice(WINDOWS)))
    if rng.random() < BLENDED_SHARE:
        shares = rng.dirichlet(np.ones(3), len(frames))
        frames, T = blended(frames, shares), blended_poses(T, shares)
    coarseness = rng.uniform(1.0, COARSEST) if rng.random() < COARSE_SHARE else 1.0
    noise = rng.uniform(0.0, NOISIEST) if rng.random() < NOISY_SHARE else 0.0
    return recorded(frames, coarseness, noise, rng), T


def hazy(frames: Frames, level: float, rng: np.random.Generator) -> Frames:
    """Frames (N, H, W) with the same clutter in all of them, added to the echoes before the log.

    level: of the clutter far from the face, grey levels. Black stays black.
    """
    height, width = frames.shape[1:]
    grain = ndimage.gaussian_filter(rng.standard_normal((height, width), np.float32), GRAIN)
    fading = np.exp(-np.arange(height, dtype=np.float32) / (NEAR * height))[:, None]
    clutter = level * (1 + NEARER * fading + 0.5 * grain / (grain.std() + 1e-6))
    echoes = np.exp(frames / np.float32(ECHO_LEVELS)) + np.exp(clutter / ECHO_LEVELS) - 1
    shown = ECHO_LEVELS * np.log(np.maximum(echoes, 1))
    return np.where(frames > 0, _in_levels(shown), frames)


def filtered(frames: Frames, window: int) -> Frames:
    """Frames (N, H, W) after speckle reduction: where they vary no more than is usual, smoothed.

    Black stays black. Lee's filter (IEEE PAMI 2, 1980), the noise being what most places of
    `window`^2 pixels show.
    """
    values = frames.astype(np.float32)
    size = (1, window, window)
    mean = ndimage.uniform_filter(values, size)
    variance = np.maximum(ndimage.uniform_filter(values * values, size) - mean * mean, 1e-3)
    shown = mean > 0
    usual = np.median(variance[shown]) if shown.any() else 0.0
    kept = np.clip(1 - usual / variance, 0, 1)
    return np.where(frames > 0, _in_levels(mean + kept * (values - mean)), frames)


def blended(frames: Frames, shares: NDArray[np.float64]) -> Frames:
    """Frames (N, H, W), each mixed of the one before, itself and the one after in shares (N, 3)."""
    weights = shares.astype(np.float32)[:, :, None, None]
    around = np.pad(frames, ((1, 1), (0, 0), (0, 0)), mode="edge")
    parts = (weights[:, n] * around[n : n + len(frames)] for n in range(3))
    return _in_levels(sum(parts, np.zeros((), np.float32)))


def blended_poses(T: Poses, shares: NDArray[np.float64]) -> Poses:
    """Poses (N, 4, 4) of such mixtures: means, by their shares, of those they are mixed of."""
    before, after = np.concatenate([T[:1], T[:-1]]), np.concatenate([T[1:], T[-1:]])
    back, ahead = (poses.log(poses.inverse(T) @ other) for other in (before, after))
    return np.asarray(T @ poses.exp(shares[:, :1] * back + shares[:, 2:] * ahead))


def recorded(frames: Frames, coarseness: float, noise: float, rng: np.random.Generator) -> Frames:
    """Frames (N, H, W) recorded in fewer pixels and shown in as many as they had.

    coarseness: pixels to one that is recorded, along either side. noise: standard deviation in
    grey levels of each recorded pixel that is not black.
    """
    height, width = frames.shape[1:]
    size = round(height / coarseness), round(width / coarseness)
    taken = resampled(torch.from_numpy(frames).float(), size).numpy()
    taken = taken + noise * rng.standard_normal(taken.shape, np.float32) * (taken >= 0.5)
    return _in_levels(resampled(torch.from_numpy(taken), (height, width)).numpy())


def _in_levels(values: NDArray[np.floating]) -> Frames:
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)
