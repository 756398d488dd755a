"""A scan's trajectory, drift and degrees of freedom as one PNG for a paper.

matplotlib is imported when a figure is drawn, for the image and a plain run do without it.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tusrec.comparison import FREEDOMS
from tusrec.errors import InputError
from tusrec.files import atomic_path
from tusrec.frames import evenly_spread
from tusrec.metrics import Motion
from tusrec.results import Result
from tusrec.scans import Scan
from view.curves import from_first
from view.space import with_first
from view.uncertainty import position_deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTLINES = 24  # drawn of each trajectory
COLOURS = {"true": "#4b5563", "predicted": "#c2410c"}
DOTS_PER_INCH = 300
TICKS = 50.0  # mm from one to the next, in space

Array = NDArray[np.float64]


def require_matplotlib() -> None:
    """Raise InputError if no figure can be drawn, before any work is done for one."""
    try:
        import_module("matplotlib.figure")
    except ImportError as error:
        raise InputError(
            f"--export png: cannot import matplotlib ({error}), which draws figures; install it "
            "with pip, or leave png out"
        ) from error


def write_figure(path: Path, scan: Scan, result: Result) -> None:
    """Draw the prediction of a scan, beside its truth where there is one."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see the module's docstring

    true = scan.true_motion()
    motions = ({"true": true} if true else {}) | {"predicted": result.motion}
    centre = scan.calibration.centre_mm(*scan.image_size)
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    grid = figure.add_gridspec(4, 3)
    space = figure.add_subplot(grid[:2, :2], projection="3d")
    for name, motion in motions.items():
        _draw_outlines(space, scan, motion, name)
    _finish_space(space)
    space.legend(loc="upper left", bbox_to_anchor=(-0.35, 1.0), frameon=False, fontsize=7)
    _draw_drift(figure.add_subplot(grid[:2, 2]), motions, result, centre)
    curves = {name: from_first(motion, centre) for name, motion in motions.items()}
    for place, name in enumerate(FREEDOMS):
        axes = figure.add_subplot(grid[2 + place // 3, place % 3])
        _draw_freedom(axes, curves, place, name)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=DOTS_PER_INCH)


def _draw_outlines(axes: "Axes", scan: Scan, motion: Motion, name: str) -> None:
    height, width = scan.image_size
    corners = np.array([[1, 1], [width, 1], [width, height], [1, height], [1, 1]])
    points = (
        scan.calibration.scale
        @ np.column_stack([corners, 0 * corners[:, :1], corners[:, :1] ** 0]).T
    )
    frames = with_first(motion.T_first_from_frame)
    chosen = evenly_spread(len(frames), OUTLINES)
    shown = scan.truth if name == "true" else name
    for place, T in enumerate(frames[chosen]):
        x, y, z, _ = T @ points
        shade = 0.25 + 0.75 * place / max(len(chosen) - 1, 1)
        label = shown if place == len(chosen) - 1 else None
        axes.plot(x, z, y, color=COLOURS[name], alpha=shade, linewidth=0.7, label=label)


def _finish_space(axes: Any) -> None:
    """Labels, equal scales and few ticks; matplotlib's 3D axes carry no types."""
    lengths = []
    for name, axis in (("x", axes.xaxis), ("z", axes.yaxis), ("y", axes.zaxis)):
        axis.set_label_text(f"{name} (mm)", fontsize=7)
        axis.labelpad = -3
        low, high = axis.get_data_interval()
        lengths.append(max(high - low, 1.0))
        axis.set_ticks(few_ticks(low, high))
    axes.set_box_aspect(lengths, zoom=0.95)
    axes.invert_zaxis()
    axes.tick_params(labelsize=6, pad=-2)


def few_ticks(low: float, high: float) -> list[float]:
    """The multiples of TICKS on an axis, or its ends where these are fewer than two."""
    multiples = TICKS * np.arange(np.ceil(low / TICKS), np.floor(high / TICKS) + 1)
    return multiples.tolist() if len(multiples) > 1 else [round(low), round(high)]


def _draw_drift(axes: "Axes", motions: dict[str, Motion], result: Result, centre: Array) -> None:
    """Distance of the image centre from its true place, and what the estimate says of it."""
    deviation = position_deviation(
        result.motion.T_previous_from_frame, result.local_covariance, centre
    )
    if deviation is not None:
        frames = np.arange(1, len(deviation) + 1)
        label = "own ±1 sd, sign taken\nfor granted"
        axes.fill_between(frames, deviation, color="#c2410c33", linewidth=0, label=label)
    if "true" in motions:
        places = [m.T_first_from_frame @ np.append(centre, 1.0) for m in motions.values()]
        drift = np.linalg.norm(places[0] - places[1], axis=1)
        axes.plot(np.arange(1, len(drift) + 1), drift, color=COLOURS["predicted"], label="drift")
    axes.set_title("image centre (mm)", fontsize=8)
    axes.tick_params(labelsize=6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=6)


def _draw_freedom(axes: "Axes", curves: dict[str, Array], place: int, name: str) -> None:
    for kind, values in curves.items():
        axes.plot(values[:, place], color=COLOURS[kind], linewidth=0.9)
    axes.set_title(f"{name} ({'°' if place >= 3 else 'mm'})", fontsize=8)
    axes.tick_params(labelsize=6)
    if place >= 3:
        axes.set_xlabel("frame", fontsize=7)
