import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tusrec.errors import OutputError
from tusrec.files import (
    atomic_path,
    discard_partial,
    held,
    require_place,
    require_writable,
    write_json,
)

ROOT = Path(__file__).parents[2]
Refused = Callable[..., AbstractContextManager[None]]


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "file"
    with atomic_path(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        assert partial.parent == path.parent  # a rename across disks would not be atomic
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, MemoryError])
def test_a_failure_while_writing_leaves_the_old_file_and_no_remains(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as partial:
            partial.write_text("new")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_remains_of_a_killed_run_are_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_path(path) as partial:
        name = partial
        partial.write_text("first")
    name.write_text("remains of a run that was killed")
    with atomic_path(path) as partial:
        partial.write_text("second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_the_remains_of_a_killed_run_can_be_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("finished")
    with atomic_path(tmp_path / "other") as partial:
        remains = partial.with_name(partial.name.replace("other", "file"))
        partial.touch()
    remains.write_text("remains")
    discard_partial(path)
    discard_partial(path)
    discard_partial(path / "in" / "no" / "folder")
    assert not remains.exists()
    assert path.read_text() == "finished"


def test_two_runs_cannot_write_the_same_file_at_once(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "file"
    with atomic_path(path) as partial:
        partial.write_text("whole")
        words = (str(path), "another run is writing it")
        with refused(*words, kind=OutputError), atomic_path(path):
            raise AssertionError
        assert partial.exists()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_one_runs_until_that_has_ended(tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "new" / "run"
    words = (str(folder), "another run is writing it")
    with held(folder), refused(*words, kind=OutputError), held(folder):
        pytest.fail("the block must not run")
    with held(folder), held(tmp_path / "other"):
        pass


def test_a_full_disk_is_an_output_error_that_names_the_file(
    tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    words = (str(path), "No space left", "another place")
    with refused(*words, kind=OutputError), atomic_path(path):
        Path("/dev/full").write_text("x" * 100_000)
    assert path.read_text() == "old"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_json(pipe, {"a": 1})
    assert json.loads(os.read(reader, 100)) == {"a": 1}
    os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_goes_to_standard_output_is_added_to_what_was_printed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tusrec.files import write_bytes\n"
        "print('table', flush=True); write_bytes(Path('/dev/stdout'), b'numbers')"
    )
    with (tmp_path / "out.txt").open("w") as printed:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=printed, check=True)
    assert (tmp_path / "out.txt").read_text() == "table\nnumbers"


def test_the_temporary_file_of_the_next_writer_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = tmp_path / "file", Path.replace

    def rename_as_another_starts(self: Path, target: Path) -> None:
        rename(self, target)
        self.write_text("the next writer's")

    monkeypatch.setattr(Path, "replace", rename_as_another_starts)
    with atomic_path(path) as partial:
        partial.write_text("whole")
    assert partial.read_text() == "the next writer's"


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "file", list[tuple[int, bool]]()
    monkeypatch.setattr(
        os, "fsync", lambda number: flushed.append((os.fstat(number).st_size, path.exists()))
    )
    with atomic_path(path) as partial:
        partial.write_text("whole")
    assert flushed == [(len("whole"), False)]


def test_a_place_that_takes_no_file_is_refused_before_any_work(
    tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "folder").mkdir()
    for path, reason in (
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "folder", "Is a directory"),
        (Path("/proc/self/scores.json"), "cannot write"),
    ):
        with refused(str(path.parent), reason, kind=OutputError):
            require_place(path)


def test_a_place_that_takes_a_file_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    for path in (tmp_path / "new" / "scores.json", tmp_path / "old", Path("/dev/stdout")):
        require_place(path)
    assert (tmp_path / "old").read_text() == "old"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_may_not_be_searched_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    def closed(self: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    path = tmp_path / "closed" / "scores.json"
    monkeypatch.setattr(Path, "stat", closed)
    with refused(str(path), "Permission denied", kind=OutputError), atomic_path(path):
        pytest.fail("the block must not run")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "output").write_text("I am a file")
    for path in (tmp_path / "output" / "a.h5", tmp_path / "output" / "deep" / "a.h5"):
        with refused(str(path), "cannot write", kind=OutputError), atomic_path(path):
            pytest.fail("the block must not run")
        with refused(str(path.parent), "cannot write", kind=OutputError):
            require_writable(path.parent)


def test_a_folder_that_takes_no_files_is_refused_before_any_work(refused: Refused) -> None:
    with refused("/proc", "cannot write", "another place", kind=OutputError):
        require_writable(Path("/proc/self"))


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "output"
    require_writable(folder)
    require_writable(folder)
    assert list(folder.iterdir()) == []


def test_json_holds_null_for_what_json_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": ("x", None)}})
    assert json.loads(path.read_text()) == {"a": None, "b": [1.5, None], "c": {"d": ["x", None]}}
    assert list(tmp_path.iterdir()) == [path]
