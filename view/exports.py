"""Poses and frames as files of other programs: sequence metafiles, ITK transforms, TUM, CSV, PNG.

Every file of poses holds T_first_from_frame of all frames, frame 0 at identity.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tusrec.files import atomic_path
from tusrec.frames import Frames
from tusrec.results import Result
from tusrec.scans import Scan
from tusrec.sequences import FIELD
from view.figure import require_matplotlib, write_figure
from view.space import from_zero_based, in_first_frame, itk_transform, with_first

FRAMES_PER_SECOND = 20.0  # of the challenge's scans; frames alone carry no times
CSV_COLUMNS = ("frame", "time_s", *(f"m{row}{column}" for row in range(3) for column in range(4)))
SEQUENCE = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "0 0 0",
    "CenterOfRotation": "0 0 0",
    "AnatomicalOrientation": "RAI",
    "ElementSpacing": "1 1 1",
    "UltrasoundImageOrientation": "MFA",
    "UltrasoundImageType": "BRIGHTNESS",
    "Kinds": "domain domain list",
    "TrackName": "Image",
}
TRANSFORM = """#Insight Transform File V1.0
#Transform 0
Transform: AffineTransform_double_3_3
Parameters: {}
FixedParameters: 0 0 0
"""
TUM_HEADER = "# time (s) tx ty tz (mm) qx qy qz qw: first from frame, image mm\n"
Array = NDArray[np.float64]


def write_sequence(path: Path, frames: Frames, T_space_from_pixel: Array) -> None:
    """A PLUS / SlicerIGSIO sequence metafile (`.igs.mha`).

    T_space_from_pixel (N, 4, 4) takes pixels that count from 1. ImageToReference is what PLUS
    reconstructs from; ImageToPhysical and TrackName make SlicerIGSIO place the frames. Written
    frame by frame, for ITK would hold two copies of all. Raises OutputError if that fails.
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(sequence_header(frames.shape, T_space_from_pixel).encode("ascii"))
        for index in range(frames.shape[0]):
            file.write(frames[index : index + 1].tobytes())


def sequence_header(shape: tuple[int, ...], T_space_from_pixel: Array) -> str:
    """The text before the pixels of frames of `shape`, (N, H, W)."""
    size = " ".join(map(str, reversed(shape)))
    fields = SEQUENCE | {"DimSize": size}
    for index, T in enumerate(from_zero_based(T_space_from_pixel)):
        for name in ("ImageToReference", "ImageToPhysical"):
            field = FIELD.format(index, name)
            fields[field] = _numbers(T)
            fields[f"{field}Status"] = "OK"
        fields[f"Seq_Frame{index:04d}_Timestamp"] = f"{index / FRAMES_PER_SECOND:.6f}"
        fields[f"Seq_Frame{index:04d}_ImageStatus"] = "OK"
    fields |= {"ElementType": "MET_UCHAR", "ElementDataFile": "LOCAL"}  # the last, by the format
    return "".join(f"{name} = {value}\n" for name, value in fields.items())


def write_transforms(folder: Path, T_first_from_frame: Array) -> None:
    """One ITK transform file a frame, `0000.tfm` and so on, for poses (N, 4, 4)."""
    for index, T in enumerate(itk_transform(T_first_from_frame)):
        parameters = f"{_numbers(T[:3, :3])} {_numbers(T[:3, 3])}"
        _write_text(folder / f"{index:04d}.tfm", TRANSFORM.format(parameters))
    for path in folder.glob("*.tfm"):  # of a longer scan that was exported there before
        if re.fullmatch(r"\d{4,}", path.stem) and int(path.stem) >= len(T_first_from_frame):
            path.unlink()


def tum_text(T_first_from_frame: Array) -> str:
    """Poses (N, 4, 4) as the TUM trajectory format has them, lengths in mm."""
    quaternions = Rotation.from_matrix(T_first_from_frame[:, :3, :3]).as_quat()
    rows = np.column_stack([_times(T_first_from_frame), T_first_from_frame[:, :3, 3], quaternions])
    return TUM_HEADER + "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist())


def csv_text(T_first_from_frame: Array) -> str:
    """Poses (N, 4, 4) as CSV_COLUMNS, the upper three rows of each matrix, mm."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for index, time in enumerate(_times(T_first_from_frame).tolist()):
        writer.writerow([index, time, *T_first_from_frame[index, :3].ravel().tolist()])
    return stream.getvalue()


def require_exportable(kinds: Iterable[str]) -> None:
    """Raise InputError before any work is done if one of EXPORTS needs what is not installed."""
    if "png" in kinds:
        require_matplotlib()


def place_of(kind: str, folder: Path, key: str) -> Path:
    """The file, or folder, of a scan's export in `folder`."""
    return folder / (f"{key}_tfm" if kind == "tfm" else f"{key}.{kind}")


def export(kind: str, folder: Path, scan: Scan, result: Result) -> None:
    """Write one of EXPORTS of a predicted scan into `folder`, named by its key.

    Raises OutputError if a file cannot be written.
    """
    EXPORTS[kind](place_of(kind, folder, scan.key), scan, result)


def _export_sequence(path: Path, scan: Scan, result: Result) -> None:
    places = in_first_frame(result.motion.T_first_from_frame, scan.calibration)
    write_sequence(path, scan.frames, places)


def _export_transforms(folder: Path, _: Scan, result: Result) -> None:
    write_transforms(folder, with_first(result.motion.T_first_from_frame))


def _export_tum(path: Path, _: Scan, result: Result) -> None:
    _write_text(path, tum_text(with_first(result.motion.T_first_from_frame)))


def _export_csv(path: Path, _: Scan, result: Result) -> None:
    _write_text(path, csv_text(with_first(result.motion.T_first_from_frame)))


EXPORTS: dict[str, Callable[[Path, Scan, Result], None]] = {
    "igs.mha": _export_sequence,
    "tfm": _export_transforms,
    "tum": _export_tum,
    "csv": _export_csv,
    "png": write_figure,
}


def _numbers(values: Array) -> str:
    return " ".join(map(repr, values.ravel().tolist()))


def _times(T_first_from_frame: Array) -> Array:
    return np.arange(len(T_first_from_frame)) / FRAMES_PER_SECOND


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
