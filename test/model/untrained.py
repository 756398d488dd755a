"""An untrained pose network, and what it makes of frames of noise."""

import torch
from torch import nn

from model.canonical import SIDE
from model.cells import BLOCKS
from model.pose_net import DESCRIPTION, PoseNet, Seen


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
