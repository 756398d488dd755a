"""Pairs side by side: each cell counts by the speckle it shows, and near pairs are told apart."""

import torch

from model.cells import CELLS
from model.compared import TOLD_GAP, WIDTH, Compared, law, means_by_group

SHARE = (torch.arange(CELLS**2) < 100).float()


def pairs_like(*values: float) -> Compared:
    """Pairs whose cells that show speckle hold a value each, and the others one that is absurd."""
    value = torch.tensor(values)[:, None, None].expand(-1, WIDTH, CELLS**2)
    cells = torch.where(SHARE > 0, value, 1e3).reshape(-1, WIDTH, CELLS, CELLS)
    return Compared(cells, SHARE.expand(len(values), -1), torch.zeros(len(values), CELLS**2, 2))


def test_cells_count_by_the_speckle_they_show() -> None:
    expected = torch.tensor([2.0, 3.0])[:, None].expand(-1, WIDTH)
    torch.testing.assert_close(pairs_like(2.0, 3.0).overall(), expected, rtol=0, atol=1e-3)


def test_each_group_is_told_its_own_mean_and_how_near_pairs_differ_from_it() -> None:
    compared = pairs_like(1.0, 3.0, 5.0)
    gaps = torch.tensor([TOLD_GAP, TOLD_GAP + 1, TOLD_GAP + 1])
    pairs = torch.stack([torch.zeros(3), gaps, gaps], dim=1)
    every, near = means_by_group(compared, pairs, torch.tensor([0, 0, 1])).chunk(2, dim=1)
    told = law(every, near)
    overall, near_less_all = told[:, 0], told[:, WIDTH]
    torch.testing.assert_close(overall, torch.tensor([2.0, 5.0]), rtol=0, atol=1e-3)
    torch.testing.assert_close(near_less_all, torch.tensor([-1.0, 0.0]), rtol=0, atol=1e-3)
