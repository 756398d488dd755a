"""Containers as the judge starts them: through container/engine.sh, with docker or podman."""

import functools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENGINE = str(ROOT / "container" / "engine.sh")
HOME = "/home/TUS-REC2025"
FOREIGN_USER = "4242:4242"


@dataclass(frozen=True)
class Run:
    """A container that has ended: exit code, seconds, and its log line by line.

    first_line is the time in seconds from the command to the first line.
    """

    code: int
    seconds: float
    first_line: float
    lines: list[str]

    @property
    def last(self) -> str:
        """The last line of the log."""
        return self.lines[-1] if self.lines else "(no message)"


def engine(*arguments: str) -> str:
    """What an engine command prints; CalledProcessError if it fails."""
    command = [ENGINE, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@functools.cache
def engine_name() -> str:
    """docker or podman."""
    return engine("name")


def require_image(image: str) -> None:
    """End the program in one line without the image, which podman would look for elsewhere."""
    if not engine("images", "--quiet", image):
        sys.exit(f"error: {image}: {engine_name()} has no such image; build it with `make image`")


def inspect(image: str) -> dict[str, Any]:
    """The image's metadata."""
    found: dict[str, Any] = json.loads(engine("image", "inspect", image))[0]
    return found


def hostile(user: str = FOREIGN_USER, memory: str = "4g", pids: int = 256) -> list[str]:
    """Options of a judge who gives nothing: no network, no capability, no place to write."""
    options = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--user", user]
    options += ["--security-opt", "no-new-privileges", "--shm-size", "64m"]
    options += ["--memory", memory, "--pids-limit", str(pids)]
    # Docker's --read-only leaves no writable folder; podman's does, unless told.
    return [*options, *(["--read-only-tmpfs=false"] if engine_name() == "podman" else [])]


def mounts(data: Path, results: Path, places: Sequence[str] = ("data", "results")) -> list[str]:
    """The organisers' two mounts, or others; the data are read-only."""
    inside = [str(Path(HOME, place)) for place in places]
    return ["-v", f"{data}:{inside[0]}:ro", "-v", f"{results}:{inside[1]}"]


def run(
    options: Sequence[str],
    image: str,
    *command: str,
    meanwhile: Callable[[str, str], None] | None = None,
) -> Run:
    """Start a container and wait for its end.

    meanwhile(name, line) is called with the container's name for every line of the log, and once
    before, when it may not run yet, with an empty line.
    """
    name = f"judge-{uuid.uuid4().hex[:12]}"
    started = time.monotonic()
    first_line = float("nan")
    lines: list[str] = []
    process = subprocess.Popen(
        [ENGINE, "run", "--rm", "--name", name, *options, image, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        if meanwhile:
            meanwhile(name, "")
        for line in process.stdout or ():
            if not lines:
                first_line = time.monotonic() - started
            lines.append(line.rstrip())
            if meanwhile:
                meanwhile(name, line)
    return Run(process.returncode, time.monotonic() - started, first_line, lines)
