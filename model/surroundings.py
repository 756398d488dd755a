"""What the pose network is told of the frames around a pair.

How much speckle a scan loses in how many frames tells what a pair means that has lost as much. So
stretches of successive frames are summed up along the scan, and a pair is told of those before it
and about it, the nearer the more. The further its frames are apart the less speckle they share, and
the more it goes by how fast the hand moves just there: so the nearer are the stretches it is told.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SPAN, TOGETHER = 9, 5  # successive frames, and how many of them are looked at together
PART, STRETCHES = 32, 2  # frames of a part of a scan, and stretches of SPAN that sum it up
NEAR = 320.0  # frames within which neighbours are told of stretches; longer intervals of fewer
KEPT = 20  # stretches that are kept to be told of
ALIKE = 8  # successive frames that are told alike


@dataclass(frozen=True)
class Told:
    """What pairs that end in some successive frames are told.

    means: (G, ...) what is told to pairs that end in each ALIKE of the frames. first: number of the
    first of these frames among those at hand. description: (1, DESCRIPTION) of the scan.
    """

    means: Tensor
    first: int
    description: Tensor

    def part(self, pairs: Tensor) -> Tensor:
        """Which of G each pair (P, 3) of the frames at hand is told."""
        return ((pairs[:, 1] - self.first) // ALIKE).clamp(0, len(self.means) - 1)

    def descriptions(self, pairs: Tensor) -> Tensor:
        """The description (P, DESCRIPTION) for each pair (P, 3)."""
        return self.description.expand(len(pairs), -1)


@dataclass(frozen=True)
class Stretches:
    """Stretches of a scan summed up.

    middles: (S,) numbers of the frames in their middles. before, after: (S, ...) means over the
    pairs of each, before and after frames are aligned.
    """

    middles: Tensor
    before: Tensor
    after: Tensor

    def after_those_of(self, earlier: "Stretches | None") -> "Stretches":
        """These after the last KEPT of those before them."""
        if earlier is None:
            return self
        columns = zip(vars(earlier).values(), vars(self).values(), strict=True)
        return Stretches(*(torch.cat([one[-KEPT:], other]) for one, other in columns))

    def told(
        self, interval: int, start: int, stop: int, first: int, description: Tensor
    ) -> tuple[Told, Told]:
        """For pairs of an interval that end in frames start..stop - 1 of the scan.

        Before they are aligned, and after. first: number of frame `start` among those at hand.
        """
        frames = torch.arange(start, stop, ALIKE, device=self.middles.device) + ALIKE / 2
        apart = (frames[:, None] - self.middles).abs()
        weights = (1 - apart * interval / NEAR).clamp(min=1e-6)
        weights = weights / weights.sum(dim=1, keepdim=True)
        before, after = (
            Told(torch.tensordot(weights.to(part.dtype), part, 1), first, description)
            for part in (self.before, self.after)
        )
        return before, after


def parts_of(count: int) -> list[tuple[int, int]]:
    """The first frame of each part of a scan of `count`, and the one after its last."""
    ends = np.linspace(0, count, max(round(count / PART), 1) + 1).round().astype(int).tolist()
    return list(pairwise(ends))


def told_pairs(count: int) -> Tensor:
    """Pairs (STRETCHES, P, 3), as `PoseNet.forward` takes them, that sum up `count` frames.

    As in training: of a few frames of each of a few stretches.
    """
    rng = np.random.default_rng(0)
    span = min(SPAN, count)
    pairs = []
    for start in np.linspace(0, count - span, STRETCHES).round().astype(np.int64):
        numbers = near_frames(int(start), span, rng)
        a, b = numbers[np.array(np.triu_indices(len(numbers), 1))]
        pairs.append(np.column_stack([a, b, b - a]))
    return torch.from_numpy(np.stack(pairs))


def near_frames(first: int, span: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers (TOGETHER,), or fewer, in order, of some of the `span` frames from `first` on."""
    chosen = rng.choice(span, size=min(TOGETHER, span), replace=False)
    return np.asarray(first + np.sort(chosen), np.int64)
