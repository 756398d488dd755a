"""The score: every row on every scan, the bars, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from bench import score
from bench.measured import OUR_PAIRS, OURS, measure
from bench.score_bars import Bar, at_least, at_most, real_bars, simulated_bars
from model.baseline import build_network
from model.pose_net import PoseNet
from training import checkpoint
from training.checkpoint import Progress
from tusrec.layouts import find_scans

ROWS = [
    "identity",
    "constant motion",
    "classical",
    "classical, better mirror",
    "baseline",
    "baseline, better mirror",
    "tusrec",
    "tusrec, better mirror",
    "tusrec, oracle sign",
    "  + oracle scale",
    "  + oracle bias",
]
SCANS = {"sub900__RH_rotation": 5, "sub901__RH_Par_C_DtP": 5}


def write_checkpoint(folder: Path, name: str, network: nn.Module) -> str:
    path = folder / f"{name}.safetensors"
    checkpoint.save(path, checkpoint.begun(network, Progress(name, 0)))
    return str(path)


def test_every_row_is_measured_on_every_kind_of_scan(
    tmp_path: Path,
    make_validation_dataset: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    data = make_validation_dataset(tmp_path / "data", SCANS)
    real = make_validation_dataset(tmp_path / "real" / "leg_linear", {"sub900__RH_run1": 5})
    ours = write_checkpoint(tmp_path, "tusrec", PoseNet())
    theirs = write_checkpoint(tmp_path, "baseline", build_network())
    command = ["--set", str(data), "--real", str(real.parent), "--checkpoint", ours]
    command += ["--baseline-checkpoint", theirs, "--json", str(tmp_path / "score.json")]
    assert score.main(command) == 0

    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > 140] == []
    assert all(part in text for part in ("simulated, sweeps (1)", "leg_linear, scans (1)", "held"))
    found = json.loads((tmp_path / "score.json").read_text())
    kinds = found["data"]["simulated"]
    assert list(kinds) == ["rotation scans", "sweeps", "all scans"]
    assert list(kinds["all scans"]["rows"]) == ROWS
    assert kinds["all scans"]["rows"]["identity"]["final"] == 0
    assert kinds["sweeps"]["rows"]["tusrec"]["seconds"] > 0
    assert list(kinds["sweeps"]["pairs"]) == ["classical", "baseline", "tusrec", "tusrec, pairs"]
    assert list(kinds["sweeps"]["pairs"]["tusrec, pairs"]) == ["1", "2", "4"]
    for row in ("tusrec", "tusrec, pairs"):
        assert any(f"leg_linear, {row}, interval 4" in bar["what"] for bar in found["bars"])
    assert set(found["weights"]) == {"classical", "baseline", "tusrec"}


def test_an_oracle_never_loses_to_what_it_corrects(
    tmp_path: Path, make_validation_dataset: Callable[..., Path]
) -> None:
    torch.manual_seed(1)
    data = make_validation_dataset(tmp_path / "data", {"sub900__RH_rotation": 8})
    ours = write_checkpoint(tmp_path, "tusrec", PoseNet())
    estimators = score.chosen_estimators(Path(ours), None)
    rows = score.sum_up(data, estimators)["rotation scans"].rows
    errors = [rows[row]["LPE"] for row in ("tusrec", "tusrec, better mirror", ROWS[-3])]
    assert errors == sorted(errors, reverse=True)


def test_the_pairs_of_a_scan_of_doubled_frames_are_of_its_pictures(
    tmp_path: Path, make_validation_dataset: Callable[..., Path]
) -> None:
    torch.manual_seed(0)
    scans = {"sub900__RH_rotation": 10, "sub901__RH_Par_C_DtP": 5}
    data = make_validation_dataset(tmp_path / "data", scans)
    with h5py.File(data / "frames/900/RH_rotation.h5", "a") as file:
        file["frames"][1::2] = file["frames"][::2]
    ours = write_checkpoint(tmp_path, "tusrec", PoseNet())
    found = score.sum_up(data, score.chosen_estimators(Path(ours), None))
    doubled = next(s for s in find_scans(data).scans if s.key == "sub900__RH_rotation")
    pairs = measure(doubled, score.chosen_estimators(Path(ours), None)).pairs
    assert len(pairs[OURS][1].true) == 9
    assert len(pairs[OUR_PAIRS][1].true) == 4
    np.testing.assert_allclose(
        np.linalg.norm(pairs[OUR_PAIRS][1].true[:, 3:], axis=1).sum(),
        np.linalg.norm(pairs[OURS][2].true[::2, 3:], axis=1).sum(),
        rtol=1e-6,
    )
    told = [bar.what for bar in simulated_bars(found)]
    assert any(f"rotation scans, {OUR_PAIRS}, interval 1" in what for what in told)
    assert list(real_bars("real", {"scans": found["rotation scans"]}))


def test_without_weights_it_says_so_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = str(tmp_path / "none.safetensors")
    assert score.main(["--checkpoint", missing]) == 4
    (line,) = caplog.messages
    assert missing in line
    assert len(line.splitlines()) == 1


def test_scans_without_poses_are_refused(
    tmp_path: Path,
    make_validation_dataset: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = make_validation_dataset(tmp_path / "data", {"sub900__RH_rotation": 3}, with_poses=False)
    ours = write_checkpoint(tmp_path, "tusrec", PoseNet())
    assert score.main(["--set", str(data), "--checkpoint", ours]) == 2
    assert "sub900__RH_rotation: found no poses" in caplog.text


def test_absent_real_scans_are_one_line_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score.real_datasets(tmp_path / "nowhere") == []
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_bar_is_held_only_if_every_number_is_within_it() -> None:
    assert Bar("slopes", [0.9, 1.0, 1.1], 0.9, 1.1).held
    assert not Bar("slopes", [0.9, 1.0, 1.2], 0.9, 1.1).held
    assert not Bar("slopes", [0.9, np.nan], 0.9, 1.1).held
    assert at_most("error", 0.12, 0.12).held
    assert not at_least("score", 0.69, 0.7).held


def test_a_bar_says_what_was_found_and_asked() -> None:
    assert at_most("error", 0.2, 0.12).line() == "NOT held  error: 0.200 (at most 0.12)"
    line = Bar("slopes", [1.0, 0.95], 0.9, 1.1).line()
    assert line == "held      slopes: 0.950 to 1.000 (at least 0.9 and at most 1.1)"
