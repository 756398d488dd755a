"""reconstruct.py from the outside: scans and poses in, volumes and exit codes out."""

import logging
from collections.abc import Callable
from pathlib import Path, PurePath

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

import predict
import reconstruct

Make = Callable[..., Path]
STEPS = np.tile(np.eye(4), (5, 1, 1))
STEPS[:, :3, 3] = [100, 50, 20]
STEPS[:, 2, 3] += np.arange(5)
PIXEL = np.diag([0.5, 0.25, 1.0, 1.0])


@pytest.fixture
def sequence(tmp_path: Path, make_sequence: Make) -> Path:
    """Five frames 1 mm apart, of 60x80 pixels of 0.5 x 0.25 mm, frame i of grey 50 i + 9."""
    greys = (9 + 50 * np.arange(5, dtype=np.uint8))[:, None, None]
    pixels = np.tile(greys, (1, 60, 80))
    return make_sequence(tmp_path / "a.mha", {"ImageToReference": STEPS @ PIXEL}, pixels)


def run(source: Path, output: Path, *more: str) -> int:
    return reconstruct.main(["--input", str(source), "--output", str(output), *more])


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have every reconstruction end with `error`."""

    def end(*_: object) -> None:
        raise error

    monkeypatch.setattr(reconstruct, "reconstruct", end)


def voxels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def origin(path: Path) -> list[float]:
    return list(sitk.ReadImage(str(path)).GetOrigin())


def test_a_volume_and_its_mask_lie_beside_each_other(sequence: Path, tmp_path: Path) -> None:
    assert run(sequence, tmp_path / "out") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.mask.nrrd", "a.nrrd"]
    volume, mask = voxels(tmp_path / "out/a.nrrd"), voxels(tmp_path / "out/a.mask.nrrd")
    # Frames 1 mm apart in voxels of 0.5 mm: every second layer has data.
    assert volume.shape == mask.shape == (9, 31, 80)
    assert volume[:, 15, 40].tolist() == [9, 0, 59, 0, 109, 0, 159, 0, 209]
    assert mask[:, 15, 40].tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1]


def test_the_scan_is_never_written_over(sequence: Path) -> None:
    before = sequence.read_bytes()
    assert run(sequence, sequence.parent, "--format", "mha") == 2
    assert sequence.read_bytes() == before


def test_the_scan_is_never_written_over_by_a_mask(
    sequence: Path, tmp_path: Path, make_sequence: Make
) -> None:
    masked = make_sequence(tmp_path / "a.mask.mha", {"ImageToReference": STEPS @ PIXEL})
    before = masked.read_bytes()
    assert run(tmp_path, tmp_path, "--format", "mha", "--scan", "a") == 2
    assert masked.read_bytes() == before


def test_a_volume_is_not_written_over_the_mask_of_another_scan(
    sequence: Path, tmp_path: Path, make_sequence: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make_sequence(tmp_path / "a.mask.mha", {"ImageToReference": STEPS @ PIXEL})
    assert run(tmp_path, tmp_path / "out") == 2
    assert "a.mask.nrrd: found a scan's volume and another's mask" in caplog.text
    assert run(tmp_path, tmp_path / "out", "--scan", "a.mask") == 0


def test_the_names_of_many_volumes_are_not_each_compared_with_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def alike(one: Path, other: Path) -> bool:
        compared.append(one)
        return str(one) == str(other)

    written = [Path(f"{number}.nrrd") for number in range(100)]
    monkeypatch.setattr(PurePath, "__eq__", alike)
    reconstruct.require_distinct(written)
    assert len(compared) < 10 * len(written)


def test_holes_are_filled_and_marked_where_that_is_asked_for(
    sequence: Path, tmp_path: Path
) -> None:
    assert run(sequence, tmp_path / "out", "--fill-holes", "1") == 0
    assert voxels(tmp_path / "out/a.nrrd")[:4, 15, 40].tolist() == [9, 34, 59, 84]
    assert voxels(tmp_path / "out/a.mask.nrrd")[:4, 15, 40].tolist() == [1, 2, 1, 2]


def test_the_space_is_the_first_frame_or_the_trackers(sequence: Path, tmp_path: Path) -> None:
    run(sequence, tmp_path / "first")
    run(sequence, tmp_path / "tracker", "--space", "tracker")
    # Image mm of the first pixel, and its place in the tracker's reference; both in LPS.
    assert origin(tmp_path / "first/a.nrrd") == pytest.approx([-0.5, -0.25, 0.0])
    assert origin(tmp_path / "tracker/a.nrrd") == pytest.approx([-100.0, -50.0, 20.0])


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "nii.gz"])
def test_every_format_and_method_is_written(sequence: Path, tmp_path: Path, suffix: str) -> None:
    more = ["--format", suffix, "--interpolation", "LINEAR", "--compounding", "LATEST"]
    assert run(sequence, tmp_path / "out", "--voxel", "1", *more) == 0
    volume = voxels(tmp_path / f"out/a.{suffix}")
    assert volume[:, 5, 20].tolist() == [9, 59, 109, 159, 209]
    assert voxels(tmp_path / f"out/a.mask.{suffix}").all()


def test_only_the_clipped_pixels_are_used(sequence: Path, tmp_path: Path) -> None:
    assert run(sequence, tmp_path / "out", "--clip", "10", "20", "4", "8") == 0
    assert voxels(tmp_path / "out/a.nrrd").shape == (9, 5, 4)
    assert origin(tmp_path / "out/a.nrrd") == pytest.approx([-5.5, -5.25, 0.0])


def test_a_fan_leaves_corners_empty(sequence: Path, tmp_path: Path) -> None:
    # In pixels along x, so 0.5 mm: a half disc of 15 mm, the image being 40 mm wide, 15 mm deep.
    fan = ["--fan", "40", "0", "-90", "90", "0", "29"]
    assert run(sequence, tmp_path / "out", *fan) == 0
    layer = voxels(tmp_path / "out/a.mask.nrrd")[0]
    assert layer.shape == (30, 59)
    assert layer[0].all()
    assert layer[29].sum() < 15
    assert not layer[29, [0, -1]].any()


def test_predicted_poses_are_used_where_they_are_given(sequence: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    predict.main(["--input", str(sequence), "--output", str(results), "--model", "identity"])
    assert run(sequence, tmp_path / "out", "--pred", str(results)) == 0
    assert voxels(tmp_path / "out/a.nrrd")[:, 15, 40].tolist() == [109]  # all in one plane


def test_predicted_poses_lie_in_the_first_frame_and_in_no_tracker(
    sequence: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = tmp_path / "results"
    predict.main(["--input", str(sequence), "--output", str(results), "--model", "identity"])
    pred = ["--pred", str(results)]
    assert run(sequence, tmp_path / "out", *pred, "--space", "first") == 0
    assert run(sequence, tmp_path / "out", *pred, "--space", "tracker") == 2
    assert "--space tracker: found --pred" in caplog.text


def test_predicted_poses_of_other_frames_are_refused(
    sequence: Path, tmp_path: Path, make_sequence: Make, caplog: pytest.LogCaptureFixture
) -> None:
    results = tmp_path / "results"
    predict.main(["--input", str(sequence), "--output", str(results), "--model", "identity"])
    other = make_sequence(tmp_path / "other/a.mha", {"ImageToReference": STEPS @ PIXEL})
    assert run(other, tmp_path / "out", "--pred", str(results)) == 2
    assert "a.h5: holds results for other frames" in caplog.text


def test_the_memory_is_said_before_the_volume_is_made(
    sequence: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    with caplog.at_level(logging.INFO):
        assert run(sequence, tmp_path / "out", "--voxel", "0.05") == 130
    said, ended = (record.getMessage() for record in caplog.records)
    assert "791 x 296 x 81 voxels of 0.05 mm take 190 MB" in said
    assert ended.startswith("interrupted; ")


def test_memory_that_runs_out_costs_no_other_scan(
    sequence: Path,
    tmp_path: Path,
    make_sequence: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_sequence(tmp_path / "b.mha", {"ImageToReference": STEPS @ PIXEL})
    failing(monkeypatch, MemoryError())
    assert run(tmp_path, tmp_path / "out") == 3
    for key in ("a", "b"):
        assert f"error: {key}: out of memory; give a larger --voxel" in caplog.text


def test_a_voxel_that_too_many_pixels_hit_is_told_with_its_scan(
    sequence: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("view.volume.MOST_HITS", 3)
    assert run(sequence, tmp_path / "out", "--voxel", "9") == 2
    assert "error: a: --voxel: found a voxel" in caplog.text


@pytest.mark.parametrize("voxel", ["0.001", "1e-5", "1e-9", "1e-20"])
def test_too_fine_a_grid_is_refused_with_exit_code_3(
    voxel: str, sequence: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(sequence, tmp_path / "out", "--voxel", voxel) == 3
    assert "a: a volume of " in caplog.text
    assert "--voxel" in caplog.text
    assert list((tmp_path / "out").iterdir()) == []


def test_a_scan_without_poses_costs_only_itself(
    sequence: Path, tmp_path: Path, make_sequence: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make_sequence(tmp_path / "b.mha")
    assert run(tmp_path, tmp_path / "out", "--spacing", "0.1", "0.1") == 2
    assert "b: no tracked poses; pass --pred" in caplog.text
    assert (tmp_path / "out/a.nrrd").exists()
    tracker = ["--scan", "b", "--space", "tracker"]
    assert run(tmp_path, tmp_path / "out", "--spacing", "0.1", "0.1", *tracker) == 2
    assert "b: no tracked poses; leave --space tracker out and pass --pred" in caplog.text


def test_pixels_that_leave_nothing_are_refused(
    sequence: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(sequence, tmp_path / "out", "--fan", "0", "0", "-90", "-80", "500", "501") == 2
    assert "leave no pixel" in caplog.text
    assert run(sequence, tmp_path / "out", "--clip", "0", "0", "700", "10") == 2
    assert "a: --clip 0 0 700 10" in caplog.text


@pytest.mark.parametrize(
    "wrong", [["--voxel", "0"], ["--voxel", "nan"], ["--fill-holes", "99"], ["--format", "vtk"]]
)
def test_options_that_make_no_sense_end_with_2(
    sequence: Path, tmp_path: Path, wrong: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(sequence, tmp_path / "out", *wrong)
    assert ended.value.code == 2
