"""Export: a run's averaged weights become the file that estimators read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic import moving_clip

from model.baseline import build_network
from model.learned import Learned
from model.pose_net import PoseNet
from model.weights import load_weights, seen_by
from training import export as export_module
from training.checkpoint import Progress, begun, save
from training.clips import REAL_SEED, write_clip
from training.export import calibration_clips, export, main, record
from tusrec.errors import InputError, OutputError, WeightsError


@pytest.fixture(autouse=True)
def of_few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "SHORTEST", 9)


def run_with(fold: str, *data: str, people: tuple[int, ...] = ()) -> Progress:
    return Progress("tusrec", 1, fold=fold, data=list(data), people=list(people))


def test_the_average_is_written_with_its_record(tmp_path: Path) -> None:
    state = begun(PoseNet(), Progress("tusrec", 1, 50, 800, 3.0, "0/5", ["2025"], "a file"))
    with torch.no_grad():
        next(state.network.parameters()).add_(1.0)  # the average must be told from the network
    save(tmp_path / "run" / "checkpoint.safetensors", state)
    assert main([str(tmp_path / "run"), "--weights", str(tmp_path / "weights")]) == 0
    weights, _ = load_weights("tusrec", tmp_path / "weights")
    for name, value in state.average.module.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)
    assert Learned.from_weights(tmp_path / "weights").weights_sha256
    assert "from a file, without the subjects of fold 0/5" in (
        (tmp_path / "weights" / "manifest.json").read_text()
    )


def test_the_record_of_a_plain_run_is_short() -> None:
    told = record(Progress("tusrec", 1, 50, 800, 3.0, data=["clips", "2025"]))
    assert told == "train.py, 3 minutes, 50 steps, 800 pairs, seed 1, on clips, 2025"


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors"):
        export(tmp_path, tmp_path / "weights")
    assert main([str(tmp_path)]) == 4


def test_clips_too_short_to_set_the_uncertainty_leave_it_to_others_or_are_told_where_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, length in enumerate((8, 9, 8)):
        write_clip(
            moving_clip((1, number), length), tmp_path / "clips" / f"1_{number:06d}.safetensors"
        )
    ((subject, _),) = calibration_clips([tmp_path / "clips"], run_with(""))
    assert subject == "1_000001"
    assert "clips: found 2 of 3 clips of fewer than 9 pictures" in caplog.text
    write_clip(moving_clip(length=8), tmp_path / "short" / "1_000000.safetensors")
    with pytest.raises(InputError, match=r"short: found nobody whom .* in 9 pictures and more"):
        calibration_clips([tmp_path / "short"], run_with(""))


def test_scans_of_people_whom_no_run_saw_set_the_uncertainty_whatever_the_folder_is_called(
    tmp_path: Path, make_train_dataset: Callable[..., Path]
) -> None:
    keys = {f"sub{n:03d}__RH_rotation": 12 for n in (1, 2, 6)}
    data = make_train_dataset(tmp_path / "2025", keys)
    ((subject, one),) = calibration_clips([data], run_with("1/5", "all25 (tracked)", people=(1, 6)))
    assert subject == "sub002"
    assert one.T_first_from_frame.shape == (12, 4, 4)
    assert len(calibration_clips([data], run_with("1/5", people=(2, 3)))) == 2
    assert len(calibration_clips([data], run_with(""))) == 3
    with pytest.raises(InputError, match="2025: found nobody whom the run did not see"):
        calibration_clips([data], run_with("3/5", people=(1, 2, 6)))


def test_a_scan_that_is_too_short_or_broken_leaves_the_uncertainty_to_the_others(
    tmp_path: Path, make_train_dataset: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    keys = {f"sub{n:03d}__RH_rotation": frames for n, frames in ((1, 12), (2, 5), (3, 12))}
    data = make_train_dataset(tmp_path / "2025", keys)
    next((data / "frames_transfs" / "003").glob("*.h5")).write_bytes(b"no HDF5")
    assert [subject for subject, _ in calibration_clips([data], run_with(""))] == ["sub001"]
    assert "left out: sub002__RH_rotation: found 5 pictures, expected 9 and more" in caplog.text
    assert caplog.text.count("left out") == 2


def test_clips_that_a_run_saw_without_a_fold_do_not_set_the_uncertainty(tmp_path: Path) -> None:
    write_clip(moving_clip((1, 0), length=10), tmp_path / "clips" / "1_000000.safetensors")
    with pytest.raises(InputError, match="clips: found data of that name in the run's --data"):
        calibration_clips([tmp_path / "clips"], run_with("", "clips"))


def test_simulated_clips_that_a_run_with_a_fold_never_saw_all_set_the_uncertainty(
    tmp_path: Path,
) -> None:
    for kind, numbers in (("sweeps", range(2)), ("rotation", range(2, 6))):
        for number in numbers:
            path = tmp_path / "unseen" / kind / f"1_{number:06d}.safetensors"
            write_clip(moving_clip((1, number), length=10), path)
    unseen = tmp_path / "unseen"
    found = calibration_clips([unseen], run_with("0/5", "clips"))
    assert [subject for subject, _ in found] == [f"1_{n:06d}" for n in (2, 3, 4, 5, 0, 1)]
    assert len(calibration_clips([unseen], run_with("0/5", "unseen"))) == 2


def test_many_clips_are_too_many_and_some_from_all_over_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "MOST_CLIPS", 3)
    for number in range(7):
        write_clip(moving_clip((1, number), length=10), tmp_path / f"1_{number:06d}.safetensors")
    found = calibration_clips([tmp_path], run_with(""))
    assert [subject for subject, _ in found] == ["1_000000", "1_000003", "1_000006"]


def test_a_data_set_kept_for_evaluation_does_not_set_the_uncertainty(
    tmp_path: Path, make_train_dataset: Callable[..., Path]
) -> None:
    data = make_train_dataset(tmp_path / "held out", {"sub001__RH_rotation": 12})
    (data / "simulation.json").write_text('{"order": {"seed": 900300}}')
    with pytest.raises(InputError, match="900300"):
        calibration_clips([data], run_with(""))


def test_clips_of_subjects_that_were_trained_on_do_not_set_the_uncertainty(tmp_path: Path) -> None:
    for subject in ("sub001", "sub002"):
        path = tmp_path / "clips" / subject / f"{subject}__RH_rotation_00000.safetensors"
        write_clip(replace(moving_clip(length=10), seed=(REAL_SEED, 0)), path)
    ((subject, _),) = calibration_clips([tmp_path / "clips"], run_with("1/5", people=(2,)))
    assert subject == "sub001"


@pytest.mark.parametrize("fault", ["a file", "a broken manifest"])
def test_a_place_that_takes_no_weights_is_told_before_the_uncertainty_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    save(tmp_path / "checkpoint.safetensors", begun(PoseNet(), Progress("tusrec", 1)))
    weights = tmp_path / "weights"
    if fault == "a file":
        weights.touch()
    else:
        weights.mkdir()
        (weights / "manifest.json").write_text("{")
    monkeypatch.setattr(export_module, "calibration_clips", lambda *_: pytest.fail("begun"))
    with pytest.raises((OutputError, WeightsError), match=str(weights)):
        export(tmp_path, weights, [tmp_path])


def test_what_a_run_saw_is_in_the_manifest(tmp_path: Path) -> None:
    progress = run_with("0/5", "2025", people=(1, 2))
    progress.before = {"2024": "0/5"}
    save(tmp_path / "checkpoint.safetensors", begun(PoseNet(), progress))
    export(tmp_path, tmp_path / "weights")
    assert seen_by("tusrec", tmp_path / "weights") == ({"2025": "0/5", "2024": "0/5"}, [1, 2])


def test_a_model_without_uncertainty_has_none_set(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint.safetensors", begun(build_network(), Progress("baseline", 1)))
    with pytest.raises(InputError, match="--calibrate: found baseline"):
        export(tmp_path, tmp_path / "weights", [tmp_path])
