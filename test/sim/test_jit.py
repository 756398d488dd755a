"""Kernels are compiled, and kept where that is possible."""

from collections.abc import Callable

from sim.jit import kernel


def test_a_kernel_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    """Numba finds no place for what is of no file, as on a read-only disk without a home."""
    namespace: dict[str, Callable[[float], float]] = {}
    exec("def twice(x):\n    return 2 * x", namespace)
    assert kernel(namespace["twice"])(1.5) == 3.0
