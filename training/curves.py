"""The curves of a run as one picture, drawn from its log."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import journal
from tusrec.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "curves.png"
Curves = dict[str, list[tuple[float, float]]]
log = logging.getLogger(__name__)


def write_curves(folder: Path) -> None:
    """Draw FILE beside the log; without matplotlib, say so and leave the log to speak."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - training goes on without it
    except ImportError:
        log.warning("%s needs matplotlib; the numbers are in %s", FILE, journal.FILE)
        return
    found = curves(journal.read(folder))
    figure = Figure(figsize=(7.2, 2.6 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, named) in zip(panels, found.items(), strict=True):
        _draw(axes, title, named)
    panels[-1].set_xlabel("minutes of training", fontsize=8)
    with atomic_path(folder / FILE) as partial:
        figure.savefig(partial, format="png", dpi=120)


def curves(lines: Iterable[dict[str, Any]]) -> dict[str, Curves]:
    """Points (minutes, value) by panel and name: loss, held-out error, and challenge scores."""
    panels: dict[str, Curves] = {"loss": defaultdict(list)}
    for line in lines:
        for title, name, value in _points(line):
            if value is not None:
                panels.setdefault(title, defaultdict(list))[name].append((line["minutes"], value))
    return panels


def _points(line: dict[str, Any]) -> Iterable[tuple[str, str, float | None]]:
    if "loss" in line:
        yield "loss", "loss", line["loss"]
    if "held_out" in line:
        name = f"{line['held_out']}, interval {line['interval']}"
        yield "held-out pairs: error over identity", name, line["error"]
    if "scored" in line:
        for score in ("final", "local"):
            yield f"held-out {score} score", f"{line['scored']}, {line['row']}", line[score]


def _draw(axes: "Axes", title: str, named: Curves) -> None:
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    for name, points in named.items():
        axes.plot(*zip(*points, strict=True), marker=".", linewidth=0.9, label=name)
    if len(named) > 1:
        axes.legend(fontsize=6, frameon=False)
