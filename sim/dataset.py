"""Simulated scans in the challenge's layouts."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from sim import motion
from sim.card import write_card
from sim.scan import IMAGES, Recipe, Scan, draw_recipe
from sim.sheet import write_contact_sheet
from tusrec.calibration import RIGID_LABEL, SCALE_LABEL, Calibration
from tusrec.errors import InputError, OutOfMemoryError
from tusrec.files import atomic_path, writable, write_bytes
from tusrec.hdf5 import create_hdf5, find_dataset, open_hdf5, require
from tusrec.names import CALIBRATION_FILE, KEYS_FILE
from tusrec.spread import spread

Landmarks = NDArray[np.int64]
log = logging.getLogger(__name__)

SHEET = "contact_sheet.png"
POSES = {f"tforms_{truth}": truth for truth in ("exact", "tracked")}
LANDMARKS = {2024: 20, 2025: 100}
FIRST_SUBJECT = {"train": 0, "validation": 50}
HANDS = ("RH", "LH")
SCANS = {
    "rotation": [f"{hand}_rotation" for hand in HANDS],
    "sweeps": [f"{hand}_{sweep}" for hand in HANDS for sweep in motion.SWEEPS],
    "free": [f"{hand}_free" for hand in HANDS],
}
"""The scans of one subject, by protocol."""


@dataclass(frozen=True)
class Order:
    """A data set to be made.

    year: 2024 or 2025, which decides the number of landmarks. kind: `train` (frames and poses in
    one file) or `validation`. scans, frames: how many, and of what length. protocol: a key of
    SCANS. probe: convex or linear. anatomy: a key of tissue.ANATOMIES, or None to draw it.
    truth: `exact` or `tracked`, the poses that `tforms` holds; both are written besides.
    first_subject: its number, of FIRST_SUBJECT as a rule.
    """

    year: int
    kind: str
    scans: int
    frames: int
    protocol: str
    probe: str
    anatomy: str | None
    seed: int
    truth: str
    first_subject: int


@dataclass(frozen=True)
class Item:
    """One scan of the order: its number, subject, name (`RH_rotation`) and files."""

    number: int
    subject: int
    name: str
    frames_file: Path
    poses_file: Path
    landmarks_file: Path

    @property
    def key(self) -> str:
        """The scan's key in dataset_keys.h5."""
        return f"sub{self.subject:03d}__{self.name}"


def items(order: Order, folder: Path) -> list[Item]:
    """The scans of an order and where they go. Raises InputError for an order of nothing."""
    if order.scans < 1:
        raise InputError(f"scans: found {order.scans}, expected 1 or more")
    names = SCANS[order.protocol]
    subjects = (order.first_subject + n // len(names) for n in range(order.scans))
    return [_item(order, folder, n, subject) for n, subject in enumerate(subjects)]


def _item(order: Order, folder: Path, number: int, subject: int) -> Item:
    names = SCANS[order.protocol]
    name = names[number % len(names)]
    parts = ("frames", "transfs") if order.kind == "validation" else ("frames_transfs",) * 2
    frames_file, poses_file = (folder / p / f"{subject:03d}" / f"{name}.h5" for p in parts)
    landmarks_file = folder / "landmarks" / f"landmark_{subject:03d}.h5"
    return Item(number, subject, name, frames_file, poses_file, landmarks_file)


def recipe_of(order: Order, item: Item) -> Recipe:
    """What is drawn for one scan of the order."""
    protocol = item.name.split("_", 1)[1]
    seed = (order.seed, item.number)
    return draw_recipe(seed, protocol, order.frames, probe=order.probe, anatomy=order.anatomy)


def make(order: Order, folder: Path, jobs: int, on_frames: Callable[[int], object]) -> None:
    """Make the data set, going on where an earlier run of the same order, or of less, ended.

    on_frames is told the number of frames just finished: each one by itself with one job, those of
    a whole scan with more. dataset_keys.h5 comes last, so its presence means that all is there.
    The bytes do not depend on `jobs`.
    Raises InputError for a folder that holds other data, OutputError if it cannot be written, and
    OutOfMemoryError.
    """
    scans = items(order, folder)
    with writable(folder, "the data set"):
        drawn = {item.key: recipe_of(order, item).as_card() for item in scans}
        write_card(folder, asdict(order), drawn)
        _write_landmarks(scans, _write_scans(order, scans, jobs, on_frames))
        calibration = Scan(recipe_of(order, scans[0])).calibration
        write_calibration(folder / CALIBRATION_FILE, calibration)
        write_contact_sheet(folder / SHEET, [(item.key, item.frames_file) for item in scans])
        if order.kind == "validation":
            _write_keys(folder / KEYS_FILE, [item.key for item in scans])


def _write_scans(
    order: Order, scans: list[Item], jobs: int, on_frames: Callable[[int], object]
) -> list[Landmarks]:
    """The landmarks of every scan, once its frames and poses are written."""
    if jobs == 1:
        return [write_scan(order, item, on_frames) for item in scans]
    landmarks = []
    for found in spread(partial(write_scan, order), scans, jobs):
        landmarks.append(found)
        on_frames(order.frames)
    return landmarks


def write_scan(
    order: Order, item: Item, on_frames: Callable[[int], object] | None = None
) -> Landmarks:
    """Write one scan's frames and poses unless they are there; returns its landmarks (L, 3).

    Each file appears complete or not at all. on_frames is told of each frame. Raises
    OutOfMemoryError for a scan that is too long for this machine.
    """
    on_frames = on_frames or (lambda frames: None)
    try:
        scan = Scan(recipe_of(order, item))
        if _is_written(order, item):
            on_frames(order.frames)
        else:
            _write_files(order, item, scan, on_frames)
        return scan.landmarks(LANDMARKS[order.year])
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{item.frames_file}: found no memory left for a scan of {order.frames} frames, "
            "expected more; give fewer --frames or --jobs"
        ) from error


