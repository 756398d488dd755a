"""Numbers and paths on command lines, for argparse, which names the option and exits with 2."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from math import isfinite
from pathlib import Path

from tusrec.files import in_utf8


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (isfinite(number) and number > 0):
        raise ArgumentTypeError(f"found {text}, expected a number above 0")
    return number


def utf8_path(text: str) -> Path:
    """A path that ITK and HDF5 can hold; they end the process, or fail late, over another."""
    if in_utf8(text) != text:
        raise ArgumentTypeError(f"found {in_utf8(text)}, expected a path in UTF-8; rename it")
    return Path(text)


def whole_number(least: int) -> Callable[[str], int]:
    """What reads a whole number of at least so much."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and int(text) >= least):
            raise ArgumentTypeError(f"found {text}, expected a whole number from {least} on")
        return int(text)

    return number
