"""docs/own-data.md: what it says works as it stands there."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

import predict
from tusrec.calibration import read_calibration
from tusrec.layouts import find_scans

PAGE = (Path(predict.__file__).parent / "docs" / "own-data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_pictures_become_a_scan_that_is_predicted(
    channels: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 30, 40)).astype(np.uint8)
    (tmp_path / "scan").mkdir()
    for number, frame in enumerate(frames, 8):  # 10.png comes after 9.png
        grey = frame.reshape(30, 40, *[1] * len(channels))
        shown = np.ascontiguousarray(np.broadcast_to(grey, (30, 40, *channels)))
        if channels == (4,):
            shown[..., 3] = 255  # opaque
        picture = sitk.GetImageFromArray(shown, isVector=bool(channels))
        sitk.WriteImage(picture, str(tmp_path / "scan" / f"{number}.png"))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    with h5py.File("scan.h5") as file:
        np.testing.assert_array_equal(file["frames"], frames)
    arguments = ["--model", "identity", "--input", "scan.h5", "--spacing", "0.2", "0.2"]
    assert predict.main([*arguments, "--output", "results"]) == 0


def test_the_layout_and_the_calibration_are_read(tmp_path: Path) -> None:
    (lines,) = re.findall(r"mm here:\n\n(.*?)\n\n", PAGE, re.DOTALL)
    path = tmp_path / "data" / "calib_matrix.csv"
    (scan,) = re.findall(r"data/(frames_transfs\S+\.h5)", PAGE)
    (path.parent / scan).parent.mkdir(parents=True)
    path.write_text(re.sub("^ +", "", lines, flags=re.MULTILINE) + "\n", encoding="utf-8")
    with h5py.File(path.parent / scan, "w") as file:
        file["frames"] = np.zeros((3, 512, 500), np.uint8)
        file["tforms"] = np.tile(np.eye(4), (3, 1, 1))
    assert read_calibration(path).spacing == (0.2, 0.2)
    (source,) = find_scans(tmp_path / "data").scans
    assert source.key == "sub000__RH_rotation"
    with source.open() as found:
        assert found.true_motion() is not None
