"""The frames of a scan, in memory or read slice by slice from their file."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tusrec import memory

IN_MEMORY_SHARE = 0.25  # of the free memory may hold frames; more is read slice by slice


class Frames(Protocol):
    """Frames (N, H, W) uint8 that a slice of the first axis reads; a numpy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W)."""
        ...

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        """Frames key.start..key.stop, (M, H, W) uint8."""
        ...


def evenly_spread(count: int, most: int) -> list[int]:
    """Numbers of at most `most` of `count` frames, or of any things, from the first to the last."""
    spread = np.linspace(0, count - 1, min(most, count)).round()
    return [int(number) for number in spread]


def in_memory_if_it_fits(frames: Frames) -> Frames:
    """The frames as one array where memory allows, else as they are."""
    if np.prod(frames.shape) > IN_MEMORY_SHARE * memory.available_bytes():
        return frames
    return frames[0 : frames.shape[0]]
