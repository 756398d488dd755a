#!/usr/bin/env python3
"""Freehand ultrasound scans in, rigid frame poses and displacement fields (DDFs) out."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from tusrec.entry import GOES_ON, announce, exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()
    announce()

from model.device import choose_device, describe_device
from model.registry import DEFAULT_MODEL, ESTIMATORS, load_estimator
from pipeline.batch import Outcome, Settings, predict_all
from pipeline.inputs import (
    add_input_options,
    chosen,
    input_options,
    require_apart,
    require_kept,
    require_named_otherwise,
    require_own,
)
from pipeline.progress import reported
from pipeline.ranks import Rank, joined
from pipeline.summary import RUN_FILE, write_errors, write_run
from tusrec.errors import InputError
from tusrec.files import readable, require_writable
from tusrec.layouts import Dataset, find_scans
from tusrec.options import positive, utf8_path, whole_number
from tusrec.results import DDF_KINDS, METRICS_FILE, result_path
from tusrec.scans import ScanSource
from view.exports import EXPORTS, place_of, require_exportable
from view.present import present

# The container's mount points, (input, output): the challenge's, and Grand Challenge's.
DOORS = (
    (Path("/home/TUS-REC2025/data"), Path("/home/TUS-REC2025/results")),
    (Path("/input"), Path("/output")),
)
MOUNTS = Path("/proc/self/mountinfo")  # a line each, of which the fifth word says where
BEGINS_AGAIN = (
    "interrupted; the same command begins again, leave out --overwrite to keep what this run "
    "finished"
)

log = logging.getLogger("predict")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code (see the parser's epilog)."""
    options = parser().parse_args(arguments)
    return exit_code_of(partial(run, options), BEGINS_AGAIN if options.overwrite else GOES_ON)


def run(options: argparse.Namespace) -> int:
    """Predict all scans, sharing them with other ranks if there are any."""
    fill_in_folders(options)
    with joined() as rank:
        return predict_share(options, rank)


def predict_share(options: argparse.Namespace, rank: Rank) -> int:
    """Predict this rank's share of the scans; rank 0 sums up."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    dataset = find_scans(options.input, input_options(options))
    sources = chosen(dataset.scans, options.scan)
    require_nothing_lost(options, dataset, sources)
    require_exportable(options.export)
    require_writable(options.output)
    load_estimator(options.model, options.weights)
    device = describe_device(choose_device(options.device, rank.local_index))
    log.info("%s: %d scans, %s layout", options.input, len(sources), dataset.layout)
    log.info("model %s on %s", options.model, device)

    settings = settings_of(options, rank)
    share = rank.share(sources)
    outcomes = rank.gather(
        list(reported(predict_all(share, settings, options.jobs), total=len(share)))
    )
    exit_code = 0
    if rank.index == 0:
        run_facts = {"started": started, "input": str(options.input), "device": device}
        exit_code = sum_up(options, dataset, sources, outcomes, run_facts)
    # Where one rank ends with an error torchrun ends all: none may before rank 0 has summed up.
    return max(rank.gather([exit_code]))


def require_nothing_lost(
    options: argparse.Namespace, dataset: Dataset, sources: Sequence[ScanSource]
) -> None:
    """Raise InputError, with --overwrite too, if this run would write over what is no run's own."""
    results = [result_path(options.output, source.key) for source in sources]
    exports = [exported(options, source) for source in sources]
    require_apart(dataset, options.input, options.output)
    require_named_otherwise(results, options.output / METRICS_FILE)
    require_kept(dataset.scans, [*results, *chain.from_iterable(exports)])
    for result, places in zip(results, exports, strict=True):
        require_own(result, places)


def sum_up(
    options: argparse.Namespace,
    dataset: Dataset,
    sources: Sequence[ScanSource],
    outcomes: list[Outcome],
    run_facts: dict[str, str],
) -> int:
    """Write what a whole run leaves beside its results; gives its exit code."""
    order = {source.key: place for place, source in enumerate(sources)}
    outcomes.sort(key=lambda outcome: order[outcome.key])
    estimator = load_estimator(options.model, options.weights)
    made_by = estimator.name, estimator.weights_sha256, options.probe_scale
    run = {**run_facts, "model": options.model, "ddf": options.ddf}
    exit_code = max(outcome.exit_code for outcome in outcomes)
    write_run(options.output, dataset, outcomes, run, exit_code)
    write_errors(options.output, dataset, outcomes, made_by)
    log.info("results in %s; %s tells what became of each scan", options.output, RUN_FILE)
    failures = {outcome.key: outcome.message for outcome in outcomes if outcome.exit_code}
    facts = {"input": run_facts["input"]} if options.report else None
    exit_code = max(exit_code, present(options.output, sources, failures, options.export, facts))
    # Once more: exports and the report may end the run otherwise, or not end before it is killed.
    write_run(options.output, dataset, outcomes, run, exit_code)
    return exit_code


