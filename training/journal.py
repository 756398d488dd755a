"""The log of a run: one line of JSON for each thing that was measured."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from training.checkpoint import Progress
from tusrec.files import writable, write_bytes

FILE = "log.jsonl"
MEASURED = frozenset({"held_out", "scored"})  # names in lines on held-out data
log = logging.getLogger(__name__)


def write(folder: Path, progress: Progress, values: dict[str, Any]) -> None:
    """Add one line, to the log and to stderr; NaN becomes null. Raises OutputError."""
    state = {"step": progress.step, "pairs": progress.pairs, "minutes": progress.minutes}
    line = json.dumps({name: _plain(value) for name, value in (state | values).items()})
    path = folder / FILE
    with writable(path, "the log"):
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
    log.info(line)


def read(folder: Path) -> list[dict[str, Any]]:
    """All lines of a log but one that was cut short; none where there is no log."""
    path = folder / FILE
    return list(_whole(path.read_text(encoding="utf-8"))) if path.exists() else []


def rewind(folder: Path, step: int) -> None:
    """Drop lines after `step`, which a run that was killed will write again."""
    _keep(folder, lambda line: line["step"] <= step)


def forget_measured(folder: Path, step: int) -> None:
    """Drop what was measured on held-out data at `step`, to be measured there once more."""
    _keep(folder, lambda line: line["step"] != step or not line.keys() & MEASURED)


def _keep(folder: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    lines = read(folder)
    kept = [json.dumps(line) for line in lines if wanted(line)]
    if lines:
        write_bytes(folder / FILE, "".join(f"{line}\n" for line in kept).encode())


def _whole(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _plain(value: Any) -> Any:
    if isinstance(value, str | int):
        return value
    return round(float(value), 4) if math.isfinite(value) else None
