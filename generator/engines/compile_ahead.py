"""A second process that compiles the later kernels while the first compiles the earlier ones, if none are cached.

numba compiles on one core. The first process compiles a kernel when an image needs it: draw, shape, pose, collide,
frame, label, render. The second calls the kernels of the latter half on tiny arrays, and the first then finds them in
the disk cache.
"""

import gc
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from synthgen.generator.bodies.mesh_kernels import box_above, first_hits, move, shift_to_grid, to_pixels
from synthgen.generator.bodies.numba_kernels import is_compiled
from synthgen.generator.bodies.penetration import deepest_pair
from synthgen.generator.engines.raster import rasterize

LOGGER = logging.getLogger(__name__)
_COMMAND = (sys.executable, "-P", "-m", __name__)


@contextmanager
def compiling_ahead() -> Iterator[None]:
    """Let another process compile half of the kernels during this block, unless they are cached.

    Without it everything is compiled as well, only later.
    """
    if is_compiled(box_above):
        yield
        return
    collecting, null = gc.isenabled(), subprocess.DEVNULL
    # In a new session, so that Ctrl-C reaches only this process, which then kills the other.
    with subprocess.Popen(_COMMAND, stdin=null, stdout=null, start_new_session=True) as child:
        gc.disable()  # garbage collection would take a tenth of the compile time
        try:
            yield
        except BaseException:
            child.kill()
            raise
        finally:
            if collecting:
                gc.enable()
    if child.returncode:
        LOGGER.warning(
            "compiling ahead: the process exited with status %d; compiling all in this one", child.returncode
        )


def compile_latter_half() -> None:
    """Call the kernels from the collisions on, in an order in which both processes rarely compile the same one."""
    points, triangles = np.zeros((3, 3)), np.array([[0, 1, 2]], dtype=np.uint32)
    one, none = np.zeros(1, dtype=np.uint32), np.zeros((0, 2), dtype=np.uint32)
    deepest_pair(points, (triangles, triangles), (one, np.array([0, 1], dtype=np.uint32)), none, np.zeros((0, 2)))
    px, depth = to_pixels(points, (1.0, 1.0), (0.0, 0.0), 0.0)
    first_hits(px, depth, triangles, px)
    rasterize(px, depth, triangles, 1, 1)
    move(points, np.eye(3), np.zeros(3))
    box_above(points, 0.0, one, one)
    shift_to_grid(points, np.zeros(3), 1.0)


if __name__ == "__main__":
    gc.disable()
    compile_latter_half()
    gc.freeze()  # no garbage collection at exit either
