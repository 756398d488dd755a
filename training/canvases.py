"""Clips laid out on the canvas, kept beside them: that takes a hundred times as long as reading.

Beside `NAME.safetensors` lies `NAME.canvas`, a safetensors file too: `levels` (N, SIDE, SIDE) int8,
`T_first_from_frame` (N, 4, 4) float64 and `canvas` (10,) float64; in the metadata, of which clip
file and by what code. One of another file or other code, or a broken one, is made anew.
"""

import hashlib
import inspect
import logging
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from model import block_matching, canonical, clutter, persistence, repeats, screen, speckle
from model.canonical import SIDE, Canvas
from training import clips, prepared
from training.prepared import Prepared
from tusrec import frames, poses
from tusrec.errors import BusyError, OutputError
from tusrec.files import write_bytes

CODE: tuple[ModuleType, ...] = (
    *(block_matching, canonical, clutter, persistence, repeats, screen, speckle),
    *(clips, prepared, frames, poses),
)
"""What decides how a clip is laid out."""
OF_SCREENS: tuple[ModuleType, ...] = (clutter, persistence, repeats, screen, frames)
"""What decides which screen a clip that is cut from a scan remembers."""
LEFT_FREE = 2e9  # bytes of the disk, for checkpoints
log = logging.getLogger(__name__)


def of(clip: Path) -> Path:
    """Where the canvas of a clip's file lies."""
    return clip.with_suffix(".canvas")


def laid_out(clip: Path, lay_out: Callable[[], Prepared]) -> Prepared:
    """What is kept of a clip, or what `lay_out` makes of it, which is kept then.

    Raises what `lay_out` does.
    """
    if not clip.exists():
        return lay_out()  # which tells it
    stamped = stamp(clip)
    found = kept(clip, stamped)
    if found is None:
        found = lay_out()
        keep(clip, stamped, found)
    return found


def stamp(clip: Path) -> dict[str, str]:
    """The file that a clip is now and the code that would lay it out.

    To be asked for before the clip is read: it may be written anew meanwhile.
    """
    found = clip.stat()
    return {"clip": f"{found.st_mtime_ns} {found.st_size}", "code": code_of(CODE)}


def kept(clip: Path, stamped: dict[str, str]) -> Prepared | None:
    """What was laid out of a clip, if it was of this file and by this code.

    Its levels are the file's own pages, which processes share and of which those that are drawn are
    read.
    """
    try:
        with safe_open(of(clip), "pt") as file:
            if file.metadata() != stamped:
                return None
            names = ("levels", "T_first_from_frame", "canvas")
            levels, T, canvas = (file.get_tensor(name) for name in names)
    except (OSError, SafetensorError):
        return None
    if not _are_sound(levels, T, canvas):
        return None
    return Prepared(levels, T.numpy(), _as_canvas(canvas.tolist()))


def keep(clip: Path, stamped: dict[str, str], laid: Prepared) -> None:
    """Keep what was laid out of a clip; told once if its folder takes no files."""
    tensors = {
        "levels": laid.levels.contiguous(),
        "T_first_from_frame": torch.from_numpy(np.ascontiguousarray(laid.T_first_from_frame)),
        "canvas": torch.tensor(_as_numbers(laid.canvas), dtype=torch.float64),
    }
    if shutil.disk_usage(clip.parent).free < LEFT_FREE:
        _tell_once(f"{clip.parent}: found less than {LEFT_FREE / 1e9:.0f} GB free")
        return
    try:
        write_bytes(of(clip), save(tensors, stamped), "the clip's canvas")
    except BusyError:
        return
    except OutputError as error:
        _tell_once(str(error))


@cache
def _tell_once(fault: str) -> None:
    log.warning("%s; clips are laid out each time they are read, .25 s each", fault)


def _are_sound(levels: Tensor, T: Tensor, canvas: Tensor) -> bool:
    count = len(levels) if levels.ndim else 0
    sizes = (levels.shape, T.shape, canvas.shape) == ((count, SIDE, SIDE), (count, 4, 4), (10,))
    kinds = (levels.dtype, T.dtype, canvas.dtype) == (torch.int8, torch.float64, torch.float64)
    return sizes and kinds


def _as_numbers(canvas: Canvas) -> list[float]:
    return [*canvas.box, *canvas.size, *canvas.spacing_mm, *canvas.speckle_mm]


def _as_canvas(numbers: list[float]) -> Canvas:
    top, bottom, left, right, rows, columns = map(int, numbers[:6])
    spacing_x, spacing_y, lateral, axial = numbers[6:]
    size = (rows, columns)
    return Canvas((top, bottom, left, right), size, (spacing_x, spacing_y), (lateral, axial))


@cache
def code_of(modules: tuple[ModuleType, ...]) -> str:
    """What tells modules from those of another version."""
    return hashlib.sha256("".join(map(inspect.getsource, modules)).encode()).hexdigest()
