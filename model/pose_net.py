"""The pose network: frames encoded once, any two of them compared by how their speckle correlates.

The canvas is cut into CELLS x CELLS cells. In each, every feature of one frame is correlated with
every feature of the other: that is what physics says motion is seen by, it is one matrix product a
pair, and as features see 29 pixels, products of different features are correlations under shifts.
The rest is learnt: which features, and what their correlations mean for motion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

ARCHITECTURE = (
    "canvas 320x320 of local contrast and validity, encoded once to 32 channels at 80x80; "
    "correlation of all channels of two frames in 20x20 cells; a strided CNN with a flattened "
    "head; 6 motions and 6 logarithms of their Laplace scales, in canvas units"
)
DESCRIPTION = 6  # numbers that describe the scan, `Canvas.description`
FREEDOMS = 6  # rotations about x, y, z and translations along them, about the canvas's centre
CELLS = 20
CHANNELS = 32
OWN = 32  # numbers a cell that say what one frame's speckle looks like
WIDTH = 96
LOG_SCALES = (-5.0, 3.0)  # least and largest


@dataclass(frozen=True)
class Encoded:
    """What a comparison needs to know of each of B frames.

    cells: (B, CELLS^2, CHANNELS, pixels) features of unit energy in each cell.
    own: (B, OWN + 1, CELLS, CELLS) their correlation with themselves, and the share of speckle.
    """

    cells: Tensor
    own: Tensor

    def __getitem__(self, key: Tensor | slice) -> "Encoded":
        """Some of the frames, as often as they are asked for."""
        return Encoded(self.cells[key], self.own[key])

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.cells)

    @classmethod
    def joined(cls, parts: Sequence["Encoded"]) -> "Encoded":
        """The frames of all parts."""
        return cls(torch.cat([p.cells for p in parts]), torch.cat([p.own for p in parts]))


class PoseNet(nn.Module):
    """(canvas a, canvas b) -> motion of b seen from a, and how sure of each part."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(2, 16, kernel=5, stride=2),
            *_convolution(16, 32, stride=2),
            *_convolution(32, 48),
            nn.Conv2d(48, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
        )
        self.own = _mixing(CHANNELS**2, OWN)
        self.common = _mixing(CHANNELS**2, WIDTH)
        self.layout = nn.Sequential(
            *_convolution(WIDTH + 2 * (OWN + 1) + 2, WIDTH, stride=2),
            *_convolution(WIDTH, 128),
            *_convolution(128, 128, stride=2),
        )
        self.conclusion = nn.Sequential(
            nn.Linear(128 * (CELLS // 4) ** 2 + DESCRIPTION, 256),
            nn.ReLU(),
            nn.Linear(256, 2 * FREEDOMS),
        )

    def forward(
        self, canvases: Tensor, pairs: Tensor, description: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`compare` frames pairs (P, 2), numbers of canvases (F, 2, SIDE, SIDE)."""
        encoded = self.encode(canvases)
        return self.compare(encoded[pairs[:, 0]], encoded[pairs[:, 1]], description)

    def encode(self, canvases: Tensor) -> Encoded:
        """Encode canvases (B, 2, SIDE, SIDE) of `canonical.network_input`."""
        features: Tensor = self.features(canvases)  # (B, CHANNELS, SIDE / 4, SIDE / 4)
        shown = functional.avg_pool2d(canvases[:, 1:], 4).to(features.dtype)
        cells = _cut(features * shown)
        share = functional.adaptive_avg_pool2d(shown, CELLS)
        own = torch.cat([_on_grid(self.own(_correlations(cells, cells))), share], dim=1)
        return Encoded(cells, own)

    def compare(self, a: Encoded, b: Encoded, description: Tensor) -> tuple[Tensor, Tensor]:
        """Motions (B, 6) and logarithms of their Laplace scales (B, 6), in `Canvas.units`.

        description: (B, DESCRIPTION).
        """
        common = _on_grid(self.common(_correlations(a.cells, b.cells)))
        seen = torch.cat([common, a.own, b.own, _places(common)], dim=1)
        summary = self.layout(seen).flatten(1)
        told = torch.cat([summary, description.to(summary.dtype)], dim=1)
        motion, log_scale = self.conclusion(told).float().chunk(2, dim=1)
        return motion, log_scale.clamp(*LOG_SCALES)


def _cut(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, CELLS^2, C, pixels) of unit energy in each cell and channel."""
    count, channels, height, _ = features.shape
    side = height // CELLS
    cells = features.reshape(count, channels, CELLS, side, CELLS, side).permute(0, 2, 4, 1, 3, 5)
    cells = cells.reshape(count, CELLS**2, channels, side * side)
    energy = cells.float().square().sum(dim=-1, keepdim=True)
    return cells * (energy + 1e-2).rsqrt().to(cells.dtype)


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of every channel of `a` with every one of `b`, (B * CELLS^2, CHANNELS^2)."""
    return (a @ b.mT).reshape(-1, CHANNELS**2)


def _on_grid(values: Tensor) -> Tensor:
    """(B * CELLS^2, n) -> (B, n, CELLS, CELLS)."""
    return values.reshape(-1, CELLS, CELLS, values.shape[1]).permute(0, 3, 1, 2)


def _places(grid: Tensor) -> Tensor:
    """Where each cell lies on the canvas, -1..1: (B, 2, CELLS, CELLS)."""
    line = torch.linspace(-1, 1, CELLS, dtype=grid.dtype, device=grid.device)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([columns, rows]).expand(len(grid), -1, -1, -1)


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution, BatchNorm and ReLU; BatchNorm trains faster than GroupNorm on a CPU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _mixing(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
