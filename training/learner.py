"""What the training loop asks of a model, and what every model's learner shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from model.surroundings import SPAN, near_frames
from training.clips import Clip

KeptOnDisk = Callable[[Path, Callable[[], Any]], Any]
"""What was prepared of a clip's file before or, if it was not, is now by the function given."""


class Learner(Protocol):
    """A network and how it learns from clips.

    network: what is trained; called by `loss` alone, so that it may be wrapped for many processes.
    clips_a_step: clips that make a good batch. device: where the network is.
    kept_on_disk: keeps what is prepared of clips beside them, if that is worth it.
    """

    network: nn.Module
    clips_a_step: int
    kept_on_disk: KeptOnDisk | None
    device: torch.device

    def prepare(self, clip: Clip) -> Any:
        """What batches are drawn from of a clip."""
        ...

    def draw(self, prepared: Sequence[Any], rng: np.random.Generator) -> Any:
        """A batch from prepared clips, in memory of its own and on the CPU.

        It may be another process that draws, so that a GPU need not wait for it.
        """
        ...

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """Loss of a batch that was drawn, and the number of pairs it is made of."""
        ...


def draw_frames(count: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers (TOGETHER,) of frames of a clip of `count`, in order, within SPAN of each other."""
    span = min(SPAN, count)
    first = int(rng.integers(count - span + 1))
    return near_frames(first, span, rng)
