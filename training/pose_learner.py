"""How the pose network learns: pairs on the canvas, and a loss that no mirror image changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.canonical import network_input
from model.cells import block_shifts, cell_shifts
from model.device import fast_arithmetic
from model.pose_net import PoseNet, Seen
from training import canvases
from training.clips import Clip
from training.learner import KeptOnDisk, draw_frames
from training.prepared import Prepared, prepare, true_motion

SMALL_MM = 0.1  # displacement at which the relative error stops counting as relative
NLL_SHARE = 0.1
CELLS_SHARE = 0.3
BEFORE_SHARE = 0.3  # of what is seen before the frames are aligned
CLIPS_ON_GPU = 24  # in a batch; they take 12 GB
WINDOWS = 4  # stretches of a clip that frames are drawn from in one step
KNOWN = 0.7  # of the pairs whose shift within the picture is known beforehand
GUESS_ERROR = 0.15  # of what is known, as a share of it
MIRROR = (-1.0, -1.0, 1.0, 1.0, 1.0, -1.0)  # of xi (rotations, translations) under z -> -z
FLIP = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)  # under x -> -x


@dataclass(frozen=True)
class PairBatch:
    """Pairs of frames with their true motions.

    levels: (F, SIDE, SIDE) int8 canvases. pairs: (P, 3) numbers of two of them, and how many frames
    they are apart. scan: (P,) number of its clip.
    description: (P, 6). motion, units: (P, 6) true xi over the units, and the units. half_extent:
    (P, 2) mm. guess: (P, BLOCKS^2, 2) shifts of the blocks as they may be known beforehand, or 0.
    """

    levels: Tensor
    pairs: Tensor
    scan: Tensor
    description: Tensor
    motion: Tensor
    units: Tensor
    half_extent: Tensor
    guess: Tensor

    def to(self, device: torch.device) -> "PairBatch":
        """The same on another device; frames travel as one byte a pixel."""
        return PairBatch(*(part.to(device) for part in vars(self).values()))


class PoseLearner:
    """The learner of `model.pose_net.PoseNet`; see `training.learner.Learner`."""

    clips_a_step = 3
    kept_on_disk: KeptOnDisk | None

    def __init__(self, device: torch.device) -> None:
        self.device, self.kept_on_disk = device, canvases.laid_out
        if device.type == "cuda":
            self.clips_a_step = CLIPS_ON_GPU
        network = PoseNet().to(device)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, clip: Clip) -> Prepared:
        """Frames on the canvas and poses about its centre."""
        return prepare(clip)

    def draw(self, prepared: Sequence[Prepared], rng: np.random.Generator) -> PairBatch:
        """All pairs of a few frames."""
        return draw_batch(prepared, rng)

    def loss(self, batch: PairBatch) -> tuple[Tensor, int]:
        """Relative displacement error and Laplace likelihood of the pairs."""
        batch = batch.to(self.device)
        with fast_arithmetic(self.device):
            before, after = self.network(
                network_input(batch.levels),
                batch.pairs,
                batch.scan,
                batch.description,
                batch.guess,
            )
        loss = pose_loss(after, batch) + BEFORE_SHARE * pose_loss(before, batch)
        return loss, len(batch.pairs)


def draw_batch(prepared: Sequence[Prepared], rng: np.random.Generator) -> PairBatch:
    """All pairs of a few frames of each clip, forwards or backwards, as they are or flipped."""
    drawn = [part for one in prepared for part in _draw_windows(one, rng)]
    owners = [one for one in prepared for _ in range(WINDOWS)]
    offsets = np.cumsum([0, *(len(part.levels) for part in drawn)])
    pairs = [part.pairs + np.array([n, n, 0]) for part, n in zip(drawn, offsets, strict=False)]
    each = [len(p) for p in pairs]

    def repeated(values: Sequence[NDArray[np.float64]]) -> Tensor:
        return torch.from_numpy(np.repeat(np.array(values), each, axis=0)).float()

    units = repeated([one.canvas.units() for one in owners])
    motion = torch.from_numpy(np.concatenate([part.xi for part in drawn])).float() / units
    description = repeated([one.canvas.description().astype(np.float64) for one in owners])
    return PairBatch(
        torch.cat([part.levels for part in drawn]),
        torch.from_numpy(np.concatenate(pairs)),
        torch.from_numpy(np.repeat(np.arange(len(drawn)) // WINDOWS, each)),
        description,
        motion,
        units,
        repeated([np.array(one.canvas.half_extent_mm) for one in owners]),
        guess(motion, description, rng),
    )


def guess(motion: Tensor, description: Tensor, rng: np.random.Generator) -> Tensor:
    """Shifts of the blocks (P, BLOCKS^2, 2) as well as they may be known beforehand, or 0.

    motion, description: as in `PairBatch`.
    """
    known = torch.from_numpy(rng.random(len(motion)) < KNOWN)
    noise = 1 + GUESS_ERROR * torch.from_numpy(rng.standard_normal((len(motion), 1, 2)))
    shifts = block_shifts(motion, description)
    return shifts * (noise * known[:, None, None]).to(shifts)


@dataclass(frozen=True)
class _Drawn:
    """Levels of a few frames, pairs (P, 3) of them as in `PairBatch`, and their true xi (P, 6)."""

    levels: Tensor
    pairs: NDArray[np.int64]
    xi: NDArray[np.float64]


def _draw_windows(one: Prepared, rng: np.random.Generator) -> list[_Drawn]:
    """WINDOWS stretches of a clip, all as they are or all flipped."""
    drawn = [_draw(one, rng) for _ in range(WINDOWS)]
    if rng.random() < 0.5:
        return drawn
    return [replace(d, levels=d.levels.flip(-1), xi=d.xi * np.array(FLIP)) for d in drawn]


def _draw(one: Prepared, rng: np.random.Generator) -> _Drawn:
    frames = draw_frames(len(one.levels), rng)
    pairs = np.array(list(combinations(range(len(frames)), 2)))
    backwards = rng.random(len(pairs)) < 0.5
    pairs[backwards] = pairs[backwards, ::-1]
    shown = frames[pairs]
    pairs = np.column_stack([pairs, np.abs(shown[:, 1] - shown[:, 0])])
    return _Drawn(one.levels[torch.from_numpy(frames)], pairs, true_motion(one, shown))


def pose_loss(seen: Seen, batch: PairBatch) -> Tensor:
    """Displacement error over displacement, and negative log-likelihoods, of the better mirror.

    Two frames do not show the sign of the motion across them, so each pair is held against its
    truth and that truth's mirror, and the smaller loss counts.
    """
    mirror = torch.tensor(MIRROR, device=seen.motion.device)
    losses = [_loss(seen, truth, batch) for truth in (batch.motion, batch.motion * mirror)]
    return (torch.stack(losses).amin(dim=0) + CELLS_SHARE * _cells_loss(seen, batch)).mean()


def _loss(seen: Seen, truth: Tensor, batch: PairBatch) -> Tensor:
    error = _mean_length((seen.motion - truth) * batch.units, batch.half_extent)
    size = _mean_length(truth * batch.units, batch.half_extent)
    miss = (seen.motion.detach() - truth).abs()  # sureness shall not be won by worse motion
    likelihood = (miss * torch.exp(-seen.log_scale) + seen.log_scale).mean(1)
    return error / (size + SMALL_MM) + NLL_SHARE * likelihood


def _cells_loss(seen: Seen, batch: PairBatch) -> Tensor:
    """Negative log-likelihood (P,) of what each cell was seen to do, by Laplace's distribution."""
    truth = cell_shifts(batch.motion, batch.description)
    truth = torch.cat([truth[..., :2], truth[..., 2:].abs()], dim=-1)
    misfit = (seen.shifts - truth).abs() * torch.exp(0.5 * seen.log_weights)
    each = (misfit - 0.5 * seen.log_weights).mean(dim=-1)
    return (each * seen.share).sum(dim=1) / (seen.share.sum(dim=1) + 1e-3)


def _mean_length(xi: Tensor, half_extent: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(displacements(xi, half_extent), dim=-1)
    return lengths.mean(dim=1)


def displacements(xi: Tensor, half_extent: Tensor) -> Tensor:
    """Displacements (P, 49, 3) mm of a grid over the picture by small motions xi (P, 6).

    half_extent: (P, 2) mm. To first order: angles between frames are small.
    """
    line = torch.linspace(-1, 1, 7, device=xi.device)
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(1, -1, 2)
    x, y = (places * half_extent[:, None]).unbind(dim=-1)  # (P, 49)
    wx, wy, wz = (part[:, None] for part in xi[:, :3].unbind(dim=1))
    turned = torch.stack([-wz * y, wz * x, wx * y - wy * x], dim=-1)
    return turned + xi[:, None, 3:]
