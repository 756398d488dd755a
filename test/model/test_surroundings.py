"""What pairs are told of the frames around them: of those nearer, the more."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.surroundings import (
    ALIKE,
    KEPT,
    NEAR,
    PART,
    SPAN,
    STRETCHES,
    Stretches,
    Told,
    parts_of,
    told_pairs,
)

DESCRIPTION = torch.zeros(1, 6)


def stretches(*middles: float) -> Stretches:
    """Stretches of which each tells the number of the frame in its middle."""
    told = torch.tensor(middles, dtype=torch.float32)
    return Stretches(told, told[:, None], told[:, None])


def told(part: Stretches, start: int, stop: int, interval: int = 8) -> torch.Tensor:
    return part.told(interval, start, stop, 0, DESCRIPTION)[0].means[:, 0]


@given(st.integers(1, 4000))
def test_the_parts_of_a_scan_are_of_like_size_and_cover_it(count: int) -> None:
    parts = parts_of(count)
    assert [frame for part in parts for frame in range(*part)] == list(range(count))
    if count > PART:
        assert all(2 * PART / 3 <= stop - start <= 1.5 * PART for start, stop in parts)


@given(st.integers(2, 60))
def test_a_part_is_summed_up_by_near_pairs_from_its_first_frames_to_its_last(count: int) -> None:
    a, b, gap = told_pairs(count).flatten(0, 1).numpy().T
    assert (b - a == gap).all()
    assert ((gap > 0) & (gap < SPAN)).all()
    assert a.min() < SPAN
    assert count - SPAN <= b.max() < count


def test_what_is_told_before_and_after_frames_are_aligned_is_told_apart() -> None:
    one = Stretches(torch.tensor([16.0]), torch.tensor([[2.0]]), torch.tensor([[3.0]]))
    before, after = one.told(1, 0, 32, 0, DESCRIPTION)
    assert (before.means == 2).all()
    assert (after.means == 3).all()


def test_frames_are_told_of_the_stretches_near_them() -> None:
    heard = told(stretches(4.0, 28.0), 0, 32)
    assert len(heard) == 32 // ALIKE
    assert (heard.diff() > 0).all()
    assert 4 <= heard[0] < heard[-1] <= 28


@given(st.integers(2, 200))
def test_what_frames_are_told_goes_on_where_one_part_ends_and_the_next_begins(number: int) -> None:
    start, stop = PART * number, PART * (number + 1)
    before = stretches(start + 4.0, stop - 5.0)
    after = stretches(stop + 4.0, stop + PART - 5.0).after_those_of(before)
    last, first = told(before, start, stop)[-1], told(after, stop, stop + PART)[0]
    assert abs(float(first - last)) < PART / 2


def test_pairs_further_apart_are_told_of_nearer_stretches() -> None:
    part = stretches(*range(-400, 0, 16))
    heard = [float(told(part, 0, ALIKE, interval)[0]) for interval in (1, 2, 4, 8)]
    assert heard == sorted(heard)
    assert heard[0] < -80
    assert heard[-1] > -20


def test_the_newest_stretches_are_kept_and_no_more_than_are_told_of() -> None:
    part = stretches(0.0)
    for number in range(100):
        part = stretches(float(number)).after_those_of(part)
    assert part.middles.tolist() == list(range(99 - KEPT, 100))


def test_a_stretch_that_is_far_away_is_all_that_is_told_where_there_is_no_other() -> None:
    torch.testing.assert_close(told(stretches(0.0), 500, 508), torch.zeros(1))
    far = told(stretches(0.0, 500 + NEAR), 500, 508)
    assert far[0] > 400


def test_every_pair_is_told_of_the_frames_in_which_it_ends() -> None:
    first = 8
    part = Told(torch.zeros(3, 1), first, DESCRIPTION)
    ends = torch.tensor([first, first + ALIKE - 1, first + ALIKE, first + 3 * ALIKE])
    pairs = torch.stack([ends - 1, ends, torch.ones_like(ends)], dim=1)
    assert part.part(pairs).tolist() == [0, 0, 1, 2]
    assert part.descriptions(pairs).shape == (4, 6)


@pytest.mark.parametrize("count", [2, 9, 32])
def test_stretches_are_summed_up_by_as_many_pairs_each(count: int) -> None:
    pairs = told_pairs(count)
    assert pairs.shape[0] == STRETCHES
    assert pairs.shape[2] == 3
