#!/usr/bin/env python3
"""Tries faults in the running container and prints a table of what came of each.

`make faults`. A row tells the exit code, the message, and what was left in the results folder.
Ends with 1 if a row is not as expected, or if anything was left half-written.
"""

import argparse
import fnmatch
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
from datasets import open_folder, write_dataset
from engine import HOME, Run, engine, mounts, require_image, run
from fault_cases import Fault, faults

KEYS = ("sub901__RH_rotation", "sub902__RH_rotation", "sub903__RH_rotation")
LONGEST_END = 2.0  # seconds from SIGTERM to the container's end
WELL_INTO_IT = 0.4  # seconds into the second scan, or the start, when a signal is sent
MESSAGE = 150  # characters of a message in the table


@dataclass(frozen=True)
class Left:
    """What is in a results folder: whole and broken results, unfinished files, other files."""

    whole: list[str]
    broken: list[str]
    unfinished: list[str]
    others: list[str]

    def __str__(self) -> str:
        parts = [f"{len(self.whole)} whole results" if self.whole else "", *self.others]
        parts += [f"BROKEN {name}" for name in self.broken]
        parts += [f"unfinished {name}" for name in self.unfinished]
        return ", ".join(filter(None, parts)) or "nothing"


class Signaller:
    """Sends a signal to the container soon after the line of its first scan, or after its start."""

    def __init__(self, name: str, at_start: bool = False) -> None:
        self.name = name
        self.at_start = at_start
        self.sent_at = float("nan")

    def __call__(self, container: str, line: str) -> None:
        """Called before the container's log, without a line, and for every line of it."""
        if self.name and (not line if self.at_start else line.startswith("[1/")):
            while not engine("ps", "--quiet", "--filter", f"name={container}"):
                time.sleep(0.05)
            time.sleep(WELL_INTO_IT)
            self.sent_at = time.monotonic()
            engine("kill", "--signal", self.name, container)


def main() -> None:
    """Try every fault, or those that match the patterns; print the table and what was wrong."""
    options = parser().parse_args()
    require_image(options.image)
    problems: list[str] = []
    row("fault", "exit", "message", "left in the results folder")
    row("---", "---", "---", "---")
    for fault in faults(options.image):
        if any(fnmatch.fnmatch(fault.name, pattern) for pattern in options.only):
            with tempfile.TemporaryDirectory(prefix="fault-") as folder:
                problems += tried(fault, options.image, Path(folder))
    if problems:
        sys.exit("FAIL: " + "\nFAIL: ".join(problems))
    sys.stdout.write("PASS\n")


def tried(fault: Fault, image: str, folder: Path) -> list[str]:
    """Try a fault in a folder, print its row, and tell what was not as expected."""
    folder.chmod(0o755)
    write_dataset(folder / "data", dict.fromkeys(KEYS, slice(fault.frames)))
    open_folder(folder / "results")
    fault.prepare(folder)
    try:
        signaller = Signaller(fault.signal, fault.at_start)
        ended, left = attempt(fault, image, folder, signaller)
        took = time.monotonic() - signaller.sent_at
        told = f" ({took:.1f} s after it)" if fault.signal else ""
        row(fault.name + told, str(ended.code), message(ended)[:MESSAGE], str(left))
        problems = [*wrong(fault, ended, left)]
        if fault.signal == "TERM" and took > LONGEST_END:
            problems.append(f"ended {took:.1f} s after SIGTERM, expected {LONGEST_END}")
        if fault.signal:
            problems += once_more(fault, image, folder)
        return [f"{fault.name}: {problem}" for problem in problems]
    finally:
        if (folder / "results").is_mount():
            subprocess.run(["umount", str(folder / "results")], check=True)


def once_more(fault: Fault, image: str, folder: Path) -> list[str]:
    """The same command after a signal ended it: all must be done, and nothing unfinished left."""
    again = replace(fault, code=0, done=len(KEYS), says="results in", signal="")
    ended, left = attempt(again, image, folder, Signaller(""))
    row(f"{fault.name}, then once more", str(ended.code), message(ended)[:MESSAGE], str(left))
    problems = wrong(again, ended, left)
    return [*problems, *(f"left {name}" for name in left.unfinished)]


def attempt(fault: Fault, image: str, folder: Path, signaller: Signaller) -> tuple[Run, Left]:
    """Run the container on a folder of data, results, and perhaps weights."""
    places = mounts(folder / "data", folder / "results")
    if not fault.data_mounted:
        places = places[2:]
    if not fault.writable:
        places[-1] += ":ro"
    if (folder / "weights").exists():
        places += ["-v", f"{folder / 'weights'}:{HOME}/weights:ro"]
    ended = run([*fault.options, *places], image, *fault.command, meanwhile=signaller)
    return ended, left_in(folder / "results")


def wrong(fault: Fault, ended: Run, left: Left) -> list[str]:
    """What is not as the fault demands."""
    problems = [f"left {name} half-written" for name in left.broken]
    if fault.signal != "KILL":
        problems += [f"left {name}" for name in left.unfinished]
    if ended.code != fault.code:
        problems.append(f"exit code {ended.code}, expected {fault.code}")
    if fault.says not in message(ended):
        problems.append(f"message {message(ended)!r}, expected one with {fault.says!r}")
    if fault.done is not None and len(left.whole) != fault.done:
        problems.append(f"{len(left.whole)} whole results, expected {fault.done}")
    if any("Traceback" in line for line in ended.lines):
        problems.append("a traceback")
    return problems


def message(ended: Run) -> str:
    """The first line that tells a failure, without its place in the count; else the last line."""
    telling = [line for line in ended.lines if re.search(r"error:|failed:", line)]
    line = re.sub(r"^\[\s*\d+/\d+\] ", "", telling[0] if telling else ended.last)
    return line.replace(f"{HOME}/", "")


def left_in(results: Path) -> Left:
    """What a run left."""
    left = Left([], [], [], [])
    for path in sorted(results.iterdir()):
        if path.suffix == ".part":
            left.unfinished.append(path.name)
        elif path.suffix != ".h5":
            left.others.append(path.name)
        elif not is_whole(path):
            left.broken.append(path.name)
        else:
            (left.others if path.name == "metrics.h5" else left.whole).append(path.name)
    return left


def is_whole(path: Path) -> bool:
    """Whether every number of an HDF5 file can be read."""
    try:
        with h5py.File(path) as file:
            return len(file) > 0 and all(item[()] is not None for item in file.values())
    except OSError:
        return False


def row(*cells: str) -> None:
    """One row of the table."""
    sys.stdout.write(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("image", nargs="?", default="tusrec")
    command.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN")
    return command


if __name__ == "__main__":
    main()
