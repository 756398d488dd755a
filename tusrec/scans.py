"""A scan and the places it can come from. Opening one checks everything about it."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.displacements import check_landmarks
from tusrec.errors import InputError
from tusrec.frames import Frames
from tusrec.hdf5 import (
    Hdf5Frames,
    attributes_of,
    find_dataset,
    open_hdf5,
    read_array,
    require,
)
from tusrec.metrics import Motion

TRACKED = "tracked"


@dataclass(frozen=True)
class Scan:
    """Everything known of a scan.

    frames: (N, H, W) uint8, N >= 2.
    landmarks: (L, 3) int: frame from 0, x from 1, y from 1; L is 0 where none are given.
    T_camera_from_tool: (N, 4, 4) float64 tracked poses, or None where there is no truth.
    truth: what those poses are: `tracked`, or `exact` where a simulation wrote them.
    """

    key: str
    frames: Frames
    calibration: Calibration
    landmarks: NDArray[np.integer]
    T_camera_from_tool: NDArray[np.float64] | None
    truth: str = TRACKED

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.frames.shape[1], self.frames.shape[2]

    def true_motion(self) -> Motion | None:
        """Global and local transforms of the tracked poses, or None where there is no truth."""
        if self.T_camera_from_tool is None:
            return None
        T_tool_from_image = self.calibration.T_tool_from_image
        return Motion(
            poses.relative_to_first(self.T_camera_from_tool, T_tool_from_image),
            poses.relative_to_previous(self.T_camera_from_tool, T_tool_from_image),
        )

    def frames_sha256(self) -> str:
        """What tells these frames from others: a digest of the first, the middle and the last."""
        count = self.frames.shape[0]
        some = [self.frames[place : place + 1] for place in (0, count // 2, count - 1)]
        return _sha256(np.array(self.frames.shape), *some)

    def beside_sha256(self) -> str:
        """What tells the poses, landmarks and place on the tool of this scan from others."""
        poses_or_none = np.empty(0) if self.T_camera_from_tool is None else self.T_camera_from_tool
        return _sha256(self.landmarks, poses_or_none, self.calibration.T_tool_from_image)


class ScanSource(Protocol):
    """Where a scan comes from; cheap to make, list, and send to another process."""

    @property
    def key(self) -> str:
        """The scan's name, which also names its result."""
        ...

    @property
    def paths(self) -> list[Path]:
        """The files that it is read from."""
        ...

    def open(self) -> AbstractContextManager[Scan]:
        """A context manager that gives the checked scan; InputError if anything is wrong."""
        ...


@dataclass(frozen=True)
class UnusableScan:
    """A scan that is named but cannot be opened; it says why when it is tried."""

    key: str
    reason: str

    @property
    def paths(self) -> list[Path]:
        """None."""
        return []

    @contextmanager
    def open(self) -> Iterator[Scan]:
        """Raise InputError with the reason."""
        raise InputError(self.reason)
        yield


@dataclass(frozen=True)
class Hdf5Scan:
    """A scan in the challenge's HDF5 files.

    poses_path and landmarks_path are None where the dataset has none. landmarks_name and
    poses_name are the datasets in them. image_size (height, width) is required of the frames; None
    takes any.
    """

    key: str
    frames_path: Path
    calibration: Calibration
    poses_path: Path | None = None
    landmarks_path: Path | None = None
    landmarks_name: str = ""
    image_size: tuple[int, int] | None = None
    poses_name: str = "tforms"

    @property
    def paths(self) -> list[Path]:
        """The files of frames, poses and landmarks."""
        found = (self.frames_path, self.poses_path, self.landmarks_path)
        return [path for path in found if path is not None]

    @contextmanager
    def open(self) -> Iterator[Scan]:
        """The checked scan; its frames are readable inside the block only."""
        with open_hdf5(self.frames_path) as file:
            frames = _frames(find_dataset(file, "frames"), self.image_size)
            landmarks = self._landmarks(frames.shape)
            tforms, truth = self._poses(frames.shape[0])
            yield Scan(self.key, frames, self.calibration, landmarks, tforms, truth)

    def _landmarks(self, shape: tuple[int, ...]) -> NDArray[np.integer]:
        if self.landmarks_path is None:
            return np.empty((0, 3), np.int64)
        with open_hdf5(self.landmarks_path) as file:
            dataset = find_dataset(file, self.landmarks_name)
            require(dataset, "iu", (None, 3), "(landmarks, 3) integers: frame, x, y")
            landmarks = read_array(dataset).astype(np.int64)
        check_landmarks(landmarks, shape, f"{self.landmarks_path}: {self.landmarks_name}")
        return landmarks

    def _poses(self, frames: int) -> tuple[NDArray[np.float64] | None, str]:
        """The poses and what they are; simulated files say it in an attribute."""
        if self.poses_path is None:
            return None, TRACKED
        with open_hdf5(self.poses_path) as file:
            dataset = find_dataset(file, self.poses_name)
            require(dataset, "f", (frames, 4, 4), f"({frames}, 4, 4) floats, one pose a frame")
            tforms = read_array(dataset).astype(np.float64)
            truth = str(attributes_of(dataset).get("truth", TRACKED))
        poses.require_rigid(tforms, f"{self.poses_path}: {self.poses_name}")
        return tforms, truth


def _sha256(*parts: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _frames(dataset: h5py.Dataset, image_size: tuple[int, int] | None) -> Frames:
    height, width = image_size or (None, None)
    size = f"{height}, {width}" if image_size else "height, width"
    require(dataset, "u", (None, height, width), f"(frames, {size}) uint8")
    if dataset.dtype != np.uint8 or dataset.shape[0] < 2 or 0 in dataset.shape:
        raise InputError(
            f"{dataset.file.filename}: dataset 'frames' is {tuple(dataset.shape)} {dataset.dtype}, "
            f"expected at least 2 frames of ({size}) uint8"
        )
    return Hdf5Frames(dataset)
