"""Volumes as files of SimpleITK: .nrrd, .mha and .nii.gz, placed as the frames are."""

import errno
import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tusrec.errors import OutputError
from tusrec.files import atomic_path, writable
from tusrec.sitk import last_line
from view.space import LPS_FROM_RAS
from view.volume import Grid, Volume

FORMATS = ("nrrd", "mha", "nii.gz")
GZIPPED = {".nrrd": 0, ".nii.gz": 352}  # bytes of a header that are compressed with the voxels
LENGTH = 4  # bytes at the end of a gzip, which tell how many it holds


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume and its mask, `mask_path(path)`: both, or neither where one fails.

    The suffix of `path` is one of FORMATS. Raises OutputError if a file cannot be written, and
    MemoryError where there is no room for ITK's copy.
    """
    beside = mask_path(path)
    with atomic_path(path) as values, atomic_path(beside) as mask:
        _write(path, values, volume.values, volume.grid)
        _write(beside, mask, volume.mask, volume.grid)


def mask_path(path: Path) -> Path:
    """Where the mask of the volume at `path` lies: `a.mask.nrrd` beside `a.nrrd`."""
    suffix = _suffix(path)
    return path.with_name(f"{path.name.removesuffix(suffix)}.mask{suffix}")


def itk_image(pixels: NDArray[np.uint8]) -> sitk.Image:
    """Pixels as an image of ITK, which copies them; MemoryError where there is no room for it."""
    try:
        return sitk.GetImageFromArray(pixels)
    except RuntimeError as error:  # the one kind that SimpleITK has
        raise MemoryError(last_line(error)) from error


def placed_image(voxels: NDArray[np.uint8], grid: Grid) -> sitk.Image:
    """An image of voxels (nz, ny, nx) that ITK, which thinks in LPS, puts where `grid` is."""
    image = itk_image(voxels)
    image.SetSpacing([grid.spacing] * 3)
    image.SetOrigin((LPS_FROM_RAS[:3, :3] @ grid.origin).tolist())
    image.SetDirection(LPS_FROM_RAS[:3, :3].ravel().tolist())
    return image


def _write(path: Path, partial: Path, voxels: NDArray[np.uint8], grid: Grid) -> None:
    """Write to `partial` what is to be `path`, by a name that ends as ITK expects of the format."""
    suffix = _suffix(path)
    written = partial.with_name(f"{partial.name}{suffix}")
    image = placed_image(voxels, grid)
    try:
        with writable(path):
            sitk.WriteImage(image, str(written), useCompression=True)
            if suffix in GZIPPED:
                _require_whole(written, voxels.size + GZIPPED[suffix])
            written.replace(partial)
    except RuntimeError as error:
        if "bad_alloc" in str(error):
            raise MemoryError(last_line(error)) from error
        raise OutputError(
            f"{path}: cannot write ({last_line(error)}); free the disk, mend its permissions, "
            "or choose another --output"
        ) from error
    finally:
        written.unlink(missing_ok=True)


def _require_whole(written: Path, size: int) -> None:
    """Raise OSError unless a file ends as a gzip of `size` bytes does, with that number.

    ITK tells nothing of a disk that is full for all of a .nii.gz or for the last bytes of a .nrrd.
    """
    with written.open("rb") as file:
        file.seek(max(0, written.stat().st_size - LENGTH))
        end = file.read()
    if int.from_bytes(end, "little") != size % 2 ** (8 * LENGTH):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _suffix(path: Path) -> str:
    return next(f".{name}" for name in FORMATS if path.name.endswith(f".{name}"))
