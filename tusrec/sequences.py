"""PLUS / SlicerIGSIO sequence metafiles (`.igs.mha`, `.mha`): frames and tracked poses.

Every frame carries named transforms, `Seq_Frame0000_ProbeToTrackerTransform` = 16 numbers row by
row, where AToB takes column vectors of A to B, with a status. Source: IGSIO's file format.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tusrec import poses
from tusrec.calibration import Calibration, from_image_to_world, from_spacing
from tusrec.errors import InputError
from tusrec.scans import Scan
from tusrec.sitk import read_frames, read_metadata, readable_image

FIELD = "Seq_Frame{:04d}_{}Transform"
WORLDS = ("Reference", "Tracker", "Physical", "World")  # in this order of preference
MAGIC = b"ObjectType"
HEADER_BYTES = 4096


@dataclass(frozen=True)
class SequenceScan:
    """A sequence metafile. Its pixel size comes from, in this order: image_to_probe, the file's
    own ImageToX transforms, spacing (mm).
    """

    key: str
    path: Path
    image_to_probe: Calibration | None = None
    spacing: tuple[float, float] | None = None

    @property
    def paths(self) -> list[Path]:
        """The one file."""
        return [self.path]

    @contextmanager
    def open(self) -> Iterator[Scan]:
        """The checked scan. Poses are None unless every frame has a valid chain of transforms."""
        fields = read_metadata(self.path)
        with readable_image(self.path):
            frames = _oriented(read_frames(self.path), fields, self.path)
        transforms = _Transforms(self.path, fields, len(frames))
        calibration, T_world_from_tool = self._calibrated(transforms)
        landmarks = np.empty((0, 3), np.int64)
        yield Scan(self.key, frames, calibration, landmarks, T_world_from_tool)

    def _calibrated(
        self, transforms: "_Transforms"
    ) -> tuple[Calibration, NDArray[np.float64] | None]:
        if self.image_to_probe is not None:
            T_world_from_tool = transforms.to_world("Probe")
            if T_world_from_tool is not None:
                poses.require_rigid(T_world_from_tool, f"{self.path}: pose of the probe in frame")
            return self.image_to_probe, T_world_from_tool
        T_world_from_pixel = transforms.to_world("Image")
        if T_world_from_pixel is not None:
            return from_image_to_world(T_world_from_pixel, str(self.path))
        if self.spacing is not None:
            return from_spacing(*self.spacing), None
        raise InputError(
            f"{self.path}: no ImageTo... transform in every frame, so its pixel size is unknown; "
            "pass --image-to-probe (16 numbers of PLUS's calibration) or --spacing X Y (mm)"
        )


def is_sequence(path: Path) -> bool:
    """Whether a file is a metafile with the fields of a sequence, not a plain volume."""
    if path.suffix not in {".mha", ".mhd"}:
        return False
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    return head.startswith(MAGIC) and b"Seq_Frame" in head


class _Transforms:
    """The named transforms of all frames of a file."""

    def __init__(self, path: Path, fields: dict[str, str], frames: int) -> None:
        self._path, self._fields, self._frames = path, fields, range(frames)
        prefix, suffix = FIELD.format(0, "\0").split("\0")
        self._names = [
            key.removeprefix(prefix).removesuffix(suffix)
            for key in fields
            if key.startswith(prefix) and key.endswith(suffix)
        ]

    def to_world(self, system: str) -> NDArray[np.float64] | None:
        """T_world_from_system (N, 4, 4) to the first of WORLDS that a valid chain reaches."""
        valid = [name for name in self._names if self._is_valid(name)]
        reached = {system: np.broadcast_to(np.eye(4), (len(self._frames), 4, 4))}
        while step := next((name for name in valid if _leads_on(name, reached)), None):
            source, target = _systems(step)
            T_target_from_source = self._matrices(step)
            if source in reached:
                reached[target] = T_target_from_source @ reached[source]
            else:
                reached[source] = poses.inverse(T_target_from_source) @ reached[target]
        return next((reached[world] for world in WORLDS if world in reached), None)

    def _is_valid(self, name: str) -> bool:
        fields = [FIELD.format(frame, name) for frame in self._frames]
        return all(
            f in self._fields and self._fields.get(f"{f}Status", "OK") == "OK" for f in fields
        )

    def _matrices(self, name: str) -> NDArray[np.float64]:
        texts = [self._fields[FIELD.format(frame, name)] for frame in self._frames]
        try:
            numbers = np.array([[float(n) for n in text.split()] for text in texts])
            matrices = numbers.reshape(len(texts), 4, 4)
        except ValueError as error:
            raise InputError(
                f"{self._path}: {name}Transform is not 16 numbers in every frame ({error}); "
                "export the sequence again"
            ) from error
        if not _is_usable(name, matrices):
            raise InputError(
                f"{self._path}: {name}Transform has NaN or cannot be inverted in some frame, "
                "expected valid matrices or status INVALID; export the sequence again"
            )
        return matrices


def _systems(name: str) -> tuple[str, str]:
    """The coordinate systems of `AToB`, as IGSIO reads it: `To` before a capital, not at the start.

    Empty ones for a name of another kind.
    """
    match = re.fullmatch(r"([A-Z].*?)To([A-Z].*)", name)
    return (match[1], match[2]) if match else ("", "")


def _is_usable(name: str, matrices: NDArray[np.float64]) -> bool:
    """Finite and invertible; ImageTo... may leave its third column empty and is not inverted."""
    if not np.isfinite(matrices).all():
        return False
    return name.startswith("ImageTo") or bool((np.abs(np.linalg.det(matrices)) > 1e-12).all())


def _leads_on(name: str, reached: dict[str, NDArray[np.float64]]) -> bool:
    """Whether the transform `AToB` joins a reached system to one not reached yet.

    Nothing leads back to Image, whose transform may be singular.
    """
    source, target = _systems(name)
    if source in reached:
        return target not in reached
    return target in reached and source != "Image"


def _oriented(frames: NDArray[np.uint8], fields: dict[str, str], path: Path) -> NDArray[np.uint8]:
    """Frames with x from the marked side and y away from the probe (MF), as poses assume."""
    key = "UltrasoundImageOrientation"
    flag = fields.get(key, "MF")
    if len(flag) < 2 or flag[0] not in "MU" or flag[1] not in "FN":
        raise InputError(
            f"{path}: {key} is {flag!r}, expected MF, UF, MN or UN; export the sequence again"
        )
    flipped = frames[:, :: -1 if flag[1] == "N" else 1, :: -1 if flag[0] == "U" else 1]
    return np.ascontiguousarray(flipped)