def _is_written(order: Order, item: Item) -> bool:
    image = IMAGES[order.probe]
    frames = {"frames": (order.frames, image.height, image.width)}
    poses = dict.fromkeys(("tforms", *POSES), (order.frames, 4, 4))
    return holds(item.frames_file, frames) and holds(item.poses_file, poses)


def holds(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a file is there with datasets of such shapes; of one that is not as it was, a log."""
    if not path.exists():
        return False
    try:
        with open_hdf5(path) as file:
            for name, shape in shapes.items():
                require(find_dataset(file, name), "fu", shape, f"{shape}")
    except InputError as error:
        log.warning("%s; making the scan anew", error)
        return False
    return True


def _write_files(order: Order, item: Item, scan: Scan, on_frames: Callable[[int], object]) -> None:
    with atomic_path(item.frames_file) as path, create_hdf5(path) as file:
        _put_frames(file, scan, on_frames)
        if item.poses_file == item.frames_file:
            _put_poses(file, scan, order.truth)
    if item.poses_file != item.frames_file:
        with atomic_path(item.poses_file) as path, create_hdf5(path) as file:
            _put_poses(file, scan, order.truth)


def _put_frames(file: h5py.File, scan: Scan, on_frames: Callable[[int], object]) -> None:
    image = scan.beamformer.image
    shape = (len(scan), image.height, image.width)
    frames = file.create_dataset(
        "frames", shape, np.uint8, chunks=(1, *shape[1:]), compression="gzip", compression_opts=6
    )
    for index, frame in enumerate(scan.frames()):
        frames[index] = frame
        on_frames(1)


def _put_poses(file: h5py.File, scan: Scan, truth: str) -> None:
    """Datasets `tforms` and POSES, (N, 4, 4) float32."""
    poses = {"exact": scan.poses(), "tracked": scan.tracked_poses()}
    for name, kind in {"tforms": truth, **POSES}.items():
        file[name] = poses[kind].astype(np.float32)
        file[name].attrs["truth"] = kind


def _write_landmarks(scans: list[Item], landmarks: list[Landmarks]) -> None:
    """One file for each subject with the landmarks of its scans, (L, 3) int64."""
    for landmarks_file in dict.fromkeys(item.landmarks_file for item in scans):
        with atomic_path(landmarks_file) as path, create_hdf5(path) as file:
            for item, found in zip(scans, landmarks, strict=True):
                if item.landmarks_file == landmarks_file:
                    file[item.name] = found


def _write_keys(keys_file: Path, keys: list[str]) -> None:
    with atomic_path(keys_file) as path, create_hdf5(path) as file:
        for key in keys:
            file[key] = key


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the challenge's ten-line `calib_matrix.csv`."""
    lines = [SCALE_LABEL, *_rows(calibration.scale)]
    lines += [RIGID_LABEL, *_rows(calibration.T_tool_from_image)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _rows(matrix: NDArray[np.float64]) -> list[str]:
    return [",".join(repr(float(value)) for value in row) for row in matrix]
