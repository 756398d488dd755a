"""Work spread over processes: all of it is done, and nothing outlives the one that asked."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tusrec.errors import InputError, OutOfMemoryError
from tusrec.files import atomic_path
from tusrec.spread import spread


def note(folder: Path, number: int) -> None:
    """Leave a file that names the process."""
    (folder / str(number)).write_text(str(os.getpid()))


def refuse(number: int) -> None:
    raise InputError(f"number {number}: refused")


def die(_: int) -> None:
    """As the kernel ends a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait(folder: Path, number: int) -> None:
    note(folder, number)
    time.sleep(1200)


def write_for_ever(path: Path) -> None:
    with atomic_path(path) as partial_path:
        partial_path.touch()
        ctypes.CFUNCTYPE(None)(lambda: time.sleep(1200))()  # lets no exception through
        time.sleep(1200)


def refuse_once_another_writes(path: Path) -> None:
    if path.name == "long":
        write_for_ever(path)
    while not list(path.parent.glob(".*.part")):
        time.sleep(0.05)
    raise InputError(f"{path}: refused")


def threads(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_items_are_worked_on(tmp_path: Path, jobs: int) -> None:
    assert list(spread(partial(note, tmp_path), range(5), jobs)) == [None] * 5
    assert sorted(path.name for path in tmp_path.iterdir()) == list("01234")
    here = {path.read_text() for path in tmp_path.iterdir()} == {str(os.getpid())}
    assert here == (jobs == 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_goes_wrong_in_one_is_told_by_the_first(jobs: int) -> None:
    with pytest.raises(InputError, match="number 0: refused"):
        list(spread(refuse, range(3), jobs))


def test_the_others_end_at_once_then_and_leave_nothing_half_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in ("short", "long", "later")]
    started = time.monotonic()
    with pytest.raises(InputError, match="short: refused"):
        list(spread(refuse_once_another_writes, paths, 2))
    assert time.monotonic() - started < 600
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_each_process_has_one_core_and_the_first_as_many_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert list(spread(threads, range(2), 2)) == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_a_process_that_is_killed_is_told_in_one_line() -> None:
    with pytest.raises(OutOfMemoryError, match="one of 2 processes killed"):
        list(spread(die, range(3), 2))


def test_none_outlives_the_first_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from test_spread import wait; from tusrec.spread import spread\n"
        "if __name__ == '__main__':\n"
        "    list(spread(partial(wait, Path(sys.argv[1])), range(2), 2))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path.cwd())])}
    first = subprocess.Popen([sys.executable, str(script), str(numbers)], env=os.environ | paths)
    try:
        others = [int(text) for text in _written(numbers, 2)]
    finally:
        first.kill()
        first.wait()
    end = time.monotonic() + 300
    while any(map(_runs, others)):
        assert time.monotonic() < end
        time.sleep(0.1)


def _runs(number: int) -> bool:
    """Whether a process is there, and not only because nobody has asked how it ended."""
    path = Path(f"/proc/{number}/stat")
    return path.exists() and path.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _written(folder: Path, count: int) -> list[str]:
    """What files hold once there are so many."""
    end = time.monotonic() + 300
    while True:
        texts = [path.read_text() for path in folder.iterdir()]
        if len(texts) == count and all(texts):
            return texts
        assert time.monotonic() < end
        time.sleep(0.1)
