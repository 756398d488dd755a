"""The pose network: frames encoded once, any two of them compared by how their speckle correlates.

The canvas is cut into CELLS x CELLS cells. In each, every feature of one frame is correlated with
every feature of the other: that is what physics says motion is seen by, it is one matrix product a
pair, and as features see 16 pixels, products of different features are correlations under shifts.
What the correlations mean for a cell's shift within and across the picture is learnt, the same way
in every cell, in the light of the cells around it and of the whole scan; the motion of the picture
follows from its cells in closed form (`cell_fit`). Then the frames are laid on each other as that
motion says, and what still differs is read in the same way (`alignment`).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.alignment import (
    KERNEL,
    STRIDE,
    TRAITS,
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
)
from model.compared import SUMMARY, TOLD_GAP, WIDTH, Compared, law, means_by_group
from model.encoded import CHANNELS, LARGEST_STEPS, OWN, STEP, Encoded, cut, padded, rows

ARCHITECTURE = (
    "canvas 320x320 of local contrast and validity, encoded once to 32 channels at 80x80; "
    "correlation of all channels of two frames in 20x20 cells and, coarser, 10x10; a residual CNN "
    "over the cells, told of the scan; shifts of each cell and weights; weighted least squares; "
    "then the same once more of what differs after the frames are aligned by so much"
)
INTERVALS = (1, 2, 4, 8)  # frames from one to the other: each is known roughly from half of it
DESCRIPTION = 6  # numbers that describe the scan, `Canvas.description`
STEM = 48  # filters of KERNEL pixels at every STRIDE-th
DILATIONS = (1, 2, 4, 1)
MOVED = 6  # numbers a cell that tell how far it moved within the picture
LOG_SCALES = (-5.0, 3.0)  # least and largest
LOG_WEIGHTS = (-3.0, 7.0)
LEAST_SHOWN = 1.0  # cells of speckle that both frames must show for their motion to be seen at all


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
        fine = padded(torch.cat([self.features(seen) * shown, shown], dim=1), STEP // STRIDE)
        coarse = padded(torch.cat([self.coarse(seen) * half, half], dim=1), STEP // STRIDE // 2)
        numbers = torch.arange(len(fine), device=fine.device)
        cells, share = cut(fine, numbers, CELLS)
        own = _on_grid(self.own(_correlations(cells, cells)), CELLS)
        own = torch.cat([own, share.reshape(-1, 1, CELLS, CELLS).to(own.dtype)], dim=1)
        blocks, _ = cut(coarse, numbers, BLOCKS)
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
        known = torch.cat([law(every, near)[part], pairs.overall(), description], dim=1)
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


def _fit(shifts: Tensor, weights: Tensor, description: Tensor) -> tuple[Tensor, Tensor]:
    """Motion (B, 6), and logarithms of its standard deviations were the cells independent."""
    places, ratio = geometry(description)
    in_plane, known_in_plane = fit_in_plane(shifts[..., :2], weights[..., :2], places, ratio)
    across, known_across = fit_across(shifts[..., 2], weights[..., 2], places)
    order = torch.argsort(torch.tensor(ACROSS + IN_PLANE, device=shifts.device))
    motion = torch.cat([across, in_plane], dim=1)[:, order]
    known = [part.diagonal(dim1=1, dim2=2) for part in (known_across, known_in_plane)]
    return motion, -0.5 * torch.cat(known, dim=1)[:, order].log()


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
