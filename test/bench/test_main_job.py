"""The bars of the main job and of the report: none is told of a program that failed."""

from pathlib import Path

import pytest

import predict
from bench import main_job
from tusrec.errors import TusrecError


def test_memory_of_a_prediction_that_failed_is_no_measurement(tmp_path: Path) -> None:
    missing, output = str(tmp_path / "none"), str(tmp_path / "out")
    with pytest.raises(TusrecError, match=r"predict\.py: found exit code 2, expected 0") as caught:
        main_job.command_memory(missing, output, "none")
    assert caught.value.exit_code == 2


def test_memory_of_an_evaluation_that_failed_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(TusrecError, match=r"evaluate\.py: found exit code 2, expected 0"):
        main_job.evaluation_memory(str(tmp_path / "none"), str(tmp_path / "out"))


def test_the_report_of_a_prediction_that_failed_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("selenium")
    from bench import report

    monkeypatch.setattr(report, "write_dataset", lambda folder: None)
    monkeypatch.setattr(predict, "main", lambda arguments: 3)
    with pytest.raises(TusrecError, match=r"predict\.py: found exit code 3"):
        report.main(None)


def test_without_a_browser_the_report_is_measured_but_for_its_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("selenium")
    from bench import report

    monkeypatch.setattr(report, "CHROMIUM", None)
    assert "not measured, no Chromium" in report.drawing(tmp_path / "report.html")
