"""Reads scans of the validation layout as a challenge's evaluation would."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

Scan = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def scans(data: Path) -> Iterator[Scan]:
    """(key, frames, landmarks, tforms) in the order of dataset_keys.h5."""
    with h5py.File(data / "dataset_keys.h5") as file:
        keys = list(file.keys())
    for key in keys:
        subject, name = key[3:].split("__")
        frames = read(data / "frames" / subject / f"{name}.h5", "frames")
        landmarks = read(data / "landmarks" / f"landmark_{subject}.h5", name)
        yield key, frames, landmarks, read(data / "transfs" / subject / f"{name}.h5", "tforms")


def read(path: Path, name: str) -> np.ndarray:
    """One dataset of a file."""
    with h5py.File(path) as file:
        return np.asarray(file[name][()])
