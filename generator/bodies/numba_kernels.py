"""How numba compiles the loops of this package, so that a first image does not wait long for them.

Compiling takes time for each function and for each type of arguments, however little a function does. So there is no
entry for C, which nobody uses, and nothing that counts references: a kernel fills the arrays that Python hands it and
makes none.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])
_LEAN: dict[str, Any] = {"no_cfunc_wrapper": True}
_NO_ARRAYS: dict[str, Any] = _LEAN | {"_nrt": False}


def kernel(function: F) -> F:
    """Compile what Python calls, at its first call, and keep it on disk; it may make no array."""
    return cast("F", njit(cache=True, **_NO_ARRAYS)(function))


def array_kernel(function: F) -> F:
    """Compile a kernel that makes arrays."""
    return cast("F", njit(cache=True, **_LEAN)(function))


def helper(function: F) -> F:
    """Compile what kernels call into them; called from Python, it stays plain Python."""
    return register_jitable(**_LEAN)(function)


def is_compiled(function: Callable[..., Any]) -> bool:
    """Tell whether code of a kernel lies on disk, made from its source as it is now."""
    return bool(cast("Any", function)._cache._cache_file._load_index())  # numba has no other way to ask
