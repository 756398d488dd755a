"""From what each cell of the canvas saw to the motion of the whole picture, in closed form.

A rigid motion shifts cells within the picture by (tx - wz y, ty + wz x) and across it by
tz + wx y - wy x. Weighted least squares on the cells' shifts gives the first three numbers. Of the
motion across only its size shows, |tz + wx y - wy x|: which cells move to which side is found from
several starts, among them the axes of its square, a quadratic form of rank one in the three
numbers; with these sides the numbers follow as the first three did. All is in canvas units
(`Canvas.units`).
"""

import torch
from torch import Tensor

RIDGE = 1e-2  # information of the prior at zero, against cells of information exp(-3) to exp(7)
# Of the mean information, which is added likewise: cells in one row, say, do not part tilt from
# elevation, and in float32 what is left beside thousands of RIDGE is nothing.
RELATIVE_RIDGE = 1e-5
ROUNDS = 3  # in which cells near the line that does not move find their side


def basis_in_plane(places: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Shifts (B, C, 3) along x, and along y, in pixels, by one unit of rock, lateral and axial.

    places: (B, C, 2), -1..1 over the picture. ratio: (B,) of a rock's shift along y at the
    picture's side to its shift along x at the picture's end.
    """
    x, y = places.unbind(-1)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    along_y = torch.stack([ratio[:, None] * x, none, one], dim=-1)
    return torch.stack([-y, one, none], dim=-1), along_y


def basis_across(places: Tensor) -> Tensor:
    """Shifts (B, C, 3) across by one unit of tilt, turn and elevational motion."""
    x, y = places.unbind(-1)
    return torch.stack([y, -x, torch.ones_like(x)], dim=-1)


def fit_in_plane(
    shifts: Tensor, weights: Tensor, places: Tensor, ratio: Tensor
) -> tuple[Tensor, Tensor]:
    """Rock, lateral and axial motion (B, 3) and its information (B, 3, 3).

    shifts, weights: (B, C, 2) along x and y. places, ratio: as in `basis_in_plane`.
    """
    basis = torch.cat(basis_in_plane(places, ratio), dim=1)
    return weighted_fit(basis, torch.cat(shifts.unbind(-1), 1), torch.cat(weights.unbind(-1), 1))


def fit_across(sizes: Tensor, weights: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Tilt, turn and elevational motion (B, 3), up to one sign, and its information (B, 3, 3).

    sizes, weights: (B, C) of how far each cell moved across the picture. places: (B, C, 2).
    """
    basis = basis_across(places).expand(len(sizes), -1, -1)
    with torch.no_grad():
        side = sides(basis, sizes, weights)
    return weighted_fit(basis, side * sizes, weights)


def sides(basis: Tensor, sizes: Tensor, weights: Tensor) -> Tensor:
    """To which side each cell moved, -1 or 1 (B, C), up to one sign for all of a pair.

    basis: (B, C, 3). From several planes to start with, each is fitted in turn to the sides that
    the one before tells; the one that fits the sizes best in the end is believed.
    """
    weighted = basis * weights[..., None]
    covariance = torch.linalg.inv(_with_prior(weighted.mT @ basis))
    pull = covariance @ (weighted * sizes[..., None]).mT  # by which sides (B, C, S) make planes
    plane = _starts(basis, sizes, weights).mT
    for _ in range(ROUNDS):
        plane = pull @ _sign(basis @ plane)
    moved = basis @ plane
    misfit = weights[:, None] @ (moved.abs() - sizes[..., None]).square()
    best = misfit.argmin(dim=2, keepdim=True).expand(-1, moved.shape[1], -1)
    return _sign(moved.gather(2, best)[..., 0])


def _starts(basis: Tensor, sizes: Tensor, weights: Tensor) -> Tensor:
    """Planes (B, S, 3): each freedom alone, and the axes of the quadratic form of the squares."""
    rows, columns = torch.triu_indices(3, 3, device=sizes.device)
    products = basis[..., rows] * basis[..., columns] * torch.where(rows == columns, 1.0, 2.0)
    trust = weights / (4 * sizes.square() + 1 / (weights + RIDGE))
    values, _ = weighted_fit(products, sizes.square(), trust)
    form = torch.zeros(len(sizes), 3, 3, device=sizes.device)
    form[:, rows, columns] = values
    form[:, columns, rows] = values
    axes = torch.linalg.eigh(form).eigenvectors.mT
    return torch.cat([torch.eye(3, device=sizes.device).expand_as(axes), axes], dim=1)


def weighted_fit(basis: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (B, n) of values (B, C) on basis (B, C, n), and information (B, n, n)."""
    weighted = basis * weights[..., None]
    information = _with_prior(weighted.mT @ basis)
    vector = weighted.mT @ values[..., None]
    return torch.linalg.solve(information, vector)[..., 0], information


def _with_prior(information: Tensor) -> Tensor:
    mean = information.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
    identity = torch.eye(information.shape[-1], device=information.device)
    return information + (RIDGE + RELATIVE_RIDGE * mean) * identity


def _sign(moved: Tensor) -> Tensor:
    return torch.where(moved < 0, -1.0, 1.0)
