"""What a clip is to the pose network: its frames on the canvas, its poses about their centre."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import block_matching
from model.canonical import Canvas, to_canvas
from model.repeats import Picked, pictures
from training.clips import Clip
from tusrec import poses


@dataclass(frozen=True)
class Prepared:
    """A clip on the canvas: levels (N, SIDE, SIDE) int8, poses (N, 4, 4) about its centre, mm."""

    levels: Tensor
    T_first_from_frame: NDArray[np.float64]
    canvas: Canvas


def prepare(clip: Clip) -> Prepared:
    """A clip's frames, less what the screen added, and poses about the centre of their canvas.

    Without those that only lead in, and of each picture one, as estimators see scans.
    """
    numbers = pictures(clip.frames)
    wanted = numbers >= clip.lead_in
    wanted[-2:] = True  # one frame makes no pair
    shown = clip.screen.taken_out(Picked(clip.frames, numbers))
    frames, seen = shown[0 : len(numbers)][wanted], numbers[wanted]
    moving = block_matching.moving_mask(frames)
    canvas = Canvas.of(frames, moving, clip.spacing)
    mask = torch.from_numpy(moving.astype(np.float32))
    levels = to_canvas(torch.from_numpy(frames), mask, canvas)
    T = poses.inverse(clip.T_first_from_frame[seen][:1]) @ clip.T_first_from_frame[seen]
    return Prepared(levels, poses.about_point(T, canvas.centre_mm), canvas)


def true_motion(prepared: Prepared, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Exponential coordinates (P, 6) of T_a_from_b, rad and mm about the canvas's centre."""
    a, b = prepared.T_first_from_frame[pairs[:, 0]], prepared.T_first_from_frame[pairs[:, 1]]
    return poses.log(poses.inverse(a) @ b)
