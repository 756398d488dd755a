"""The motion of the picture from its cells: exact for exact cells, whatever line does not move."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cell_fit import basis_across, basis_in_plane, fit_across, fit_in_plane, sides

LINE = (torch.arange(12) + 0.5) / 6 - 1
PLACES = torch.stack(torch.meshgrid(LINE, LINE, indexing="xy"), dim=-1).reshape(1, -1, 2)
CELLS = PLACES.shape[1]

number = st.floats(-2, 2, width=32)
plane = st.tuples(number, number, number).map(lambda v: torch.tensor([v]))
trust = st.integers(0, 2**31).map(
    lambda seed: torch.from_numpy(np.random.default_rng(seed).uniform(20, 90, (1, CELLS))).float()
)


def off_by_mirror(found: torch.Tensor, true: torch.Tensor) -> float:
    return float(torch.minimum((found - true).abs().amax(), (found + true).abs().amax()))


@given(motion=plane, weights=trust)
@settings(max_examples=40, deadline=None)
def test_in_plane_motion_comes_back_from_the_shifts_it_makes(
    motion: torch.Tensor, weights: torch.Tensor
) -> None:
    ratio = torch.tensor([1.7])
    along = basis_in_plane(PLACES, ratio)
    shifts = torch.stack([(basis @ motion[..., None])[..., 0] for basis in along], dim=-1)
    found, _ = fit_in_plane(shifts, weights[..., None].expand(-1, -1, 2), PLACES, ratio)
    torch.testing.assert_close(found, motion, atol=1e-4, rtol=1e-4)


@given(motion=plane, weights=trust)
@settings(max_examples=60, deadline=None)
def test_motion_across_comes_back_from_its_sizes_up_to_one_sign(
    motion: torch.Tensor, weights: torch.Tensor
) -> None:
    sizes = (basis_across(PLACES) @ motion[..., None])[..., 0].abs()
    found, _ = fit_across(sizes, weights, PLACES)
    assert off_by_mirror(found, motion) < 2e-3


def test_a_pure_turn_is_as_well_seen_as_a_pure_shift() -> None:
    for motion in torch.eye(3)[:, None]:
        sizes = (basis_across(PLACES) @ motion[..., None])[..., 0].abs()
        noisy = sizes + 0.05 * torch.randn(sizes.shape, generator=torch.Generator().manual_seed(1))
        found, _ = fit_across(noisy.clamp(min=0), torch.full((1, CELLS), 50.0), PLACES)
        assert off_by_mirror(found, motion) < 0.05


def test_cells_without_weight_are_not_heard() -> None:
    motion = torch.tensor([[0.3, -0.5, 0.4]])
    sizes = (basis_across(PLACES) @ motion[..., None])[..., 0].abs()
    weights = torch.full((1, CELLS), 50.0)
    weights[:, ::3], sizes[:, ::3] = 0.0, 9.0
    found, _ = fit_across(sizes, weights, PLACES)
    assert off_by_mirror(found, motion) < 2e-3


def test_nothing_seen_is_no_motion_and_no_information() -> None:
    found, information = fit_across(torch.ones(2, CELLS), torch.zeros(2, CELLS), PLACES)
    assert found.abs().max() == 0
    assert information.diagonal(dim1=1, dim2=2).max() < 0.02


def test_sides_part_the_picture_along_the_line_that_stands_still() -> None:
    basis = basis_across(PLACES)
    sizes = (basis @ torch.tensor([[0.0, 1.0, 0.3]])[..., None])[..., 0].abs()
    side = sides(basis, sizes, torch.full((1, CELLS), 50.0))[0]
    right = (0.3 - PLACES[0, :, 0]) > 0
    assert set(side[right].tolist()) == {-side[~right][0].item()}


def test_the_fit_passes_its_gradient_to_every_cell() -> None:
    sizes = torch.rand(1, CELLS, generator=torch.Generator().manual_seed(2)).requires_grad_()
    found, _ = fit_across(sizes, torch.full((1, CELLS), 5.0), PLACES)
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    assert sizes.grad is not None
    assert (sizes.grad.abs() > 0).float().mean() > 0.9


def test_an_even_field_that_saturates_towards_its_edges_is_no_turn() -> None:
    x = PLACES[..., 0]
    sizes = 1.5 + 1.2 * x.square()
    found, _ = fit_across(sizes, torch.full((1, CELLS), 5.0), PLACES)
    assert found[0, 2].abs() > 1.2
    assert found[0, 1].abs() < 0.3


@given(seed=st.integers(0, 2**31), shown=st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_few_cells_that_are_very_sure_make_a_motion_and_no_singular_matrix(
    seed: int, shown: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = torch.zeros(1, CELLS)
    weights[0, rng.choice(CELLS, shown, replace=False)] = float(rng.uniform(300, 1097))
    places = PLACES * torch.from_numpy(rng.uniform(0.5, 2, (1, 1, 2))).float()
    motion = torch.from_numpy(rng.normal(size=(1, 3, 1)) * rng.uniform(0, 1)).float()
    across, _ = fit_across((basis_across(places) @ motion)[..., 0].abs(), weights, places)
    shifts = torch.from_numpy(rng.normal(size=(1, CELLS, 2))).float()
    both = weights[..., None].expand(-1, -1, 2)
    in_plane, _ = fit_in_plane(shifts, both, places, torch.tensor([1.7]))
    assert max(float(across.abs().max()), float(in_plane.abs().max())) < 50
