"""What the training loop asks of a model, and what every model's learner shares."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from model.surroundings import SPAN, near_frames
from training.clips import Clip


class Learner(Protocol):
    """A network and how it learns from clips.

    network: what is trained; called by `loss` alone, so that it may be wrapped for many processes.
    clips_a_step: clips that make a good batch. device: where the network is.
    """

    network: nn.Module
    clips_a_step: int
    device: torch.device

    def prepare(self, clip: Clip) -> Any:
        """What is kept in memory of a clip."""
        ...

    def loss(self, prepared: Sequence[Any], rng: np.random.Generator) -> tuple[Tensor, int]:
        """Loss of a batch drawn from prepared clips, and the number of pairs it is made of."""
        ...


def draw_frames(count: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers (TOGETHER,) of frames of a clip of `count`, in order, within SPAN of each other."""
    span = min(SPAN, count)
    first = int(rng.integers(count - span + 1))
    return near_frames(first, span, rng)
