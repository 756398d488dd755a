"""The command-line options that say what an input is; predict.py and evaluate.py share them."""

import argparse
import fnmatch
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tusrec.calibration import Calibration, from_image_to_probe
from tusrec.errors import InputError
from tusrec.files import is_there
from tusrec.layouts import LOOSE_FILES, Dataset, InputOptions
from tusrec.results import holds_other_data
from tusrec.scans import ScanSource

LAST_ROW = [0.0, 0.0, 0.0, 1.0]  # of a matrix that moves points
NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add --scan, --calib, --spacing and --image-to-probe."""
    # Python's own pattern (3.11) knows no exponent and takes -1.2e-05 for an option.
    parser._negative_number_matcher = NEGATIVE_NUMBER
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
    numbers = options.image_to_probe
    image_to_probe = None if numbers is None else _image_to_probe(numbers)
    spacing = (options.spacing[0], options.spacing[1]) if options.spacing else None
    return InputOptions(options.calib, image_to_probe, spacing)


def _image_to_probe(numbers: list[float]) -> Calibration:
    if len(numbers) not in {12, 16}:
        raise InputError(f"--image-to-probe: found {len(numbers)} numbers, expected 16 or 12")
    if numbers[12:] not in ([], LAST_ROW):
        found = " ".join(f"{number:g}" for number in numbers[12:])
        raise InputError(
            f"--image-to-probe: found {found} as the last row, expected 0 0 0 1; give the matrix "
            "row by row"
        )
    matrix = np.reshape([*numbers[:12], *LAST_ROW], (4, 4))
    return from_image_to_probe(matrix, "--image-to-probe")


def require_apart(dataset: Dataset, folder: Path, output: Path) -> None:
    """Raise InputError if results would lie among scans that are told by being in `folder`."""
    if dataset.layout == LOOSE_FILES and output.resolve() == folder.resolve():
        raise InputError(
            f"{output}: found the folder of scans where results would go, which the next run would "
            "take for scans; choose another --output"
        )


def require_named_otherwise(results: Iterable[Path], reserved: Path) -> None:
    """Raise InputError if a scan's result would be the file that a whole run writes."""
    if reserved in results:
        raise InputError(
            f"{reserved}: found a scan whose result would be this file, expected other names, for "
            "errors of all scans are written there; rename the scan"
        )


def require_kept(sources: Sequence[ScanSource], written: Iterable[Path]) -> None:
    """Raise InputError if a file that is going to be written is one that a scan is read from."""
    read = {path.resolve() for source in sources for path in source.paths}
    for path in written:
        if path.resolve() in read:
            raise InputError(
                f"{path}: found a scan where a result would be written over it; choose another "
                "--output"
            )


def require_own(result: Path, exports: Iterable[Path]) -> None:
    """Raise InputError if a scan's result or exports would replace what no run can have left.

    A result that was cut short cannot be read, and is replaced; exports come after their result.
    """
    if holds_other_data(result):
        raise InputError(
            f"{result}: holds no result, but would be replaced by one; choose another --output"
        )
    for path in exports:
        if is_there(path) and not is_there(result):
            raise InputError(
                f"{path}: found without {result.name}, so it is no export of an earlier run, "
                "but would be replaced by one; choose another --output"
            )


def chosen(scans: list[ScanSource], patterns: list[str]) -> list[ScanSource]:
    """The scans that match any of the patterns, or all without one.

    A pattern is a key or a glob. Raises InputError for one that no scan matches.
    """
    for pattern in patterns:
        if not any(_matches(scan, pattern) for scan in scans):
            keys = ", ".join(scan.key for scan in scans[:4])
            raise InputError(f"--scan {pattern}: matches no scan; the first are {keys}")
    return [s for s in scans if not patterns or any(_matches(s, pattern) for pattern in patterns)]


def _matches(scan: ScanSource, pattern: str) -> bool:
    return scan.key == pattern or fnmatch.fnmatchcase(scan.key, pattern)
