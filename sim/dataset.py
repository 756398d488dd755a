"""Simulated scans in the challenge's layouts."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sim import motion
from sim.scan import Recipe, Scan, draw_recipe
from sim.sheet import write_contact_sheet
from tusrec.calibration import RIGID_LABEL, SCALE_LABEL, Calibration
from tusrec.errors import InputError
from tusrec.files import atomic_path, writable, write_bytes, write_json
from tusrec.hdf5 import create_hdf5
from tusrec.spread import spread

Landmarks = NDArray[np.int64]

CARD = "simulation.json"
SHEET = "contact_sheet.png"
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
    first_subject: number of the first subject, None for the layout's usual one.
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
    first_subject: int | None = None


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
    first = order.first_subject
    first = FIRST_SUBJECT[order.kind] if first is None else first
    return [_item(order, folder, n, first + n // len(names)) for n in range(order.scans)]


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
    """Make the data set, going on where an earlier run of the same order ended.

    on_frames is told the number of frames just finished: each one by itself with one job, those of
    a whole scan with more. dataset_keys.h5 comes last, so its presence means that all is there.
    The bytes do not depend on `jobs`.
    Raises InputError for a folder that holds another data set, OutputError if it cannot be
    written.
    """
    scans = items(order, folder)
    with writable(folder, "the data set"):
        write_card(folder / CARD, _card(order, scans))
        _write_landmarks(scans, _write_scans(order, scans, jobs, on_frames))
        calibration = Scan(recipe_of(order, scans[0])).calibration
        write_calibration(folder / "calib_matrix.csv", calibration)
        write_contact_sheet(folder / SHEET, [(item.key, item.frames_file) for item in scans])
        if order.kind == "validation":
            _write_keys(folder / "dataset_keys.h5", [item.key for item in scans])


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

    Each file appears complete or not at all. on_frames is told of each frame.
    """
    scan = Scan(recipe_of(order, item))
    on_frames = on_frames or (lambda frames: None)
    if item.frames_file.exists() and item.poses_file.exists():
        on_frames(order.frames)
    else:
        _write_files(order, item, scan, on_frames)
    return scan.landmarks(LANDMARKS[order.year])


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
    """Datasets `tforms`, `tforms_exact` and `tforms_tracked`, (N, 4, 4) float32."""
    poses = {"exact": scan.poses(), "tracked": scan.tracked_poses()}
    names = {"tforms": truth} | {f"tforms_{kind}": kind for kind in poses}
    for name, kind in names.items():
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


def _card(order: Order, scans: list[Item]) -> dict[str, Any]:
    """The order and all that was drawn."""
    drawn = {item.key: recipe_of(order, item).as_card() for item in scans}
    return {"order": asdict(order), "scans": drawn}


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write what a data set is made of, as JSON, unless it is there; InputError if another is."""
    if not path.exists():
        write_json(path, card)
    elif _read_card(path) != json.loads(json.dumps(card)):
        raise InputError(f"{path}: holds another data set; choose an empty --output")


def _read_card(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: found no JSON ({error}), expected the card of a data set; choose an empty "
            "--output"
        ) from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the challenge's ten-line `calib_matrix.csv`."""
    lines = [SCALE_LABEL, *_rows(calibration.scale)]
    lines += [RIGID_LABEL, *_rows(calibration.T_tool_from_image)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _rows(matrix: NDArray[np.float64]) -> list[str]:
    return [",".join(repr(float(value)) for value in row) for row in matrix]
