"""Displacement fields (DDFs): where each pixel and landmark goes, in mm.

A point p of a frame moves by (T - I) p. With p = S (x, y, 0, 1), that is affine in the pixel
(x, y): one column vector per image row, one per image column, and a single add per value.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tusrec.errors import InputError


def affine_displacements(
    transforms: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(T - I) S restricted to (x, y, 1): (M, 3, 3) float64 for transforms (M, 4, 4).

    Its product with a 1-based pixel (x, y, 1) is that pixel's displacement in mm.
    """
    transforms, scale = np.asarray(transforms, np.float64), np.asarray(scale, np.float64)
    return np.asarray(((transforms - np.eye(4)) @ scale)[..., :3, [0, 1, 3]])


def dense_displacements(
    transforms: NDArray[np.float64],
    scale: NDArray[np.float64],
    height: int = 480,
    width: int = 640,
) -> NDArray[np.float32]:
    """Displacement of every pixel in mm: (M, 3, height * width) float32 for transforms (M, 4, 4).

    Pixels count from 1 and are flattened row by row: index = (y - 1) * width + (x - 1).
    """
    affine = affine_displacements(transforms, scale)
    along_x = affine[..., 0:1] * np.arange(1, width + 1)
    along_y = affine[..., 1:2] * np.arange(1, height + 1) + affine[..., 2:3]
    # torch's plain pages, since numpy asks for huge ones: on a virtual machine whose memory is
    # fragmented these made 1,500 frames take 29-52 s instead of 3-5 s.
    field = torch.empty((len(affine), 3, height, width), dtype=torch.float32)
    rows, columns = (torch.from_numpy(along.astype(np.float32)) for along in (along_y, along_x))
    torch.add(rows[..., :, None], columns[..., None, :], out=field)
    return np.asarray(field.numpy()).reshape(len(affine), 3, height * width)


def displacement_blocks(
    transforms: NDArray[np.float64],
    scale: NDArray[np.float64],
    height: int,
    width: int,
    frames: int = 16,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The dense field in blocks of `frames` rows, for writing it without holding all of it."""
    for start in range(0, len(transforms), frames):
        rows = slice(start, min(start + frames, len(transforms)))
        yield rows, dense_displacements(transforms[rows], scale, height, width)


def landmark_rows(frame_indices: NDArray[np.integer]) -> NDArray[np.intp]:
    """Row of the displacement arrays that a landmark reads: frame f reads row f - 1.

    For f = 0 that is -1, the LAST row. The organisers' truth does the same (their indexing is
    `ddf[landmark[:, 0] - 1]`), so a landmark on the first frame is scored on the last one.
    """
    return np.asarray(frame_indices, np.intp) - 1


def landmark_displacements(
    transforms: NDArray[np.float64],
    scale: NDArray[np.float64],
    landmarks: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Displacement of landmarks (L, 3) (frame from 0, x from 1, y from 1) in mm: (3, L) float32.

    transforms (N-1, 4, 4) are those of frames 1..N-1.
    """
    affine = affine_displacements(transforms, scale)
    pixels = np.column_stack([landmarks[:, 1:], np.ones(len(landmarks))])
    moved = np.einsum("lij,lj->il", affine[landmark_rows(landmarks[:, 0])], pixels)
    return np.asarray(moved, np.float32)


def check_landmarks(landmarks: NDArray[np.integer], shape: tuple[int, ...], source: str) -> None:
    """Raise InputError naming `source` and the first landmark that is outside a scan of `shape`.

    Also if they are no rows of three whole numbers.
    """
    if landmarks.ndim != 2 or landmarks.shape[1] != 3 or (landmarks % 1 != 0).any():
        raise InputError(
            f"{source}: found {landmarks.shape} {landmarks.dtype}, expected (landmarks, 3) whole "
            "numbers: frame, x, y"
        )
    frames, height, width = shape
    upper = np.array([frames - 1, width, height])
    outside = ((landmarks < [0, 1, 1]) | (landmarks > upper)).any(axis=1)
    if outside.any():
        index = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"{source}: landmark {index} is {landmarks[index].tolist()}, expected frame "
            f"0..{frames - 1}, x 1..{width}, y 1..{height}; "
            "check that landmarks and frames belong together"
        )