def fill_in_folders(options: argparse.Namespace) -> None:
    """Without --input, take the mount point where data are; without --output, one for results."""
    if options.input is None:
        options.input = next((data for data, _ in DOORS if holds_files(data)), None)
    if options.input is None:
        places = " or ".join(str(data) for data, _ in DOORS)
        raise InputError(f"no data: nothing is mounted at {places}; mount it or pass --input")
    if options.output is None:
        options.output = place_for_results(options.input)


def place_for_results(data: Path) -> Path:
    """The mount point for results, where something is mounted; the one beside the data comes first.

    The image brings all of them as folders: where none is a mount, results end with the container,
    which is warned of.
    """
    beside = [out for place, out in DOORS if data.absolute().is_relative_to(place)]
    there = [*beside, *(out for _, out in DOORS if out.is_dir())]
    if not there:
        raise InputError("no place for results; pass --output")
    taken = mounts()
    mounted = next((out for out in there if out in taken), None)
    if mounted is None:
        places = " or ".join(str(out) for _, out in DOORS)
        log.warning(
            "nothing is mounted at %s: results in %s end with this container", places, there[0]
        )
    return mounted or there[0]


def mounts() -> set[Path]:
    """Where something is mounted. `Path.is_mount` does not see a folder of the same disk."""
    if not MOUNTS.exists():  # not Linux
        return set()
    return {Path(line.split()[4]) for line in MOUNTS.read_text(errors="replace").splitlines()}


def exported(options: argparse.Namespace, source: ScanSource) -> list[Path]:
    """The files, or folders, that --export asks for of a scan."""
    return [place_of(kind, options.output, source.key) for kind in options.export]


def holds_files(folder: Path) -> bool:
    """Whether a folder is there and not empty; an image may bring empty mount points."""
    with readable(folder):
        return folder.is_dir() and any(folder.iterdir())


def settings_of(options: argparse.Namespace, rank: Rank) -> Settings:
    """How to predict, from the command line."""
    return Settings(
        output=options.output,
        model=options.model,
        weights=options.weights,
        device=options.device,
        device_index=rank.local_index,
        ddf=options.ddf,
        probe_scale=options.probe_scale,
        overwrite=options.overwrite,
    )


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(
        prog="predict.py",
        description=__doc__,
        epilog="exit codes: 0 all done; 1 a defect of this program; "
        "2 bad input or no place for results (the good scans are done all the same); "
        "3 out of memory; 4 bad weights; 130 and 143 ended by SIGINT and SIGTERM (the same command "
        "goes on where it was; with --overwrite it begins again). torchrun ends with 1 for any "
        "failure; run.json has the code",
    )
    command.add_argument(
        "--input",
        type=utf8_path,
        metavar="PATH",
        help="a TUS-REC dataset (train or validation layout, 2024 or 2025), a folder of files, or "
        "one .h5, PLUS .mha or .mhd, or DICOM file (default: "
        f"{' or '.join(str(folder) for folder, _ in DOORS)}, where data are mounted)",
    )
    command.add_argument(
        "--output",
        type=utf8_path,
        metavar="DIR",
        help="where results go (default: "
        f"{' or '.join(str(folder) for _, folder in DOORS)}, where a folder is mounted)",
    )
    add_input_options(command)
    add_model_options(command)
    add_output_options(command)
    return command


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say what predicts, and where."""
    command.add_argument(
        "--model",
        choices=sorted(ESTIMATORS),
        default=DEFAULT_MODEL,
        help="the estimator (default: %(default)s)",
    )
    command.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="folder of other weights and their manifest, as `python -m training.export` writes it",
    )
    command.add_argument(
        "--device",
        choices=("auto", "cuda", "cpu"),
        default="auto",
        help="auto takes a GPU where there is one (default: %(default)s)",
    )
    command.add_argument(
        "--probe-scale",
        type=positive,
        default=1.0,
        metavar="S",
        help="factor on motion across the image for this probe, as `evaluate.py --fit-probe` finds "
        "it on a tracked scan (default: 1)",
    )
    command.add_argument(
        "--jobs",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="processes, spread over the GPUs of this machine (default: 1)",
    )


def add_output_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say what is written."""
    command.add_argument(
        "--ddf",
        choices=DDF_KINDS,
        default="landmarks",
        help="displacements to write; full takes 7.4 MB a frame (default: %(default)s)",
    )
    command.add_argument(
        "--report", action="store_true", help="also write report.html, to look at in a browser"
    )
    command.add_argument(
        "--export",
        action="append",
        choices=sorted(EXPORTS),
        default=[],
        help="also write frames and poses for 3D Slicer and PLUS (igs.mha), poses (tfm, tum, csv) "
        "or a figure (png, needs matplotlib); may be repeated",
    )
    command.add_argument("--overwrite", action="store_true", help="predict finished scans again")


if __name__ == "__main__":
    sys.exit(main())
