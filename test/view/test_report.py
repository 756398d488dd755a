import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

import predict
from pipeline.evaluation import evaluate_scan
from tusrec.layouts import find_scans
from tusrec.results import read_result, read_scan_result
from view import leaderboard
from view.pictures import COLUMNS, ROWS, contact_sheets
from view.report import write_report

Make = Callable[..., Path]


def block(page: str, name: str) -> dict[str, Any]:
    """The JSON of a block of the page."""
    found = re.search(f'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def run(source: Path, output: Path, *more: str) -> int:
    common = ["--input", str(source), "--output", str(output), "--device", "cpu"]
    return predict.main([*common, "--model", "classical", "--report", *more])


@pytest.fixture
def page(tmp_path: Path, make_lone_scan: Make) -> str:
    make_lone_scan(tmp_path / "data" / "a.h5", with_poses=True)
    assert run(tmp_path / "data", tmp_path / "out") == 0
    return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def calibration(tmp_path: Path, make_calibration: Make) -> None:
    (tmp_path / "data").mkdir()
    make_calibration(tmp_path / "data" / "calib_matrix.csv")


def test_the_page_holds_the_poses_of_every_frame(page: str, tmp_path: Path) -> None:
    data = block(page, "scan-0")
    motion = read_result(tmp_path / "out" / "a.h5").motion.T_first_from_frame
    text = data["motions"]["predicted"]["poses"]
    found = np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 3, 4)
    assert data["frames"] == len(found) == len(motion) + 1
    np.testing.assert_allclose(found[0], np.eye(4)[:3])
    np.testing.assert_allclose(found[1:], motion[:, :3], atol=1e-4)


def test_the_page_holds_the_errors_of_the_result_and_the_leaderboard_as_other_data(
    page: str, tmp_path: Path
) -> None:
    errors = read_result(tmp_path / "out" / "a.h5").errors
    prediction = block(page, "scan-0")["scores"]["prediction"]
    assert errors is not None
    assert prediction["GPE"] == pytest.approx(errors.GPE)
    assert prediction["GLE"] is None
    table = block(page, "run")["leaderboard"]
    assert "other data" in table["title"]
    assert len(table["rows"]) == len(leaderboard.ROWS) == 6


def test_the_volume_of_the_page_can_be_unpacked(page: str) -> None:
    volume = block(page, "scan-0")["volumes"]["true"]
    voxels = gzip.decompress(base64.b64decode(volume["gzip"]))
    assert len(voxels) == np.prod(volume["size"])
    assert max(voxels) > 100


def test_the_page_shows_what_a_wrong_sign_costs(page: str, tmp_path: Path) -> None:
    source = find_scans(tmp_path / "data").scans[0]
    plain, mirror = (
        entry.comparison
        for entry in evaluate_scan(source, {"out": tmp_path / "out"}, mirror=True)[-2:]
    )
    scores = block(page, "scan-0")["scores"]
    assert plain is not None
    assert mirror is not None
    assert scores["prediction"]["LPE"] == pytest.approx(plain.errors.LPE)
    assert scores["mirror"]["LPE"] == pytest.approx(mirror.errors.LPE)


@pytest.mark.parametrize("truth", ["tracked", "exact"])
def test_the_page_says_what_its_truth_is(truth: str, tmp_path: Path, make_lone_scan: Make) -> None:
    path = make_lone_scan(tmp_path / "data" / "a.h5", with_poses=True)
    with h5py.File(path, "a") as file:
        file["tforms"].attrs["truth"] = truth
    assert run(tmp_path / "data", tmp_path / "out") == 0
    assert block((tmp_path / "out" / "report.html").read_text(), "scan-0")["truth"] == truth


def test_slices_of_small_pixels_show_more_than_a_few_voxels(
    tmp_path: Path, make_lone_scan: Make
) -> None:
    make_lone_scan(tmp_path / "data" / "a.h5")
    (tmp_path / "data" / "calib_matrix.csv").unlink()
    assert run(tmp_path / "data", tmp_path / "out", "--spacing", "0.02", "0.02") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    volume = block(page, "scan-0")["volumes"]["predicted"]
    height, width = block(page, "scan-0")["image"]
    assert volume["spacing"] == pytest.approx(0.04)
    assert volume["size"][0] >= width / 2
    assert volume["size"][1] >= height / 2


def test_the_page_asks_for_nothing_outside_itself(page: str) -> None:
    outside = r"(?:src|href)\s*=|https?://|@import|url\("
    assert re.findall(outside, page.replace("image.src =", "")) == []
    assert "default-src 'none'" in page


