"""Clips, short runs of successive frames with their poses, as files that training reads.

A clip is one safetensors file: `frames` (N, H, W) uint8, `T_first_from_frame` (N, 4, 4) float64
image mm, the first I, `spacing` (2,) float64 mm a pixel and, if its frames are known to be mixed
with those before them, `undoing` (K,) float64; its seed stands in the metadata.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sim.stream import require_training_seed
from tusrec.errors import InputError
from tusrec.files import write_bytes


@dataclass(frozen=True)
class Clip:
    """Successive frames of one scan.

    frames: (N, H, W) uint8. T_first_from_frame: (N, 4, 4) float64, image mm. spacing: (x, y) mm a
    pixel. seed: (of the set, number of the clip), or (-1, -1) for a clip of a real scan.
    undoing: (K,) weights of `model.persistence.Unmixed` that undo the whole scan's persistence,
    which a clip is too short to show; (0,) for none.
    """

    frames: NDArray[np.uint8]
    T_first_from_frame: NDArray[np.float64]
    spacing: tuple[float, float]
    seed: tuple[int, int]
    undoing: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def write_clip(clip: Clip, path: Path) -> None:
    """Write a clip; the file appears complete or not at all. Raises OutputError."""
    tensors: dict[str, NDArray[Any]] = {
        "frames": np.ascontiguousarray(clip.frames),
        "T_first_from_frame": np.ascontiguousarray(clip.T_first_from_frame),
        "spacing": np.array(clip.spacing, np.float64),
    }
    if clip.undoing.size:
        tensors["undoing"] = clip.undoing
    write_bytes(path, save(tensors, {"seed": f"{clip.seed[0]} {clip.seed[1]}"}), "the clip")


def read_clip(path: Path) -> Clip:
    """Read a clip. Raises InputError for a file that is missing, broken, or no clip."""
    try:
        with safe_open(path, "numpy") as file:
            seed = tuple(int(part) for part in file.metadata()["seed"].split())
            frames = file.get_tensor("frames")
            T = file.get_tensor("T_first_from_frame")
            spacing, names = file.get_tensor("spacing"), file.keys()
            undoing = file.get_tensor("undoing") if "undoing" in names else np.empty(0)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: found {error}, expected a clip as training/clips.py describes; make it anew"
        ) from error
    sound = frames.dtype == np.uint8 and frames.ndim == 3 and T.shape == (len(frames), 4, 4)
    if not sound or undoing.ndim != 1:
        raise InputError(
            f"{path}: found frames {frames.dtype} {frames.shape}, poses {T.shape} and undoing "
            f"{undoing.shape}, expected uint8 (N, H, W), (N, 4, 4) and (K,); make it anew"
        )
    return Clip(frames, T, (float(spacing[0]), float(spacing[1])), (seed[0], seed[1]), undoing)


def read_training_clip(path: Path) -> Clip:
    """Read a clip to train on; raises InputError for one whose seed is kept for evaluation."""
    clip = read_clip(path)
    require_training_seed(clip.seed[0])
    return clip
