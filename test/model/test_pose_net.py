"""The pose network: shapes, what it must not depend on, and that every part of it learns."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model.canonical import SIDE, Canvas
from model.cells import BLOCKS, CELLS, cell_shifts, centres
from model.pose_net import (
    CELL_SIDE,
    CHANNELS,
    DESCRIPTION,
    LARGEST_STEPS,
    LOG_SCALES,
    MOVED,
    STEP,
    TOLD_GAP,
    Encoded,
    PoseNet,
    Seen,
    rows,
)


def network(seed: int = 0) -> PoseNet:
    """Untrained, but its BatchNorms have seen frames."""
    torch.manual_seed(seed)
    net = PoseNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        seen(net, canvases(4, seed=9), [[0, 1], [2, 3]])
    return net.eval()


def seen(net: PoseNet, frames: torch.Tensor, pairs: list[list[int]]) -> Seen:
    """What the network makes of pairs, each its own scan."""
    return seen_twice(net, frames, pairs)[1]


def seen_twice(net: PoseNet, frames: torch.Tensor, pairs: list[list[int]]) -> tuple[Seen, Seen]:
    """Likewise before and after it has aligned the frames."""
    count = len(pairs)
    told, unknown = torch.zeros(count, DESCRIPTION), torch.zeros(count, BLOCKS**2, 2)
    found: tuple[Seen, Seen] = net(
        frames, torch.tensor([[*pair, 1] for pair in pairs]), torch.arange(count), told, unknown
    )
    return found


def canvases(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    contrast = torch.randn(count, 1, SIDE, SIDE, generator=generator)
    return torch.cat([contrast, torch.ones_like(contrast)], dim=1)


def test_a_pair_gives_six_motions_and_six_scales_within_their_bounds() -> None:
    found = seen(network(), canvases(3), [[0, 1], [2, 0]])
    assert found.motion.shape == found.log_scale.shape == (2, 6)
    assert found.shifts.shape == found.log_weights.shape == (2, CELLS**2, 3)
    assert found.log_scale.min() >= LOG_SCALES[0]
    assert found.log_scale.max() <= LOG_SCALES[1]


def test_in_evaluation_a_pair_does_not_depend_on_what_it_is_computed_with() -> None:
    net, frames = network(), canvases(3)
    with torch.inference_mode():
        together = seen(net, frames, [[0, 1], [1, 2]]).motion
        alone = seen(net, frames[1:], [[0, 1]]).motion
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


def test_pairs_of_one_scan_are_told_of_each_other() -> None:
    net, frames = network(), canvases(3)
    pairs, told = torch.tensor([[0, 1, 1], [1, 2, 1]]), torch.zeros(2, DESCRIPTION)
    unknown = torch.zeros(2, BLOCKS**2, 2)
    with torch.inference_mode():
        apart = net(frames, pairs, torch.tensor([0, 1]), told, unknown)
        together = net(frames, pairs, torch.tensor([1, 1]), told, unknown)
    for alone, among_others in zip(apart, together, strict=True):
        assert (alone.motion - among_others.motion).abs().max() > 1e-6


def test_a_pair_is_told_how_near_pairs_of_its_scan_differ_from_all() -> None:
    net, frames = network(), canvases(4)
    told, unknown = torch.zeros(3, DESCRIPTION), torch.zeros(3, BLOCKS**2, 2)

    def motion(gap: int) -> torch.Tensor:
        """Of pairs of two scans; `gap` is that of another pair of the first one."""
        pairs = torch.tensor([[0, 1, 1], [1, 2, gap], [2, 3, 1]])
        with torch.inference_mode():
            found: Seen = net(frames, pairs, torch.tensor([0, 0, 1]), told, unknown)[1]
        return found.motion

    near, far = motion(TOLD_GAP), motion(2 * TOLD_GAP)  # of themselves they are told alike
    assert (near[0] - far[0]).abs().max() > 1e-6
    torch.testing.assert_close(near[2], far[2], atol=1e-6, rtol=1e-5)


def test_a_pair_is_told_whether_its_frames_are_neighbours_and_no_more() -> None:
    net, frames, scan, told = network(), canvases(2), torch.tensor([0]), torch.zeros(1, DESCRIPTION)

    def motion(gap: int) -> torch.Tensor:
        unknown = torch.zeros(1, BLOCKS**2, 2)
        with torch.inference_mode():
            found: Seen = net(frames, torch.tensor([[0, 1, gap]]), scan, told, unknown)[1]
        return found.motion

    assert (motion(2) == motion(8)).all()  # a hand may have turned back in between
    assert (motion(1) - motion(2)).abs().max() > 1e-6


def test_a_pair_is_told_of_the_motion_within_the_picture_that_was_taken_out() -> None:
    """Of shifts and rock in steps, signed and not, as far as a network sees any in training."""
    net, frames, pairs = network(), canvases(2), torch.tensor([[0, 1, 1]])
    heard: list[torch.Tensor] = []
    net.look_closer.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    with torch.inference_mode():
        before = seen_twice(net, frames, [[0, 1]])[0]
        motion = torch.tensor([[0.3, 0.1, -STEP, 2.0 * STEP, -100.0 * STEP, 5.0]])
        moved = replace(before, motion=motion)
        net.compare_aligned(net.encode(frames), pairs, moved, torch.zeros(1, DESCRIPTION))
    lateral, axial, rock, *sizes = heard[-1][0, -MOVED:]
    shifts = cell_shifts(motion, torch.zeros(1, DESCRIPTION))[0, :, 0].reshape(CELLS, CELLS)
    torch.testing.assert_close(lateral, shifts / STEP)
    assert (axial == -LARGEST_STEPS).all()
    assert (rock == -1).all()
    torch.testing.assert_close(torch.stack(sizes), torch.stack([lateral, axial, rock]).abs())


@given(xi=st.tuples(*[st.floats(-2, 2)] * 6), told=st.tuples(*[st.floats(-0.5, 0.5)] * 6))
@settings(max_examples=30, deadline=None)
def test_cells_shift_as_the_rigid_motion_in_millimetres_says(
    xi: tuple[float, ...], told: tuple[float, ...]
) -> None:
    told = (*told[:4], min(told[4], 0), min(told[5], 0))
    canvas = canvas_of(told)
    shifts = cell_shifts(torch.tensor([xi]), torch.tensor([told]))[0].numpy()
    places = centres(torch.device("cpu")).numpy() * SIDE / 2 * np.array(canvas.pixel_mm)
    wx, wy, wz, tx, ty, tz = np.array(xi) * canvas.units()
    x, y = places.T
    moved = np.column_stack([tx - wz * y, ty + wz * x, tz + wx * y - wy * x])
    lengths = np.array([*canvas.pixel_mm, canvas.speckle_mm[0]])
    assert np.abs(shifts - moved / lengths).max() < 0.03 * (1 + np.abs(shifts).max())


def test_shifts_of_cells_are_as_exact_where_arithmetic_is_coarse() -> None:
    xi, told = torch.tensor([[0.3, -0.2, 0.5, 31.3, -7.9, 1.1]]), torch.zeros(1, DESCRIPTION)
    exact = cell_shifts(xi, told)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cell_shifts(xi, told), exact, rtol=0, atol=0)


def canvas_of(told: tuple[float, ...]) -> Canvas:
    """A canvas that `Canvas.description` describes by `told`, but for whole pixels."""
    lateral = 0.4 * math.exp(told[0])
    axial = lateral * 0.5 * math.exp(told[1])
    pixel = lateral / math.exp(told[2]), axial / math.exp(told[3])
    rows, columns = (round(SIDE * math.exp(share)) for share in told[4:])
    box = (0, round(rows * pixel[1] / 0.001), 0, round(columns * pixel[0] / 0.001))
    return Canvas(box, (rows, columns), (0.001, 0.001), (lateral, axial))


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


def test_every_weight_takes_part_in_the_answer() -> None:
    net = network().train()
    both = seen_twice(net, canvases(3), [[0, 1], [1, 2], [2, 0]])
    total = sum(found.motion.square().sum() + found.log_scale.sum() for found in both)
    total.backward()  # type: ignore[union-attr]
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


def test_rows_are_those_asked_for_and_successive_ones_are_not_copied() -> None:
    values = torch.arange(12.0).reshape(6, 2)
    successive, others = (rows(values, torch.tensor(n)) for n in ([2, 3, 4], [4, 2, 2]))
    torch.testing.assert_close(successive, values[2:5])
    torch.testing.assert_close(others, values[[4, 2, 2]])
    assert successive.data_ptr() == values[2:].data_ptr()
    assert rows(values, torch.empty(0, dtype=torch.int64)).shape == (0, 2)
