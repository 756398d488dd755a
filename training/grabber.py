"""What a grabber makes of a scanner's frames: fewer pixels, and noise of its own.

Fewer pixels blur the speckle in the picture and leave it as thin across as it was, so that its
size there tells less of the slice's; noise takes correlation that no motion has taken.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

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
    shape = frames.shape[1], frames.shape[2]
    size = round(shape[0] / coarseness), round(shape[1] / coarseness)
    shown = np.empty_like(frames)
    for number, frame in enumerate(frames):
        taken = _resized(frame.astype(np.float32), size)
        taken = taken + noise * rng.standard_normal(size, np.float32) * (taken >= 0.5)
        shown[number] = np.rint(_resized(taken, shape)).clip(0, 255)
    return shown


def _resized(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """An image (H, W) in other pixels: means where there are fewer, lines between where more."""
    pixels = torch.from_numpy(image)[None, None]
    return np.asarray(interpolate(pixels, size=size, mode="bilinear", antialias=True)[0, 0].numpy())
