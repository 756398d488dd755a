"""Small pictures of some frames, as JPEG contact sheets within a budget of bytes."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tusrec.files import writable
from tusrec.frames import Frames, evenly_spread
from view.images import write_by_itk

MOST_WIDE = 320  # pixels of a small picture
QUALITY = 60  # of JPEG; speckle costs most of the bytes
COLUMNS, ROWS = 5, 4  # of a sheet


@dataclass(frozen=True)
class Sheets:
    """JPEG sheets of COLUMNS x ROWS pictures, row by row, of frames `indices`."""

    indices: list[int]
    width: int
    height: int
    jpegs: list[bytes]


def contact_sheets(frames: Frames, most: int, budget: int, folder: Path) -> Sheets:
    """At most `most` evenly spread frames, and fewer until the JPEGs take `budget` bytes.

    `folder` takes a temporary file, for ITK writes no JPEG into memory.
    """
    indices = evenly_spread(frames.shape[0], most)
    pictures = [_small(frames[i : i + 1][0]) for i in indices]
    height, width = pictures[0].shape
    jpegs = _sheets(pictures, folder)
    if sum(map(len, jpegs)) > budget and most > 1:
        return contact_sheets(frames, most // 2, budget, folder)
    return Sheets(indices, width, height, jpegs)


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame at 1, 1/2, 1/3 ... of its size, each pixel a mean."""
    factor = -(-frame.shape[1] // MOST_WIDE)
    height, width = (max(1, size // factor) for size in frame.shape)
    cut = frame[: height * factor, : width * factor]
    blocks = cut.reshape(height, cut.shape[0] // height, width, cut.shape[1] // width)
    return np.asarray(blocks.mean(axis=(1, 3)).round(), np.uint8)


def _sheets(pictures: list[NDArray[np.uint8]], place: Path) -> list[bytes]:
    height, width = pictures[0].shape
    jpegs = []
    with writable(place), tempfile.TemporaryDirectory(prefix=".sheets-", dir=place) as folder:
        for start in range(0, len(pictures), COLUMNS * ROWS):
            sheet = np.zeros((ROWS, height, COLUMNS, width), np.uint8)
            for cell, picture in enumerate(pictures[start : start + COLUMNS * ROWS]):
                sheet[cell // COLUMNS, :, cell % COLUMNS] = picture
            jpegs.append(_jpeg(sheet.reshape(ROWS * height, COLUMNS * width), Path(folder)))
    return jpegs


def _jpeg(pixels: NDArray[np.uint8], folder: Path) -> bytes:
    path = folder / "sheet.jpg"
    image = sitk.GetImageFromArray(pixels)
    write_by_itk(path, "jpg", lambda name: sitk.WriteImage(image, name, True, QUALITY))
    return path.read_bytes()
