"""Curves: one picture of a log's loss, held-out errors and scores."""

import sys
from pathlib import Path
from typing import Any

import pytest

from training import journal
from training.checkpoint import Progress
from training.curves import curves, write_curves

LOSS = {"loss": 0.5, "clips": 3}
PAIRS = {"held_out": "set", "interval": 4, "error": 0.3}
SCORE = {"scored": "set", "row": "tusrec", "final": 0.4, "local": float("nan")}


def test_a_log_becomes_panels_of_named_curves() -> None:
    lines = [{"minutes": 1.0, **line} for line in (LOSS, PAIRS, SCORE | {"local": None})]
    assert curves([*lines, {"minutes": 2.0, "loss": 0.25}]) == {
        "loss": {"loss": [(1.0, 0.5), (2.0, 0.25)]},
        "held-out pairs: error over identity": {"set, interval 4": [(1.0, 0.3)]},
        "held-out final score": {"set, tusrec": [(1.0, 0.4)]},
    }


@pytest.mark.parametrize("lines", [[], [LOSS], [LOSS, PAIRS, SCORE]])
def test_the_picture_is_written_whatever_is_known(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    for line in lines:
        journal.write(tmp_path, Progress("tusrec", 0, 50), line)
    write_curves(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))


def test_training_goes_on_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write_curves(tmp_path)
    assert "matplotlib" in caplog.text
    assert not (tmp_path / "curves.png").exists()
