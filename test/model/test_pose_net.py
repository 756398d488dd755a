"""The pose network: shapes, what it must not depend on, and that every part of it learns."""

import torch
from torch import nn

from model.canonical import SIDE
from model.pose_net import CELLS, CHANNELS, DESCRIPTION, LOG_SCALES, PoseNet


def network(seed: int = 0) -> PoseNet:
    """Untrained, but its BatchNorms have seen frames."""
    torch.manual_seed(seed)
    net = PoseNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net(canvases(4, seed=9), torch.tensor([[0, 1], [2, 3]]), torch.zeros(2, DESCRIPTION))
    return net.eval()


def canvases(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    contrast = torch.randn(count, 1, SIDE, SIDE, generator=generator)
    return torch.cat([contrast, torch.ones_like(contrast)], dim=1)


def test_a_pair_gives_six_motions_and_six_scales_within_their_bounds() -> None:
    net, frames = network(), canvases(3)
    pairs = torch.tensor([[0, 1], [2, 0]])
    motion, log_scale = net(frames, pairs, torch.zeros(2, DESCRIPTION))
    assert motion.shape == log_scale.shape == (2, 6)
    assert log_scale.min() >= LOG_SCALES[0]
    assert log_scale.max() <= LOG_SCALES[1]


def test_in_evaluation_a_pair_does_not_depend_on_what_it_is_computed_with() -> None:
    net, frames = network(), canvases(3)
    with torch.inference_mode():
        together, _ = net(frames, torch.tensor([[0, 1], [1, 2]]), torch.zeros(2, DESCRIPTION))
        alone, _ = net(frames[1:], torch.tensor([[0, 1]]), torch.zeros(1, DESCRIPTION))
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


def test_a_frame_correlates_fully_with_itself_and_hardly_with_another() -> None:
    encoded = network().encode(canvases(2))
    own = (encoded.cells[0] * encoded.cells[0]).sum(dim=-1)
    other = (encoded.cells[0] * encoded.cells[1]).sum(dim=-1)
    assert encoded.cells.shape == (2, CELLS**2, CHANNELS, (SIDE // 4 // CELLS) ** 2)
    assert own.mean() > 0.95
    assert own.max() < 1.001
    assert other.mean() < 0.7


def test_a_little_more_contrast_hardly_changes_the_correlations() -> None:
    frames = canvases(1)
    louder = frames * torch.tensor([1.2, 1.0])[:, None, None]
    encoded = network().encode(torch.cat([frames, louder]))
    likeness = (encoded.cells[0] * encoded.cells[1]).sum(dim=-1)
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
    motion, log_scale = net(
        canvases(3), torch.tensor([[0, 1], [1, 2], [2, 0]]), torch.ones(3, DESCRIPTION)
    )
    (motion.square().sum() + log_scale.sum()).backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still
