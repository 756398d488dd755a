"""Numbers and paths on command lines."""

import os
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from tusrec.options import positive, utf8_path, whole_number


def test_a_number_above_zero_is_taken() -> None:
    assert positive("0.25") == 0.25
    assert positive("1e9") == 1e9


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "two"])
def test_any_other_is_named(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"found {text}, expected a number above 0"):
        positive(text)


def test_a_whole_number_is_taken_from_the_least_on() -> None:
    assert [whole_number(least)("3") for least in (0, 3)] == [3, 3]


@pytest.mark.parametrize("text", ["2", "-4", "3.0", "", "x", "³"])
def test_any_other_is_named_with_the_least(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"found {text}, expected a whole number from 3"):
        whole_number(3)(text)


def test_a_path_is_taken_in_any_script() -> None:
    assert utf8_path("Müller/膝") == Path("Müller/膝")


def test_a_path_that_is_not_utf8_is_named() -> None:
    with pytest.raises(ArgumentTypeError, match=r"found M\\xfcller, expected a path in UTF-8"):
        utf8_path(os.fsdecode(b"M\xfcller"))
