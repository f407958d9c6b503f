"""Frames per second and memory of the bare Blender engine, on meshes the size of the hand and the body.

    python benchmarks/engine.py --frames 2000 --workers 2

Each worker is a separate process pinned to its own core (with --free, the system chooses the cores).
"""

import argparse
import multiprocessing
import time
from dataclasses import dataclass

import numpy as np
import psutil

from synthgen.generator.engines.blender import BlenderEngine
from synthgen.generator.engines.blender_process import exit_process, pin_to_core
from synthgen.geometry import Camera

MB = 2**20


@dataclass(frozen=True)
class Case:
    name: str
    rings: int
    segments: int
    size_mm: tuple[float, float, float]
    width: int
    height: int
    mm_per_px: float


CASES = (
    Case("hand", 40, 46, (45, 90, 15), 96, 96, 2.0),
    Case("body", 113, 121, (300, 900, 150), 76, 160, 12.0),
)


def ellipsoid(case: Case):
    """Return vertices (V, 3) mm around the origin and triangles (T, 3)."""
    theta = np.linspace(0, np.pi, case.rings + 2)[1:-1, None]
    phi = np.arange(case.segments) / case.segments * 2 * np.pi
    rings = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta) + 0 * phi, np.sin(theta) * np.sin(phi)], axis=-1)
    vertices = np.concatenate([[[0, 1, 0]], rings.reshape(-1, 3), [[0, -1, 0]]]) * case.size_mm
    grid = 1 + np.arange(case.rings * case.segments).reshape(case.rings, case.segments)
    a, b, c, d = grid[:-1], np.roll(grid[:-1], -1, 1), grid[1:], np.roll(grid[1:], -1, 1)
    last = len(vertices) - 1
    fans = [
        np.stack([0 * grid[0], grid[0], np.roll(grid[0], -1)], -1),
        np.stack([0 * grid[0] + last, np.roll(grid[-1], -1), grid[-1]], -1),
    ]
    quads = [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    return vertices, np.concatenate(fans + quads).astype(np.int32)


def measure(case: Case, frames: int, report, *, free: bool) -> None:
    if not free:
        pin_to_core()
    vertices, triangles = ellipsoid(case)
    rng = np.random.default_rng(0)
    poses = [
        (vertices * rng.uniform(0.8, 1.2, 3) + rng.normal(0, 0.3, vertices.shape) + [0, 0, 1000]).astype(np.float32)
        for _ in range(8)
    ]
    camera = Camera("orthographic", case.width, case.height, (case.mm_per_px, case.mm_per_px), 1000.0)
    engine = BlenderEngine(triangles, len(vertices), case.width, case.height, "orthographic")
    for pose in poses:
        engine.render(pose, camera)
    memory = [psutil.Process().memory_info().rss / MB]
    start, cpu = time.perf_counter(), time.process_time()
    for frame in range(frames):
        engine.render(poses[frame % len(poses)], camera)
        if (frame + 1) % max(frames // 4, 1) == 0:
            memory.append(psutil.Process().memory_info().rss / MB)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    engine.close()
    resident = " -> ".join(f"{value:.1f}" for value in memory)
    rate = frames / seconds
    report.put((rate, f"{len(vertices)} vertices: {rate:6.1f} frames/s, {cpu / seconds:.2f} cores, {resident} MB"))
    report.close()
    report.join_thread()
    exit_process(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=500, help="per worker")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--free", action="store_true", help="do not keep workers to cores")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    for case in CASES:
        report = spawn.Queue()
        workers = [
            spawn.Process(target=measure, args=(case, options.frames, report), kwargs={"free": options.free})
            for _ in range(options.workers)
        ]
        for worker in workers:
            worker.start()
        results = [report.get(timeout=3600) for _ in workers]
        for worker in workers:
            worker.join()
        for _, line in results:
            print(case.name, line)
        print(f"{case.name}: {sum(rate for rate, _ in results):.1f} frames/s together")


if __name__ == "__main__":
    main()
