"""A picture of what was simulated."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tusrec.files import atomic_path
from tusrec.hdf5 import find_dataset, open_hdf5

COLUMNS, ROWS = 4, 3
TILE = (320, 240)


def write_contact_sheet(path: Path, scans: list[tuple[str, Path]]) -> None:
    """Write a PNG of one frame each of up to twelve (name, HDF5 file of `frames`).

    With fewer scans than tiles, each shows several frames. Raises InputError for a file that cannot
    be read.
    """
    tiles = COLUMNS * ROWS
    each = max(1, tiles // len(scans))
    names = [(name, file, k) for name, file in scans[:tiles] for k in range(each)]
    rows = -(-len(names) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * TILE[0], rows * TILE[1]))
    for tile, (name, file, k) in enumerate(names):
        corner = (tile % COLUMNS * TILE[0], tile // COLUMNS * TILE[1])
        index, picture = _picture(file, (k + 0.5) / each)
        sheet.paste(picture, corner)
        ImageDraw.Draw(sheet).text((corner[0] + 4, corner[1] + 2), f"{name} {index}", fill=255)
    with atomic_path(path) as partial:
        sheet.save(partial, "PNG")


def _picture(file: Path, place: float) -> tuple[int, Image.Image]:
    """The frame at a relative place of a scan, its number and a picture of TILE's size."""
    with open_hdf5(file) as h5:
        frames = find_dataset(h5, "frames")
        index = int(place * len(frames))
        frame = np.asarray(frames[index])
    return index, Image.fromarray(frame).resize(TILE, Image.Resampling.BOX)
