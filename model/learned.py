"""The learned estimator: every frame encoded once, pairs at several intervals, one motion a step.

The network gives each pair six numbers and how sure it is of each; `steps` makes one motion a step
of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import block_matching
from model.canonical import Canvas, network_input, to_canvas
from model.cells import ACROSS, FREEDOMS, block_shifts
from model.device import Batches, fast_precision
from model.folding import without_batch_norm
from model.interface import LocalMotions
from model.persistence import without_persistence
from model.pose_net import INTERVALS, STEP, Compared, Encoded, PoseNet, Seen
from model.steps import BETWEEN, Pairs, fused, moved_origin
from model.weights import load_into, load_weights
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.frames import Frames

Array = NDArray[np.float64]
ByInterval = dict[int, Array]
Levels = Callable[[int, int], Tensor]  # (start, stop) -> canvases (stop - start, SIDE, SIDE) int8

SLOW = 0.8  # half-widths of the speckle, moved across the picture in two frames: a slow hand
SPAN, TOGETHER = 9, 5  # successive frames, and how many of them are looked at together
PART, STRETCHES = 32, 2  # frames of a part of a scan, and stretches of SPAN that sum it up
SLICES = {"cpu": 32, "cuda": 64}  # frames or pairs at a time; a frame takes 3.5 MB in bfloat16


class Learned:
    """Estimator by a `PoseNet`, for any probe and frame size; see `model.interface.Estimator`.

    Its covariance is that of the network's scales, fused; it takes the sign for granted.
    """

    name = "tusrec"

    def __init__(
        self,
        network: PoseNet,
        weights_sha256: str = "",
        precision: torch.dtype | None = None,
    ) -> None:
        self.weights_sha256 = weights_sha256
        self._precision = precision
        folded = without_batch_norm(network)
        self._network = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._batches = {kind: Batches(size) for kind, size in SLICES.items()}

    @classmethod
    def from_weights(cls, folder: Path | None = None) -> Self:
        """Read weights "tusrec" of `folder`; raises WeightsError as `load_weights` does."""
        weights, sha256 = load_weights(cls.name, folder)
        network = PoseNet()
        load_into(network, weights, f"weights of model {cls.name}")
        return cls(network, sha256)

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        """Local motions (N-1, 4, 4) of frames (N, H, W), read a slice at a time.

        Raises OutOfMemoryError if one frame at a time is too much.
        """
        steps = frames.shape[0] - 1
        if steps < 1:
            return LocalMotions(np.empty((0, 4, 4)), np.empty((0, 6, 6)))
        frames = without_persistence(frames)
        canvas = Canvas.of(frames, calibration.spacing)
        xi, covariance = fused(self.pairs(frames, canvas, device), canvas, steps)
        stretch = self._network.step_stretch.double().cpu().numpy()
        covariance *= np.outer(stretch, stretch)
        T = poses.about_point(poses.exp(xi), -canvas.centre_mm)
        image_centre = np.array(calibration.spacing) * (np.array(frames.shape[:0:-1]) + 1) / 2
        to_centre = moved_origin(np.append(image_centre, 0.0) - canvas.centre_mm)
        return LocalMotions(T, to_centre @ covariance @ to_centre.T)

    def pairs(self, frames: Frames, canvas: Canvas, device: torch.device) -> Pairs:
        """Interval -> xi (N-k, 6), rad and mm about the canvas's centre, and Laplace scales."""
        mask = torch.from_numpy(block_matching.moving_mask(frames).astype(np.float32)).to(device)

        def levels(start: int, stop: int) -> Tensor:
            image = torch.from_numpy(np.ascontiguousarray(frames[start:stop])).to(device)
            return to_canvas(image.float(), mask, canvas)

        return self.pairs_on_canvas(levels, frames.shape[0], canvas, device)

    def pairs_on_canvas(
        self, levels: Levels, count: int, canvas: Canvas, device: torch.device
    ) -> Pairs:
        """As `pairs`, of `count` frames whose canvases levels(start, stop) gives."""
        self._network.to(device)
        told = torch.from_numpy(canvas.description()[None]).to(device)
        precision = self._precision or fast_precision(device)
        reduced = precision != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, precision, enabled=reduced):
            parts = list(self._sweep(levels, count, told))
        units = canvas.units()
        joined = {k: np.concatenate([part[k] for part in parts], axis=1) for k in parts[0]}
        return {k: (motion * units, scale * units) for k, (motion, scale) in joined.items()}

    def _sweep(self, levels: Levels, count: int, description: Tensor) -> Iterator[ByInterval]:
        """Motions and scales (2, P, 6) in canvas units of all pairs that end in each part."""
        motions = {
            k: torch.zeros(count - k, FREEDOMS, device=description.device)
            for k in INTERVALS
            if k < count
        }
        before: list[Encoded] = []  # the last frames, as many as the longest interval reaches
        room: Encoded | None = None
        for start, stop in parts_of(count):
            encoded = self._encoded(levels, start, stop, description.device)
            frames = Encoded.joined([*before, *encoded], room)
            room = max(room or frames, frames, key=len)
            told = self._told(frames, stop - start, description)
            yield self._pairs_ending(frames, start, stop, motions, told)
            before = [frames[-max(INTERVALS) :].copy()]

    def _pairs_ending(
        self, frames: Encoded, start: int, stop: int, motions: dict[int, Tensor], told: "_Told"
    ) -> ByInterval:
        """Motions and scales (2, P, 6) of the pairs that end in frames start..stop - 1.

        frames: the last of them is stop - 1. motions: by interval k, (N-k, 6), of which those
        found are filled in. There is such a pair of every interval: no part of a scan is shorter
        than the longest one.
        """
        found = {}
        for k, motion in motions.items():
            first, pairs = _ending(frames, start, stop, k)
            known = _sum(motions, k // 2, k // 2, first, len(pairs)) if k > 1 else None
            seen = self._measure(frames, pairs, known, told)
            motion[first : first + len(pairs)] = seen[0]
            found[k] = seen.double().cpu().numpy()
        if max(motions) > BETWEEN:
            found[BETWEEN] = (
                self._between(frames, start, stop, motions, told).double().cpu().numpy()
            )
        return found

    def _between(
        self, frames: Encoded, start: int, stop: int, motions: dict[int, Tensor], told: "_Told"
    ) -> Tensor:
        """Those (2, P, 6) BETWEEN frames apart; their scale is infinity but for a slow hand.

        Slow stretches are where signs come out wrong.
        """
        first, pairs = _ending(frames, start, stop, BETWEEN)
        known = _sum(motions, 2, 1, first, len(pairs))
        speed = _rms_across(motions[2][first : first + len(pairs) + 1])
        seen = torch.stack([known, torch.full_like(known, torch.inf)])
        slow = (speed[1:] + speed[:-1]) / 2 < SLOW
        if slow.any():
            seen[:, slow] = self._measure(frames, pairs[slow], known[slow], told)
        return seen

    def _measure(
        self, frames: Encoded, pairs: Tensor, known: Tensor | None, told: "_Told"
    ) -> Tensor:
        """Motions and scales (2, P, 6) of pairs (P, 3) of one interval, roughly `known` or not."""

        def work(start: int, stop: int) -> Tensor:
            some, description = pairs[start:stop], told.description.expand(stop - start, -1)
            guess = None if known is None else block_shifts(known[start:stop], description)
            before = self._look(frames, some, guess, told)
            seen = self._look_closer(frames, some, before, told)
            scale = self._network.calibrated_scale(seen, int(some[0, 2]))
            return torch.stack([seen.motion, scale])

        return torch.cat(self._batches[pairs.device.type].run(work, len(pairs)), dim=1)

    def _look(self, frames: Encoded, pairs: Tensor, guess: Tensor | None, told: "_Told") -> Seen:
        """What is seen before frames are aligned, at a guess (P, BLOCKS^2, 2) of their shifts."""
        compared = self._network.compare(frames, pairs, guess)
        seen = self._before(compared, told)
        return seen if guess is not None else self._look_again(frames, pairs, seen, told)

    def _look_again(self, frames: Encoded, pairs: Tensor, seen: Seen, told: "_Told") -> Seen:
        """Another look at what was `seen` without a guess, for shifts that features hardly span."""
        guess = block_shifts(seen.motion, told.description.expand(len(pairs), -1))
        far = bool((guess.abs() > STEP / 2).any())
        return self._look(frames, pairs, guess, told) if far else seen

    def _look_closer(self, frames: Encoded, pairs: Tensor, before: Seen, told: "_Told") -> Seen:
        """What is seen once the motion in the plane that was seen `before` is taken out."""
        description = told.description.expand(len(pairs), -1)
        aligned = self._network.compare_aligned(frames, pairs, before, description)
        after: Seen = self._network.after(aligned, told.after, description)
        return after

    def _before(self, compared: Compared, told: "_Told") -> Seen:
        description = told.description.expand(len(compared.cells), -1)
        seen: Seen = self._network.before(compared, told.before, description)
        return seen

    def _told(self, frames: Encoded, count: int, description: Tensor) -> "_Told":
        """What a few pairs of the last `count` frames look like, before and after alignment."""
        pairs = told_pairs(count) + torch.tensor([*[len(frames) - count] * 2, 0])
        pairs = pairs.to(description.device)
        compared = self._network.compare(frames, pairs)
        told = _Told(_mean(compared), torch.empty(0), description)
        seen = self._look_again(frames, pairs, self._before(compared, told), told)
        each = description.expand(len(pairs), -1)
        return replace(told, after=_mean(self._network.compare_aligned(frames, pairs, seen, each)))

    def _encoded(
        self, levels: Levels, start: int, stop: int, device: torch.device
    ) -> list[Encoded]:
        def work(first: int, last: int) -> Encoded:
            inputs = network_input(levels(start + first, start + last))
            encoded: Encoded = self._network.encode(
                inputs.contiguous(memory_format=torch.channels_last)
            )
            return encoded

        return self._batches[device.type].run(work, stop - start)


@dataclass(frozen=True)
class _Told:
    """What the network is told of a part of a scan, as a batch of one.

    before, after: means of `Compared.weighted` before and after frames are aligned.
    description: (1, DESCRIPTION).
    """

    before: Tensor
    after: Tensor
    description: Tensor


def _mean(compared: Compared) -> Tensor:
    """Mean of `Compared.weighted` over pairs, as a batch of one."""
    return compared.weighted().mean(dim=0, keepdim=True)


def _ending(frames: Encoded, start: int, stop: int, interval: int) -> tuple[int, Tensor]:
    """The pairs (P, 3) that end in frames start..stop - 1, and the number of the first of them."""
    first = max(start - interval, 0)
    ends = torch.arange(
        len(frames) - stop + interval + first, len(frames), device=frames.own.device
    )
    return first, torch.stack([ends - interval, ends, torch.full_like(ends, interval)], dim=1)


def _sum(motions: dict[int, Tensor], one: int, other: int, first: int, count: int) -> Tensor:
    """Motion (count, 6) over both intervals from each of some frames on, to first order.

    motions: by interval k, (N-k, 6). As long a step as is measured well is the better guess:
    persistence hides more of a short one.
    """
    then = first + one
    return motions[one][first : first + count] + motions[other][then : then + count]


def _rms_across(motions: Tensor) -> Tensor:
    """Root mean square (P,) over the picture of how far motions (P, 6) go across it."""
    across = motions[:, ACROSS].square()
    return (across @ across.new_tensor([1 / 3, 1 / 3, 1.0])).sqrt()


def parts_of(count: int) -> list[tuple[int, int]]:
    """The first frame of each part of a scan of `count`, and the one after its last."""
    ends = np.linspace(0, count, max(round(count / PART), 1) + 1).round().astype(int).tolist()
    return list(pairwise(ends))


def told_pairs(count: int) -> Tensor:
    """Pairs (P, 3), as `PoseNet.forward` takes them, that sum up a part of `count` frames.

    As in training: of a few frames of each of a few stretches.
    """
    rng = np.random.default_rng(0)
    span = min(SPAN, count)
    pairs = []
    for start in np.linspace(0, count - span, STRETCHES).round().astype(np.int64):
        numbers = near_frames(int(start), span, rng)
        a, b = numbers[np.array(np.triu_indices(len(numbers), 1))]
        pairs.append(np.column_stack([a, b, b - a]))
    return torch.from_numpy(np.concatenate(pairs))


def near_frames(first: int, span: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers (TOGETHER,), or fewer, in order, of some of the `span` frames from `first` on."""
    chosen = rng.choice(span, size=min(TOGETHER, span), replace=False)
    return np.asarray(first + np.sort(chosen), np.int64)
