"""HDF5 files read with every expected failure as one line."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tusrec.errors import InputError
from tusrec.files import forbidden, readable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# What h5py raises for damage inside a file, beside the OSError that `open_hdf5` turns.
DAMAGE = (RuntimeError, ValueError, KeyError, TypeError)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open for reading without file locks, which read-only and network mounts refuse.

    Raises InputError if the file is missing, empty, truncated, or not HDF5, also when that shows
    only while the block reads.
    """
    with readable(path):
        there = path.is_file()
    if not there:
        raise InputError(f"{path}: no such file; check the path, or the dataset against its layout")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except OSError as error:
        if error.filename not in (None, str(path)):  # what the block did with other files
            raise
        raise _unreadable(path, error) from error


def names(file: h5py.File) -> list[str]:
    """What a file holds, in its own order; InputError if its table of contents is damaged."""
    try:
        return [os.fsdecode(name) for name in file]  # bytes where it is not UTF-8
    except DAMAGE as error:
        raise _unreadable(Path(file.filename), error) from error


def names_in(path: Path) -> list[str]:
    """What the file at `path` holds; nothing if it cannot be read."""
    try:
        with open_hdf5(path) as file:
            return names(file)
    except InputError:
        return []


def attributes_of(item: h5py.File | h5py.Dataset) -> dict[str, Any]:
    """What is said of a file or a dataset; InputError if that is damaged."""
    try:
        return dict(item.attrs)
    except DAMAGE as error:
        raise _unreadable(Path(item.file.filename), error) from error


@contextmanager
def create_hdf5(path: Path, oldest: str = "earliest") -> Iterator[h5py.File]:
    """Create or replace a file. Raises OSError, at the end of the block, if it cannot be written.

    HDF5 must not see a failed write: it crashes the process when it closes a file whose tables
    it could not flush.

    oldest: version of HDF5 that shall read it; from v108 on attributes may exceed 64 KB.
    """
    with _PatientFile(path, "w+") as stream:
        with h5py.File(stream, "w", libver=(oldest, "latest")) as file:
            yield file
        if stream.failure is not None:
            raise stream.failure


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset `name`; InputError naming the file and what it holds instead if it is absent.

    Also InputError if the dataset's own description is damaged.
    """
    found = names(file)
    try:
        dataset = file.get(name)
        readable = isinstance(dataset, h5py.Dataset) and dataset.dtype is not None
    except DAMAGE as error:
        raise _unreadable(Path(file.filename), error) from error
    if not readable:
        raise InputError(
            f"{file.filename}: no dataset '{name}', found {sorted(found)[:8]}; "
            "check that this is the right file"
        )
    return dataset


def require(
    dataset: h5py.Dataset, kinds: str, shape: tuple[int | None, ...], expected: str
) -> None:
    """Raise InputError unless dtype.kind is in `kinds` and the shape fits (None fits any)."""
    found = dataset.shape or ()  # None for a dataset that holds nothing
    fits = len(found) == len(shape) and all(
        want is None or have == want for have, want in zip(found, shape, strict=True)
    )
    if dataset.dtype.kind not in kinds or not fits:
        raise InputError(
            f"{dataset.file.filename}: dataset '{dataset.name.lstrip('/')}' is "
            f"{found} {dataset.dtype}, expected {expected}; check that this is the right file"
        )


def read_array(dataset: h5py.Dataset) -> NDArray[Any]:
    """All of a dataset as a numpy array."""
    return np.asarray(dataset[()])


class Hdf5Frames:
    """Frames (N, H, W) uint8 of an open HDF5 dataset, read slice by slice."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        return np.asarray(self._dataset[key], np.uint8)


class _PatientFile(io.FileIO):
    """A file that keeps its first failure to write, and from then on writes nothing."""

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        rest = memoryview(data)
        try:
            while self.failure is None and rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        return len(memoryview(data))

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return self.tell() if size is None else size


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, PermissionError):
        return forbidden(path, error)
    reason = " ".join(str(error).split())
    return InputError(
        f"{path}: not a readable HDF5 file of {path.stat().st_size} bytes ({reason}); "
        "copy it again from its source"
    )
