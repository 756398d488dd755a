"""predict.py from the outside: files in, files and exit codes out."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import evaluate
import predict
from model.identity import Identity
from model.interface import LocalMotions
from model.registry import ESTIMATORS, load_estimator
from pipeline import progress
from pipeline.batch import Outcome
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.dicom import DicomScan
from tusrec.errors import InputError, OutOfMemoryError
from tusrec.frames import Frames
from tusrec.results import read_result
from tusrec.scans import Hdf5Scan, Scan
from view import exports, present, report

ROOT = Path(__file__).parents[2]
Make = Callable[..., Path]
THREE_SCANS = {"sub050__LH_rotation": 4, "sub050__RH_rotation": 5, "sub051__RH_rotation": 3}


class Jitter(Identity):
    """Small motions that depend on the frames, so that a mixed-up scan is noticed."""

    name = "jitter"

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        still = super().estimate(frames, calibration, device)
        means = frames[0 : frames.shape[0]].mean(axis=(1, 2))
        motions = poses.exp(np.outer(np.diff(means), [0.01, 0.02, 0.03, 1.0, 2.0, 3.0]))
        return replace(still, T_previous_from_frame=motions)


@pytest.fixture(autouse=True)
def jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ESTIMATORS, "jitter", lambda _: Jitter())
    load_estimator.cache_clear()


@pytest.fixture
def dataset(tmp_path: Path, make_validation_dataset: Make) -> Path:
    return make_validation_dataset(tmp_path / "data", THREE_SCANS)


def run(dataset: Path, output: Path, *more: str, model: str = "identity") -> int:
    common = ["--input", str(dataset), "--output", str(output), "--model", model]
    return predict.main([*common, "--device", "cpu", *more])


def everything_in(file: h5py.File) -> dict[str, object]:
    return {name: (values[()].tobytes(), values.shape) for name, values in file.items()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_scan_gets_its_file_beside_run_json_and_metrics(
    dataset: Path, tmp_path: Path
) -> None:
    assert run(dataset, tmp_path / "out") == 0
    scans = [f"{key}.h5" for key in THREE_SCANS]
    assert names(tmp_path / "out") == sorted([*scans, "metrics.h5", "run.json"])


def test_a_result_holds_what_the_readme_says(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out", "--ddf", "full", model="jitter")
    with h5py.File(tmp_path / "out/sub050__RH_rotation.h5") as file:
        shapes = {name: (values.shape, values.dtype) for name, values in file.items()}
        attributes = set(file.attrs)
        described = all({"unit", "description"} <= set(values.attrs) for values in file.values())
    double, single = np.dtype(np.float64), np.dtype(np.float32)
    assert shapes == {
        "global": ((4, 4, 4), double),
        "local": ((4, 4, 4), double),
        "local_covariance": ((4, 6, 6), double),
        "GL": ((3, 100), single),
        "LL": ((3, 100), single),
        "GP": ((4, 3, 307200), single),
        "LP": ((4, 3, 307200), single),
    }
    assert described
    assert attributes >= {"model", "weights_sha256", "versions", "device", "seconds"}
    assert attributes >= {"calibration_scale", "calibration_T_tool_from_image"}


def test_landmark_fields_are_the_dense_fields_at_the_landmarks(
    dataset: Path, tmp_path: Path
) -> None:
    run(dataset, tmp_path / "out", "--ddf", "full", model="jitter")
    with h5py.File(dataset / "landmarks/landmark_050.h5") as file:
        frame, x, y = file["RH_rotation"][()].T
    with h5py.File(tmp_path / "out/sub050__RH_rotation.h5") as file:
        for points, dense in (("GL", "GP"), ("LL", "LP")):
            at_landmarks = file[dense][()][frame - 1, :, (y - 1) * 640 + (x - 1)].T
            np.testing.assert_allclose(file[points][()], at_landmarks, atol=1e-4)


def test_global_poses_are_the_product_of_the_local_ones(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out", model="jitter")
    motion = read_result(tmp_path / "out/sub050__LH_rotation.h5").motion
    np.testing.assert_allclose(
        motion.T_first_from_frame, poses.chain(motion.T_previous_from_frame), atol=1e-12
    )


@pytest.mark.parametrize("ddf", ["none", "landmarks"])
def test_without_full_no_dense_field_is_written(dataset: Path, tmp_path: Path, ddf: str) -> None:
    run(dataset, tmp_path / "out", "--ddf", ddf)
    with h5py.File(tmp_path / "out/sub050__LH_rotation.h5") as file:
        assert ("GL" in file, "LL" in file) == (ddf == "landmarks",) * 2
        assert "GP" not in file


def test_metrics_are_those_of_the_organisers_formulas(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out", "--ddf", "full", model="jitter")
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert set(file) == {"GPE", "GLE", "LPE", "LLE", "time_elapsed"}
        found = {name: file[name][()] for name in file}
    with h5py.File(dataset / "dataset_keys.h5") as file:
        keys = list(file)
    for place, key in enumerate(keys):
        expected = organisers_errors(dataset, tmp_path / "out", key)
        for name, value in expected.items():
            assert found[name][place] == pytest.approx(value, abs=1e-4), (key, name)


def organisers_errors(dataset: Path, output: Path, key: str) -> dict[str, float]:
    """The errors written out plainly from the contract: homogeneous products, in float64."""
    subject, name = key.removeprefix("sub").split("__")
    rows = [line.split(",") for line in (dataset / "calib_matrix.csv").read_text().splitlines()]
    S, C = np.array(rows[1:5], np.float64), np.array(rows[6:10], np.float64)
    with h5py.File(dataset / "transfs" / subject / f"{name}.h5") as file:
        tracked = file["tforms"][()].astype(np.float64)
    with h5py.File(dataset / "landmarks" / f"landmark_{subject}.h5") as file:
        landmark = file[name][()]
    y, x = np.meshgrid(np.arange(1, 481), np.arange(1, 641), indexing="ij")
    points = S @ np.stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)])
    to_tool = np.linalg.inv(C) @ np.linalg.inv(tracked)
    pairs = {"G": to_tool[:1], "L": to_tool[:-1]}
    errors = {}
    with h5py.File(output / f"{key}.h5") as file:
        for kind, inverse in pairs.items():
            true = ((inverse @ tracked[1:] @ C - np.eye(4)) @ points)[:, :3]
            predicted = file[f"{kind}P"][()].astype(np.float64)
            distance = np.linalg.norm(predicted - true, axis=1)
            errors[f"{kind}PE"] = float(distance.mean())
            at = (landmark[:, 0] - 1, (landmark[:, 2] - 1) * 640 + landmark[:, 1] - 1)
            errors[f"{kind}LE"] = float(distance[at].mean())
    return errors


def test_a_second_run_keeps_what_is_finished_and_gives_the_same_metrics(
    dataset: Path, tmp_path: Path
) -> None:
    run(dataset, tmp_path / "out", model="jitter")
    scans = [tmp_path / f"out/{key}.h5" for key in THREE_SCANS]
    before = [path.stat().st_mtime_ns for path in scans]
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        metrics = everything_in(file)
    assert run(dataset, tmp_path / "out", model="jitter") == 0
    assert [path.stat().st_mtime_ns for path in scans] == before
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert everything_in(file) == metrics
    summary = json.loads((tmp_path / "out/run.json").read_text())
    assert [scan["status"] for scan in summary["scans"]] == ["kept"] * 3


def test_results_may_lie_in_the_folder_that_holds_the_dataset(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    make_validation_dataset(tmp_path / "data/val")
    for _ in range(2):
        assert run(tmp_path / "data", tmp_path / "data", "--export", "igs.mha") == 0
    assert evaluate.main(["--truth", str(tmp_path / "data"), "--pred", str(tmp_path / "data")]) == 0


def test_overwrite_predicts_finished_scans_again(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out")
    assert run(dataset, tmp_path / "out", "--overwrite", model="jitter") == 0
    with h5py.File(tmp_path / "out/sub050__LH_rotation.h5") as file:
        assert file.attrs["model"] == "jitter"


def test_results_of_another_model_are_not_taken_for_this_ones(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(dataset, tmp_path / "out")
    assert run(dataset, tmp_path / "out", model="jitter") == 2
    assert "holds results of model identity" in caplog.text
    assert "--overwrite" in caplog.text


def test_results_of_another_pixel_size_or_length_are_not_taken_for_this_ones(
    tmp_path: Path, make_lone_scan: Make, caplog: pytest.LogCaptureFixture
) -> None:
    scan = make_lone_scan(tmp_path / "scan.h5")
    assert run(scan, tmp_path / "out", "--spacing", "0.2", "0.2") == 0
    assert run(scan, tmp_path / "out", "--spacing", "0.2", "0.1") == 2
    assert "holds results for pixels of 0.2 x 0.2 mm, expected 0.2 x 0.1 mm" in caplog.text
    scan.unlink()
    make_lone_scan(scan, frames=7)
    assert run(scan, tmp_path / "out", "--spacing", "0.2", "0.2") == 2
    assert "holds 4 global and 4 local poses, expected 6" in caplog.text


def test_results_of_other_frames_are_not_taken_for_this_ones(
    tmp_path: Path, make_lone_scan: Make, caplog: pytest.LogCaptureFixture
) -> None:
    spacing = ("--spacing", "0.2", "0.2")
    assert run(make_lone_scan(tmp_path / "a/scan.h5", seed=1), tmp_path / "out", *spacing) == 0
    other = make_lone_scan(tmp_path / "b/scan.h5", seed=2)
    assert run(other, tmp_path / "out", *spacing) == 2
    assert "holds results for other frames" in caplog.text
    assert run(other, tmp_path / "out", *spacing, "--overwrite") == 0
    assert run(other, tmp_path / "out", *spacing) == 0


def test_truth_that_came_since_is_used(tmp_path: Path, make_validation_dataset: Make) -> None:
    dataset = make_validation_dataset(tmp_path / "data")
    (dataset / "transfs").rename(tmp_path / "transfs")
    assert run(dataset, tmp_path / "out") == 0
    assert not (tmp_path / "out/metrics.h5").exists()
    (tmp_path / "transfs").rename(dataset / "transfs")
    assert run(dataset, tmp_path / "out") == 0
    assert (tmp_path / "out/metrics.h5").exists()


def test_errors_are_those_of_the_calibration_that_is_given(
    dataset: Path, tmp_path: Path, make_calibration: Make
) -> None:
    """The image's place on the tool changes the truth and nothing that is predicted."""
    other = make_calibration(tmp_path / "other.csv", rigid=np.eye(4))
    assert run(dataset, tmp_path / "fresh", "--calib", str(other), model="jitter") == 0
    assert run(dataset, tmp_path / "out", model="jitter") == 0
    before = metrics_in(tmp_path / "out")
    assert run(dataset, tmp_path / "out", "--calib", str(other), model="jitter") == 0
    assert metrics_in(tmp_path / "out") == metrics_in(tmp_path / "fresh") != before


