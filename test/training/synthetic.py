"""Small clips for tests, made without the simulator: speckle that moves in the plane."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from training.clips import Clip, write_clip

SPACING = (0.3, 0.3)


def moving_clip(seed: tuple[int, int] = (1, 0), length: int = 10, side: int = 96) -> Clip:
    """Speckle that steps one pixel to the right each frame, so the probe goes to the left."""
    rng = np.random.default_rng(seed)
    parts = [ndimage.gaussian_filter(rng.normal(size=(side, side + length)), 1.5) for _ in "ri"]
    envelope = np.hypot(*parts)
    grey = np.clip(120 + 40 * np.log(envelope / envelope.mean()), 1, 255).astype(np.uint8)
    frames = np.stack([grey[:, length - i : length - i + side] for i in range(length)])
    T = np.tile(np.eye(4), (length, 1, 1))
    T[:, 0, 3] = -SPACING[0] * np.arange(length)
    return Clip(frames, T, SPACING, seed)


def write_clips(folder: Path, count: int = 4, first_seed: int = 1) -> Path:
    """A folder of such clips."""
    for number in range(count):
        write_clip(moving_clip((first_seed, number)), folder / f"{number}.safetensors")
    return folder
