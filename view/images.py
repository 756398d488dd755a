"""Volumes as files of SimpleITK: .nrrd, .mha and .nii.gz, placed as the frames are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tusrec.errors import OutputError
from tusrec.files import atomic_path
from tusrec.sitk import last_line
from view.space import LPS_FROM_RAS
from view.volume import Grid, Volume

FORMATS = ("nrrd", "mha", "nii.gz")


def write_volume(path: Path, volume: Volume) -> Path:
    """Write a volume, and beside it its mask, whose path it gives: `a.nrrd`, `a.mask.nrrd`.

    The suffix of `path` is one of FORMATS. Raises OutputError if a file cannot be written.
    """
    suffix = next(name for name in FORMATS if path.name.endswith(f".{name}"))
    mask_path = path.with_name(f"{path.name.removesuffix(f'.{suffix}')}.mask.{suffix}")
    for place, voxels in ((path, volume.values), (mask_path, volume.mask)):
        write_image(place, placed_image(voxels, volume.grid), suffix, compressed=True)
    return mask_path


def placed_image(voxels: NDArray[np.uint8], grid: Grid) -> sitk.Image:
    """An image of voxels (nz, ny, nx) that ITK, which thinks in LPS, puts where `grid` is."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([grid.spacing] * 3)
    image.SetOrigin((LPS_FROM_RAS[:3, :3] @ grid.origin).tolist())
    image.SetDirection(LPS_FROM_RAS[:3, :3].ravel().tolist())
    return image


def write_image(path: Path, image: sitk.Image, suffix: str, compressed: bool) -> None:
    """Write an image atomically in the format of `suffix`; OutputError if that fails."""
    write_by_itk(path, suffix, lambda name: sitk.WriteImage(image, name, compressed))


def write_by_itk(path: Path, suffix: str, write: Callable[[str], None]) -> None:
    """Have `write` write to a name that ends as ITK expects of the format, then take its place.

    Raises OutputError if that fails; then nothing is left.
    """
    with atomic_path(path) as partial:
        written = partial.with_name(f"{partial.name}.{suffix}")
        try:
            write(str(written))
            written.replace(partial)
        except RuntimeError as error:
            raise OutputError(
                f"{path}: cannot write ({last_line(error)}); free the disk, mend its permissions, "
                "or choose another --output"
            ) from error
        finally:
            written.unlink(missing_ok=True)
