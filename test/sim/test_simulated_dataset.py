"""Data sets as the challenge lays them out: complete, resumable, the same on any machine."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import simulate
from sim import SIMULATOR, card, dataset
from sim.card import CARD
from tusrec.calibration import read_calibration
from tusrec.errors import InputError

ROOT = Path(__file__).parents[2]
ORDER = dataset.Order(
    year=2025, kind="validation", scans=2, frames=3, protocol="rotation", probe="linear",
    anatomy="forearm", seed=900_003, truth="exact", first_subject=50,
)  # fmt: skip


def make(order: dataset.Order, folder: Path, jobs: int = 1) -> None:
    dataset.make(order, folder, jobs, lambda frames: None)


def card_of(order: dataset.Order, folder: Path) -> None:
    """Leave what a run leaves that is stopped at once."""
    drawn = {s.key: dataset.recipe_of(order, s).as_card() for s in dataset.items(order, folder)}
    card.write_card(folder, asdict(order), drawn)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_the_validation_layout_is_the_challenges(tmp_path: Path) -> None:
    make(ORDER, tmp_path)
    with h5py.File(tmp_path / "dataset_keys.h5") as file:
        assert set(file) == {"sub050__RH_rotation", "sub050__LH_rotation"}
    with h5py.File(tmp_path / "frames/050/LH_rotation.h5") as file:
        assert (file["frames"].shape, file["frames"].dtype) == ((3, 480, 640), np.uint8)
    with h5py.File(tmp_path / "transfs/050/LH_rotation.h5") as file:
        assert (file["tforms"].shape, file["tforms"].dtype) == ((3, 4, 4), np.float32)
        np.testing.assert_array_equal(file["tforms"], file["tforms_exact"])
        assert not np.array_equal(file["tforms"], file["tforms_tracked"])
        assert file["tforms"].attrs["truth"] == "exact"
    with h5py.File(tmp_path / "landmarks/landmark_050.h5") as file:
        assert file["RH_rotation"].shape == file["LH_rotation"].shape == (100, 3)
        assert np.issubdtype(file["RH_rotation"].dtype, np.integer)
    spacing = read_calibration(tmp_path / "calib_matrix.csv").spacing
    assert spacing == pytest.approx((0.0875, 0.0875))


def test_the_2024_train_layout_is_the_challenges(tmp_path: Path) -> None:
    order = replace(
        ORDER, year=2024, kind="train", protocol="sweeps", truth="tracked", scans=2, first_subject=7
    )
    make(order, tmp_path)
    assert not (tmp_path / "dataset_keys.h5").exists()
    with h5py.File(tmp_path / "frames_transfs/007/RH_Per_L_PtD.h5") as file:
        assert file["frames"].shape == (3, 480, 640)
        np.testing.assert_array_equal(file["tforms"], file["tforms_tracked"])
        assert file["tforms"].attrs["truth"] == "tracked"
    with h5py.File(tmp_path / "landmarks/landmark_007.h5") as file:
        assert file["RH_Per_L_DtP"].shape == (20, 3)


def test_a_subject_of_2024_has_the_24_scans_of_the_challenge() -> None:
    order = replace(ORDER, year=2024, protocol="sweeps", scans=25)
    keys = [item.key for item in dataset.items(order, Path())]
    assert len(set(keys)) == 25
    assert {"sub050__RH_Par_S_PtD", "sub050__LH_Per_C_DtP", "sub051__RH_Per_L_DtP"} < set(keys)


def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for jobs in (1, 2):
        make(ORDER, tmp_path / str(jobs), jobs)
    one, two = digests(tmp_path / "1"), digests(tmp_path / "2")
    assert one == two
    assert len(one) == 9


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    make(ORDER, tmp_path)
    whole = digests(tmp_path)
    kept = tmp_path / "frames/050/RH_rotation.h5"
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "frames/050/LH_rotation.h5").unlink()
    (tmp_path / "frames/050/.LH_rotation.h5.part").write_bytes(b"half a file")
    (tmp_path / "dataset_keys.h5").unlink()
    make(ORDER, tmp_path)
    assert digests(tmp_path) == whole
    assert kept.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("damage", [b"", b"none", None])
@pytest.mark.parametrize("part", ["frames", "transfs"])
def test_a_damaged_scan_is_told_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: str, damage: bytes | None
) -> None:
    order = replace(ORDER, scans=1)
    make(order, tmp_path)
    whole = digests(tmp_path)
    path = tmp_path / part / "050/RH_rotation.h5"
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    make(order, tmp_path)
    assert digests(tmp_path) == whole
    assert f"{path}: not a readable HDF5 file" in caplog.text


def test_a_scan_of_another_length_is_made_anew(tmp_path: Path) -> None:
    order = replace(ORDER, scans=1)
    make(order, tmp_path)
    whole = digests(tmp_path)
    with h5py.File(tmp_path / "transfs/050/RH_rotation.h5", "r+") as file:
        del file["tforms_tracked"]
        file["tforms_tracked"] = np.zeros((2, 4, 4), np.float32)
    make(order, tmp_path)
    assert digests(tmp_path) == whole


@pytest.mark.parametrize("there", ["calib_matrix.csv", "frames", "loose.h5", "sweep.mha", "IM0001"])
def test_a_folder_of_data_that_were_not_simulated_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, there: str
) -> None:
    (tmp_path / there).write_text("of a patient")
    assert simulate.main(["--output", str(tmp_path), "--scans", "1", "--frames", "2"]) == 2
    assert f"error: {tmp_path}: found {there} and no {CARD}" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_what_a_stopped_run_leaves_before_its_card_is_no_other_data(tmp_path: Path) -> None:
    (tmp_path / f".{CARD}.part").write_text('{"simu')
    (tmp_path / ".DS_Store").write_text("of the system")
    card_of(ORDER, tmp_path)
    assert (tmp_path / CARD).is_file()


@pytest.mark.parametrize(
    ("option", "there", "asked"),
    [("seed", 900_003, 900_004), ("anatomy", "forearm", None), ("frames", 3, 4)],
)
def test_a_folder_of_another_order_is_refused_by_the_name_of_what_differs(
    tmp_path: Path, option: str, there: object, asked: object
) -> None:
    card_of(ORDER, tmp_path)
    with pytest.raises(InputError, match=f"found {option} {there}, expected {asked or 'none'};"):
        make(replace(ORDER, **{option: asked}), tmp_path)  # type: ignore[arg-type]


def test_a_folder_of_another_simulator_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card_of(ORDER, tmp_path)
    monkeypatch.setattr(card, "SIMULATOR", SIMULATOR + 1)
    with pytest.raises(InputError, match=f"found simulator {SIMULATOR}, expected {SIMULATOR + 1};"):
        make(ORDER, tmp_path)


def test_a_folder_of_scans_that_were_drawn_otherwise_is_refused(tmp_path: Path) -> None:
    card_of(ORDER, tmp_path)
    text = (tmp_path / CARD).read_text()
    (tmp_path / CARD).write_text(text.replace('"strata": ', '"strata": 1', 1))
    with pytest.raises(InputError, match="found 2 scans, expected these among the 2"):
        make(ORDER, tmp_path)


def test_more_scans_are_added_to_a_set_and_fewer_are_not_taken_from_it(tmp_path: Path) -> None:
    make(replace(ORDER, scans=1), tmp_path / "grown")
    kept = tmp_path / "grown/frames/050/RH_rotation.h5"
    stamp = kept.stat().st_mtime_ns
    for name in ("grown", "whole"):
        make(ORDER, tmp_path / name)
    assert digests(tmp_path / "grown") == digests(tmp_path / "whole")
    assert kept.stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="found 2 scans, expected these among the 1"):
        make(replace(ORDER, scans=1), tmp_path / "grown")


def test_a_set_that_is_added_to_has_no_list_of_keys_until_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(replace(ORDER, scans=1), tmp_path)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "_write_scans", stopped)
    with pytest.raises(KeyboardInterrupt):
        make(ORDER, tmp_path)
    assert not (tmp_path / "dataset_keys.h5").exists()


def test_options_that_are_given_as_they_are_by_default_are_no_other_order() -> None:
    bare = simulate.parse(["--output", "set"])
    given = ["--first-subject", "50", "--protocol", "rotation", "--frames", "1500"]
    assert simulate.order_of(simulate.parse(["--output", "set", *given])) == simulate.order_of(bare)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_scans_that_are_too_long_for_memory_are_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, jobs: str
) -> None:
    order = ["--scans", "1", "--frames", "10000000000", "--jobs", jobs]
    assert simulate.main(["--output", str(tmp_path), *order]) == 3
    assert "RH_rotation.h5: found no memory left for a scan of 10000000000 frames" in caplog.text
    assert "give fewer --frames or --jobs" in caplog.text


def test_the_help_states_every_default_and_none_that_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        simulate.parse(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "None" not in told
    assert told.count("(default: ") == 11
    assert "0 for train, 50 for validation" in told


def test_the_card_states_all_that_was_drawn(tmp_path: Path) -> None:
    make(replace(ORDER, scans=1), tmp_path)
    found = json.loads((tmp_path / CARD).read_text())
    scan = found["scans"]["sub050__RH_rotation"]
    assert found["simulator"] == SIMULATOR
    assert found["order"]["seed"] == 900_003
    assert {"anatomy", "protocol", "probe", "console", "imperfections", "seed"} <= set(scan)


def test_the_command_line_writes_a_data_set(tmp_path: Path) -> None:
    options = ["--scans", "1", "--frames", "2", "--probe", "linear", "--seed", "900007"]
    assert simulate.main(["--output", str(tmp_path / "set"), *options]) == 0
    assert (tmp_path / "set/contact_sheet.png").stat().st_size > 1000
    assert (tmp_path / "set/dataset_keys.h5").exists()


@pytest.mark.parametrize(
    ("option", "least"),
    [("--scans", 1), ("--frames", 2), ("--jobs", 1), ("--seed", 0), ("--first-subject", 0)],
)
def test_a_number_that_is_too_low_is_told_in_one_line_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, least: int
) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate.main(["--output", str(tmp_path / "set"), option, str(least - 1)])
    assert ended.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{option}: found {least - 1}, expected a whole number from {least} on" in message
    assert not (tmp_path / "set").exists()


def test_an_order_of_no_scans_is_refused() -> None:
    with pytest.raises(InputError, match="expected 1 or more"):
        dataset.items(replace(ORDER, scans=0), Path())


def test_a_card_that_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / CARD).write_text('{"order": {"ye')
    assert simulate.main(["--output", str(tmp_path), "--scans", "1", "--frames", "2"]) == 2
    assert caplog.messages[-1].startswith(f"error: {tmp_path / CARD}: found no JSON")


@pytest.mark.parametrize(
    ("rest", "part"),
    [({}, "order"), ({"order": 7}, "order"), ({"order": {}, "scans": []}, "scans")],
)
def test_a_card_that_lacks_a_part_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rest: dict[str, object], part: str
) -> None:
    (tmp_path / CARD).write_text(json.dumps({"simulator": SIMULATOR} | rest))
    assert simulate.main(["--output", str(tmp_path), "--scans", "1", "--frames", "2"]) == 2
    (told,) = caplog.messages
    assert told.startswith(f"error: {tmp_path / CARD}: found no object {part}, expected")


# A limit on file size fails a write just as a full disk does, and needs no rights.
FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
import simulate
sys.exit(simulate.main(sys.argv[1:]))
"""


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    options = ["--scans", "1", "--frames", "2", "--probe", "linear", "--output", str(tmp_path)]
    command = [sys.executable, "-c", FULL_DISK, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "RH_rotation.h5: cannot write" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [CARD]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_ended_leaves_no_process_and_nothing_half_written(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    options = ["--scans", "6", "--frames", "500", "--probe", "linear", "--jobs", "2"]
    command = [sys.executable, "simulate.py", "--output", str(tmp_path / "set"), *options]
    run = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 300
    while len(list(tmp_path.rglob("*.part"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    # As a terminal tells all of its processes, and a system the first.
    os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
    _, told = run.communicate(timeout=300)
    assert run.returncode == code
    assert "Traceback" not in told
    assert ("interrupted; the same command goes on" in told) == (number == signal.SIGINT)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [CARD]


def test_an_unwritable_output_is_reported_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    output = str(tmp_path / "file" / "set")
    assert simulate.main(["--output", output, "--scans", "1", "--frames", "2"]) == 2
