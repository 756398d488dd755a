"""Frames encoded: what a cell holds of them, and known shifts that are taken out of it."""

import pytest
import torch
from untrained import canvases, network

from model.canonical import SIDE
from model.cells import BLOCKS, CELLS
from model.encoded import CELL_SIDE, CHANNELS, STEP, Encoded, rows


def test_a_frame_correlates_fully_with_itself_and_hardly_with_another() -> None:
    encoded = network().encode(canvases(2))
    own = (encoded.cells[0] * encoded.cells[0]).sum(dim=1)
    other = (encoded.cells[0] * encoded.cells[1]).sum(dim=1)
    assert encoded.cells.shape == (2, CELLS**2, CELL_SIDE**2, CHANNELS)
    assert own.mean() > 0.95
    assert own.max() < 1.001
    assert other.mean() < 0.7


def test_frames_joined_where_others_were_are_those_joined_in_new_memory() -> None:
    with torch.inference_mode():
        encoded = network().encode(canvases(3))
        room, parts = encoded.copy(), [encoded[2:], encoded[:1]]
        found, expected = Encoded.joined(parts, room), Encoded.joined(parts)
        too_many = Encoded.joined([encoded, encoded], room)
    assert (len(found), len(too_many)) == (2, 6)
    for name in Encoded.__dataclass_fields__:
        assert torch.equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).data_ptr() == getattr(room, name).data_ptr()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shift", [(16, -8), (8, 32)])
def test_a_shift_that_is_known_is_taken_out_before_speckle_is_compared(
    shift: tuple[int, int], precision: torch.dtype
) -> None:
    frame = canvases(1)
    moved = torch.roll(frame, shift, dims=(3, 2))  # what was at p is at p + shift
    net = network()
    encoded = net.encode(torch.cat([frame, moved]))
    back = -torch.tensor(shift, dtype=precision)
    guess = back.expand(1, BLOCKS**2, 2)
    with torch.inference_mode():
        at_rest, known, unknown = (
            net.compare(encoded, torch.tensor([[0, other, 1]]), guessed)
            for other, guessed in ((0, None), (1, guess), (1, None))
        )
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    same, off = ((c.cells - at_rest.cells)[inner].abs().mean() for c in (known, unknown))
    assert same < 0.3 * off  # of the second frame its own texture is not moved
    assert (known.ahead == back).all()
    assert (unknown.ahead == 0).all()


def test_a_guess_of_less_than_half_a_step_changes_nothing() -> None:
    net = network()
    encoded = net.encode(canvases(2))
    pairs = torch.tensor([[0, 1, 1], [0, 1, 1]])
    small = torch.full((2, BLOCKS**2, 2), 0.4 * STEP)
    beside_a_large_one = small * torch.tensor([1.0, 5.0])[:, None, None]
    with torch.inference_mode():
        without = net.compare(encoded, pairs)
        for guess in (small, beside_a_large_one):
            with_guess = net.compare(encoded, pairs, guess)
            torch.testing.assert_close(with_guess.cells[0], without.cells[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(with_guess.share[0], without.share[0])
    assert (with_guess.cells[1] - without.cells[1]).abs().max() > 0.1


def test_a_little_more_contrast_hardly_changes_the_correlations() -> None:
    frames = canvases(1)
    louder = frames * torch.tensor([1.2, 1.0])[:, None, None]
    encoded = network().encode(torch.cat([frames, louder]))
    likeness = (encoded.cells[0] * encoded.cells[1]).sum(dim=1)
    assert likeness.mean() > 0.95


def test_where_nothing_is_shown_nothing_is_correlated() -> None:
    frames = canvases(1)
    frames[:, :, :, : SIDE // 2] = 0
    encoded = network().encode(frames)
    energy = encoded.cells.square().sum(dim=(2, 3)).reshape(CELLS, CELLS)
    assert energy[:, : CELLS // 2].max() == 0
    assert energy[:, CELLS // 2 :].min() > 0


def test_rows_are_those_asked_for_and_successive_ones_are_not_copied() -> None:
    values = torch.arange(12.0).reshape(6, 2)
    successive, others = (rows(values, torch.tensor(n)) for n in ([2, 3, 4], [4, 2, 2]))
    torch.testing.assert_close(successive, values[2:5])
    torch.testing.assert_close(others, values[[4, 2, 2]])
    assert successive.data_ptr() == values[2:].data_ptr()
    assert rows(values, torch.empty(0, dtype=torch.int64)).shape == (0, 2)
