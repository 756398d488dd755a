"""The pose network: frames encoded once, any two of them compared by how their speckle correlates.

The canvas is cut into CELLS x CELLS cells. In each, every feature of one frame is correlated with
every feature of the other: that is what physics says motion is seen by, it is one matrix product a
pair, and as features see 16 pixels, products of different features are correlations under shifts.
What the correlations mean for a cell's shift within and across the picture is learnt, the same way
in every cell, in the light of the cells around it and of the whole scan; the motion of the picture
follows from its cells in closed form (`cell_fit`). Then the frames are laid on each other as that
motion says, and what still differs is read in the same way (`alignment`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.alignment import (
    KERNEL,
    STRIDE,
    TRAITS,
    Detail,
    cosines,
    detail_of,
    remainder,
    root_of_lost,
)
from model.cell_fit import fit_across, fit_in_plane
from model.cells import (
    ACROSS,
    BLOCKS,
    CELLS,
    FREEDOMS,
    IN_PLANE,
    cell_shifts,
    centres,
    geometry,
    of_cells,
)

ARCHITECTURE = (
    "canvas 320x320 of local contrast and validity, encoded once to 32 channels at 80x80; "
    "correlation of all channels of two frames in 20x20 cells and, coarser, 10x10; a residual CNN "
    "over the cells, told of the scan; shifts of each cell and weights; weighted least squares; "
    "then the same once more of what differs after the frames are aligned by so much"
)
INTERVALS = (1, 2, 4, 8)  # frames from one to the other: each is known roughly from half of it
DESCRIPTION = 6  # numbers that describe the scan, `Canvas.description`
CELL_SIDE = 4  # places of the fine map to a cell, and of the coarse one to a block
CHANNELS = 32
STEM = 48  # filters of KERNEL pixels at every STRIDE-th
OWN = 32  # numbers a cell that say what one frame's speckle looks like
WIDTH = 64
DILATIONS = (1, 2, 4, 1)
STEP, LARGEST_STEPS = 8, 5  # pixels by which known shifts are taken out, and how many times
TOLD_GAP = 2  # frames from one to the other: not told apart beyond, and near up to here
SUMMARY = WIDTH + 1  # numbers a cell that sum up pairs: what they look like, and speckle's share
MOVED = 6  # numbers a cell that tell how far it moved within the picture
LOG_SCALES = (-5.0, 3.0)  # least and largest
LOG_WEIGHTS = (-3.0, 7.0)
LEAST_SHOWN = 1.0  # cells of speckle that both frames must show for their motion to be seen at all


@dataclass(frozen=True)
class Encoded:
    """What comparisons need to know of each of B frames.

    fine, coarse: (B, places, CHANNELS + 1) features at every place of a padded map, and in the
        last channel the share of speckle there.
    cells, blocks: (B, CELLS^2 or BLOCKS^2, pixels, CHANNELS) these cut into cells, see `_cut`.
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
        blocks, _ = _cut(self.coarse, numbers, BLOCKS, steps)
        steps = of_cells(steps)
        cells, share = _cut(self.fine, numbers, CELLS, steps)
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

        The second half is nothing but of pairs that are `near` (B,). `_Verdict` wants the mean over
        some pairs of the same part of the scan.
        """
        share = self.share.reshape(-1, 1, CELLS, CELLS)
        every = torch.cat([self.cells.float() * share, share], dim=1)
        return torch.cat([every, every * near.reshape(-1, 1, 1, 1)], dim=1)

    def overall(self) -> Tensor:
        """Mean (B, WIDTH) of the cells by the speckle they show; a product is fast on a CPU."""
        cells = self.cells.permute(0, 2, 3, 1).flatten(1, 2)
        sums = (self.share.to(cells.dtype)[:, None] @ cells)[:, 0].float()
        return sums / (self.share.sum(dim=1, keepdim=True) + 1e-3)


@dataclass(frozen=True)
class Seen:
    """The answer for B pairs, in `Canvas.units`; the motion across up to one sign a pair.

    motion, log_scale: (B, 6) and logarithms of its Laplace scales.
    shifts: (B, CELLS^2, 3) of each cell along x and y and, as its size, across.
    log_weights: (B, CELLS^2, 3), logarithms of the inverse squares of their scales.
    share: (B, CELLS^2) of each cell that shows speckle; hardly any tells nothing.
    considered: (B, WIDTH, CELLS, CELLS) all that each cell was told and saw.
    """

    motion: Tensor
    log_scale: Tensor
    shifts: Tensor
    log_weights: Tensor
    share: Tensor
    considered: Tensor

    @property
    def scale(self) -> Tensor:
        """Laplace scales (B, 6), infinite for pairs that tell nothing."""
        nothing = self.share.sum(dim=1, keepdim=True) < LEAST_SHOWN
        return torch.where(nothing, torch.inf, self.log_scale.exp())


class PoseNet(nn.Module):
    """(canvas a, canvas b) -> motion of b seen from a, and how sure of each part.

    stretch: (intervals, 6) factors on the scales by interval, once a scan's intervals have been
    held against each other (`model.agreement`). step_stretch: (6,) likewise on the standard
    deviations of the steps that all are fused to. Both are measured after training
    (`training.calibration`).
    """

    stretch: Tensor
    step_stretch: Tensor

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(2, STEM, KERNEL, STRIDE, padding=2, bias=False)
        features = nn.Conv2d(2 * STEM, CHANNELS, 1, bias=False)
        _start_from_cosines(stem, features)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(STEM))
        self.texture = nn.Sequential(nn.ReLU(), *_convolution(STEM, STEM))
        self.features = nn.Sequential(features, nn.BatchNorm2d(CHANNELS))
        self.coarse = nn.Sequential(
            nn.Conv2d(2 * STEM, CHANNELS, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
        )
        self.own = _mixing(CHANNELS**2, OWN)
        self.common = _mixing(CHANNELS**2, WIDTH)
        self.common_coarse = _mixing(CHANNELS**2, WIDTH)
        self.look = nn.Sequential(
            *_convolution(WIDTH + OWN + 1 + 2 + CHANNELS + 1, WIDTH, kernel=1), _Block(1)
        )
        self.before = _Verdict()
        self.look_closer = nn.Sequential(
            *_convolution(TRAITS + 1 + WIDTH + MOVED, WIDTH, kernel=1), _Block(1)
        )
        self.after = _Verdict()
        self.register_buffer("stretch", torch.ones(len(INTERVALS), FREEDOMS))
        self.register_buffer("step_stretch", torch.ones(FREEDOMS))

    def forward(
        self, canvases: Tensor, pairs: Tensor, scan: Tensor, description: Tensor, guess: Tensor
    ) -> tuple[Seen, Seen]:
        """Pairs of canvases (F, 2, SIDE, SIDE), of the scans numbered `scan` (P,) from 0.

        pairs: (P, 3) numbers of two canvases, and how many frames they are apart.
        guess: (P, BLOCKS^2, 2), as for `Encoded.view`.
        Returns what is seen before and after the frames are aligned; the latter is the answer.
        """
        encoded = self.encode(canvases)
        compared = self.compare(encoded, pairs, guess)
        before = self.before(compared, means_by_group(compared, pairs, scan), scan, description)
        aligned = self.compare_aligned(encoded, pairs, before, description)
        return before, self.after(aligned, means_by_group(aligned, pairs, scan), scan, description)

    def encode(self, canvases: Tensor) -> Encoded:
        """Encode canvases (B, 2, SIDE, SIDE) of `canonical.network_input`."""
        filtered: Tensor = self.stem(canvases)  # (B, STEM, SIDE / 4, SIDE / 4)
        seen = torch.cat([filtered, self.texture(filtered)], dim=1)
        shown = functional.avg_pool2d(canvases[:, 1:], STRIDE).to(seen.dtype)
        half = functional.avg_pool2d(shown, 2)
        fine = _padded(torch.cat([self.features(seen) * shown, shown], dim=1), STEP // STRIDE)
        coarse = _padded(torch.cat([self.coarse(seen) * half, half], dim=1), STEP // STRIDE // 2)
        numbers = torch.arange(len(fine), device=fine.device)
        cells, share = _cut(fine, numbers, CELLS)
        own = _on_grid(self.own(_correlations(cells, cells)), CELLS)
        own = torch.cat([own, share.reshape(-1, 1, CELLS, CELLS).to(own.dtype)], dim=1)
        blocks, _ = _cut(coarse, numbers, BLOCKS)
        return Encoded(fine, coarse, cells, blocks, own, **vars(detail_of(canvases)))

    def compare(self, frames: Encoded, pairs: Tensor, guess: Tensor | None = None) -> Compared:
        """Pairs (P, 3) of frames as for `forward`, at a guess (P, BLOCKS^2, 2) of their shifts."""
        first, second, gap = pairs.unbind(1)
        a, b = frames.view(first), frames.view(second, guess)
        common = _on_grid(self.common(_correlations(a.cells, b.cells)), CELLS)
        coarse = _on_grid(self.common_coarse(_correlations(a.blocks, b.blocks)), BLOCKS)
        common = common + functional.interpolate(coarse, scale_factor=CELLS // BLOCKS)
        lost = _on_grid(_lost(a.cells, b.cells), CELLS)
        own = 0.5 * (a.own + b.own)
        seen = torch.cat([common, own, _places(common), lost, _apart(gap, common)], dim=1)
        return Compared(self.look(seen), torch.minimum(a.share, b.share), b.ahead - a.ahead)

    def compare_aligned(
        self, frames: Encoded, pairs: Tensor, before: Seen, description: Tensor
    ) -> Compared:
        """Pairs (P, 3) after the motion in the plane that was seen `before` is taken out."""
        motion, (a, b, gap) = before.motion.detach(), pairs.unbind(1)
        rest = remainder(frames.detail(a), rows(frames.image, b), motion, description)
        apart, shifts = _apart(gap, before.considered), cell_shifts(motion, description)[..., :2]
        seen = torch.cat([rest.traits, apart, before.considered, _moved(shifts, motion)], dim=1)
        return Compared(self.look_closer(seen), rest.share, shifts + rest.shift)


class _Verdict(nn.Module):
    """The motion that pairs of frames tell, in the light of the scan."""

    def __init__(self) -> None:
        super().__init__()
        self.scan = nn.Sequential(
            nn.Linear(3 * WIDTH + DESCRIPTION, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
        )
        self.usual = nn.Sequential(*_convolution(WIDTH, WIDTH), nn.Conv2d(WIDTH, WIDTH, 1))
        self.consider = nn.Sequential(*(_Block(dilation) for dilation in DILATIONS))
        self.cell = nn.Conv2d(WIDTH, FREEDOMS, 1)
        self.sureness = nn.Sequential(
            nn.Linear(WIDTH + FREEDOMS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, FREEDOMS)
        )

    def forward(self, pairs: Compared, scan: Tensor, part: Tensor, description: Tensor) -> Seen:
        """The motion of each pair.

        scan: (G, 2 SUMMARY, CELLS, CELLS) mean of `Compared.weighted` over pairs of some parts of
        the scan. part: (B,) that each pair is of. description: (B, DESCRIPTION).
        """
        every, near = scan[:, :SUMMARY], scan[:, SUMMARY:]
        known = torch.cat([_law(every, near)[part], pairs.overall(), description], dim=1)
        told = self.scan(known)[:, :, None, None].to(pairs.cells.dtype)
        usual = self.usual((every[:, :-1] / (every[:, -1:] + 1e-3)).to(pairs.cells.dtype))
        considered = self.consider(pairs.cells + told + usual[part])
        raw = self.cell(considered).flatten(2).mT.float()
        sizes = functional.softplus(raw[..., 2:3])
        shifts = torch.cat([raw[..., :2] + pairs.ahead, sizes], dim=-1)
        log_weights = raw[..., 3:].clamp(*LOG_WEIGHTS)
        weights = torch.exp(log_weights) * pairs.share[..., None]
        with torch.autocast(shifts.device.type, enabled=False):  # normal equations want float32
            motion, log_sd = _fit(shifts, weights, description)
        summary = replace(pairs, cells=considered).overall()
        log_scale = log_sd + self.sureness(torch.cat([summary, log_sd], dim=1)).float()
        log_scale = log_scale.clamp(*LOG_SCALES)
        return Seen(motion, log_scale, shifts, log_weights, pairs.share, considered)


def _start_from_cosines(stem: nn.Conv2d, features: nn.Conv2d) -> None:
    """Begin with the cosine transform's lowest frequencies, which keep most of the speckle."""
    with torch.no_grad():
        stem.weight.mul_(0.1)
        stem.weight[:, 0] += cosines(STEM)
        features.weight.mul_(0.1)
        features.weight[:, :CHANNELS, 0, 0] += torch.eye(CHANNELS)


