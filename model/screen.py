"""What a scanner's screen adds to pictures of tissue: found in a whole scan, and taken out."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.clutter import cleared, find_clutter
from model.persistence import find_undoing, unmixed
from tusrec.frames import Frames

LEAST_SHOWN = 1 / 64  # weight of a frame, by which it changes hardly a grey level of another


def without_screen(frames: Frames) -> Frames:
    """The frames of a whole scan less its clutter and persistence, where they have any."""
    return Screen.of(frames).taken_out(frames)


@dataclass(frozen=True)
class Screen:
    """Clutter (H, W) int8 or (0, 0), of `clutter.Cleared`; undoing (K,), of `persistence.Unmixed`.

    Without either, one that shows frames as they are.
    """

    clutter: NDArray[np.int8] = field(default_factory=lambda: np.empty((0, 0), np.int8))
    undoing: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, frames: Frames) -> Self:
        """The screen that a whole scan was shown on."""
        return cls(find_clutter(frames), find_undoing(frames))

    @property
    def reach(self) -> int:
        """How many frames before one it takes to undo the persistence in that one."""
        seen = np.flatnonzero(np.abs(self.undoing) >= LEAST_SHOWN)
        return int(seen[-1]) + 1 if seen.size else 0

    def taken_out(self, frames: Frames) -> Frames:
        """Frames (N, H, W), of the whole scan or some of it, without what the screen added."""
        return unmixed(cleared(frames, self.clutter), self.undoing)
