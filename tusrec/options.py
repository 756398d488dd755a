"""Numbers on command lines, for argparse, which tells which option is wrong and exits with 2."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from math import isfinite


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (isfinite(number) and number > 0):
        raise ArgumentTypeError(f"found {text}, expected a number above 0")
    return number


def whole_number(least: int) -> Callable[[str], int]:
    """What reads a whole number of at least so much."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and int(text) >= least):
            raise ArgumentTypeError(f"found {text}, expected a whole number from {least} on")
        return int(text)

    return number