def rows(values: Tensor, numbers: Tensor) -> Tensor:
    """Rows `numbers` (P,) of values; a view, which saves much of the CPU's time, if successive."""
    if numbers.device.type == "cpu" and len(numbers):
        first = int(numbers[0])
        if torch.equal(numbers, torch.arange(first, first + len(numbers))):
            return values[first : first + len(numbers)]
    return values.index_select(0, numbers)


def _whole_steps(guess: Tensor) -> Tensor | None:
    """Whole steps of shifts; nothing where it is cheap to see that all are 0."""
    steps = (guess / STEP).round().clamp(-LARGEST_STEPS, LARGEST_STEPS)
    return steps if steps.device.type != "cpu" or bool(steps.any()) else None


def _overall(weighted: Tensor) -> Tensor:
    """Means over the picture (B, WIDTH) of half of `Compared.weighted` (B, SUMMARY, ...)."""
    sums = weighted.sum(dim=(2, 3))
    return sums[:, :-1] / (sums[:, -1:] + 1e-3)


def _law(every: Tensor, near: Tensor) -> Tensor:
    """Means over the picture and all pairs, and by how much near ones differ: (G, 2 WIDTH).

    That tells how speckle is lost: by a single look little at first and then more, by a mean of
    looks as much with every frame, to noise all at once. every, near: (G, SUMMARY, CELLS, CELLS) of
    all pairs and of the near ones, which may show no speckle at all: then they differ by nothing.
    """
    overall = _overall(every)
    any_near = near[:, -1].sum(dim=(1, 2)) > 0
    return torch.cat([overall, (_overall(near) - overall) * any_near[:, None]], dim=1)


