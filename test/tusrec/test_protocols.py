from itertools import product

import pytest

from tusrec.protocols import protocol_of


@pytest.mark.parametrize(
    ("hand", "direction", "shape", "way"),
    list(product(("LH", "RH"), ("Par", "Per"), "LCS", ("DtP", "PtD"))),
)
def test_all_24_sweeps_of_2024_are_named_without_their_hand(
    hand: str, direction: str, shape: str, way: str
) -> None:
    name = f"{hand}_{direction}_{shape}_{way}"
    assert protocol_of(name) == f"{direction}-{shape}-{way}"
    assert protocol_of(f"sub050__{name}") == f"{direction}-{shape}-{way}"


@pytest.mark.parametrize("name", ["RH_rotation", "LH_rotation", "sub050__LH_rotation"])
def test_the_rotations_of_2025_are_one_protocol(name: str) -> None:
    assert protocol_of(name) == "rotation"


@pytest.mark.parametrize(
    "name",
    [
        "RH_run318",
        "rotation",
        "RH_rotation_2",
        "xRH_rotation",
        "RH_Par_C_DtP_2",
        "RH_Par_X_DtP",
        "RH_Par_L",
        "",
    ],
)
def test_any_other_name_is_another_protocol(name: str) -> None:
    assert protocol_of(name) == "other"
