"""Images that SimpleITK reads whole, as grey frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tusrec.errors import InputError, OutOfMemoryError, TusrecError

NO_MEMORY = ("allocate memory", "bad_alloc")  # in messages of ITK
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def read_metadata(path: Path) -> dict[str, str]:
    """All fields of the header, without reading pixels; InputError if SimpleITK cannot."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with readable_image(path):
            reader.ReadImageInformation()
            return {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    except (TypeError, UnicodeDecodeError) as error:  # a name or a text that Python cannot hold
        raise InputError(
            f"{path}: found a header field that is not UTF-8, expected plain text; mend the "
            "header, or export it again"
        ) from error


def read_frames(path: Path) -> NDArray[np.uint8]:
    """Frames (N, H, W) uint8, N >= 2; colour becomes grey. InputError for anything else."""
    with readable_image(path):
        image = sitk.ReadImage(str(path))
        pixels = sitk.GetArrayFromImage(image)
        if image.GetDimension() == 3 and image.GetNumberOfComponentsPerPixel() == len(LUMA):
            pixels = np.stack([(frame @ LUMA).round().astype(pixels.dtype) for frame in pixels])
    if (
        image.GetDimension() != 3
        or pixels.ndim != 3
        or pixels.dtype != np.uint8
        or pixels.shape[0] < 2
    ):
        raise InputError(
            f"{path}: found {pixels.shape} {pixels.dtype}, expected at least 2 frames of "
            "(height, width) uint8, grey or RGB"
        )
    return np.asarray(pixels, np.uint8)


@contextmanager
def readable_image(path: Path) -> Iterator[None]:
    """Turn what ITK and numpy raise of an image that is damaged, or too large, into one line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: RuntimeError | MemoryError) -> TusrecError:
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return OutOfMemoryError(
            f"{path}: found no memory for all its frames, expected more; end what else runs, or "
            "put them into an .h5, which is read piece by piece, as docs/own-data.md tells"
        )
    reason = last_line(error) if path.is_file() else "no such file"
    return InputError(
        f"{path}: cannot read the image, which may be truncated ({reason}); export it again from "
        "its source"
    )


def last_line(error: RuntimeError) -> str:
    """The end of ITK's message, without its `Reason:`, a stale errno such as "No such file"."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Reason:")]
    return lines[-1] if lines else "no reason given"
