"""How the organisers' baseline learns: two frames of a clip, the error of four moved corners."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.baseline import FRAME_SHAPE, build_network
from model.device import fast_arithmetic
from training.clips import Clip
from training.learner import KeptOnDisk, draw_frames
from tusrec import poses
from tusrec.errors import InputError

CLIPS = 4
DIVISOR = 255.0


@dataclass(frozen=True)
class Images:
    """Pairs of frames (B, 2, H, W) uint8, T_first_from_second (B, 4, 4), and the image's corners.

    corners: (B, 4, 4) image mm, one a column.
    """

    frames: Tensor
    T_first_from_second: Tensor
    corners: Tensor


class BaselineLearner:
    """The learner of the organisers' network; see `training.learner.Learner`.

    Loss: mean square of the displacement error of the image's four corners in mm, which is that of
    the published configuration. Successive pairs only, for the network knows no interval.
    """

    clips_a_step = CLIPS
    kept_on_disk: KeptOnDisk | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device
        network = build_network().train().to(device)
        self.network: torch.nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, clip: Clip) -> Clip:
        """The clip as it is; raises InputError unless its frames are of the network's size."""
        if clip.frames.shape[1:] != FRAME_SHAPE:
            raise InputError(
                f"found frames of {clip.frames.shape[1:]}, expected {FRAME_SHAPE}, all that the "
                "organisers' network takes; leave them out, or train tusrec"
            )
        return clip

    def draw(self, prepared: Sequence[Clip], rng: np.random.Generator) -> Images:
        """Some frames, each with the one after it."""
        frames, motions, corners = [], [], []
        for clip in prepared:
            starts = draw_frames(len(clip.frames) - 1, rng)
            for a in starts:
                frames.append(torch.from_numpy(clip.frames[a : a + 2]))
                T_first_from_a, T_first_from_b = clip.T_first_from_frame[a : a + 2]
                motions.append(poses.inverse(T_first_from_a) @ T_first_from_b)
                corners.append(_corners(clip))
        truth, places = (torch.from_numpy(np.array(part)).float() for part in (motions, corners))
        return Images(torch.stack(frames), truth, places)

    def loss(self, batch: Images) -> tuple[Tensor, int]:
        """Mean square error of the corners, mm^2."""
        frames, truth, places = (part.to(self.device) for part in vars(batch).values())
        inputs = (frames / DIVISOR).contiguous(memory_format=torch.channels_last)
        with fast_arithmetic(self.device):
            parameters = self.network(inputs)
        moved = transforms(parameters.float()) @ places
        return (moved - truth @ places).square()[:, :3].mean(), len(frames)


def transforms(parameters: Tensor) -> Tensor:
    """Parameters (B, 6) -> T_previous_from_frame (B, 4, 4), differentiable.

    As `model.baseline.transforms_from_parameters`: angles in rad about z, y, x, R = Rz Ry Rx, then
    mm along x, y, z.
    """
    (sz, sy, sx), (cz, cy, cx) = (f(parameters[:, :3]).unbind(1) for f in (torch.sin, torch.cos))
    x, y, z = parameters[:, 3:].unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx, x],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx, y],
        [-sy, cy * sx, cy * cx, z],
        [zero, zero, zero, one],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _corners(clip: Clip) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The image's corners (4, 4) in image mm, one a column."""
    (height, width), (x, y) = clip.frames.shape[1:], clip.spacing
    columns, rows = np.array([1, width, 1, width]) * x, np.array([1, 1, height, height]) * y
    return np.stack([columns, rows, np.zeros(4), np.ones(4)])
