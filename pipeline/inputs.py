"""The command-line options that say what an input is; predict.py and evaluate.py share them."""

import argparse
import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tusrec.calibration import from_image_to_probe
from tusrec.errors import InputError
from tusrec.layouts import InputOptions
from tusrec.scans import ScanSource


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add --scan, --calib, --spacing and --image-to-probe."""
    parser.add_argument(
        "--scan",
        action="append",
        metavar="PATTERN",
        default=[],
        help="only scans whose key matches, e.g. 'sub050*' or '*_rotation'; may be repeated",
    )
    parser.add_argument(
        "--calib", type=Path, metavar="FILE", help="a calib_matrix.csv in place of the dataset's"
    )
    parser.add_argument(
        "--spacing",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="pixel size in mm of single files: a .h5 without calibration, DICOM in place of what "
        "it says, a sequence that does not say",
    )
    parser.add_argument(
        "--image-to-probe",
        type=float,
        nargs="+",
        metavar="M",
        help="PLUS's ImageToProbe, 16 numbers row by row (the last four may be left out)",
    )


def input_options(options: argparse.Namespace) -> InputOptions:
    """The options as the readers take them; InputError if ImageToProbe is not a matrix."""
    image_to_probe = None
    if options.image_to_probe is not None:
        numbers = options.image_to_probe
        if len(numbers) not in {12, 16}:
            raise InputError(f"--image-to-probe: found {len(numbers)} numbers, expected 16 or 12")
        matrix = np.vstack([np.reshape(numbers[:12], (3, 4)), [0, 0, 0, 1]])
        image_to_probe = from_image_to_probe(matrix, "--image-to-probe")
    spacing = (options.spacing[0], options.spacing[1]) if options.spacing else None
    return InputOptions(options.calib, image_to_probe, spacing)


def require_kept(sources: Sequence[ScanSource], written: Iterable[Path]) -> None:
    """Raise InputError if a file that is going to be written is one that a scan is read from."""
    read = {path.resolve() for source in sources for path in source.paths}
    for path in written:
        if path.resolve() in read:
            raise InputError(
                f"{path}: found a scan where a result would be written over it; choose another "
                "--output"
            )


def chosen(scans: list[ScanSource], patterns: list[str]) -> list[ScanSource]:
    """The scans that match any of the patterns, or all without one; InputError if none does."""
    matching = [
        scan
        for scan in scans
        if not patterns or any(fnmatch.fnmatchcase(scan.key, pattern) for pattern in patterns)
    ]
    if not matching:
        keys = ", ".join(scan.key for scan in scans[:4])
        raise InputError(f"--scan {' '.join(patterns)}: matches no scan; the first are {keys}")
    return matching
