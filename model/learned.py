"""The learned estimator: every frame encoded once, pairs at several intervals, one motion a step.

The network gives each pair six numbers and how sure it is of each; the sign of those across the
image, which two frames do not show, is chosen as for the classical estimator (`signs`), and the
intervals are fused as there (`fusion`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import block_matching
from model.canonical import Canvas, network_input, to_canvas
from model.cells import FREEDOMS, IN_PLANE, block_shifts
from model.decorrelation import Planes
from model.device import Batches, fast_precision
from model.fusion import fuse_intervals
from model.interface import LocalMotions
from model.pose_net import INTERVALS, STEP, Compared, Encoded, PoseNet, Seen, agreed
from model.signs import choose_signs
from model.weights import load_into, load_weights
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.frames import Frames

Array = NDArray[np.float64]
Pairs = Mapping[int, tuple[Array, Array]]
Levels = Callable[[int, int], Tensor]  # (start, stop) -> canvases (stop - start, SIDE, SIDE) int8

SPAN, TOGETHER = 9, 5  # successive frames, and how many of them are looked at together
STRETCHES = 12  # of SPAN frames, by which a scan is summed up
SLICES = {"cpu": 8, "cuda": 64}  # frames encoded at a time; one takes 3.5 MB in bfloat16

PLANE = (5, 1, 0)  # places in xi of what makes a plane of the motion across the picture
PLANE_SIGNS = np.array([1.0, -1.0, 1.0])  # a rotation w moves (x, y, 0) by w_x y - w_y x along z
# Hand motion from one frame to the next, and what is wrong with a pair whatever its interval.
PRIOR_SD = np.array([np.radians(0.5), 0.3, 0.3]), np.array([0.5, np.radians(0.5), np.radians(0.5)])
PAIR_SD = np.array([np.radians(0.02), 0.02, 0.02]), np.array([0.03, *np.radians([0.04, 0.04])])


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
        self._network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        canvas = Canvas.of(frames, calibration.spacing)
        xi, covariance = fused(self.pairs(frames, canvas, device), canvas, steps)
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
            parts = self._sweep(levels, count, self._told(levels, count, told))
        units = canvas.units()
        joined = {k: np.concatenate([part[k] for part in parts], axis=1) for k in parts[0]}
        return {k: (motion * units, scale * units) for k, (motion, scale) in joined.items()}

    def _sweep(self, levels: Levels, count: int, told: "_Told") -> list[dict[int, Array]]:
        """Motions and scales (2, B, 6) in canvas units of all pairs by interval, in slices."""
        intervals = [k for k in INTERVALS if k < count]
        before: list[Encoded] = []  # of the last frames, as many as the longest interval reaches
        steps = torch.zeros(count - 1, FREEDOMS, device=told.description.device)

        def work(start: int, stop: int) -> dict[int, Array]:
            joined = Encoded.joined([*before, self._encode(levels(start, stop))])
            found = {}
            for k in intervals:
                first = max(start - k, 0)  # number of the first pair that ends in a new frame
                pairs = max(stop - k - first, 0)
                ends = torch.arange(len(joined) - pairs, len(joined), device=steps.device)
                known = _sums(steps, first, pairs, k) if k > 1 and pairs else None
                both = torch.stack([ends - k, ends, torch.full_like(ends, k)], dim=1)
                seen = self._measure(joined, both, known, told) if pairs else _nothing()
                if k == 1:
                    steps[first : first + pairs] = seen[0]
                found[k] = seen.double().cpu().numpy()
            before[:] = [joined[-max(INTERVALS) :]]
            return found

        return self._batches[steps.device.type].run(work, count)

    def _measure(
        self, frames: Encoded, pairs: Tensor, known: Tensor | None, told: "_Told"
    ) -> Tensor:
        """Motions and scales (2, P, 6) of pairs (P, 3) of one interval, roughly `known` or not."""
        first = self._first_look(frames, pairs, known, told)
        description = told.description.expand(len(pairs), -1)
        closer = self._network.compare_aligned(frames, pairs, first, description)
        scan = told.second.expand(len(pairs), -1, -1, -1)
        second = self._network.second(closer, scan, description)
        scale = self._network.calibrated_scale(second, int(pairs[0, 2]))
        return torch.stack([agreed(first, second), scale])

    def _first_look(
        self, frames: Encoded, pairs: Tensor, known: Tensor | None, told: "_Told"
    ) -> Seen:
        """What is seen before frames are aligned, at what is `known` (P, 6) of their motion.

        Where nothing is, a look tells it, and another is only for shifts that features hardly span.
        """
        description = told.description.expand(len(pairs), -1)
        scan = told.first.expand(len(pairs), -1, -1, -1)

        def look(guess: Tensor | None) -> Seen:
            compared = self._compare(frames, pairs, guess)
            seen: Seen = self._network.first(compared, scan, description)
            return seen

        if known is not None:
            return look(block_shifts(known, description))
        seen = look(None)
        guess = block_shifts(seen.motion, description)
        return look(guess) if bool((guess.abs() > STEP / 2).any()) else seen

    def _compare(self, frames: Encoded, pairs: Tensor, guess: Tensor | None) -> Compared:
        a, b, _ = pairs.unbind(1)
        compared: Compared = self._network.compare(frames.view(a), frames.view(b, guess))
        return compared

    def _told(self, levels: Levels, count: int, description: Tensor) -> "_Told":
        """What pairs from all over the scan look like, before and after they are aligned."""
        shown = []
        for numbers in stretches(count):
            encoded = self._encode(torch.cat([levels(n, n + 1) for n in numbers.tolist()]))
            a, b = np.triu_indices(len(numbers), 1)
            pairs = torch.from_numpy(np.column_stack([a, b, numbers[b] - numbers[a]]))
            shown.append((encoded, pairs.to(description.device)))
        before = _mean(self._compare(*part, None) for part in shown)
        told = _Told(before, torch.empty(0), description)

        def aligned(frames: Encoded, pairs: Tensor) -> Compared:
            first = self._first_look(frames, pairs, None, told)
            each = description.expand(len(pairs), -1)
            compared: Compared = self._network.compare_aligned(frames, pairs, first, each)
            return compared

        return replace(told, second=_mean(aligned(*part) for part in shown))

    def _encode(self, levels: Tensor) -> Encoded:
        inputs = network_input(levels).contiguous(memory_format=torch.channels_last)
        encoded: Encoded = self._network.encode(inputs)
        return encoded


@dataclass(frozen=True)
class _Told:
    """What the network is told of a scan, as a batch of one.

    first, second: means of `Compared.weighted` before and after frames are aligned.
    description: (1, DESCRIPTION).
    """

    first: Tensor
    second: Tensor
    description: Tensor


def _mean(parts: Iterable[Compared]) -> Tensor:
    """Mean of `Compared.weighted` over parts of a scan, as a batch of one."""
    means = [part.weighted().mean(dim=0, keepdim=True) for part in parts]
    return torch.cat(means).mean(dim=0, keepdim=True)


def _sums(steps: Tensor, first: int, pairs: int, interval: int) -> Tensor:
    """Motion (pairs, 6) over `interval` steps from each of `pairs` frames on, to first order."""
    windows = steps[first : first + pairs + interval - 1].unfold(0, interval, 1)
    return windows.sum(dim=-1)


def _nothing() -> Tensor:
    return torch.empty(2, 0, FREEDOMS)


def stretches(count: int) -> list[NDArray[np.int64]]:
    """Numbers of the frames, of `count`, that the scan is summed up by: as in training."""
    rng = np.random.default_rng(0)
    span = min(SPAN, count)
    starts = np.unique(np.linspace(0, count - span, STRETCHES).round().astype(np.int64))
    return [
        start + np.sort(rng.choice(span, min(TOGETHER, span), replace=False)) for start in starts
    ]


def fused(pairs: Pairs, canvas: Canvas, steps: int) -> tuple[Array, Array]:
    """Steps (S, 6) about the canvas's centre and their covariance (S, 6, 6)."""
    half_x, half_y = canvas.half_extent_mm
    moments = np.diag([1.0, half_x**2 / 3, half_y**2 / 3])
    in_plane = {k: _part(pair, IN_PLANE) for k, pair in pairs.items()}
    planes = {k: Planes(*_part(pair, PLANE, PLANE_SIGNS)) for k, pair in pairs.items()}
    parts = (
        fuse_intervals(in_plane, steps, PRIOR_SD[0], PAIR_SD[0]),
        fuse_intervals(choose_signs(planes, moments), steps, PRIOR_SD[1], PAIR_SD[1]),
    )
    xi, covariance = np.zeros((steps, 6)), np.zeros((steps, 6, 6))
    for (motion, spread), places, signs in zip(
        parts, (IN_PLANE, PLANE), (np.ones(3), PLANE_SIGNS), strict=True
    ):
        xi[:, places] = motion * signs
        covariance[np.ix_(range(steps), places, places)] = spread * np.outer(signs, signs)
    return xi, covariance


def moved_origin(shift: Array) -> Array:
    """Matrix (6, 6) that takes small xi about a point to xi about that point + shift (3,) mm."""
    matrix = np.eye(6)
    x, y, z = shift
    matrix[3:, :3] = [[0, z, -y], [-z, 0, x], [y, -x, 0]]  # w x shift
    return matrix


def _part(
    pair: tuple[Array, Array], places: tuple[int, ...], signs: Array | float = 1.0
) -> tuple[Array, Array]:
    """Some of xi (n, 3), with `signs`, and its information (n, 3, 3) by Laplace's variance."""
    motion, scale = (part[:, places] for part in pair)
    information = np.zeros((len(motion), 3, 3))
    information[:, range(3), range(3)] = 1 / (2 * scale**2)
    return motion * signs, information
