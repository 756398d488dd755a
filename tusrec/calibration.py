"""The probe's calibration: pixel size, and where the image lies on the tracked tool."""

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tusrec import poses
from tusrec.errors import InputError

RESTORE = "restore the file of the dataset"
SCALE_LABEL = "scaling_from_pixel_to_mm"
RIGID_LABEL = "spatial_calibration_from_image_coordinate_system_to_tracking_tool_coordinate_system"


@dataclass(frozen=True)
class Calibration:
    """Pixel -> image mm -> tool.

    scale: (4, 4) float64, image mm = scale @ (x, y, 0, 1), x and y counted from 1.
    T_tool_from_image: (4, 4) float64, rigid, mm.
    shear: (4, 4) float64 in image mm: what a PLUS calibration whose pixel axes are not quite
        perpendicular has beyond both. The challenge's formulas know none; only what is placed in
        space (volumes, exports) takes it into account.
    """

    scale: NDArray[np.float64]
    T_tool_from_image: NDArray[np.float64]
    shear: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    @property
    def spacing(self) -> tuple[float, float]:
        """Size of a pixel (x, y) in mm."""
        return float(self.scale[0, 0]), float(self.scale[1, 1])

    def centre_mm(self, height: int, width: int) -> NDArray[np.float64]:
        """The centre of an image of so many pixels, (3,) image mm."""
        return image_centre(self.scale, height, width)

    @property
    def T_image_from_pixel(self) -> NDArray[np.float64]:
        """Where a pixel (x, y, 0, 1) truly lies, counted from 1, in image mm: (4, 4)."""
        return np.asarray(self.shear @ self.scale, np.float64)


