"""How numba compiles the kernels of this package, with options that shorten the wait for the first image.

Compilation takes time for each function and each combination of argument types, however short the function. So kernels
have no C entry point, which nobody uses, and no reference counting: they fill arrays that Python allocates.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])
_LEAN: dict[str, Any] = {"no_cfunc_wrapper": True}
_NO_ARRAYS: dict[str, Any] = _LEAN | {"_nrt": False}


def kernel(function: F) -> F:
    """Compile a function for calls from Python, on its first call, cached on disk; it must not allocate arrays."""
    return cast("F", njit(cache=True, **_NO_ARRAYS)(function))


def array_kernel(function: F) -> F:
    """Compile a kernel that may allocate arrays."""
    return cast("F", njit(cache=True, **_LEAN)(function))


def helper(function: F) -> F:
    """Compile a function for calls from kernels; called from Python, it runs as plain Python."""
    return register_jitable(**_LEAN)(function)


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether the disk cache has compiled code for a kernel's current source."""
    return bool(cast("Any", function)._cache._cache_file._load_index())  # numba has no public API for this
