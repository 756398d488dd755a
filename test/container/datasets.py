"""Datasets in the validation layout, made from the sample, that the judge mounts."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from engine import ROOT

SAMPLE = ROOT / "sample"


def write_dataset(folder: Path, scans: Mapping[str, slice]) -> Path:
    """A dataset of parts of the sample scan, by key (`sub901__LH_rotation`)."""
    for key, part in scans.items():
        add_scan(folder, key, part)
    (folder / "calib_matrix.csv").write_bytes((SAMPLE / "calib_matrix.csv").read_bytes())
    return folder


def add_scan(folder: Path, key: str, part: slice) -> None:
    """Add one scan: a part of the sample's frames, with poses and landmarks."""
    subject, name = key.removeprefix("sub").split("__")
    place = f"{subject}/{name}.h5"
    with h5py.File(sample_path("frames")) as file:
        frames = file["frames"][()][part]
    with h5py.File(sample_path("transfs")) as file:
        tforms = file["tforms"][()][part]
    with h5py.File(next((SAMPLE / "landmarks").iterdir())) as file:
        landmarks = next(iter(file.values()))[()]
    landmarks[:, 0] %= len(frames)
    write(folder / "frames" / place, "frames", frames)
    write(folder / "transfs" / place, "tforms", tforms)
    write(folder / "landmarks" / f"landmark_{subject}.h5", name, landmarks)
    write(folder / "dataset_keys.h5", key, np.empty(0))


def sample_path(part: str) -> Path:
    """The sample's only file of frames or transfs."""
    return next((SAMPLE / part).glob("*/*.h5"))


def sample_length() -> int:
    """The sample's number of frames."""
    with h5py.File(sample_path("frames")) as file:
        return len(file["frames"])


def write(path: Path, name: str, values: np.ndarray) -> None:
    """Add a dataset to an HDF5 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        file[name] = values


def open_folder(path: Path) -> Path:
    """An empty folder that every user may write."""
    path.mkdir(parents=True)
    path.chmod(0o777)
    return path
