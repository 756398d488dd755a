"""The learned estimator: every frame encoded once, pairs at several intervals, one motion a step.

The network gives each pair six numbers and how sure it is of each; `steps` makes one motion a step
of them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import block_matching
from model.agreement import in_agreement
from model.canonical import Canvas, network_input, to_canvas
from model.cells import FREEDOMS, block_shifts
from model.compared import Compared, means_by_group
from model.device import Batches, fast_arithmetic
from model.encoded import STEP, Encoded
from model.folding import without_batch_norm
from model.interface import LocalMotions
from model.pose_net import INTERVALS, PoseNet, Seen
from model.repeats import Spans, seen_once
from model.screen import without_screen
from model.steps import Pairs, fused
from model.surroundings import Stretches, Told, parts_of, told_pairs
from model.weights import load_into, load_weights
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.frames import Frames

Array = NDArray[np.float64]
ByInterval = dict[int, Array]
BothTold = tuple[Told, Told]  # before frames are aligned, and after
Telling = Callable[[int], BothTold]  # interval -> what its pairs are told
Levels = Callable[[int, int], Tensor]  # (start, stop) -> canvases (stop - start, SIDE, SIDE) int8

SLICE = 48  # frames (2.4 MB each in bfloat16) or pairs at a time; a part of a scan has no more


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
        self._batches = {kind: Batches(SLICE) for kind in ("cpu", "cuda")}

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
        return seen_once(frames, partial(self._estimate, calibration=calibration, device=device))

    def _estimate(
        self, frames: Frames, spans: Spans, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        if not len(spans):
            return LocalMotions(np.empty((0, 4, 4)), np.empty((0, 6, 6)))
        canvas, pairs = self.pairs(without_screen(frames), calibration.spacing, device)
        xi, covariance = fused(pairs, canvas, spans)
        stretch = self._network.step_stretch.double().cpu().numpy()
        covariance *= np.outer(stretch, stretch)
        T = poses.about_point(poses.exp(xi), -canvas.centre_mm)
        to_centre = poses.moved_origin(calibration.centre_mm(*frames.shape[1:]) - canvas.centre_mm)
        return LocalMotions(T, to_centre @ covariance @ to_centre.T)

    def pairs(
        self, frames: Frames, spacing_mm: tuple[float, float], device: torch.device
    ) -> tuple[Canvas, Pairs]:
        """The frames' canvas, and interval -> xi (N-k, 6), rad and mm about its centre, and scales.

        These are Laplace's, infinite for a pair of which one frame shows no speckle.
        """
        moving = block_matching.moving_mask(frames)
        canvas = Canvas.of(frames, moving, spacing_mm)
        mask = torch.from_numpy(moving.astype(np.float32)).to(device)

        def levels(start: int, stop: int) -> Tensor:
            image = torch.from_numpy(np.ascontiguousarray(frames[start:stop])).to(device)
            return to_canvas(image, mask, canvas)

        return canvas, self.pairs_on_canvas(levels, frames.shape[0], canvas, device)

    def pairs_on_canvas(
        self, levels: Levels, count: int, canvas: Canvas, device: torch.device
    ) -> Pairs:
        """As `pairs`, of `count` frames whose canvases levels(start, stop) gives."""
        self._network.to(device)
        description = torch.from_numpy(canvas.description()[None]).to(device)
        with torch.inference_mode(), fast_arithmetic(device, self._precision):
            parts = list(self._sweep(levels, count, description))
        pairs = {}
        for k in parts[0]:
            motion, scale = np.concatenate([part[k] for part in parts], axis=1)
            pairs[k] = motion * canvas.units(), scale * canvas.units()
        stretch = dict(zip(INTERVALS, self._network.stretch.double().cpu().numpy(), strict=True))
        agreed = in_agreement(pairs, canvas)
        return {k: (motion, scale * stretch[k]) for k, (motion, scale) in agreed.items()}

    def _sweep(self, levels: Levels, count: int, description: Tensor) -> Iterator[ByInterval]:
        """Motions and scales (2, P, 6), in canvas units, of the pairs that end in each part."""
        motions = {
            k: torch.zeros(count - k, FREEDOMS, device=description.device)
            for k in INTERVALS
            if k < count
        }
        before: list[Encoded] = []  # the last frames, as many as the longest interval reaches
        room: Encoded | None = None
        stretches: Stretches | None = None
        for start, stop in parts_of(count):
            new = self._encoded(levels, start, stop, description.device)
            frames = Encoded.joined([*before, *new], room)
            del new  # as large as the room
            room = max(room or frames, frames, key=len)
            first = len(frames) - (stop - start)
            stretches = self._stretches(frames, first, start, description).after_those_of(stretches)
            told = partial(
                stretches.told, start=start, stop=stop, first=first, description=description
            )
            yield self._pairs_ending(frames, start, stop, motions, told)
            before = [frames[-max(INTERVALS) :].copy()]

    def _pairs_ending(
        self, frames: Encoded, start: int, stop: int, motions: dict[int, Tensor], told: Telling
    ) -> ByInterval:
        """Motions and scales (2, P, 6) of the pairs that end in frames start..stop - 1.

        frames: the last of them is stop - 1. motions: by interval k, (N-k, 6), of which those
        found are filled in. There is such a pair of every interval: no part of a scan is shorter
        than the longest one.
        """
        found = {}
        for k, motion in motions.items():
            first, pairs = _ending(frames, start, stop, k)
            known = _twice(motions[k // 2], first, len(pairs), k // 2) if k > 1 else None
            seen = self._measure(frames, pairs, known, told(k))
            motion[first : first + len(pairs)] = seen[0]
            found[k] = seen.double().cpu().numpy()
        return found

    def _measure(
        self, frames: Encoded, pairs: Tensor, known: Tensor | None, told: BothTold
    ) -> Tensor:
        """Motions and scales (2, P, 6) of pairs (P, 3) of one interval, roughly `known` or not."""

        def work(start: int, stop: int) -> Tensor:
            some = pairs[start:stop]
            guess = None
            if known is not None:
                guess = block_shifts(known[start:stop], told[0].descriptions(some))
            before = self._look(frames, some, guess, told[0])
            seen = self._look_closer(frames, some, before, told[1])
            return torch.stack([seen.motion, seen.scale])

        return torch.cat(self._batches[pairs.device.type].run(work, len(pairs)), dim=1)

    def _look(self, frames: Encoded, pairs: Tensor, guess: Tensor | None, told: Told) -> Seen:
        """What is seen before frames are aligned, at a guess (P, BLOCKS^2, 2) of their shifts."""
        compared = self._network.compare(frames, pairs, guess)
        seen = self._before(compared, pairs, told)
        return seen if guess is not None else self._look_again(frames, pairs, seen, told)

    def _look_again(self, frames: Encoded, pairs: Tensor, seen: Seen, told: Told) -> Seen:
        """Another look at what was `seen` without a guess, for shifts that features hardly span."""
        guess = block_shifts(seen.motion, told.descriptions(pairs))
        far = bool((guess.abs() > STEP / 2).any())
        return self._look(frames, pairs, guess, told) if far else seen

    def _look_closer(self, frames: Encoded, pairs: Tensor, before: Seen, told: Told) -> Seen:
        """What is seen once the motion in the plane that was seen `before` is taken out."""
        description = told.descriptions(pairs)
        aligned = self._network.compare_aligned(frames, pairs, before, description)
        after: Seen = self._network.after(aligned, told.means, told.part(pairs), description)
        return after

    def _before(self, compared: Compared, pairs: Tensor, told: Told) -> Seen:
        description = told.descriptions(pairs)
        seen: Seen = self._network.before(compared, told.means, told.part(pairs), description)
        return seen

    def _stretches(self, frames: Encoded, first: int, start: int, description: Tensor) -> Stretches:
        """Stretches of the frames from `first` on, each told of all of them.

        start: number of the first of them in the scan.
        """
        of_stretches = told_pairs(len(frames) - first).to(description.device)
        middles = start + of_stretches[..., :2].double().mean(dim=(1, 2))
        pairs = (of_stretches + torch.tensor([first, first, 0]).to(of_stretches)).flatten(0, 1)
        stretch = torch.arange(len(pairs), device=pairs.device) // of_stretches.shape[1]
        run = self._batches[pairs.device.type].run
        compared = Compared.joined(
            run(lambda a, b: self._network.compare(frames, pairs[a:b]), len(pairs))
        )
        before = means_by_group(compared, pairs, stretch)
        told = Told(before.mean(dim=0, keepdim=True), first, description)

        def aligned(start: int, stop: int) -> Compared:
            some = pairs[start:stop]
            seen = self._before(compared[start:stop], some, told)
            seen = self._look_again(frames, some, seen, told)
            found: Compared = self._network.compare_aligned(
                frames, some, seen, told.descriptions(some)
            )
            return found

        after = means_by_group(Compared.joined(run(aligned, len(pairs))), pairs, stretch)
        return Stretches(middles.float(), before, after)

    def _encoded(
        self, levels: Levels, start: int, stop: int, device: torch.device
    ) -> list[Encoded]:
        def work(first: int, last: int) -> Encoded:
            encoded: Encoded = self._network.encode(
                network_input(levels(start + first, start + last))
            )
            return encoded

        return self._batches[device.type].run(work, stop - start)


def _ending(frames: Encoded, start: int, stop: int, interval: int) -> tuple[int, Tensor]:
    """The pairs (P, 3) that end in frames start..stop - 1, and the number of the first of them."""
    first = max(start - interval, 0)
    ends = torch.arange(
        len(frames) - stop + interval + first, len(frames), device=frames.own.device
    )
    return first, torch.stack([ends - interval, ends, torch.full_like(ends, interval)], dim=1)


def _twice(motions: Tensor, first: int, count: int, interval: int) -> Tensor:
    """Motion (count, 6) over twice the interval from each of some frames on, to first order.

    motions: (N-k, 6) over interval k. As long a step as is measured well is the better guess:
    persistence hides more of a short one.
    """
    return motions[first : first + count] + motions[first + interval : first + interval + count]
