"""Numba's compiler with types that mypy can follow."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code at its first call; kept in __pycache__ afterwards."""
    return cast(Callable[P, R], numba.njit(cache=True, fastmath=True)(function))
