"""The README's picture: a frame of the sample, and its trajectory, tracked and predicted.

`python -m bench.picture RESULTS PICTURE`, after `make demo`.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tusrec.layouts import find_scans
from tusrec.metrics import Motion
from tusrec.results import read_result, result_path
from tusrec.scans import Scan

TRUTH, PREDICTED = "#4477aa", "#ee6677"
EVERY = 6  # frames between drawn outlines


def main(results: Path, picture: Path) -> None:
    """Draw the first scan of the sample."""
    mpl.use("Agg")
    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    with find_scans(Path("sample")).scans[0].open() as scan:
        draw_frame(figure.add_subplot(1, 2, 1), scan)
        axes = figure.add_subplot(1, 2, 2, projection="3d")
        true = scan.true_motion()
        predicted = read_result(result_path(results, scan.key)).motion
        for label, motion, colour in (
            ("tracked", true, TRUTH),
            ("predicted (classical)", predicted, PREDICTED),
        ):
            if motion is not None:
                draw_outlines(axes, corners(scan, motion), colour, label)
    axes.set(xlabel="x mm", ylabel="z mm", zlabel="y mm", title="where the frames are")
    axes.invert_zaxis()
    axes.set_box_aspect((3, 2, 2))
    for handle in axes.legend(loc="upper left", frameon=False).legend_handles:
        handle.set_alpha(1.0)
    figure.savefig(picture, dpi=110)


def draw_frame(axes: Axes, scan: Scan) -> None:
    """The first frame in mm."""
    height, width = scan.image_size
    spacing_x, spacing_y = scan.calibration.spacing
    extent = (0.0, width * spacing_x, height * spacing_y, 0.0)
    axes.imshow(scan.frames[0:1][0], cmap="gray", extent=extent)
    axes.set(xlabel="x mm", ylabel="y mm", title=f"{scan.key}, frame 0 (simulated)")


def corners(scan: Scan, motion: Motion) -> NDArray[np.float64]:
    """Closed outlines of every EVERY-th frame in the first frame, (K, 5, 3) mm."""
    height, width = scan.image_size
    x, y = np.array([1, width, width, 1, 1]), np.array([1, 1, height, height, 1])
    points = scan.calibration.scale @ np.stack([x, y, 0 * x, 0 * x + 1])
    poses = np.concatenate([np.eye(4)[None], motion.T_first_from_frame])[::EVERY]
    return np.asarray((poses @ points)[:, :3].transpose(0, 2, 1))


def draw_outlines(axes: Axes, outlines: NDArray[np.float64], colour: str, label: str) -> None:
    """Frame outlines, later frames stronger."""
    for place, outline in enumerate(outlines):
        x, y, z = outline.T
        shade = 0.25 + 0.75 * place / max(len(outlines) - 1, 1)
        axes.plot(x, z, y, color=colour, alpha=shade, label=label if place == 0 else None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