def test_a_scan_without_truth_has_no_scores(tmp_path: Path, make_lone_scan: Make) -> None:
    make_lone_scan(tmp_path / "data" / "a.h5")
    assert run(tmp_path / "data", tmp_path / "out") == 0
    data = block((tmp_path / "out" / "report.html").read_text(), "scan-0")
    assert data["scores"] is None
    assert list(data["motions"]) == ["predicted"]


def test_a_name_cannot_end_the_block_that_it_stands_in(
    tmp_path: Path, make_lone_scan: Make
) -> None:
    key = "<script>alert(1)<!--"
    make_lone_scan(tmp_path / "data" / f"{key}.h5")
    assert run(tmp_path / "data", tmp_path / "out") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert block(page, "scan-0")["key"] == key
    assert key not in page


def test_failed_scans_are_told_and_the_others_shown(tmp_path: Path, make_lone_scan: Make) -> None:
    make_lone_scan(tmp_path / "data" / "good.h5")
    (tmp_path / "data" / "broken.h5").write_bytes(b"nothing")
    assert run(tmp_path / "data", tmp_path / "out") == 2
    page = (tmp_path / "out" / "report.html").read_text()
    summary = block(page, "run")
    assert "broken.h5" in summary["failures"]["broken"]
    assert [scan["key"] for scan in summary["scans"]] == ["good"]


def test_a_result_that_has_gone_costs_only_its_scan(tmp_path: Path, make_lone_scan: Make) -> None:
    for name in ("a", "b"):
        make_lone_scan(tmp_path / "data" / f"{name}.h5")
    assert run(tmp_path / "data", tmp_path / "out", "--export", "csv") == 0
    shutil.copy(make_lone_scan(tmp_path / "longer.h5", frames=9), tmp_path / "data" / "a.h5")
    assert run(tmp_path / "data", tmp_path / "out", "--export", "csv") == 2
    summary = block((tmp_path / "out" / "report.html").read_text(), "run")
    assert "4 global and 4 local poses, expected 8" in summary["failures"]["a"]
    assert [scan["key"] for scan in summary["scans"]] == ["b"]


def test_a_scan_is_dated_by_its_own_result_where_that_has_a_date(
    tmp_path: Path, make_lone_scan: Make
) -> None:
    date = "2026-11-26T17:00:00Z"
    for name in ("a", "b"):
        make_lone_scan(tmp_path / "data" / f"{name}.h5")
    assert run(tmp_path / "data", tmp_path / "out") == 0
    with (
        h5py.File(tmp_path / "out" / "a.h5", "a") as a,
        h5py.File(tmp_path / "out" / "b.h5", "a") as b,
    ):
        a.attrs["predicted"] = date
        b.attrs.pop("predicted", None)
    sources, folder = find_scans(tmp_path / "data").scans, tmp_path / "out"
    write_report(tmp_path / "page.html", folder, sources, {}, {"input": "data"})
    page = (tmp_path / "page.html").read_text()
    assert block(page, "scan-0")["facts"]["predicted"] == date
    assert "predicted" not in block(page, "scan-1")["facts"]


def test_pictures_are_means_of_their_pixels_in_the_place_that_is_said(tmp_path: Path) -> None:
    frames = np.zeros((23, 96, 128), np.uint8) + np.arange(23, dtype=np.uint8)[:, None, None] * 10
    wide = np.repeat(frames, 5, axis=2)  # 640 wide, so halved
    sheets = contact_sheets(wide, 100, 10**6)
    assert (sheets.width, sheets.height) == (320, 48)
    assert sheets.indices == list(range(23))
    (tmp_path / "a.jpg").write_bytes(sheets.jpegs[1])
    sheet = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.jpg")))
    assert sheet.shape == (ROWS * 48, COLUMNS * 320)
    cell = 22 - COLUMNS * ROWS
    assert abs(int(sheet[24, cell * 320 + 160]) - 220) <= 3


def test_pictures_of_pure_noise_keep_to_their_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 240, 320)).astype(np.uint8)
    sheets = contact_sheets(noise, 40, 300_000)
    assert 0 < sum(map(len, sheets.jpegs)) <= 300_000
    assert 1 < len(sheets.indices) < 40
    assert {0, 39} <= set(sheets.indices)


def test_a_prediction_of_another_length_is_refused(
    tmp_path: Path, make_lone_scan: Make, refused: Callable[..., AbstractContextManager[None]]
) -> None:
    make_lone_scan(tmp_path / "data" / "a.h5")
    run(tmp_path / "data", tmp_path / "out")
    make_lone_scan(tmp_path / "data" / "longer.h5", frames=7)
    (tmp_path / "out" / "a.h5").rename(tmp_path / "out" / "longer.h5")
    longer = find_scans(tmp_path / "data" / "longer.h5").scans[0]
    with longer.open() as scan, refused("4 global", "expected 6", "--overwrite"):
        read_scan_result(tmp_path / "out", scan)
