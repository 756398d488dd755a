"""What the report's page knows of a scan, as JSON; arrays are base64 of little-endian floats."""

import base64
import gzip
import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tusrec.comparison import FREEDOMS, Comparison, Truth, better_mirror, compare
from tusrec.frames import Frames, in_memory_if_it_fits
from tusrec.metrics import Geometry, Motion, identity
from tusrec.results import Result
from tusrec.scans import Scan
from view.curves import from_first, from_previous
from view.holes import fill_holes
from view.pictures import COLUMNS, ROWS, contact_sheets
from view.space import in_first_frame, with_first
from view.uncertainty import position_deviation
from view.volume import Method, grid_around, reconstruct

SLICED = Method("NEAREST_NEIGHBOR", "MEAN", fill_holes=2)
SLICED_VOXELS = 2_500_000  # about, for the slices
FINEST_VOXEL = 0.4  # mm, for the slices
FINEST_PIXELS = 2  # or finer, where so many pixels take less
PICTURES_BYTES = 5_000_000  # of JPEG in a scan; a scan's whole share of the page is below 15 MB

Array = NDArray[np.float64]


def scan_data(scan: Scan, result: Result, most_pictures: int) -> dict[str, Any]:
    """Everything about a scan whose prediction is `result`."""
    frames = in_memory_if_it_fits(scan.frames)
    geometry = Geometry(scan.calibration.scale, *scan.image_size, scan.landmarks)
    centre = geometry.centre_mm
    true = scan.true_motion()
    motions = {"predicted": result.motion} | ({"true": true} if true else {})
    deviation = position_deviation(
        result.motion.T_previous_from_frame, result.local_covariance, centre
    )
    return {
        "key": scan.key,
        "facts": _facts(result),
        "frames": frames.shape[0],
        "image": [*scan.image_size],
        "scale": scan.calibration.scale[[0, 1], [0, 1]].tolist(),
        "centre": centre.tolist(),
        "truth": scan.truth,
        "motions": {name: _motion(motion, centre) for name, motion in motions.items()},
        "deviation": None if deviation is None else _floats(deviation),
        "pictures": _pictures(frames, most_pictures),
        "volumes": {name: _volume(scan, frames, motion) for name, motion in motions.items()},
        "scores": _scores(result.motion, Truth(true, geometry)) if true else None,
    }


def _facts(result: Result) -> dict[str, str]:
    """The attributes that a person asks for, as text."""
    wanted = ("model", "device", "predicted", "seconds", "protocol", "versions")
    found = {name: result.attributes[name] for name in wanted if name in result.attributes}
    return {name: f"{v:.1f}" if name == "seconds" else str(v) for name, v in found.items()}


def _motion(motion: Motion, centre: Array) -> dict[str, str]:
    """Poses (N, 3, 4) and freedoms (N, 6), mm and degrees, from the first and previous frame."""
    return {
        "poses": _floats(with_first(motion.T_first_from_frame)[:, :3]),
        "first": _floats(from_first(motion, centre)),
        "previous": _floats(from_previous(motion, centre)),
    }


def _scores(predicted: Motion, truth: Truth) -> dict[str, Any]:
    """Errors, scores and freedoms of the prediction, its better mirror and doing nothing."""
    frames = len(predicted.T_first_from_frame) + 1
    rows = {
        "prediction": compare(predicted, truth),
        "mirror": compare(better_mirror(predicted, truth), truth),
        "nothing": compare(identity(frames), truth, truth.largest_errors),
    }
    return {name: _measures(comparison) for name, comparison in rows.items()}


def _measures(comparison: Comparison) -> dict[str, Any]:
    measures = {name: _number(value) for name, value in comparison.measures().items()}
    by_freedom = [
        [name, _number(comparison.slopes[name]), _number(comparison.correlations[name])]
        for name in FREEDOMS
    ]
    return measures | {"freedoms": by_freedom}


def _pictures(frames: Frames, most: int) -> dict[str, Any]:
    sheets = asdict(contact_sheets(frames, most, PICTURES_BYTES))
    jpegs = [base64.b64encode(jpeg).decode() for jpeg in sheets.pop("jpegs")]
    return {**sheets, "columns": COLUMNS, "rows": ROWS, "jpegs": jpegs}


def _volume(scan: Scan, frames: Frames, motion: Motion) -> dict[str, Any]:
    """A coarse volume for the slices, gzipped; 0 is where there are no data."""
    places = in_first_frame(motion.T_first_from_frame, scan.calibration)
    whole = np.ones(scan.image_size, np.bool_)
    box = grid_around(places, whole, 1.0)
    spacings = scan.calibration.spacing
    finest = min(FINEST_VOXEL, FINEST_PIXELS * max(spacings))
    voxel = max(finest, math.cbrt(box.voxels / SLICED_VOXELS))
    step_x, step_y = (max(1, int(voxel / spacing)) for spacing in spacings)
    pixels = np.zeros(scan.image_size, np.bool_)
    pixels[::step_y, ::step_x] = True
    grid = grid_around(places, pixels, voxel)
    volume = fill_holes(reconstruct(frames, places, pixels, grid, SLICED), SLICED.fill_holes)
    shown = np.where(volume.mask > 0, np.maximum(volume.values, 1), 0).astype(np.uint8)
    return {
        "size": list(grid.size),
        "spacing": grid.spacing,
        "origin": grid.origin.tolist(),
        "gzip": base64.b64encode(gzip.compress(shown.tobytes(), 6, mtime=0)).decode(),
    }


def _floats(values: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