def means_by_group(compared: Compared, pairs: Tensor, group: Tensor) -> Tensor:
    """Means (G, ...) of `Compared.weighted` over the pairs (P, 3) of each group (P,) 0..G-1."""
    values = compared.weighted(pairs[:, 2] <= TOLD_GAP)
    one_hot = functional.one_hot(group).mT.to(values.dtype)
    means = (one_hot / one_hot.sum(dim=1, keepdim=True).clamp(min=1)) @ values.flatten(1)
    return means.reshape(-1, *values.shape[1:])


def _fit(shifts: Tensor, weights: Tensor, description: Tensor) -> tuple[Tensor, Tensor]:
    """Motion (B, 6), and logarithms of its standard deviations were the cells independent."""
    places, ratio = geometry(description)
    in_plane, known_in_plane = fit_in_plane(shifts[..., :2], weights[..., :2], places, ratio)
    across, known_across = fit_across(shifts[..., 2], weights[..., 2], places)
    order = torch.argsort(torch.tensor(ACROSS + IN_PLANE, device=shifts.device))
    motion = torch.cat([across, in_plane], dim=1)[:, order]
    known = [part.diagonal(dim1=1, dim2=2) for part in (known_across, known_in_plane)]
    return motion, -0.5 * torch.cat(known, dim=1)[:, order].log()


