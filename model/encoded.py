"""Frames as they are compared: maps of features, cut into cells where others are looked for.

A shift that is known is taken out before two frames are compared, in whole steps: the cells of one
are cut from where those of the other lie in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.alignment import Detail
from model.cells import BLOCKS, CELLS, of_cells

CELL_SIDE = 4  # places of the fine map to a cell, and of the coarse one to a block
CHANNELS = 32
OWN = 32  # numbers a cell that say what one frame's speckle looks like
STEP, LARGEST_STEPS = 8, 5  # pixels by which known shifts are taken out, and how many times


@dataclass(frozen=True)
class Encoded:
    """What comparisons need to know of each of B frames.

    fine, coarse: (B, places, CHANNELS + 1) features at every place of a padded map, and in the
        last channel the share of speckle there.
    cells, blocks: (B, CELLS^2 or BLOCKS^2, pixels, CHANNELS) these cut into cells, see `cut`.
    own: (B, OWN + 1, CELLS, CELLS) cells' correlation with themselves, and the share of speckle.
    image, gradient, structure, filtered: as in `alignment.Detail`.
    """

    fine: Tensor
    coarse: Tensor
    cells: Tensor
    blocks: Tensor
    own: Tensor
    image: Tensor
    gradient: Tensor
    structure: Tensor
    filtered: Tensor

    def __getitem__(self, part: slice) -> "Encoded":
        """Successive frames."""
        return Encoded(*(getattr(self, name)[part] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.own)

    @classmethod
    def joined(cls, parts: Sequence["Encoded"], room: "Encoded | None" = None) -> "Encoded":
        """The frames of all parts; in `room`, if it holds as many, as new memory takes longer."""
        names, count = cls.__dataclass_fields__, sum(map(len, parts))
        columns = ([getattr(part, name) for part in parts] for name in names)
        if room is None or len(room) < count:
            return cls(*map(torch.cat, columns))
        room = room[:count]
        places = (getattr(room, name) for name in names)
        return cls(*(torch.cat(c, out=place) for c, place in zip(columns, places, strict=True)))

    def copy(self) -> "Encoded":
        """The same frames in memory of their own."""
        return Encoded.joined([self])

    def view(self, numbers: Tensor, guess: Tensor | None = None) -> "View":
        """Some of the frames (P,), as often as they are asked for, each for one comparison.

        guess: (P, BLOCKS^2, 2) shifts in pixels from here to the frame that it is compared with,
        as far as they are known; whole steps of them are taken out.
        """
        own = rows(self.own, numbers)
        share = own[:, -1].flatten(1).float()
        steps = None if guess is None else _whole_steps(guess)
        if steps is None:
            cells, blocks = (rows(part, numbers) for part in (self.cells, self.blocks))
            return View(cells, blocks, own, share, share.new_zeros(*share.shape, 2))
        blocks, _ = cut(self.coarse, numbers, BLOCKS, steps)
        steps = of_cells(steps)
        cells, share = cut(self.fine, numbers, CELLS, steps)
        return View(cells, blocks, own, share, STEP * steps)

    def detail(self, numbers: Tensor) -> Detail:
        """Some of the frames (P,) as they are laid on others."""
        parts = (self.image, self.gradient, self.structure, self.filtered)
        return Detail(*(rows(part, numbers) for part in parts))


@dataclass(frozen=True)
class View:
    """A frame as it is compared with another: cells, blocks, own as in `Encoded`.

    share: (P, CELLS^2) of a cell that shows speckle. ahead: (P, CELLS^2, 2) shifts that have been
    taken out, in pixels.
    """

    cells: Tensor
    blocks: Tensor
    own: Tensor
    share: Tensor
    ahead: Tensor


def rows(values: Tensor, numbers: Tensor) -> Tensor:
    """Rows `numbers` (P,) of values; a view, which saves much of the CPU's time, if successive."""
    if numbers.device.type == "cpu" and len(numbers):
        first = int(numbers[0])
        if torch.equal(numbers, torch.arange(first, first + len(numbers))):
            return values[first : first + len(numbers)]
    return values.index_select(0, numbers)


def padded(features: Tensor, pixels: int) -> Tensor:
    """(B, C, n, n) -> (B, places, C), with nothing around it, LARGEST_STEPS of `pixels` wide."""
    return functional.pad(features, (LARGEST_STEPS * pixels,) * 4).flatten(2).mT.contiguous()


def cut(
    features: Tensor, numbers: Tensor, grid: int, steps: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cells (P, grid^2, pixels, CHANNELS) of frames `numbers` (P,), and the share they show.

    features: of `padded`. steps: (P, grid^2, 2) by which each cell's content lies further along
    in the other frame, so that it is looked up as far back here.
    Of unit energy in each cell and channel.
    """
    width = math.isqrt(features.shape[1])
    margin = (width - CELL_SIDE * grid) // 2
    line = margin + torch.arange(CELL_SIDE * grid, device=features.device)
    places = (line[:, None] * width + line).reshape(grid, CELL_SIDE, grid, CELL_SIDE)
    places = places.transpose(1, 2).reshape(1, grid**2, CELL_SIDE**2)
    places = places + (numbers * width**2)[:, None, None]
    if steps is not None:
        steps = steps.long()  # in bfloat16 a place beyond 256 would not be a whole number
        back = (steps[..., 1] * width + steps[..., 0]) * (margin // LARGEST_STEPS)
        places = places - back[..., None]
    cells = features.flatten(0, 1).index_select(0, places.flatten())
    cells = cells.reshape(*places.shape, -1)
    share, cells = cells[..., -1].float().mean(dim=-1), cells[..., :-1]
    energy = (cells * cells).sum(dim=2, keepdim=True).float()  # sums are in float32 all along
    return cells * (energy + 1e-3).rsqrt().to(cells.dtype), share


def _whole_steps(guess: Tensor) -> Tensor | None:
    """Whole steps of shifts; nothing where it is cheap to see that all are 0."""
    steps = (guess / STEP).round().clamp(-LARGEST_STEPS, LARGEST_STEPS)
    return steps if steps.device.type != "cpu" or bool(steps.any()) else None
