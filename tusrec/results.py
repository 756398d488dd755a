"""The result of a scan: one HDF5 file of poses and displacements, and the run's metrics.h5."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tusrec.displacements import displacement_blocks, landmark_displacements
from tusrec.errors import InputError
from tusrec.files import atomic_path
from tusrec.hdf5 import (
    attributes_of,
    create_hdf5,
    find_dataset,
    names,
    names_in,
    open_hdf5,
    read_array,
    require,
)
from tusrec.metrics import Errors, Geometry, Motion
from tusrec.poses import require_rigid
from tusrec.scans import Scan

DDF_KINDS = ("none", "landmarks", "full")
METRICS_FILE = "metrics.h5"
PREDICT_AGAIN = "predict the scan again with --overwrite or into another --output"

DESCRIPTIONS = {
    "global": "T_first_from_frame of frames 1..N-1, image mm (4x4, row by row)",
    "local": "T_previous_from_frame of frames 1..N-1, image mm (4x4, row by row)",
    "local_covariance": "covariance of the exponential coordinates (rotation rad, translation mm) "
    "of a local motion about the image centre, T_true = T @ exp(xi)",
    "GL": "displacement of each landmark to the first frame: (x, y, z) by landmark",
    "LL": "displacement of each landmark to the previous frame: (x, y, z) by landmark",
    "GP": "displacement of each pixel to the first frame; pixels row by row, (y-1)*width + (x-1)",
    "LP": "displacement of each pixel to the previous frame; pixels row by row",
}
UNITS = {"global": "mm", "local": "mm", "local_covariance": "rad^2, rad mm, mm^2"}


@dataclass(frozen=True)
class Result:
    """What a result file holds.

    motion: global and local transforms of frames 1..N-1.
    local_covariance: (N-1, 6, 6).
    attributes: the file's attributes: model, weights_sha256, device, seconds, and so on; where
        there is truth also GPE, GLE, LPE, LLE in mm.
    """

    motion: Motion
    local_covariance: NDArray[np.float64]
    attributes: dict[str, Any]

    @property
    def made_by(self) -> tuple[str, str, float]:
        """Model, sha256 of its weights and probe scale."""
        scale = float(self.attributes.get("probe_scale", 1.0))
        return str(self.attributes.get("model")), str(self.attributes.get("weights_sha256")), scale

    @property
    def seconds(self) -> float:
        """How long the prediction took; NaN where the file does not say."""
        return float(self.attributes.get("seconds", np.nan))

    @property
    def errors(self) -> Errors | None:
        """The four errors against tracked truth, or None if there was none."""
        names = ("GPE", "GLE", "LPE", "LLE")
        if not all(name in self.attributes for name in names):
            return None
        return Errors(**{name: float(self.attributes[name]) for name in names})


def result_path(output: Path, key: str) -> Path:
    """Where the result of scan `key` is written."""
    return output / f"{key}.h5"


def holds_other_data(path: Path) -> bool:
    """Whether a file can be read and is no result, but a recording, say, of the same name."""
    found = names_in(path)
    return bool(found) and ("frames" in found or "global" not in found)


def write_result(path: Path, result: Result, geometry: Geometry, ddf: str) -> None:
    """Write a result atomically; `ddf` is one of DDF_KINDS and adds GL and LL, then GP and LP.

    Dense fields are written in blocks. Raises OutputError if the file cannot be written.
    """
    motion = result.motion
    moved = {"G": motion.T_first_from_frame, "L": motion.T_previous_from_frame}
    with atomic_path(path) as partial, create_hdf5(partial) as file:
        _write(file, "global", motion.T_first_from_frame)
        _write(file, "local", motion.T_previous_from_frame)
        _write(file, "local_covariance", result.local_covariance)
        if ddf != "none":
            for name, transforms in moved.items():
                points = landmark_displacements(transforms, geometry.scale, geometry.landmarks)
                _write(file, f"{name}L", points)
        if ddf == "full":
            for name, transforms in moved.items():
                _write_dense(file, f"{name}P", transforms, geometry)
        file.attrs.update(result.attributes)


def read_result(path: Path) -> Result:
    """Read the poses and attributes of a result; InputError if the file is not a whole result."""
    with open_hdf5(path) as file:
        stacks = {name: _read_stack(file, name) for name in ("global", "local")}
        covariance = read_array(find_dataset(file, "local_covariance"))
        attributes = attributes_of(file)
    for name, stack in stacks.items():
        require_rigid(stack, f"{path}: {name}")
    return Result(Motion(stacks["global"], stacks["local"]), covariance, attributes)


def read_scan_result(folder: Path, scan: Scan) -> Result:
    """The result of a scan in `folder`; InputError also if it is of other frames or pixels."""
    path = result_path(folder, scan.key)
    result = read_result(path)
    require_of_scan(result, scan, path)
    return result


def require_of_scan(result: Result, scan: Scan, path: Path) -> None:
    """Raise InputError naming `path` unless a result is of this scan's frames and pixel size.

    Other programs' results need not say of which they are; their length must be right.
    """
    _require_length(result.motion, scan.frames.shape[0], path)
    _require_same_pixels(result, scan, path)
    _require_same_frames(result, scan, path)


def holds_displacements(path: Path, ddf: str) -> bool:
    """Whether a result file has the displacements that `ddf` asks for."""
    wanted = {"none": (), "landmarks": ("GL", "LL"), "full": ("GL", "LL", "GP", "LP")}[ddf]
    with open_hdf5(path) as file:
        return set(wanted) <= set(names(file))


def write_metrics(path: Path, rows: Iterable[tuple[str, Errors | None, float]]) -> None:
    """Write `metrics.h5` in the form of the organisers' loop: rows of (key, errors, seconds).

    Errors are float32 and NaN for a scan that failed; the key of each entry is in the attribute
    `scans`. `time_elapsed` holds the seconds, which end before dense displacements are made: those
    of the organisers' loop time all of `predict_ddfs`. The file is replaced, so a second run does
    not fail on it as theirs does.
    """
    keys, found, seconds = zip(*rows, strict=True)
    missing = Errors(np.nan, np.nan, np.nan, np.nan)
    table = [asdict(errors or missing) for errors in found]
    with atomic_path(path) as partial, create_hdf5(partial, oldest="v108") as file:
        for name in ("GPE", "GLE", "LPE", "LLE"):
            file[name] = np.array([row[name] for row in table], np.float32)
        file["time_elapsed"] = np.array(seconds, np.float64)
        file.attrs["scans"] = list(keys)


def _require_length(motion: Motion, frames: int, path: Path) -> None:
    found = len(motion.T_first_from_frame), len(motion.T_previous_from_frame)
    if found != (frames - 1, frames - 1):
        raise InputError(
            f"{path}: holds {found[0]} global and {found[1]} local poses, expected {frames - 1} "
            f"of each; {PREDICT_AGAIN}"
        )


def _require_same_pixels(result: Result, scan: Scan, path: Path) -> None:
    scale, expected = result.attributes.get("calibration_scale"), scan.calibration.scale
    if scale is not None and not np.allclose(scale, expected):
        (x, y), (wanted_x, wanted_y) = (np.diag(of)[:2] for of in (scale, expected))
        raise InputError(
            f"{path}: holds results for pixels of {x:g} x {y:g} mm, expected {wanted_x:g} x "
            f"{wanted_y:g} mm; {PREDICT_AGAIN}"
        )


def _require_same_frames(result: Result, scan: Scan, path: Path) -> None:
    found, expected = result.attributes.get("frames_sha256"), scan.frames_sha256()
    if found not in (None, expected):
        raise InputError(
            f"{path}: holds results for other frames (sha256 {found[:8]}), expected those of "
            f"{scan.key} ({expected[:8]}); {PREDICT_AGAIN}"
        )


def _write(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    _describe(file.create_dataset(name, data=values), name)


def _write_dense(
    file: h5py.File, name: str, transforms: NDArray[np.float64], geometry: Geometry
) -> None:
    pixels = geometry.height * geometry.width
    dataset = file.create_dataset(name, (len(transforms), 3, pixels), np.float32)
    _describe(dataset, name)
    for rows, block in displacement_blocks(
        transforms, geometry.scale, geometry.height, geometry.width
    ):
        dataset[rows] = block


def _describe(dataset: h5py.Dataset, name: str) -> None:
    dataset.attrs["unit"] = UNITS.get(name, "mm")
    dataset.attrs["description"] = DESCRIPTIONS[name]


def _read_stack(file: h5py.File, name: str) -> NDArray[np.float64]:
    dataset = find_dataset(file, name)
    require(dataset, "f", (None, 4, 4), "(frames - 1, 4, 4) floats")
    return read_array(dataset).astype(np.float64)
