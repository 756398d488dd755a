"""The log: a line for each measurement, valid JSON, and no step told twice."""

import json
from pathlib import Path

import pytest

from training import journal
from training.checkpoint import Progress
from tusrec.errors import OutputError


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    journal.write(tmp_path / "run", Progress("tusrec", 0, 50, 800, 1.25), {"loss": 0.51234567})
    journal.write(tmp_path / "run", Progress("tusrec", 0, 60), {"row": "a", "GLE": float("nan")})
    assert journal.read(tmp_path / "run") == [
        {"step": 50, "pairs": 800, "minutes": 1.25, "loss": 0.5123},
        {"step": 60, "pairs": 0, "minutes": 0.0, "row": "a", "GLE": None},
    ]


def test_a_run_that_is_taken_up_again_drops_what_it_will_measure_anew(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        journal.write(tmp_path, Progress("tusrec", 0, step), {"loss": 1.0})
    with (tmp_path / journal.FILE).open("a") as stream:
        stream.write('{"step": 40, "lo')  # killed while it wrote
    journal.rewind(tmp_path, 20)
    text = (tmp_path / journal.FILE).read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [10, 20]


def test_what_is_measured_again_at_a_step_is_told_once(tmp_path: Path) -> None:
    for step in (10, 20):
        for line in ({"loss": 1.0}, {"scored": "a"}, {"held_out": "a"}):
            journal.write(tmp_path, Progress("tusrec", 0, step), line)
    journal.forget_measured(tmp_path, 20)
    steps = [(line["step"], "loss" in line) for line in journal.read(tmp_path)]
    assert steps == [(10, True), (10, False), (10, False), (20, True)]


def test_where_nothing_is_there_is_no_log(tmp_path: Path) -> None:
    journal.rewind(tmp_path, 0)
    assert journal.read(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / journal.FILE).mkdir()
    with pytest.raises(OutputError, match="cannot write the log"):
        journal.write(tmp_path, Progress("tusrec", 0), {})
