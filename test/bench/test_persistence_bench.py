"""The bench of persistence: shares read off the weights, misses and false finds counted."""

import numpy as np
import pytest

from bench.persistence import Found, share_of, summary
from model.persistence import averaged, lingering


@pytest.mark.parametrize("share", [0.05, 0.2, 0.45])
def test_the_share_is_that_whose_undoing_was_found(share: float) -> None:
    assert share_of(averaged(share)) == pytest.approx(share)


def test_no_weights_are_no_share_and_another_mixing_is_none_either() -> None:
    assert share_of(np.empty(0)) == 0.0
    assert np.isnan(share_of(lingering(0.3)))


def test_misses_and_false_finds_are_counted() -> None:
    scans = [Found("a", 0.3, 0.31), Found("b", 0.2, 0.0), Found("c", 0.0, 0.1), Found("d", 0.0, 0)]
    said = "found in 1 of 2 scans that have it, largest error 0.010; in 1 of 2 that have none"
    assert summary(scans) == said


def test_another_mixing_is_a_miss_where_there_is_one_and_a_false_find_where_there_is_none() -> None:
    scans = [Found("a", 0.3, float("nan")), Found("b", 0.0, float("nan"))]
    said = "found in 0 of 1 scans that have it, largest error 0.000; in 1 of 1 that have none"
    assert summary(scans) == said
