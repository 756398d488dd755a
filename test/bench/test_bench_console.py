"""How benchmarks end: an expected failure is one line and its exit code, in whatever process."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench import held_out, main_job, pose_model, sample
from bench.console import in_child
from model import device
from sim import measure, scan
from tusrec.errors import TusrecError, WeightsError

ROOT = Path(__file__).parents[2]
FIRST_NEEDS = (  # of one benchmark or another
    (held_out, "sources"), (sample, "sample_calibration"), (sample, "sample_frames"),
    (measure, "block"), (scan, "draw_recipe"),
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "gpu", "main_job", "persistence", "pose_model", "recordings", "report", "simulator",
        "speckle_floor", "volume",
    ],
)  # fmt: skip
def test_an_expected_failure_of_a_benchmark_is_one_line_and_its_exit_code(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if name == "report":
        pytest.importorskip("selenium")

    def fail(*_: object, **__: object) -> None:
        raise WeightsError("a file: found this, expected that")

    for module, needed in FIRST_NEEDS:
        monkeypatch.setattr(module, needed, fail)
    monkeypatch.setattr(device, "choose_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "bench" / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 4
    assert caplog.messages == ["error: a file: found this, expected that"]


@pytest.mark.parametrize(
    "measured",
    [
        lambda: main_job.child_memory("displacement_memory"),
        lambda: pose_model.memory(2),
        lambda: in_child("bench"),
    ],
)
def test_a_measurement_in_another_process_ends_as_that_does(
    measured: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(TusrecError, match="found exit code 3, expected 0") as caught:
        measured()
    assert caught.value.exit_code == 3
