"""Multi-frame DICOM ultrasound: pixels by SimpleITK, pixel size from the region's deltas."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from tusrec.calibration import from_spacing
from tusrec.errors import InputError
from tusrec.scans import Scan
from tusrec.sitk import read_frames

PREAMBLE = 128
CENTIMETRES = 3  # value of PhysicalUnitsXDirection (0018,6024) in DICOM PS3.3 C.8.5.5
MM_PER_CM = 10.0


@dataclass(frozen=True)
class DicomScan:
    """A DICOM file; spacing (x, y) mm overrides the file's own."""

    key: str
    path: Path
    spacing: tuple[float, float] | None = None

    @property
    def paths(self) -> list[Path]:
        """The one file."""
        return [self.path]

    @contextmanager
    def open(self) -> Iterator[Scan]:
        """The checked scan, without poses. InputError if the pixel size is nowhere given."""
        calibration = from_spacing(
            *(self.spacing or _spacing(self.path)), f"{self.path}: pixel spacing"
        )
        frames = read_frames(self.path)
        yield Scan(self.key, frames, calibration, np.empty((0, 3), np.int64), None)


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's preamble and prefix."""
    with path.open("rb") as stream:
        return stream.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def _spacing(path: Path) -> tuple[float, float]:
    """Pixel size (x, y) in mm: the first region in centimetres, else PixelSpacing (row, column)."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # of many kinds, by what is damaged
        raise InputError(f"{path}: not a readable DICOM file ({error}); export it again") from error
    try:
        spacing = _header_spacing(header)
    except Exception as error:  # likewise: fields are read when they are asked for
        raise InputError(
            f"{path}: its pixel spacing is incomplete ({error}); pass --spacing X Y (mm)"
        ) from error
    if spacing is None:
        raise InputError(f"{path}: no pixel spacing in the file; pass --spacing X Y (mm)")
    return spacing


def _header_spacing(header: pydicom.Dataset) -> tuple[float, float] | None:
    for region in header.get("SequenceOfUltrasoundRegions", []):
        if region.get("PhysicalUnitsXDirection") == CENTIMETRES:
            delta_x, delta_y = float(region.PhysicalDeltaX), float(region.PhysicalDeltaY)
            return abs(delta_x) * MM_PER_CM, abs(delta_y) * MM_PER_CM
    if "PixelSpacing" in header:
        row, column = header.PixelSpacing
        return float(column), float(row)
    return None
