"""Export: a run's averaged weights become the file that estimators read."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from synthetic import moving_clip

from model.baseline import build_network
from model.learned import Learned
from model.pose_net import PoseNet
from model.weights import load_weights, seen_by
from training.checkpoint import Progress, begun, save
from training.clips import write_clip
from training.export import calibration_clips, export, main, record
from training.folds import Fold
from tusrec.errors import InputError, WeightsError


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


def test_clips_too_short_to_set_the_uncertainty_by_are_named(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint.safetensors", begun(PoseNet(), Progress("tusrec", 1)))
    write_clip(moving_clip(length=8), tmp_path / "short" / "1.safetensors")
    with pytest.raises(InputError, match=r"1\.safetensors: found 8 frames, expected more than 8"):
        export(tmp_path, tmp_path / "weights", [tmp_path / "short"])


def test_tracked_scans_set_the_uncertainty_by_those_that_the_fold_held_out(
    tmp_path: Path, make_train_dataset: Callable[..., Path]
) -> None:
    keys = {f"sub{n:03d}__RH_rotation": 12 for n in (1, 2, 6)}
    data = make_train_dataset(tmp_path / "2025", keys)
    (one,) = calibration_clips([data], Fold(2, 5))
    assert one.T_first_from_frame.shape == (12, 4, 4)
    assert len(calibration_clips([data], Fold(1, 5))) == 2
    assert len(calibration_clips([data], Fold())) == 3
    with pytest.raises(InputError, match="2025: found nothing that fold 3/5 holds out"):
        calibration_clips([data], Fold(3, 5))


def test_a_data_set_kept_for_evaluation_does_not_set_the_uncertainty(
    tmp_path: Path, make_train_dataset: Callable[..., Path]
) -> None:
    data = make_train_dataset(tmp_path / "held out", {"sub001__RH_rotation": 12})
    (data / "simulation.json").write_text('{"order": {"seed": 900300}}')
    with pytest.raises(InputError, match="900300"):
        calibration_clips([data], Fold())


def test_clips_of_subjects_that_were_trained_on_do_not_set_the_uncertainty(tmp_path: Path) -> None:
    for subject in ("sub001", "sub002"):
        write_clip(moving_clip(length=10), tmp_path / "clips" / subject / "1.safetensors")
    assert len(calibration_clips([tmp_path / "clips"], Fold(1, 5))) == 1


def test_what_a_run_saw_is_in_the_manifest(tmp_path: Path) -> None:
    progress = Progress("tusrec", 1, fold="0/5", data=["2025"], before={"2024": "0/5"})
    save(tmp_path / "checkpoint.safetensors", begun(PoseNet(), progress))
    export(tmp_path, tmp_path / "weights")
    assert seen_by("tusrec", tmp_path / "weights") == {"2025": "0/5", "2024": "0/5"}


def test_a_model_without_uncertainty_has_none_set(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint.safetensors", begun(build_network(), Progress("baseline", 1)))
    with pytest.raises(InputError, match="--calibrate: found baseline"):
        export(tmp_path, tmp_path / "weights", [tmp_path])