def _padded(features: Tensor, pixels: int) -> Tensor:
    """(B, C, n, n) -> (B, places, C), with nothing around it, LARGEST_STEPS of `pixels` wide."""
    return functional.pad(features, (LARGEST_STEPS * pixels,) * 4).flatten(2).mT.contiguous()


def _cut(
    features: Tensor, numbers: Tensor, grid: int, steps: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cells (P, grid^2, pixels, CHANNELS) of frames `numbers` (P,), and the share they show.

    features: of `_padded`. steps: (P, grid^2, 2) by which each cell's content lies further along
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


def _lost(a: Tensor, b: Tensor) -> Tensor:
    """Root of what each channel has lost of its correlation, (B * cells, CHANNELS).

    For small motions across it grows in proportion to them. From the difference of the features,
    which loses nothing in bfloat16 as 1 minus their correlation would.
    """
    difference = a - b
    lost = (difference * difference).sum(dim=2).float() / 2  # squares are slower
    return root_of_lost(lost).flatten(0, 1)


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of every channel of `a` with every one of `b`, (B * cells, CHANNELS^2)."""
    return (a.mT @ b).reshape(-1, CHANNELS**2)


def _on_grid(values: Tensor, grid: int) -> Tensor:
    """(B * grid^2, n) -> (B, n, grid, grid)."""
    return values.reshape(-1, grid, grid, values.shape[1]).permute(0, 3, 1, 2)


def _apart(gap: Tensor, grid: Tensor) -> Tensor:
    """Whether two frames, `gap` (P,) apart, are neighbours: 0, or log 2 (P, 1, CELLS, CELLS).

    Neighbours are more alike than their motion tells where the screen has persistence. Nothing
    longer is told: a hand that turns is where it was 8 frames ago, and what is usual for 8 frames
    would be believed rather than seen.
    """
    told = gap.clamp(max=TOLD_GAP).log().to(grid.dtype)
    return told[:, None, None, None].expand(-1, 1, CELLS, CELLS)


def _moved(shifts: Tensor, motion: Tensor) -> Tensor:
    """What was taken out in each cell: shifts (P, CELLS^2, 2), rock, and the sizes of all three.

    (P, MOVED, CELLS, CELLS), in steps. A frame that turned within the plane shows other speckle
    though it lies on the first, as the pulse is shorter than the beam is wide: that was not lost
    to motion across.
    """
    rock = motion[:, None, IN_PLANE[:1]].expand(-1, shifts.shape[1], -1)
    moved = torch.cat([shifts / STEP, rock / STEP], dim=-1).clamp(-LARGEST_STEPS, LARGEST_STEPS)
    return _on_grid(torch.cat([moved, moved.abs()], dim=-1).flatten(0, 1), CELLS)


def _places(grid: Tensor) -> Tensor:
    """Where each cell lies on the canvas, -1..1: (B, 2, CELLS, CELLS)."""
    places = centres(grid.device).mT.reshape(2, CELLS, CELLS).to(grid.dtype)
    return places.expand(len(grid), -1, -1, -1)


class _Block(nn.Module):
    """Two convolutions beside which the input passes."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 1),
        )

    def forward(self, cells: Tensor) -> Tensor:
        changed: Tensor = cells + self.change(cells)
        return changed


def _convolution(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    """Convolution, BatchNorm and ReLU; BatchNorm trains faster than GroupNorm on a CPU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _mixing(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
