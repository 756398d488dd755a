#!/usr/bin/env python3
"""requirements.txt to hash-locked files: what all builds of torch share, and each build's own.

A CPU build of torch must be found by pip (PIP_FIND_LINKS); the CUDA build is the default one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = Path(__file__).resolve().parent / "locks"
REQUIREMENTS = LOCKS.parent.parent / "requirements.txt"
HEADER = "# Made by `make lock`; do not edit. {}\n"
TITLES = {
    "common": "What every build of torch needs, and what the program needs beside torch.",
    "cpu": "torch without CUDA.",
    "cuda13": "torch for drivers of the CUDA 13 family (580 or newer), with its CUDA libraries.",
}

Lock = dict[str, str]  # requirement -> its lines in the file


def main() -> None:
    """Write locks/common.txt, locks/cpu.txt and locks/cuda13.txt."""
    default = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    default.pop("PIP_FIND_LINKS", None)
    builds = {"cpu": compiled(dict(os.environ)), "cuda13": compiled(default)}
    common = builds["cpu"].keys() & builds["cuda13"].keys()
    write("common", {name: lines for name, lines in builds["cuda13"].items() if name in common})
    for build, lock in builds.items():
        write(build, {name: lines for name, lines in lock.items() if name not in common})


def compiled(environment: dict[str, str]) -> Lock:
    """What pip-tools makes of requirements.txt where pip is set up by `environment`."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "lock.txt"
        options = ["--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras"]
        silent = ["--no-header", "--no-annotate", "--no-emit-options"]
        command = [sys.executable, "-m", "piptools", "compile", *options, *silent]
        subprocess.run([*command, "-o", target, REQUIREMENTS], env=environment, check=True)
        return parsed(target.read_text(encoding="utf-8"))


def parsed(text: str) -> Lock:
    """The requirements of a lock file by their first line, `name==version`."""
    lock: Lock = {}
    for line in text.splitlines():
        if line and not line.startswith((" ", "#", "-")):
            current = line.removesuffix(" \\")
            lock[current] = line
        elif line.startswith("    --hash"):
            lock[current] += "\n" + line
    return lock


def write(name: str, lock: Lock) -> None:
    """Write a lock file."""
    content = "\n".join(lock[requirement] for requirement in sorted(lock))
    (LOCKS / f"{name}.txt").write_text(f"{HEADER.format(TITLES[name])}{content}\n", "utf-8")


if __name__ == "__main__":
    main()
