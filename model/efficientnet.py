"""EfficientNet-B1 (Tan and Le, ICML 2019, tables 1 and 2) in plain torch, for inference.

Modules nest and are named as in torchvision's `efficientnet_b1`, so that a state dict of either
loads into the other. Stochastic depth, which has no weights and acts in training only, is left out.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

DEPTH = 1.1  # of B1 relative to B0; its width is B0's
DROPOUT = 0.2
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


class Stage(NamedTuple):
    """Repeated blocks of one resolution, as a row of the paper's table 1."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


B0_STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


class SqueezeExcitation(nn.Module):
    """Scale channels by a gate computed from their means over the image."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        means = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        gate: Tensor = self.fc2(nn.functional.silu(self.fc1(means)))
        return x * gate.sigmoid()


class InvertedBottleneck(nn.Module):
    """Expand, convolve each channel, squeeze and excite, project; plus the input where it fits."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        expanded = inputs * stage.expansion
        expand = [_conv_norm(inputs, expanded)] if stage.expansion > 1 else []
        self.block = nn.Sequential(
            *expand,
            _conv_norm(expanded, expanded, stage.kernel, stride=stride, groups=expanded),
            SqueezeExcitation(expanded, max(1, inputs // 4)),
            _conv_norm(expanded, stage.channels, activate=False),
        )
        self.residual = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, channels, h / stride, w / stride)."""
        y: Tensor = self.block(x)
        return x + y if self.residual else y


class EfficientNetB1(nn.Module):
    """Images (B, inputs, H, W) float32 -> numbers (B, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_norm(inputs, STEM_CHANNELS, 3, stride=2)]
        channels = STEM_CHANNELS
        for stage in B0_STAGES:
            layers.append(_stage(channels, stage))
            channels = stage.channels
        layers.append(_conv_norm(channels, HEAD_CHANNELS))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(HEAD_CHANNELS, outputs))

    def forward(self, images: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs)."""
        features = self.features(images)  # (B, 1280, H / 32, W / 32)
        numbers: Tensor = self.classifier(torch.mean(features, (2, 3)))
        return numbers


def _stage(inputs: int, stage: Stage) -> nn.Sequential:
    count = math.ceil(stage.blocks * DEPTH)
    first = InvertedBottleneck(inputs, stage, stage.stride)
    others = [InvertedBottleneck(stage.channels, stage, stride=1) for _ in range(count - 1)]
    return nn.Sequential(first, *others)


def _conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    activate: bool = True,
) -> nn.Sequential:
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    norm = nn.BatchNorm2d(outputs)
    return nn.Sequential(conv, norm, nn.SiLU()) if activate else nn.Sequential(conv, norm)
