"""Tetrahedral meshes of layered spheres (synthetic), for tests of fields with a closed form."""

import numpy as np
from scipy.spatial import ConvexHull

RADII = {3: 80.0, 4: 86.0, 5: 92.0}


def icosphere(level):
    """Vertices and faces of an icosahedron, its faces cut into four ``level`` times, on the unit sphere."""
    golden = (1 + 5**0.5) / 2
    a = np.array([[0, s, t * golden] for s in (-1, 1) for t in (-1, 1)], float)
    vertices = np.concatenate([a, a[:, [2, 0, 1]], a[:, [1, 2, 0]]])
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    faces = ConvexHull(vertices).simplices
    turned = np.linalg.det(vertices[faces]) < 0
    faces[turned] = faces[turned][:, [0, 2, 1]]  # counter-clockwise from outside
    for _ in range(level):
        edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, inverse = np.unique(edges, axis=0, return_inverse=True)
        middle = vertices[unique].mean(axis=1)
        ab, bc, ca = (inverse.reshape(-1, 3) + len(vertices)).T
        vertices = np.concatenate([vertices, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        a, b, c = faces.T
        faces = np.concatenate([np.stack(f, 1) for f in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return vertices, faces


def sphere_mesh(level, step_mm, radii=RADII):
    """Nodes (n, 3) mm, tetrahedra (t, 4) and tags (t,) of concentric spheres of these outer radii round the origin.

    Shells of prisms about ``step_mm`` thick, each cut into three tetrahedra along the order of the vertices' numbers,
    so that neighbours fit; the innermost shell is joined to the centre.
    """
    vertices, faces = icosphere(level)
    bounds = [0.0, *sorted(radii.values())]
    shells, tags = [], []
    for (tag, outer), inner in zip(sorted(radii.items(), key=lambda item: item[1]), bounds, strict=False):
        count = max(1, round((outer - inner) / step_mm))
        shells += list(inner + (outer - inner) * np.arange(1, count + 1) / count)
        tags += [tag] * count
    nodes = np.concatenate([[[0.0, 0, 0]], *(r * vertices for r in shells)])
    n = len(vertices)
    a, b, c = np.sort(faces, axis=1).T
    tetrahedra = [np.stack([np.zeros_like(a), a + 1, b + 1, c + 1], axis=1)]
    kinds = [np.full(len(faces), tags[0])]
    for shell in range(1, len(shells)):
        low, high = 1 + (shell - 1) * n, 1 + shell * n
        prism = ((a + low, b + low, c + low, c + high), (a + low, b + low, b + high, c + high),
                 (a + low, a + high, b + high, c + high))  # fmt: skip
        tetrahedra += [np.stack(t, axis=1) for t in prism]
        kinds += [np.full(len(faces), tags[shell])] * 3
    tetrahedra = np.concatenate(tetrahedra)
    corners = nodes[tetrahedra]
    inverted = np.linalg.det(corners[:, 1:] - corners[:, :1]) < 0
    tetrahedra[inverted] = tetrahedra[inverted][:, [0, 1, 3, 2]]
    return nodes, tetrahedra, np.concatenate(kinds)


def ball_radius(nodes, tetrahedra):
    """Radius of the ball of the same volume."""
    corners = nodes[tetrahedra]
    return (np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])).sum() / 6 / (4 / 3 * np.pi)) ** (1 / 3)


def refine(nodes, tetrahedra, tags, triangles=None, triangle_tags=None):
    """Every tetrahedron (and triangle) cut into eight (four) at the middles of its edges, tags kept.

    Middles of edges between two nodes of one surface of a layered sphere (equally far from the origin, on a triangle
    that is given) are pushed out onto it, so that the refined mesh comes nearer to the spheres.
    """
    pairs = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    edges = np.sort(tetrahedra[:, pairs].reshape(-1, 2), axis=1).astype(np.int64)
    unique, inverse = np.unique(edges[:, 0] * len(nodes) + edges[:, 1], return_inverse=True)
    low, high = unique // len(nodes), unique % len(nodes)
    middle = (nodes[low] + nodes[high]) / 2
    if triangles is not None and len(triangles):
        sides = np.sort(triangles[:, [[0, 1], [0, 2], [1, 2]]].reshape(-1, 2), axis=1).astype(np.int64)
        at = np.searchsorted(unique, sides[:, 0] * len(nodes) + sides[:, 1])
        on = np.unique(at)
        radius = np.linalg.norm(nodes[low[on]], axis=1)
        middle[on] *= (radius / np.linalg.norm(middle[on], axis=1))[:, None]
        a, b, c = triangles.T
        ab, ac, bc = (at.reshape(-1, 3) + len(nodes)).T
        triangles = np.concatenate([np.stack(f, 1) for f in ((a, ab, ac), (ab, b, bc), (ac, bc, c), (ab, bc, ac))])
        triangle_tags = np.tile(triangle_tags, 4)
    a, b, c, d = tetrahedra.T
    ab, ac, ad, bc, bd, cd = (inverse.reshape(-1, 6) + len(nodes)).T
    corners = [(a, ab, ac, ad), (ab, b, bc, bd), (ac, bc, c, cd), (ad, bd, cd, d)]
    nodes = np.concatenate([nodes, middle])
    # The octahedron left in the middle is cut along its shortest diagonal.
    rings = {(0, 5): (1, 2, 4, 3), (1, 4): (0, 2, 5, 3), (2, 3): (0, 1, 5, 4)}
    mid = np.stack([ab, ac, ad, bc, bd, cd], axis=1)
    lengths = np.stack([np.linalg.norm(nodes[mid[:, i]] - nodes[mid[:, j]], axis=1) for i, j in rings], axis=1)
    shortest = lengths.argmin(axis=1)
    inner = np.empty((4, len(tetrahedra), 4), np.int64)
    for number, ((i, j), ring) in enumerate(rings.items()):
        rows = shortest == number
        for part in range(4):
            p, q = ring[part], ring[(part + 1) % 4]
            inner[part, rows] = mid[rows][:, [i, j, p, q]]
    cut = np.concatenate([np.stack([np.stack(t, 1) for t in corners]), inner]).reshape(-1, 4)
    corner = nodes[cut]
    inverted = np.linalg.det(corner[:, 1:] - corner[:, :1]) < 0
    cut[inverted] = cut[inverted][:, [0, 1, 3, 2]]
    return nodes, cut.astype(np.int32), np.tile(tags, 8), triangles, triangle_tags
