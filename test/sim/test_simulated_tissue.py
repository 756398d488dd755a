"""Anatomies and their scatterers: the same place always looks the same."""

import numpy as np
import pytest

from sim import tissue, tissue_kernels
from sim.tissue_kernels import BONE, CELL_MM, VESSEL

CELLS = np.argwhere(np.ones((4, 4, 12))) - np.array([2, 2, 0])


@pytest.mark.parametrize("name", list(tissue.ANATOMIES))
def test_a_cell_holds_the_same_scatterers_whichever_others_are_drawn(name: str) -> None:
    anatomy = tissue.ANATOMIES[name](np.random.default_rng(0))
    every = tissue.draw_scatterers(anatomy, CELLS, 5, strata=4)
    one = tissue.draw_scatterers(anatomy, CELLS[100:101], 5, strata=4)
    assert len(one.points) > 0
    np.testing.assert_array_equal(every.points[every.starts[100] : every.starts[101]], one.points)


def test_scatterers_of_homogeneous_tissue_are_of_unit_amplitude_and_fill_their_cells() -> None:
    anatomy = tissue.homogeneous(np.random.default_rng(0))
    drawn = tissue.draw_scatterers(anatomy, CELLS, 1, strata=5)
    assert len(drawn.points) == len(CELLS) * 125
    np.testing.assert_array_equal(np.abs(drawn.points[:, 3]), 1)
    assert abs(drawn.points[:, 3].mean()) < 0.02
    cell = np.repeat(CELLS, np.diff(drawn.starts), axis=0) * CELL_MM
    inside = (drawn.points[:, :3] >= cell - 1e-4) & (drawn.points[:, :3] <= cell + CELL_MM + 1e-4)
    assert inside.all()
    assert drawn.density == pytest.approx(len(drawn.points) / (len(CELLS) * CELL_MM**3))


def test_another_seed_draws_other_scatterers_in_the_same_anatomy() -> None:
    anatomy = tissue.homogeneous(np.random.default_rng(0))
    first, second = (tissue.draw_scatterers(anatomy, CELLS, seed, strata=4) for seed in (1, 2))
    assert not np.array_equal(first.points, second.points)


def test_nothing_scatters_above_the_skin_and_only_haze_inside_bone() -> None:
    anatomy = tissue.forearm(np.random.default_rng(3))
    above = tissue_kernels.scatterer_at(anatomy, 0.0, 0.0, -1.0)
    y, z = anatomy.tubes[0, tissue.X_END_MM, :2]
    inside = tissue_kernels.scatterer_at(anatomy, 0.0, float(y), float(z))
    assert above[0] == 0
    assert inside[0] == anatomy.texture.bone_haze


def test_scatterers_of_a_bone_face_lie_on_it_in_phase() -> None:
    anatomy = tissue.forearm(np.random.default_rng(3))
    tube = int(np.flatnonzero(anatomy.kinds == BONE)[0])
    y, z, _, half = (float(v) for v in anatomy.tubes[tube, tissue.X_END_MM])
    heights = np.linspace(z - 1.4 * half, z - 0.6 * half, 400)
    found = [tissue_kernels.scatterer_at(anatomy, 0.0, y, h) for h in heights]
    face = [(a, b, c) for a, b, c in found if a == -anatomy.texture.bone_gain]
    assert len(face) > 5
    for _, wall_y, wall_z in face:
        assert abs(tissue_kernels.tube_at(anatomy, tube, 0.0, wall_y, wall_z)[0]) < 0.02


def test_vessels_are_dark_inside_and_bright_at_the_wall() -> None:
    anatomy = tissue.organ(np.random.default_rng(1))
    wide = anatomy.tubes[:, tissue.X_END_MM, 2:].min(axis=1)
    tube = int(np.argmax(np.where(anatomy.kinds == VESSEL, wide, 0)))
    y, z, half, _ = (float(v) for v in anatomy.tubes[tube, tissue.X_END_MM])
    assert abs(tissue_kernels.scatterer_at(anatomy, 0.0, y, z)[0]) < 0.05
    assert abs(tissue_kernels.scatterer_at(anatomy, 0.0, y + half + 0.1, z)[0]) > 1


def test_a_vessel_forks_where_its_landmark_says() -> None:
    anatomy = tissue.forearm(np.random.default_rng(0))
    assert len(anatomy.branches) == 6
    for fork in anatomy.branches.astype(float):
        at = round(fork[0]) + tissue.X_END_MM
        gaps = np.linalg.norm(anatomy.tubes[:, at, :2] - fork[1:], axis=1)
        assert np.sort(gaps)[:2].max() < 1.5


def test_landmark_curves_follow_bone_corners_on_the_wall_of_their_bone() -> None:
    anatomy = tissue.forearm(np.random.default_rng(2))
    corners = tissue.landmark_curves(anatomy)[:3]
    for curve in corners:
        for x, y, z in curve[::50].astype(float):
            assert abs(tissue_kernels.tube_at(anatomy, 0, x, y, z)[0]) < 0.05
