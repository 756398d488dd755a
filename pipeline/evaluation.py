"""Predictions against truth, scan by scan, beside reference rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.probe_scale import sizes_across
from tusrec.comparison import (
    Comparison,
    Truth,
    better_mirror,
    compare,
    constant_motion,
)
from tusrec.errors import InputError, TusrecError
from tusrec.metrics import Geometry, identity
from tusrec.protocols import protocol_of
from tusrec.results import read_scan_result
from tusrec.scans import Scan, ScanSource

REFERENCES = ("identity", "constant motion", "truth")  # rows without a prediction
SCORES = ("final", "global", "local", "pixel", "landmark")


@dataclass(frozen=True)
class Entry:
    """One scan in one row of the table; comparison is None where the prediction is unusable.

    truth: what it was held against, `tracked` or `exact` poses.
    """

    row: str
    key: str
    truth: str
    comparison: Comparison | None
    message: str = ""

    @property
    def protocol(self) -> str:
        """The scan's protocol, by which the table is broken down."""
        return protocol_of(self.key)

    def measures(self) -> dict[str, float]:
        """The comparison's measures by name; a scan that failed scores 0 by the rules."""
        if self.comparison is None:
            return dict.fromkeys(SCORES, 0.0)
        return self.comparison.measures()


def evaluate_scan(
    source: ScanSource, predictions: dict[str, Path], mirror: bool = False
) -> list[Entry]:
    """Entries of one scan: the references, then each folder of predictions by its row's name.

    With `mirror`, each prediction has a second row with the better of its two elevational
    mirrors. Raises InputError if the truth itself is unusable.
    """
    with source.open() as scan:
        true = scan.true_motion()
        if true is None:
            raise InputError(f"{source.key}: no tracked poses, so no truth to evaluate against")
        geometry = Geometry(scan.calibration.scale, *scan.image_size, scan.landmarks)
        truth = Truth(true, geometry)
        references = identity(scan.frames.shape[0]), constant_motion(true), true
        entries = [
            Entry(row, scan.key, scan.truth, compare(motion, truth))
            for row, motion in zip(REFERENCES, references, strict=True)
        ]
        for row, folder in predictions.items():
            rows = [row, f"{row}, better mirror"] if mirror else [row]
            entries += _predicted(rows, folder, scan, truth)
    return entries


def fit_probe_scale(sources: Iterable[ScanSource], folder: Path) -> float:
    """The `--probe-scale` that suits the probe of tracked scans, by a folder of predictions.

    Whatever scale they were predicted with is taken out. Scans without usable truth or prediction
    are left out; NaN if there is no other.
    """
    sizes = []
    for source in sources:
        try:
            sizes.append(_sizes_across(source, folder))
        except TusrecError:  # told already, with the scan's entries
            continue
    predicted, true = np.sum(sizes, axis=0) if sizes else (0.0, 0.0)
    return float(true / predicted) if predicted > 0 else float("nan")


def _sizes_across(source: ScanSource, folder: Path) -> tuple[float, float]:
    """Sizes of predicted motion at a probe scale of 1, and of true motion, mm."""
    with source.open() as scan:
        truth = scan.true_motion()
        if truth is None:
            raise InputError(f"{source.key}: no tracked poses, so no truth to fit a probe scale to")
        result = read_scan_result(folder, scan)
        geometry = Geometry(scan.calibration.scale, *scan.image_size, scan.landmarks)
        predicted, true = sizes_across(result.motion, truth, geometry.centre_mm)
        return predicted / float(result.attributes.get("probe_scale", 1.0)), true


def _predicted(rows: list[str], folder: Path, scan: Scan, truth: Truth) -> list[Entry]:
    try:
        motion = read_scan_result(folder, scan).motion
    except TusrecError as error:
        return [Entry(row, scan.key, scan.truth, None, str(error)) for row in rows]
    motions = [motion] if len(rows) == 1 else [motion, better_mirror(motion, truth)]
    return [
        Entry(row, scan.key, scan.truth, compare(motion, truth))
        for row, motion in zip(rows, motions, strict=True)
    ]
