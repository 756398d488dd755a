"""The bar of volume reconstruction: frames a second at 480x640 into 0.5 mm voxels.

`python -m bench.volume`, on frames of noise along the trajectory of a rotation scan.
"""

import sys
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bench.console import say, seconds
from bench.sample import sample_calibration
from tusrec import poses
from tusrec.entry import exit_code_of
from tusrec.layouts import IMAGE_SIZE
from view.volume import COMPOUNDINGS, INTERPOLATIONS, Method, grid_around, reconstruct

FRAMES = 150
SPACING = 0.5


def main() -> int:
    """Measure every method and print one line for each."""
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, *IMAGE_SIZE)).astype(np.uint8)
    pixels = np.ones(IMAGE_SIZE, np.bool_)
    places = rotation(FRAMES) @ sample_calibration().scale
    grid = grid_around(places, pixels, SPACING)
    say(f"{' x '.join(map(str, grid.size))} voxels of {SPACING} mm")
    for interpolation, compounding in product(INTERPOLATIONS, COMPOUNDINGS):
        method = Method(interpolation, compounding)
        rate = FRAMES / seconds(partial(reconstruct, frames, places, pixels, grid, method))
        say(f"{interpolation} {compounding}: {rate:.0f} frames/s (bar: 30)")
    return 0


def rotation(frames: int) -> NDArray[np.float64]:
    """A fan and a quarter turn about the probe's axis, with some travel: (frames, 4, 4)."""
    course = np.linspace(0.0, 1.0, frames)
    motions = np.zeros((frames, 6))
    motions[:, 0] = 0.3 * np.sin(2 * np.pi * course)
    motions[:, 1] = 0.5 * np.pi * course
    motions[:, 5] = 20.0 * course
    return poses.exp(motions)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
