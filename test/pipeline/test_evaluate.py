"""evaluate.py: rows whose numbers are known, and predictions that are not there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np
import pytest

import evaluate
import predict
from tusrec import metrics, poses
from tusrec.errors import OutOfMemoryError
from tusrec.layouts import find_scans
from tusrec.metrics import Geometry, Motion
from tusrec.results import Result, result_path, write_result
from tusrec.scans import Hdf5Scan, Scan

ROOT = Path(__file__).parents[2]
Make = Callable[..., Path]
SCANS = {"sub050__RH_rotation": 6, "sub051__LH_Par_C_DtP": 5, "sub051__RH_Per_L_PtD": 4}
ERRORS = ("GPE", "GLE", "LPE", "LLE")
SCORES = ("final", "global", "local", "pixel", "landmark")


@pytest.fixture
def dataset(tmp_path: Path, make_validation_dataset: Make) -> Path:
    return make_validation_dataset(tmp_path / "data", SCANS)


def write_predictions(
    dataset: Path, folder: Path, change: Callable[[Motion], Motion] = lambda motion: motion
) -> Path:
    """Results whose poses are the truth's, changed."""
    for source in find_scans(dataset).scans:
        with source.open() as scan:
            true = scan.true_motion()
            assert true is not None
            write_one(folder, scan, change(true))
    return folder


def write_one(folder: Path, scan: Scan, motion: Motion) -> None:
    covariance = np.zeros((len(motion.T_first_from_frame), 6, 6))
    geometry = Geometry(scan.calibration.scale, *scan.image_size, scan.landmarks)
    result = Result(motion, covariance, {"model": "made", "weights_sha256": "", "seconds": 1.0})
    write_result(result_path(folder, scan.key), result, geometry, "none")