def metrics_in(output: Path) -> dict[str, list[float]]:
    with h5py.File(output / "metrics.h5") as file:
        return {name: file[name][()].tolist() for name in ("GPE", "GLE", "LPE", "LLE")}


def test_asking_for_more_displacements_predicts_again(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out", "--ddf", "none")
    assert run(dataset, tmp_path / "out", "--ddf", "full") == 0
    with h5py.File(tmp_path / "out/sub050__LH_rotation.h5") as file:
        assert "GP" in file


def test_a_damaged_result_is_made_again(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out")
    damaged = tmp_path / "out/sub050__LH_rotation.h5"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert run(dataset, tmp_path / "out") == 0
    assert len(read_result(damaged).motion.T_first_from_frame) == 3


def test_a_result_whose_attributes_are_damaged_is_made_again(
    dataset: Path, tmp_path: Path, damaging_attributes: Callable[[Path], None]
) -> None:
    run(dataset, tmp_path / "out")
    damaging_attributes(tmp_path / "out/sub050__LH_rotation.h5")
    assert run(dataset, tmp_path / "out") == 0
    assert read_result(tmp_path / "out/sub050__LH_rotation.h5").made_by[0] == "identity"


def test_scan_patterns_choose_scans(dataset: Path, tmp_path: Path) -> None:
    assert run(dataset, tmp_path / "out", "--scan", "*LH_rotation", "--scan", "sub051*") == 0
    assert not (tmp_path / "out/sub050__RH_rotation.h5").exists()
    assert (tmp_path / "out/sub051__RH_rotation.h5").exists()


def test_each_pattern_must_match_and_a_key_is_one_whatever_its_letters(
    tmp_path: Path, make_lone_scan: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("scan[1]", "scan2"):
        make_lone_scan(tmp_path / "data" / f"{name}.h5")
    spacing = ("--spacing", "0.2", "0.2")
    assert run(tmp_path / "data", tmp_path / "out", *spacing, "--scan", "scan[1]") == 0
    assert (tmp_path / "out" / "scan[1].h5").exists()
    wrong = ("--scan", "scan2", "--scan", "scan3")
    assert run(tmp_path / "data", tmp_path / "out", *spacing, *wrong) == 2
    assert "--scan scan3: matches no scan" in caplog.text
    assert not (tmp_path / "out" / "scan2.h5").exists()


def test_metrics_of_results_that_are_no_more_do_not_stay(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    dataset = make_validation_dataset(tmp_path / "data")
    assert run(dataset, tmp_path / "out") == 0
    assert (tmp_path / "out/metrics.h5").exists()
    (dataset / "transfs").rename(tmp_path / "transfs")
    assert run(dataset, tmp_path / "out", "--overwrite") == 0
    assert not (tmp_path / "out/metrics.h5").exists()


def test_metrics_list_the_scans_of_earlier_runs_too(dataset: Path, tmp_path: Path) -> None:
    for pattern in ("sub051*", "*LH_rotation"):
        run(dataset, tmp_path / "out", "--scan", pattern)
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert list(file.attrs["scans"]) == ["sub050__LH_rotation", "sub051__RH_rotation"]
        assert np.isfinite(file["GPE"][()]).all()


def test_a_damaged_result_of_an_earlier_run_does_not_cost_this_ones_metrics(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(dataset, tmp_path / "out")
    damaged = tmp_path / "out/sub050__LH_rotation.h5"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert run(dataset, tmp_path / "out", "--scan", "sub051*") == 0
    assert "sub050__LH_rotation.h5" in caplog.text
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [True, False, False]


def test_an_earlier_scan_that_memory_does_not_hold_does_not_cost_this_runs_metrics(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run(dataset, tmp_path / "out")
    opened = Hdf5Scan.open

    def hungry(self: Hdf5Scan) -> AbstractContextManager[Scan]:
        if self.key == "sub050__LH_rotation":
            raise OutOfMemoryError(f"{self.key}: found no memory for all its frames")
        return opened(self)

    monkeypatch.setattr(Hdf5Scan, "open", hungry)
    assert run(dataset, tmp_path / "out", "--scan", "sub051*") == 0
    assert "sub050__LH_rotation: found no memory" in caplog.text
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [True, False, False]


def test_metrics_are_those_of_one_pixel_size(
    dataset: Path, tmp_path: Path, make_calibration: Make, caplog: pytest.LogCaptureFixture
) -> None:
    run(dataset, tmp_path / "out")
    make_calibration(dataset / "calib_matrix.csv", scale=np.diag([0.4, 0.4, 1.0, 1.0]))
    assert run(dataset, tmp_path / "out", "--scan", "sub051*", "--overwrite") == 0
    assert "sub050__LH_rotation.h5: holds results for pixels of" in caplog.text
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [True, True, False]


def test_metrics_are_those_of_the_frames_that_are_there(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(dataset, tmp_path / "out")
    with h5py.File(dataset / "frames/050/LH_rotation.h5", "a") as file:
        file["frames"][0] = 0
    assert run(dataset, tmp_path / "out", "--scan", "sub051*") == 0
    assert "sub050__LH_rotation.h5: holds results for other frames" in caplog.text
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [True, False, False]


def test_metrics_do_not_keep_the_errors_of_a_scan_that_failed_since(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    dataset = make_validation_dataset(tmp_path / "data")
    run(dataset, tmp_path / "out")
    (dataset / "frames/050/RH_rotation.h5").unlink()
    assert run(dataset, tmp_path / "out", "--overwrite") == 2
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [True]


def test_a_scan_that_failed_since_loses_its_errors_though_others_without_truth_are_kept(
    dataset: Path, tmp_path: Path
) -> None:
    for name in ("050/RH_rotation", "051/RH_rotation"):
        (dataset / f"transfs/{name}.h5").unlink()
    run(dataset, tmp_path / "out")
    (dataset / "frames/050/LH_rotation.h5").unlink()
    assert run(dataset, tmp_path / "out") == 2
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).all()


def test_earlier_scans_whose_results_hold_no_errors_are_not_opened(
    tmp_path: Path, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        make_dicom(tmp_path / f"data/{name}.dcm")
    opened: list[str] = []
    own = DicomScan.open

    def noted(self: DicomScan) -> AbstractContextManager[Scan]:
        opened.append(self.key)
        return own(self)

    monkeypatch.setattr(DicomScan, "open", noted)
    for name in "abc":
        assert run(tmp_path / "data", tmp_path / "out", "--scan", name) == 0
    assert opened == list("abc")


def test_metrics_are_those_of_one_model(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out")
    run(dataset, tmp_path / "out", "--scan", "sub051*", "--overwrite", model="jitter")
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [True, True, False]


def test_metrics_are_those_of_one_calibration(
    dataset: Path, tmp_path: Path, make_calibration: Make
) -> None:
    run(dataset, tmp_path / "out")
    other = make_calibration(tmp_path / "other.csv", rigid=np.eye(4))
    run(dataset, tmp_path / "out", "--scan", "sub051*", "--calib", str(other))
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [True, True, False]


def test_weights_for_a_model_that_has_none_are_refused(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(dataset, tmp_path / "out", "--weights", str(tmp_path), model="identity") == 2
    assert f"{tmp_path}: found weights for model identity, which has none" in caplog.text


def test_a_scan_named_as_the_file_of_errors_is_refused(
    tmp_path: Path, make_lone_scan: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make_lone_scan(tmp_path / "data/metrics.h5")
    assert run(tmp_path / "data", tmp_path / "out", "--spacing", "0.2", "0.2") == 2
    assert "rename the scan" in caplog.text


def test_without_truth_there_are_no_metrics(tmp_path: Path, make_validation_dataset: Make) -> None:
    dataset = make_validation_dataset(tmp_path / "data", with_poses=False)
    assert run(dataset, tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["run.json", "sub050__RH_rotation.h5"]


def test_two_jobs_give_the_same_files_as_one(dataset: Path, tmp_path: Path) -> None:
    assert run(dataset, tmp_path / "one") == 0
    assert run(dataset, tmp_path / "two", "--jobs", "2") == 0
    for key in THREE_SCANS:
        with (
            h5py.File(tmp_path / f"one/{key}.h5") as one,
            h5py.File(tmp_path / f"two/{key}.h5") as two,
        ):
            assert everything_in(one) == everything_in(two)


def test_torchrun_spreads_scans_and_sums_up_once(dataset: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    options = ["--input", str(dataset), "--output", str(tmp_path / "out"), "--model", "identity"]
    command = [*launch, "--master-port", "29641", "predict.py", *options, "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/run.json").read_text())
    assert [scan["key"] for scan in summary["scans"]] == list(THREE_SCANS)
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert list(file.attrs["scans"]) == list(THREE_SCANS)


def test_a_bad_scan_under_torchrun_costs_no_report(dataset: Path, tmp_path: Path) -> None:
    (dataset / "frames/050/RH_rotation.h5").write_bytes(b"not HDF5")  # the second rank's
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    options = ["--input", str(dataset), "--output", str(tmp_path / "out"), "--model", "identity"]
    command = [*launch, "--master-port", "29643", "predict.py", *options, "--device", "cpu"]
    wanted = ["--report", "--export", "csv"]
    done = subprocess.run([*command, *wanted], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode != 0
    assert (tmp_path / "out/report.html").exists()
    assert len(list((tmp_path / "out").glob("*.csv"))) == 2


@pytest.mark.parametrize("name", ["scan.h5", "scan.igs.mha"])
def test_a_scan_is_never_written_over(
    name: str,
    tmp_path: Path,
    make_lone_scan: Make,
    make_sequence: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make = make_lone_scan if name.endswith("h5") else make_sequence
    scan = make(tmp_path / name)
    before = scan.read_bytes()
    more = ("--spacing", "0.2", "0.2", "--export", "igs.mha", "--overwrite")
    assert run(tmp_path, tmp_path, *more) == 2
    assert "choose another --output" in caplog.text
    assert scan.read_bytes() == before
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["scan.dcm", "scan.igs.mha"])
def test_results_among_loose_scans_are_refused_before_any_work(
    name: str,
    tmp_path: Path,
    make_dicom: Make,
    make_sequence: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make = make_dicom if name.endswith("dcm") else make_sequence
    make(tmp_path / name)
    assert run(tmp_path, tmp_path, "--spacing", "0.2", "0.2") == 2
    assert "the next run would take for scans; choose another --output" in caplog.text
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_recording_of_the_results_name_is_never_written_over(
    more: list[str],
    tmp_path: Path,
    make_dicom: Make,
    make_lone_scan: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A scan that somebody put into an .h5 beside it, and a day's scan named as another day's."""
    converted = make_lone_scan(tmp_path / "scan.h5")
    monday, tuesday = (make_lone_scan(tmp_path / day / "p1.h5") for day in ("mon", "tue"))
    before = converted.read_bytes(), monday.read_bytes()
    assert run(make_dicom(tmp_path / "scan.dcm"), tmp_path, *more) == 2
    assert run(tuesday.parent, monday.parent, "--spacing", "0.2", "0.2", *more) == 2
    for path in (converted, monday):
        assert f"{path}: holds no result, but would be replaced by one" in caplog.text
    assert (converted.read_bytes(), monday.read_bytes()) == before
    assert names(monday.parent) == ["p1.h5"]


def test_another_programs_file_of_the_results_name_is_not_written_over(
    dataset: Path, tmp_path: Path, make_hdf5: Make, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_hdf5(tmp_path / "out/sub050__LH_rotation.h5", {"image": np.zeros(3)})
    assert run(dataset, tmp_path / "out") == 2
    assert f"{path}: holds no result" in caplog.text
    assert names(path.parent) == [path.name]


def test_a_recording_of_an_exports_name_is_not_written_over(
    tmp_path: Path, make_dicom: Make, make_sequence: Make, caplog: pytest.LogCaptureFixture
) -> None:
    scan, other = make_dicom(tmp_path / "scan.dcm"), make_sequence(tmp_path / "scan.igs.mha")
    before = other.read_bytes()
    assert run(scan, tmp_path, "--export", "igs.mha") == 2
    assert f"{other}: found without scan.h5" in caplog.text
    assert other.read_bytes() == before
    other.unlink()
    assert run(scan, tmp_path, "--export", "igs.mha") == 0
    assert run(scan, tmp_path, "--export", "igs.mha") == 0


def test_a_lone_file_is_named_after_itself(tmp_path: Path, make_lone_scan: Make) -> None:
    scan = make_lone_scan(tmp_path / "RH_rotation.h5", frames=4, shape=(30, 50))
    assert run(scan, tmp_path / "out", "--spacing", "0.2", "0.3") == 0
    with h5py.File(tmp_path / "out/RH_rotation.h5") as file:
        assert file["global"].shape == (3, 4, 4)
        assert file["GL"].shape == (3, 0)


def test_a_plus_sequence_with_its_image_to_probe_is_scored(
    tmp_path: Path, make_sequence: Make
) -> None:
    tracked = poses.exp(np.linspace(0, 1, 5)[:, None] * [0.0, 0.1, 0.0, 1.0, 2.0, 3.0])
    scan = make_sequence(tmp_path / "spine.igs.mha", {"ProbeToTracker": tracked})
    matrix = ["0.1", "0", "0", "1", "0", "0.1", "0", "2", "0", "0", "0.1", "3"]
    assert run(scan, tmp_path / "out", "--image-to-probe", *matrix) == 0
    assert "metrics.h5" in names(tmp_path / "out")


EXPONENTS = ["0.1", "-1.2e-05", "0", "1", "-1E-5", "0.1", "0", "2", "0", "0", "0.1", "-3e+0"]


@pytest.mark.parametrize("last_row", [[], ["0", "0", "0", "1"]])
def test_an_image_to_probe_may_have_negative_numbers_with_exponents(
    last_row: list[str], tmp_path: Path, make_sequence: Make
) -> None:
    scan = make_sequence(tmp_path / "spine.igs.mha")
    assert run(scan, tmp_path / "out", "--image-to-probe", *EXPONENTS, *last_row) == 0


def test_an_image_to_probe_column_by_column_is_refused(
    tmp_path: Path, make_sequence: Make, caplog: pytest.LogCaptureFixture
) -> None:
    scan = make_sequence(tmp_path / "spine.igs.mha")
    columns = ["0.1", "0", "0", "0", "0", "0.1", "0", "0", "0", "0", "0.1", "0", "1", "2", "3", "1"]
    assert run(scan, tmp_path / "out", "--image-to-probe", *columns) == 2
    assert "found 1 2 3 1 as the last row, expected 0 0 0 1" in caplog.text


def test_a_figure_without_matplotlib_is_refused_before_any_work(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(dataset, tmp_path / "out", "--export", "csv", "--export", "png") == 2
    assert "--export png: cannot import matplotlib" in caplog.text
    assert not (tmp_path / "out").exists()


def test_an_export_that_fails_costs_no_other_and_is_in_run_json(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(dataset, tmp_path / "out")
    (tmp_path / "out/sub050__LH_rotation.csv").mkdir()  # in the way
    assert run(dataset, tmp_path / "out", "--export", "csv", "--export", "tum") == 2
    assert caplog.text.count("error: ") == 1
    assert len(list((tmp_path / "out").glob("*.tum"))) == 3
    assert json.loads((tmp_path / "out/run.json").read_text())["exit_code"] == 2


def test_a_report_that_cannot_be_written_is_in_run_json(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out/report.html").mkdir(parents=True)  # in the way
    assert run(dataset, tmp_path / "out", "--report") == 2
    assert "report.html: cannot write" in caplog.text
    assert json.loads((tmp_path / "out/run.json").read_text())["exit_code"] == 2


def test_an_export_without_memory_costs_no_other_and_is_in_run_json(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hungry(*_: object) -> None:
        raise MemoryError

    monkeypatch.setitem(exports.EXPORTS, "csv", hungry)
    assert run(dataset, tmp_path / "out", "--export", "csv", "--export", "tum", "--report") == 3
    assert "sub050__LH_rotation as csv: out of memory" in caplog.text
    assert len(list((tmp_path / "out").glob("*.tum"))) == 3
    assert (tmp_path / "out/report.html").exists()
    assert json.loads((tmp_path / "out/run.json").read_text())["exit_code"] == 3


def test_a_scan_that_memory_does_not_hold_to_be_exported_costs_no_report(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hungry(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(present, "read_scan_result", hungry)
    assert run(dataset, tmp_path / "out", "--export", "csv", "--report") == 3
    assert caplog.text.count(": out of memory") == 3
    assert (tmp_path / "out/report.html").exists()


def test_a_scan_that_the_report_cannot_show_is_told(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(*_: object) -> dict[str, object]:
        raise InputError("sub050__LH_rotation: found nothing")

    monkeypatch.setattr(report, "scan_data", unreadable)
    assert run(dataset, tmp_path / "out", "--report") == 2
    assert "error: sub050__LH_rotation: found nothing" in caplog.text
    assert json.loads((tmp_path / "out/run.json").read_text())["exit_code"] == 2


def test_one_log_line_tells_each_scans_time_rate_memory_and_end(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run(dataset, tmp_path / "out")
    lines = [r.getMessage() for r in caplog.records if "done:" in r.getMessage()]
    assert len(lines) == 3
    assert all(word in lines[0] for word in ("frames/s", "GiB", "end about", "[1/3]"))


def test_the_end_is_told_by_what_was_predicted_and_not_by_what_was_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 100 scans 50 are kept at once, and the others take 60 s each."""
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])

    def outcomes() -> Iterator[Outcome]:
        yield from [Outcome("a", "kept", 60.0, 10)] * 50
        for _ in range(2):
            now[0] += 60
            yield Outcome("b", "done", 60.0, 10)

    with caplog.at_level(logging.INFO):
        list(progress.reported(outcomes(), total=100))
    expected = time.strftime("%H:%M:%S", time.localtime(50 * 60))
    assert "end about" not in caplog.messages[49]
    assert caplog.messages[-1].endswith(f"end about {expected}")


def test_a_scan_whose_name_is_not_utf8_costs_no_other(tmp_path: Path, make_sequence: Make) -> None:
    """ITK ends the whole process over such a name."""
    for name in (b"a.mha", b"b\xe4.mha"):
        made = make_sequence(tmp_path / "made.mha")
        made.rename(tmp_path / os.fsdecode(name))
    (tmp_path / "data").mkdir()
    for scan in tmp_path.glob("*.mha"):
        scan.rename(tmp_path / "data" / scan.name)
    options = ["--spacing", "0.2", "0.2", "--export", "csv", "--report"]
    assert run(tmp_path / "data", tmp_path / "out", *options) == 2
    assert names(tmp_path / "out") == ["a.csv", "a.h5", "report.html", "run.json"]


def test_an_output_whose_name_is_not_utf8_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(dataset, tmp_path / os.fsdecode(b"M\xfcller"))
    assert r"M\xfcller, expected a path in UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "interrupted; the same command goes on where this run stopped"),
        (["--overwrite"], "begins again, leave out --overwrite to keep what this run finished"),
    ],
)
def test_an_interruption_tells_what_the_same_command_would_do(
    more: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "find_scans", stop)
    assert run(tmp_path, tmp_path / "out", *more) == 130
    assert told in caplog.text


def test_the_command_line_explains_itself() -> None:
    command = [sys.executable, "predict.py", "--help"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "exit codes" in said
    assert os.linesep.join(["--ddf"]) in said
