"""Clips laid out on the canvas, kept beside them: that takes a hundred times as long as reading.

Beside `NAME.safetensors` lies `NAME.canvas`, a safetensors file too: `levels` (N, SIDE, SIDE) int8,
`T_first_from_frame` (N, 4, 4) float64 and `canvas` (10,) float64; in the metadata, what code laid
it out. One that is older than its clip, of other code or broken is made anew.
"""

import hashlib
import inspect
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from model import block_matching, canonical, persistence, repeats, screen
from model.canonical import SIDE, Canvas
from training import prepared
from training.prepared import Prepared
from tusrec.errors import OutputError
from tusrec.files import write_bytes

SUFFIX = ".canvas"


def kept(clip: Path) -> Prepared | None:
    """What was laid out of a clip, if it still is what it would be."""
    path = clip.with_suffix(SUFFIX)
    try:
        if path.stat().st_mtime_ns < clip.stat().st_mtime_ns:
            return None
        with safe_open(path, "pt") as file:
            if file.metadata() != _made_by():
                return None
            names = ("levels", "T_first_from_frame", "canvas")
            levels, T, canvas = (file.get_tensor(name) for name in names)
    except (OSError, SafetensorError):
        return None
    count = len(levels)
    if levels.shape != (count, SIDE, SIDE) or T.shape != (count, 4, 4) or canvas.shape != (10,):
        return None
    return Prepared(levels, T.numpy(), _as_canvas(canvas.tolist()))


def keep(clip: Path, laid: Prepared) -> None:
    """Keep what was laid out of a clip; not where its folder takes no files or another does so."""
    tensors = {
        "levels": laid.levels.contiguous(),
        "T_first_from_frame": torch.from_numpy(np.ascontiguousarray(laid.T_first_from_frame)),
        "canvas": torch.tensor(_as_numbers(laid.canvas), dtype=torch.float64),
    }
    with suppress(OutputError):
        write_bytes(clip.with_suffix(SUFFIX), save(tensors, _made_by()), "the clip's canvas")


def _as_numbers(canvas: Canvas) -> list[float]:
    return [*canvas.box, *canvas.size, *canvas.spacing_mm, *canvas.speckle_mm]


def _as_canvas(numbers: list[float]) -> Canvas:
    top, bottom, left, right, rows, columns = map(int, numbers[:6])
    spacing_x, spacing_y, lateral, axial = numbers[6:]
    size = (rows, columns)
    return Canvas((top, bottom, left, right), size, (spacing_x, spacing_y), (lateral, axial))


@cache
def _made_by() -> dict[str, str]:
    """The code that lays clips out, as a digest."""
    parts = (block_matching, canonical, persistence, repeats, screen, prepared)
    source = "".join(map(inspect.getsource, parts))
    return {"code": hashlib.sha256(source.encode()).hexdigest()}
