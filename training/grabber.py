"""What a grabber makes of a scanner's frames: fewer pixels, and noise of its own.

Fewer pixels blur the speckle in the picture and leave it as thin across as it was, so that its
size there tells less of the slice's; noise takes correlation that no motion has taken.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from model.block_matching import resampled

COARSE_SHARE, COARSEST = 0.6, 3.0  # of recordings, and by what factor along either side at most
NOISY_SHARE, NOISIEST = 0.3, 10.0  # of recordings, and in grey levels at most


def grabbed(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames (N, H, W) as some grabber records them."""
    coarseness = rng.uniform(1.0, COARSEST) if rng.random() < COARSE_SHARE else 1.0
    noise = rng.uniform(0.0, NOISIEST) if rng.random() < NOISY_SHARE else 0.0
    return recorded(frames, coarseness, noise, rng)


def recorded(
    frames: NDArray[np.uint8], coarseness: float, noise: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Frames (N, H, W) recorded in fewer pixels and shown in as many as they had.

    coarseness: pixels to one that is recorded, along either side. noise: standard deviation in
    grey levels of each recorded pixel that is not black.
    """
    height, width = frames.shape[1:]
    size = round(height / coarseness), round(width / coarseness)
    taken = resampled(torch.from_numpy(frames).float(), size).numpy()
    taken = taken + noise * rng.standard_normal(taken.shape, np.float32) * (taken >= 0.5)
    shown = resampled(torch.from_numpy(taken), (height, width)).numpy()
    return np.asarray(np.rint(shown).clip(0, 255), np.uint8)
