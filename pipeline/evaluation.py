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
from tusrec.metrics import STILL, Geometry, identity
from tusrec.protocols import protocol_of
from tusrec.results import read_scan_result
from tusrec.scans import Scan, ScanSource

REFERENCES = ("identity", "constant motion", "truth")  # rows without a prediction
SCORES = ("final", "global", "local", "pixel", "landmark")


@dataclass(frozen=True)
class Entry:
    """One scan in one row of the table.

    truth: what it was held against, `tracked` or `exact` poses.
    comparison: identity's where the prediction is unusable.
    message: why it is.
    """

    row: str
    key: str
    truth: str
    comparison: Comparison
    message: str = ""

    @property
    def protocol(self) -> str:
        """The scan's protocol, by which the table is broken down."""
        return protocol_of(self.key)

    @property
    def failed(self) -> bool:
        """Whether the scan's prediction is unusable."""
        return bool(self.message)

    def measures(self) -> dict[str, float]:
        """The comparison's measures by name, of a scan that failed its scores alone.

        These are 0 by the rules, as identity's are, and NaN where the truth defines none.
        """
        found = self.comparison.measures()
        return {name: found[name] for name in SCORES} if self.failed else found


def evaluate_scan(
    source: ScanSource, predictions: dict[str, Path], mirror: bool = False
) -> list[Entry]:
    """Entries of one scan: the references, then each folder of predictions by its row's name.

    With `mirror`, each prediction has a second row with the better of its two elevational
    mirrors, the one with the lower LPE. Raises TusrecError if the truth itself is unusable.
    """
    with source.open() as scan:
        truth = _truth(source, scan)
        true = truth.motion
        still = compare(identity(scan.frames.shape[0]), truth, truth.largest_errors)
        references = still, compare(constant_motion(true), truth), compare(true, truth)
        entries = [
            Entry(row, scan.key, scan.truth, comparison)
            for row, comparison in zip(REFERENCES, references, strict=True)
        ]
        for row, folder in predictions.items():
            rows = [row, f"{row}, better mirror"] if mirror else [row]
            entries += _predicted(rows, folder, scan, truth, still)
    return entries


def _truth(source: ScanSource, scan: Scan) -> Truth:
    motion = scan.true_motion()
    if motion is None:
        raise InputError(
            f"{source.paths[0]}: found no tracked poses, expected one of every frame as truth; "
            "docs/own-data.md tells where they lie, and --spacing leaves those of an .h5 out"
        )
    return Truth(motion, Geometry(scan.calibration.scale, *scan.image_size, scan.landmarks))


def fit_probe_scale(sources: Iterable[ScanSource], folder: Path) -> float:
    """The `--probe-scale` that suits the probe of tracked scans, by a folder of predictions.

    Whatever scale they were predicted with is taken out. Scans without usable truth or prediction
    are left out; NaN if there is no other, or nothing moves across the image in either.
    """
    sizes = []
    for source in sources:
        try:
            sizes.append(_sizes_across(source, folder))
        except TusrecError:  # told already, with the scan's entries
            continue
    predicted, true = np.sum(sizes, axis=0) if sizes else (0.0, 0.0)
    return float(true / predicted) if min(true, predicted) > STILL else float("nan")


def _sizes_across(source: ScanSource, folder: Path) -> tuple[float, float]:
    """Sizes of predicted motion at a probe scale of 1, and of true motion, mm."""
    with source.open() as scan:
        truth = _truth(source, scan)
        result = read_scan_result(folder, scan)
        predicted, true = sizes_across(result.motion, truth.motion, truth.geometry.centre_mm)
        return predicted / float(result.attributes.get("probe_scale", 1.0)), true


def _predicted(
    rows: list[str], folder: Path, scan: Scan, truth: Truth, still: Comparison
) -> list[Entry]:
    try:
        motion = read_scan_result(folder, scan).motion
    except TusrecError as error:
        return [Entry(row, scan.key, scan.truth, still, str(error)) for row in rows]
    motions = [motion] if len(rows) == 1 else [motion, better_mirror(motion, truth)]
    return [
        Entry(row, scan.key, scan.truth, compare(motion, truth))
        for row, motion in zip(rows, motions, strict=True)
    ]
