"""A scoring loop of the organisers' kind, laid over /home/TUS-REC2025 with its own utils/."""

import sys
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from utils.scans import scans
from utils.truth import HEIGHT, WIDTH, Truth

from predict_ddfs import predict_ddfs

HOME = Path(__file__).resolve().parent


def main() -> None:
    """Score every scan and write results/metrics.h5."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    calibration = HOME / "data" / "calib_matrix.csv"
    table: dict[str, list[float]] = {}
    for key, frames, landmarks, tforms in scans(HOME / "data"):
        started = time.time()
        GP, GL, LP, LL = predict_ddfs(frames, landmarks, str(calibration), device)
        elapsed = time.time() - started
        for field in (GP, LP):
            check(key, field, (len(frames) - 1, 3, HEIGHT * WIDTH))
        for field in (GL, LL):
            check(key, field, (3, len(landmarks)))
        truth = Truth(tforms, calibration)
        errors = {
            "GPE": truth.pixel_error(GP, truth.to_first),
            "GLE": truth.landmark_error(GL, truth.to_first, landmarks),
            "LPE": truth.pixel_error(LP, truth.to_previous),
            "LLE": truth.landmark_error(LL, truth.to_previous, landmarks),
        }
        for name, value in {**errors, "time_elapsed": elapsed}.items():
            table.setdefault(name, []).append(value)
    with h5py.File(HOME / "results" / "metrics.h5", "w") as file:
        for name, values in table.items():
            file[name] = np.array(values)


def check(key: str, field: object, shape: tuple[int, ...]) -> None:
    """End with the reason if a field is not what the challenge asks for."""
    if not isinstance(field, np.ndarray) or field.dtype != np.float32 or field.shape != shape:
        found = f"{getattr(field, 'shape', '')} {getattr(field, 'dtype', type(field))}"
        sys.exit(f"{key}: predict_ddfs gave {found}, expected {shape} float32")
    if not np.isfinite(field).all():
        sys.exit(f"{key}: predict_ddfs gave NaN or infinity")


if __name__ == "__main__":
    main()
