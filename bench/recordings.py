"""How well the pose model measures where frames are recorded less well than the simulator's.

`python -m bench.recordings`. The first frames of some scans of the held-out set, shown in other
ways, and what the network then sees in pairs of them. No scan but simulated ones.
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench import held_out
from bench.console import say
from bench.measured import CPU, truth_of
from bench.pairs import Pairs
from model.learned import Learned
from model.repeats import pictures
from model.screen import without_screen
from training.grabber import blended, blended_poses, filtered, hazy, recorded
from training.measure import Motions, summary
from tusrec import poses
from tusrec.entry import exit_code_of
from tusrec.scans import Scan, ScanSource

Frames = NDArray[np.uint8]
Poses = NDArray[np.float64]
Recorder = Callable[[Frames, Poses], tuple[Frames, Poses]]
"""Frames (N, H, W) and poses (N, 4, 4) of them as they are recorded."""

SCANS = ("sub900__RH_rotation", "sub905__RH_rotation", "sub912__RH_Per_L_DtP")
FRAMES = 150
INTERVALS = (1, 4)


def in_pixels(coarseness: float, noise: float = 0.0) -> Recorder:
    """Recorded in fewer pixels, or with noise; see `training.grabber.recorded`."""
    return lambda frames, T: (recorded(frames, coarseness, noise, np.random.default_rng(0)), T)


def through(curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Recorder:
    """Grey levels, 0 to 1, changed by a curve."""
    table = np.rint(255 * curve(np.arange(256) / 255)).clip(0, 255).astype(np.uint8)
    return lambda frames, T: (table[frames], T)


def means_of_three(frames: Frames, T: Poses) -> tuple[Frames, Poses]:
    """Each frame with the one before and after it, at the pose of the middle one.

    Tremor averages out of such frames, so that even a perfect answer has some error.
    """
    before, after = np.roll(frames, 1, axis=0), np.roll(frames, -1, axis=0)
    before[0], after[-1] = frames[0], frames[-1]
    return np.asarray(np.rint(np.mean([before, frames, after], axis=0)), np.uint8), T


def mixtures_of_three(frames: Frames, T: Poses) -> tuple[Frames, Poses]:
    """Each frame mixed with the one before and after it, and where that lies on the mean."""
    shares = np.random.default_rng(0).dirichlet(np.ones(3), len(frames))
    return blended(frames, shares), blended_poses(T, shares)


def with_clutter(level: float) -> Recorder:
    """With the same clutter in all frames; see `training.grabber.hazy`."""
    return lambda frames, T: (hazy(frames, level, np.random.default_rng(0)), T)


def with_clock(frames: Frames, T: Poses) -> tuple[Frames, Poses]:
    """A block of digits over black that change five times a second or so."""
    shown, rng = frames.copy(), np.random.default_rng(0)
    for start in range(0, len(shown), 4):
        digits = np.kron(rng.integers(2, size=(5, 30)) * 230, np.ones((4, 4)))
        shown[start : start + 4, 5:25, -125:-5] = digits
    return shown, T


RECORDINGS: dict[str, Recorder] = {
    "as they are": in_pixels(1),
    "in 2/3 of the pixels along either side": in_pixels(1.5),
    "in half of the pixels": in_pixels(2),
    "in a third of the pixels": in_pixels(3),
    "with noise of 5 grey levels": in_pixels(1, 5),
    "with noise of 10 grey levels": in_pixels(1, 10),
    "as means of three": means_of_three,
    "darker, black clipped": through(lambda grey: grey - 0.1),
    "brighter, white clipped": through(lambda grey: 1.3 * grey + 0.1),
    "with a gamma of 0.6": through(lambda grey: grey**0.6),
    "with a gamma of 1.6": through(lambda grey: grey**1.6),
    "with a clock beside the picture": with_clock,
    "with clutter of 10 grey levels": with_clutter(10),
    "with clutter of 25 grey levels": with_clutter(25),
    "through a speckle filter": lambda frames, T: (filtered(frames, 5), T),
    "as mixtures of three, in shares that change": mixtures_of_three,
}


def main() -> int:
    """Print a line for every way of recording."""
    sources = held_out.sources()
    estimator = Learned.from_weights()
    for name, shown in RECORDINGS.items():
        found = [pairs(estimator, sources[key], shown) for key in SCANS]
        say(f"{name}: {line(found)}")
    return 0


def pairs(estimator: Learned, source: ScanSource, shown: Recorder) -> dict[int, Motions]:
    """Pairs by interval of one scan's first frames, recorded another way."""
    with source.open() as scan:
        frames, T = shown(np.asarray(scan.frames[0:FRAMES]), poses_of(scan)[:FRAMES])
        numbers = pictures(frames)
        canvas, seen = estimator.pairs(
            without_screen(frames[numbers]), scan.calibration.spacing, CPU
        )
    true = poses.inverse(T[:1]) @ T[numbers[1:]]
    return Pairs(true, canvas, canvas.centre_mm).measured(seen)


def poses_of(scan: Scan) -> Poses:
    """T_first_from_frame of every frame, the first too, (N, 4, 4)."""
    return np.concatenate([np.eye(4)[None], truth_of(scan).motion.T_first_from_frame])


def line(scans: Sequence[dict[int, Motions]]) -> str:
    """Error over identity's, and how large motion across comes out, means over scans."""
    parts = []
    for interval in INTERVALS:
        errors = [summary(scan[interval])["error"] for scan in scans]
        sizes = [size_over_true(scan[interval]) for scan in scans]
        parts.append(f"{np.mean(errors):.3f} and size {np.mean(sizes):.2f} at {interval}")
    return "error over identity's " + ", ".join(parts)


def size_over_true(motions: Motions) -> float:
    """Mean size of the elevational motion of the picture's centre over the true one."""
    found, true = (np.abs(xi[:, 5]).mean() for xi in (motions.predicted, motions.true))
    return float(found / true)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
