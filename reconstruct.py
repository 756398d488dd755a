#!/usr/bin/env python3
"""Frames with poses into volumes that 3D Slicer opens, and masks of where there were data."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.inputs import add_input_options, chosen, input_options, require_kept
from tusrec.errors import InputError, OutOfMemoryError, TusrecError
from tusrec.files import require_writable
from tusrec.frames import in_memory_if_it_fits
from tusrec.layouts import find_scans
from tusrec.options import positive, utf8_path
from tusrec.results import read_scan_result
from tusrec.scans import Scan, ScanSource
from view.holes import fill_holes
from view.images import FORMATS, write_volume
from view.sector import Clip, Fan, ever_lit, fan, rectangle
from view.space import in_first_frame, in_tracker_space, tracked_in_first_frame
from view.volume import (
    COMPOUNDINGS,
    INTERPOLATIONS,
    Method,
    grid_around,
    reconstruct,
    require_memory,
)

MB = 1e6

log = logging.getLogger("reconstruct")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code: 0 all scans done, 2 bad input, 3 no memory."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except TusrecError as error:
        log.error("error: %s", error)
        return error.exit_code


def run(options: argparse.Namespace) -> int:
    """Reconstruct every scan; one that fails is told and does not cost the others."""
    scans = find_scans(options.input, input_options(options)).scans
    sources = chosen(scans, options.scan)
    require_kept(scans, [volume_path(options, source.key) for source in sources])
    require_writable(options.output)
    exit_code = 0
    for source in sources:
        try:
            reconstruct_scan(source, options)
        except TusrecError as error:
            # Of them all a volume's want of memory alone knows no scan.
            whose = f"{source.key}: " if isinstance(error, OutOfMemoryError) else ""
            log.error("error: %s%s", whose, error)
            exit_code = max(exit_code, error.exit_code)
    return exit_code


def reconstruct_scan(source: ScanSource, options: argparse.Namespace) -> None:
    """Write the volume of a scan, saying first how much memory it takes."""
    with source.open() as scan:
        frames = in_memory_if_it_fits(scan.frames)
        places = pixel_places(scan, options)
        pixels = used_pixels(scan, options)
        grid = grid_around(places, pixels, options.voxel)
        method = Method(options.interpolation, options.compounding, options.fill_holes)
        size = " x ".join(map(str, grid.size))
        log.info(
            "%s: %s voxels of %g mm take %.0f MB",
            scan.key,
            size,
            grid.spacing,
            require_memory(grid, method) / MB,
        )
        volume = reconstruct(frames, places, pixels, grid, method)
    if method.fill_holes:
        volume = fill_holes(volume, method.fill_holes)
    path = volume_path(options, scan.key)
    mask_path = write_volume(path, volume)
    covered = 100 * np.count_nonzero(volume.mask) / grid.voxels
    log.info("%s and %s: data in %.0f %% of the voxels", path, mask_path.name, covered)


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
    try:
        pixels = _within(scan, options)
    except InputError as error:  # of options, which know no scan
        raise InputError(f"{scan.key}: {error}") from error
    if not pixels.any():
        raise InputError(f"{scan.key}: --clip, --fan and --lit leave no pixel; check their numbers")
    return pixels


def _within(scan: Scan, options: argparse.Namespace) -> NDArray[np.bool_]:
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
    return pixels


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(
        prog="reconstruct.py",
        description=__doc__,
        epilog="exit codes: 0 all done; 2 bad input (the good scans are done all the same); "
        "3 out of memory",
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
    poses = command.add_mutually_exclusive_group()
    poses.add_argument(
        "--pred",
        type=utf8_path,
        metavar="DIR",
        help="results of predict.py, whose poses are used (default: the tracked poses)",
    )
    poses.add_argument(
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
