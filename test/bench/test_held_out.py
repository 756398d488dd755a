"""The held-out set: what the issue asks for, cut from whole scans, with exact poses."""

from pathlib import Path

import numpy as np
import pytest

from bench import held_out
from sim import EVALUATION_SEED
from sim.card import CARD
from sim.motion import SWEEPS
from tusrec import poses
from tusrec.layouts import find_scans


def test_the_set_has_rotation_scans_and_different_sweeps_and_seeds_for_evaluation() -> None:
    protocols = [item.protocol for item in held_out.items()]
    sweeps = [protocol for protocol in protocols if protocol in SWEEPS]
    assert held_out.SEED >= EVALUATION_SEED
    assert protocols.count("rotation") >= 12
    assert len(sweeps) == len(set(sweeps)) >= 6
    assert all(item.frames >= 400 for item in held_out.items())


def test_it_is_read_as_any_data_set_and_made_once(tmp_path: Path) -> None:
    scans = held_out.items(["rotation", "Par_S_PtD"], frames=3)
    held_out.make(tmp_path, scans)
    made = modified(tmp_path)
    held_out.make(tmp_path, scans)
    assert modified(tmp_path) == made

    read = find_scans(tmp_path)
    assert [source.key for source in read.scans] == ["sub900__RH_rotation", "sub901__RH_Par_S_PtD"]
    for source, landmarks in zip(read.scans, (100, 20), strict=True):
        with source.open() as scan:
            assert scan.truth == "exact"
            assert scan.frames.shape == (3, 480, 640)
            assert len(scan.landmarks) == landmarks
            motion = scan.true_motion()
            assert motion is not None
            steps = np.linalg.norm(poses.log(motion.T_previous_from_frame)[:, 3:], axis=1)
            assert (steps < 5).all()


def test_a_stopped_run_goes_on_and_a_damaged_scan_is_made_anew(tmp_path: Path) -> None:
    scans = held_out.items(["rotation", "Par_S_PtD"], frames=3)
    held_out.make(tmp_path, scans)
    (tmp_path / "dataset_keys.h5").unlink()
    damaged = tmp_path / "transfs/901/RH_Par_S_PtD.h5"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    stopped = modified(tmp_path)
    held_out.make(tmp_path, scans)
    made = modified(tmp_path)
    anew = {path.parent.name for path in stopped if made[path] != stopped[path]}
    assert anew == {"901", "landmarks"}
    with find_scans(tmp_path).scans[1].open() as scan:
        assert scan.true_motion() is not None


OLDER = f'{{"order": {{"seed": {held_out.SEED}}}}}'


@pytest.mark.parametrize("card", ['{"order": {"se', '{"order": {"seed": 7}}', "[]", "{}", OLDER])
def test_a_folder_of_anything_else_is_refused_in_one_line(
    card: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / CARD).write_text(card)
    assert held_out.main(["--output", str(tmp_path)]) == 2
    (line,) = caplog.messages
    assert line.startswith(f"error: {tmp_path / CARD}: ")


def test_no_processes_are_too_few(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        held_out.main(["--jobs", "0"])
    assert "--jobs: found 0, expected a whole number from 1 on" in capsys.readouterr().err


def modified(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}
