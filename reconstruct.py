#!/usr/bin/env python3
"""Frames with poses into volumes that 3D Slicer opens, and masks of where there were data."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tusrec.entry import exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()

import numpy as np
from numpy.typing import NDArray

from pipeline.inputs import add_input_options, chosen, input_options, require_kept
from tusrec.errors import InputError, TusrecError
from tusrec.files import require_writable
from tusrec.frames import in_memory_if_it_fits
from tusrec.layouts import find_scans
from tusrec.options import positive, utf8_path
from tusrec.results import read_scan_result
from tusrec.scans import Scan, ScanSource
from view.holes import fill_holes
from view.images import FORMATS, mask_path, write_volume
from view.present import attempt
from view.sector import Clip, Fan, ever_lit, fan, rectangle
from view.space import in_first_frame, in_tracker_space, tracked_in_first_frame
from view.volume import (
    COMPOUNDINGS,
    INTERPOLATIONS,
    Method,
    Volume,
    grid_around,
    reconstruct,
    require_memory,
)

MB = 1e6
ADVICE = "give a larger --voxel, or end what else runs"

log = logging.getLogger("reconstruct")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code (see the parser's epilog)."""
    options = parser().parse_args(arguments)
    told = "interrupted; the volumes that were told are whole, the others are not there"
    return exit_code_of(partial(run, options), told)


def run(options: argparse.Namespace) -> int:
    """Reconstruct every scan; one that fails is told and does not cost the others."""
    if options.pred and options.space == "tracker":
        raise InputError(
            "--space tracker: found --pred, expected the tracked poses, for predicted ones know no "
            "tracker; leave one of them out"
        )
    scans = find_scans(options.input, input_options(options)).scans
    sources = chosen(scans, options.scan)
    volumes = [volume_path(options, source.key) for source in sources]
    written = [*volumes, *map(mask_path, volumes)]
    require_kept(scans, written)
    require_distinct(written)
    require_writable(options.output)
    codes = [attempt(s.key, partial(reconstruct_scan, s, options), ADVICE) for s in sources]
    return max(codes, default=0)


def require_distinct(written: Sequence[Path]) -> None:
    """Raise InputError if one scan's volume would be written over another's mask."""
    for path, count in Counter(written).items():
        if count > 1:
            raise InputError(
                f"{path}: found a scan's volume and another's mask of this name, expected one; "
                "rename a scan, or choose one with --scan"
            )


def reconstruct_scan(source: ScanSource, options: argparse.Namespace) -> int:
    """Write the volume of a scan, saying first how much memory it takes; 0 as all is well."""
    with source.open() as scan:
        places = pixel_places(scan, options)
        with naming(scan.key):
            volume = made_volume(scan, places, options)
    path = volume_path(options, scan.key)
    write_volume(path, volume)
    covered = 100 * np.count_nonzero(volume.mask) / volume.grid.voxels
    log.info("%s and %s: data in %.0f %% of the voxels", path, mask_path(path).name, covered)
    return 0


def made_volume(
    scan: Scan, T_space_from_pixel: NDArray[np.float64], options: argparse.Namespace
) -> Volume:
    """The volume of frames at T_space_from_pixel (N, 4, 4), with holes filled if that is asked."""
    frames = in_memory_if_it_fits(scan.frames)
    pixels = used_pixels(scan, options)
    grid = grid_around(T_space_from_pixel, pixels, options.voxel)
    method = Method(options.interpolation, options.compounding, options.fill_holes)
    size = " x ".join(map(str, grid.size))
    needed = require_memory(grid, method) / MB
    log.info("%s: %s voxels of %g mm take %.0f MB", scan.key, size, grid.spacing, needed)
    volume = reconstruct(frames, T_space_from_pixel, pixels, grid, method)
    return fill_holes(volume, method.fill_holes) if method.fill_holes else volume


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put a scan's key before the errors of options and of volumes, which know no scan."""
    try:
        yield
    except TusrecError as error:
        raise type(error)(f"{key}: {error}") from error