def image_centre(scale: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """The centre of an image by its `Calibration.scale` (4, 4), (3,) image mm."""
    return np.asarray((scale @ [(width + 1) / 2, (height + 1) / 2, 0.0, 1.0])[:3], np.float64)


def from_spacing(spacing_x: float, spacing_y: float, source: str = "pixel spacing") -> Calibration:
    """Calibration of an untracked image whose pixels measure (spacing_x, spacing_y) mm.

    Raises InputError naming `source` if a spacing is not a positive number.
    """
    if not (np.isfinite([spacing_x, spacing_y]).all() and spacing_x > 0 and spacing_y > 0):
        raise InputError(
            f"{source}: found {spacing_x} {spacing_y}, expected two positive numbers in mm; pass "
            "--spacing X Y"
        )
    return Calibration(np.diag([spacing_x, spacing_y, 1.0, 1.0]), np.eye(4))


def from_image_to_probe(image_to_probe: NDArray[np.float64], source: str) -> Calibration:
    """Calibration from PLUS's ImageToProbe (4, 4): 0-based pixel -> probe mm.

    Raises InputError naming `source` if its in-plane axes are degenerate or not perpendicular, or
    if a number is not finite.
    """
    calibration, T_tool_from_image = from_image_to_world(image_to_probe[None], source)
    return replace(calibration, T_tool_from_image=T_tool_from_image[0])


def from_image_to_world(
    T_world_from_pixel: NDArray[np.float64], source: str
) -> tuple[Calibration, NDArray[np.float64]]:
    """Calibration from PLUS's ImageToReference (N, 4, 4) of frames, the image being its own tool.

    Gives T_world_from_image (N, 4, 4) too. Raises InputError as `split_pixel_matrices` does.
    """
    spacing, T_world_from_image = split_pixel_matrices(T_world_from_pixel, source)
    scale, shear = np.diag([*spacing, 1.0, 1.0]), np.eye(4)
    in_image = poses.inverse(T_world_from_image[0])[:3, :3] @ T_world_from_pixel[0, :3, :2]
    shear[:3, :2] = in_image / spacing
    # The first pixel, at (1, 1), stays where PLUS has it.
    first = scale @ [1.0, 1.0, 0.0, 1.0]
    shear[:3, 3] = (first - shear @ first)[:3]
    return Calibration(scale, np.eye(4), shear), T_world_from_image


def split_pixel_matrices(
    T_world_from_pixel: NDArray[np.float64], source: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PLUS's ImageToX (N, 4, 4), 0-based pixel -> mm, as pixel size and rigid T_x_from_image.

    Gives spacing (2,) mm, that of the first matrix, and T_x_from_image (N, 4, 4). Pixels of this
    project count from 1, so the image's mm origin lies one pixel before PLUS's. The third column
    becomes the true normal of the image plane; PLUS leaves it free.
    Raises InputError naming `source` if in-plane axes are degenerate or not perpendicular, or if
    a number is not finite.
    """
    if not np.isfinite(T_world_from_pixel[:, :3, [0, 1, 3]]).all():
        raise InputError(
            f"{source}: found NaN or infinity, expected finite numbers; check the image calibration"
        )
    axes = T_world_from_pixel[:, :3, :2]
    spacing = np.linalg.norm(axes, axis=1)
    cosine = (axes[..., 0] * axes[..., 1]).sum(axis=1) / np.maximum(spacing.prod(axis=1), 1e-12)
    if spacing.min() < 1e-6 or np.abs(cosine).max() > 0.1:
        raise InputError(
            f"{source}: pixel axes of length {spacing[0].round(6).tolist()} mm at cosine "
            f"{cosine[0]:.3f}, expected two perpendicular axes; check the image calibration"
        )
    T_world_from_image = np.tile(np.eye(4), (len(axes), 1, 1))
    T_world_from_image[:, :3, :2] = axes / spacing[:, None]
    T_world_from_image[:, :3, 2] = np.cross(*np.moveaxis(T_world_from_image[:, :3, :2], 2, 0))
    T_world_from_image = poses.project_to_rigid(T_world_from_image)
    one_pixel = T_world_from_image[:, :3, :2] @ spacing[0]
    T_world_from_image[:, :3, 3] = T_world_from_pixel[:, :3, 3] - one_pixel
    return spacing[0], T_world_from_image


def read_calibration(path: Path) -> Calibration:
    """Read the challenge's `calib_matrix.csv`.

    Ten lines: a label and four rows of the pixel-to-mm scale, a label and four rows of the rigid
    image-to-tool matrix. Raises InputError for a missing file, too few lines, letters, NaN, a
    scale that is not diagonal and positive, or a matrix that is not rigid.
    """
    rows = _read_rows(path)
    scale, rigid = _matrix(rows, 1, path, SCALE_LABEL), _matrix(rows, 6, path, RIGID_LABEL)
    if not np.allclose(scale, np.diag([scale[0, 0], scale[1, 1], 1.0, 1.0]), atol=1e-9):
        raise InputError(
            f"{path}: {SCALE_LABEL} is {scale.tolist()}, expected diag(sx, sy, 1, 1); {RESTORE}"
        )
    if scale[0, 0] <= 0 or scale[1, 1] <= 0:
        raise InputError(
            f"{path}: {SCALE_LABEL} has pixel size {scale[0, 0]} x {scale[1, 1]} mm, expected "
            f"positive sizes; {RESTORE}"
        )
    poses.require_rigid(rigid, f"{path}: image-to-tool matrix")
    return Calibration(scale, rigid)


def _read_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot read the calibration ({error}); pass --calib") from error
    if len(rows) < 10:
        raise InputError(
            f"{path}: found {len(rows)} lines, expected 10 (a label and 4 rows, twice); {RESTORE}"
        )
    return rows


def _matrix(rows: list[list[str]], start: int, path: Path, label: str) -> NDArray[np.float64]:
    try:
        matrix = np.array([[float(cell) for cell in row] for row in rows[start : start + 4]])
    except ValueError as error:
        raise InputError(
            f"{path}: {label}: {error}; expected 4 rows of 4 numbers; {RESTORE}"
        ) from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(
            f"{path}: {label}: found {matrix.tolist()}, expected 4x4 finite numbers; {RESTORE}"
        )
    return matrix
