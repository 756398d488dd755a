"""Commands that are ended in their first seconds, while they import what is slow to import.

And the exit codes of what goes on after that.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tusrec import __version__
from tusrec.entry import exit_code_of
from tusrec.errors import InputError, OutOfMemoryError, TusrecError, WeightsError

ROOT = Path(__file__).parents[2]
# What is slow to import takes for ever, says when it begins, and is not stopped by an exception.
SLOW_IMPORT = """
import runpy, sys, time
class Slow:
    def find_spec(self, name, *_):
        if name in ("torch", "numpy"):
            print("importing", flush=True)
            while True:
                try:
                    time.sleep(1200)
                except BaseException:
                    pass
sys.meta_path.insert(0, Slow())
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "interrupted\n")],
)
@pytest.mark.parametrize(
    "command",
    [
        *("predict.py", "evaluate.py", "reconstruct.py", "simulate.py", "train.py"),
        *("training/simulated.py", "training/tracked.py", "training/export.py"),
    ],
)
def test_a_signal_ends_a_command_that_still_imports_without_a_traceback(
    command: str, number: signal.Signals, code: int, said: str
) -> None:
    with importing(command) as process:
        process.send_signal(number)
        _, told = process.communicate(timeout=300)
    first = f"tusrec {__version__}\n" if command == "predict.py" else ""
    assert (process.returncode, told) == (code, first + said)


def test_an_interrupt_that_a_command_was_started_to_ignore_is_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = importing("evaluate.py")
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=300)
    assert (process.returncode, told) == (143, "")


def importing(command: str) -> "subprocess.Popen[str]":
    """A command that has begun to import what takes for ever."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_IMPORT, command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "importing\n"
    return process


@pytest.mark.parametrize(
    ("error", "code"),
    [(TusrecError, 1), (InputError, 2), (OutOfMemoryError, 3), (WeightsError, 4)],
)
def test_an_expected_failure_of_a_command_is_one_line_and_its_exit_code(
    error: type[TusrecError], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> int:
        raise error("a file: found this, expected that")

    assert exit_code_of(work) == code
    assert caplog.messages == ["error: a file: found this, expected that"]


def test_an_interrupt_of_a_command_says_what_becomes_of_its_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work() -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    assert exit_code_of(work, "interrupted; half is there") == 130
    assert caplog.messages == ["interrupted; half is there"]


def test_a_defect_of_a_command_keeps_its_traceback() -> None:
    def work() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code_of(work)
