"""Commands that are ended in their first seconds, while they import what is slow to import."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What is slow to import takes for ever, and says when it begins.
SLOW_IMPORT = """
import runpy, sys, time
class Slow:
    def find_spec(self, name, *_):
        if name in ("torch", "numpy"):
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, ""), (signal.SIGINT, -signal.SIGINT, "interrupted\n")],
)
@pytest.mark.parametrize(
    "command", ["predict.py", "evaluate.py", "reconstruct.py", "simulate.py", "train.py"]
)
def test_a_signal_ends_a_command_that_still_imports_without_a_traceback(
    command: str, number: signal.Signals, code: int, said: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_IMPORT, command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (code, said)
