"""Files that appear whole or not at all."""

import errno
import fcntl
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tusrec.errors import BusyError, InputError, OutputError

LOCK = ".lock"  # in a folder that one run at a time writes


@contextmanager
def atomic_path(path: Path, what: str = "") -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without an error.

    `what` names the thing in the error, where the path alone does not say it.
    The temporary name is fixed, so that a run which follows a killed one overwrites its remains.
    What was written is on the disk before it takes its name.
    What is there and no file, as /dev/stdout, is written to as it is.
    Raises OutputError naming `path` if the disk is full, the folder is read-only, and so on, or if
    another process is writing it.
    """
    if _is_stream(path):
        with writable(path, what):
            yield path
        return
    partial = _partial_path(path)
    with writable(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = partial.open("ab")
    with lock:
        _take(lock, path)
        try:
            with writable(path, what):
                yield partial
                with partial.open("rb") as written:  # may be another file than was locked
                    os.fsync(written.fileno())
                partial.replace(path)
        except BaseException:  # after the rename the temporary name may be another writer's
            discard_partial(path)
            raise


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep `folder`, made if need be, from other runs that ask for it, until the block ends.

    Raises OutputError if it takes no files, BusyError if another run has it.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("ab")  # stays: were it removed, two could lock two such files
    with lock:
        _take(lock, folder)
        yield


def _is_stream(path: Path) -> bool:
    """Whether `path` is there and no file, or is a device, as /dev/stdout is wherever it leads."""
    with writable(path):
        if path.parent == Path("/dev"):
            return True
        return path.exists() and not (path.is_file() or path.is_dir())


def _take(lock: BinaryIO, path: Path) -> None:
    """Lock what `path` is written to until it is closed; BusyError if another run has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"{path}: another run is writing it; wait for that, or choose another place"
        ) from error
    except OSError:  # a file system without locks
        return


def discard_partial(path: Path) -> None:
    """Remove what an unfinished `atomic_path(path)` left."""
    # A folder that cannot be read or written has an error of its own on the way.
    with suppress(OSError):
        _partial_path(path).unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Make `folder` if need be; OutputError before any work is done if it takes no files."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return


def require_place(path: Path) -> None:
    """Make the folder of `path` if need be; OutputError before any work if no file can be there."""
    if _is_stream(path):
        return
    require_writable(path.parent)
    with writable(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


@contextmanager
def writable(path: Path, what: str = "") -> Iterator[None]:
    """Turn an OSError of writing `path` into an OutputError, which names it and `what` it is."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error, what) from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn a refusal of the system to read `path`, or what is in it, into an InputError."""
    try:
        yield
    except PermissionError as error:
        raise forbidden(path, error) from error


def is_there(path: Path) -> bool:
    """Whether anything is at `path`; InputError if this user may not look."""
    with readable(path):
        return path.exists()


def forbidden(path: Path, error: PermissionError) -> InputError:
    """The error of what may not be read: the file that the system names, or `path`."""
    return InputError(
        f"{error.filename or path}: cannot read ({os.strerror(errno.EACCES)}); mend its "
        "permissions, or run as a user who may"
    )


def in_utf8(name: str) -> str:
    r"""A name as any file can hold it: bytes of it that are not UTF-8 become `\xe4` and so on."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_bytes(path: Path, content: bytes, what: str = "") -> None:
    """Write `content` atomically, or to the end of what is no file."""
    with atomic_path(path, what) as place, place.open("ab" if place == path else "wb") as stream:
        stream.write(content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as indented JSON, atomically; NaN and infinity become null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _partial_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _cannot_write(path: Path, error: OSError, what: str = "") -> OutputError:
    # HDF5 puts a page of detail into strerror.
    reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    verb = f"cannot write {what}".rstrip()
    return OutputError(
        f"{path}: {verb} ({reason}); free the disk, mend its permissions, or choose another place"
    )
