"""Small pictures of some frames, as JPEG contact sheets within a budget of bytes."""

import os
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tusrec.frames import Frames, evenly_spread
from view.images import itk_image

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


def contact_sheets(frames: Frames, most: int, budget: int) -> Sheets:
    """At most `most` evenly spread frames, and fewer until the JPEGs take `budget` bytes."""
    indices = evenly_spread(frames.shape[0], most)
    pictures = [_small(frames[i : i + 1][0]) for i in indices]
    height, width = pictures[0].shape
    jpegs = _sheets(pictures)
    if sum(map(len, jpegs)) > budget and most > 1:
        return contact_sheets(frames, most // 2, budget)
    return Sheets(indices, width, height, jpegs)


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame at 1, 1/2, 1/3 ... of its size, each pixel a mean."""
    factor = -(-frame.shape[1] // MOST_WIDE)
    height, width = (max(1, size // factor) for size in frame.shape)
    cut = frame[: height * factor, : width * factor]
    blocks = cut.reshape(height, cut.shape[0] // height, width, cut.shape[1] // width)
    return np.asarray(blocks.mean(axis=(1, 3)).round(), np.uint8)


def _sheets(pictures: list[NDArray[np.uint8]]) -> list[bytes]:
    height, width = pictures[0].shape
    jpegs = []
    for start in range(0, len(pictures), COLUMNS * ROWS):
        sheet = np.zeros((ROWS, height, COLUMNS, width), np.uint8)
        for cell, picture in enumerate(pictures[start : start + COLUMNS * ROWS]):
            sheet[cell // COLUMNS, :, cell % COLUMNS] = picture
        jpegs.append(_jpeg(sheet.reshape(ROWS * height, COLUMNS * width)))
    return jpegs


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """JPEG by way of a file in memory, for on a disk that is full libjpeg ends the process."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("JPEGImageIO")  # a name in /proc has no suffix to tell it by
    writer.SetUseCompression(True)
    writer.SetCompressionLevel(QUALITY)
    with os.fdopen(os.memfd_create("sheet"), "rb") as file:
        writer.SetFileName(f"/proc/self/fd/{file.fileno()}")
        writer.Execute(itk_image(pixels))
        return file.read()
