"""Numba's compiler with types that mypy can follow."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code at its first call; kept in __pycache__ afterwards.

    Where neither that nor a folder of the user's can be written it is compiled in every process.
    """
    try:
        compiled = numba.njit(cache=True, fastmath=True)(function)
    except RuntimeError:
        compiled = numba.njit(fastmath=True)(function)
    return cast(Callable[P, R], compiled)
