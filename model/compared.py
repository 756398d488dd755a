"""Pairs of frames side by side, and what those of a scan tell together.

A pair means what it does in the light of its scan: what its pairs look like on the whole, cell by
cell, and by how much those of near frames differ from the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.cells import CELLS

WIDTH = 64  # numbers a cell that say what a pair looks like
SUMMARY = WIDTH + 1  # numbers a cell that sum up pairs: what they look like, and speckle's share
TOLD_GAP = 2  # frames from one to the other: not told apart beyond, and near up to here


@dataclass(frozen=True)
class Compared:
    """What two frames look like side by side, of B pairs.

    cells: (B, WIDTH, CELLS, CELLS). share: (B, CELLS^2) of a cell that shows speckle in both.
    ahead: (B, CELLS^2, 2) shift in pixels that has been taken out before they were compared.
    """

    cells: Tensor
    share: Tensor
    ahead: Tensor

    def __getitem__(self, part: slice) -> "Compared":
        """Successive pairs."""
        return Compared(self.cells[part], self.share[part], self.ahead[part])

    @classmethod
    def joined(cls, parts: Sequence["Compared"]) -> "Compared":
        """The pairs of all parts."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def weighted(self, near: Tensor) -> Tensor:
        """Cells by the speckle they show, and how much that is: (B, 2 SUMMARY, CELLS, CELLS).

        The second half is nothing but of pairs that are `near` (B,). What is told of a scan is the
        mean over some pairs of the same part of it.
        """
        share = self.share.reshape(-1, 1, CELLS, CELLS)
        every = torch.cat([self.cells.float() * share, share], dim=1)
        return torch.cat([every, every * near.reshape(-1, 1, 1, 1)], dim=1)

    def overall(self) -> Tensor:
        """Mean (B, WIDTH) of the cells by the speckle they show; a product is fast on a CPU."""
        cells = self.cells.permute(0, 2, 3, 1).flatten(1, 2)
        sums = (self.share.to(cells.dtype)[:, None] @ cells)[:, 0].float()
        return sums / (self.share.sum(dim=1, keepdim=True) + 1e-3)


def means_by_group(compared: Compared, pairs: Tensor, group: Tensor) -> Tensor:
    """Means (G, ...) of `Compared.weighted` over the pairs (P, 3) of each group (P,) 0..G-1."""
    values = compared.weighted(pairs[:, 2] <= TOLD_GAP)
    one_hot = functional.one_hot(group).mT.to(values.dtype)
    means = (one_hot / one_hot.sum(dim=1, keepdim=True).clamp(min=1)) @ values.flatten(1)
    return means.reshape(-1, *values.shape[1:])


def law(every: Tensor, near: Tensor) -> Tensor:
    """Means over the picture and all pairs, and by how much near ones differ: (G, 2 WIDTH).

    That tells how speckle is lost: by a single look little at first and then more, by a mean of
    looks as much with every frame, to noise all at once. every, near: (G, SUMMARY, CELLS, CELLS) of
    all pairs and of the near ones, which may show no speckle at all: then they differ by nothing.
    """
    overall = _overall(every)
    any_near = near[:, -1].sum(dim=(1, 2)) > 0
    return torch.cat([overall, (_overall(near) - overall) * any_near[:, None]], dim=1)


def _overall(weighted: Tensor) -> Tensor:
    """Means over the picture (B, WIDTH) of half of `Compared.weighted` (B, SUMMARY, ...)."""
    sums = weighted.sum(dim=(2, 3))
    return sums[:, :-1] / (sums[:, -1:] + 1e-3)
