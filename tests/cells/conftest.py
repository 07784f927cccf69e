"""A reconstruction small enough to check by hand, and the bundled cells."""

from pathlib import Path

import numpy as np
import pytest

import tmsjax
from tmsjax import cells

SOMA = '("CellBody"\n (CellBody)\n (-5 0 0 0)\n (0 6 0 0)\n (5 0 0 0)\n (0 -6 0 0)\n)\n'


def branch(kind, points):
    return f"( ({kind})\n" + "\n".join(f"  ({x} {y} {z} {d})" for x, y, z, d in points) + "\n)\n"


@pytest.fixture
def write_asc(tmp_path):
    """Write an .asc of these (kind, points) branches on a soma."""

    def write(*branches, soma=SOMA, name="cell.asc"):
        path = tmp_path / name
        path.write_text(soma + "".join(branch(kind, points) for kind, points in branches))
        return path

    return write


@pytest.fixture
def simple(write_asc):
    """One straight axon of 430 um and 0.4 um, two dendrites."""
    return write_asc(
        ("Axon", [(0, -6 - s, 0, 0.4) for s in np.linspace(0, 430, 44)]),
        ("Dendrite", [(5, 0, 0, 2), (45, 0, 0, 1), (105, 0, 0, 1)]),
        ("Apical", [(0, 6, 0, 3), (0, 200, 0, 2)]),
    )


OPEN = Path(tmsjax.__file__).parent / "data" / "cells" / "open"


@pytest.fixture(scope="session")
def described():
    """What the bundled cells' README says of one: compartments, axon (mm), nodes, the soma's resting potential (mV)."""

    def described(name):
        row = next(r for r in (OPEN / "README.md").read_text().splitlines() if r.startswith(f"| {name[5:]} |"))
        words = row.split("|")
        return {"n": int(words[2]), "axon_mm": float(words[3]), "nodes": int(words[4]), "rest_mv": float(words[7])}

    return described


@pytest.fixture(scope="session", params=[name for name in cells.names() if name.startswith("open/")])
def bundled(request):
    return cells.load(request.param)