def run(dataset: Path, *folders: Path, more: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
    report = dataset.parent / "report.json"
    options = ["--truth", str(dataset), "--json", str(report), *more]
    code = evaluate.main([*options, "--pred", *map(str, folders)])
    return code, json.loads(report.read_text())


def test_truth_as_prediction_scores_one_with_no_error(dataset: Path, tmp_path: Path) -> None:
    code, report = run(dataset, write_predictions(dataset, tmp_path / "ours"))
    assert code == 0
    for row in ("ours", "truth"):
        assert all(report["rows"][row][name]["mean"] == pytest.approx(1.0) for name in SCORES)
        assert all(report["rows"][row][name]["mean"] < 1e-3 for name in ERRORS)


@pytest.mark.parametrize("option", ["--mirror", "--fit-probe"])
def test_an_option_about_predictions_wants_some(
    option: str, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluate.main(["--truth", str(dataset), option]) == 2
    assert f"{option}: found no predictions" in caplog.text


def test_identity_scores_nothing(dataset: Path) -> None:
    _, report = run(dataset)
    assert all(report["rows"]["identity"][name]["mean"] == 0.0 for name in SCORES)


def test_half_of_a_pure_translation_scores_a_half(
    tmp_path: Path, make_validation_dataset: Make, make_hdf5: Make
) -> None:
    """Displacements are linear in a translation, so every error is half of identity's."""
    dataset = make_validation_dataset(
        tmp_path / "data", {"sub050__RH_rotation": 6}, with_poses=False
    )
    tforms = np.tile(np.eye(4, dtype=np.float32), (6, 1, 1))
    tforms[:, :3, 3] = np.linspace(0, 5, 6)[:, None] * [3.0, 4.0, 12.0]
    make_hdf5(dataset / "transfs/050/RH_rotation.h5", {"tforms": tforms})

    def halved(motion: Motion) -> Motion:
        half = [
            poses.exp(poses.log(stack) / 2)
            for stack in (motion.T_first_from_frame, motion.T_previous_from_frame)
        ]
        return Motion(*half)

    _, report = run(dataset, write_predictions(dataset, tmp_path / "ours", halved))
    assert report["rows"]["identity"]["LPE"]["mean"] == pytest.approx(13.0, abs=1e-4)
    assert report["rows"]["identity"]["GPE"]["mean"] == pytest.approx(39.0, abs=1e-4)
    assert report["rows"]["ours"]["LPE"]["mean"] == pytest.approx(6.5, abs=1e-4)
    assert all(report["rows"]["ours"][n]["mean"] == pytest.approx(0.5, abs=1e-5) for n in SCORES)


def test_the_mirrored_truth_is_put_right_by_the_mirror_row(dataset: Path, tmp_path: Path) -> None:
    def mirrored(motion: Motion) -> Motion:
        return Motion(
            poses.mirror_elevation(motion.T_first_from_frame),
            poses.mirror_elevation(motion.T_previous_from_frame),
        )

    folder = write_predictions(dataset, tmp_path / "ours", mirrored)
    _, report = run(dataset, folder, more=("--mirror",))
    assert report["rows"]["ours"]["final"]["mean"] < 0.9
    assert report["rows"]["ours, better mirror"]["final"]["mean"] == pytest.approx(1.0)


def test_a_folder_named_as_a_reference_is_a_row_of_its_own(dataset: Path, tmp_path: Path) -> None:
    folder = write_predictions(dataset, tmp_path / "truth")
    _, report = run(dataset, folder)
    rows = report["rows"]
    assert rows["truth"]["scans"] == rows[str(folder)]["scans"] == rows["identity"]["scans"]


def test_rows_are_broken_down_by_protocol(dataset: Path) -> None:
    _, report = run(dataset)
    assert sorted(report["protocols"]) == ["Par-C-DtP", "Per-L-PtD", "rotation"]
    assert report["protocols"]["rotation"]["truth"]["scans"] == 1


def test_a_missing_prediction_is_named_and_scores_zero(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_predictions(dataset, tmp_path / "ours")
    (folder / "sub050__RH_rotation.h5").unlink()
    code, report = run(dataset, folder)
    assert code == 2
    assert "sub050__RH_rotation.h5: no such file" in caplog.text
    assert report["rows"]["ours"]["failed"] == 1
    assert report["rows"]["ours"]["final"]["mean"] == pytest.approx(2 / 3)


def test_a_prediction_of_another_length_is_refused(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shorter = write_predictions(
        dataset,
        tmp_path / "ours",
        lambda m: Motion(m.T_first_from_frame[:-1], m.T_previous_from_frame[:-1]),
    )
    code, _ = run(dataset, shorter)
    assert code == 2
    assert "holds 4 global and 4 local poses, expected 5" in caplog.text


def test_a_prediction_of_other_frames_or_pixels_is_refused(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--input", str(dataset), "--model", "identity", "--device", "cpu"]
    assert predict.main([*options, "--output", str(tmp_path / "ours")]) == 0
    assert run(dataset, tmp_path / "ours")[0] == 0
    frames, pixels, _ = (result_path(tmp_path / "ours", key) for key in SCANS)
    for path, name, value in (
        (frames, "frames_sha256", "0" * 64),
        (pixels, "calibration_scale", np.diag([0.2, 0.1, 1.0, 1.0])),
    ):
        with h5py.File(path, "a") as file:
            file.attrs[name] = value
    code, report = run(dataset, tmp_path / "ours")
    assert code == 2
    assert f"{frames}: holds results for other frames" in caplog.text
    assert f"{pixels}: holds results for pixels of 0.2 x 0.1 mm" in caplog.text
    assert report["rows"]["ours"]["failed"] == 2


def test_a_prediction_with_broken_poses_is_refused(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(motion: Motion) -> Motion:
        return Motion(motion.T_first_from_frame * np.nan, motion.T_previous_from_frame)

    code, _ = run(dataset, write_predictions(dataset, tmp_path / "ours", broken))
    assert code == 2
    assert "NaN" in caplog.text


def test_scans_without_truth_are_named(
    tmp_path: Path, make_validation_dataset: Make, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = make_validation_dataset(tmp_path / "data", with_poses=False)
    assert evaluate.main(["--truth", str(dataset)]) == 2
    assert f"{dataset / 'frames/050/RH_rotation.h5'}: found no tracked poses" in caplog.text


def test_without_usable_truth_the_numbers_of_before_do_not_stay(dataset: Path) -> None:
    run(dataset)
    shutil.rmtree(dataset / "transfs")
    code, report = run(dataset)
    assert code == 2
    assert report["rows"] == {}
    assert len(report["problems"]) == len(SCANS)


def test_a_scan_that_memory_does_not_hold_costs_no_other(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Hdf5Scan.open

    def hungry(self: Hdf5Scan) -> AbstractContextManager[Scan]:
        if self.key == "sub050__RH_rotation":
            raise OutOfMemoryError(f"{self.key}: found no memory for all its frames")
        return opened(self)

    monkeypatch.setattr(Hdf5Scan, "open", hungry)
    (dataset / "frames/051/LH_Par_C_DtP.h5").unlink()
    code, report = run(dataset)
    assert code == OutOfMemoryError.exit_code
    assert "found no memory" in caplog.text
    assert [scan["scan"] for scan in report["scans"]] == ["sub051__RH_Per_L_PtD"] * 3


def test_a_prediction_whose_attributes_are_damaged_costs_no_other(
    dataset: Path, tmp_path: Path, damaging_attributes: Callable[[Path], None]
) -> None:
    folder = write_predictions(dataset, tmp_path / "ours")
    damaging_attributes(folder / "sub050__RH_rotation.h5")
    code, report = run(dataset, folder)
    assert code == 2
    assert (report["rows"]["ours"]["scans"], report["rows"]["ours"]["failed"]) == (3, 1)


def test_a_row_says_how_many_scans_its_errors_are_of(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scan without a prediction scores 0 and has no errors."""
    folder = write_predictions(dataset, tmp_path / "ours")
    (folder / "sub050__RH_rotation.h5").unlink()
    run(dataset, folder)
    scores, errors, freedoms = capsys.readouterr().out.split("\n\n")[1:4]
    assert "\nours  " in scores
    assert "\nours (2 of 3)  " in errors
    assert "\nours (2 of 3)  " in freedoms
    assert "(3 of 3)" not in errors


def test_a_failed_scan_has_no_score_that_its_truth_does_not_define(
    dataset: Path, tmp_path: Path
) -> None:
    shutil.rmtree(dataset / "landmarks")
    _, report = run(dataset, tmp_path / "nothing")
    for row in ("identity", "nothing"):
        assert report["rows"][row]["landmark"] == {"mean": None, "sd": None}
        assert report["rows"][row]["pixel"] == {"mean": 0.0, "sd": 0.0}


def in_subprocess(dataset: Path, *more: str, **environment: str) -> tuple[int, str, str]:
    """evaluate.py in a process of its own; gives exit code, standard output and error."""
    command = [sys.executable, "evaluate.py", "--truth", str(dataset), *more]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, check=False, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_numbers_may_follow_the_table_on_standard_output(dataset: Path, tmp_path: Path) -> None:
    command = [sys.executable, "evaluate.py", "--truth", str(dataset), "--json", "/dev/stdout"]
    with (tmp_path / "out.txt").open("w") as printed:
        subprocess.run(command, cwd=ROOT, stdout=printed, check=True)
    table, _, numbers = (tmp_path / "out.txt").read_text().partition("\n{")
    assert table.startswith("truth: tracked poses\n\nscores, all scans")
    assert json.loads("{" + numbers)["problems"] == []


def test_a_terminal_that_does_not_know_the_signs_of_the_table_shows_the_rest(
    dataset: Path,
) -> None:
    code, table, told = in_subprocess(dataset, PYTHONIOENCODING="ascii")
    assert (code, told) == (0, "")
    assert "mean ? sd" in table


def nobody_reads() -> TextIO:
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w")


def full() -> TextIO:
    return Path("/dev/full").open("w")


@pytest.mark.parametrize(("printed", "code"), [(nobody_reads, 0), (full, 2)])
def test_a_table_that_cannot_be_shown_does_not_cost_the_numbers(
    printed: Callable[[], TextIO],
    code: int,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with printed() as file:  # which is flushed once more at the end
        monkeypatch.setattr(sys, "stdout", file)
        ended, report = run(dataset)
    assert ended == code
    assert len(report["rows"]) == 3
    said = "error: standard output: cannot write (No space left on device)"
    assert [message.partition(";")[0] for message in caplog.messages] == [said] * (code > 0)


def test_without_a_standard_output_the_numbers_are_written_all_the_same(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    code, report = run(dataset)
    assert (code, len(report["rows"])) == (0, 3)


def test_a_place_that_takes_no_numbers_is_refused_before_any_work(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(evaluate, "evaluate_scan", lambda *_: pytest.fail("work was done"))
    assert evaluate.main(["--truth", str(dataset), "--json", str(tmp_path / ("x" * 300))]) == 2
    assert "cannot write (File name too long)" in caplog.text


def test_an_interruption_is_told_in_one_line(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "evaluate_scan", stop)
    assert evaluate.main(["--truth", str(dataset)]) == 128 + signal.SIGINT
    (told,) = caplog.messages
    assert told.startswith("interrupted; ")


def test_folders_that_end_alike_keep_rows_of_their_own(dataset: Path, tmp_path: Path) -> None:
    folders = [write_predictions(dataset, tmp_path / name / "out") for name in "ab"]
    _, report = run(dataset, *folders)
    assert {str(folder) for folder in folders} <= set(report["rows"])


def test_the_table_has_a_line_for_every_row(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(dataset)
    printed = capsys.readouterr().out
    assert "mean ± sd" in printed
    for row in ("identity", "constant motion", "truth"):
        assert printed.count(f"\n{row} ") == 3 * (1 + 3)  # of all scans, and of three protocols


def test_the_table_names_the_truth_that_it_used(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Simulated scans keep exact poses beside those that a tracker would report."""
    for path in dataset.rglob("transfs/*/*.h5"):
        with h5py.File(path, "a") as file:
            file["tforms_exact"] = file["tforms"][()]
            file["tforms_exact"].attrs["truth"] = "exact"
    run(dataset)
    assert "truth: tracked poses" in capsys.readouterr().out
    _, report = run(dataset, more=("--poses", "tforms_exact"))
    assert "truth: exact poses" in capsys.readouterr().out
    assert {scan["truth"] for scan in report["scans"]} == {"exact"}


def test_a_pose_dataset_that_is_not_there_is_named(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluate.main(["--truth", str(dataset), "--poses", "tforms_exact"]) == 2
    assert "no dataset 'tforms_exact'" in caplog.text


def test_the_fitted_probe_scale_undoes_a_shrinkage_across(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shrunk(motion: Motion) -> Motion:
        xi = poses.log(motion.T_previous_from_frame) * [1, 1, 1, 1, 1, 0.5]
        return Motion(poses.chain(poses.exp(xi)), poses.exp(xi))

    def straight(motion: Motion) -> Motion:
        xi = np.zeros((len(motion.T_first_from_frame), 6))
        xi[:, 5] = 0.3
        return Motion(poses.chain(poses.exp(xi)), poses.exp(xi))

    folder = write_predictions(dataset, tmp_path / "half", lambda m: shrunk(straight(m)))
    run(dataset, folder, more=("--fit-probe",))
    with_half = float(capsys.readouterr().out.split("half: fitted probe scale ")[1].split(";")[0])
    folder = write_predictions(dataset, tmp_path / "full", straight)
    run(dataset, folder, more=("--fit-probe",))
    with_full = float(capsys.readouterr().out.split("full: fitted probe scale ")[1].split(";")[0])
    assert with_half == pytest.approx(2 * with_full, rel=1e-2)


def test_a_probe_scale_is_fitted_to_the_scans_that_can_be_read(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_predictions(dataset, tmp_path / "ours")
    result_path(folder, next(iter(SCANS))).unlink()
    run(dataset, folder, more=("--fit-probe",))
    assert "ours: fitted probe scale 1.000" in capsys.readouterr().out
    for key in SCANS:
        result_path(folder, key).unlink(missing_ok=True)
    run(dataset, folder, more=("--fit-probe",))
    assert "ours: no motion across the image to fit" in capsys.readouterr().out


def test_truth_that_does_not_move_fits_no_probe_scale(
    tmp_path: Path,
    make_validation_dataset: Make,
    make_hdf5: Make,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = make_validation_dataset(tmp_path / "data", with_poses=False)
    still = np.tile(poses.exp(np.ones(6)).astype(np.float32), (5, 1, 1))
    make_hdf5(dataset / "transfs/050/RH_rotation.h5", {"tforms": still})

    def moving(motion: Motion) -> Motion:
        xi = np.ones((len(motion.T_first_from_frame), 6))
        return Motion(poses.chain(poses.exp(xi)), poses.exp(xi))

    folder = write_predictions(dataset, tmp_path / "ours", moving)
    run(dataset, folder, more=("--fit-probe",))
    assert "ours: no motion across the image to fit" in capsys.readouterr().out


def test_the_numbers_of_identity_are_found_once(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are both a row and what scores are normalised by."""
    calls: list[int] = []
    found = metrics.errors

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return found(*arguments)

    monkeypatch.setattr(metrics, "errors", counted)
    run(dataset)
    assert len(calls) == 3 * len(SCANS)  # identity, constant motion, truth
