import numpy as np
import pytest
from matplotlib.colors import Normalize

from tmsjax.viz.surface import View, draw_surface

TETRAHEDRON = (
    np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]),
)


def test_a_view_is_a_rotation():
    view = View.along(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.axes) == pytest.approx(1)
    assert view.project(np.array([1.0, 2.0, 3.0]))[:2] == pytest.approx([0, 0])


def test_only_faces_towards_the_viewer_are_drawn_and_bare_faces_are_grey():
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    vertices, faces = TETRAHEDRON
    view = View.along(np.array([1.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    drawing = draw_surface(ax, vertices, faces, view, np.array([0.0, 1.0, np.nan, 0.5]), Normalize(0, 1))
    colours = drawing.get_facecolors()
    assert len(colours) == 3  # the fourth face looks away
    grey = np.ptp(colours[:, :3], axis=1) < 0.05
    assert grey.sum() == 1
    plt.close(fig)
