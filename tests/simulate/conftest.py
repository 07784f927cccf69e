"""A small hand-made neuron: soma, one dendrite, an initial segment and two branches of myelinated axon."""

import numpy as np
import pytest

from tmsjax.cells import Cell, Section


def _straight(name, region, parent, parent_x, start, stop, diam_um, nseg):
    return Section(
        name=name,
        region=region,
        parent=parent,
        parent_x=parent_x,
        points_um=np.linspace(start, stop, 3).astype(np.float32),
        diam_um=np.full(3, diam_um, np.float32),
        nseg=nseg,
        distance_um=np.linspace(0.0, np.linalg.norm(np.subtract(stop, start)), nseg),
    )


@pytest.fixture(scope="session")
def small_cell() -> Cell:
    sections = [
        _straight("soma[0]", "soma", -1, 0.0, (0, 0, -10), (0, 0, 10), 20.0, 1),
        _straight("axon[0]", "ais", 0, 0.5, (0, 0, -10), (0, 0, -60), 2.0, 5),
        _straight("dend[0]", "basal", 0, 0.5, (0, 0, 10), (150, 40, 90), 3.0, 5),
    ]
    for heading in ((0.6, 0.0, -0.8), (-0.7, 0.5, -0.5)):
        heading = np.array(heading) / np.linalg.norm(heading)
        parent, here = 1, np.array([0.0, 0.0, -60.0])
        for _ in range(6):
            for kind, length, diam, nseg in (("Myelin", 100.0, 1.6, 5), ("Node", 1.0, 1.0, 1)):
                there = here + length * heading
                name = f"{kind}[{len(sections)}]"
                sections.append(_straight(name, kind.lower(), parent, 1.0, here, there, diam, nseg))
                parent, here = len(sections) - 1, there
    return Cell(name="small", biophysics="L23_PC", sections=tuple(sections))
