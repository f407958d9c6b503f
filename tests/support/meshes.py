"""A sphere of triangles, and a z-buffer that shares no code with the engines."""

import numpy as np

from synthgen.geometry import project


def icosphere(subdivisions):
    g = (1 + 5**0.5) / 2
    signs = [(-1, g), (1, g), (-1, -g), (1, -g)]
    points = [(a, b, 0) for a, b in signs] + [(0, a, b) for a, b in signs] + [(b, 0, a) for a, b in signs]
    vertices = [np.array(p) / np.linalg.norm(p) for p in points]
    edge = min(np.linalg.norm(vertices[0] - v) for v in vertices[1:]) * 1.01
    near = [[j for j in range(12) if j != i and np.linalg.norm(vertices[i] - vertices[j]) < edge] for i in range(12)]
    triangles = [(i, j, k) for i in range(12) for j in near[i] for k in near[j] if i < j < k and k in near[i]]
    for _ in range(subdivisions):
        middles, finer = {}, []

        def middle(i, j, middles=middles):
            key = (min(i, j), max(i, j))
            if key not in middles:
                middles[key] = len(vertices)
                vertices.append((vertices[i] + vertices[j]) / np.linalg.norm(vertices[i] + vertices[j]))
            return middles[key]

        for i, j, k in triangles:
            a, b, c = middle(i, j), middle(j, k), middle(k, i)
            finer += [(i, a, c), (a, j, b), (c, b, k), (a, b, c)]
        triangles = finer
    return np.array(vertices), np.array(triangles, dtype=np.int32)


def z_buffer(vertices, triangles, camera, offset=(0.0, 0.0)):
    """Depth (H, W) at the pixel centres moved by ``offset`` pixels: the nearest triangle's plane, in float64."""
    vertices = vertices.astype(np.float64)
    pixels = project(camera, vertices)
    depth = np.full((camera.height, camera.width), np.inf)
    for corners in triangles:
        (ax, ay), (bx, by), (cx, cy) = pixels[corners]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        lo = np.maximum(np.floor(pixels[corners].min(0)).astype(int) - 1, 0)
        hi = np.minimum(np.ceil(pixels[corners].max(0)).astype(int) + 1, depth.shape[::-1])
        if (hi <= lo).any():
            continue
        y, x = np.mgrid[lo[1] : hi[1], lo[0] : hi[0]]
        px, py = x + 0.5 + offset[0], y + 0.5 + offset[1]
        u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
        v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
        z = np.stack([u, v, 1 - u - v], -1)
        hit = (z >= 0).all(-1)
        z = z @ vertices[corners, 2] if camera.projection == "orthographic" else 1 / (z @ (1 / vertices[corners, 2]))
        depth[y[hit], x[hit]] = np.minimum(depth[y[hit], x[hit]], z[hit])
    return depth