def volume_path(options: argparse.Namespace, key: str) -> Path:
    """Where the volume of a scan is written."""
    return Path(options.output / f"{key}.{options.format}")


def pixel_places(scan: Scan, options: argparse.Namespace) -> NDArray[np.float64]:
    """T_space_from_pixel (N, 4, 4) by the poses and in the space that the options ask for."""
    if options.space == "tracker":
        return in_tracker_space(scan)
    if options.pred is not None:
        motion = read_scan_result(options.pred, scan).motion
        return in_first_frame(motion.T_first_from_frame, scan.calibration)
    return in_first_frame(tracked_in_first_frame(scan), scan.calibration)


def used_pixels(scan: Scan, options: argparse.Namespace) -> NDArray[np.bool_]:
    """Mask (H, W) of the pixels that go into the volume."""
    pixels = np.ones(scan.image_size, np.bool_)
    if options.clip:
        pixels &= rectangle(scan.image_size, Clip(*options.clip))
    if options.fan:
        numbers = options.fan
        sector = Fan((numbers[0], numbers[1]), (numbers[2], numbers[3]), (numbers[4], numbers[5]))
        spacing_x, spacing_y = scan.calibration.spacing
        pixels &= fan(scan.image_size, sector, spacing_y / spacing_x)
    if options.lit:
        pixels &= ever_lit(scan.frames)
    if not pixels.any():
        raise InputError("--clip, --fan and --lit leave no pixel; check their numbers")
    return pixels


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(
        prog="reconstruct.py",
        description=__doc__,
        epilog="exit codes: 0 all done; 2 bad input (the good scans are done all the same); "
        "3 out of memory; 130 and 143 ended by SIGINT and SIGTERM",
    )
    command.add_argument(
        "--input",
        type=utf8_path,
        required=True,
        metavar="PATH",
        help="scans, as predict.py takes them",
    )
    command.add_argument(
        "--output", type=utf8_path, required=True, metavar="DIR", help="where volumes go"
    )
    add_pose_options(command)
    add_volume_options(command)
    add_pixel_options(command)
    add_input_options(command)
    return command


def add_pose_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say where frames lie."""
    command.add_argument(
        "--pred",
        type=utf8_path,
        metavar="DIR",
        help="results of predict.py, whose poses are used (default: the tracked poses)",
    )
    command.add_argument(
        "--space",
        choices=("first", "tracker"),
        default="first",
        help="of the volume: the first frame's image mm or, with tracked poses only, the "
        "tracker's reference, as in PLUS (default: %(default)s)",
    )


def add_volume_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say what becomes of a voxel."""
    command.add_argument(
        "--voxel",
        type=positive,
        default=0.5,
        metavar="MM",
        help="voxel spacing (default: %(default)s)",
    )
    command.add_argument("--interpolation", choices=INTERPOLATIONS, default=INTERPOLATIONS[0])
    command.add_argument("--compounding", choices=COMPOUNDINGS, default=COMPOUNDINGS[0])
    command.add_argument(
        "--fill-holes",
        type=int,
        choices=range(21),
        default=0,
        metavar="N",
        help="fill voxels that lie between data at most N voxels away, 0 to 20 (default: 0, no)",
    )
    command.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="(default: %(default)s)"
    )


def add_pixel_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say which pixels are ultrasound."""
    command.add_argument(
        "--clip",
        type=int,
        nargs=4,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="only this rectangle of the frames, pixels from 0",
    )
    command.add_argument(
        "--fan",
        type=float,
        nargs=6,
        metavar=("X", "Y", "FROM", "TO", "INNER", "OUTER"),
        help="only this sector: origin in pixels from 0, degrees from straight down, radii in "
        "pixels along x",
    )
    command.add_argument(
        "--lit", action="store_true", help="only the region that is bright in any of 64 frames"
    )


if __name__ == "__main__":
    sys.exit(main())
