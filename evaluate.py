#!/usr/bin/env python3
"""Predictions against tracked truth: the challenge's four errors, its scores, and more."""

import argparse
import io
import logging
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from tusrec.entry import exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()

from pipeline.evaluation import REFERENCES, Entry, evaluate_scan, fit_probe_scale
from pipeline.inputs import add_input_options, chosen, input_options
from pipeline.progress import on_a_bar
from pipeline.tables import json_report, text_report
from tusrec.errors import InputError, TusrecError
from tusrec.files import require_place, writable, write_json
from tusrec.layouts import find_scans
from tusrec.options import utf8_path
from tusrec.scans import ScanSource
from view.present import attempt

log = logging.getLogger("evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 all scans evaluated, 2 something was missing or unusable.

    3 if memory ran out, 130 if interrupted.
    """
    options = parser().parse_args(arguments)
    told = "interrupted; nothing is written before all scans are evaluated"
    return exit_code_of(partial(run, options), told)


def run(options: argparse.Namespace) -> int:
    """Evaluate every scan that has truth, and print the table."""
    for name in ("mirror", "fit_probe"):
        if getattr(options, name) and not options.pred:
            raise InputError(
                f"--{name.replace('_', '-')}: found no predictions, expected --pred with folders "
                "that predict.py wrote; name them or leave it out"
            )
    if options.json:
        require_place(options.json)
    dataset = find_scans(options.truth, replace(input_options(options), poses=options.poses))
    predictions = rows_by_folder(options.pred)
    scans = chosen(dataset.scans, options.scan)
    entries, errors = evaluated(scans, predictions, options.mirror)
    problems = [*map(str, errors), *dict.fromkeys(e.message for e in entries if e.failed)]
    for problem in problems:
        log.error("error: %s", problem)
    fitted = scans if options.fit_probe else []
    # A table that cannot be shown does not cost the numbers.
    codes = [attempt("the table", partial(tell, entries, fitted, predictions))] if entries else []
    if options.json:
        write_json(options.json, {**json_report(entries), "problems": problems})
    codes += [error.exit_code for error in errors]
    return max(codes + [InputError.exit_code for entry in entries if entry.failed], default=0)


def evaluated(
    scans: Sequence[ScanSource], predictions: dict[str, Path], mirror: bool
) -> tuple[list[Entry], list[TusrecError]]:
    """Entries of all scans that have usable truth, and what is wrong with the others."""
    entries: list[Entry] = []
    errors: list[TusrecError] = []
    for source in on_a_bar(scans, total=len(scans)):
        try:
            entries += evaluate_scan(source, predictions, mirror)
        except TusrecError as error:
            errors.append(error)
    return entries, errors


def tell(
    entries: Sequence[Entry], fitted: Sequence[ScanSource], predictions: dict[str, Path]
) -> int:
    """Print the table, and the probe scales that suit scans to be `fitted`; 0 as all is well."""
    show(text_report(entries))
    if fitted:
        show("\n".join(probe_lines(fitted, predictions)))
    return 0


def show(text: str) -> None:
    """Print at once, for --json may write to the same place, and with ? for what it cannot hold.

    Raises OutputError if it cannot be written; that nobody reads on, as with `| head`, is no error.
    """
    if sys.stdout is None:  # closed
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    with writable(Path("standard output")), suppress(BrokenPipeError):
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except OSError:
            # What its buffer still holds would fail once more when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


def probe_lines(sources: Sequence[ScanSource], predictions: dict[str, Path]) -> Iterator[str]:
    """For each row the probe scale that would have made its motion across as large as the truth."""
    for row, folder in predictions.items():
        scale = fit_probe_scale(sources, folder)
        if math.isfinite(scale):
            yield f"{row}: fitted probe scale {scale:.3f}; predict.py --probe-scale {scale:.3f}"
        else:
            yield f"{row}: no motion across the image to fit a probe scale to"


def rows_by_folder(folders: list[Path]) -> dict[str, Path]:
    """A row's name for each folder: its last part, or all of it where two rows would be alike."""
    names = [folder.resolve().name for folder in folders]
    taken = [*names, *REFERENCES]
    return {
        str(folder.absolute()) if taken.count(name) > 1 else name: folder
        for name, folder in zip(names, folders, strict=True)
    }


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(prog="evaluate.py", description=__doc__)
    command.add_argument(
        "--truth",
        type=utf8_path,
        required=True,
        metavar="PATH",
        help="a dataset with tracked poses",
    )
    command.add_argument(
        "--pred",
        type=utf8_path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="folders that predict.py wrote; each is a row named after its folder",
    )
    command.add_argument(
        "--poses",
        metavar="NAME",
        help="dataset of true poses in HDF5 files; simulated scans also have tforms_exact and "
        "tforms_tracked (default: tforms)",
    )
    command.add_argument(
        "--mirror",
        action="store_true",
        help="add a row with the better of each scan's two elevational mirrors, the one with the "
        "lower LPE: frames alone cannot tell the two apart",
    )
    command.add_argument(
        "--fit-probe",
        action="store_true",
        help="also print the factor on motion across the image that suits this probe; the scans "
        "it was fitted on are no test of it",
    )
    command.add_argument(
        "--json", type=utf8_path, metavar="FILE", help="write all numbers there too"
    )
    add_input_options(command)
    return command


if __name__ == "__main__":
    sys.exit(main())
