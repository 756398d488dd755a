"""Frames that show the same picture as the one before: the screen stood still, not the hand.

A grabber that is faster than its console takes a picture twice, and between two alike the hand
moved on unseen. So a pair with such a frame tells nothing, and the motion from the picture before
it to the one after it is shared out between the two steps. Where most pictures are taken twice or
more often, each is looked at once, and so is the motion between it and the next.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.fusion import Motions
from model.interface import LocalMotions
from tusrec import poses
from tusrec.frames import Frames

Array = NDArray[np.float64]

AT_ONCE = 8  # frames, for a picture may be large
MOSTLY_FRESH = 2 / 3  # of the frames, from which on those that are not are exceptions


def fresh_frames(frames: Frames) -> NDArray[np.bool_]:
    """Which of frames (N, H, W) differ from the one before, (N,); the first one does."""
    count = frames.shape[0]
    fresh = np.ones(count, bool)
    for start in range(0, count - 1, AT_ONCE):
        part = frames[start : start + AT_ONCE + 1]
        fresh[start + 1 : start + len(part)] = (part[1:] != part[:-1]).any(axis=(1, 2))
    return fresh


def telling_pairs(fresh: NDArray[np.bool_], interval: int) -> NDArray[np.bool_]:
    """Which pairs (N-k,) of frames k apart have no frame (N,) that is not fresh."""
    return fresh[:-interval] & fresh[interval:]


def bridged(motions: Motions) -> dict[int, tuple[Array, Array]]:
    """Motions with steps to and from a single frame that tells nothing halves of what bridges them.

    motions: interval k -> (motion (S-k+1, 3), information (S-k+1, 3, 3)), of which the information
    is 0 where nothing was measured. A half is taken to be no surer than the whole, for the hand may
    have hurried or lingered.
    """
    filled = dict(motions)
    if 2 in motions:
        (step, known), (whole, of_whole) = ((part.copy() for part in motions[k]) for k in (1, 2))
        nothing = np.all(known == 0, axis=(1, 2))
        places = np.flatnonzero(nothing[:-1] & nothing[1:])
        for place in (places, places + 1):
            step[place], known[place] = whole[places] / 2, of_whole[places]
        filled[1] = step, known
    return filled


def seen_once(frames: Frames, estimate: Callable[[Frames], LocalMotions]) -> LocalMotions:
    """Local motions (N-1, 4, 4) by `estimate`, of each picture once where most are repeated."""
    numbers = np.flatnonzero(fresh_frames(frames))
    count = frames.shape[0]
    if len(numbers) < 2 or len(numbers) >= MOSTLY_FRESH * count:
        return estimate(frames)
    return shared_out(estimate(Picked(frames, numbers)), np.diff([*numbers, count]))


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
