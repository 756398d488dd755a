"""Write simulated freehand ultrasound scans in the challenge's layouts.

python simulate.py --output data --scans 6 --frames 1500
"""

import argparse
import logging
import signal
import sys
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sim import EVALUATION_SEED, dataset, motion, tissue
from sim.probe import PROBES
from tusrec.errors import TusrecError
from tusrec.options import whole_number

log = logging.getLogger("simulate")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Simulated freehand ultrasound scans in the challenge's layouts. A run that "
        "was stopped goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the data set")
    add("--year", type=int, default=2025, choices=(2024, 2025), help="the challenge's layout")
    add("--kind", default="validation", choices=("train", "validation"))
    add("--scans", type=whole_number(1), default=2, help="number of scans")
    add("--frames", type=whole_number(2), help="a scan's; by default those of a whole one")
    add("--protocol", choices=tuple(dataset.SCANS), help="by default that of the year")
    add("--probe", default="convex", choices=tuple(PROBES))
    add("--anatomy", choices=tuple(tissue.ANATOMIES), help="by default drawn for every scan")
    add("--truth", default="exact", choices=("exact", "tracked"), help="poses named tforms")
    add("--first-subject", type=whole_number(0), help="number of the first subject")
    seeds = f"from {EVALUATION_SEED} on: for evaluation only"
    add("--seed", type=whole_number(0), default=0, help=seeds)
    add("--jobs", type=whole_number(1), default=1, help="processes")
    return parser.parse_args(arguments)


def order_of(options: argparse.Namespace) -> dataset.Order:
    """The order that the command line places."""
    protocol = options.protocol or ("rotation" if options.year == 2025 else "sweeps")
    whole = motion.SWEEP_FRAMES if protocol == "sweeps" else motion.ROTATION_FRAMES
    return dataset.Order(
        year=options.year, kind=options.kind, scans=options.scans,
        frames=whole if options.frames is None else options.frames, protocol=protocol,
        probe=options.probe, anatomy=options.anatomy, seed=options.seed, truth=options.truth,
        first_subject=options.first_subject,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = parse(arguments)
    order = order_of(options)
    bar = tqdm(total=order.scans * order.frames, unit="frame", desc="simulate")
    try:
        with logging_redirect_tqdm(), bar:
            dataset.make(order, options.output, options.jobs, bar.update)
    except TusrecError as error:
        log.error("error: %s", error)
        return error.exit_code
    except KeyboardInterrupt:
        log.error("interrupted; the same command goes on where this run stopped")
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    # As an exception ends it, which leaves no half-written file.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
