"""Clips, short runs of successive frames with their poses, as files that training reads.

A clip is one safetensors file: `frames` (N, H, W) uint8, `T_first_from_frame` (N, 4, 4) float64
image mm, the first I, `spacing` (2,) float64 mm a pixel and, if the scanner's screen is known to
have added to its frames, `clutter` (H, W) int8 and `undoing` (K,) float64 of `model.screen.Screen`;
its seed stands in the metadata.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.screen import Screen
from sim.stream import require_training_seed
from tusrec.errors import InputError
from tusrec.files import write_bytes

SCREEN = [part.name for part in fields(Screen)]
REAL_SEED = -1  # of clips that no seed made


@dataclass(frozen=True)
class Clip:
    """Successive frames of one scan.

    frames: (N, H, W) uint8. T_first_from_frame: (N, 4, 4) float64, image mm. spacing: (x, y) mm a
    pixel. seed: (of the set, number of the clip), or (REAL_SEED, its first frame) for a clip of a
    scan that was recorded. screen: what the whole scan was shown on, which a clip is too short to
    tell.
    """

    frames: NDArray[np.uint8]
    T_first_from_frame: NDArray[np.float64]
    spacing: tuple[float, float]
    seed: tuple[int, int]
    screen: Screen = field(default_factory=Screen)

    @property
    def lead_in(self) -> int:
        """First frames that serve to undo the persistence of those after them alone."""
        of_one_scan, first = self.seed
        return self.screen.reach if of_one_scan == REAL_SEED and first > 0 else 0


def write_clip(clip: Clip, path: Path) -> None:
    """Write a clip; the file appears complete or not at all. Raises OutputError."""
    tensors: dict[str, NDArray[Any]] = {
        "frames": np.ascontiguousarray(clip.frames),
        "T_first_from_frame": np.ascontiguousarray(clip.T_first_from_frame),
        "spacing": np.array(clip.spacing, np.float64),
    }
    tensors |= {name: part for name, part in vars(clip.screen).items() if part.size}
    write_bytes(path, save(tensors, {"seed": f"{clip.seed[0]} {clip.seed[1]}"}), "the clip")


def seed_of(path: Path) -> tuple[int, int]:
    """The seed of a clip; raises InputError as `read_clip`."""
    with _opened(path) as file:
        return _seed(file)


def read_clip(path: Path) -> Clip:
    """Read a clip. Raises InputError for a file that is missing, broken, or no clip."""
    with _opened(path) as file:
        frames = file.get_tensor("frames")
        T = file.get_tensor("T_first_from_frame")
        x, y = file.get_tensor("spacing")
        names = file.keys()
        screen = Screen(**{name: file.get_tensor(name) for name in SCREEN if name in names})
        clip = Clip(frames, T, (float(x), float(y)), _seed(file), screen)
    _require_sound(clip, path)
    return clip


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A clip's file; what goes wrong while it is read is told as InputError."""
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: found {error}, expected a clip as training/clips.py describes; make it anew"
        ) from error


def _seed(file: Any) -> tuple[int, int]:
    of_set, number = map(int, file.metadata()["seed"].split())
    return of_set, number


def _require_sound(clip: Clip, path: Path) -> None:
    frames, T, screen = clip.frames, clip.T_first_from_frame, clip.screen
    sound = frames.dtype == np.uint8 and frames.ndim == 3 and len(frames) > 1
    sound = sound and T.shape == (len(frames), 4, 4) and bool(np.isfinite(T).all())
    fits = screen.clutter.dtype == np.int8 and screen.clutter.shape in ((0, 0), frames.shape[1:])
    if not sound or not fits or screen.undoing.ndim != 1:
        raise InputError(
            f"{path}: found frames {frames.dtype} {frames.shape}, poses {T.shape}, clutter "
            f"{screen.clutter.dtype} {screen.clutter.shape} and undoing {screen.undoing.shape}, "
            "expected uint8 (N, H, W) of 2 frames or more, finite (N, 4, 4), int8 (H, W) and (K,); "
            "make it anew"
        )


def read_training_clip(path: Path) -> Clip:
    """Read a clip to train on; raises InputError for one whose seed is kept for evaluation."""
    clip = read_clip(path)
    with named(path):
        require_training_seed(clip.seed[0])
    return clip


@contextmanager
def named(what: Path | str) -> Iterator[None]:
    """Name the clip or scan that an InputError is of."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
