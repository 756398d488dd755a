"""Write simulated freehand ultrasound scans in the challenge's layouts.

python simulate.py --output data --scans 6 --frames 1500
"""

import argparse
import sys
from functools import partial

from tusrec.entry import GOES_ON, exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sim import EVALUATION_SEED, dataset, motion, tissue
from sim.probe import PROBES
from tusrec.options import utf8_path, whole_number

DEFAULT = "(default: %(default)s)"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="simulate.py",
        description="Simulated freehand ultrasound scans in the challenge's layouts. A run that "
        "was stopped goes on where it was, and so does one of more --scans.",
        epilog="exit codes: 0 all done; 1 a defect of this program; 2 another data set is there or "
        "this one cannot be written; 3 out of memory; 130 and 143 ended by SIGINT and SIGTERM",
    )
    add = parser.add_argument
    add("--output", type=utf8_path, required=True, metavar="DIR", help="folder of the data set")
    add(
        "--year",
        type=int,
        default=2025,
        choices=(2024, 2025),
        help=f"the challenge's layout {DEFAULT}",
    )
    add(
        "--kind",
        default="validation",
        choices=("train", "validation"),
        help=f"train has frames and poses in one file {DEFAULT}",
    )
    add("--scans", type=whole_number(1), default=2, metavar="N", help=f"number of scans {DEFAULT}")
    whole = f"(default: {motion.ROTATION_FRAMES:,}; sweeps {motion.SWEEP_FRAMES})"
    add("--frames", type=whole_number(2), metavar="N", help=f"of each scan {whole}")
    add(
        "--protocol",
        choices=tuple(dataset.SCANS),
        help="how the probe moves (default: rotation for 2025, sweeps for 2024)",
    )
    add("--probe", default="convex", choices=tuple(PROBES), help=f"its shape {DEFAULT}")
    anatomies = tuple(tissue.ANATOMIES)
    add("--anatomy", choices=anatomies, help="what is scanned (default: drawn for every scan)")
    add(
        "--truth",
        default="exact",
        choices=("exact", "tracked"),
        help=f"which poses are named tforms {DEFAULT}",
    )
    firsts = ", ".join(f"{number} for {kind}" for kind, number in dataset.FIRST_SUBJECT.items())
    add(
        "--first-subject",
        type=whole_number(0),
        metavar="N",
        help=f"number of the first subject (default: {firsts})",
    )
    seeds = f"from {EVALUATION_SEED:,} on for evaluation only {DEFAULT}"
    add("--seed", type=whole_number(0), default=0, metavar="N", help=seeds)
    add("--jobs", type=whole_number(1), default=1, metavar="N", help=f"processes {DEFAULT}")
    return parser.parse_args(arguments)


def order_of(options: argparse.Namespace) -> dataset.Order:
    """The order that the command line places."""
    protocol = options.protocol or ("rotation" if options.year == 2025 else "sweeps")
    whole = motion.SWEEP_FRAMES if protocol == "sweeps" else motion.ROTATION_FRAMES
    first = options.first_subject
    return dataset.Order(
        year=options.year, kind=options.kind, scans=options.scans,
        frames=whole if options.frames is None else options.frames, protocol=protocol,
        probe=options.probe, anatomy=options.anatomy, seed=options.seed, truth=options.truth,
        first_subject=dataset.FIRST_SUBJECT[options.kind] if first is None else first,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return exit_code_of(partial(run, parse(arguments)), GOES_ON)


def run(options: argparse.Namespace) -> int:
    """Make the data set that is ordered, with a bar of its frames."""
    order = order_of(options)
    bar = tqdm(total=order.scans * order.frames, unit="frame", desc="simulate")
    with logging_redirect_tqdm(), bar:
        dataset.make(order, options.output, options.jobs, bar.update)
    return 0


if __name__ == "__main__":
    sys.exit(main())
