"""The pose network: shapes, what it must not depend on, and that every part of it learns."""

from dataclasses import replace

import torch
from untrained import canvases, network, seen, seen_twice

from model.cells import BLOCKS, CELLS, cell_shifts
from model.compared import TOLD_GAP
from model.encoded import LARGEST_STEPS, STEP
from model.pose_net import DESCRIPTION, LOG_SCALES, MOVED, Seen


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


def test_every_weight_takes_part_in_the_answer() -> None:
    net = network().train()
    both = seen_twice(net, canvases(3), [[0, 1], [1, 2], [2, 0]])
    total = sum(found.motion.square().sum() + found.log_scale.sum() for found in both)
    total.backward()  # type: ignore[union-attr]
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still
