"""Frames that show nothing new: the screen stood still, or was blank, not the hand.

A grabber that is faster than its console takes a picture twice, and between two alike the hand
moved on unseen. So each picture is looked at once, and the motion between it and the next is shared
out among the frames that it was shown in. Were frames that repeat looked at too, no pair would tell
of the steps beside them, and what links the signs on either side of a longer freeze would be lost.
So it would be by a frame that dropped out, and a few of these are passed over likewise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.interface import LocalMotions
from tusrec import poses
from tusrec.frames import Frames

Array = NDArray[np.float64]
Spans = NDArray[np.int64]

AT_ONCE = 8  # frames, for a picture may be large
BLANK = 8  # grey levels that a frame which shows nothing spans at most, noise and all,
BESIDE = 0.02  # but for shares of its pixels above and below, of what stands beside the picture
THINNED = 100  # pixels a side, about, by which that is told
BRIDGED = 3  # blank frames; further apart the frames beside them have no speckle in common


def fresh_frames(frames: Frames) -> NDArray[np.bool_]:
    """Which of frames (N, H, W) differ from the one before, (N,); the first one does."""
    return np.concatenate([_fresh(part, first) for first, part in _parts(frames)])


def pictures(frames: Frames) -> NDArray[np.int64]:
    """Numbers (P,) of the frames to look at: the first of each picture, or all of a single one.

    A few blank frames in a row between others are left out.
    """
    seen = [(_fresh(part, first), _blank(part[1 - first :])) for first, part in _parts(frames)]
    fresh, blank = map(np.concatenate, zip(*seen, strict=True))
    dropped = _dropped(blank)
    edges = np.flatnonzero(dropped[1:] != dropped[:-1])  # the frames before each run, and its last
    for before, last in edges.reshape(-1, 2):
        after = last + 1
        fresh[after] = (frames[after : after + 1] != frames[before : before + 1]).any()
    numbers = np.flatnonzero(fresh & ~dropped)
    return numbers if len(numbers) > 1 else np.arange(frames.shape[0])


def _parts(frames: Frames) -> Iterator[tuple[bool, NDArray[np.uint8]]]:
    """Frames, AT_ONCE of them behind the one before, and whether they are the first; read once."""
    for start in range(0, frames.shape[0], AT_ONCE):
        yield start == 0, frames[max(start - 1, 0) : start + AT_ONCE]


def _fresh(part: NDArray[np.uint8], first: bool) -> NDArray[np.bool_]:
    differs = (part[1:] != part[:-1]).any(axis=(1, 2))
    return np.concatenate([[True], differs]) if first else differs


def _blank(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of frames (N, H, W) are of one grey, but for noise and what stands beside, (N,)."""
    rows, columns = (max(side // THINNED, 1) for side in frames.shape[1:])
    pixels = frames[:, ::rows, ::columns].reshape(len(frames), -1)
    out = int(BESIDE * pixels.shape[1])
    ends = np.partition(pixels, (out, pixels.shape[1] - 1 - out), axis=1)
    return np.asarray(ends[:, -1 - out] - ends[:, out] <= BLANK)


def _dropped(blank: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of blank frames (N,) lie at most BRIDGED in a row between others."""
    runs, count = ndimage.label(blank)
    if not count:
        return blank
    short = np.bincount(runs) <= BRIDGED
    short[[0, runs[0], runs[-1]]] = False
    return np.asarray(short[runs])


def seen_once(frames: Frames, estimate: Callable[[Frames, Spans], LocalMotions]) -> LocalMotions:
    """Local motions (N-1, 4, 4) by `estimate`, to which `pictures` alone are shown.

    It is told (P-1,) how many frames the hand had from each picture to the next.
    """
    numbers, count = pictures(frames), frames.shape[0]
    shown = np.diff([*numbers, count])
    spans = shown[:-1]
    if len(numbers) == count:
        return estimate(frames, spans)
    return shared_out(estimate(Picked(frames, numbers), spans), shown)


def shared_out(motions: LocalMotions, shown: NDArray[np.int64]) -> LocalMotions:
    """Motions between pictures (P-1, 4, 4) as steps between the frames that show them.

    shown: (P,) in how many frames each picture is. A step is taken to be no surer than the whole,
    for the hand may have hurried or lingered; after the last picture nothing is seen to move.
    """
    parts = poses.log(motions.T_previous_from_frame) / shown[:-1, None]
    steps = np.repeat(poses.exp(parts), shown[:-1], axis=0)
    covariance = np.repeat(motions.covariance, shown[:-1], axis=0)
    rest = int(shown[-1]) - 1
    return LocalMotions(
        np.concatenate([steps, np.tile(np.eye(4), (rest, 1, 1))]),
        np.concatenate([covariance, np.tile(covariance[-1], (rest, 1, 1))]),
    )


@dataclass(frozen=True)
class Picked:
    """Some of frames (N, H, W), by their numbers (P,)."""

    frames: Frames
    numbers: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(P, H, W)."""
        return len(self.numbers), *self.frames.shape[1:]

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        """Frames key.start..key.stop of those, (M, H, W) uint8."""
        picked = [self.frames[number : number + 1] for number in self.numbers[key]]
        return np.concatenate([np.empty((0, *self.frames.shape[1:]), np.uint8), *picked])
