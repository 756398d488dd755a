"""The organisers' function, called as they call it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import predict_ddfs as module
from model.registry import load_estimator
from predict_ddfs import predict_ddfs
from tusrec.errors import InputError

ROOT = Path(__file__).parents[2]
Make = Callable[..., Path]
CPU = torch.device("cpu")

# The organisers' loop, as the contract tells it: their own utils/ on the path, keys in order.
THEIR_LOOP = """
import os, sys, h5py, numpy as np, torch
from utils.metrics import cal_dist
from predict_ddfs import predict_ddfs
data = sys.argv[1]
for key in list(h5py.File(f"{data}/dataset_keys.h5", "r").keys()):
    subject, name = key.split("__")[0][3:], key.split("__")[1]
    frames = h5py.File(f"{data}/frames/{subject}/{name}.h5", "r")["frames"][()]
    landmark = h5py.File(f"{data}/landmarks/landmark_%03d.h5" % int(subject), "r")[name][()]
    fields = predict_ddfs(frames, landmark, f"{data}/calib_matrix.csv", torch.device("cpu"))
    print(key, *[f"{field.shape} {field.dtype}" for field in fields], cal_dist(fields[0]))
"""


@pytest.fixture
def dataset(tmp_path: Path, make_validation_dataset: Make) -> Path:
    return make_validation_dataset(tmp_path / "data", {"sub050__RH_rotation": 4})


def scan(dataset: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    with h5py.File(dataset / "frames/050/RH_rotation.h5") as file:
        frames = file["frames"][()]
    with h5py.File(dataset / "landmarks/landmark_050.h5") as file:
        landmark = file["RH_rotation"][()]
    return frames, landmark, str(dataset / "calib_matrix.csv")


def test_the_four_fields_have_the_contracts_order_shape_and_type(dataset: Path) -> None:
    fields = predict_ddfs(*scan(dataset), CPU)
    shapes = [(3, 3, 307200), (3, 100), (3, 3, 307200), (3, 100)]
    assert [field.shape for field in fields] == shapes
    assert all(type(field) is np.ndarray and field.dtype == np.float32 for field in fields)
    assert all(np.isfinite(field).all() for field in fields)


def test_landmark_fields_are_the_dense_fields_at_the_landmarks(dataset: Path) -> None:
    frames, landmark, calibration = scan(dataset)
    landmark[0, 0] = 0  # reads the last row, as the organisers' truth does
    GP, GL, LP, LL = predict_ddfs(frames, landmark, calibration, CPU)
    frame, x, y = landmark.T
    for dense, points in ((GP, GL), (LP, LL)):
        at_landmarks = dense.reshape(-1, 3, 480, 640)[frame - 1, :, y - 1, x - 1].T
        np.testing.assert_allclose(points, at_landmarks, atol=1e-4)


def test_the_device_may_be_a_word(dataset: Path) -> None:
    assert len(predict_ddfs(*scan(dataset), "cpu")) == 4


def test_the_model_is_made_once_a_process(dataset: Path) -> None:
    predict_ddfs(*scan(dataset), CPU)
    made = load_estimator.cache_info().misses
    predict_ddfs(*scan(dataset), CPU)
    assert load_estimator.cache_info().misses == made


def test_the_callers_arrays_are_left_as_they_were(dataset: Path) -> None:
    frames, landmark, calibration = scan(dataset)
    copies = frames.copy(), landmark.copy()
    predict_ddfs(frames, landmark, calibration, CPU)
    np.testing.assert_array_equal(frames, copies[0])
    np.testing.assert_array_equal(landmark, copies[1])


@pytest.mark.parametrize(
    ("frames", "landmark", "word"),
    [
        (np.zeros((1, 480, 640), np.uint8), [[0, 1, 1]], "(1, 480, 640)"),
        (np.zeros((4, 480, 640), np.float32), [[0, 1, 1]], "float32"),
        (np.zeros((4, 480, 640), np.uint8), [[0, 641, 1]], "x 1..640"),
        (np.zeros((4, 480, 640), np.uint8), [[4, 1, 1]], "frame 0..3"),
    ],
)
def test_what_is_not_a_scan_is_refused(
    dataset: Path, frames: NDArray[np.generic], landmark: list[list[int]], word: str
) -> None:
    calibration = str(dataset / "calib_matrix.csv")
    with pytest.raises(InputError) as caught:
        predict_ddfs(frames, np.array(landmark), calibration, CPU)  # type: ignore[arg-type]
    assert word in str(caught.value)


def test_it_runs_under_the_organisers_own_loop_and_utils(dataset: Path, tmp_path: Path) -> None:
    """Their test.py and utils/ are put over our folder; nothing of ours may carry those names."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("tusrec", "model", "pipeline", "weights"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "predict_ddfs.py", home)
    for name in ("utils", "baseline_model"):
        assert not (ROOT / name).exists()
        (home / name).mkdir()
        (home / name / "__init__.py").touch()
    (home / "utils/metrics.py").write_text("def cal_dist(field):\n    return field.dtype\n")
    (home / "test.py").write_text(THEIR_LOOP)
    command = [sys.executable, "test.py", str(dataset)]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sub050__RH_rotation (3, 3, 307200) float32 (3, 100) float32")


def test_the_function_says_what_the_command_writes(dataset: Path, tmp_path: Path) -> None:
    """One pipeline behind both doors."""
    import predict

    options = ["--input", str(dataset), "--output", str(tmp_path / "out"), "--ddf", "full"]
    assert predict.main([*options, "--device", "cpu"]) == 0
    fields = module.predict_ddfs(*scan(dataset), CPU)
    with h5py.File(tmp_path / "out/sub050__RH_rotation.h5") as file:
        for name, field in zip(("GP", "GL", "LP", "LL"), fields, strict=True):
            np.testing.assert_allclose(file[name][()], field, atol=1e-4)
