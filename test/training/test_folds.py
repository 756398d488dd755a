"""Folds: everyone is held out once, together with all that is theirs, and always alike."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.folds import Fold, subject_number

NAMES = st.one_of(st.integers(0, 2000).map("sub{:03d}".format), st.text(min_size=1))


@given(NAMES, st.integers(2, 10))
def test_a_subject_is_held_out_by_exactly_one_fold(subject: str, count: int) -> None:
    assert sum(Fold(number, count).holds_out(subject) for number in range(count)) == 1


def test_folds_of_numbered_subjects_are_of_equal_size() -> None:
    held = [f"sub{n:03d}" for n in range(50) if Fold(2, 5).holds_out(f"sub{n:03d}")]
    assert len(held) == 10
    assert "sub002" in held


def test_without_a_number_nobody_is_held_out() -> None:
    assert not any(Fold().holds_out(f"sub{n:03d}") for n in range(10))
    assert (str(Fold()), str(Fold(0, 5))) == ("", "0/5")


def test_a_simulated_clip_is_known_by_its_own_number() -> None:
    assert subject_number("1_000123") == 123


def test_visits_of_one_person_stay_on_one_side() -> None:
    assert {subject_number(f"subP012_{visit}") for visit in (1, 2, 3)} == {12}


def test_a_name_without_a_number_falls_alike_in_every_process() -> None:
    code = "from training.folds import subject_number; print(subject_number('phantom'))"
    command = [sys.executable, "-c", code]
    found = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{subject_number('phantom')}\n".encode()}


@pytest.mark.parametrize("fold", [Fold(), Fold(0, 5), Fold(3, 4)])
def test_a_fold_is_read_back_from_its_words(fold: Fold) -> None:
    assert Fold.of(str(fold)) == fold
