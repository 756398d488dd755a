"""True displacements and the four errors, by the plain homogeneous product in float64."""

from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 480, 640


class Truth:
    """The tracked transforms of a scan, and errors against them."""

    def __init__(self, tforms: np.ndarray, calibration: Path) -> None:
        self.scale, rigid = read_calibration(calibration)
        in_camera = tforms.astype(np.float64) @ rigid
        self.to_first = np.linalg.inv(in_camera[0]) @ in_camera[1:]
        self.to_previous = np.linalg.inv(in_camera[:-1]) @ in_camera[1:]
        y, x = np.mgrid[1 : HEIGHT + 1, 1 : WIDTH + 1].reshape(2, -1)
        self.pixels = np.stack([x, y, np.zeros_like(x), np.ones_like(x)])

    def pixel_error(self, predicted: np.ndarray, transforms: np.ndarray) -> float:
        """Mean distance over frames and pixels; predicted (N-1, 3, pixels), in mm."""
        distances = [
            np.linalg.norm(moved(transform, self.scale @ self.pixels) - field, axis=0).mean()
            for transform, field in zip(transforms, predicted, strict=True)
        ]
        return float(np.mean(distances))

    def landmark_error(
        self, predicted: np.ndarray, transforms: np.ndarray, landmarks: np.ndarray
    ) -> float:
        """Mean distance over landmarks; predicted (3, L). A landmark on frame f reads row f - 1."""
        distances = [
            np.linalg.norm(moved(transforms[frame - 1], self.scale @ [x, y, 0, 1]) - field)
            for (frame, x, y), field in zip(landmarks, predicted.T, strict=True)
        ]
        return float(np.mean(distances))


def moved(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Displacements (3, ...) of points (4, ...) in mm."""
    displaced: np.ndarray = (transform - np.eye(4)) @ points
    return displaced[:3]


def read_calibration(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The scaling and the rigid matrix of calib_matrix.csv."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [[float(number) for number in line.split(",")] for line in lines[1:5] + lines[6:10]]
    return np.array(rows[:4]), np.array(rows[4:])
